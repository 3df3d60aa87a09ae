//! A thread that folds the durable journal by itself, from its first record on: so everything that
//! a start took on trust is read after all, and snapshots are written without the writer waiting.
//!
//! It runs at the lowest priority and may be far behind; then the next start has more to read. It
//! decides nothing, and nobody waits for it but the process's own memory: the state is kept twice.

mod alarm;
mod faults;
mod folded;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use alloy_primitives::B256;
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::record::{self, Entry, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::{CheckpointKey, ImageFault, State};
use portcullis_policy::tree::{Tiles, leaf_hash};
use rustix::process::setpriority_process;
use tokio::runtime::Handle;

use self::alarm::Alarm;
use self::faults::{Halt, Unwritten};
pub use self::folded::Folded;
use self::folded::Taken;
pub(super) use self::folded::text;
use super::claims::{Claim, Claims};
use super::file::{Folder, Snapshot, writer};
use super::progress::{Pace, Progress};
use crate::hsm::{Hsm, HsmError, causes};
use crate::journal::{Head, Reader, Records, Stored};
use crate::sequencer::{Noted, Sequencer, Started};

/// Has the token sign a snapshot. Called on the shadow's own thread, which may wait.
pub type Seal = Box<dyn Fn(Folded, CheckpointKey) -> Result<Vec<u8>, HsmError> + Send>;

/// The seal of a token. Must be called inside of a tokio runtime.
pub fn seal(token: Arc<Hsm>) -> Seal {
    let runtime = Handle::current();
    Box::new(move |folded, key| runtime.block_on(token.sign_snapshot(folded, key)))
}

/// The thread, before it runs.
pub struct Shadow {
    reader: Reader,
    records: Records,
    sequencer: Sequencer,
    folder: Folder,
    claims: Claims,
    pace: Pace,
    /// Where segments may be that are not here now.
    archive: Option<PathBuf>,
    progress: Arc<Progress>,
    runtime: Handle,
    seal: Seal,
    state: Option<State>,
    tiles: Tiles,
    epoch: Epoch,
    /// What a snapshot at each place comes to, until a record names a later one.
    comes_to: BTreeMap<Sequence, B256>,
    /// To be written once the journal was read up to where the writer knows it.
    taken: Option<Taken>,
    /// How far the last one goes that a start can begin with.
    usable: Sequence,
    failures: u32,
}

impl Shadow {
    /// Over the journal of a sequencer that has just started, with snapshots beside it. Must be
    /// called inside of a tokio runtime.
    pub fn of(
        started: &Started,
        reader: &Reader,
        (folder, seal): (&Path, Seal),
        claims: Claims,
    ) -> Self {
        let progress = Arc::new(Progress::default());
        progress.has_recorded(started.snapshot);
        Self {
            records: reader.records_from(Sequence(1)),
            reader: reader.clone(),
            sequencer: started.sequencer.clone(),
            folder: Folder::of(folder),
            usable: claims.begun(),
            claims,
            pace: Pace::default(),
            archive: None,
            progress,
            runtime: Handle::current(),
            seal,
            state: None,
            tiles: Tiles::default(),
            epoch: Epoch(0),
            comes_to: BTreeMap::new(),
            taken: None,
            failures: 0,
        }
    }

    /// At another pace.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// With segments in an archive that may be away: nothing is verified then, and that is said,
    /// and nothing else comes of it.
    #[must_use]
    pub fn archived(self, archive: Option<PathBuf>) -> Self {
        Self { archive, ..self }
    }

    /// Runs it, until the storage is gone or something does not match.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn spawn(self) -> io::Result<(Arc<Progress>, JoinHandle<()>)> {
        let (progress, alarm) = (self.progress.clone(), self.alarm());
        let thread = std::thread::Builder::new().name("shadow".into());
        let body = move || {
            // Without it nobody would ever hear that what was taken on trust is not true.
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                alarm.ring("what reads it in the background panicked, so that nothing does");
            }
        };
        Ok((progress, thread.spawn(body)?))
    }

    fn alarm(&self) -> Alarm {
        let Self { progress, sequencer, runtime, .. } = self;
        let (progress, sequencer) = (progress.clone(), sequencer.clone());
        Alarm { progress, sequencer, runtime: runtime.clone() }
    }

    fn run(mut self) {
        // On Linux this is the thread's own. Whoever asks for a signature comes first.
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::warn!(%error, "the journal is verified at the priority of everything else");
        }
        while let Some(head) = self.wait() {
            match self.follow(&head) {
                Ok(()) => {
                    self.failures = 0;
                    self.progress.is_troubled(None);
                }
                Err(halt) if self.is_alarming(&halt) => return self.alarm().ring(&causes(&halt)),
                Err(halt) => self.put_off(&halt),
            }
        }
    }

    /// What cannot be read is no better than what does not match, while something depends on it:
    /// else whoever has the disk would only have to take the right to read away.
    fn is_alarming(&self, halt: &Halt) -> bool {
        if halt.is_away_in(self.archive.as_deref()) {
            return false;
        }
        let is_last = self.failures.saturating_add(1) >= FAILURES_MAX;
        halt.is_mismatch() || (is_last && self.claims.are_open())
    }

    fn put_off(&mut self, halt: &Halt) {
        let line = format!("the journal is not verified in the background: {}", causes(halt));
        if !self.progress.troubles().contains(&line) {
            tracing::error!("{line}");
        }
        self.progress.is_troubled(Some(line));
        let is_away = halt.is_away_in(self.archive.as_deref());
        self.failures = if is_away { 1 } else { self.failures.saturating_add(1) };
        self.records = self.reader.records_from(self.at().next());
        std::thread::sleep(self.pace.again_after);
    }

    fn at(&self) -> Sequence {
        Sequence(self.tiles.size())
    }

    /// Until there is enough to read; `None` if there never will be.
    fn wait(&self) -> Option<Head> {
        let at = self.tiles.size();
        let is_behind = at == 0 || self.failures > 0;
        let enough = if is_behind { 1 } else { at.saturating_add(self.pace.step) };
        let tip = self.reader.watch();
        loop {
            // Fails when the storage is gone.
            tip.has_changed().ok()?;
            let head = self.reader.head();
            if head.sequence.0 >= enough {
                return Some(head);
            }
            std::thread::sleep(self.pace.look);
        }
    }

    /// Reads on to where the journal ended just now.
    fn follow(&mut self, head: &Head) -> Result<(), Halt> {
        while self.at() < head.sequence {
            let Some(stored) = self.records.next() else { return Ok(()) };
            self.take(&stored?, head)?;
        }
        if self.tiles.frontier().root() != head.root {
            let whose = "the writer";
            return Err(Halt::Root { at: head.sequence.0, whose });
        }
        self.progress.has_verified(head.sequence.0);
        self.keep_taken(head);
        Ok(())
    }

    fn take(&mut self, stored: &Stored, head: &Head) -> Result<(), Halt> {
        let at = stored.sequence;
        let entry = Entry::decode(&stored.record);
        let entry = entry.map_err(|source| Halt::Entry { at, source })?;
        match &mut self.state {
            Some(state) => state.apply(&entry)?,
            None => self.state = Some(State::genesis(&entry)?),
        }
        self.tiles.push(leaf_hash(&stored.record));
        self.epoch = stored.epoch;
        for claim in self.claims.of(at.0) {
            self.check(claim)?;
        }
        self.claims.found(at.0);
        if let Record::Snapshot(named) = &entry.record {
            self.compare(at, named)?;
        }
        self.pass(head)
    }

    fn check(&self, claim: &Claim) -> Result<(), Halt> {
        let at = self.tiles.size();
        match claim {
            Claim::Root { root, whose } => {
                let same = self.tiles.frontier().root() == *root;
                if !same {
                    return Err(Halt::Root { at, whose });
                }
                self.progress.has_verified(at);
                Ok(())
            }
            Claim::Snapshot(hash) => {
                let same = self.body()?.is_some_and(|body| sha256(&body) == *hash);
                if same { Ok(()) } else { Err(Halt::Snapshot { at }) }
            }
        }
    }

    /// What a record says of a snapshot, against what was read. That of other code is written
    /// otherwise, and nothing is known of one where we make none.
    fn compare(&mut self, at: Sequence, named: &record::Snapshot) -> Result<(), Halt> {
        let upto = named.upto;
        let comes_to = self.comes_to.get(&upto).copied();
        self.comes_to.retain(|place, _| *place > upto);
        let same = named.code != Some(writer()) || comes_to.is_none_or(|hash| hash == named.hash);
        if same { Ok(()) } else { Err(Halt::Named { at, upto }) }
    }

    /// A snapshot is made at each multiple, and the last that the journal has passed is kept to be
    /// written, unless there is one already.
    fn pass(&mut self, head: &Head) -> Result<(), Halt> {
        let upto = self.at();
        if upto.0.checked_rem(self.pace.every) != Some(0) {
            return Ok(());
        }
        let Some(body) = self.body()? else { return Ok(()) };
        self.comes_to.insert(upto, sha256(&body));
        let is_last = head.sequence.0.saturating_sub(upto.0) < self.pace.every;
        let Some(state) = self.state.as_ref().filter(|_| is_last && upto > self.usable) else {
            return Ok(());
        };
        // Without a key in it no start could believe it.
        if let Some(key) = state.checkpoints().made.clone() {
            self.taken = Some(Taken::new(state.vault(), upto, key, body));
        }
        Ok(())
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ImageFault> {
        let Some(state) = &self.state else { return Ok(None) };
        Ok(Some(Snapshot::body(&self.tiles, self.epoch, &state.image()?)))
    }

    /// Writes one down. What goes wrong with that only makes the next start slow, and is tried
    /// again.
    fn keep_taken(&mut self, head: &Head) {
        let Some(taken) = self.taken.take() else { return };
        let upto = taken.upto();
        match self.write(&taken, head) {
            Ok(()) => tracing::info!(%upto, "a snapshot was written"),
            Err(error) => {
                let why = causes(&error);
                tracing::warn!(%upto, %why, "no snapshot was written");
                self.taken = Some(taken);
            }
        }
    }

    /// The file first: a record that names none would be of no use.
    fn write(&mut self, taken: &Taken, head: &Head) -> Result<(), Unwritten> {
        let folded = taken.folded(&self.tiles, head).ok_or(Unwritten::Unheld)?;
        let (upto, hash) = (taken.upto(), folded.hash());
        let signature = (self.seal)(folded, taken.key().clone())?;
        self.folder.write(upto, &Snapshot::encode(&signature, taken.body()))?;
        // One that was lost, or that other code wrote, has its record already.
        if upto > self.progress.snapshot() {
            self.record(upto, hash)?;
        }
        let before = std::mem::replace(&mut self.usable, upto);
        // The one before is what a start uses until a checkpoint covers this one.
        Ok(self.folder.keep(&[upto, before])?)
    }

    fn record(&self, upto: Sequence, hash: B256) -> Result<(), Unwritten> {
        let snapshot = record::Snapshot { code: Some(writer()), hash, upto };
        let noted = self.runtime.block_on(self.sequencer.snapshot(snapshot));
        if !matches!(noted, Ok(Noted::Recorded)) {
            self.folder.remove(upto)?;
        }
        if noted? == Noted::Older {
            return Err(Unwritten::Older);
        }
        self.progress.has_recorded(upto);
        Ok(())
    }
}

/// The lowest priority there is.
const NICE: i32 = 19;

/// How often the journal may be unreadable while something is taken on trust.
const FAILURES_MAX: u32 = 6;
