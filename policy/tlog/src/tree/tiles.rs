//! The tree of a long journal for whoever proves things of it: one hash in memory for each 256
//! leaves, and the leaves of the one that is not full. The others are read again when they are
//! asked for, from where the records are.

use std::ops::Range;

use alloy_primitives::B256;

use super::parts::{beside, between};
use super::{Consistency, Frontier, Inclusion};

/// Leaves of a full tile.
pub const TILE: u64 = 256;

/// A tree that only grows, and of which everything can be proved.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    /// Roots of the full ones.
    full: Vec<B256>,
    /// Leaves of the last one.
    open: Vec<B256>,
}

impl Tiles {
    /// Adds the leaf that comes next. Takes a [`leaf_hash`](super::leaf_hash), never the bytes.
    pub fn push(&mut self, leaf: B256) {
        self.open.push(leaf);
        if count(&self.open) == TILE {
            self.full.push(self.open.drain(..).collect::<Frontier>().root());
        }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        count(&self.full).saturating_mul(TILE).saturating_add(count(&self.open))
    }

    /// Roots of the full tiles, and leaves of the last one: [`Tiles::of_parts`] takes them again.
    pub fn parts(&self) -> (&[B256], &[B256]) {
        (&self.full, &self.open)
    }

    /// The tree again. `None` if the last tile is full.
    pub fn of_parts(full: Vec<B256>, open: Vec<B256>) -> Option<Self> {
        (count(&open) < TILE).then_some(Self { full, open })
    }

    /// What adds to it, and gives its root, and no more.
    pub fn frontier(&self) -> Frontier {
        let mut frontier: Frontier = self.full.iter().copied().collect();
        frontier.add_beside(&self.open.iter().copied().collect());
        frontier.size = self.size();
        frontier
    }

    /// That a leaf stands at its place in the tree of this size. `leaves` gives all leaves of one
    /// full tile, by its number.
    ///
    /// # Errors
    ///
    /// Those of `leaves`; `None` if there is no such leaf, or the tree was never so large.
    pub fn inclusion<E>(
        &self,
        index: u64,
        size: u64,
        leaves: impl FnMut(u64) -> Result<Vec<B256>, E>,
    ) -> Result<Option<Inclusion>, E> {
        let Some(parts) = beside(index, size).filter(|_| size <= self.size()) else {
            return Ok(None);
        };
        Ok(self.roots(parts, leaves)?.map(|path| Inclusion { index, size, path }))
    }

    /// That the tree of the old size is the beginning of that of the new one.
    ///
    /// # Errors
    ///
    /// As [`Tiles::inclusion`].
    pub fn consistency<E>(
        &self,
        old: u64,
        new: u64,
        leaves: impl FnMut(u64) -> Result<Vec<B256>, E>,
    ) -> Result<Option<Consistency>, E> {
        let Some(parts) = between(old, new).filter(|_| new <= self.size()) else {
            return Ok(None);
        };
        Ok(self.roots(parts, leaves)?.map(|path| Consistency { old, new, path }))
    }

    fn roots<E>(
        &self,
        parts: Vec<Range<u64>>,
        mut leaves: impl FnMut(u64) -> Result<Vec<B256>, E>,
    ) -> Result<Option<Vec<B256>>, E> {
        let mut roots = Vec::new();
        for part in parts {
            let Some(root) = self.root(part, &mut leaves)? else { return Ok(None) };
            roots.push(root);
        }
        Ok(Some(roots))
    }

    /// The root over some leaves: full tiles, then the beginning of one; or a part of one. That is
    /// how a proof is divided.
    fn root<E>(
        &self,
        part: Range<u64>,
        leaves: &mut impl FnMut(u64) -> Result<Vec<B256>, E>,
    ) -> Result<Option<B256>, E> {
        let (first, last) = (tile(part.start), tile(part.end));
        let begins = part.start.checked_rem(TILE).unwrap_or(0);
        let whole = if begins == 0 { slice(&self.full, first..last) } else { Some(&[][..]) };
        let Some(whole) = whole else { return Ok(None) };
        let mut root: Frontier = whole.iter().copied().collect();
        // An end within a tile; or at the end of the one that it began in.
        let (at, ends) = match part.end.checked_rem(TILE).unwrap_or(0) {
            0 if begins > 0 => (first, TILE),
            ends => (last, ends),
        };
        if ends > 0 {
            let read = if at == count(&self.full) { None } else { Some(leaves(at)?) };
            let all = read.as_deref().unwrap_or(&self.open);
            let Some(rest) = slice(all, begins..ends) else { return Ok(None) };
            root.add_beside(&rest.iter().copied().collect());
        }
        Ok(Some(root.root()))
    }
}

fn tile(leaf: u64) -> u64 {
    leaf.checked_div(TILE).unwrap_or(0)
}

fn slice(all: &[B256], part: Range<u64>) -> Option<&[B256]> {
    let (start, end) = (usize::try_from(part.start).ok()?, usize::try_from(part.end).ok()?);
    all.get(start..end)
}

fn count(all: &[B256]) -> u64 {
    u64::try_from(all.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::{Tree, leaf_hash};
    use super::*;

    fn some(count: u64) -> Vec<B256> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    fn tiles(leaves: &[B256]) -> Tiles {
        let mut tiles = Tiles::default();
        leaves.iter().for_each(|leaf| tiles.push(*leaf));
        tiles
    }

    /// Reads a full tile where its leaves are.
    fn from(all: &[B256]) -> impl FnMut(u64) -> Result<Vec<B256>, Infallible> {
        |tile| {
            let read = slice(all, tile * TILE..(tile + 1) * TILE);
            Ok(read.expect("only full tiles are read").to_vec())
        }
    }

    #[test]
    fn a_tree_that_was_taken_apart_goes_on_as_if_it_had_not_been() {
        let all = some(2 * TILE + 5);
        for size in [0, 1, 7, 255, 256, 257, 511, 512, 513] {
            let (before, after) = all.split_at(size);
            let (whole, now) = (tiles(before), before.iter().copied().collect::<Frontier>());
            assert_eq!(whole.frontier(), now, "{size}");
            let (full, open) = whole.parts();
            let mut again = Tiles::of_parts(full.to_vec(), open.to_vec()).unwrap();
            let (mut frontier, mut own) = (again.frontier(), now);
            for leaf in after {
                again.push(*leaf);
                frontier.push(*leaf);
                own.push(*leaf);
            }
            assert_eq!((&frontier, again.frontier()), (&own, own.clone()), "{size}");
            assert_eq!(again.size(), count(&all));
        }
        assert!(Tiles::of_parts(Vec::new(), some(TILE)).is_none(), "a full tile is no open one");
    }

    #[test]
    fn every_leaf_and_every_beginning_around_the_edges_of_tiles_is_proved() {
        let all = some(3 * TILE + 2);
        let tiles = tiles(&all);
        assert_eq!(tiles.size(), 3 * TILE + 2);
        let edges = |around: u64| around.saturating_sub(2)..=around + 2;
        let sizes: Vec<u64> = (1..=3).flat_map(|tile| edges(tile * TILE)).chain(0..6).collect();
        for size in sizes.iter().copied().filter(|size| *size <= tiles.size()) {
            let tree =
                Tree::new(all.iter().copied().take(usize::try_from(size).unwrap()).collect());
            for index in (0..size).step_by(7).chain(size.checked_sub(1)) {
                let Ok(proof) = tiles.inclusion(index, size, from(&all));
                assert_eq!(proof, tree.prove(index), "{index} of {size}");
            }
            for old in sizes.iter().copied().filter(|old| *old <= size) {
                let before: Frontier =
                    all.iter().copied().take(usize::try_from(old).unwrap()).collect();
                let Ok(proof) = tiles.consistency(old, size, from(&all));
                assert!(proof.unwrap().proves(before.root(), tree.root()), "{old} to {size}");
            }
        }
    }

    #[test]
    fn what_never_was_is_not_proved() {
        let all = some(300);
        let tiles = tiles(&all);
        let Ok(none) = tiles.inclusion(300, 300, from(&all));
        assert_eq!(none, None);
        let Ok(none) = tiles.inclusion(3, 301, from(&all));
        assert_eq!(none, None);
        for (old, new) in [(301, 301), (5, 4), (0, 301)] {
            let Ok(none) = tiles.consistency(old, new, from(&all));
            assert_eq!(none, None);
        }
    }

    proptest! {
        #[test]
        fn tiles_prove_what_the_whole_tree_does(
            size in 1_u64..1_500, more in 0_u64..400, pick in any::<u64>(),
        ) {
            let all = some(size + more);
            let tiles = tiles(&all);
            let tree = Tree::new(all.iter().copied().take(usize::try_from(size)?).collect());
            let Ok(proof) = tiles.inclusion(pick % size, size, from(&all));
            prop_assert_eq!(proof, tree.prove(pick % size));
            let whole: Frontier = all.iter().copied().collect();
            let Ok(proof) = tiles.consistency(size, size + more, from(&all));
            prop_assert!(proof.unwrap().proves(tree.root(), whole.root()));
        }
    }
}
