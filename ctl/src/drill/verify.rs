//! `drill verify FOLDER [--export FILE]`: whether the evidence of a drill is what was signed, and
//! what the journal holds. Needs no signer.

use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use clap::Args;
use portcullis_policy::credential::{Evidence as Signed, Purpose};
use portcullis_policy::id::KeyId;
use portcullis_policy::record::Entry;
use portcullis_policy::tree::{Inclusion, leaf_hash};
use serde_json::json;

use super::claims::Claims;
use super::evidence::{Bundle, Evidence, LoadTold, Proved, StepVerdict, VERSION};
use super::excerpt::About;
use super::held::{against, hash};
use super::steps::Step;
use super::{DrillFault, page};
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
    if is_unread(&evidence) {
        notes.push(UNREAD.to_owned());
    }
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
    wrong.extend(of_what_it_says(evidence));
    wrong
}

/// Whether its records, its steps and its verdict agree.
pub(super) fn of_what_it_says(evidence: &Evidence) -> Vec<String> {
    [of_records(evidence), of_verdict(evidence)].concat()
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
    // Where the journal could not be read, the bundle says nothing of it, and is not good.
    if let Some(claims) = claims.as_ref().filter(|_| !is_unread(evidence)) {
        wrong.extend(claims.contradicts(evidence));
    }
    if evidence.good {
        wrong.extend(borne_out(evidence, claims.as_ref()));
    }
    wrong
}

/// Whether the signer could not be asked for its journal when the drill ended.
fn is_unread(evidence: &Evidence) -> bool {
    evidence.tree.is_none() && evidence.records.is_empty() && !evidence.good
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

/// The page is made of the evidence, so it can be made again.
pub(super) fn compare_page(
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

const UNREAD: &str = "note: the journal could not be read when this drill ended: nothing of it is \
                      proved here, and what the bundle says of the canary is its signer's word";

const UNHELD: &str = "note: without --export nothing was held against the journal: whoever could \
                      sign it could have made all of it up";

const UNATTESTED: &str = "note: no checkpoint attests the export: whoever could make one up could \
                          make up the drill with it. Compare the vault's id, and portctl audit \
                          verify's head, with what you kept elsewhere";

const NO_CANARY: &str = "it says that it was good, and has no canary";

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use portcullis_policy::credential::{Credential, SshKey};
    use portcullis_policy::id::{ChainId, Sequence};
    use portcullis_policy::record::{Environment, KeyCreated, KeyIntended, Record};
    use portcullis_policy::time::{Interval, Millis};
    use portcullis_policy::tree::Tree;

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
                successor: None,
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
        let unread = Evidence { tree: None, records: Vec::new(), ..evidence() };
        assert_eq!(of_records(&unread), [""; 0]);
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
            |canary: &mut Canary| canary.successor = Some("04".repeat(16)),
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
