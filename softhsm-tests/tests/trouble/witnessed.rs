//! Signing that waits for the witness: the shipped witness beside the shipped signer. What it has
//! not seen is not released; a folder that was put back, and a second signer on a copy, sign
//! nothing before they hear of it.

use std::time::Duration;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Answer, Client, SignError};
use portcullis_softhsm_tests::cosigner::Cosigner;
use portcullis_softhsm_tests::folder;
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::server::{Installation, Server, Settings, Witness};
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, Vault, ether, payment};

use crate::support::{REPORTS, Scene, eventually, outcome};

/// A signer and its witness, and signatures that wait for it so.
async fn witnessed(
    mode: &'static str,
    max_lag: Option<&'static str>,
) -> Result<(Scene, Cosigner), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let journal = sam.checkpoint(0).await?.verifier_key;
    let cosigner = Cosigner::of(&journal)?;
    let (url, key, journal) = (cosigner.url(), cosigner.key().to_owned(), Some(journal));
    let witness = Some(Witness { url, key, mode, journal, max_lag });
    let told = |vault: &Vault| {
        let settings = Settings { witness, ..vault.settings.clone() };
        Ok(vault.installation.configure(&settings)?)
    };
    Ok((scene.while_down(told).await?, cosigner))
}

/// A caller that waits for so long.
async fn caller(vault: &Vault, server: &Server, seconds: u64) -> Result<Client, Failure> {
    let mut config = vault.service(server, PAYOUTS)?;
    config.request_timeout = Duration::from_secs(seconds);
    Ok(Client::connect(&config).await?)
}

/// Why the signer says that it is not ready.
fn readiness(server: &Server) -> Result<(u16, String), Failure> {
    let answer = http::get(server.addresses().loopback, "/readyz")?;
    Ok((answer.status, String::from_utf8(answer.body)?))
}

#[tokio::test]
async fn in_fence_nothing_is_released_without_the_witness_and_all_goes_on_with_it()
-> Result<(), Failure> {
    let (scene, mut cosigner) = witnessed("fence", None).await?;
    let payouts = caller(&scene.vault, &scene.server, 3).await?;
    for nonce in 0..3 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1))).await, "signed");
        let cosigned = scene.metric("portcullis_cosigned_size")?;
        let signed = scene.held().last().map(|signed| signed.sequence);
        assert!(signed.is_some_and(|sequence| cosigned >= sequence), "{cosigned} {signed:?}");
    }
    cosigner.kill_9()?;
    // This one is on record before it is known that nobody answers.
    let late = scene.outcome(&payouts, &payment(3, ether(1))).await;
    assert!(["WITNESS_LATE", "WITNESS_LAG"].contains(&late.as_str()), "{late}");
    eventually("nothing to be charged any more", async || {
        Ok(scene.outcome(&payouts, &payment(4, ether(1))).await == "WITNESS_LAG")
    })
    .await?;
    let (status, why) = readiness(&scene.server)?;
    assert!(status == 503 && why.contains("the witness did not cosign"), "{status} {why}");
    // A stop waits for no witness.
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert!(sam.freeze(Scope::Caller(REPORTS.into()), "drill").await?.recorded);

    cosigner.serve()?;
    eventually("it to be signed again", async || {
        Ok(scene.outcome(&payouts, &payment(3, ether(1))).await == "signed")
    })
    .await?;
    assert_eq!(scene.outcome(&payouts, &payment(4, ether(1))).await, "signed");
    eventually("it to be ready", async || Ok(readiness(&scene.server)?.0 == 200)).await?;
    // It ends as well as any other, and what is recorded last is witnessed too.
    let scene = scene.stop_and_start().await?;
    assert!(scene.status().await?.troubles.iter().all(|line| !line.contains("witness")));
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_held_at_the_witness_is_released_by_no_signer_until_people_let_go()
-> Result<(), Failure> {
    let (scene, cosigner) = witnessed("fence", None).await?;
    let payouts = caller(&scene.vault, &scene.server, 3).await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    cosigner.hold("money leaves")?;
    // That is so from the very next one on, whatever the signer knows of it.
    for nonce in 1..4 {
        let held = scene.outcome(&payouts, &payment(nonce, ether(1))).await;
        assert!(["WITNESS_LATE", "WITNESS_LAG"].contains(&held.as_str()), "{held}");
    }
    cosigner.release()?;
    eventually("it to be signed again", async || {
        Ok(scene.outcome(&payouts, &payment(1, ether(1))).await == "signed")
    })
    .await?;
    scene.journal().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_comes_while_a_signature_waits_for_the_witness_withholds_it()
-> Result<(), Failure> {
    let (scene, cosigner) = witnessed("fence", None).await?;
    let payouts = caller(&scene.vault, &scene.server, 50).await?;
    let signed = "portcullis_signed_total";
    let before = scene.metric(signed)?;
    cosigner.signal("STOP")?;
    let (client, key) = (payouts.clone(), scene.key);
    let waiting: tokio::task::JoinHandle<Result<Answer, SignError>> = tokio::spawn(async move {
        client.sign_transaction(&key, &client.new_request_id(), &payment(0, ether(1))).await
    });
    scene.metric_reaches(signed, before + 1).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let stopped = sam.freeze(Scope::All(true), "drill").await?;
    assert!(stopped.recorded && stopped.withheld == 1, "{stopped:?}");
    cosigner.signal("CONT")?;
    assert_eq!(outcome(waiting.await?), "FROZEN");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn in_lag_signing_stops_when_the_newest_cosignature_is_too_old_and_goes_on_by_itself()
-> Result<(), Failure> {
    let (scene, mut cosigner) = witnessed("lag", Some("5s")).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    cosigner.kill_9()?;
    // The same one again and again: it is charged once.
    eventually("the last cosignature to be too old", async || {
        let said = scene.outcome(&payouts, &payment(1, ether(1))).await;
        assert!(["signed", "WITNESS_LAG"].contains(&said.as_str()), "{said}");
        Ok(said == "WITNESS_LAG")
    })
    .await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert!(sam.freeze(Scope::Caller(REPORTS.into()), "drill").await?.recorded);
    cosigner.serve()?;
    eventually("it to be signed again", async || {
        Ok(scene.outcome(&payouts, &payment(1, ether(1))).await == "signed")
    })
    .await?;
    // Without it nothing is signed after a start, whatever was cosigned before.
    cosigner.kill_9()?;
    let scene = scene.while_down_for_good(|_| Ok(())).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, ether(1))).await, "WITNESS_LAG");
    cosigner.serve()?;
    eventually("it to be signed again", async || {
        Ok(scene.outcome(&payouts, &payment(2, ether(1))).await == "signed")
    })
    .await?;
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_was_put_back_starts_stopped_because_the_witness_knows_more()
-> Result<(), Failure> {
    let (scene, _cosigner) = witnessed("fence", None).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    let data = scene.vault.installation.data().to_owned();
    let before = data.with_extension("before");
    let scene = scene.while_down(|_| Ok(folder::copy(&data, &before)?)).await?;
    let payouts = scene.payouts().await?;
    for nonce in 1..6 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1))).await, "signed");
    }
    let put_back = |_: &Vault| {
        std::fs::remove_dir_all(&data)?;
        Ok(std::fs::rename(&before, &data)?)
    };
    let scene = scene.while_down_for_good(put_back).await?;
    // It was stopped before anybody could ask.
    let journal = scene.journal().await?;
    let stops = journal.of("frozen");
    let knows = |stop: &&&serde_json::Value| {
        let reason = stop["reason"].as_str().unwrap_or_default();
        stop["scope"] == "all" && reason.contains("the witness cosigned")
    };
    assert_eq!(stops.iter().filter(knows).count(), 1, "{stops:?}");
    let payouts = scene.payouts().await?;
    let refused = scene.outcome(&payouts, &payment(9, ether(1))).await;
    assert!(["FROZEN", "WITNESS_CONTRADICTS"].contains(&refused.as_str()), "{refused}");
    let troubles = scene.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("rolled back")), "{troubles:?}");
    Ok(())
}

#[tokio::test]
async fn of_two_signers_on_copies_of_one_folder_the_second_releases_nothing() -> Result<(), Failure>
{
    let (scene, _cosigner) = witnessed("fence", None).await?;
    let data = scene.vault.installation.data().to_owned();
    let beside = tempfile::tempdir()?;
    let copied = beside.path().join("data");
    let mut settings = scene.vault.settings.clone();
    settings.data = copied.clone();
    let scene = scene.while_down(|_| Ok(folder::copy(&data, &copied)?)).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");

    // The same token, the same certificates, the same witness, and another machine's disk.
    let text = std::fs::read_to_string(scene.vault.installation.config())?;
    let second = Installation::new(beside.path(), &settings, &scene.vault.token)?;
    let text = text.replace(&data.display().to_string(), &copied.display().to_string());
    std::fs::write(second.config(), text)?;
    let server = second.serve_unready()?;
    let theirs = scene.vault.client(&server, PAYOUTS).await?;
    let refused = outcome(
        theirs.sign_transaction(&scene.key, &theirs.new_request_id(), &payment(9, ether(1))).await,
    );
    assert!(["FROZEN", "WITNESS_CONTRADICTS"].contains(&refused.as_str()), "{refused}");
    let sam = scene.vault.control(&server, "sam").await?;
    let status = sam.status().await?;
    assert!(!status.frozen.is_empty(), "{status:?}");
    let runs = |line: &String| line.contains("another signer runs on a copy");
    assert!(status.troubles.iter().any(runs), "{:?}", status.troubles);
    // The first goes on with its journal. Its keys are fenced in the token that both have.
    let olga = scene.vault.control(&scene.server, "sam").await?;
    assert!(olga.status().await?.frozen.is_empty());
    assert_eq!(readiness(&scene.server)?.0, 200);
    scene.journal().await?;
    Ok(())
}

/// Whoever has the disk can make a journal that agrees with itself, and the witness may be cut off.
#[tokio::test]
async fn a_journal_that_is_not_the_one_that_was_written_down_is_not_started_from()
-> Result<(), Failure> {
    let (scene, mut cosigner) = witnessed("off", None).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    cosigner.kill_9()?;
    let Scene { vault, server, .. } = scene;
    server.kill_9()?;
    std::fs::rename(vault.installation.data(), vault.folder.path().join("first"))?;
    vault.installation.init(&vault.folder.path().join("genesis.toml"))?;
    let (status, said) = vault.installation.serve_in_vain()?;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("the data folder was exchanged"), "{said}");
    // In its own place the first one goes on, with nobody to ask.
    std::fs::remove_dir_all(vault.installation.data())?;
    std::fs::rename(vault.folder.path().join("first"), vault.installation.data())?;
    let server = vault.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    let id = payouts.new_request_id();
    let signed = payouts.sign_transaction(&scene.key, &id, &payment(1, ether(1))).await;
    assert_eq!(outcome(signed), "signed");
    Ok(())
}
