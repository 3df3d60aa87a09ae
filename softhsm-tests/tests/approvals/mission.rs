//! The mission's sentence: one person freezes, two vote with keys of their own, the key is revoked,
//! and an export explains it where no signer is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_client::ControlClient;
use portcullis_client::wire::KeyState;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_softhsm_tests::world::{Failure, ether, payment};
use serde_json::json;

use crate::requests::scene;
use crate::support::{call_refused, outcome};

/// Executes once the delay is over.
pub(crate) async fn execute(control: &ControlClient, id: &str) -> Result<u64, Failure> {
    let begun = std::time::Instant::now();
    loop {
        match control.execute(id).await {
            Ok(done) => return Ok(done.sequence),
            Err(error) => {
                let refusal = call_refused(Err::<(), _>(error));
                assert_eq!(refusal.reason(), Some("QUORUM_NOT_MET"), "{refusal:?}");
                assert!(begun.elapsed() < Duration::from_secs(60), "{refusal:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_freezes_two_vote_under_load_the_key_is_revoked_and_the_export_says_who_and_when()
-> Result<(), Failure> {
    let scene = Arc::new(scene().await?);
    let (stop, given) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = Vec::new();
    for caller in 0..4_u64 {
        let (scene, stop, given) = (scene.clone(), stop.clone(), given.clone());
        let client = scene.payouts().await?;
        load.push(tokio::spawn(async move {
            let mut nonce = caller;
            while !stop.load(Ordering::SeqCst) {
                // Small ones, so that the window holds.
                let said = outcome(scene.sign(&client, &payment(nonce, 1_000.try_into()?)).await);
                if said == "signed" {
                    given.fetch_add(1, Ordering::SeqCst);
                    nonce += 4;
                } else {
                    assert!(said == "FROZEN" || said == "KEY_REVOKED", "{said}");
                }
            }
            Ok::<(), Failure>(())
        }));
    }
    while given.load(Ordering::SeqCst) < 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    assert!(frozen.recorded && frozen.last_released_sequence > 0);
    let act = json!({ "revoke": { "key": scene.key.id.to_string() } }).to_string();
    let proposal = sam.propose(&act, "we think the key is out").await?;
    for name in ["sue", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    let revoked = execute(&sam, &proposal.id).await?;
    stop.store(true, Ordering::SeqCst);
    for one in load {
        one.await??;
    }
    assert_eq!(sam.key("hot").await?.state(), KeyState::Revoked);
    let thaw = json!({ "thaw": { "scope": { "key": scene.key.id.to_string() } } }).to_string();
    let never = call_refused(sam.propose(&thaw, "it was nothing").await);
    assert_eq!(never.reason(), Some("KEY_REVOKED"));

    let journal = scene.journal().await?;
    let last = journal.last_signed();
    assert!(last < frozen.sequence, "nothing was signed after the stop");
    assert!(frozen.last_released_sequence <= last && frozen.sequence < revoked);
    let executed = journal.of("executed")[0];
    assert_eq!(executed["votes"].as_array().unwrap().len(), 2);
    assert!(journal.of("proposed")[0]["statement"].as_str().unwrap().contains("for good"));
    Ok(())
}

#[tokio::test]
async fn a_thaw_takes_two_others_and_its_delay_and_then_the_same_request_is_signed()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let small = payment(0, ether(1) / alloy_primitives::U256::from(2));
    assert_eq!(scene.outcome(&payouts, &small).await, "signed");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "drill").await?;
    assert_eq!(scene.outcome(&payouts, &small).await, "FROZEN");
    let proposal = sam.propose("{\"thaw\":{\"scope\":\"all\"}}", "the drill is over").await?;
    let own = scene.vault.pens.cast(&sam, &proposal, "sam", true).await?;
    assert_eq!(call_refused(own).reason(), Some("VOTER_NOT_ASKED"));
    let sue = scene.vault.control(&scene.server, "sue").await?;
    scene.vault.pens.vote(&sue, &proposal.id, "sue", true).await?;
    let alone = call_refused(sam.execute(&proposal.id).await);
    assert_eq!(alone.reason(), Some("QUORUM_NOT_MET"));
    let sid = scene.vault.control(&scene.server, "sid").await?;
    scene.vault.pens.vote(&sid, &proposal.id, "sid", true).await?;
    execute(&sam, &proposal.id).await?;
    assert_eq!(scene.outcome(&payouts, &small).await, "signed");
    // And it is open after a restart as it was before.
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &small).await, "signed");
    scene.journal().await?;
    Ok(())
}
