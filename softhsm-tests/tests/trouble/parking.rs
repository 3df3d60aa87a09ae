//! Requests that wait for people, and requests that come too fast.

use portcullis_client::{Client, Code, RequestId};
use portcullis_softhsm_tests::server::Triggers;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, Vault, ether, payment};

use crate::support::{REPORTS, Scene, parked, refused, said};

/// Above one ether, somebody of the treasury must agree.
fn book() -> BookText {
    let more = r#"approve = [{ above = "1 ETH", need = "1 of treasury", expires = "30m" }]"#;
    BookText { more: more.into(), ..BookText::default() }
}

#[tokio::test]
async fn a_request_above_a_threshold_is_parked_and_says_for_whom_and_until_when()
-> Result<(), Failure> {
    let scene = Scene::new(book()).await?;
    let payouts = scene.payouts().await?;
    let now = scene.status().await?.sure_time_ms;
    let waiting = parked(scene.sign(&payouts, &payment(0, ether(2))).await);
    assert_eq!(waiting.parked_id.len(), 32);
    assert_eq!(waiting.missing, ["1 of treasury"]);
    assert!(waiting.expires_at_ms >= now + 30 * 60 * 1_000, "{waiting:?} at {now}");
    let journal = scene.journal().await?;
    assert_eq!(journal.of("parked")[0]["parked"], waiting.parked_id.as_str());
    assert_eq!(journal.count("signed") + journal.count("denied"), 0);
    Ok(())
}

#[tokio::test]
async fn asking_again_gives_the_same_parked_id_also_after_a_restart() -> Result<(), Failure> {
    let scene = Scene::new(book()).await?;
    let payouts = scene.payouts().await?;
    let (id, preimage): (RequestId, _) = ("big".parse()?, payment(0, ether(2)));
    let first = parked(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    let again = parked(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    assert_eq!(first.parked_id, again.parked_id);
    let other = parked(scene.sign(&payouts, &payment(1, ether(2))).await);
    assert_ne!(first.parked_id, other.parked_id);

    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    let later = parked(scene.sign_as(&payouts, &scene.key, &id, &preimage).await);
    assert_eq!(first.parked_id, later.parked_id);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_parked_request_takes_no_budget_and_an_exact_threshold_does_not_park()
-> Result<(), Failure> {
    let scene = Scene::new(book()).await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..5 {
        parked(scene.sign(&payouts, &payment(nonce, ether(10) / exactly(2))).await);
    }
    let fee = exactly(portcullis_softhsm_tests::world::PAYMENT_FEE);
    for nonce in 5..30 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1) - fee)).await, "signed");
    }
    assert_eq!(scene.outcome(&payouts, &payment(30, ether(1) - fee)).await, "OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}

fn exactly(amount: u64) -> alloy_primitives::U256 {
    alloy_primitives::U256::from(amount)
}

#[tokio::test]
async fn one_parked_request_too_many_is_refused_and_those_that_wait_may_ask_again()
-> Result<(), Failure> {
    let scene = Scene::new(book()).await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..5 {
        parked(scene.sign(&payouts, &payment(nonce, ether(2))).await);
    }
    let refusal = refused(scene.sign(&payouts, &payment(5, ether(2))).await);
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "TOO_MANY_PARKED"));
    assert_eq!(refusal.metadata()["rule"], "rate.parked");
    parked(scene.sign(&payouts, &payment(4, ether(2))).await);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_request_over_a_limit_is_refused_and_not_parked() -> Result<(), Failure> {
    let scene = Scene::new(book()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    assert_eq!(scene.journal().await?.count("parked"), 0);
    Ok(())
}

/// Asks so many times at once; what the first refusal says.
async fn hurry(scene: &Scene, client: &Client, many: usize) -> portcullis_client::Refusal {
    let preimage = payment(0, ether(1));
    let asked = (0..many).map(|_| {
        let (client, key, preimage) = (client.clone(), scene.key, preimage.clone());
        tokio::spawn(async move {
            client.sign_transaction(&key, &client.new_request_id(), &preimage).await
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut throttled = None;
    for one in asked {
        let answer = one.await.unwrap();
        if answer.is_err() {
            throttled = Some(refused(answer));
        }
    }
    throttled.expect("nobody was throttled")
}

#[tokio::test]
async fn a_caller_that_asks_too_fast_is_told_when_to_come_back() -> Result<(), Failure> {
    let text = BookText::default().to_string();
    let rate = text.replace("per_caller = \"unlimited\"", "per_caller = \"2/s\"");
    let scene = Scene::new(rate).await?;
    let payouts = scene.payouts().await?;
    let refusal = hurry(&scene, &payouts, 40).await;
    assert_eq!(said(&refusal), (Code::ResourceExhausted, "THROTTLED"));
    assert_eq!(refusal.metadata()["rule"], "rate.per_caller");
    assert!(refusal.retry_after().is_some_and(|wait| !wait.is_zero()), "{refusal:?}");
    assert!(refusal.is_retryable());
    let quota = |one: &portcullis_client::Violation| one.kind == "QUOTA";
    assert!(refusal.violations().iter().any(quota), "{refusal:?}");
    // It is let in again, without anybody acting.
    crate::support::eventually("to be let in again", async || {
        Ok(scene.outcome(&payouts, &payment(0, ether(1))).await == "signed")
    })
    .await?;
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_stop_is_never_throttled() -> Result<(), Failure> {
    let text = BookText::default().to_string();
    let rate = text.replace("per_key = \"unlimited\"", "per_key = \"2/s\"");
    let scene = Scene::new(rate).await?;
    let payouts = scene.payouts().await?;
    let refusal = hurry(&scene, &payouts, 40).await;
    assert_eq!(refusal.metadata()["rule"], "rate.per_key");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let all = portcullis_client::wire::freeze_scope::Scope::All(true);
    assert!(sam.freeze(all, "too fast").await?.recorded);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_caller_that_is_refused_too_often_is_stopped_and_no_other() -> Result<(), Failure> {
    let triggers = Triggers { denials: 5, within: "1h".into() };
    let set = |settings: &mut portcullis_softhsm_tests::server::Settings| {
        settings.triggers = Some(triggers);
    };
    let vault = Vault::with(Through::Real, &BookText::default().to_string(), set)?;
    let scene = Scene::of(vault).await?;
    let payouts = scene.payouts().await?;
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    let too_much = |nonce| payment(nonce, ether(100));
    for nonce in 0..4 {
        assert_eq!(scene.outcome(&payouts, &too_much(nonce)).await, "OVER_TRANSACTION_LIMIT");
        assert_eq!(scene.outcome(&reports, &payment(nonce, ether(1))).await, "CALLER_NOT_ALLOWED");
    }
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed", "not yet");
    assert_eq!(scene.outcome(&payouts, &too_much(4)).await, "OVER_TRANSACTION_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "FROZEN");
    let journal = scene.journal().await?;
    let stop = journal.of("frozen")[0];
    assert_eq!(stop["by"]["trigger"]["denials"]["denials"], 5);
    assert_eq!(stop["scope"]["caller"], PAYOUTS);
    // What it asks from now on is only counted, and stops nobody else.
    let denied = journal.count("denied");
    for nonce in 0..30 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1))).await, "FROZEN");
    }
    let journal = scene.journal().await?;
    assert_eq!((journal.count("denied"), journal.count("frozen")), (denied, 1));
    assert_eq!(scene.outcome(&reports, &payment(9, ether(1))).await, "CALLER_NOT_ALLOWED");

    // A quorum starts it again, and nothing else: not a restart, nor another setting.
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "FROZEN");
    Ok(())
}
