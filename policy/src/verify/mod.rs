//! Checks a journal from genesis and the records alone, trusting nobody, in four levels.
//!
//! Nothing is taken from the records but their inputs: verdicts, reasons, charges and digests are
//! computed again with the same code that made them, and compared.

mod authority;
mod checkpoints;
mod leaps;
mod replay;

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::B256;

use self::checkpoints::Held;
use self::replay::request_of;
use crate::id::{Sequence, VaultId};
use crate::note::{self, Note};
use crate::record::{Entry, UnreadableEntry};
use crate::request::{Request, sha256};
use crate::state::Unfoldable;
use crate::tree::{Frontier, leaf_hash};

/// Takes an export, line by line.
#[derive(Debug, Default)]
pub struct Verifier {
    entries: Vec<Entry>,
    requests: Requests,
    attachments: BTreeMap<B256, Vec<u8>>,
    frontier: Frontier,
    vault: Option<VaultId>,
    held: Held,
    findings: Vec<Discrepancy>,
}

/// A record's line, hashed and understood by itself, with what it asks for: all of the work that
/// needs no other line.
#[derive(Debug)]
pub struct ReadLine {
    leaf: B256,
    entry: Result<Entry, UnreadableEntry>,
    request: Option<Box<Result<Request, String>>>,
}

impl ReadLine {
    /// Of a line without its newline.
    pub fn of(line: &[u8]) -> Self {
        let entry = Entry::decode(line);
        let asked = entry.as_ref().ok().and_then(|entry| entry.record.asked());
        // What is in another line is looked for when it is needed.
        let asked = asked.filter(|asked| asked.input.attachment().is_none());
        let request = asked.map(|asked| Box::new(request_of(asked, |_| None)));
        Self { leaf: leaf_hash(line), entry, request }
    }

    /// The record, if it is one.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref().ok()
    }
}

/// What each record asks for, or why that cannot be read, until it is needed; of those that say it
/// themselves.
type Requests = Vec<Option<Box<Result<Request, String>>>>;

/// How deep something was checked. A level says nothing if one before it is wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Every line is a record in its one form, at its place.
    Form,
    /// The tree over all lines has the roots that checkpoints were signed over.
    Tree,
    /// People signed what is said to be theirs, and might do it.
    People,
    /// Every verdict, reason, charge, balance and key state comes out the same again.
    Replay,
}

impl Level {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Form, Self::Tree, Self::People, Self::Replay];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Tree => "tree",
            Self::People => "people",
            Self::Replay => "replay",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What was found out about an export.
#[derive(Debug)]
pub struct Report {
    /// The genesis record's leaf hash, if there is one.
    pub vault: Option<VaultId>,
    /// Number of records.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: B256,
    /// So many of the first records are under a checkpoint that counts. Whoever could write the
    /// file can have added, changed or taken away what lies above.
    pub attested: u64,
    /// Who signs the checkpoints, as the journal says or as was said beforehand.
    pub journal: Option<note::Verifier>,
    /// Decisions that were made again, and came out the same.
    pub repeated: u64,
    /// Decisions that could not be made again, because they counted reservations that have no
    /// record: a crash lost them, or they were open when the export ended.
    pub not_repeated: Vec<Sequence>,
    /// Where making again ended early, because the record does not follow from those before it:
    /// neither people nor decisions from there on were looked at.
    pub ended: Option<Sequence>,
    /// Decisions that could not be made again, because what was asked for is not in the export.
    pub withheld: Vec<Sequence>,
    /// How many records of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Everything that is wrong. Empty: the journal explains itself.
    pub discrepancies: Vec<Discrepancy>,
}

/// Something wrong with a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discrepancy {
    /// The record, or the one before which it was noticed.
    pub at: Sequence,
    /// What it makes worthless.
    pub level: Level,
    /// What is wrong.
    pub what: String,
}

impl Verifier {
    /// Holds the journal against checkpoints as well: those that came with it, and better those
    /// that somebody kept elsewhere. `journal`: who must have signed them, if that is known from
    /// elsewhere; else the journal's own word is taken.
    pub fn against(checkpoints: Vec<Note>, journal: Option<note::Verifier>) -> Self {
        Self { held: Held::new(checkpoints, journal), ..Self::default() }
    }

    /// Takes one record's line, without its newline.
    pub fn record(&mut self, line: &[u8]) {
        self.take(ReadLine::of(line));
    }

    /// Takes the next line, read before: by another thread, if there are many.
    pub fn take(&mut self, ReadLine { leaf, entry, request }: ReadLine) {
        self.frontier.push(leaf);
        let at = Sequence(self.frontier.size());
        if self.vault.is_none() {
            self.vault = Some(VaultId(leaf));
        }
        self.held.pass(&self.frontier);
        let what = match entry {
            Ok(entry) if entry.seq == at => {
                self.requests.push(request);
                return self.entries.push(entry);
            }
            Ok(entry) => format!("the line is that of record {}", entry.seq),
            Err(error) => error.to_string(),
        };
        self.findings.push(Discrepancy { at, level: Level::Form, what });
    }

    /// Takes one attachment.
    pub fn attachment(&mut self, bytes: Vec<u8>) {
        self.attachments.insert(sha256(&bytes), bytes);
    }

    /// Checks everything that was taken.
    pub fn finish(self) -> Report {
        let mut kinds = BTreeMap::new();
        for entry in &self.entries {
            let count: &mut u64 = kinds.entry(entry.record.kind()).or_default();
            *count = count.saturating_add(1);
        }
        let (size, root, vault) = (self.frontier.size(), self.frontier.root(), self.vault);
        let mut report = Report {
            vault,
            size,
            root,
            attested: 0,
            journal: None,
            repeated: 0,
            not_repeated: Vec::new(),
            ended: None,
            withheld: Vec::new(),
            kinds,
            discrepancies: self.findings,
        };
        self.held.check(&self.entries, &mut report);
        if report.is_good(Level::Form) {
            replay::replay(&self.entries, self.requests, &self.attachments, &mut report);
        }
        report
    }
}

impl Report {
    /// Whether everything was looked at up to a level, and nothing is wrong.
    pub fn is_good(&self, level: Level) -> bool {
        let looked_at = match level {
            Level::Form | Level::Tree => true,
            Level::People => self.ended.is_none(),
            Level::Replay => self.ended.is_none() && self.withheld.is_empty(),
        };
        looked_at && self.first_wrong().is_none_or(|wrong| wrong > level)
    }

    /// The first level at which something is wrong.
    pub fn first_wrong(&self) -> Option<Level> {
        self.discrepancies.iter().map(|found| found.level).min()
    }

    /// Records above the newest checkpoint that counts.
    pub fn unattested(&self) -> u64 {
        self.size.saturating_sub(self.attested)
    }

    fn wrong(&mut self, at: Sequence, what: impl ToString) {
        self.found(Level::Replay, at, what);
    }

    /// Something that does not follow from the records before it.
    fn unfoldable(&mut self, at: Sequence, error: &Unfoldable) {
        let level = if error.is_of_people() { Level::People } else { Level::Replay };
        self.ended = Some(at);
        self.found(level, at, error);
    }

    fn found(&mut self, level: Level, at: Sequence, what: impl ToString) {
        // Whoever shows it says which record by itself.
        let what = what.to_string();
        let what = what.strip_prefix(&format!("record {at}: ")).unwrap_or(&what).to_owned();
        self.discrepancies.push(Discrepancy { at, level, what });
    }
}
