//! What happened to a vault, as those know it who were outside: each call with the moments of one
//! clock at which it was sent and answered, each stop, each thaw; and what the journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::B256;

/// Nanoseconds since the history began, on the one clock of everybody in it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long after an earlier one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The clock. Copies of it agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins a history.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Whose signature it is, as far as stops can tell.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Subject {
    /// The caller.
    pub caller: Arc<str>,
    /// The key's id.
    pub key: Arc<str>,
}

/// A request's number, which stands in its id and so in its record.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Request(pub u64);

/// What one stop covers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Everything.
    All,
    /// Whatever a caller asks for.
    Caller(String),
    /// A key, by its id.
    Key(String),
    /// Every key with this tag.
    Tag(String),
}

/// One request for a signature. `sent` was read before it was sent, and the end after it was there:
/// so it was really sent later, and answered earlier.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose.
    pub subject: Subject,
    /// Which process it went to, counted from 0.
    pub life: usize,
    /// Its request id, which no other has.
    pub request: Request,
    /// What was to be signed. Others may have asked for the same.
    pub digest: B256,
    /// When.
    pub sent: Moment,
    /// What came of it.
    pub end: End,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// A signature, which was verified, with the record that it says it has.
    Signed {
        /// When.
        at: Moment,
        /// Its record.
        sequence: u64,
    },
    /// The signer said no.
    Refused {
        /// When.
        at: Moment,
    },
    /// There was no answer.
    Cut {
        /// When the other side let go of it: the process was killed, or the stream was reset.
        /// `None` if the caller gave up, and the other side may not know yet.
        at: Option<Moment>,
    },
}

/// One freeze.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Stands in its reason, and so in its record.
    pub mark: u64,
    /// What it covers.
    pub scope: Scope,
    /// Which process it went to.
    pub life: usize,
    /// When it was sent; really later.
    pub sent: Moment,
    /// What the signer said. Without it the stop may hold or not.
    pub acknowledged: Option<Acknowledged>,
}

/// The answer to a freeze.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Acknowledged {
    /// When it was there; really earlier.
    pub at: Moment,
    /// Its record.
    pub sequence: u64,
    /// The highest record of a signature in scope that was released before.
    pub last_released: u64,
    /// Signatures in scope that were ready or under way.
    pub withheld: u64,
    /// Whether it is on record.
    pub recorded: bool,
}

/// One attempt to carry out a thaw, that was not refused.
#[derive(Clone, Debug)]
pub struct Thaw {
    /// The record that proposed it.
    pub proposal: u64,
    /// What it opens.
    pub scope: Scope,
    /// Which process it went to.
    pub life: usize,
    /// When it was sent; really later.
    pub sent: Moment,
    /// When it was acknowledged, really earlier, and its record.
    pub acknowledged: Option<(Moment, u64)>,
}

/// A record of the journal, as far as stops are concerned.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its place.
    pub sequence: u64,
    /// What it says.
    pub what: What,
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum What {
    /// A process began.
    Started,
    /// A signature was made, and may be released.
    Signed {
        /// Whose.
        subject: Subject,
        /// The request.
        request: Request,
        /// Over what.
        digest: B256,
        /// The last record when it was decided.
        seen: u64,
    },
    /// A request was allowed, and there is no signature: withheld, or the token failed.
    Unsigned {
        /// Whose.
        subject: Subject,
        /// The request.
        request: Request,
        /// The last record when it was decided.
        seen: u64,
    },
    /// A request was refused at once.
    Denied {
        /// The request.
        request: Request,
    },
    /// A stop.
    Frozen {
        /// What it covers.
        scope: Scope,
        /// Out of its reason, if it is one of ours.
        mark: Option<u64>,
    },
    /// A stop was ended by a quorum.
    Thawed {
        /// What it opens.
        scope: Scope,
        /// The record that proposed it.
        proposal: u64,
    },
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The tags of each key.
    pub tags: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// All requests.
    pub calls: Vec<Call>,
    /// All freezes.
    pub stops: Vec<Stop>,
    /// All thaws.
    pub thaws: Vec<Thaw>,
    /// When each process was gone; for those that are not among them, never.
    pub ends: Vec<Moment>,
    /// What of the journal concerns stops, in order.
    pub journal: Vec<Line>,
}

impl History {
    /// Whether a stop of this scope covers it.
    pub fn covers(&self, scope: &Scope, subject: &Subject) -> bool {
        match scope {
            Scope::All => true,
            Scope::Caller(caller) => **caller == *subject.caller,
            Scope::Key(key) => **key == *subject.key,
            Scope::Tag(tag) => {
                self.tags.get(&subject.key).is_some_and(|tags| tags.contains(tag.as_str()))
            }
        }
    }

    /// When a process was gone.
    pub fn end_of(&self, life: usize) -> Moment {
        self.ends.get(life).copied().unwrap_or(Moment::NEVER)
    }
}
