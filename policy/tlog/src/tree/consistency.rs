//! That a tree is the beginning of another: nothing in it was changed or taken out since.

use alloy_primitives::B256;

use super::{empty_root, node_hash};

/// What shows that the tree of one size is the beginning of that of another (RFC 6962 section
/// 2.1.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Consistency {
    /// Number of leaves of the older tree.
    pub old: u64,
    /// Number of leaves of the newer one.
    pub new: u64,
    /// Hashes of subtrees, from below upwards.
    pub path: Vec<B256>,
}

impl Consistency {
    /// Whether this proves it of trees with these roots (RFC 9162 section 2.1.4.2).
    pub fn proves(&self, old: B256, new: B256) -> bool {
        match self.old {
            0 => self.path.is_empty() && old == empty_root() && (self.new > 0 || new == old),
            size if size == self.new => self.path.is_empty() && old == new,
            size if size > self.new => false,
            _ => self.roots(old) == Some([old, new]),
        }
    }

    /// The roots of both trees, as the path has them; `None` if it has the wrong length.
    fn roots(&self, old: B256) -> Option<[B256; 2]> {
        let (mut at, mut last) = (self.old.checked_sub(1)?, self.new.checked_sub(1)?);
        let mut path = self.path.iter().copied();
        // A full tree is a subtree of the newer one, and needs no other hash than its own root.
        let first = if self.old.is_power_of_two() { old } else { path.next()? };
        let alone = at.trailing_ones();
        (at, last) = (at.checked_shr(alone).unwrap_or(0), last.checked_shr(alone).unwrap_or(0));
        let (mut older, mut newer) = (first, first);
        for hash in path {
            if last == 0 {
                return None;
            }
            if at % 2 == 1 || at == last {
                (older, newer) = (node_hash(hash, older), node_hash(hash, newer));
                let alone = if at == 0 { 0 } else { at.trailing_zeros() };
                at = at.checked_shr(alone).unwrap_or(0);
                last = last.checked_shr(alone).unwrap_or(0);
            } else {
                newer = node_hash(newer, hash);
            }
            at /= 2;
            last /= 2;
        }
        (last == 0).then_some([older, newer])
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use proptest::prelude::*;

    use super::super::{Frontier, leaf_hash, parts};
    use super::*;

    fn some(count: u64) -> Vec<B256> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    fn root(leaves: &[B256], part: std::ops::Range<u64>) -> B256 {
        let range = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
        leaves[range].iter().copied().collect::<Frontier>().root()
    }

    fn proof(leaves: &[B256], old: u64) -> Consistency {
        let new = u64::try_from(leaves.len()).unwrap();
        let parts = parts::between(old, new).unwrap().into_iter();
        Consistency { old, new, path: parts.map(|part| root(leaves, part)).collect() }
    }

    #[test]
    fn the_published_proofs_are_reproduced() {
        // Of the Certificate Transparency project's own tests, over its eight leaves.
        let leaves = super::super::tests::published();
        let hash = super::super::tests::hash;
        for (old, path) in [
            (
                1,
                vec![
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                vec![
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
        ] {
            let path: Vec<B256> = path.into_iter().map(hash).collect();
            assert_eq!(proof(&leaves, old).path, path, "{old} to 8");
        }
    }

    #[test]
    fn every_beginning_of_every_tree_up_to_70_is_proved() {
        for new in 0..=70 {
            let leaves = some(new);
            for old in 0..=new {
                let proof = proof(&leaves, old);
                let [before, after] = [root(&leaves, 0..old), root(&leaves, 0..new)];
                assert!(proof.proves(before, after), "{old} to {new}");
                let other = leaf_hash(b"another");
                assert!(!proof.proves(other, after), "{old} to {new}");
                assert!(old == 0 || !proof.proves(before, other), "{old} to {new}");
            }
        }
        assert!(!Consistency { old: 3, new: 2, path: vec![] }.proves(empty_root(), empty_root()));
    }

    proptest! {
        #[test]
        fn a_tree_in_which_a_leaf_was_changed_or_taken_out_is_no_continuation(
            new in 2_u64..200, pick in any::<u64>(), at in any::<u64>(),
        ) {
            let leaves = some(new);
            let old = 1 + pick % (new - 1);
            let before = root(&leaves, 0..old);
            let at = usize::try_from(at % old)?;
            let mut changed = leaves.clone();
            changed[at] = leaf_hash(b"changed");
            let forged = proof(&changed, old);
            prop_assert!(!forged.proves(before, root(&changed, 0..new)));
            let good = proof(&leaves, old);
            let after = root(&leaves, 0..new);
            for other in [old - 1, old + 1] {
                let moved = Consistency { old: other, ..good.clone() };
                prop_assert!(!moved.proves(before, after), "{} for {}", other, old);
            }
            let mut longer = good.clone();
            longer.path.push(after);
            prop_assert!(!longer.proves(before, after));
        }
    }
}
