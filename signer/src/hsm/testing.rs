//! Fresh SoftHSM tokens for tests, each test in a process of its own.
//!
//! The module reads its configuration from the environment when it is initialised, once per
//! process, so a test that wants its own tokens wants its own process: [`in_own_process`] starts
//! the test binary again for just that test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test; shared by two test binaries that use different parts"
)]

use std::env;
use std::fs::{self, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;

pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Logs every call and passes it on; part of OpenSC.
pub const SPY: &str = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so";
pub const PIN: &str = "135246";
const SO_PIN: &str = "97531864";

/// A folder with tokens of its own, and the environment that leads there.
pub struct Tokens {
    folder: PathBuf,
}

/// Runs `body` in a child process with an empty token folder. `module` is `module_path!()`.
pub fn in_own_process(module: &str, test: &str, body: impl FnOnce(&Tokens)) {
    if env::var_os(CHILD).is_some_and(|child| child == test) {
        let folder = env::var_os(FOLDER).expect("the parent names the folder");
        return body(&Tokens { folder: folder.into() });
    }
    // libtest's names lack the crate's.
    let module = module.split_once("::").map(|(_, inner)| format!("{inner}::"));
    let name = module.unwrap_or_default() + test;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tokens")).unwrap();
    let tokens = folder.path().join("tokens");
    let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(folder.path().join("conf"), conf).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", folder.path().join("conf"))
        .env("PKCS11SPY", SOFTHSM)
        .env("PKCS11SPY_OUTPUT", folder.path().join("spy"))
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // SoftHSM's destructors can crash while the process ends and a session's thread still runs:
    // after the test, whose verdict is printed by then. A crash before that prints none.
    let passed = said.contains("test result: ok. 1 passed");
    let ended = output.status.success() || (passed && output.status.signal() == Some(SIGSEGV));
    assert!(ended, "{name} in its own process: {}\n{said}", output.status);
    assert!(passed, "{name} did not run:\n{said}");
}

const SIGSEGV: i32 = 11;
const CHILD: &str = "PORTCULLIS_TEST_CHILD";
const FOLDER: &str = "PORTCULLIS_TEST_FOLDER";

impl Tokens {
    /// The folder, for files of the test's own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Initialises a token of this label.
    pub fn make(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN])
            .output()
            .expect("softhsm2-util is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// A token with the keys of another and all that they say of themselves, as a vendor's cloning
    /// leaves them; under a label and a serial number of its own. To be made before the module is
    /// loaded, which looks for tokens then.
    pub fn make_clone(&self, label: &str, clone: &str) {
        const SERIAL: &str = "00c1043d00c1043d";
        let (tokens, padded) = (self.folder.join("tokens"), |label| format!("{label:32}"));
        let found = fs::read_dir(&tokens).unwrap().map(|entry| entry.unwrap().path());
        let has = |path: &PathBuf| {
            let object = fs::read(path.join("token.object")).unwrap();
            object.windows(32).any(|window| window == padded(label).as_bytes())
        };
        let original = found.into_iter().find(has).expect("the token is there");
        let copy = tokens.join("c1043d00-0000-0000-00c1-043d00c1043d");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&original).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        // SoftHSM names the folder after a UUID and takes the serial number from its end.
        let name = original.file_name().unwrap().to_str().unwrap().replace('-', "");
        let mut object = fs::read(copy.join("token.object")).unwrap();
        let (old, new) = (padded(label), padded(clone));
        for (old, new) in [(old.as_str(), new.as_str()), (&name[name.len() - 16..], SERIAL)] {
            let at = object.windows(old.len()).position(|window| window == old.as_bytes());
            let at = at.expect("it names itself");
            object[at..at + old.len()].copy_from_slice(new.as_bytes());
        }
        fs::write(copy.join("token.object"), object).unwrap();
    }

    /// A file with this PIN, as the signer wants it.
    pub fn pin_file(&self, pin: &str) -> PathBuf {
        let path = self.folder.join("pin");
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// OpenSC's tool, logged in to a token.
    pub fn pkcs11_tool(&self, label: &str, args: &[&str]) -> Output {
        Command::new("pkcs11-tool")
            .args(["--module", SOFTHSM, "--token-label", label, "--login", "--pin", PIN])
            .args(args)
            .output()
            .expect("pkcs11-tool is installed")
    }

    /// How often the spy saw this function called.
    pub fn calls(&self, function: &str) -> usize {
        let log = fs::read(self.folder.join("spy")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // "17: C_Login"
        log.lines()
            .filter(|line| {
                line.split_once(": ")
                    .is_some_and(|(number, name)| name == function && number.parse::<u64>().is_ok())
            })
            .count()
    }
}

/// A session of the test's own on a token that is logged in already.
pub fn raw_session(module: &Pkcs11, label: &str) -> Session {
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| module.get_token_info(*slot).unwrap().label() == label)
        .expect("the token is there");
    module.open_rw_session_no_drop(slot).unwrap()
}

/// So many sessions.
pub fn sessions(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("at least one")
}
