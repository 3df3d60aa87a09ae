//! What goes wrong in one life of a process, and what has gone wrong so far.

use std::collections::BTreeMap;

/// What may strike a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The process is killed; the machine goes on, with all it has in memory.
    Kill,
    /// The power goes.
    Power,
    /// The call fails for good.
    Io,
    /// There is no room, if the call needs any.
    NoSpace,
}

/// What a process asks of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Read,
    Write,
    Sync,
    /// Makes or renames a file, or keeps space for it.
    Name,
    Remove,
}

/// Which calls can be struck.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Among {
    #[default]
    Changes,
    All,
    Syncs,
}

/// Counts calls, and says which are struck.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The call, counted from 1, and by what it is struck. A lack of space lasts.
    pub(super) strike: Option<(u32, Fault)>,
    /// Which are counted for that.
    pub(super) among: Among,
    /// How often of sixteen times the thread that makes files goes on before a call of the other.
    pub(super) eager: usize,
    /// Whether the file system can keep space for a file.
    pub(super) cannot_reserve: bool,
    /// Such calls so far.
    pub(super) calls: u32,
    /// Calls so far that change something.
    pub(super) changes: u32,
    /// Whether an error was given that stands for a broken disk, or the process is dead.
    pub(super) told: bool,
    /// Whether space was refused.
    pub(super) no_space: bool,
    /// Whether it was refused to a renaming, which an emergency needs, too.
    pub(super) no_rename: bool,
}

impl Plan {
    /// Counts a call; by what it is struck, if at all.
    pub(super) fn next(&mut self, call: Call) -> Option<Fault> {
        let reads = call == Call::Read;
        self.changes += u32::from(!reads);
        let counts = match self.among {
            Among::Changes => !reads,
            Among::All => true,
            Among::Syncs => call == Call::Sync,
        };
        if !counts {
            return None;
        }
        self.calls += 1;
        let (at, fault) = self.strike?;
        match fault {
            Fault::NoSpace => (self.calls >= at && self.calls - at < SPACE_LACKS).then_some(fault),
            Fault::Kill | Fault::Power | Fault::Io => (self.calls == at).then_some(fault),
        }
        .filter(|fault| !reads || *fault != Fault::NoSpace)
    }
}

/// For how many calls a lack of space lasts.
const SPACE_LACKS: u32 = 12;

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(BTreeMap<&'static str, u64>);

impl Figures {
    pub(super) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&mut self, what: &'static str, times: usize) {
        *self.0.entry(what).or_default() += u64::try_from(times).unwrap();
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    pub(super) fn include(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| *self.0.entry(what).or_default() += times);
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.0).unwrap()
    }
}
