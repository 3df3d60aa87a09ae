//! Many requests on one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Answer, StreamAnswer};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, ether, payment};

use crate::support::{Scene, outcome};

fn tiered() -> BookText {
    let more = r#"approve = [{ above = "2 ETH", need = "1 of treasury", expires = "30m" }]"#;
    BookText { more: more.into(), ..BookText::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_verdicts_on_a_stream_come_back_under_the_ids_they_were_asked_under()
-> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, tiered()).await?;
    scene.vault.token.faults()?.set(&["C_Sign delay 3"])?;
    let payouts = scene.payouts().await?;
    let (sender, mut receiver) = payouts.sign_stream(64).await?.split();
    let key = scene.key;
    let asking = tokio::spawn(async move {
        let mut expected = BTreeMap::new();
        for nonce in 0..200u64 {
            let (preimage, verdict) = match nonce % 4 {
                0 => (payment(nonce, U256::from(nonce)), "signed"),
                1 => (payment(nonce, ether(11)), "OVER_TRANSACTION_LIMIT"),
                2 => (vec![2, 0xc0], "TX_FIELD_COUNT"),
                _ => (payment(3, ether(3)), "parked"),
            };
            let id = format!("stream-{nonce}").parse().unwrap();
            let correlation = sender.send(&key, &id, &preimage).await.unwrap();
            assert!(expected.insert(correlation, verdict).is_none());
        }
        expected
    });
    let mut told = BTreeMap::new();
    while told.len() < 200 {
        let StreamAnswer { correlation_id, result } = receiver.receive().await?.unwrap();
        // The client has checked each signature against the preimage sent under this id.
        if let Ok(Answer::Signed(signed)) = &result {
            scene.hold(signed.clone());
        }
        assert!(told.insert(correlation_id, outcome(result)).is_none(), "answered twice");
    }
    let expected = asking.await?;
    assert!(receiver.receive().await?.is_none(), "more answers than requests");
    for (id, verdict) in expected {
        assert_eq!(told[&id], verdict, "request {id}");
    }
    let journal = scene.journal().await?;
    assert_eq!(journal.count("signed"), 50);
    assert!(scene.held().iter().all(|signed| journal.knows(signed)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_is_acknowledged_a_stream_gives_nothing_that_was_under_way()
-> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let mut stream = payouts.sign_stream(64).await?;
    let faults = scene.vault.token.faults()?;
    let before = faults.hangs("C_Sign")?;
    faults.set(&["C_Sign hang"])?;
    for nonce in 0..20 {
        let id = payouts.new_request_id();
        stream.send(&scene.key, &id, &payment(nonce, U256::from(1))).await?;
    }
    // Two inside the token, eighteen charged and waiting for it.
    tokio::task::block_in_place(|| faults.wait_for_hangs("C_Sign", before + 2))?;
    scene.metric_reaches("portcullis_reservations_open", 20).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Tag("web".into()), "stop it").await?;
    assert_eq!((frozen.withheld, frozen.last_released_sequence), (20, 0));
    faults.clear()?;
    for _ in 0..20 {
        let answer = stream.receive().await?.unwrap();
        assert_eq!(outcome(answer.result), "FROZEN");
    }
    scene.settled().await?;
    let journal = scene.journal().await?;
    // What the token had begun was signed and withheld; the rest it no longer signed, being fenced.
    let (withheld, failed) = (journal.count("withheld"), journal.of("failed"));
    assert_eq!((withheld + failed.len(), journal.count("signed")), (20, 0));
    assert!(withheld >= 2 && failed.iter().all(|one| one["fault"] == "KEY_FENCED"), "{failed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_released_after_the_sequence_that_a_stop_acknowledges() -> Result<(), Failure> {
    let scene = Arc::new(Scene::new(BookText::default()).await?);
    let payouts = scene.payouts().await?;
    let (sender, mut receiver) = payouts.sign_stream(64).await?.split();
    let (key, client) = (scene.key, payouts.clone());
    let asking = tokio::spawn(async move {
        for nonce in 0..1_500 {
            let id = client.new_request_id();
            sender.send(&key, &id, &payment(nonce, U256::from(1))).await.unwrap();
        }
    });
    let freezing = {
        let scene = scene.clone();
        tokio::spawn(async move {
            let sam = scene.vault.control(&scene.server, "sam").await.unwrap();
            scene.metric_reaches("portcullis_signed_total", 50).await.unwrap();
            sam.freeze(Scope::All(true), "stop it").await.unwrap()
        })
    };
    let (mut signed, mut refused) = (Vec::new(), 0);
    while let Some(answer) = receiver.receive().await? {
        match answer.result {
            Ok(Answer::Signed(one)) => {
                scene.hold(one.clone());
                signed.push(one.sequence);
            }
            other => {
                // SoftHSM may lose sight of a key while its fence is written: whoever was under way
                // is told of the stop all the same.
                assert_eq!(outcome(other), "FROZEN");
                refused += 1;
            }
        }
    }
    asking.await?;
    let frozen = freezing.await?;
    assert!(!signed.is_empty() && refused > 0, "the stop did not come in between");
    assert_eq!(signed.len() + refused, 1_500);
    // What the caller was given, to the last one, is what the stop says was released.
    assert_eq!(signed.iter().max().copied(), Some(frozen.last_released_sequence));
    let journal = scene.journal().await?;
    assert!(scene.held().iter().all(|one| journal.knows(one)));
    Ok(())
}
