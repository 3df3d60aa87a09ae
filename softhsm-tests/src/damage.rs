//! The damage experiment: an export of the shipped signer, damaged in every way below a checkpoint,
//! and `portctl audit verify`, which must find each.
//!
//! There are millions: every byte changed, taken out or put in, every line split, cut off, taken
//! out, doubled or swapped. For all of them the verdict is worked out from the lines that differ
//! ([`Auditor`] says why it is the same); thousands of them `portctl` gets as whole files, too, and
//! the two must agree.

mod auditor;
mod desk;
mod file;
mod made;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use self::auditor::Auditor;
use self::desk::Desk;
use self::file::{Damage, File};
use self::made::Made;
use crate::world::Failure;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records of the export, at least.
    pub records: u64,
    /// Damaged files that `portctl` gets as a whole, for each of two checkpoints.
    pub whole: u32,
    /// Of everything that is left to chance.
    pub seed: u64,
}

/// Of so many damages, so many were found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Count {
    /// Were found.
    pub found: u64,
    /// Were done.
    pub of: u64,
}

/// Damages by their kind.
pub type Kinds = BTreeMap<&'static str, Count>;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Records of the export.
    pub records: usize,
    /// Those under the earlier checkpoint.
    pub records_earlier: usize,
    /// Inputs kept beside records.
    pub attachments: usize,
    /// Its length.
    pub bytes: usize,
    /// What whoever holds the checkpoint that came with the export finds below it.
    pub newest: Kinds,
    /// What whoever holds an earlier one alone finds below that.
    pub earlier: Kinds,
    /// Some of these, again, by `portctl` as whole files.
    pub whole: Kinds,
    /// Bytes changed in the checkpoint itself, by `portctl`.
    pub checkpoint: Count,
    /// What was not found, or not in both ways. Nothing, it is to be hoped.
    pub missed: Vec<String>,
}

impl Figures {
    /// All damages, each counted once.
    pub fn all(&self) -> Count {
        let mut all = self.checkpoint;
        self.newest.values().chain(self.earlier.values()).for_each(|one| all.join(*one));
        all
    }

    /// All that `portctl` was given.
    pub fn given(&self) -> Count {
        let mut all = self.checkpoint;
        self.whole.values().for_each(|one| all.join(*one));
        all
    }
}

impl Count {
    fn add(&mut self, found: bool) {
        self.join(Self { found: u64::from(found), of: 1 });
    }

    fn join(&mut self, other: Self) {
        self.found += other.found;
        self.of += other.of;
    }
}

/// What came of some damages.
#[derive(Default)]
struct Tally {
    kinds: Kinds,
    missed: Vec<String>,
}

impl Tally {
    fn add(&mut self, kind: &'static str, found: bool, what: impl FnOnce() -> String) {
        self.kinds.entry(kind).or_default().add(found);
        if !found {
            self.missed.push(what());
        }
    }

    fn join(&mut self, other: Self) {
        for (kind, count) in other.kinds {
            self.kinds.entry(kind).or_default().join(count);
        }
        self.missed.extend(other.missed);
    }
}

/// Makes an export, damages it, and has every damage looked for. `tell` gets a line now and then.
pub async fn run(plan: Plan, tell: impl Fn(&str)) -> Result<Figures, Failure> {
    let made = made::make(plan.records).await?;
    let file = File::read(&made.export)?;
    let newest = Auditor::new(&file, &fs::read_to_string(&made.newest)?)?;
    let earlier = Auditor::new(&file, &fs::read_to_string(&made.earlier)?)?;
    let mut figures = Figures {
        records: newest.size(),
        records_earlier: earlier.size(),
        attachments: file.attachments(),
        bytes: file.bytes().len(),
        ..Figures::default()
    };
    let Figures { records, records_earlier, attachments, bytes, .. } = figures;
    tell(&format!(
        "{records} records with {attachments} attachments in {bytes} bytes, {records_earlier} of \
         them under an earlier checkpoint"
    ));
    if attachments == 0 || records_earlier >= records {
        return Err("the export has not everything that is to be damaged".into());
    }
    figures.newest = judge(&file, &newest, &Desk::newest(&made), plan, &mut figures, &tell)?;
    figures.earlier = judge(&file, &earlier, &Desk::earlier(&made), plan, &mut figures, &tell)?;
    damage_checkpoint(&made, &file, plan, &mut figures)?;
    Ok(figures)
}

/// What one who holds a checkpoint finds.
fn judge(
    file: &File,
    auditor: &Auditor,
    desk: &Desk,
    plan: Plan,
    figures: &mut Figures,
    tell: impl Fn(&str),
) -> Result<Kinds, Failure> {
    // An eye that sees damage everywhere would find all of it.
    desk.passes(file.bytes())?;
    if auditor.finds_in(file, 0, file.lines_from(0)) {
        return Err("the export as it is does not count".into());
    }
    let every = share(|worker| Ok(every_damage(file, auditor, plan.seed, worker)))?;
    let all: u64 = every.kinds.values().map(|one| one.of).sum();
    tell(&format!("{}: {all} damages, {} not found", desk.name(), every.missed.len()));
    let sampled = share(|worker| some_damages(file, auditor, desk, plan, worker))?;
    let all: u64 = sampled.kinds.values().map(|one| one.of).sum();
    let missed = sampled.missed.len();
    tell(&format!("{}: {all} of them as whole files, {missed} not found", desk.name()));
    let of = |what: String| format!("{}: {what}", desk.name());
    figures.missed.extend(every.missed.into_iter().chain(sampled.missed.clone()).map(of));
    let mut whole = Tally { kinds: std::mem::take(&mut figures.whole), missed: Vec::new() };
    whole.join(sampled);
    figures.whole = whole.kinds;
    Ok(every.kinds)
}

/// One of some that work at once.
struct Worker<'a> {
    number: usize,
    next: &'a AtomicUsize,
}

impl Worker<'_> {
    /// The next piece of work that nobody has taken.
    fn take(&self, below: usize) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|next| *next < below)
    }
}

fn share(work: impl Fn(&Worker<'_>) -> Result<Tally, Failure> + Sync) -> Result<Tally, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let (work, next) = (&work, &next);
    thread::scope(|scope| {
        let begin = |number| scope.spawn(move || work(&Worker { number, next }));
        let workers: Vec<_> = (0..cores).map(begin).collect();
        let mut sum = Tally::default();
        for worker in workers {
            let done = worker.join().map_err(|_| Failure::from("a worker panicked"))?;
            sum.join(done?);
        }
        Ok(sum)
    })
}

/// Every damage of every line below the checkpoint, and swaps of pairs.
fn every_damage(file: &File, auditor: &Auditor, seed: u64, worker: &Worker<'_>) -> Tally {
    let mut tally = Tally::default();
    let mut judge = |damage: Damage| {
        let found = auditor.finds(file, damage);
        tally.add(damage.kind(file), found, || damage.to_string());
    };
    while let Some(line) = worker.take(auditor.lines()) {
        // What chance does to a line does not depend on who takes it.
        let mut chance = StdRng::seed_from_u64(seed ^ u64::try_from(line).unwrap_or(u64::MAX));
        Damage::every(file, line, auditor.lines(), &mut chance, &mut judge);
        for _ in 0..PAIRS_PER_LINE {
            judge(Damage::pair(line, auditor.lines(), &mut chance));
        }
    }
    tally
}

/// Some of them, as whole files: as many of each kind.
fn some_damages(
    file: &File,
    auditor: &Auditor,
    desk: &Desk,
    plan: Plan,
    worker: &Worker<'_>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    while let Some(number) = worker.take(usize::try_from(plan.whole)?) {
        let seed = plan.seed.rotate_left(32) ^ u64::try_from(number)?;
        let damage = Damage::one(number, file, auditor.lines(), &mut StdRng::seed_from_u64(seed));
        let found = desk.finds(worker.number, &damage.done(file))?;
        tally.add(damage.kind(file), found, || format!("{damage}, as a whole file"));
        if !auditor.finds(file, damage) {
            tally.missed.push(format!("{damage}, by its lines alone"));
        }
    }
    Ok(tally)
}

/// Changes bytes of the checkpoint itself: all of them, if so many files are asked for.
fn damage_checkpoint(
    made: &Made,
    file: &File,
    plan: Plan,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let note = fs::read(&made.newest)?;
    let every = note.len().div_ceil(usize::try_from(plan.whole)?.max(1));
    let desk = Desk::damaged_checkpoint(made);
    desk.lay(0, file.bytes())?;
    for at in (0..note.len()).step_by(every) {
        let mut bent = note.clone();
        bent[at] ^= 1;
        desk.lay_checkpoint(&bent)?;
        let found = desk.refuses()?;
        figures.checkpoint.add(found);
        if !found {
            figures.missed.push(format!("byte {at} of the checkpoint changed"));
        }
    }
    Ok(())
}

/// Pairs of lines swapped at random, for each line.
const PAIRS_PER_LINE: usize = 8;
