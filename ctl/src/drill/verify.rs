//! `drill verify FOLDER [--export FILE]`: whether the evidence of a drill is what was signed, and
//! what the journal holds. Needs no signer.

use std::collections::{BTreeMap, BTreeSet};
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
use super::evidence::{Bundle, Evidence, LoadTold, Proved, StepVerdict, VERSION};
use super::excerpt::About;
use super::steps::Step;
use super::{DrillFault, WHOLE, page};
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
    let mut wrong = of_itself(&evidence, &text, &bundle);
    let mut notes = Vec::new();
    let page = compare_page(&evidence, &bundle, &mut wrong, &mut notes);
    match &args.export {
        Some(export) => {
            wrong.extend(against(&evidence, &text, export)?);
            notes.push(UNATTESTED.to_owned());
        }
        None => notes.push(UNHELD.to_owned()),
    }
    let verified = wrong.is_empty();
    let mut lines = vec![
        ("drill", evidence.drill.clone()),
        ("says", if evidence.good { "good".into() } else { "NOT GOOD".to_owned() }),
        ("signed by", format!("{} of {}", evidence.by.credential.id(), evidence.by.person)),
        ("vault", evidence.vault.id.clone()),
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
        "vault": evidence.vault.id,
        "good": evidence.good,
        "page": page,
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
fn of_itself(evidence: &Evidence, text: &str, bundle: &Bundle) -> Vec<String> {
    let mut wrong = Vec::new();
    if evidence.version != VERSION {
        wrong.push(format!(
            "it is of version {}, and this portctl knows {VERSION}",
            evidence.version
        ));
    }
    match read(&bundle.signature()) {
        Ok(armored) => {
            let (armored, own) = (Signed::Ssh(armored), &evidence.by.credential);
            if let Err(fault) = own.verify(Purpose::Drill, text.as_bytes(), &armored) {
                wrong.push(format!("the signature is none over these bytes: {fault}"));
            }
        }
        Err(_) => wrong.push("it is not signed: evidence.json.sig cannot be read".to_owned()),
    }
    wrong.extend(of_records(evidence));
    wrong.extend(of_verdict(evidence));
    wrong
}

/// That a good verdict is that of every step, of the callers, and of the stop.
fn of_verdict(evidence: &Evidence) -> Vec<String> {
    if !evidence.good {
        return Vec::new();
    }
    let names = evidence.steps.iter().map(|step| step.name.as_str());
    let all = names.eq(Step::ALL.into_iter().map(Step::name));
    let held = evidence.steps.iter().all(|step| step.verdict == StepVerdict::Held);
    let load = evidence.load.as_ref();
    let refused = |load: &LoadTold| load.refused_after.get("FROZEN").copied().unwrap_or(0);
    let silent = load.is_some_and(|load| {
        load.callers > 0
            && load.signed_after == 0
            && load.signed_before >= load.callers
            && refused(load) >= load.callers
            && load.refused_after.len() == 1
    });
    let checks = [
        (all && held, "it says that it was good, and not that every step held"),
        (silent, "it says that it was good, and not that its callers were served and then refused"),
        (evidence.freeze.is_some(), "it says that it was good, and nothing of the stop"),
    ];
    let wrong = checks.into_iter().filter(|(holds, _)| !holds);
    wrong.map(|(_, line)| line.to_owned()).collect()
}

/// That each record stands where it says in the tree, and that they bear out the verdict.
fn of_records(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut entries = Vec::new();
    let key = evidence.canary.as_ref().and_then(|canary| canary.key_id.parse::<KeyId>().ok());
    let mut about = key.map(About::new);
    let head = evidence.tree.as_ref().and_then(|tree| Some((tree.size, hash(&tree.root)?)));
    if !evidence.records.iter().map(|proved| proved.index).is_sorted_by(|one, next| one < next) {
        wrong.push("the records are not in the journal's order".to_owned());
    }
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
    let claims = key.map(|key| Claims::of(key, &entries));
    if let Some(claims) = &claims {
        wrong.extend(claims.contradicts(evidence));
    }
    if evidence.good {
        wrong.extend(borne_out(evidence, claims.as_ref()));
    }
    wrong
}

fn borne_out(evidence: &Evidence, claims: Option<&Claims>) -> Vec<String> {
    let Some(claims) = claims else { return vec![NO_CANARY.to_owned()] };
    let mut wrong = claims.missing();
    let told = evidence.freeze.map(|stop| stop.sequence);
    if claims.frozen().map(|at| at.0) != told {
        wrong.push("the journal's first stop of the canary is not the drill's".to_owned());
    }
    if !claims.is_stopped_by(&evidence.by.person) {
        wrong.push("the canary was stopped by somebody else than who ran the drill".to_owned());
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
) -> &'static str {
    if evidence.by.portctl_version != env!("CARGO_PKG_VERSION") {
        notes.push(
            "warning: another version of portctl made the page, so it was NOT compared: read \
             evidence.json, or compare with that version"
                .to_owned(),
        );
        return "not compared";
    }
    match std::fs::read_to_string(bundle.page()) {
        Ok(text) if text == page::render(evidence) => return "compared",
        Ok(_) => wrong.push("evidence.html does not say what evidence.json says".to_owned()),
        Err(_) => wrong.push("there is no evidence.html".to_owned()),
    }
    "wrong"
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

const UNHELD: &str = "note: without --export nothing was held against the journal: whoever could \
                      sign it could have made all of it up";

const UNATTESTED: &str = "note: no checkpoint attests the export: whoever could make one up could make \
                          up the drill with it. Compare the vault's id, and portctl audit verify's \
                          head, with what you kept elsewhere";

const NO_CANARY: &str = "it says that it was good, and has no canary";

#[cfg(test)]
pub(super) mod tests {
    use portcullis_policy::credential::SshKey;
    use portcullis_policy::id::{ChainId, Sequence};
    use portcullis_policy::record::{Environment, KeyCreated, KeyIntended, Record};
    use portcullis_policy::time::{Interval, Millis};

    use super::super::evidence::{Canary, Runner, StepTold, TreeHead, Vault};
    use super::super::plan::Plan;
    use super::*;
    use crate::output::address;

    const PEN: &str = "ssh-ed25519 \
                       AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    /// A drill that made a canary, and got no further.
    pub(crate) fn evidence() -> Evidence {
        let key = KeyId::from_bytes([3; 16]);
        let at = Interval { possible: Millis(1), sure: Millis(1) };
        let intended = KeyIntended {
            by: "olga".parse().expect("a person"),
            chains: BTreeSet::from([ChainId(1)]),
            environment: Environment::Staging,
            key,
            label: "canary-1".parse().expect("a label"),
            owner: "olga".parse().expect("a person"),
            purpose: "canary".into(),
            review_by: Millis(2),
            tags: BTreeSet::new(),
        };
        let made = KeyCreated { address: Default::default(), key, point: "04".into() };
        let line = |record, number| {
            let entry = Entry { at, record, seq: Sequence(number) };
            String::from_utf8(entry.encode().expect("a line")).expect("ASCII")
        };
        let lines = [line(Record::KeyIntended(intended), 2), line(Record::KeyCreated(made), 3)];
        let leaves = lines.iter().map(|line| leaf_hash(line.as_bytes()));
        let tree = Tree::new([leaf_hash(b"genesis")].into_iter().chain(leaves).collect());
        let proof = |at| tree.prove(at).expect("a proof").path.iter().map(hex::encode).collect();
        let records = lines.iter().zip(1..);
        let records =
            records.map(|(line, index)| Proved { index, line: line.clone(), proof: proof(index) });
        let records: Vec<Proved> = records.collect();
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
                address: address(&[0; 20]),
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
            tree: Some(TreeHead { size: 3, root: hex::encode(tree.root()) }),
            records,
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
        assert!(change(|one| one.records.reverse()) > 0);
        for lie in [
            |canary: &mut Canary| canary.label = "treasury".into(),
            |canary: &mut Canary| canary.address = address(&[7; 20]),
            |canary: &mut Canary| canary.chain_id = 2,
            |canary: &mut Canary| canary.absence = Some("the token says so".into()),
        ] {
            let mut lying = evidence();
            lying.canary.iter_mut().for_each(lie);
            assert_eq!(of_records(&lying).len(), 1);
        }
        assert!(change(|one| one.tree = None) > 0);
        assert!(change(|one| one.canary = None) > 0);
    }
}
