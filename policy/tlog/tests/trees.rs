//! Roots and proofs beside two implementations that are not ours: `ct-merkle`, written from RFC
//! 6962, and `tlog_tiles`, a port of Go's `sumdb/tlog`. Neither shares code with us or the other.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::convert::Infallible;

use alloy_primitives::B256;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree};
use portcullis_tlog::tree::{Consistency, Frontier, Inclusion, TILE, Tiles, Tree, leaf_hash};
use proptest::prelude::*;
use sha2_for_ct_merkle::Sha256;
use tlog_tiles::{
    Error, Hash, HashReader, check_record, check_tree, prove_record, prove_tree, stored_hash_index,
    stored_hashes, tree_hash,
};

/// Larger than a few tiles, and never a round number of them.
const LEAVES_MAX: u64 = 4_000;

/// Three trees over the same records, none of which knows of the others.
struct Three {
    records: Vec<Vec<u8>>,
    ours: Tiles,
    rfc: MemoryBackedTree<Sha256, Vec<u8>>,
    go: Stored,
}

/// What a log in Go keeps.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| self.0.get(place(*index)).copied();
        indexes.iter().map(hash).collect::<Option<_>>().ok_or(Error::IndexesNotInTree)
    }
}

impl Three {
    fn of(size: u64, salt: u64) -> Self {
        let mut three = Self {
            records: (0..size).map(|number| record(number, salt)).collect(),
            ours: Tiles::default(),
            rfc: MemoryBackedTree::new(),
            go: Stored(Vec::new()),
        };
        for (record, number) in three.records.iter().zip(0..) {
            three.ours.push(leaf_hash(record));
            three.rfc.push(record.clone());
            let stored = stored_hashes(number, record, &three.go).unwrap();
            assert_eq!(stored_hash_index(0, number), u64::try_from(three.go.0.len()).unwrap());
            three.go.0.extend(stored);
        }
        three
    }

    fn size(&self) -> u64 {
        self.ours.size()
    }

    fn leaves(&self, size: u64) -> Vec<B256> {
        self.records[..place(size)].iter().map(|record| leaf_hash(record)).collect()
    }

    /// As it is at a size, once all agree on it.
    fn root(&self, size: u64) -> B256 {
        let root = self.leaves(size).into_iter().collect::<Frontier>().root();
        assert_eq!(root.0, tree_hash(size, &self.go).unwrap().0, "size {size}");
        if size == self.size() {
            assert_eq!(root.as_slice(), self.rfc.root().as_bytes().as_slice(), "size {size}");
        }
        root
    }

    /// The proof of a record, made by all in the same way.
    fn inclusion(&self, index: u64) -> Inclusion {
        let Ok(made) = self.ours.inclusion(index, self.size(), self.tiles());
        let made = made.unwrap();
        assert_eq!(Tree::new(self.leaves(self.size())).prove(index), Some(made.clone()));
        let rfc = self.rfc.prove_inclusion(place(index));
        assert_eq!(rfc.as_bytes(), made.path.concat());
        let go = prove_record(self.size(), index, &self.go).unwrap();
        assert_eq!(hashes(&made.path), go);
        made
    }

    /// The proof of a beginning, made by all in the same way.
    fn consistency(&self, old: u64) -> Consistency {
        let Ok(made) = self.ours.consistency(old, self.size(), self.tiles());
        let made = made.unwrap();
        let rfc = self.rfc.prove_consistency(place(self.size() - old));
        assert_eq!(rfc.as_bytes(), made.path.concat());
        assert_eq!(hashes(&made.path), prove_tree(self.size(), old, &self.go).unwrap());
        made
    }

    fn tiles(&self) -> impl FnMut(u64) -> Result<Vec<B256>, Infallible> {
        let all = self.leaves(self.size());
        move |tile| Ok(all[place(tile * TILE)..place((tile + 1) * TILE)].to_vec())
    }
}

/// Of a length of its own, from none to some hundred bytes.
fn record(number: u64, salt: u64) -> Vec<u8> {
    let seed = leaf_hash(&[number.to_be_bytes(), salt.to_be_bytes()].concat());
    seed.repeat(usize::from(seed[0] % 10))
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn hashes(path: &[B256]) -> Vec<Hash> {
    path.iter().map(|hash| Hash(hash.0)).collect()
}

/// What each of the three says of the proof that a record is there: ours, by the RFC, as in Go.
fn judged(proof: &Inclusion, record: &Vec<u8>, root: B256) -> [bool; 3] {
    let rfc_root = RootHash::<Sha256>::new(root.0.into(), proof.size);
    let rfc = InclusionProof::try_from_bytes(proof.path.concat()).unwrap();
    let leaf = Hash(leaf_hash(record).0);
    [
        proof.proves(leaf_hash(record), root),
        rfc_root.verify_inclusion(record, proof.index, &rfc).is_ok(),
        check_record(&hashes(&proof.path), proof.size, Hash(root.0), proof.index, leaf).is_ok(),
    ]
}

/// What each says of the proof that one tree is the beginning of another.
fn judged_growth(proof: &Consistency, old: B256, new: B256) -> [bool; 3] {
    let Consistency { old: before, new: after, path } = proof;
    let rfc = ConsistencyProof::<Sha256>::try_from_bytes(path.concat()).unwrap();
    let rfc_old = RootHash::new(old.0.into(), *before);
    let rfc_new = RootHash::new(new.0.into(), *after);
    [
        proof.proves(old, new),
        rfc_new.verify_consistency(&rfc_old, &rfc).is_ok(),
        check_tree(&hashes(path), *after, Hash(new.0), *before, Hash(old.0)).is_ok(),
    ]
}

const ALL_ACCEPT: [bool; 3] = [true; 3];
const ALL_REFUSE: [bool; 3] = [false; 3];

#[test]
fn every_root_up_to_some_thousand_records_is_that_of_two_other_implementations() {
    let (mut ours, mut rfc) = (Frontier::default(), MemoryBackedTree::<Sha256, Vec<u8>>::new());
    let mut go = Stored(Vec::new());
    for number in 0..=LEAVES_MAX {
        let root = ours.root();
        assert_eq!(root.as_slice(), rfc.root().as_bytes().as_slice(), "size {number}");
        assert_eq!(root.0, tree_hash(number, &go).unwrap().0, "size {number}");
        let record = record(number, 0);
        ours.push(leaf_hash(&record));
        go.0.extend(stored_hashes(number, &record, &go).unwrap());
        rfc.push(record);
    }
}

#[test]
fn every_proof_of_every_small_tree_is_made_and_accepted_by_all_three() {
    for size in 1..=40 {
        let three = Three::of(size, 1);
        let root = three.root(size);
        for index in 0..size {
            let proof = three.inclusion(index);
            assert_eq!(judged(&proof, &three.records[place(index)], root), ALL_ACCEPT);
        }
        for old in 1..=size {
            let proof = three.consistency(old);
            assert_eq!(judged_growth(&proof, three.root(old), root), ALL_ACCEPT, "{old} {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_proof_that_a_record_is_there_counts_with_all_three_and_a_spoilt_one_with_none(
        size in 2..LEAVES_MAX, salt: u64, pick: u64, other: u64, bit in 0..256_usize,
    ) {
        let three = Three::of(size, salt);
        let (root, index) = (three.root(size), pick % size);
        let record = &three.records[place(index)];
        let proof = three.inclusion(index);
        prop_assert_eq!(judged(&proof, record, root), ALL_ACCEPT);

        let mut longer = record.clone();
        longer.push(0);
        prop_assert_eq!(judged(&proof, &longer, root), ALL_REFUSE);
        let bent_root = bent(root, bit);
        prop_assert_eq!(judged(&proof, record, bent_root), ALL_REFUSE);
        let mut wrong = proof.clone();
        let step = place(other % u64::try_from(wrong.path.len()).unwrap());
        wrong.path[step] = bent(wrong.path[step], bit);
        prop_assert_eq!(judged(&wrong, record, root), ALL_REFUSE);
        let mut short = proof.clone();
        short.path.remove(step);
        prop_assert_eq!(judged(&short, record, root), ALL_REFUSE);
        let mut long = proof.clone();
        long.path.insert(step, root);
        prop_assert_eq!(judged(&long, record, root), ALL_REFUSE);
        let moved = Inclusion { index: other % size, ..proof };
        if moved.index != index {
            prop_assert_eq!(judged(&moved, record, root), ALL_REFUSE);
        }
    }

    #[test]
    fn a_proof_that_a_tree_only_grew_counts_with_all_three_and_a_spoilt_one_with_none(
        size in 2..LEAVES_MAX, salt: u64, pick: u64, other: u64, bit in 0..256_usize,
    ) {
        let three = Three::of(size, salt);
        let (old, new) = (1 + pick % (size - 1), three.root(size));
        let before = three.root(old);
        let proof = three.consistency(old);
        prop_assert_eq!(judged_growth(&proof, before, new), ALL_ACCEPT);

        prop_assert_eq!(judged_growth(&proof, bent(before, bit), new), ALL_REFUSE);
        prop_assert_eq!(judged_growth(&proof, before, bent(new, bit)), ALL_REFUSE);
        let mut wrong = proof.clone();
        let step = place(other % u64::try_from(wrong.path.len()).unwrap());
        wrong.path[step] = bent(wrong.path[step], bit);
        prop_assert_eq!(judged_growth(&wrong, before, new), ALL_REFUSE);
        let mut short = proof.clone();
        short.path.remove(step);
        prop_assert_eq!(judged_growth(&short, before, new), ALL_REFUSE);
        let mut long = proof;
        long.path.insert(step, new);
        prop_assert_eq!(judged_growth(&long, before, new), ALL_REFUSE);
    }

    #[test]
    fn with_a_record_changed_below_it_no_tree_passes_for_a_continuation(
        size in 2..LEAVES_MAX, salt: u64, pick: u64, at: u64,
    ) {
        let good = Three::of(size, salt);
        let old = 1 + pick % (size - 1);
        let mut changed = good.leaves(size);
        changed[place(at % old)] = leaf_hash(b"changed");
        let mut tiles = Tiles::default();
        changed.iter().for_each(|leaf| tiles.push(*leaf));
        let read = |tile: u64| Ok(changed[place(tile * TILE)..place((tile + 1) * TILE)].to_vec());
        let Ok::<_, Infallible>(forged) = tiles.consistency(old, size, read);
        let root = changed.iter().copied().collect::<Frontier>().root();
        prop_assert_eq!(judged_growth(&forged.unwrap(), good.root(old), root), ALL_REFUSE);
    }
}

fn bent(hash: B256, bit: usize) -> B256 {
    let mut bytes = hash.0;
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}
