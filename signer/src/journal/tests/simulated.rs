//! A disk in memory that does all that a disk may do, as its dice say.
//!
//! What is taken from a real one: file systems that journal their names. A sync of the folder that
//! fails shuts such a file system down: nothing about names or syncs works until the machine has
//! been started again. A write is cut within a sector only by a loss of power, and only where the
//! sector was zero: what is written over something else arrives by whole sectors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::super::disk::{Disk, Join, Media};
use super::super::spares::State;
use super::dice::Dice;
use super::helper;
use super::medium::{File, Loss, Order, SECTOR};
use super::plan::{Call, Fault, Figures, Plan};

/// Clones are one disk.
#[derive(Clone)]
pub(super) struct Simulated(Arc<Mutex<Machine>>);

/// The disk, and what the machine around it knows.
pub(super) struct Machine {
    order: Order,
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) figures: Figures,
    pub(super) files: Vec<File>,
    /// Names as processes see them, and the number of the file.
    pub(super) names: BTreeMap<String, usize>,
    /// Names as they are when the power comes back.
    kept_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync, in order.
    dirty_names: Vec<Naming>,
    /// Counts processes.
    life: u32,
    /// The process has been killed, or the machine is off: nothing has an effect any more.
    dead: bool,
    /// The file system has shut itself down.
    shut_down: bool,
    locked: bool,
    has_folder: bool,
    /// Bytes left; `None` without end.
    pub(super) room: Option<usize>,
    /// Which sectors of which files changed under this life's eyes, because memory was short.
    pub(super) evicted: BTreeSet<(String, usize)>,
    /// What only the disk can notice: see [`Self::no_second_attempt`].
    pub(super) fault: Option<String>,
}

#[derive(Clone)]
struct Naming {
    file: usize,
    from: Option<String>,
    to: Option<String>,
}

struct Handle {
    disk: Simulated,
    file: Option<usize>,
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

impl Simulated {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self(Arc::new(Mutex::new(Machine {
            order: dice.of(&[Order::AnySectors, Order::AnySectors, Order::InOrder]),
            dice,
            plan: Plan::default(),
            figures: Figures::default(),
            files: Vec::new(),
            names: BTreeMap::new(),
            kept_names: BTreeMap::new(),
            dirty_names: Vec::new(),
            life: 0,
            dead: false,
            shut_down: false,
            locked: false,
            has_folder: false,
            room: None,
            evicted: BTreeSet::new(),
            fault: None,
        })))
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock()
    }

    /// Another process may begin, with other faults ahead of it.
    pub(super) fn new_life(&self, plan: Plan) {
        let mut machine = self.machine();
        if machine.locked {
            machine.fault = Some("the folder's lock outlived the journal".to_owned());
        }
        machine.life += 1;
        machine.dead = false;
        machine.evicted.clear();
        machine.plan = plan;
    }

    /// The power goes and comes back.
    pub(super) fn lose_power(&self) {
        self.machine().lose_power();
    }

    fn helper_is_due(&self) -> bool {
        let mut machine = self.machine();
        machine.plan.eager > 0 && machine.dice.below(16) < machine.plan.eager
    }

    /// What comes before every call: the other thread may go on, then a planned fault may strike.
    fn begin(&self, call: Call) -> io::Result<(MutexGuard<'_, Machine>, Option<Fault>)> {
        if helper::is_this() {
            helper::let_the_other_go_on();
        } else {
            while self.helper_is_due() && helper::let_the_other_go_on() {}
        }
        let mut machine = self.machine();
        if machine.dead {
            return Err(broken());
        }
        let fault = machine.plan.next(call);
        if machine.shut_down && matches!(call, Call::Name | Call::Remove | Call::Sync) {
            machine.plan.told = true;
            return Err(broken());
        }
        match fault {
            Some(Fault::Io) if call != Call::Write && call != Call::Sync => {
                machine.plan.told = true;
                machine.figures.count("other errors");
                Err(broken())
            }
            Some(Fault::NoSpace) if call == Call::Name => Err(machine.refuse_space()),
            Some(Fault::NoSpace) => Ok((machine, None)),
            fault => Ok((machine, fault)),
        }
    }
}

impl Machine {
    /// Someone removes the folder, and that lasts.
    pub(super) fn forget_names(&mut self) {
        self.names.clear();
        self.kept_names.clear();
        self.dirty_names.clear();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    fn refuse_space(&mut self) -> io::Error {
        self.plan.no_space = true;
        self.figures.count("no space");
        full()
    }

    /// The process, or the whole machine, ends within a call.
    fn die(&mut self, fault: Fault) -> io::Error {
        self.dead = true;
        self.plan.told = true;
        match fault {
            Fault::Power => self.lose_power(),
            Fault::Kill | Fault::Io | Fault::NoSpace => self.figures.count("killed"),
        }
        broken()
    }

    fn lose_power(&mut self) {
        self.figures.count("power lost");
        self.shut_down = false;
        let some = Loss::Some(self.order);
        let losses = [Loss::All, Loss::Nothing, some, some, some];
        let (names, loss) = (self.dice.of(&losses), self.dice.of(&losses));
        // Of each file's namings so far: as many as arrived, in their order.
        let mut lost = Vec::new();
        for naming in std::mem::take(&mut self.dirty_names) {
            let gone = match names {
                Loss::All => true,
                Loss::Nothing => false,
                Loss::Some(_) => self.dice.one_in(2),
            };
            if gone || lost.contains(&naming.file) {
                lost.push(naming.file);
            } else {
                apply(&mut self.kept_names, &naming);
            }
        }
        self.names = self.kept_names.clone();
        for file in &mut self.files {
            file.lose(loss, &mut self.dice);
        }
    }

    fn name(&mut self, naming: Naming) {
        apply(&mut self.names, &naming);
        self.dirty_names.push(naming);
    }

    /// Forgets what is still to be written: from now on it is durable.
    fn sync_names(&mut self) {
        for naming in std::mem::take(&mut self.dirty_names) {
            apply(&mut self.kept_names, &naming);
        }
    }

    fn taken(&self) -> usize {
        let bytes = |file: &usize| self.files[*file].reserved.max(self.files[*file].seen.len());
        self.names.values().map(bytes).sum()
    }

    /// How much of a file's first `bytes` fits on the disk.
    fn fits(&self, file: usize, bytes: usize) -> usize {
        let has = self.files[file].reserved.max(self.files[file].seen.len());
        let Some(room) = self.room else { return bytes };
        bytes.min(has + room.saturating_sub(self.taken()))
    }

    /// A second attempt at what failed would be believed, and must not be made.
    fn no_second_attempt(&mut self, file: usize) {
        if self.files[file].failed_in == Some(self.life) {
            self.fault = Some("wrote or synced a file again after an error".to_owned());
        }
    }

    /// How much a call that is cut short has written: whole sectors.
    fn cut(&mut self, bytes: &[u8], at: usize) -> usize {
        let length = self.dice.below(bytes.len() + 1);
        ((at + length) / SECTOR * SECTOR).saturating_sub(at)
    }
}

fn apply(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    if let Some(from) = &naming.from
        && names.get(from) == Some(&naming.file)
    {
        names.remove(from);
    }
    if let Some(to) = &naming.to {
        names.insert(to.clone(), naming.file);
    }
}

impl Disk for Simulated {
    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        let (mut machine, fault) = self.begin(Call::Name)?;
        machine.has_folder = true;
        fault.map_or(Ok(()), |fault| Err(machine.die(fault)))
    }

    fn lock(&self, _folder: &Path) -> io::Result<Option<Box<dyn Media>>> {
        let mut machine = self.machine();
        if !machine.has_folder {
            return Err(ErrorKind::NotFound.into());
        }
        if std::mem::replace(&mut machine.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Handle { disk: self.clone(), file: None })))
    }

    fn names(&self, _folder: &Path) -> io::Result<Vec<String>> {
        let (mut machine, fault) = self.begin(Call::Read)?;
        let names = machine.names.keys().rev().cloned().collect();
        fault.map_or(Ok(names), |fault| Err(machine.die(fault)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        let (mut machine, fault) = self.begin(Call::Name)?;
        let file = machine.files.len();
        machine.files.push(File::default());
        machine.name(Naming { file, from: None, to: Some(name_of(path)) });
        match fault {
            Some(fault) => Err(machine.die(fault)),
            None => Ok(Box::new(Handle { disk: self.clone(), file: Some(file) })),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        let (mut machine, fault) = self.begin(Call::Read)?;
        let file = machine.names.get(&name_of(path)).copied();
        let handle = Handle { disk: self.clone(), file };
        match (file, fault) {
            (_, Some(fault)) => Err(machine.die(fault)),
            (None, None) => Err(ErrorKind::NotFound.into()),
            (Some(_), None) => Ok(Box::new(handle)),
        }
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let begun = self.begin(Call::Name);
        if begun.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull) {
            self.machine().plan.no_rename = true;
        }
        let (mut machine, fault) = begun?;
        let (from, to) = (name_of(from), name_of(to));
        let file = *machine.names.get(&from).ok_or(ErrorKind::NotFound)?;
        machine.name(Naming { file, from: Some(from), to: Some(to) });
        fault.map_or(Ok(()), |fault| Err(machine.die(fault)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut machine, fault) = self.begin(Call::Remove)?;
        let from = name_of(path);
        let file = *machine.names.get(&from).ok_or(ErrorKind::NotFound)?;
        machine.name(Naming { file, from: Some(from), to: None });
        fault.map_or(Ok(()), |fault| Err(machine.die(fault)))
    }

    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        helper::start(work);
        Ok(Box::new(helper::join))
    }

    fn wait(&self, _: &Condvar, state: &mut MutexGuard<'_, State>, _: Option<Duration>) {
        let was_there = MutexGuard::unlocked(state, helper::let_the_other_go_on);
        assert!(was_there, "waits for nobody");
    }
}

impl Handle {
    fn sync(&self) -> io::Result<()> {
        let (mut guard, fault) = self.disk.begin(Call::Sync)?;
        let machine = &mut *guard;
        let Some(file) = self.file else { return sync_folder(machine, fault) };
        machine.no_second_attempt(file);
        match fault {
            None => machine.files[file].sync(),
            Some(Fault::Io) => {
                machine.plan.told = true;
                machine.figures.count("sync errors");
                machine.files[file].fail_sync(machine.order, &mut machine.dice);
                machine.files[file].failed_in = Some(machine.life);
                return Err(broken());
            }
            Some(fault) => return Err(machine.die(fault)),
        }
        Ok(())
    }
}

fn sync_folder(machine: &mut Machine, fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => machine.sync_names(),
        Some(Fault::Io) => {
            machine.plan.told = true;
            machine.figures.count("sync errors");
            machine.shut_down = true;
            return Err(broken());
        }
        Some(fault) => {
            if machine.dice.one_in(2) {
                machine.sync_names();
            }
            return Err(machine.die(fault));
        }
    }
    Ok(())
}

impl FileExt for Handle {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.file.ok_or(ErrorKind::IsADirectory)?;
        let (mut guard, fault) = self.disk.begin(Call::Read)?;
        let machine = &mut *guard;
        if let Some(fault) = fault {
            return Err(machine.die(fault));
        }
        if machine.dice.one_in(8) {
            let evicted = machine.files[file].evict(&mut machine.dice);
            machine.figures.add("pages dropped", evicted.len());
            let name = machine.names.iter().find(|(_, of)| **of == file);
            let name = name.map(|(name, _)| name.clone()).unwrap_or_default();
            machine.evicted.extend(evicted.into_iter().map(|index| (name.clone(), index)));
        }
        // What may be dropped from memory is dropped by sectors, and is not read in halves.
        let unit = if machine.files[file].stale().is_empty() { 1 } else { SECTOR };
        let seen = &machine.files[file].seen;
        let rest = seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let mut some = rest.len().min(bytes.len());
        if some > 1 && machine.dice.one_in(16) {
            some = some.min((1 + machine.dice.below(some - 1)).next_multiple_of(unit));
        }
        bytes[..some].copy_from_slice(&rest[..some]);
        Ok(some)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let file = self.file.ok_or(ErrorKind::IsADirectory)?;
        let (mut guard, fault) = self.disk.begin(Call::Write)?;
        let machine = &mut *guard;
        machine.no_second_attempt(file);
        let at = usize::try_from(offset).unwrap();
        if let Some(fault) = fault {
            let some = machine.cut(bytes, at);
            machine.files[file].write(&bytes[..some], at);
            if fault != Fault::Io {
                return Err(machine.die(fault));
            }
            machine.plan.told = true;
            machine.figures.count("write errors");
            machine.files[file].failed_in = Some(machine.life);
            return Err(broken());
        }
        let mut some = machine.fits(file, at + bytes.len()).saturating_sub(at);
        if some == 0 {
            return Err(machine.refuse_space());
        }
        if machine.dice.one_in(16) {
            machine.figures.count("short writes");
            let sectors = some.div_ceil(SECTOR);
            some = some.min(SECTOR * (1 + machine.dice.below(sectors)));
        }
        machine.files[file].write(&bytes[..some], at);
        Ok(some)
    }
}

impl Media for Handle {
    fn bytes(&self) -> io::Result<u64> {
        let machine = self.disk.machine();
        let file = self.file.ok_or(ErrorKind::IsADirectory)?;
        Ok(u64::try_from(machine.files[file].seen.len()).unwrap())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let (mut machine, fault) = self.disk.begin(Call::Name)?;
        let (file, bytes) = (self.file.unwrap(), usize::try_from(bytes).unwrap());
        if machine.plan.cannot_reserve {
            return Err(ErrorKind::Unsupported.into());
        }
        if machine.fits(file, bytes) < bytes {
            return Err(machine.refuse_space());
        }
        machine.files[file].reserve(bytes);
        fault.map_or(Ok(()), |fault| Err(machine.die(fault)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.file.is_none() {
            self.disk.machine().locked = false;
        }
    }
}
