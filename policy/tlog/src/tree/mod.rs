//! The Merkle tree over the journal's records, as RFC 6962 section 2.1 defines it (with SHA-256).
//!
//! Pure arithmetic on hashes. It knows neither what a record means nor where it is kept, so the
//! signer and an offline verifier compute the same root from the same bytes.

mod consistency;
mod parts;
mod tiles;

use alloy_primitives::B256;
use sha2::{Digest as _, Sha256};

pub use self::consistency::Consistency;
pub use self::tiles::{TILE, Tiles};

/// A tree that only grows: what is needed to add a leaf and to give the root, and no more.
///
/// Holds one hash for each bit set in the size, so at most 64.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees that make up the tree, the largest first.
    peaks: Vec<B256>,
}

impl Frontier {
    /// Adds the leaf that comes next. Takes a [`leaf_hash`], never the bytes.
    pub fn push(&mut self, leaf: B256) {
        let mut peak = leaf;
        // Each trailing one bit of the old size is a subtree as large as the one in hand.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            peak = node_hash(left, peak);
        }
        self.peaks.push(peak);
        self.size = self.size.saturating_add(1);
    }

    /// Adds a smaller subtree on the right, whose leaves are of another height than ours.
    fn add_beside(&mut self, other: &Self) {
        self.peaks.extend(&other.peaks);
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root; of an empty tree the hash of nothing.
    pub fn root(&self) -> B256 {
        let from_the_right = self.peaks.iter().rev().copied();
        from_the_right.reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
    }
}

impl FromIterator<B256> for Frontier {
    fn from_iter<I: IntoIterator<Item = B256>>(leaves: I) -> Self {
        let mut frontier = Self::default();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

/// A whole tree, for many proofs: it is hashed once, and each proof is a walk.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves first, the root last. Whoever has no neighbour on the right moves up as it is.
    levels: Vec<Vec<B256>>,
}

impl Tree {
    /// Over all leaves, in order.
    pub fn new(leaves: Vec<B256>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            let parents = last.chunks(2).filter_map(|pair| match *pair {
                [left, right] => Some(node_hash(left, right)),
                [alone] => Some(alone),
                [..] => None,
            });
            levels.push(parents.collect());
        }
        Self { levels }
    }

    /// The root; of an empty tree the hash of nothing.
    pub fn root(&self) -> B256 {
        let last = self.levels.last().and_then(|level| level.first());
        last.copied().unwrap_or_else(empty_root)
    }

    /// What [`Inclusion::prove`] gives for this leaf.
    pub fn prove(&self, index: u64) -> Option<Inclusion> {
        let leaves = self.levels.first()?;
        let mut place = usize::try_from(index).ok().filter(|place| *place < leaves.len())?;
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(place ^ 1).copied());
            place >>= 1;
        }
        Some(Inclusion { index, size: u64::try_from(leaves.len()).ok()?, path })
    }
}

/// What shows that a leaf stands at one place in a tree of one size (RFC 6962 section 2.1.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inclusion {
    /// The leaf's place, counted from 0.
    pub index: u64,
    /// The tree's number of leaves.
    pub size: u64,
    /// Hashes of the neighbouring subtrees, from the leaf up to the root.
    pub path: Vec<B256>,
}

impl Inclusion {
    /// The proof for the leaf at `index` among all leaves of a tree, in order; `None` if there is
    /// no such leaf. Hashes the whole tree once.
    pub fn prove(leaves: &[B256], index: u64) -> Option<Self> {
        let place = usize::try_from(index).ok().filter(|place| *place < leaves.len())?;
        let mut path = Vec::new();
        climb(leaves, place, &mut path)?;
        Some(Self { index, size: u64::try_from(leaves.len()).ok()?, path })
    }

    /// The root of the only tree in which this proves `leaf`; `None` if the path has the wrong
    /// length for its place. Compare it with a root from elsewhere: alone it shows nothing.
    pub fn root(&self, leaf: B256) -> Option<B256> {
        let mut index = self.index;
        let mut last = self.size.checked_sub(1)?;
        if index > last {
            return None;
        }
        let mut hash = leaf;
        for neighbour in &self.path {
            if last == 0 {
                return None;
            }
            if index % 2 == 1 || index == last {
                hash = node_hash(*neighbour, hash);
                // The rightmost subtree has no right neighbour for a while: skip those levels.
                let alone = if index == 0 { 0 } else { index.trailing_zeros() };
                index = index.checked_shr(alone).unwrap_or(0);
                last = last.checked_shr(alone).unwrap_or(0);
            } else {
                hash = node_hash(hash, *neighbour);
            }
            index /= 2;
            last /= 2;
        }
        (last == 0).then_some(hash)
    }

    /// Whether this proves `leaf` under `root`.
    pub fn proves(&self, leaf: B256, root: B256) -> bool {
        self.root(leaf) == Some(root)
    }
}

/// A record's leaf: `SHA-256(0x00 || bytes)`.
pub fn leaf_hash(bytes: &[u8]) -> B256 {
    B256::from_slice(&Sha256::new().chain_update([0]).chain_update(bytes).finalize())
}

/// Two neighbours' parent: `SHA-256(0x01 || left || right)`. The prefix keeps a leaf from being
/// passed off as a node.
pub fn node_hash(left: B256, right: B256) -> B256 {
    B256::from_slice(
        &Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize(),
    )
}

/// The root of a tree without leaves: `SHA-256("")`.
pub fn empty_root() -> B256 {
    B256::from_slice(&Sha256::digest([]))
}

/// Collects the path for `place`, from the leaf upwards. `None` never happens for a place inside.
fn climb(leaves: &[B256], place: usize, path: &mut Vec<B256>) -> Option<()> {
    if leaves.len() < 2 {
        return Some(());
    }
    // The left part is the largest power of two that leaves something for the right.
    let half = leaves.len().div_ceil(2).checked_next_power_of_two()?;
    let (left, right) = leaves.split_at_checked(half)?;
    let (inside, other, place) = match place.checked_sub(half) {
        None => (left, right, place),
        Some(place) => (right, left, place),
    };
    climb(inside, place, path)?;
    path.push(other.iter().copied().collect::<Frontier>().root());
    Some(())
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The leaves and roots of the Certificate Transparency project's own tree tests.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    pub(super) fn hash(text: &str) -> B256 {
        B256::from_slice(&hex::decode(text).unwrap())
    }

    pub(super) fn published() -> Vec<B256> {
        LEAVES.iter().map(|bytes| leaf_hash(bytes)).collect()
    }

    /// The definition of RFC 6962 section 2.1, word for word; an oracle that shares no code.
    fn by_definition(leaves: &[B256]) -> B256 {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                node_hash(by_definition(&leaves[..k]), by_definition(&leaves[k..]))
            }
        }
    }

    fn some_leaves(count: usize) -> Vec<B256> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn the_empty_tree_has_the_published_root() {
        let published = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Frontier::default().root(), hash(published));
    }

    #[test]
    fn every_size_of_the_published_tree_has_its_published_root() {
        let mut frontier = Frontier::default();
        for (leaf, root) in published().into_iter().zip(ROOTS) {
            frontier.push(leaf);
            assert_eq!(frontier.root(), hash(root), "size {}", frontier.size());
        }
    }

    #[test]
    fn published_inclusion_paths_are_reproduced() {
        let cases: [(u64, usize, &[&str]); 4] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        ];
        for (index, size, path) in cases {
            let proof = Inclusion::prove(&published()[..size], index).unwrap();
            assert_eq!(proof.path, path.iter().map(|text| hash(text)).collect::<Vec<_>>());
            let leaf = published()[usize::try_from(index).unwrap()];
            assert!(proof.proves(leaf, hash(ROOTS[size - 1])));
        }
    }

    #[test]
    fn every_leaf_of_every_tree_up_to_70_is_proved_and_no_place_outside() {
        for size in 0_u64..=70 {
            let leaves = some_leaves(usize::try_from(size).unwrap());
            let root = by_definition(&leaves);
            for (index, leaf) in (0..size).zip(&leaves) {
                let proof = Inclusion::prove(&leaves, index).unwrap();
                assert!(proof.proves(*leaf, root), "{index} of {size}");
            }
            assert_eq!(Inclusion::prove(&leaves, size), None);
        }
    }

    #[test]
    fn a_whole_tree_has_the_same_root_and_proofs() {
        for size in 0_u64..=70 {
            let leaves = some_leaves(usize::try_from(size).unwrap());
            let tree = Tree::new(leaves.clone());
            assert_eq!(tree.root(), by_definition(&leaves));
            for index in 0..=size {
                assert_eq!(tree.prove(index), Inclusion::prove(&leaves, index), "{index} {size}");
            }
        }
    }

    #[test]
    fn a_proof_of_an_impossible_place_is_refused() {
        let leaf = leaf_hash(b"x");
        assert_eq!(Inclusion { index: 0, size: 0, path: vec![] }.root(leaf), None);
        assert_eq!(Inclusion { index: 1, size: 1, path: vec![] }.root(leaf), None);
        let far = Inclusion { index: u64::MAX, size: u64::MAX, path: vec![leaf; 64] };
        assert_eq!(far.root(leaf), None);
    }

    proptest! {
        #[test]
        fn the_frontier_agrees_with_the_definition(count in 0_usize..300) {
            let leaves = some_leaves(count);
            let frontier: Frontier = leaves.iter().copied().collect();
            prop_assert_eq!(frontier.root(), by_definition(&leaves));
            let bits = usize::try_from(frontier.size().count_ones()).unwrap();
            prop_assert_eq!(frontier.peaks.len(), bits);
        }

        #[test]
        fn a_proof_holds_for_its_own_leaf_place_size_and_path_only(
            count in 2_u64..200, pick in any::<u64>(), other in any::<u64>(),
        ) {
            let leaves = some_leaves(usize::try_from(count).unwrap());
            let root = by_definition(&leaves);
            let index = pick % count;
            let leaf = leaves[usize::try_from(index).unwrap()];
            let proof = Inclusion::prove(&leaves, index).unwrap();
            prop_assert!(proof.proves(leaf, root));
            prop_assert!(!proof.proves(leaf_hash(b"another"), root));

            let moved = Inclusion { index: other % count, ..proof.clone() };
            prop_assert_eq!(moved.proves(leaf, root), moved.index == index);

            let mut longer = proof.clone();
            longer.path.push(leaf);
            prop_assert!(!longer.proves(leaf, root));
            let mut shorter = proof.clone();
            shorter.path.pop();
            prop_assert!(!shorter.proves(leaf, root));
            let mut bent = proof;
            let step = usize::try_from(other).unwrap() % bent.path.len();
            bent.path[step] = leaf_hash(b"bent");
            prop_assert!(!bent.proves(leaf, root));
        }
    }
}
