//! The token is late, or lies.

use std::sync::Arc;

use alloy_primitives::U256;
use portcullis_client::{Code, SignError};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYMENT_FEE, ether, payment};

use crate::support::{Scene, refused, said, signed};

/// A book whose whole budget is one ether, and the payment of this nonce that takes all of it.
fn exact() -> (BookText, impl Fn(u64) -> Vec<u8>) {
    let book =
        BookText { per_tx: "1 ETH".into(), window: "\"1 ETH / 1h\"".into(), ..BookText::default() };
    (book, |nonce| payment(nonce, ether(1) - U256::from(PAYMENT_FEE)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_too_late_is_dropped_and_its_budget_given_back() -> Result<(), Failure>
{
    let (book, all) = exact();
    let scene = Arc::new(Scene::with_timeout(Through::Faults, book, 3_000).await?);
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    faults.set(&["C_Sign hang next 1"])?;
    let refusal = refused(scene.sign(&payouts, &all(0)).await);
    assert_eq!(said(&refusal), (Code::Unavailable, "TOKEN_TIMED_OUT"));
    assert!(refusal.retry_after().is_some());
    assert_eq!(faults.hangs("C_Sign")?, 1);
    assert_eq!(scene.metric("portcullis_hsm_stuck")?, 1);

    // The token goes on and signs after all.
    faults.clear()?;
    scene.metric_reaches("portcullis_hsm_late_total", 1).await?;
    scene.settled().await?;
    let journal = scene.journal().await?;
    assert_eq!(journal.of("failed")[0]["fault"], "TOKEN_TIMED_OUT");
    assert_eq!((journal.count("failed"), journal.count("signed")), (1, 0));

    signed(scene.sign(&payouts, &all(1)).await);
    assert_eq!(scene.outcome(&payouts, &payment(2, U256::ZERO)).await, "OVER_WINDOW_LIMIT");
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

/// A token that lies once: the lie is caught, and the budget is there for the truth.
async fn is_caught(lie: &str) -> Result<(), Failure> {
    let (book, all) = exact();
    let scene = Scene::through(Through::Faults, book).await?;
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    faults.set(&[&format!("C_Sign {lie} next 1")])?;
    match scene.sign(&payouts, &all(0)).await {
        Err(SignError::Refused(refusal)) => {
            assert_eq!(said(&refusal), (Code::Internal, "TOKEN_BAD_SIGNATURE"));
        }
        other => panic!("not refused: {other:?}"),
    }
    let journal = scene.journal().await?;
    assert_eq!(journal.of("failed")[0]["fault"], "TOKEN_BAD_SIGNATURE");
    assert_eq!(journal.count("signed"), 0);
    assert_eq!(scene.metric("portcullis_hsm_bad_signatures_total")?, 1);
    let status = scene.status().await?;
    assert!(status.troubles.join("\n").contains("gave 1 bad signatures"), "{status:?}");
    // The key is stopped by the signer itself, and nothing else is.
    assert!(status.serving, "{status:?}");
    assert_eq!(scene.outcome(&payouts, &all(1)).await, "FROZEN");
    let journal = scene.journal().await?;
    let stop = journal.of("frozen")[0];
    assert_eq!(stop["by"]["trigger"], "bad_signature");
    assert_eq!(stop["scope"]["key"], scene.key.id.to_string());
    assert_eq!(journal.count("frozen"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_signature_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("wrong-signature").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_keys_signature_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("foreign-signature").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_with_r_zero_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("zero-r").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_with_s_zero_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("zero-s").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_cut_short_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("short-signature").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_too_long_is_caught_and_never_released() -> Result<(), Failure> {
    is_caught("long-signature").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_digests_signature_is_caught_and_never_released() -> Result<(), Failure> {
    // The one before is the key's own test of itself.
    is_caught("replayed-signature").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_with_a_high_s_is_released_with_a_low_one() -> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, BookText::default()).await?;
    let payouts = scene.payouts().await?;
    scene.vault.token.faults()?.set(&["C_Sign high-s"])?;
    let answer = signed(scene.sign(&payouts, &payment(0, ether(1))).await);
    assert!(answer.signature.normalize_s().is_none(), "s is high");
    assert!(scene.journal().await?.knows(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_lies_for_one_key_stops_that_key_for_good_and_no_other() -> Result<(), Failure>
{
    let text = BookText::default().to_string();
    let (head, hot) = text.split_once("[key.hot]").unwrap();
    let scene =
        Scene::through(Through::Faults, format!("{head}[key.hot]{hot}[key.cold]{hot}")).await?;
    let cold = scene.cold_key().await?;
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    faults.set(&["C_Sign wrong-signature next 1"])?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "TOKEN_BAD_SIGNATURE");
    let id = payouts.new_request_id();
    signed(scene.sign_as(&payouts, &cold, &id, &payment(0, ether(1))).await);
    let asked = faults.calls("C_Sign")?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "FROZEN");
    assert_eq!(faults.calls("C_Sign")?, asked, "the token is not asked again");

    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "FROZEN");
    let journal = scene.journal().await?;
    assert_eq!((journal.count("frozen"), journal.count("signed")), (1, 1));
    Ok(())
}

/// A vault whose sessions are all lost, and whose next ones hang in this call.
async fn cannot_reopen(call: &str) -> Result<Scene, Failure> {
    let scene = Scene::with_timeout(Through::Faults, BookText::default(), 1_000).await?;
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    faults.set(&["C_Sign error 0x30", &format!("{call} hang")])?;
    crate::support::eventually("the sessions to be gone", async || {
        // CKR_DEVICE_ERROR costs the session.
        scene.outcome(&payouts, &payment(0, ether(1))).await;
        Ok(scene.metric("portcullis_hsm_sessions_usable")? == 0)
    })
    .await?;
    tokio::task::block_in_place(|| faults.wait_for_hangs(call, 1))?;
    scene.metric_reaches("portcullis_hsm_stuck", 1).await?;
    Ok(scene)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_hang_while_they_are_opened_are_stuck_and_come_back_with_the_token()
-> Result<(), Failure> {
    let scene = cannot_reopen("C_OpenSession").await?;
    let payouts = scene.payouts().await?;
    let refusal = refused(scene.sign(&payouts, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::Unavailable, "TOKEN_UNAVAILABLE"));
    let troubles = scene.status().await?.troubles.join("\n");
    assert!(troubles.contains("stuck"), "{troubles}");

    scene.vault.token.faults()?.clear()?;
    scene.metric_reaches("portcullis_hsm_sessions_usable", 2).await?;
    crate::support::eventually("no call to be stuck", async || {
        Ok(scene.metric("portcullis_hsm_stuck")? == 0)
    })
    .await?;
    signed(scene.sign(&payouts, &payment(0, ether(1))).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_whose_sessions_hang_while_they_are_opened_ends_when_told_to()
-> Result<(), Failure> {
    let Scene { server, vault, .. } = cannot_reopen("C_OpenSession").await?;
    let ended = tokio::task::block_in_place(|| server.terminate())?;
    assert!(ended.success(), "{ended}");
    drop(vault);
    Ok(())
}
