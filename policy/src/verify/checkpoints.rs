//! Checkpoints that a journal is held against.

use std::collections::BTreeMap;

use alloy_primitives::B256;

use super::{Level, Report};
use crate::id::Sequence;
use crate::note::{Checkpoint, Note, NoteFault, Verifier, origin};
use crate::record::{Entry, Record};
use crate::tree::Frontier;

/// Checkpoints, and the roots of the journal at their sizes as they are passed.
#[derive(Debug, Default)]
pub(super) struct Held {
    notes: Vec<(Note, Result<Checkpoint, NoteFault>)>,
    journal: Option<Verifier>,
    roots: BTreeMap<u64, Option<B256>>,
}

impl Held {
    pub(super) fn new(notes: Vec<Note>, journal: Option<Verifier>) -> Self {
        let notes: Vec<_> = notes
            .into_iter()
            .map(|note| {
                let checkpoint = Checkpoint::parse(&note.text);
                (note, checkpoint)
            })
            .collect();
        let sizes = notes.iter().filter_map(|(_, one)| one.as_ref().ok());
        let roots = sizes.map(|checkpoint| (checkpoint.size, None)).collect();
        Self { notes, journal, roots }
    }

    /// The journal has come this far.
    pub(super) fn pass(&mut self, so_far: &Frontier) {
        if let Some(root) = self.roots.get_mut(&so_far.size()) {
            *root = Some(so_far.root());
        }
    }

    /// Says how much is attested, and what is wrong.
    pub(super) fn check(self, entries: &[Entry], report: &mut Report) {
        let Some(vault) = report.vault else { return };
        let name = origin(vault.0);
        let own = entries.iter().find_map(|entry| {
            let Record::CheckpointKeyMade(made) = &entry.record else { return None };
            Some((entry.seq, Verifier { name: name.clone(), key: made.key.clone() }))
        });
        if let (Some(known), Some((at, own))) = (&self.journal, &own)
            && known != own
        {
            let what = format!("it names {own} as the key for checkpoints, and {known} was given");
            report.found(Level::Tree, *at, what);
        }
        let journal = self.journal.or(own.map(|(_, own)| own));
        for (note, checkpoint) in self.notes {
            let root = checkpoint.as_ref().ok().and_then(|one| self.roots.get(&one.size).copied());
            match checked(&note, checkpoint, journal.as_ref(), root.flatten(), report.size) {
                Ok(size) => report.attested = report.attested.max(size),
                Err(what) => report.found(Level::Tree, Sequence(report.size), what),
            }
        }
        report.journal = journal;
    }
}

/// How many records a checkpoint stands for.
fn checked(
    note: &Note,
    checkpoint: Result<Checkpoint, NoteFault>,
    journal: Option<&Verifier>,
    root: Option<B256>,
    have: u64,
) -> Result<u64, String> {
    let checkpoint = checkpoint.map_err(|fault| format!("a checkpoint is none: {fault}"))?;
    let journal = journal.ok_or("a checkpoint is given, and the journal names no key for any")?;
    let size = checkpoint.size;
    if checkpoint.origin != journal.name {
        return Err(format!("the checkpoint is of {}, another journal", checkpoint.origin));
    }
    let said = note.check(journal);
    said.map_err(|fault| format!("the checkpoint over {size} records does not count: {fault}"))?;
    match root {
        None if size > have => Err(format!(
            "the checkpoint was signed over {size} records, and {have} are here: some were taken \
             away from the end"
        )),
        Some(root) if root == checkpoint.root => Ok(size),
        None | Some(_) => Err(format!(
            "the checkpoint over {size} records was signed over others than the first {size} here"
        )),
    }
}
