//! The evidence of a drill held against an export of the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use alloy_primitives::B256;
use portcullis_policy::credential::Credential;
use portcullis_policy::id::{KeyId, PersonId};
use portcullis_policy::record::{Drilled, Entry, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::State;
use portcullis_policy::tree::{Tree, leaf_hash};

use super::WHOLE;
use super::evidence::{Evidence, StepVerdict};
use super::excerpt::About;
use crate::audit;
use crate::audit::verify::attachment;
use crate::failure::Failure;

/// What the journal holds of it.
pub(super) fn against(
    evidence: &Evidence,
    text: &str,
    export: &Path,
) -> Result<Vec<String>, Failure> {
    let report = audit::verify::report(export)?;
    let mut wrong: Vec<String> = Vec::new();
    if let Some(first) = report.discrepancies.first() {
        let count = report.discrepancies.len();
        wrong.push(format!(
            "the export does not verify ({count} findings; record {}: {}): portctl audit verify",
            first.at, first.what
        ));
    }
    let journal = Journal::read(export, evidence)?;
    if Some(&evidence.vault.id) != journal.vault.as_ref() {
        wrong.push("the export is of another vault".to_owned());
    }
    wrong.extend(journal.tree(evidence));
    wrong.extend(journal.lines(evidence));
    wrong.extend(journal.drilled(evidence, text));
    Ok(wrong)
}

/// Of an export, what a bundle is held against.
struct Journal {
    vault: Option<String>,
    leaves: Vec<B256>,
    /// Every record about the canary up to the size that the evidence tells, by its place.
    about: BTreeSet<u64>,
    /// The record that tells of this drill, and what whoever told it could sign with then.
    told: Option<(Drilled, Vec<Credential>)>,
}

impl Journal {
    fn read(path: &Path, evidence: &Evidence) -> Result<Self, Failure> {
        let unreadable = |source| Failure::Read { path: path.to_owned(), source };
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
        let key = evidence.canary.as_ref().and_then(|canary| canary.key_id.parse().ok());
        let key: Option<KeyId> = key;
        let (mut about, size) =
            (key.map(About::new), evidence.tree.as_ref().map_or(0, |tree| tree.size));
        let mut journal =
            Self { vault: None, leaves: Vec::new(), about: BTreeSet::new(), told: None };
        let (mut state, mut line) = (None::<State>, Vec::new());
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if attachment(line).is_some() {
                continue;
            }
            let index = u64::try_from(journal.leaves.len()).unwrap_or(u64::MAX);
            journal.leaves.push(leaf_hash(line));
            // What cannot be read or folded is among the findings of the export's own check.
            let Ok(entry) = Entry::decode(line) else { continue };
            let own = about.as_mut().is_some_and(|about| about.takes(&entry));
            if own && index < size {
                journal.about.insert(index);
            }
            let folded = match &mut state {
                None => State::genesis(&entry).map(|genesis| state = Some(genesis)),
                Some(state) => state.apply(&entry),
            };
            if folded.is_ok()
                && let Record::Drilled(drilled) = entry.record
                && Some(drilled.key) == key
            {
                let signs = state.as_ref().map(|state| credentials(state, &drilled.by));
                journal.told = Some((*drilled, signs.unwrap_or_default()));
            }
        }
        journal.vault = state.map(|state| hex::encode(state.vault().0));
        Ok(journal)
    }

    /// That its first records add up to the root in the evidence.
    fn tree(&self, evidence: &Evidence) -> Option<String> {
        let told = evidence.tree.as_ref()?;
        let size = usize::try_from(told.size).ok();
        let Some(leaves) = size.and_then(|size| self.leaves.get(..size)) else {
            return Some("the export ends before the drill did: export again".to_owned());
        };
        let same = Some(Tree::new(leaves.to_vec()).root()) == hash(&told.root);
        (!same).then(|| format!("the first {} records of the export have another root", told.size))
    }

    /// That each record is in it, and that none about the canary was left out.
    fn lines(&self, evidence: &Evidence) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut there = BTreeSet::new();
        for proved in &evidence.records {
            let leaf = usize::try_from(proved.index).ok().and_then(|at| self.leaves.get(at));
            if leaf != Some(&leaf_hash(proved.line.as_bytes())) {
                let at = proved.index.saturating_add(1);
                wrong.push(format!("record {at} is another one in the export"));
            }
            there.insert(proved.index);
        }
        if let Some(left_out) = self.about.iter().find(|index| !there.contains(index)) {
            let at = left_out.saturating_add(1);
            wrong.push(format!("record {at} is about the canary, and not in the evidence"));
        }
        wrong
    }

    /// That the journal tells of this drill, in these bytes, by somebody who signed them.
    fn drilled(&self, evidence: &Evidence, text: &str) -> Vec<String> {
        let Some((drilled, credentials)) = &self.told else {
            return vec![format!("no record of the export tells of the drill {}", evidence.drill)];
        };
        let key = evidence.canary.as_ref().map(|canary| canary.key_id.as_str());
        let (by, own) = (drilled.by.as_str(), drilled.key.to_string());
        let checks = [
            (drilled.evidence == sha256(text.as_bytes()), "its record holds another SHA-256"),
            (drilled.good == evidence.good, "its record has another verdict"),
            (drilled.drill.as_str() == evidence.drill, "its record has another name"),
            (is_measured(drilled, evidence), "its record has other times"),
            (by == evidence.by.person, "its record is by somebody else"),
            (key == Some(own.as_str()), "its record is about another key"),
            (
                credentials.contains(&evidence.by.credential),
                "whoever told it did not have that key enrolled then",
            ),
        ];
        let wrong = checks.into_iter().filter(|(holds, _)| !holds);
        wrong.map(|(_, line)| line.to_owned()).collect()
    }
}

/// Whether the journal has the times of every step that held, and which were too long.
fn is_measured(drilled: &Drilled, evidence: &Evidence) -> bool {
    let held = evidence.steps.iter().filter(|step| step.verdict == StepVerdict::Held);
    let steps = held.map(|step| (step.name.as_str(), step.took_ms));
    let told: BTreeMap<&str, u64> = steps.chain([(WHOLE, evidence.whole_ms)]).collect();
    let measured: BTreeMap<&str, u64> =
        drilled.measured.iter().map(|(name, took)| (name.as_str(), took.0)).collect();
    let missed: BTreeSet<&str> = drilled.missed.iter().map(|name| name.as_str()).collect();
    measured == told && missed == evidence.missed().into_iter().collect()
}

/// What somebody signs with, and has not lost.
fn credentials(state: &State, person: &PersonId) -> Vec<Credential> {
    let Some(member) = state.people().member(person) else { return Vec::new() };
    let own = member.person.credentials.iter();
    own.filter(|one| !member.silenced.contains(&one.id())).cloned().collect()
}

/// 64 hexadecimal digits.
pub(super) fn hash(text: &str) -> Option<B256> {
    let bytes = hex::decode(text).ok()?;
    B256::try_from(bytes.as_slice()).ok()
}
