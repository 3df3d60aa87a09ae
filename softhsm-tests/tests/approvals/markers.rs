//! A data folder from before, on the token of today: what it does not know of stops everything.

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::world::{Failure, PAYOUTS, payment, reason};

use crate::endings::{copy, restore};
use crate::fence::until;
use crate::requests::scene;
use crate::support::{Scene, eventually};

/// The last record that the token has heard of.
fn marked(scene: &Scene) -> Result<u64, Failure> {
    let metrics = http::get(scene.server.addresses().loopback, "/metrics")?.body;
    let metrics = String::from_utf8(metrics)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("portcullis_marker_sequence "));
    Ok(line.ok_or("no marker")?.parse()?)
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
    let scene = scene.while_down(|_| copy(&data, &before)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    // No key is fenced by it: only the journal knows.
    let stop = sam.freeze(Scope::Caller(PAYOUTS.into()), "its certificate is out").await?;
    let sequence = stop.sequence;
    eventually("the token to hear of it", async || Ok(marked(&scene)? >= sequence)).await?;
    assert_eq!(sam.key("hot").await?.fence(), FenceState::Open);

    let scene = scene.while_down(|_| restore(&before, &data)).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(reason(&payouts, &scene.key, &payment(2, 1.try_into()?)).await, "FROZEN");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    until(&sam, "hot", FenceState::Fenced).await?;
    let troubles = sam.status().await?.troubles;
    let behind = format!("the token has heard of record {sequence}");
    assert!(
        troubles
            .iter()
            .any(|line| line.contains("the data folder is from before") && line.contains(&behind)),
        "{troubles:?}"
    );
    let journal = scene.journal().await?;
    assert_eq!(journal.of("frozen")[0]["by"], "signer");
    assert_eq!(journal.of("frozen")[0]["scope"], "all");

    // It stays so over the next start, which finds nothing wrong any more.
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(reason(&payouts, &scene.key, &payment(2, 1.try_into()?)).await, "FROZEN");
    assert_eq!(scene.journal().await?.count("frozen"), 1);
    Ok(())
}
