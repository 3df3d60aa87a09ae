//! What the simulated disk itself tells of a start, and how bits rot on it.

use std::collections::BTreeMap;

use super::super::Cut;
use super::medium::SECTOR;
use super::model::Violation;
use super::simulated::Machine;

/// The journal's files as processes see them.
pub(super) type Seen = BTreeMap<String, Vec<u8>>;

impl Machine {
    pub(super) fn seen(&self) -> Seen {
        let named = self.names.iter().filter(|(name, _)| !name.ends_with(".new"));
        named.map(|(name, file)| (name.clone(), self.files[*file].seen.clone())).collect()
    }

    /// A cut is told exactly if something but zeros was set to zero, and nothing else was changed.
    /// What was opened is on the disk.
    pub(super) fn judge_cut(&self, before: &Seen, cut: Option<&Cut>) -> Result<(), Violation> {
        let mut changed = false;
        for (name, old) in before.iter().filter(|(name, _)| name.ends_with(".journal")) {
            let file = self.names.get(name).ok_or(format!("{name} is gone"))?;
            let file = &self.files[*file];
            let cut = cut.filter(|cut| cut.file.ends_with(name));
            let (start, end) = cut.map_or((0, 0), |cut| {
                let start = usize::try_from(cut.position).unwrap();
                (start, start + usize::try_from(cut.bytes).unwrap())
            });
            for (index, (old, new)) in old.chunks(SECTOR).zip(file.seen.chunks(SECTOR)).enumerate()
            {
                let within = (start..end).contains(&(index * SECTOR));
                if within && new.iter().any(|byte| *byte != 0) {
                    return Err(format!("{name}: a cut left bytes in sector {index}"));
                }
                if old != new && !within && !self.evicted.contains(&(name.clone(), index)) {
                    return Err(format!("{name}: sector {index} changed, which was not cut"));
                }
                changed |= old != new && within;
            }
            if file.seen != file.kept && !self.is_dead() {
                return Err(format!("{name} was opened, and the disk has something else"));
            }
        }
        if cut.is_some() && !changed && self.evicted.is_empty() {
            return Err("a cut was told, and nothing was cut".to_owned());
        }
        Ok(())
    }

    /// Changes one byte of the journal, if that can be found: which file, where, what it was.
    pub(super) fn rot(&mut self) -> Option<(String, usize, u8)> {
        let names: Vec<String> = self.seen().into_keys().collect();
        if names.is_empty() {
            return None;
        }
        let name = names[self.dice.below(names.len())].clone();
        let file = *self.names.get(&name)?;
        let at = self.dice.below(self.files[file].kept.len());
        let old = *self.files[file].kept.get(at)?;
        let new = match self.dice.below(3) {
            0 => old ^ 0xFF,
            1 => old ^ (1 << self.dice.below(8)),
            _ => u8::try_from(self.dice.below(256)).unwrap(),
        };
        // What looks exactly like an interrupted write is taken for one: see verify.rs.
        let like_cut = match at % SECTOR {
            0 => new == b'P',
            last => last == SECTOR - 1 && new == 0,
        };
        if new == old || like_cut {
            return None;
        }
        self.mend(&name, at, new);
        self.figures.count("rotted");
        Some((name, at, old))
    }

    pub(super) fn mend(&mut self, name: &str, at: usize, byte: u8) {
        let file = self.names[name];
        self.files[file].seen[at] = byte;
        self.files[file].kept[at] = byte;
    }

    /// Memory is short: what processes saw and the disk never had may be gone.
    pub(super) fn evict_all(&mut self) {
        for file in &mut self.files {
            let evicted = file.evict(&mut self.dice);
            self.figures.add("pages dropped", evicted.len());
        }
    }
}
