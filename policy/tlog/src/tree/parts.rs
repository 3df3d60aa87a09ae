//! Which subtrees a proof is made of (RFC 6962 sections 2.1.1 and 2.1.2), whatever their hashes.

use std::ops::Range;

/// Those beside the way from a leaf up to the root, from the leaf upwards. `None`: no such leaf.
pub(super) fn beside(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut inside, mut found) = (0..size, Vec::new());
    while let Some(middle) = middle(&inside) {
        let Range { start, end } = inside;
        if index < middle {
            found.push(middle..end);
            inside = start..middle;
        } else {
            found.push(start..middle);
            inside = middle..end;
        }
    }
    found.reverse();
    Some(found)
}

/// Those that make up both the tree of the old size and that of the new one, from below upwards.
/// `None`: the old one is the larger.
pub(super) fn between(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old > new {
        return None;
    }
    let (mut inside, mut found, mut is_old) = (0..new, Vec::new(), true);
    // The empty tree is the beginning of every other: nothing is to be shown.
    while old > 0 && old != inside.end {
        let Range { start, end } = inside;
        let Some(middle) = middle(&(start..end)) else { break };
        if old <= middle {
            found.push(middle..end);
            inside = start..middle;
        } else {
            found.push(start..middle);
            inside = middle..end;
            is_old = false;
        }
    }
    // Whoever checks has the root of the old tree itself.
    if !is_old {
        found.push(inside);
    }
    found.reverse();
    Some(found)
}

/// Where a subtree is divided: the left part is the largest power of two that leaves something for
/// the right. `None`: it is a leaf.
fn middle(inside: &Range<u64>) -> Option<u64> {
    let last = inside.end.checked_sub(inside.start)?.checked_sub(1)?;
    inside.start.checked_add(1_u64.checked_shl(last.checked_ilog2()?)?)
}
