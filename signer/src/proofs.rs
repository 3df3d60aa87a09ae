//! Proves that records stand under checkpoints, from the journal as it is read.
//!
//! Keeps one hash for each 256 records, and reads the journal on to where somebody asks: the first
//! one to ask after a start waits until all of it was read once, or what comes after the snapshot
//! that the start began with.

use std::sync::Arc;

use alloy_primitives::B256;
use parking_lot::Mutex;
use portcullis_policy::id::Sequence;
use portcullis_policy::tree::{Consistency, Inclusion, TILE, Tiles, leaf_hash};

use crate::journal::{ReadError, Reader, Records, Stored};

/// Proves things of one journal.
#[derive(Clone)]
pub struct Proofs {
    reader: Reader,
    grown: Arc<Mutex<Grown>>,
}

/// The tree as far as somebody asked for it, and where the reading goes on.
struct Grown {
    tiles: Tiles,
    records: Records,
}

impl Proofs {
    /// Over this journal.
    pub fn new(reader: &Reader) -> Self {
        Self::from(reader, Tiles::default())
    }

    /// The same, of which the beginning is known.
    pub fn from(reader: &Reader, tiles: Tiles) -> Self {
        let records = reader.records_from(Sequence(tiles.size()).next());
        let grown = Grown { tiles, records };
        Self { reader: reader.clone(), grown: Arc::new(Mutex::new(grown)) }
    }

    /// Reads the journal that is proved.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// That a record stands at its place among the first `size`; `None` if it does not, or there
    /// are not as many. Blocks while it reads.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn inclusion(&self, at: Sequence, size: u64) -> Result<Option<Inclusion>, ReadError> {
        let Some(index) = at.0.checked_sub(1) else { return Ok(None) };
        let tiles = self.grown(size)?;
        // The parts of a proof within one tile follow each other: it is read once.
        let mut last: Option<(u64, Vec<B256>)> = None;
        tiles.inclusion(index, size, |tile| match &last {
            Some((number, leaves)) if *number == tile => Ok(leaves.clone()),
            Some(_) | None => {
                let leaves = self.leaves(tile)?;
                Ok(last.insert((tile, leaves)).1.clone())
            }
        })
    }

    /// That the first `old` records are the beginning of the first `new`; as [`Proofs::inclusion`].
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Option<Consistency>, ReadError> {
        self.grown(new)?.consistency(old, new, |tile| self.leaves(tile))
    }

    /// The tree, at least as large as this if the journal is.
    fn grown(&self, size: u64) -> Result<Tiles, ReadError> {
        let mut grown = self.grown.lock();
        let Grown { tiles, records } = &mut *grown;
        while tiles.size() < size {
            match records.next() {
                Some(Ok(Stored { record, .. })) => tiles.push(leaf_hash(&record)),
                Some(Err(error)) => {
                    // It has ended for good: whoever asks next begins where this stopped.
                    *records = self.reader.records_from(Sequence(tiles.size()).next());
                    return Err(error);
                }
                None => break,
            }
        }
        Ok(tiles.clone())
    }

    /// All leaves of one full tile.
    fn leaves(&self, tile: u64) -> Result<Vec<B256>, ReadError> {
        let first = Sequence(tile.saturating_mul(TILE)).next();
        let records = self.reader.records_from(first).take(usize::try_from(TILE).unwrap_or(0));
        records.map(|stored| stored.map(|stored| leaf_hash(&stored.record))).collect()
    }

    /// One record, as it stands in the journal.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn record(&self, at: Sequence) -> Result<Option<Vec<u8>>, ReadError> {
        if at.0 == 0 {
            return Ok(None);
        }
        let found = self.reader.records_from(at).next().transpose()?;
        Ok(found.filter(|stored| stored.sequence == at).map(|stored| stored.record.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::Epoch;
    use portcullis_policy::tree::{Tree, empty_root};

    use super::*;
    use crate::journal::{Batch, Memory, Storage as _};

    fn record(number: u64) -> Vec<u8> {
        format!("{{\"seq\":{number}}}").into_bytes()
    }

    fn append(memory: &mut Memory, numbers: std::ops::Range<u64>) {
        let mut batch = Batch::ordinary();
        for number in numbers {
            batch.push_record(&record(number)).unwrap();
        }
        let _durable = memory.append_if_owner(Epoch(1), &batch).unwrap();
    }

    fn tree(size: u64) -> Tree {
        Tree::new((0..size).map(|number| leaf_hash(&record(number))).collect())
    }

    #[test]
    fn every_record_is_proved_in_trees_that_grow_and_none_beyond_their_ends() {
        let mut memory = Memory::default();
        let proofs = Proofs::new(&memory.reader());
        assert_eq!(proofs.inclusion(Sequence(1), 1).unwrap(), None);
        append(&mut memory, 0..300);
        append(&mut memory, 300..1_000);
        for size in [1, 255, 256, 257, 700, 1_000] {
            let tree = tree(size);
            for at in [1, 2, 255, 256, 257, 699, 1_000] {
                let proof = proofs.inclusion(Sequence(at), size).unwrap();
                assert_eq!(proof, tree.prove(at - 1), "{at} of {size}");
            }
        }
        assert_eq!(proofs.inclusion(Sequence(0), 1_000).unwrap(), None);
        assert_eq!(proofs.inclusion(Sequence(1), 1_001).unwrap(), None);
        let (old, new) = (tree(300).root(), tree(1_000).root());
        let proof = proofs.consistency(300, 1_000).unwrap().unwrap();
        assert!(proof.proves(old, new) && !proof.proves(new, old));
        assert!(!proof.proves(empty_root(), new));
        assert_eq!(proofs.record(Sequence(7)).unwrap(), Some(record(6)));
        assert_eq!(proofs.record(Sequence(1_001)).unwrap(), None);
        assert_eq!(proofs.record(Sequence(0)).unwrap(), None);
    }
}
