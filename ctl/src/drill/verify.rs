//! `drill verify FOLDER [--export FILE]`: whether the evidence of a drill is what was signed, and
//! what the journal holds. Needs no signer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use clap::Args;
use portcullis_policy::credential::{Credential, Evidence as Signed, Purpose};
use portcullis_policy::id::{KeyId, PersonId};
use portcullis_policy::record::{Drilled, Entry, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::State;
use portcullis_policy::tree::{Inclusion, Tree, leaf_hash};
use serde_json::json;

use super::claims::Claims;
use super::evidence::{Bundle, Evidence, Proved, VERSION};
use super::excerpt::About;
use super::{DrillFault, page};
use crate::audit;
use crate::audit::verify::attachment;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The folder that `drill run` wrote.
    folder: PathBuf,
    /// The journal, as `audit export` wrote it after the drill. Without it, only what the bundle
    /// says of itself is checked.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

pub(crate) fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let bundle = Bundle { folder: args.folder.clone() };
    let text = read(&bundle.evidence())?;
    let path = bundle.evidence();
    let evidence = serde_json::from_str::<Evidence>(&text);
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(source) => return unreadable(&DrillFault::Evidence { path, source }, output),
    };
    let mut wrong = of_itself(&evidence, &text, &bundle)?;
    let mut notes = Vec::new();
    compare_page(&evidence, &bundle, &mut wrong, &mut notes);
    match &args.export {
        Some(export) => wrong.extend(against(&evidence, &text, export)?),
        None => notes.push(UNHELD.to_owned()),
    }
    let verified = wrong.is_empty();
    let mut lines = vec![
        ("drill", evidence.drill.clone()),
        ("says", if evidence.good { "good".into() } else { "NOT GOOD".to_owned() }),
        ("signed by", format!("{} of {}", evidence.by.credential.id(), evidence.by.person)),
        ("records", evidence.records.len().to_string()),
    ];
    lines.extend(wrong.iter().map(|line| ("wrong", line.clone())));
    let verdict = match (verified, args.export.is_some()) {
        (true, true) => "the evidence is what was signed, and the journal holds it",
        (true, false) => "the evidence agrees with itself",
        (false, _) => "not verified",
    };
    lines.push(("verdict", verdict.to_owned()));
    let json = json!({
        "drill": evidence.drill,
        "good": evidence.good,
        "verified": verified,
        "against_export": args.export.is_some(),
        "wrong": wrong,
    });
    output.result(&fields(&lines), &json)?;
    notes.iter().for_each(|line| output.note(line));
    Ok(if verified { Exit::Done } else { Exit::Unverified })
}

/// A bundle that cannot even be read is no evidence.
fn unreadable(fault: &DrillFault, output: &Output) -> Result<Exit, Failure> {
    let why = std::error::Error::source(fault).map(ToString::to_string).unwrap_or_default();
    let wrong = format!("{fault}: {why}");
    let human = fields(&[("wrong", wrong.clone()), ("verdict", "not verified".to_owned())]);
    output.result(&human, &json!({ "verified": false, "wrong": [wrong] }))?;
    Ok(Exit::Unverified)
}

fn read(path: &Path) -> Result<String, DrillFault> {
    std::fs::read_to_string(path)
        .map_err(|source| DrillFault::Read { path: path.to_owned(), source })
}

/// What needs nothing but the bundle.
fn of_itself(evidence: &Evidence, text: &str, bundle: &Bundle) -> Result<Vec<String>, DrillFault> {
    let mut wrong = Vec::new();
    if evidence.version != VERSION {
        wrong.push(format!(
            "it is of version {}, and this portctl knows {VERSION}",
            evidence.version
        ));
    }
    let armored = Signed::Ssh(read(&bundle.signature())?);
    let signed = evidence.by.credential.verify(Purpose::Drill, text.as_bytes(), &armored);
    if let Err(fault) = signed {
        wrong.push(format!("the signature is none over these bytes: {fault}"));
    }
    wrong.extend(of_records(evidence));
    Ok(wrong)
}

/// That each record stands where it says in the tree, and that they bear out the verdict.
fn of_records(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut entries = Vec::new();
    let key = evidence.canary.as_ref().and_then(|canary| canary.key_id.parse::<KeyId>().ok());
    let mut about = key.map(About::new);
    let head = evidence.tree.as_ref().and_then(|tree| Some((tree.size, hash(&tree.root)?)));
    for proved in &evidence.records {
        let at = proved.index.saturating_add(1);
        let Ok(entry) = Entry::decode(proved.line.as_bytes()) else {
            wrong.push(format!("record {at} is none in its canonical form"));
            continue;
        };
        if entry.seq.0 != at {
            wrong.push(format!("record {} is said to be record {at}", entry.seq));
        }
        if !about.as_mut().is_some_and(|about| about.takes(&entry)) {
            wrong.push(format!("record {at} is not about the canary"));
        }
        if !head.is_some_and(|(size, root)| is_proved(proved, size, root)) {
            wrong.push(format!("record {at} is not proved to be in the journal"));
        }
        entries.push(entry);
    }
    if evidence.good {
        let claims = key.map(|key| Claims::of(key, &entries));
        wrong.extend(claims.map_or_else(|| vec![NO_CANARY.to_owned()], |claims| claims.missing()));
    }
    wrong
}

fn is_proved(proved: &Proved, size: u64, root: B256) -> bool {
    let path: Option<Vec<B256>> = proved.proof.iter().map(|text| hash(text)).collect();
    let Some(path) = path else { return false };
    let inclusion = Inclusion { index: proved.index, size, path };
    inclusion.proves(leaf_hash(proved.line.as_bytes()), root)
}

fn hash(text: &str) -> Option<B256> {
    let bytes = hex::decode(text).ok()?;
    B256::try_from(bytes.as_slice()).ok()
}

/// The page is made of the evidence, so it can be made again.
fn compare_page(
    evidence: &Evidence,
    bundle: &Bundle,
    wrong: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    if evidence.by.portctl_version != env!("CARGO_PKG_VERSION") {
        notes.push("another version of portctl made the page, so it was not compared".to_owned());
        return;
    }
    match std::fs::read_to_string(bundle.page()) {
        Ok(text) if text == page::render(evidence) => {}
        Ok(_) => wrong.push("evidence.html does not say what evidence.json says".to_owned()),
        Err(_) => notes.push("there is no evidence.html: nothing was compared with it".to_owned()),
    }
}

/// What the journal holds of it.
fn against(evidence: &Evidence, text: &str, export: &Path) -> Result<Vec<String>, Failure> {
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
                && drilled.drill.as_str() == evidence.drill
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

fn credentials(state: &State, person: &PersonId) -> Vec<Credential> {
    state.people().get(person).map(|person| person.credentials.clone()).unwrap_or_default()
}

const UNHELD: &str = "note: without --export nothing was held against the journal: whoever could \
                      sign it could have made all of it up";

const NO_CANARY: &str = "it says that it was good, and has no canary";

#[cfg(test)]
pub(super) mod tests {
    use portcullis_policy::credential::SshKey;
    use portcullis_policy::record::{KeyCreated, Record};
    use portcullis_policy::time::{Interval, Millis};

    use super::super::evidence::{Canary, Runner, StepTold, StepVerdict, TreeHead, Vault};
    use super::super::plan::Plan;
    use super::*;

    const PEN: &str = "ssh-ed25519 \
                       AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    /// A drill that made a canary, and got no further.
    pub(crate) fn evidence() -> Evidence {
        let key = KeyId::from_bytes([3; 16]);
        let at = Interval { possible: Millis(1), sure: Millis(1) };
        let made = KeyCreated { address: Default::default(), key, point: "04".into() };
        let entry =
            Entry { at, record: Record::KeyCreated(made), seq: portcullis_policy::id::Sequence(2) };
        let line = String::from_utf8(entry.encode().expect("a line")).expect("ASCII");
        let tree = Tree::new(vec![leaf_hash(b"genesis"), leaf_hash(line.as_bytes())]);
        let proof = tree.prove(1).expect("a proof").path.iter().map(hex::encode).collect();
        let step = StepTold {
            name: "create".into(),
            verdict: StepVerdict::Held,
            began_ms: 0,
            took_ms: 7,
            goal_ms: None,
            found: vec!["it was made".into()],
        };
        Evidence {
            version: VERSION,
            drill: "2026-11-30-canary-1".into(),
            vault: Vault {
                id: "00".repeat(32),
                environment: "staging".into(),
                signer_version: "0.1.0".into(),
            },
            by: Runner {
                person: "sam".into(),
                credential: Credential::Ssh(SshKey::from_authorized_line(PEN).expect("a key")),
                portctl_version: env!("CARGO_PKG_VERSION").into(),
            },
            began_at_ms: 1_763_924_007_042,
            plan: Plan::default(),
            canary: Some(Canary {
                label: "canary-1".into(),
                key_id: key.to_string(),
                address: "0x00".into(),
                chain_id: 1,
                to: "0x00".into(),
                state: "frozen".into(),
                absence: None,
            }),
            good: false,
            steps: vec![step],
            whole_ms: 9,
            load: None,
            freeze: None,
            tree: Some(TreeHead { size: 2, root: hex::encode(tree.root()) }),
            records: vec![Proved { index: 1, line, proof }],
        }
    }

    #[test]
    fn records_that_are_proved_bear_out_what_they_say_and_no_more() {
        assert_eq!(of_records(&evidence()), [""; 0]);
        let good = Evidence { good: true, ..evidence() };
        let wrong = of_records(&good);
        assert!(wrong.iter().any(|line| line.contains("does not say the stop")), "{wrong:?}");
        let none = Evidence { canary: None, records: Vec::new(), ..good };
        assert_eq!(of_records(&none), [NO_CANARY]);
    }

    #[test]
    fn a_record_that_was_changed_or_moved_or_is_anothers_is_noticed() {
        let change = |change: fn(&mut Evidence)| {
            let mut changed = evidence();
            change(&mut changed);
            of_records(&changed).len()
        };
        assert!(change(|one| one.records.iter_mut().for_each(|one| one.index = 0)) > 0);
        assert!(change(|one| one.records.iter_mut().for_each(|one| one.proof.clear())) > 0);
        assert!(
            change(|one| one.records.iter_mut().for_each(|one| {
                one.line = one.line.replace("\"04\"", "\"05\"");
            })) > 0
        );
        assert!(change(|one| one.tree = None) > 0);
        assert!(change(|one| one.canary = None) > 0);
    }
}
