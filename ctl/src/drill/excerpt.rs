//! The records about one key, with the proof that each is in the journal.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use portcullis_client::wire::{JournalHead, ReadJournalRequest};
use portcullis_client::{CallError, ControlClient};
use portcullis_policy::id::KeyId;
use portcullis_policy::record::{Entry, Matter, Record};
use portcullis_policy::stops::Scope;
use portcullis_policy::tree::{Tree, leaf_hash};

use super::DrillFault;
use super::evidence::{Proved, TreeHead};
use crate::failure::Failure;

/// What of the journal is about one key.
pub(super) struct Excerpt {
    about: About,
    leaves: Vec<B256>,
    lines: Vec<(u64, Entry, String)>,
}

impl Excerpt {
    /// Reads the journal to its end.
    pub(super) async fn read(control: &ControlClient, key: KeyId) -> Result<Read, Failure> {
        let mut excerpt = Self { about: About::new(key), leaves: Vec::new(), lines: Vec::new() };
        let mut agreed = None;
        for _ in 0..READINGS_MAX {
            let from_sequence = excerpt.size().saturating_add(1);
            let request = ReadJournalRequest { from_sequence, follow: false, limit: 0 };
            let mut journal = control.read_journal(request).await?;
            let mut last = 0;
            while let Some(batch) = journal.next().await? {
                for line in batch.lines.iter().filter(|line| line.sequence != 0) {
                    excerpt.take(line.sequence, &line.content)?;
                }
                let head = batch.head.ok_or(CallError::Incomplete { part: "head" })?;
                last = head.size;
                if head.size == excerpt.size() {
                    agreed = Some(head);
                }
            }
            if excerpt.size() >= last {
                break;
            }
        }
        let head =
            agreed.ok_or(DrillFault::Journal("it never gave a head that its records fit"))?;
        excerpt.proved(&head)
    }

    fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, sequence: u64, line: &[u8]) -> Result<(), DrillFault> {
        if sequence != self.size().saturating_add(1) {
            return Err(DrillFault::Journal("a record is missing"));
        }
        let entry = Entry::decode(line)
            .map_err(|_| DrillFault::Journal("a record is not in the form of this version"))?;
        if self.about.takes(&entry) {
            let text = String::from_utf8_lossy(line).into_owned();
            self.lines.push((self.size(), entry, text));
        }
        self.leaves.push(leaf_hash(line));
        Ok(())
    }

    /// Up to the head, each with its proof; only if the records add up to it.
    fn proved(mut self, head: &JournalHead) -> Result<Read, Failure> {
        self.leaves.truncate(usize::try_from(head.size).unwrap_or(usize::MAX));
        let tree = Tree::new(self.leaves);
        let root = tree.root();
        if root.as_slice() != head.root {
            let fault = DrillFault::Journal("its records do not add up to the root that it tells");
            return Err(fault.into());
        }
        let mut read = Read {
            tree: TreeHead { size: head.size, root: hex::encode(root) },
            entries: Vec::new(),
            records: Vec::new(),
        };
        for (index, entry, line) in self.lines {
            let Some(inclusion) = tree.prove(index) else { continue };
            let proof = inclusion.path.iter().map(hex::encode).collect();
            read.records.push(Proved { index, line, proof });
            read.entries.push(entry);
        }
        Ok(read)
    }
}

/// What was read.
pub(super) struct Read {
    pub(super) tree: TreeHead,
    pub(super) entries: Vec<Entry>,
    pub(super) records: Vec<Proved>,
}

/// Picks the records about a key.
pub(super) struct About {
    key: KeyId,
    matters: BTreeSet<Matter>,
}

impl About {
    pub(super) fn new(key: KeyId) -> Self {
        Self { key, matters: BTreeSet::new() }
    }

    /// Whether a record is about the key. To be asked of each in its order.
    pub(super) fn takes(&mut self, entry: &Entry) -> bool {
        let key = self.key;
        match &entry.record {
            Record::KeyIntended(one) => one.key == key,
            Record::KeyCreated(one) => one.key == key,
            Record::Settled(one) => one.key == key,
            Record::Frozen(one) => one.scope == Scope::Key(key),
            Record::FenceIntended(one) => one.keys.contains(&key),
            Record::FenceAnswered(one) => one.done.contains(&key) || one.refused.contains_key(&key),
            Record::DestroyAnswered(one) => one.key == key,
            Record::DrainEnded(one) => one.key == key,
            Record::Drilled(one) => one.key == key,
            Record::Suppressed(one) => one.key == key,
            Record::Signed(_)
            | Record::Denied(_)
            | Record::Withheld(_)
            | Record::Failed(_)
            | Record::Parked(_) => self.asked(entry),
            Record::Proposed(one) => {
                let own = one.act.key() == Some(key);
                if own {
                    self.matters.insert(Matter::Proposal(entry.seq));
                }
                own
            }
            Record::Voted(one) => self.matters.contains(&one.matter),
            Record::Executed(one) => self.matters.contains(&Matter::Proposal(one.proposal)),
            Record::Withdrawn(one) => self.matters.contains(&one.matter),
            Record::Genesis(_)
            | Record::Started(_)
            | Record::CheckpointKeyIntended(_)
            | Record::CheckpointKeyMade(_)
            | Record::Snapshot(_)
            | Record::Adopted(_)
            | Record::Priced(_)
            | Record::Suspended(_)
            | Record::RecoveryBegun(_)
            | Record::Recovered(_) => false,
        }
    }

    fn asked(&mut self, entry: &Entry) -> bool {
        let own = entry.record.asked().is_some_and(|asked| asked.by.key == self.key);
        if let (true, Record::Parked(parked)) = (own, &entry.record) {
            self.matters.insert(Matter::Parked(parked.parked.clone()));
        }
        own
    }
}

/// Readings at most, each from where the last ended.
const READINGS_MAX: u32 = 8;
