//! One run from a seed: lives of a journal on a simulated disk, and what must be true after each.
//!
//! Holds its own account of what was acknowledged, and asks only what any caller can ask. What it
//! says about the disk it reads from the disk.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::{Frontier, leaf_hash};

use super::super::disk::Disk;
use super::super::{
    Batch, CreateError, OpenError, Opened, Segments, Space, Storage, StorageError, Stored, Urgency,
};
use super::dice::Dice;
use super::medium::SECTOR;
use super::plan::{Among, Fault, Figures, Plan};
use super::simulated::Simulated;

/// One record with its attachments.
type Entry = (Vec<Vec<u8>>, Vec<u8>);

/// What must never be.
pub(super) type Violation = String;

const FOLDER: &str = "/journal";

pub(super) struct Model {
    dice: Dice,
    machine: Simulated,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    epoch: Epoch,
    /// All that was acknowledged, in order.
    acknowledged: Vec<Entry>,
    /// A batch of which nobody was told whether it is durable.
    under_way: Option<Vec<Entry>>,
    /// Makes every record another one.
    made: u64,
    /// Instead of those that the dice choose, what befalls the first lives.
    script: VecDeque<Plan>,
}

macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x706F_7274_6375_6C6C);
        let machine = Simulated::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(machine.clone());
        let segment_bytes = dice.of(&[4096, 4096, 8192, 16384]);
        Self {
            dice,
            machine,
            disk,
            segment_bytes,
            epoch: Epoch(1),
            acknowledged: Vec::new(),
            under_way: None,
            made: 0,
            script: VecDeque::new(),
        }
    }

    /// With these faults in its first lives.
    pub(super) fn scripted(seed: u64, script: impl Into<VecDeque<Plan>>) -> Self {
        Self { script: script.into(), ..Self::new(seed) }
    }

    /// Lives until the last, and looks at all of it once more.
    pub(super) fn run(mut self) -> (Figures, Result<u32, Violation>) {
        let ended = self.live();
        let mut figures = self.machine.machine().figures.clone();
        figures.count("seeds");
        (figures, ended)
    }

    /// How many calls the first life made.
    fn live(&mut self) -> Result<u32, Violation> {
        let lives = self.script.len() + 2 + self.dice.below(5);
        let mut calls = 0;
        for life in 0..lives {
            let plan = self.script.pop_front().unwrap_or_else(|| self.plan());
            self.begin_life(plan);
            let segments = if self.acknowledged.is_empty() { self.init()? } else { self.open()? };
            if let Some(segments) = segments {
                self.append_until_it_ends(segments)?;
            }
            if life == 0 {
                calls = self.machine.machine().plan.calls;
            }
            self.end_life()?;
        }
        // Whatever was: what was acknowledged is there when the machine starts without trouble.
        for _ in 0..2 {
            self.machine.lose_power();
            self.begin_life(Plan::default());
            self.machine.machine().room = None;
            let segments = if self.acknowledged.is_empty() { self.init()? } else { self.open()? };
            let mut segments = segments.ok_or("a start without trouble failed")?;
            let batch = self.batch();
            self.append(&mut segments, &batch, Batch::ordinary())?;
            must!(self.under_way.is_none(), "an append without trouble failed");
        }
        Ok(calls)
    }

    fn plan(&mut self) -> Plan {
        let faults = [Fault::Kill, Fault::Power, Fault::Power, Fault::Io, Fault::Io];
        let fault = if self.dice.one_in(6) { Fault::NoSpace } else { self.dice.of(&faults) };
        let within = self.dice.of(&[8, 20, 60, 200]);
        let at = u32::try_from(1 + self.dice.below(within)).unwrap();
        if self.under_way.is_some() && self.dice.one_in(2) {
            // Trouble while the last trouble is being mended, where it hurts most.
            let fault = self.dice.of(&[Fault::Kill, Fault::Power, Fault::Io, Fault::Io]);
            let (at, among) =
                self.dice.of(&[(1, Among::Syncs), (2, Among::Syncs), (3, Among::Changes)]);
            return Plan { strike: Some((at, fault)), among, ..Plan::default() };
        }
        let among = self.dice.of(&[Among::Changes, Among::All, Among::Syncs, Among::Syncs]);
        Plan {
            strike: (!self.dice.one_in(8)).then_some((at, fault)),
            among,
            eager: self.dice.of(&[0, 2, 8, 12]),
            cannot_reserve: self.dice.one_in(4),
            ..Plan::default()
        }
    }

    fn begin_life(&mut self, plan: Plan) {
        self.epoch = Epoch(self.epoch.0 + 1);
        let mut room = None;
        if self.dice.one_in(3) {
            let segment = usize::try_from(self.segment_bytes).unwrap();
            room = Some(segment * self.dice.below(4) + self.dice.below(segment));
        }
        self.machine.new_life(plan);
        let mut machine = self.machine.machine();
        machine.figures.count("lives");
        machine.room = room;
    }

    /// Makes the journal and its genesis, or finds that it was made.
    fn init(&mut self) -> Result<Option<Segments>, Violation> {
        match Segments::create_on(&self.disk, Path::new(FOLDER), self.segment_bytes) {
            Ok(segments) => return Ok(Some(segments)),
            Err(CreateError::Open(OpenError::Io { .. })) => {
                let no_space = self.machine.machine().plan.no_space;
                must!(self.was_struck() || no_space, "a journal was not made, without a cause");
                return Ok(None);
            }
            Err(CreateError::Exists { .. }) => {}
            Err(error) => return Err(format!("a journal was not made: {error}")),
        }
        match Segments::open_on(&self.disk, Path::new(FOLDER), None) {
            Ok((segments, opened)) => {
                self.judge_records(&segments, &opened)?;
                must!(!self.acknowledged.is_empty(), "a journal without records was opened");
                Ok(Some(segments))
            }
            Err(OpenError::Io { .. }) if self.was_struck() || self.was_evicted() => Ok(None),
            // As the message says: the folder is removed, and init run again.
            Err(OpenError::Unborn { .. } | OpenError::Missing { .. }) => {
                self.under_way = None;
                self.machine.machine().forget_names();
                if self.was_struck() { Ok(None) } else { self.init() }
            }
            Err(error) => Err(format!("the first start: {error}")),
        }
    }

    fn open(&mut self) -> Result<Option<Segments>, Violation> {
        let before = self.machine.machine().seen();
        let (segments, opened) = match Segments::open_on(&self.disk, Path::new(FOLDER), None) {
            Ok(opened) => opened,
            Err(OpenError::Io { .. }) if self.was_struck() || self.was_evicted() => {
                self.machine.machine().figures.count("starts that failed");
                return Ok(None);
            }
            Err(error) => return Err(format!("refused to open: {}", chain(&error))),
        };
        self.judge_records(&segments, &opened)?;
        let mut machine = self.machine.machine();
        if opened.cut.is_some() {
            machine.figures.count("cuts");
        }
        machine.judge_cut(&before, opened.cut.as_ref())?;
        drop(machine);
        Ok(Some(segments))
    }

    /// All that was acknowledged, and after it the batch that was under way, or not.
    fn judge_records(&mut self, segments: &Segments, opened: &Opened) -> Result<(), Violation> {
        let mut expected = self.acknowledged.len();
        let found = usize::try_from(opened.head.sequence.0).unwrap();
        if let Some(more) = self.under_way.take()
            && found == expected + more.len()
        {
            expected = found;
            self.acknowledged.extend(more);
            self.machine.machine().figures.count("whole though unacknowledged");
        }
        must!(found == expected, "{found} records, and {expected} were acknowledged");
        let leaves = self.acknowledged.iter().map(|(_, record)| leaf_hash(record));
        must!(opened.head.root == leaves.collect::<Frontier>().root(), "another root");
        self.judge_reading(segments)
    }

    fn judge_reading(&self, segments: &Segments) -> Result<(), Violation> {
        // Reading is not struck here: only what it gives counts.
        let among = self.machine.machine().plan.among;
        self.machine.machine().plan.among = Among::Changes;
        let mut expected = self.acknowledged.iter();
        let mut sequence = Sequence(1);
        for stored in segments.reader().records_from(sequence) {
            if self.machine.machine().is_dead() {
                return Ok(());
            }
            let stored = stored.map_err(|error| format!("reading: {}", chain(&error)))?;
            let Stored { sequence: found, attachments, record, .. } = stored;
            must!(found == sequence, "record {found} in the place of {sequence}");
            let (wanted, bytes) = expected.next().ok_or("a record too many was read")?;
            must!(record == bytes[..], "record {sequence} is another one");
            must!(attachments == *wanted, "record {sequence} has other attachments");
            sequence = sequence.next();
        }
        let left = expected.count();
        must!(left == 0 || self.machine.machine().is_dead(), "{left} records were not read");
        self.machine.machine().plan.among = among;
        Ok(())
    }

    fn append_until_it_ends(&mut self, mut segments: Segments) -> Result<(), Violation> {
        for _ in 0..self.dice.below(24) {
            if self.dice.one_in(24) {
                self.machine.machine().room = None;
            }
            let urgent = self.dice.one_in(6);
            let batch = if urgent { vec![self.entry(200)] } else { self.batch() };
            let kind = if urgent { Batch::emergency() } else { Batch::ordinary() };
            if !self.append(&mut segments, &batch, kind)? {
                return Ok(());
            }
            if self.dice.one_in(8) {
                self.judge_reading(&segments)?;
            }
        }
        Ok(())
    }

    /// Whether the journal may go on.
    fn append(
        &mut self,
        segments: &mut Segments,
        entries: &[Entry],
        batch: Batch,
    ) -> Result<bool, Violation> {
        let urgent = batch.urgency() == Urgency::Emergency;
        let batch = filled(entries, batch);
        let before = segments.head();
        match segments.append_if_owner(self.epoch, &batch) {
            Ok(durable) => {
                let first = u64::try_from(self.acknowledged.len()).unwrap() + 1;
                must!(durable.first() == Sequence(first), "{durable:?} is not record {first}");
                self.acknowledged.extend_from_slice(entries);
                let leaves = self.acknowledged.iter().map(|(_, record)| leaf_hash(record));
                let root = leaves.collect::<Frontier>().root();
                must!(durable.head().root == root, "acknowledged under another root");
                must!(segments.head() == durable.head(), "acknowledged and not the head");
                let machine = self.machine.machine();
                let spare = machine.seen().keys().any(|name| name.ends_with(".spare"));
                must!(spare || urgent || machine.is_dead(), "the last free segment was taken");
                drop(machine);
                self.machine.machine().figures.count("batches");
                return Ok(true);
            }
            Err(StorageError::TooLarge { .. }) => {}
            Err(StorageError::NoSpace) => {
                must!(self.machine.machine().plan.no_space, "no space, and none was refused");
                must!(segments.head() == before, "the head moved though there was no space");
                return self.an_emergency_fits(segments);
            }
            Err(StorageError::Io { step, source }) => {
                must!(self.was_struck(), "could not {step}: {source}, and nothing had failed");
                self.under_way = Some(entries.to_vec());
                must!(segments.head() == before, "the head moved though an error came");
                let changes = self.machine.machine().plan.changes;
                let again = segments.append_if_owner(self.epoch, &batch);
                must!(matches!(again, Err(StorageError::Poisoned)), "{again:?} after an error");
                let more = self.machine.machine().plan.changes - changes;
                must!(more == 0, "{more} calls to the disk after an error");
                return Ok(false);
            }
            Err(error) => return Err(format!("not appended: {}", chain(&error))),
        }
        must!(segments.head() == before, "the head moved though nothing was appended");
        Ok(true)
    }

    /// A short emergency has room as long as one free segment is there.
    fn an_emergency_fits(&mut self, segments: &mut Segments) -> Result<bool, Violation> {
        if segments.space() == Space::Exhausted || self.machine.machine().plan.no_rename {
            return Ok(true);
        }
        let entry = [self.entry(100)];
        let batch = filled(&entry, Batch::emergency());
        match segments.append_if_owner(self.epoch, &batch) {
            Ok(_) => self.acknowledged.extend(entry),
            Err(StorageError::Io { .. }) if self.was_struck() => {
                self.under_way = Some(entry.to_vec());
                return Ok(false);
            }
            Err(StorageError::NoSpace) if self.machine.machine().plan.no_rename => {}
            Err(error) => return Err(format!("an emergency did not fit: {}", chain(&error))),
        }
        Ok(true)
    }

    /// The process has ended; sometimes the machine is started again too, or bits rot.
    fn end_life(&mut self) -> Result<(), Violation> {
        let fault = self.machine.machine().fault.take();
        must!(fault.is_none(), "{}", fault.unwrap_or_default());
        let unsure = self.under_way.is_some() || self.acknowledged.is_empty();
        if self.dice.one_in(3) {
            self.machine.lose_power();
        } else if self.dice.one_in(3) {
            self.machine.machine().evict_all();
        }
        if !unsure && !self.was_struck() && self.dice.one_in(4) {
            self.rot()?;
        }
        Ok(())
    }

    /// One byte changes at rest: the start says where, and has changed nothing.
    fn rot(&mut self) -> Result<(), Violation> {
        self.machine.lose_power();
        let Some((name, at, old)) = self.machine.machine().rot() else { return Ok(()) };
        self.machine.new_life(Plan::default());
        let before = self.machine.machine().seen();
        let opened = Segments::open_on(&self.disk, Path::new(FOLDER), None);
        match opened.map(|(_, opened)| opened) {
            Err(OpenError::Damaged { path, position, .. }) => {
                let place = usize::try_from(position).unwrap() / SECTOR;
                let right = path.ends_with(&name) && place == at / SECTOR;
                must!(right, "{name} rotted at {at}, and the start says {path:?} at {position}");
            }
            Err(error) => return Err(format!("{name} rotted at {at}: {}", chain(&error))),
            Ok(opened) => return Err(format!("{name} rotted at {at}, and opened: {opened:?}")),
        }
        let mut machine = self.machine.machine();
        must!(machine.seen() == before, "a refused start changed the journal");
        machine.mend(&name, at, old);
        Ok(())
    }

    fn was_struck(&self) -> bool {
        self.machine.machine().plan.told
    }

    /// Whether something was seen in this life that was gone when it was read again.
    fn was_evicted(&self) -> bool {
        !self.machine.machine().evicted.is_empty()
    }

    fn batch(&mut self) -> Vec<Entry> {
        let most = self.dice.of(&[100, 600, 1500, 3000]);
        (0..1 + self.dice.below(4)).map(|_| self.entry(most)).collect()
    }

    fn entry(&mut self, most: usize) -> Entry {
        self.made += 1;
        let bytes = |dice: &mut Dice| {
            let mut bytes = self.made.to_be_bytes().to_vec();
            let filler = u8::try_from(dice.of(&[0, 0x5A, 0xA5])).unwrap();
            bytes.resize(8 + dice.below(most), filler);
            bytes
        };
        let record = bytes(&mut self.dice);
        let attachments = if self.dice.one_in(5) { 1 + self.dice.below(2) } else { 0 };
        ((0..attachments).map(|_| bytes(&mut self.dice)).collect(), record)
    }
}

fn filled(entries: &[Entry], mut batch: Batch) -> Batch {
    for (attachments, record) in entries {
        attachments.iter().for_each(|bytes| batch.push_attachment(bytes).unwrap());
        batch.push_record(record).unwrap();
    }
    batch
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        words = format!("{words}: {error}");
        next = error.source();
    }
    words
}
