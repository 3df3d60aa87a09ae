//! A drain on a running signer: from a frozen key whose object is fenced, under a plan alone, and
//! back to the stop.

use alloy_primitives::{Address, U256};
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_client::{Answer, Client, SignError};
use portcullis_softhsm_tests::anvil::{Anvil, Receipt};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    CHAIN, Failure, PAYOUTS, SUPPLIER, Vault, ether, governed_book, payment,
};
use serde_json::{Value, json};

use crate::fence::until;
use crate::mission::execute;
use crate::requests::scene;
use crate::support::{Scene, refused, signed};

const SWEEPER: &str = "spiffe://test/reports";

/// Everything to a key of this vault, for the service that no rule names.
fn plan(scene: &Scene, successor: &str, until_ms: u64) -> Value {
    json!({ "drain": { "key": scene.key.id.to_string(), "plan": {
        "callers": [SWEEPER],
        "chains": [{ "chain": CHAIN, "fees": ether(1).to_string(), "native": true, "tokens": [] }],
        "expires": until_ms,
        "to": { "key": successor },
    } } })
}

fn pay(nonce: u64, to: Address, value: U256) -> Vec<u8> {
    tx::preimage(&Payment::new(CHAIN, nonce, to, value).unsigned(Kind::Eip1559))
}

async fn ask(scene: &Scene, by: &Client, preimage: &[u8]) -> Result<Answer, SignError> {
    scene.sign_as(by, &scene.key, &by.new_request_id(), preimage).await
}

async fn drain(scene: &Scene, act: &Value) -> Result<u64, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let proposal = sam.propose(&act.to_string(), "we think the key is out").await?;
    for name in ["sue", "sid", "alan"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await
}

#[tokio::test]
async fn a_frozen_key_is_drained_to_its_successor_and_mined_while_all_else_stays_stopped()
-> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = scene().await?;
    node.set_balance(scene.key.address, ether(100))?;
    let cold = scene.cold_key().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "we think a key is out").await?;
    until(&sam, "hot", FenceState::Fenced).await?;

    let sweeper = scene.vault.client(&scene.server, SWEEPER).await?;
    let sweep = |nonce, value| pay(nonce, cold.address, value);
    let now = sam.status().await?.sure_time_ms;
    let soon = now + 3_600_000;
    drain(&scene, &plan(&scene, &cold.id.to_string(), soon)).await?;
    let hot = sam.key("hot").await?;
    assert_eq!((hot.state(), hot.successor.as_str()), (KeyState::Draining, "cold"));
    assert_eq!(hot.drained_until_ms, soon);
    until(&sam, "hot", FenceState::Open).await?;
    assert_eq!(sam.key("cold").await?.fence(), FenceState::Fenced, "stopped with everything");

    let answer = signed(ask(&scene, &sweeper, &sweep(0, ether(99))).await);
    let hash = node.send(&tx::for_node(&answer.raw_transaction)?)?;
    let mined = Receipt { from: scene.key.address, kind: 2, succeeded: true };
    assert_eq!(node.receipt(hash)?, mined);
    assert_eq!(node.balance(cold.address)?, ether(99));

    // Whoever used the key is told its successor; the sweeper gets nothing else.
    let payouts = scene.payouts().await?;
    let told = refused(scene.sign(&payouts, &payment(1, ether(1))).await);
    assert_eq!(told.reason(), Some("KEY_DRAINING"), "{told:?}");
    assert_eq!(told.metadata().get("saw").map(String::as_str), Some("cold"));
    let told = refused(ask(&scene, &sweeper, &pay(1, SUPPLIER, ether(1))).await);
    assert_eq!(told.reason(), Some("KEY_DRAINING"), "{told:?}");

    // One person ends it, and the fence goes up again.
    sam.freeze(Scope::Caller(PAYOUTS.into()), "it is no stop of the key").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    let stopped = sam.freeze(Scope::Key("hot".into()), "the plan was wrong").await?;
    assert!(stopped.recorded && stopped.last_released_sequence == answer.sequence, "{stopped:?}");
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    until(&sam, "hot", FenceState::Fenced).await?;
    let told = refused(ask(&scene, &sweeper, &sweep(1, ether(0))).await);
    assert_eq!(told.reason(), Some("FROZEN"), "{told:?}");
    let journal = scene.journal().await?;
    assert_eq!(journal.of("signed").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_stops_a_key_also_while_it_is_drained() -> Result<(), Failure> {
    let scene = Scene::of(Vault::governed(Through::Faults, &governed_book().to_string())?).await?;
    let cold = scene.cold_key().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let soon = sam.status().await?.sure_time_ms + 3_600_000;
    drain(&scene, &plan(&scene, &cold.id.to_string(), soon)).await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    scene.vault.token.faults()?.set(&["C_Sign wrong-signature next 1"])?;
    let sweeper = scene.vault.client(&scene.server, SWEEPER).await?;
    assert!(ask(&scene, &sweeper, &pay(0, cold.address, ether(1))).await.is_err());
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    let told = refused(ask(&scene, &sweeper, &pay(0, cold.address, ether(1))).await);
    assert_eq!(told.reason(), Some("FROZEN"), "{told:?}");
    until(&sam, "hot", FenceState::Fenced).await?;
    let journal = scene.journal().await?;
    assert_eq!(journal.of("frozen")[0]["by"]["trigger"], "bad_signature");
    assert_eq!(journal.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn a_drain_goes_on_after_a_restart_and_ends_by_itself_in_time() -> Result<(), Failure> {
    let scene = scene().await?;
    let cold = scene.cold_key().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let now = sam.status().await?.sure_time_ms;
    drain(&scene, &plan(&scene, &cold.id.to_string(), now + 40_000)).await?;
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    let sweeper = scene.vault.client(&scene.server, SWEEPER).await?;
    signed(ask(&scene, &sweeper, &pay(0, cold.address, ether(1))).await);
    // Its time is over: refused at once, and written down and fenced without anybody asking.
    let over = async {
        while sam.key("hot").await?.state() != KeyState::Frozen {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(180), over).await??;
    until(&sam, "hot", FenceState::Fenced).await?;
    let told = refused(ask(&scene, &sweeper, &pay(1, cold.address, ether(1))).await);
    assert_eq!(told.reason(), Some("FROZEN"), "{told:?}");
    assert_eq!(scene.journal().await?.of("drain_ended").len(), 1);
    Ok(())
}
