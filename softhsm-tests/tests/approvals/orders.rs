//! Stops without a certificate: an order that was signed beforehand, used with `curl` alone; and a
//! signal, for whoever has the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_client::wire::{FenceState, KeyState};
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::world::{Failure, payment};
use serde_json::Value;

use crate::fence::until;
use crate::mission::execute;
use crate::requests::scene;
use crate::support::{Scene, eventually};

/// Has this person sign an order, by the shipped tool and OpenSSH.
fn make(scene: &Scene, person: &str, file: &str, scope: &[&str]) -> Result<PathBuf, Failure> {
    let file = scene.vault.folder.path().join(file);
    let config = scene.vault.person(&scene.server, person)?;
    let made = Command::new(place::binary("portctl")?)
        .args(["stop-order", "make", "--reason", "if all else is lost", "--good-for", "30d"])
        .args(scope)
        .args([Path::new("--key"), &scene.vault.pens.key(person)?, Path::new("-o"), &file])
        .args(["--endpoint", &config.endpoint])
        .args([Path::new("--ca"), &config.ca, Path::new("--certificate"), &config.certificate])
        .args([Path::new("--private-key"), &config.private_key])
        .current_dir(scene.vault.folder.path())
        .output()?;
    if !made.status.success() {
        return Err(String::from_utf8(made.stderr)?.into());
    }
    let shown = String::from_utf8_lossy(&made.stderr);
    assert!(shown.contains("Portcullis stop order, version 1"), "it shows what is signed: {shown}");
    Ok(file)
}

/// The status and the answer, with no certificate of our own.
fn curl(scene: &Scene, arguments: &[&str], path: &str) -> Result<(String, Value), Failure> {
    let config = scene.vault.person(&scene.server, "sam")?;
    let host = config.endpoint.trim_start_matches("https://").rsplit_once(':').ok_or("a port")?.0;
    let port = scene.server.addresses().stop_orders.port();
    let done = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "--cacert"])
        .arg(&config.ca)
        .args(arguments)
        .arg(format!("https://{host}:{port}{path}"))
        .output()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout)?;
    let (answer, status) = said.rsplit_once('\n').ok_or("a status")?;
    Ok((status.to_owned(), serde_json::from_str(answer)?))
}

fn use_order(scene: &Scene, file: &Path) -> Result<(String, Value), Failure> {
    curl(scene, &["--data-binary", &format!("@{}", file.display())], "/v1/stop")
}

#[tokio::test]
async fn whoever_holds_an_order_stops_what_it_names_once_with_curl_and_no_certificate()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    let file = make(&scene, "sam", "sam.order", &["hot"])?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "signed", "not yet");

    let (status, answer) = use_order(&scene, &file)?;
    assert_eq!((status.as_str(), &answer["recorded"]), ("200", &Value::Bool(true)), "{answer}");
    assert!(answer["last_released_sequence"].as_u64().is_some_and(|last| last > 0), "{answer}");
    let held = answer["unsettled"].as_array().ok_or("a list")?;
    let nonces: Vec<&Value> = held.iter().map(|one| &one["nonce"]).collect();
    assert_eq!(nonces, ["1", "0"], "what nobody can call back: {answer}");
    assert_eq!(held[0]["form"], "transaction");
    assert_eq!(scene.outcome(&payouts, &payment(2, 1.try_into()?)).await, "FROZEN");
    let sue = scene.vault.control(&scene.server, "sue").await?;
    until(&sue, "hot", FenceState::Fenced).await?;

    let (status, answer) = use_order(&scene, &file)?;
    assert_eq!((status.as_str(), answer["error"].as_str()), ("409", Some("ORDER_USED")));
    let scene = scene.restart().await?;
    let (status, answer) = use_order(&scene, &file)?;
    assert_eq!((status.as_str(), answer["error"].as_str()), ("409", Some("ORDER_USED")));

    // A quorum starts it again, whoever had signed the paper; and the paper is worth nothing then.
    let sue = scene.vault.control(&scene.server, "sue").await?;
    let act = format!("{{\"thaw\":{{\"scope\":{{\"key\":\"{}\"}}}}}}", scene.key.id);
    let proposal = sue.propose(&act, "a drill").await?;
    for name in ["sam", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sue, &proposal.id).await?;
    until(&sue, "hot", FenceState::Open).await?;
    assert_eq!(use_order(&scene, &file)?.0, "409");
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, 1.try_into()?)).await, "signed");
    let journal = scene.journal().await?;
    let stop = journal.of("frozen")[0];
    assert_eq!(stop["by"]["order"]["by"], "sam");
    Ok(())
}

#[tokio::test]
async fn what_is_no_order_stops_nothing_and_says_why() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let good = fs::read_to_string(make(&scene, "sam", "sam.order", &["--all"])?)?;
    let folder = scene.vault.folder.path();
    let written = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map(|()| path)
    };
    let mistakes = [
        (make(&scene, "alan", "alan.order", &["--all"]), "it takes the role security"),
        (make(&scene, "sam", "sam.order", &["--all"]), "exists"),
        (make(&scene, "sam", "typo.order", &["typo"]), "NOT_FOUND"),
    ];
    for (made, why) in mistakes {
        let said = made.expect_err("an order that would stop nothing").to_string();
        assert!(said.contains(why), "{said}");
    }
    let cases = [
        (
            written("wider", &good.replace("if all else", "because all else"))?,
            "403",
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        (
            written("unsigned", "{\"by\":\"signer\",\"reason\":\"x\",\"scope\":\"all\"}")?,
            "400",
            "ORDER_UNREADABLE",
        ),
        (written("nonsense", "stop it")?, "400", "ORDER_UNREADABLE"),
        (written("long", &"x".repeat(20_000))?, "413", "TOO_LARGE"),
    ];
    for (file, status, code) in cases {
        let (said, answer) = use_order(&scene, &file)?;
        assert_eq!((said.as_str(), answer["error"].as_str()), (status, Some(code)), "{answer}");
    }
    let (status, answer) = curl(&scene, &[], "/v1/stop")?;
    assert_eq!((status.as_str(), answer["error"].as_str()), ("405", Some("NOT_POSTED")));
    let (status, _) = curl(&scene, &[], "/metrics")?;
    assert_eq!(status, "404");
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    assert_eq!(scene.journal().await?.count("frozen"), 0);
    Ok(())
}

#[tokio::test]
async fn a_signal_on_the_host_stops_everything() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    // As the runbook has it, and of this signer alone: others run beside it.
    let pids = scene.vault.folder.path().join("pids");
    fs::write(&pids, scene.server.pid().to_string())?;
    let mut pkill = Command::new("pkill");
    pkill.args(["-USR1", "-x", "portcullis", "-F"]).arg(&pids);
    assert!(pkill.status()?.success());
    eventually("everything to be stopped", async || {
        Ok(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await == "FROZEN")
    })
    .await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    let journal = scene.journal().await?;
    assert_eq!(journal.of("frozen")[0]["reason"], "SIGUSR1 on the host");
    Ok(())
}
