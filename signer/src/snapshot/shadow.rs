//! A thread that folds the durable journal by itself, from its first record on: so everything that
//! a start took on trust is read after all, and snapshots are written without the writer waiting.
//!
//! It runs at the lowest priority and may be far behind; then the next start has more to read. It
//! decides nothing, and nobody waits for it but the process's own memory: the state is kept twice.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use alloy_primitives::B256;
use parking_lot::Mutex;
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::record::{self, Actor, Entry, Frozen, UnreadableEntry};
use portcullis_policy::request::sha256;
use portcullis_policy::state::{ImageFault, State, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::tree::{Tiles, leaf_hash};
use rustix::process::setpriority_process;
use tokio::runtime::Handle;

use super::file::{Folder, Snapshot};
use crate::hsm::causes;
use crate::journal::{Head, ReadError, Reader, Records, Stored};
use crate::marker::Marked;
use crate::refusal::Refusal;
use crate::sequencer::{Noted, Sequencer, Started};

/// What has to come out at some records.
#[derive(Debug, Default)]
pub struct Claims {
    /// How far the last snapshot goes that is recorded.
    pub recorded: Sequence,
    at: BTreeMap<u64, Vec<Claim>>,
}

/// What has to come out at a record.
#[derive(Debug)]
pub enum Claim {
    /// The root of the tree.
    Root {
        /// What it has to be.
        root: B256,
        /// Who says so.
        whose: &'static str,
    },
    /// The hash of a snapshot there.
    Snapshot(B256),
}

impl Claims {
    /// With what the token has heard of the journal.
    #[must_use]
    pub fn marked(mut self, marked: Marked) -> Self {
        if let Marked::At(mark) = marked {
            let whose = "the marker in the token";
            self.claim(mark.sequence.0, Claim::Root { root: mark.root, whose });
        }
        self
    }

    /// Adds one. Of record 0 nothing can be claimed.
    pub fn claim(&mut self, at: u64, claim: Claim) {
        if at > 0 {
            self.at.entry(at).or_default().push(claim);
        }
    }
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A snapshot at each multiple of so many records.
    pub every: u64,
    /// The journal is read on when it has grown by so many.
    pub step: u64,
}

impl Default for Pace {
    /// A start folds some 30,000 records in a second, so it has two seconds to go at the most.
    fn default() -> Self {
        Self { every: 32_768, step: 8_192 }
    }
}

/// How far it has come, for health and metrics.
#[derive(Debug, Default)]
pub struct Progress {
    verified: AtomicU64,
    snapshot: AtomicU64,
    mismatch: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
}

impl Progress {
    /// The last record that was read, folded and found to be what others say.
    pub fn verified(&self) -> Sequence {
        Sequence(self.verified.load(Ordering::Relaxed))
    }

    /// How far the last snapshot goes that was recorded; 0 if none was.
    pub fn snapshot(&self) -> Sequence {
        Sequence(self.snapshot.load(Ordering::Relaxed))
    }

    /// Whether something was found that is not as it must be: everything was stopped then.
    pub fn is_mismatch(&self) -> bool {
        self.mismatch.lock().is_some()
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        self.mismatch.lock().iter().chain(self.trouble.lock().iter()).cloned().collect()
    }
}

/// The thread, before it runs.
pub struct Shadow {
    reader: Reader,
    records: Records,
    sequencer: Sequencer,
    folder: Folder,
    claims: Claims,
    pace: Pace,
    progress: Arc<Progress>,
    runtime: Handle,
    state: Option<State>,
    tiles: Tiles,
    epoch: Epoch,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("record {at} cannot be understood")]
    Entry {
        at: Sequence,
        #[source]
        source: UnreadableEntry,
    },
    #[error("it does not fold")]
    Fold(#[from] Unfoldable),
    #[error("it cannot be read")]
    Read(#[from] ReadError),
    #[error("up to record {at} it holds other records than {whose} speaks of")]
    Root { at: u64, whose: &'static str },
    #[error("up to record {at} it comes to something else than the snapshot that was used says")]
    Snapshot { at: u64 },
    #[error("the state cannot be written down")]
    Image(#[from] ImageFault),
}

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error("it cannot be written to the disk")]
    Disk(#[from] io::Error),
    #[error("the state cannot be written down")]
    Image(#[from] ImageFault),
    #[error("it cannot be recorded")]
    Record(#[from] Refusal),
    #[error("one of as many records is recorded already")]
    Older,
}

impl Halt {
    /// Whether the journal is not what it must be; else it only could not be read just now.
    fn is_mismatch(&self) -> bool {
        match self {
            Self::Entry { .. }
            | Self::Fold(_)
            | Self::Root { .. }
            | Self::Snapshot { .. }
            | Self::Image(_) => true,
            Self::Read(ReadError::Damaged { .. }) => true,
            // A segment that was taken away.
            Self::Read(ReadError::Io { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Shadow {
    fn new(reader: &Reader, sequencer: Sequencer, folder: Folder, claims: Claims) -> Self {
        let progress = Arc::new(Progress::default());
        progress.snapshot.store(claims.recorded.0, Ordering::Relaxed);
        Self {
            records: reader.records_from(Sequence(1)),
            reader: reader.clone(),
            sequencer,
            folder,
            claims,
            pace: Pace::default(),
            progress,
            runtime: Handle::current(),
            state: None,
            tiles: Tiles::default(),
            epoch: Epoch(0),
        }
    }

    /// Over the journal of a sequencer that has just started, with snapshots beside it. Must be
    /// called inside of a tokio runtime.
    pub fn of(started: &Started, reader: &Reader, data: &Path, claims: Claims) -> Self {
        let claims = Claims { recorded: started.snapshot, ..claims };
        Self::new(reader, started.sequencer.clone(), Folder::of(data), claims)
    }

    /// At another pace.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Runs it, until the storage is gone or something does not match.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn spawn(self) -> io::Result<(Arc<Progress>, JoinHandle<()>)> {
        let progress = Arc::clone(&self.progress);
        let thread = std::thread::Builder::new().name("shadow".into());
        Ok((progress, thread.spawn(move || self.run())?))
    }

    fn run(mut self) {
        // On Linux this is the thread's own. Whoever asks for a signature comes first.
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::warn!(%error, "the journal is verified at the priority of everything else");
        }
        while self.wait() {
            match self.follow(self.reader.head()) {
                Ok(()) => *self.progress.trouble.lock() = None,
                Err(halt) if halt.is_mismatch() => return self.alarm(&halt),
                Err(halt) => {
                    let why = causes(&halt);
                    tracing::error!(%why, "the journal is not verified in the background");
                    let line = format!("the journal is not verified in the background: {why}");
                    *self.progress.trouble.lock() = Some(line);
                    self.records = self.reader.records_from(self.at().next());
                    std::thread::sleep(AGAIN_AFTER);
                }
            }
        }
    }

    fn at(&self) -> Sequence {
        Sequence(self.tiles.size())
    }

    /// Until there is enough to read; `false` if there never will be.
    fn wait(&self) -> bool {
        let at = self.tiles.size();
        let enough = if at == 0 { 1 } else { at.saturating_add(self.pace.step) };
        let mut tip = self.reader.watch();
        let grown = tip.wait_for(|tip| tip.head().sequence.0 >= enough);
        self.runtime.block_on(grown).is_ok()
    }

    /// Reads on to where the journal ended just now.
    fn follow(&mut self, head: Head) -> Result<(), Halt> {
        while self.at() < head.sequence {
            let Some(stored) = self.records.next() else { break };
            self.take(&stored?)?;
            self.progress.verified.store(self.tiles.size(), Ordering::Relaxed);
        }
        if self.at() == head.sequence && self.tiles.frontier().root() != head.root {
            let whose = "the writer";
            return Err(Halt::Root { at: head.sequence.0, whose });
        }
        Ok(())
    }

    fn take(&mut self, stored: &Stored) -> Result<(), Halt> {
        let at = stored.sequence;
        let entry = Entry::decode(&stored.record);
        let entry = entry.map_err(|source| Halt::Entry { at, source })?;
        match &mut self.state {
            Some(state) => state.apply(&entry)?,
            None => self.state = Some(State::genesis(&entry)?),
        }
        self.tiles.push(leaf_hash(&stored.record));
        self.epoch = stored.epoch;
        for claim in self.claims.at.remove(&at.0).unwrap_or_default() {
            self.check(&claim)?;
        }
        if self.is_due() {
            self.snapshot();
        }
        Ok(())
    }

    fn check(&self, claim: &Claim) -> Result<(), Halt> {
        let at = self.tiles.size();
        match claim {
            Claim::Root { root, whose } => {
                let same = self.tiles.frontier().root() == *root;
                if same { Ok(()) } else { Err(Halt::Root { at, whose }) }
            }
            Claim::Snapshot(hash) => {
                let same = self.encoded()?.is_some_and(|bytes| sha256(&bytes) == *hash);
                if same { Ok(()) } else { Err(Halt::Snapshot { at }) }
            }
        }
    }

    /// At the last multiple that the journal has passed, unless there is one already.
    fn is_due(&self) -> bool {
        let at = self.tiles.size();
        let is_place = at.checked_rem(self.pace.every) == Some(0);
        let last = self.reader.head().sequence.0.saturating_sub(at) < self.pace.every;
        is_place && last && self.at() > self.progress.snapshot()
    }

    fn encoded(&self) -> Result<Option<Vec<u8>>, ImageFault> {
        let Some(state) = &self.state else { return Ok(None) };
        Ok(Some(Snapshot::encode(&self.tiles, self.epoch, &state.image()?)))
    }

    /// Writes one down. What goes wrong with that only makes the next start slow.
    fn snapshot(&self) {
        let upto = self.at();
        match self.write(upto) {
            Ok(()) => tracing::info!(%upto, "a snapshot was recorded"),
            Err(error) => {
                let why = causes(&error);
                tracing::warn!(%upto, %why, "no snapshot was written");
            }
        }
    }

    /// The file first: a record that names none would be of no use.
    fn write(&self, upto: Sequence) -> Result<(), Unwritten> {
        let Some(bytes) = self.encoded()? else { return Ok(()) };
        self.folder.write(upto, &bytes)?;
        let snapshot = record::Snapshot { hash: sha256(&bytes), upto };
        let noted = self.runtime.block_on(self.sequencer.snapshot(snapshot));
        if !matches!(noted, Ok(Noted::Recorded)) {
            self.folder.remove(upto)?;
        }
        if noted? == Noted::Older {
            return Err(Unwritten::Older);
        }
        let before = self.progress.snapshot();
        self.progress.snapshot.store(upto.0, Ordering::Relaxed);
        // The one before is what a start uses until a checkpoint covers this one.
        Ok(self.folder.keep(&[upto, before])?)
    }

    /// The journal is not what it was taken for: nothing that was decided on it can be relied on.
    fn alarm(&self, halt: &Halt) {
        let why = causes(halt);
        let reason = format!("the journal does not verify: {why}");
        tracing::error!("{reason}: everything is stopped");
        *self.progress.mismatch.lock() = Some(format!(
            "{reason}; restore the data folder, all of it from one place, and let people decide \
             what to start again"
        ));
        let frozen = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        let stopped = self.runtime.block_on(self.sequencer.freeze(frozen));
        if stopped.sequence.is_none() {
            tracing::error!("everything is stopped, and that could not be recorded");
        }
    }
}

/// The lowest priority there is.
const NICE: i32 = 19;

/// When the journal could not be read.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
