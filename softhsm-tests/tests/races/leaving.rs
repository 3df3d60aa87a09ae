//! Callers that hang up in the middle, and a signer that is told to end under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloy_primitives::U256;
use portcullis_client::{Answer, Client};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYMENT_FEE, ether, payment};

use crate::support::{Scene, eventually, signed};

fn exact() -> BookText {
    BookText { per_tx: "1 ETH".into(), window: "\"1 ETH / 1h\"".into(), ..BookText::default() }
}

fn all(nonce: u64) -> Vec<u8> {
    payment(nonce, ether(1) - U256::from(PAYMENT_FEE))
}

/// A scene in which somebody asked for the whole budget and hung up while the token had it.
async fn hung_up(call_timeout_ms: u64) -> Result<Arc<Scene>, Failure> {
    let scene = Arc::new(Scene::with_timeout(Through::Faults, exact(), call_timeout_ms).await?);
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    faults.set(&["C_Sign hang next 1"])?;
    let asked = {
        let scene = scene.clone();
        tokio::spawn(async move { scene.sign(&payouts, &all(0)).await })
    };
    tokio::task::block_in_place(|| faults.wait_for_hangs("C_Sign", 1))?;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    let connections = "portcullis_edge_connections_open{plane=\"data\"}";
    eventually(connections, async || Ok(scene.metric(connections)? == 0)).await?;
    Ok(scene)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_is_charged_for_the_signature_that_was_recorded()
-> Result<(), Failure> {
    let scene = hung_up(60_000).await?;
    assert_eq!(scene.metric("portcullis_reservations_open")?, 1);
    scene.vault.token.faults()?.clear()?;
    scene.settled().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, U256::ZERO)).await, "OVER_WINDOW_LIMIT");
    // It is there for whoever asks again.
    signed(scene.sign(&payouts, &all(0)).await);
    assert_eq!(scene.journal().await?.count("signed"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_is_not_charged_where_no_signature_was_recorded()
-> Result<(), Failure> {
    let scene = hung_up(3_000).await?;
    scene.settled().await?;
    scene.vault.token.faults()?.clear()?;
    let payouts = scene.payouts().await?;
    signed(scene.sign(&payouts, &all(1)).await);
    let journal = scene.journal().await?;
    assert_eq!((journal.count("failed"), journal.count("signed")), (1, 1));
    Ok(())
}

/// Asks for one signature after another until there is no answer any more.
async fn keep_asking(
    (scene, client): (Arc<Scene>, Client),
    nonces: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
) -> Result<u64, Failure> {
    let mut received = 0;
    while !stopped.load(Ordering::SeqCst) {
        let nonce = nonces.fetch_add(1, Ordering::SeqCst);
        match scene.sign(&client, &payment(nonce, U256::from(1))).await {
            Ok(Answer::Signed(_)) => received += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                return Ok(received);
            }
        }
    }
    Ok(received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_told_to_end_under_load_ends_well_and_every_signature_given_has_its_record()
-> Result<(), Failure> {
    let mut scene = Arc::new(Scene::new(BookText::default()).await?);
    let (nonces, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut asking = Vec::new();
    for _ in 0..8 {
        let pair = (scene.clone(), scene.payouts().await?);
        asking.push(tokio::spawn(keep_asking(pair, nonces.clone(), stopped.clone())));
    }
    scene.metric_reaches("portcullis_signed_total", 100).await?;
    let pid = scene.server.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status()?.success());
    let mut received = 0;
    for one in asking {
        received += one.await??;
    }
    stopped.store(true, Ordering::SeqCst);
    assert!(received >= 90, "there was no load: {received}");
    scene = Arc::new(Arc::into_inner(scene).unwrap().stop_and_start().await?);

    let (journal, held) = (scene.journal().await?, scene.held());
    assert_eq!(u64::try_from(held.len())?, received);
    for signed in &held {
        assert!(journal.knows(signed), "no record of {signed:?}");
    }
    // A graceful end leaves nothing half done.
    let starts = journal.of("started");
    assert_eq!(starts.last().unwrap()["lost"].as_array().map(Vec::len), Some(0));
    assert_eq!(starts.last().unwrap()["cut"], 0);
    Ok(())
}
