//! Something changes while a request is inside the token.

use std::sync::Arc;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Answer, Client, Code, Refusal, SignError};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, ether, payment};
use tokio::task::JoinHandle;

use crate::support::{Scene, refused, said, signed};

type Asked = JoinHandle<Result<Answer, SignError>>;

async fn scene() -> Result<Arc<Scene>, Failure> {
    Ok(Arc::new(Scene::through(Through::Faults, BookText::default()).await?))
}

/// Asks, and returns when the token holds the request: charged, not yet signed.
async fn ask_and_hang(scene: &Arc<Scene>, client: &Client, nonce: u64) -> Result<Asked, Failure> {
    let faults = scene.vault.token.faults()?;
    let before = faults.hangs("C_Sign")?;
    faults.set(&["C_Sign hang"])?;
    let (scene_, client) = (scene.clone(), client.clone());
    let asked = tokio::spawn(async move { scene_.sign(&client, &payment(nonce, ether(6))).await });
    tokio::task::block_in_place(|| faults.wait_for_hangs("C_Sign", before + 1))?;
    Ok(asked)
}

/// The token goes on, and makes the signature; what the caller is told.
async fn let_go(scene: &Scene, asked: Asked) -> Result<Refusal, Failure> {
    scene.vault.token.faults()?.clear()?;
    Ok(refused(asked.await?))
}

async fn a_stop_withholds_it(scope: Scope) -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let before = signed(scene.sign(&payouts, &payment(9, ether(1))).await);
    let asked = ask_and_hang(&scene, &payouts, 0).await?;

    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(scope, "stop it").await?;
    assert!(frozen.recorded);
    assert_eq!(frozen.withheld, 1);
    assert_eq!(frozen.last_released_sequence, before.sequence);

    let refusal = let_go(&scene, asked).await?;
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "FROZEN"));
    assert_eq!(refusal.metadata()["verdict"], "withheld");
    scene.settled().await?;
    assert_eq!(scene.metric("portcullis_withheld_total")?, 1);
    let journal = scene.journal().await?;
    assert_eq!(journal.of("withheld")[0]["reasons"][0]["code"], "FROZEN");
    assert_eq!((journal.count("withheld"), journal.count("signed")), (1, 1));
    // Asked again, it does not even get to the token.
    let signs = scene.vault.token.faults()?.calls("C_Sign")?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, "FROZEN");
    assert_eq!(scene.vault.token.faults()?.calls("C_Sign")?, signs);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_key_withholds_what_is_inside_the_token() -> Result<(), Failure> {
    a_stop_withholds_it(Scope::Key("hot".into())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_caller_withholds_what_is_inside_the_token() -> Result<(), Failure> {
    a_stop_withholds_it(Scope::Caller(PAYOUTS.into())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_tag_withholds_what_is_inside_the_token() -> Result<(), Failure> {
    a_stop_withholds_it(Scope::Tag("web".into())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_everything_withholds_what_is_inside_the_token() -> Result<(), Failure> {
    a_stop_withholds_it(Scope::All(true)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_somebody_else_withholds_nothing() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let asked = ask_and_hang(&scene, &payouts, 0).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Caller("spiffe://test/reports".into()), "them").await?;
    assert_eq!(frozen.withheld, 0);
    scene.vault.token.faults()?.clear()?;
    signed(asked.await?);
    assert_eq!(scene.journal().await?.count("withheld"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_narrowed_meanwhile_withholds_what_it_no_longer_allows() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let asked = ask_and_hang(&scene, &payouts, 0).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let narrower = BookText { per_tx: "5 ETH".into(), ..BookText::default() };
    olga.adopt_book(narrower.to_string()).await?;
    let refusal = let_go(&scene, asked).await?;
    assert_eq!(said(&refusal), (Code::PermissionDenied, "OVER_TRANSACTION_LIMIT"));
    assert_eq!(refusal.metadata()["verdict"], "withheld");
    let journal = scene.journal().await?;
    assert_eq!((journal.count("withheld"), journal.count("signed")), (1, 0));
    // What it withheld it does not charge.
    for nonce in 1..=6 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(4))).await, "signed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_narrowed_meanwhile_releases_what_it_still_allows() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let asked = ask_and_hang(&scene, &payouts, 0).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let narrower = BookText { per_tx: "7 ETH".into(), ..BookText::default() };
    olga.adopt_book(narrower.to_string()).await?;
    scene.vault.token.faults()?.clear()?;
    signed(asked.await?);
    assert_eq!(scene.journal().await?.count("withheld"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_that_now_asks_for_people_withholds_with_the_quorum_named() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let asked = ask_and_hang(&scene, &payouts, 0).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let more = r#"approve = [{ above = "1 ETH", need = "1 of treasury", expires = "30m" }]"#;
    let narrower = BookText { more: more.into(), ..BookText::default() };
    olga.adopt_book(narrower.to_string()).await?;
    let refusal = let_go(&scene, asked).await?;
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "NOT_APPROVED"));
    assert_eq!(refusal.metadata()["verdict"], "withheld");
    assert_eq!(refusal.metadata()["saw"], "1 of treasury");
    assert_eq!(scene.journal().await?.count("withheld"), 1);
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, "parked");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_a_stop_gets_no_signature_stored_or_fresh() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let (id, preimage) = (payouts.new_request_id(), payment(0, ether(1)));
    signed(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "stop it").await?;
    let signs = scene.vault.token.faults()?.calls("C_Sign")?;
    let again = refused(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    assert_eq!(again.reason(), Some("FROZEN"));
    assert_eq!(scene.outcome(&payouts, &preimage).await, "FROZEN");
    assert_eq!(scene.vault.token.faults()?.calls("C_Sign")?, signs);

    let scene = Arc::into_inner(scene).unwrap().restart().await?;
    let payouts = scene.payouts().await?;
    let later = refused(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    assert_eq!(later.reason(), Some("FROZEN"));
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}
