//! One file of the simulated disk: what processes see of it, and what the disk has.

use super::dice::Dice;

pub(super) const SECTOR: usize = 512;

/// A file, whatever its name is.
#[derive(Clone, Default)]
pub(super) struct File {
    /// What reading gives.
    pub(super) seen: Vec<u8>,
    /// What is there when the power comes back.
    pub(super) kept: Vec<u8>,
    /// What was written since, in order, and is on its way to the disk or will be lost.
    dirty: Vec<Change>,
    /// Bytes that the file system keeps for it.
    pub(super) reserved: usize,
    /// The life in which an error was reported for it.
    pub(super) failed_in: Option<u32>,
}

#[derive(Clone)]
enum Change {
    Sector(usize, Box<[u8; SECTOR]>),
    Length(usize),
}

/// How what was not synced arrives at the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// Each sector by itself, whole or not at all.
    AnySectors,
    /// As it was written, up to some byte.
    InOrder,
}

/// How a loss of power treats what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    All,
    Nothing,
    Some(Order),
}

impl File {
    /// As much as a process that is killed inside of the call has written: `bytes` or less.
    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if end > self.seen.len() {
            self.seen.resize(end, 0);
            self.dirty.push(Change::Length(end));
        }
        self.seen[at..end].copy_from_slice(bytes);
        for index in at / SECTOR..end.div_ceil(SECTOR) {
            self.dirty.push(Change::Sector(index, Box::new(sector(&self.seen, index))));
        }
    }

    pub(super) fn reserve(&mut self, bytes: usize) {
        self.reserved = self.reserved.max(bytes);
        if bytes > self.seen.len() {
            self.seen.resize(bytes, 0);
            self.dirty.push(Change::Length(bytes));
        }
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.dirty) {
            self.keep(&change);
        }
    }

    /// A sync that fails: some of it may have arrived. The rest counts as clean from now on, or,
    /// on other file systems, as still to be written.
    pub(super) fn fail_sync(&mut self, order: Order, dice: &mut Dice) {
        let forget = !dice.one_in(4);
        let most = dice.of(&[1, 3, usize::MAX]);
        let whole = dice.below(self.dirty.len() + 1);
        for (at, change) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            let arrives = match order {
                Order::AnySectors => dice.one_in(most),
                Order::InOrder => at < whole,
            };
            if arrives {
                self.keep(&change);
            } else if !forget {
                self.dirty.push(change);
            }
        }
    }

    /// The power goes. A sector that had something in it already is written whole or not at all;
    /// one that was blank may be broken off where a file system cuts a write at any byte.
    pub(super) fn lose(&mut self, loss: Loss, dice: &mut Dice) {
        let dirty = std::mem::take(&mut self.dirty);
        match loss {
            Loss::All => {}
            Loss::Nothing => dirty.iter().for_each(|change| self.keep(change)),
            Loss::Some(Order::AnySectors) => {
                // Of several writes to one sector, any may be the one that arrived last.
                let mut fate: Vec<&Change> = dirty.iter().filter(|_| dice.one_in(2)).collect();
                for at in (1..fate.len()).rev() {
                    fate.swap(at, dice.below(at + 1));
                }
                fate.into_iter().for_each(|change| self.keep(change));
            }
            Loss::Some(Order::InOrder) => {
                let whole = dice.below(dirty.len() + 1);
                dirty[..whole].iter().for_each(|change| self.keep(change));
                if let Some(Change::Sector(index, bytes)) = dirty.get(whole) {
                    let mut broken = sector(&self.kept, *index);
                    if broken == [0; SECTOR] {
                        let end = dice.below(SECTOR);
                        broken[..end].copy_from_slice(&bytes[..end]);
                        self.keep(&Change::Sector(*index, Box::new(broken)));
                    }
                }
            }
        }
        self.seen = self.kept.clone();
        self.reserved = self.reserved.max(self.seen.len());
    }

    /// Sectors of which a process sees what the disk will never have.
    pub(super) fn stale(&self) -> Vec<usize> {
        let dirty: Vec<usize> = self.dirty.iter().filter_map(Change::sector).collect();
        let sectors = 0..self.seen.len().div_ceil(SECTOR);
        let differs = |index: &usize| sector(&self.seen, *index) != sector(&self.kept, *index);
        sectors.filter(differs).filter(|index| !dirty.contains(index)).collect()
    }

    /// Drops some of them from memory, so that reading gives what the disk has.
    pub(super) fn evict(&mut self, dice: &mut Dice) -> Vec<usize> {
        let mut evicted = Vec::new();
        let most = dice.of(&[1, 2]);
        for index in self.stale() {
            if dice.one_in(most) {
                let (start, end) = (index * SECTOR, self.seen.len().min((index + 1) * SECTOR));
                let kept = sector(&self.kept, index);
                self.seen[start..end].copy_from_slice(&kept[..end - start]);
                evicted.push(index);
            }
        }
        evicted
    }

    fn keep(&mut self, change: &Change) {
        match change {
            Change::Length(bytes) => {
                let bytes = self.kept.len().max(*bytes);
                self.kept.resize(bytes, 0);
            }
            Change::Sector(index, bytes) => {
                let start = index * SECTOR;
                if let Some(place) = self.kept.get_mut(start..start + SECTOR) {
                    place.copy_from_slice(&bytes[..]);
                }
            }
        }
    }
}

impl Change {
    fn sector(&self) -> Option<usize> {
        match self {
            Self::Sector(index, _) => Some(*index),
            Self::Length(_) => None,
        }
    }
}

/// A whole sector; what is behind the end is zero.
fn sector(bytes: &[u8], index: usize) -> [u8; SECTOR] {
    let mut whole = [0; SECTOR];
    let rest = bytes.get(index * SECTOR..).unwrap_or_default();
    let some = rest.len().min(SECTOR);
    whole[..some].copy_from_slice(&rest[..some]);
    whole
}
