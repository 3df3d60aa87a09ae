//! A data folder from before, on the token of today: what it does not know of stops everything.

use std::process::Command;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_softhsm_tests::folder::copy;
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::world::{Failure, PAYOUTS, Vault, payment, reason};
use serde_json::json;

use crate::endings::restore;
use crate::fence::until;
use crate::mission::execute;
use crate::requests::scene;
use crate::support::{Scene, eventually};

/// One of the metrics.
fn figure(scene: &Scene, name: &str) -> Result<u64, Failure> {
    let metrics = http::get(scene.server.addresses().loopback, "/metrics")?.body;
    let metrics = String::from_utf8(metrics)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).ok_or("no figure")?;
    Ok(line.trim().parse()?)
}

/// The last record that the token has heard of.
fn marked(scene: &Scene) -> Result<u64, Failure> {
    figure(scene, "portcullis_marker_sequence ")
}

/// All of the journal.
async fn heard_of_all(scene: &Scene) -> Result<u64, Failure> {
    eventually("the token to hear of all of it", async || {
        Ok(marked(scene)? == figure(scene, "portcullis_journal_sequence ")?)
    })
    .await?;
    marked(scene)
}

#[tokio::test]
async fn a_data_folder_from_before_a_stop_of_a_caller_stops_everything() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    // It goes on after any number of starts.
    let scene = scene.stop_and_start().await?.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "signed");

    let data = scene.vault.installation.data().to_owned();
    let before = data.with_extension("before");
    let scene = scene.while_down(|_| Ok(copy(&data, &before)?)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    // No key is fenced by it: only the journal knows.
    let stop = sam.freeze(Scope::Caller(PAYOUTS.into()), "its certificate is out").await?;
    let sequence = stop.sequence;
    eventually("the token to hear of it", async || Ok(marked(&scene)? >= sequence)).await?;
    let heard = marked(&scene)?;
    assert_eq!(sam.key("hot").await?.fence(), FenceState::Open);

    let scene = scene.while_down(|_| restore(&before, &data)).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(reason(&payouts, &scene.key, &payment(2, 1.try_into()?)).await, "FROZEN");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    until(&sam, "hot", FenceState::Fenced).await?;
    let troubles = sam.status().await?.troubles;
    let behind = format!("the token has heard of record {heard}");
    assert!(
        troubles
            .iter()
            .any(|line| line.contains("the data folder is from before") && line.contains(&behind)),
        "{troubles:?}"
    );
    let journal = scene.journal().await?;
    assert_eq!(journal.of("frozen")[0]["by"], "signer");
    assert_eq!(journal.of("frozen")[0]["scope"], "all");

    // The next start finds the same: the token does not forget what it has heard of by itself, so
    // that a second folder from before is found out too.
    assert_eq!(marked(&scene)?, heard);
    let scene = scene.restart().await?;
    assert_eq!(marked(&scene)?, heard);
    assert_eq!(scene.journal().await?.count("frozen"), 2);

    // People look at it, and start it again: that is the journal from then on.
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let proposal = sam.propose(&json!({ "thaw": { "scope": "all" } }).to_string(), "ours").await?;
    for name in ["sue", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await?;
    until(&sam, "hot", FenceState::Open).await?;
    heard_of_all(&scene).await?;
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(3, 1.try_into()?)).await, "signed");
    assert_eq!(scene.journal().await?.count("frozen"), 2);
    Ok(())
}

/// Another journal of the same length is another one.
#[tokio::test]
async fn what_somebody_with_the_pin_made_of_the_marker_stops_everything() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let last = heard_of_all(&scene).await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Active);
    let scene = scene
        .while_down(|vault| {
            let list = pkcs11_tool(vault, &["--list-objects", "--type", "data"])?;
            let label = list.split('\'').find(|word| word.starts_with("portcullis-"));
            let label = label.ok_or_else(|| format!("no marker: {list}"))?;
            let text = vault.folder.path().join("text");
            std::fs::write(&text, format!("{last}:{}", "ab".repeat(32)))?;
            let text = text.to_string_lossy();
            for arguments in [
                ["--delete-object", "--type", "data", "--label", label].as_slice(),
                &["--write-object", &text, "--type", "data", "--label", label, "--private"],
            ] {
                pkcs11_tool(vault, arguments)?;
            }
            Ok(())
        })
        .await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "FROZEN");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("holds other records")), "{troubles:?}");
    Ok(())
}

/// OpenSC, with the PIN.
pub(crate) fn pkcs11_tool(vault: &Vault, arguments: &[&str]) -> Result<String, Failure> {
    let done = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(vault.token.module())
        .args(["--login", "--pin", vault.token.pin()])
        .args(arguments)
        .envs(vault.token.environment())
        .output()?;
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}
