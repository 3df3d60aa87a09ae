//! `portctl drill` on a real token: from the making of a canary to its destruction under load, with
//! people who vote; the evidence, verified where no signer is; and what ends a drill early.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portcullis_client::wire::{DrillStep, KeyState, ReportDrillRequest};
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, Vault, governed_book};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{Scene, call_refused};

/// The usual book, and rules for four canaries.
fn book() -> String {
    let text = governed_book();
    let canary = |label: &str| {
        format!(
            "[key.{label}]\ncallers = [\"{PAYOUTS}\"]\nchains = [\"anvil\"]\n\
             native = {{ to = \"@suppliers\", per_tx = \"0.1 ETH\", window = \"100 ETH / 1h\" }}\n\
             fees = {{ per_tx = \"0.1 ETH\", window = \"100 ETH / 1h\", max_priority_fee = \
             \"0 gwei\", counts_as = \"native\" }}\n\
             rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 1 }}\n"
        )
    };
    let canaries: String = (1..=4).map(|number| canary(&format!("canary-{number}"))).collect();
    let tables = format!("{}{canaries}", text.tables);
    BookText { tables, ..text }.to_string()
}

async fn scene() -> Result<Scene, Failure> {
    Scene::of(Vault::governed(Through::Real, &book())?).await
}

/// As this person, and as the service that may sign.
fn command(scene: &Scene, person: &str, arguments: &[&str]) -> Result<Command, Failure> {
    let folder = scene.vault.folder.path();
    let own = scene.vault.person(&scene.server, person)?;
    let service = scene.vault.service(&scene.server, PAYOUTS)?;
    let mut text = String::new();
    for (table, config) in [("", own), ("[data_plane]\n", service)] {
        text.push_str(&format!(
            "{table}endpoint = {:?}\nca = {:?}\ncertificate = {:?}\nprivate_key = {:?}\n",
            config.endpoint, config.ca, config.certificate, config.private_key
        ));
    }
    let file = folder.join(format!("{person}.toml"));
    fs::write(&file, text)?;
    let mut command = Command::new(place::binary("portctl")?);
    command.args(arguments).args(["--output", "json"]).arg("--config").arg(file);
    command.current_dir(folder).stdin(Stdio::null());
    Ok(command)
}

fn portctl(scene: &Scene, person: &str, arguments: &[&str]) -> Result<Output, Failure> {
    Ok(command(scene, person, arguments)?.output()?)
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(err), String::from_utf8_lossy(out))
}

fn told(output: &Output) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A drill that ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.stdout)?)
    }
}

/// What people do when they are asked.
#[derive(Clone, Copy)]
enum Answer {
    Agree,
    Reject,
    /// Nobody votes, and Sam has no patience, or the machine goes down.
    Interrupt(&'static str),
    Nothing,
}

/// Sam runs a drill. What it says on the way is done: an operator makes the key, and whoever is
/// asked does this on each deed.
async fn drill(
    scene: &Scene,
    more: &[&str],
    asked: impl Fn(&str) -> Answer,
) -> Result<Ran, Failure> {
    let key = scene.vault.pens.key("sam")?;
    let key = key.to_str().ok_or("a path")?;
    let run = ["drill", "run", "--live-load", "4", "--key", key];
    let mut command = command(scene, "sam", &[&run[..], more].concat())?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().ok_or("no stderr")?;
    let (lines, mut heard) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _nobody_listens = lines.send(line);
        }
    });
    let (mut stderr, mut deed) = (String::new(), String::new());
    while let Some(line) = heard.recv().await {
        stderr.push_str(&format!("{line}\n"));
        if let Some((name, _)) = line.split_once(" takes ") {
            deed = name.to_owned();
        }
        if let Some(words) = line.strip_prefix("  portctl key create ") {
            let label = words.split(' ').next().ok_or("a label")?;
            scene.vault.key_for(&scene.server, label, "canary").await?;
        }
        if let Some(id) = line.strip_prefix("  portctl approvals approve ") {
            match asked(&deed) {
                Answer::Agree => vote(scene, id, true).await?,
                Answer::Reject => vote(scene, id, false).await?,
                Answer::Nothing => {}
                Answer::Interrupt(signal) => {
                    let pid = child.id().to_string();
                    assert!(Command::new("kill").args([signal, &pid]).status()?.success());
                }
            }
        }
    }
    let mut stdout = String::new();
    child.stdout.take().ok_or("no stdout")?.read_to_string(&mut stdout)?;
    Ok(Ran { code: child.wait()?.code(), stdout, stderr })
}

async fn vote(scene: &Scene, id: &str, agree: bool) -> Result<(), Failure> {
    for name in ["sue", "sid", "alan"] {
        let control = scene.vault.control(&scene.server, name).await?;
        // Done already, by the drill that waited for it.
        let Ok(approval) = control.approval(id).await else { return Ok(()) };
        if approval.asks_you {
            scene.vault.pens.vote(&control, id, name, agree).await?;
            if !agree {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn export(scene: &Scene) -> Result<PathBuf, Failure> {
    let path = scene.vault.folder.path().join("journal.export");
    let done = portctl(scene, "sam", &["audit", "export", "-o", "journal.export"])?;
    assert!(done.status.success(), "{}", said(&done));
    Ok(path)
}

fn verify(scene: &Scene, folder: &Path) -> Result<Output, Failure> {
    let folder = folder.to_str().ok_or("a path")?;
    portctl(scene, "sam", &["drill", "verify", folder, "--export", "journal.export"])
}

/// A copy of a bundle, with one of its files changed.
fn changed(bundle: &Path, name: &str, change: impl Fn(&str) -> String) -> Result<PathBuf, Failure> {
    let copy = bundle.with_file_name("changed");
    fs::create_dir_all(&copy)?;
    for file in ["evidence.json", "evidence.json.sig", "evidence.html"] {
        let text = fs::read_to_string(bundle.join(file))?;
        let text = if file == name { change(&text) } else { text };
        fs::write(copy.join(file), text)?;
    }
    Ok(copy)
}

/// The same text with one character of its middle, or after a word, another one.
fn flipped(text: &str, after: &str) -> String {
    let at = text.find(after).unwrap() + after.len();
    let old = text[at..].chars().next().unwrap();
    let new = if old == '1' { '2' } else { '1' };
    format!("{}{new}{}", &text[..at], &text[at + old.len_utf8()..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_ends_a_canary_under_load_and_its_evidence_verifies_where_no_signer_is()
-> Result<(), Failure> {
    let scene = scene().await?;
    let ran = drill(&scene, &[], |_| Answer::Agree).await?;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json()?;
    assert_eq!((&json["good"], &json["canary"]["label"]), (&true.into(), &"canary-1".into()));
    for step in json["steps"].as_array().ok_or("no steps")? {
        assert_eq!(step["verdict"], "held", "{step}");
    }
    // Callers were led to the next one, which signed, and which the next drill takes.
    let rotate = json["steps"][7]["found"].to_string();
    assert!(rotate.contains("is led to canary-2, which signs"), "{rotate}");
    let load = &json["load"];
    assert_eq!((&load["signed_after"], &load["callers"]), (&0.into(), &4.into()), "{load}");
    assert!(load["signed_before"].as_u64() >= Some(20), "{load}");
    assert!(load["refused_after"]["FROZEN"].as_u64() >= Some(4), "{load}");

    println!(
        "measured: whole drill from command to evidence: {:.1} s (goal 60)",
        json["whole_ms"].as_f64().ok_or("no time")? / 1_000.0
    );

    // What the journal says, without believing the drill.
    let journal = scene.journal().await?;
    let drilled = journal.of("drilled");
    assert_eq!(drilled.len(), 1);
    assert_eq!((&drilled[0]["good"], &drilled[0]["by"]), (&true.into(), &"sam".into()));
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("canary-1").await?.state(), KeyState::Destroyed);
    assert!(sam.status().await?.last_good_drill_ms.is_some());
    assert!(scene.metric("portcullis_last_good_drill_age_seconds").is_ok());

    export(&scene)?;
    let folder = scene.vault.folder.path().join(json["folder"].as_str().ok_or("no folder")?);
    let verified = verify(&scene, &folder)?;
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(told(&verified)?["against_export"], true);
    let mode = fs::read_to_string(folder.join("evidence.html"))?;
    assert!(mode.contains("Good") && mode.contains("canary-1"));
    for (file, after, words) in [
        ("evidence.json", "\"took_ms\": ", "signature"),
        ("evidence.json", "\\\"seq\\\":", "record"),
        ("evidence.json", "\"root\": \"", "root"),
        ("evidence.json.sig", "SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAg", ""),
        ("evidence.html", "<h1>", "evidence.html"),
    ] {
        let copy = changed(&folder, file, |text| flipped(text, after))?;
        let wrong = verify(&scene, &copy)?;
        assert_eq!(wrong.status.code(), Some(7), "{file} after {after}: {}", said(&wrong));
        assert!(said(&wrong).contains(words), "{}", said(&wrong));
    }
    let history = told(&portctl(&scene, "ada", &["drill", "history"])?)?;
    let first = &history["drills"][0];
    assert_eq!((&first["canary"], &first["good"]), (&"canary-1".into(), &true.into()));
    assert!(first["measured_ms"]["freeze"].is_u64() && first["measured_ms"]["whole"].is_u64());
    assert_eq!(history["overdue_since"], Value::Null);

    // The label is used up, so the next one takes another canary. A revocation that is refused
    // ends it: what was made stays stopped, and that is told.
    let ran = drill(&scene, &["--out", "second"], |_| Answer::Reject).await?;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json = ran.json()?;
    assert_eq!((&json["good"], &json["canary"]["state"]), (&false.into(), &"frozen".into()));
    assert!(ran.stderr.contains("canary-2 is still there, and frozen"), "{}", ran.stderr);
    assert_eq!(sam.key("canary-2").await?.state(), KeyState::Frozen);
    export(&scene)?;
    let verified = verify(&scene, &scene.vault.folder.path().join("second"))?;
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(told(&verified)?["good"], false);
    let history = told(&portctl(&scene, "ada", &["drill", "history", "--every", "30d"])?)?;
    assert_eq!(history["drills"][1]["good"], false);
    assert_eq!(scene.journal().await?.of("drilled").len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_that_is_interrupted_leaves_its_canary_stopped_and_says_how_to_end_it()
-> Result<(), Failure> {
    let scene = scene().await?;
    let ran = drill(&scene, &["--out", "cut"], |deed| match deed {
        "drain" | "revoke" => Answer::Agree,
        _ => Answer::Interrupt("-INT"),
    });
    let ran = ran.await?;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json = ran.json()?;
    let step = |name: &str| {
        let steps = json["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap()
    };
    assert_eq!(step("revoke")["verdict"], "held");
    assert_eq!(step("destroy")["verdict"], "failed");
    assert!(step("destroy")["found"][0].as_str().is_some_and(|why| why.contains("interrupted")));
    assert_eq!(step("audit")["verdict"], "not_reached");
    export(&scene)?;
    let verified = verify(&scene, &scene.vault.folder.path().join("cut"))?;
    assert!(verified.status.success(), "{}", said(&verified));
    let table = told(&portctl(&scene, "sam", &["drill", "tabletop"])?)?;
    let left = table["drill"]["left"][0].as_str().ok_or("nothing left")?;
    assert!(left.contains("canary-1 is still there, and revoked: portctl destroy"), "{left}");
    assert_eq!(table["drill"]["label"], "canary-2");

    // The machine goes down before people have voted at all. The next one is canary-3, which took
    // the place of the one before.
    let ran = drill(&scene, &["--out", "down"], |_| Answer::Interrupt("-TERM")).await?;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json = ran.json()?;
    assert_eq!(json["canary"]["label"], "canary-2");
    assert_eq!(json["canary"]["state"], "frozen", "{json}");
    let waiting = scene.vault.control(&scene.server, "sam").await?.list_approvals().await?;
    let thaws = waiting.approvals.iter().filter(|one| one.summary.contains("thaw"));
    assert_eq!(thaws.count(), 0, "{:?}", waiting.approvals);
    let table = told(&portctl(&scene, "sam", &["drill", "tabletop"])?)?;
    assert_eq!(table["drill"]["label"], "canary-3");
    scene.journal().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_whose_signer_was_lost_is_reported_once_it_is_back() -> Result<(), Failure> {
    let scene = scene().await?;
    let pid = scene.server.pid().to_string();
    let ran = drill(&scene, &["--out", "lost"], |_| {
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        Answer::Nothing
    });
    let ran = ran.await?;
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    let words = "the drill is NOT in the journal yet: portctl drill report lost";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    let lost = scene.vault.folder.path().join("lost");
    assert!(lost.join("evidence.json").exists() && !lost.join("evidence.json.sig").exists());

    let scene = scene.restart().await?;
    let (own, other) = (scene.vault.pens.key("sam")?, scene.vault.pens.key("sue")?);
    let (own, other) = (own.display().to_string(), other.display().to_string());
    let sues = portctl(&scene, "sue", &["drill", "report", "lost", "--key", &other])?;
    assert!(
        !sues.status.success() && said(&sues).contains("sam ran this drill"),
        "{}",
        said(&sues)
    );
    let told = portctl(&scene, "sam", &["drill", "report", "lost", "--key", &own])?;
    assert!(told.status.success(), "{}", said(&told));
    export(&scene)?;
    let verified = verify(&scene, &lost)?;
    assert!(verified.status.success(), "{}", said(&verified));
    // Nobody had signed it, or it was not heard that it was told: the same again.
    fs::remove_file(lost.join("evidence.json.sig"))?;
    let again = portctl(&scene, "sam", &["drill", "report", "lost", "--key", &own])?;
    assert!(again.status.success(), "{}", said(&again));
    assert!(verify(&scene, &lost)?.status.success());
    let journal = scene.journal().await?;
    assert_eq!(journal.of("drilled").len(), 1);
    assert_eq!(journal.of("drilled")[0]["good"], false);
    Ok(())
}

#[tokio::test]
async fn a_drill_that_cannot_begin_makes_nothing_and_says_what_is_missing() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let before = sam.status().await?.sequence;
    let plan = scene.vault.folder.path().join("plan.toml");
    fs::write(&plan, "label = \"canary-9\"\n")?;
    let pen = scene.vault.pens.key("sam")?;
    let pen = pen.to_str().ok_or("a path")?;
    let run = ["drill", "run", "--plan", "plan.toml", "--key", pen];
    let refused = portctl(&scene, "sam", &run)?;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let words = said(&refused);
    for word in ["[key.canary-9]", "portctl policy propose book.toml", "nothing was made"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    // An operator may not stop anything.
    let olga = portctl(&scene, "olga", &["drill", "run", "--key", pen])?;
    assert_eq!(olga.status.code(), Some(1), "{}", said(&olga));
    assert!(said(&olga).contains("without the role security"), "{}", said(&olga));
    // A key that is nobody's signs no evidence.
    let stranger = scene.vault.pens.key("stranger")?;
    let stranger = stranger.to_str().ok_or("a path")?;
    let unsigned = portctl(&scene, "sam", &["drill", "run", "--key", stranger])?;
    assert!(said(&unsigned).contains("portctl people show sam"), "{}", said(&unsigned));

    // A tabletop tells of a real key, and changes nothing.
    let table = told(&portctl(&scene, "sam", &["drill", "tabletop", "hot"])?)?;
    assert_eq!(table["drill"]["missing"], serde_json::json!([]), "{table}");
    assert_eq!(table["key"]["may_freeze"], serde_json::json!(["sam", "sid", "sue"]));
    let deeds = table["key"]["deeds"].as_array().ok_or("no deeds")?;
    let revoke = deeds.iter().find(|deed| deed["deed"] == "revoke").ok_or("no revoke")?;
    assert_eq!(revoke["asks"], "sid, sue");
    assert!(revoke["not_now"].as_str().is_some_and(|why| why.contains("not now")), "{revoke}");
    assert_eq!(sam.status().await?.sequence, before, "nothing was recorded");
    scene.journal().await.map(drop)
}

#[tokio::test]
async fn the_journal_believes_no_drill_by_somebody_else_or_of_a_key_that_is_still_there()
-> Result<(), Failure> {
    let scene = scene().await?;
    let report = |key: &str| ReportDrillRequest {
        drill: "mine".into(),
        key: key.into(),
        good: true,
        evidence: vec![7; 32],
        steps: vec![DrillStep { name: "freeze".into(), took_ms: 3, missed: false }],
    };
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let refusal = call_refused(olga.report_drill(report("hot")).await);
    assert_eq!(refusal.reason(), Some("ROLE_MISSING"), "{refusal:?}");
    let refusal = call_refused(sam.report_drill(report("hot")).await);
    assert!(refusal.message().contains("no canary"), "{refusal:?}");
    scene.vault.key_for(&scene.server, "canary-1", "canary").await?;
    let refusal = call_refused(sam.report_drill(report("canary-1")).await);
    assert!(refusal.message().contains("was not removed"), "{refusal:?}");
    let short = ReportDrillRequest { evidence: vec![7; 31], ..report("canary-1") };
    assert!(call_refused(sam.report_drill(short).await).message().contains("32 bytes"));
    assert_eq!(sam.status().await?.last_good_drill_ms, None);
    let metrics = http::get(scene.server.addresses().loopback, "/metrics")?;
    assert!(!String::from_utf8(metrics.body)?.contains("last_good_drill"));
    assert_eq!(scene.journal().await?.of("drilled").len(), 0);
    Ok(())
}
