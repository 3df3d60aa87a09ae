//! What the process denies itself before it reads any secret (DESIGN section 11).

use std::thread;
use std::time::Duration;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getpid, getrlimit, kill_process,
    set_dumpable_behavior, setrlimit, umask,
};
use rustix::thread::set_no_new_privs;

/// A rule that could not be put in force.
#[derive(Debug, thiserror::Error)]
#[error("the process cannot {rule}")]
pub struct Unhardened {
    rule: &'static str,
    #[source]
    source: rustix::io::Errno,
}

/// No core files, no reading of our memory by others of the same user, no new privileges, files for
/// us alone. Memory is locked where the limits let us: the answer says whether it is.
pub fn harden() -> Result<bool, Unhardened> {
    let rule = |rule| move |source| Unhardened { rule, source };
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(rule("become undumpable"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(rule("give up core files"))?;
    set_no_new_privs(true).map_err(rule("give up new privileges"))?;
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    Ok(lock_memory())
}

/// Sees to it that the process ends: a thread that hangs in a token's module may hold a lock that
/// the module's own code for the end of a process waits for, or have it crash. The exit code is
/// then that of a signal.
pub fn end_within(time: Duration) {
    let killer = move || {
        thread::sleep(time);
        if let Err(error) = kill_process(getpid(), Signal::KILL) {
            tracing::error!(%error, "the process cannot end itself");
        }
    };
    if let Err(error) = thread::Builder::new().name("last-resort".to_owned()).spawn(killer) {
        tracing::error!(%error, "nothing sees to it that the process ends");
    }
}

/// Only without a limit on locked memory: with one, later allocations would fail instead.
fn lock_memory() -> bool {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    unlimited && mlockall(flags).is_ok()
}
