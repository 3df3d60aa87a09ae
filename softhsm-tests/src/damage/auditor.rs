//! Who holds a checkpoint, and what they find by the lines that differ.

use alloy_primitives::B256;
use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::tree::{Inclusion, Tree, leaf_hash};

use super::file::{ATTACHMENT, Damage, File, Touched};
use crate::world::Failure;

/// A checkpoint, and the export as it is below it.
///
/// Why its verdict is that of a whole verification, as far as it says *found*:
///
/// - A record's line that is not the one at its place has another leaf. The verifier holds the
///   root over the first records against the checkpoint's, and a root over other leaves is another.
///   Where one line stands in the place of one, that root is computed here.
/// - With fewer records than the checkpoint's there is no such root.
/// - An attachment that is not the next record's, to the letter, is none of its form, or has
///   another hash than the record names; a record without its own is left without its input. Form
///   and replay say so.
/// - A last line without its end is none of the form.
///
/// *Not found* it says of everything else; a whole verification might still find that.
pub(super) struct Auditor {
    root: B256,
    leaves: Vec<B256>,
    /// Of each record, under `root`.
    paths: Vec<Inclusion>,
    /// Of each record, the line of its attachment, with its end.
    attachments: Vec<Option<usize>>,
    /// Of each line, how many records stand before it.
    before: Vec<usize>,
    /// Lines below the checkpoint.
    lines: usize,
}

impl Auditor {
    /// Takes the checkpoint at its word: who signed it is for `portctl` to say.
    pub(super) fn new(file: &File, note: &str) -> Result<Self, Failure> {
        let Checkpoint { size, root, .. } = Checkpoint::parse(&Note::parse(note)?.text)?;
        let size = usize::try_from(size)?;
        let (mut leaves, mut attachments) = (Vec::new(), Vec::new());
        let (mut before, mut waiting) = (Vec::new(), None);
        for (number, line) in file.lines_from(0).enumerate() {
            if leaves.len() == size {
                break;
            }
            before.push(leaves.len());
            if line.starts_with(ATTACHMENT) {
                waiting = Some(number);
                continue;
            }
            leaves.push(leaf_hash(line.strip_suffix(b"\n").ok_or("a line without its end")?));
            attachments.push(waiting.take());
        }
        let tree = Tree::new(leaves.clone());
        if leaves.len() != size || tree.root() != root {
            return Err("the checkpoint is not of this export".into());
        }
        let paths = (0..leaves.len()).map(|at| tree.prove(u64::try_from(at).ok()?));
        let paths = paths.collect::<Option<_>>().ok_or("a record without a proof")?;
        let lines = before.len();
        Ok(Self { root, leaves, paths, attachments, before, lines })
    }

    /// Records below the checkpoint.
    pub(super) fn size(&self) -> usize {
        self.leaves.len()
    }

    /// Lines below it.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// Whether a damage is found.
    pub(super) fn finds(&self, file: &File, damage: Damage) -> bool {
        let Touched { from, lines, then } = damage.touched(file);
        if let ([one], true) = (lines.as_slice(), then == from + 1)
            && let Some(found) = self.in_place(file, from, one)
        {
            return found;
        }
        let new = lines.iter().map(AsRef::as_ref);
        self.finds_in(file, from, new.chain(file.lines_from(then)))
    }

    /// One line in the place of a record's: the whole tree has the root that it has with this leaf.
    fn in_place(&self, file: &File, at: usize, line: &[u8]) -> Option<bool> {
        let are_records = !line.starts_with(ATTACHMENT) && !file.line(at).starts_with(ATTACHMENT);
        let text = line.strip_suffix(b"\n").filter(|_| are_records)?;
        let path = self.paths.get(*self.before.get(at)?)?;
        Some(path.root(leaf_hash(text)) != Some(self.root))
    }

    /// Whether something is wrong with a file that has these lines from one on.
    pub(super) fn finds_in<'a>(
        &self,
        file: &File,
        from: usize,
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let Some(mut records) = self.before.get(from).copied() else { return false };
        let mut waiting = from > 0 && file.line(from - 1).starts_with(ATTACHMENT);
        for line in lines {
            let Some(text) = line.strip_suffix(b"\n") else { return true };
            let own = self.attachments[records].map(|at| file.line(at));
            if line.starts_with(ATTACHMENT) {
                if waiting || own != Some(line) {
                    return true;
                }
                waiting = true;
                continue;
            }
            if waiting != own.is_some() || leaf_hash(text) != self.leaves[records] {
                return true;
            }
            waiting = false;
            records += 1;
            if records == self.leaves.len() {
                return false;
            }
        }
        true
    }
}
