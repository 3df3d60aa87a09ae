//! The same again: charged once, checked every time.

use portcullis_client::{Code, RequestId};
use portcullis_softhsm_tests::world::{BookText, Failure, PAYMENT_FEE, ether, payment};

use crate::support::{REPORTS, Scene, outcome, refused, said, signed};

use alloy_primitives::U256;

/// A book whose whole budget is one ether, and the payment that takes all of it.
fn exact() -> (BookText, Vec<u8>) {
    let book =
        BookText { per_tx: "1 ETH".into(), window: "\"1 ETH / 1h\"".into(), ..BookText::default() };
    (book, payment(0, ether(1) - U256::from(PAYMENT_FEE)))
}

#[tokio::test]
async fn a_request_id_stands_for_one_digest_also_after_a_restart() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let id: RequestId = "invoice-4711".parse()?;
    let (first, other) = (payment(0, ether(1)), payment(0, ether(2)));
    signed(scene.sign_as(&payouts, &scene.key, &id, &first).await);
    let refusal = refused(scene.sign_as(&payouts, &scene.key, &id, &other).await);
    assert_eq!(said(&refusal), (Code::Aborted, "REQUEST_ID_REUSED"));

    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    let refusal = refused(scene.sign_as(&payouts, &scene.key, &id, &other).await);
    assert_eq!(said(&refusal), (Code::Aborted, "REQUEST_ID_REUSED"));
    signed(scene.sign_as(&payouts, &scene.key, &id, &first).await);
    assert_eq!(scene.journal().await?.count("signed"), 2);
    Ok(())
}

#[tokio::test]
async fn two_callers_may_use_the_same_request_id() -> Result<(), Failure> {
    let text = BookText::default().to_string();
    let both = format!("callers = [\"spiffe://test/payouts\", \"{REPORTS}\"]");
    let scene = Scene::new(text.replace("callers = [\"spiffe://test/payouts\"]", &both)).await?;
    let payouts = scene.payouts().await?;
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    let id: RequestId = "1".parse()?;
    signed(scene.sign_as(&payouts, &scene.key, &id, &payment(0, ether(1))).await);
    signed(scene.sign_as(&reports, &scene.key, &id, &payment(1, ether(1))).await);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_digest_signed_for_one_caller_is_refused_to_one_without_rights() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    let (id, preimage): (RequestId, _) = ("shared".parse()?, payment(0, ether(1)));
    signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    let refusal = refused(scene.sign_as(&reports, &scene.key, &id, &preimage).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

#[tokio::test]
async fn the_same_digest_is_charged_once_however_often_it_is_asked_for() -> Result<(), Failure> {
    let (book, preimage) = exact();
    let scene = Scene::new(book).await?;
    let payouts = scene.payouts().await?;
    let id: RequestId = "all-of-it".parse()?;
    let first = signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    let again = signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    let renamed = signed(scene.sign(&payouts, &preimage).await);
    assert_eq!(first.signature, again.signature);
    assert!(first.sequence < again.sequence && again.sequence < renamed.sequence);
    assert_eq!(scene.outcome(&payouts, &payment(1, U256::ZERO)).await, "OVER_WINDOW_LIMIT");

    let journal = scene.journal().await?;
    let records = journal.of("signed");
    assert_eq!(records.len(), 3);
    assert!(records[0].get("repeats").is_none());
    for repeat in &records[1..] {
        assert_eq!(repeat["repeats"].as_u64(), Some(first.sequence));
    }
    Ok(())
}

#[tokio::test]
async fn the_same_digest_is_charged_once_also_over_a_restart() -> Result<(), Failure> {
    let (book, preimage) = exact();
    let scene = Scene::new(book).await?;
    let payouts = scene.payouts().await?;
    let id: RequestId = "all-of-it".parse()?;
    let first = signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);

    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    let again = signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    assert_eq!(again.digest, first.digest);
    assert_eq!(scene.outcome(&payouts, &payment(1, U256::ZERO)).await, "OVER_WINDOW_LIMIT");
    let journal = scene.journal().await?;
    assert_eq!(journal.of("signed")[1]["repeats"].as_u64(), Some(first.sequence));
    Ok(())
}

#[tokio::test]
async fn what_was_refused_is_decided_anew_and_binds_no_request_id() -> Result<(), Failure> {
    let (book, preimage) = exact();
    let scene = Scene::new(book).await?;
    let payouts = scene.payouts().await?;
    let id: RequestId = "typo".parse()?;
    let typo = scene.sign_as(&payouts, &scene.key, &id, &payment(0, ether(100))).await;
    assert_eq!(outcome(typo), "OVER_TRANSACTION_LIMIT");
    signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    scene.journal().await?;
    Ok(())
}
