//! What requests leave behind: in the log no secret at any level, in the journal no flood.

use portcullis_client::KeyRef;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_softhsm_tests::world::{BookText, Failure, STRANGER, ether, payment};
use serde_json::Value;

use crate::support::{REPORTS, Scene, signed};

#[tokio::test]
async fn a_signer_that_logs_all_it_can_logs_no_secret_and_no_transaction() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?.talkative().await?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(1));
    let first = signed(scene.sign(&payouts, &preimage).await);
    signed(scene.sign(&payouts, &preimage).await);
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    assert_eq!(scene.outcome(&payouts, &[2]).await, "TX_TRUNCATED");
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    assert_eq!(scene.outcome(&reports, &preimage).await, "CALLER_NOT_ALLOWED");
    scene.cold_key().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "drill").await?;
    assert_eq!(scene.outcome(&payouts, &preimage).await, "FROZEN");
    let scene = scene.restart().await?;
    // Looks for the PIN, the private keys and the signatures.
    scene.journal().await?;

    let log = scene.server.said()?.to_ascii_lowercase();
    assert!(log.contains("trace"), "it did not log all it can");
    for bytes in [&preimage[..], &first.raw_transaction] {
        assert!(!log.contains(&hex::encode(bytes)), "a transaction is in the log");
        let listed: Vec<String> = bytes.iter().map(ToString::to_string).collect();
        assert!(!log.contains(&listed.join(", ")), "a transaction is in the log, byte by byte");
    }
    let signature = first.signature.as_bytes();
    for half in [&signature[..32], &signature[32..64]] {
        let listed: Vec<String> = half.iter().map(ToString::to_string).collect();
        assert!(!log.contains(&listed.join(", ")), "a signature is in the log, byte by byte");
    }
    Ok(())
}

/// Records of refusals, and the counts in place of them.
fn refusals(kinds: [Vec<&Value>; 2]) -> (usize, u64) {
    let [denied, suppressed] = kinds;
    let counts = suppressed.iter().filter_map(|one| one["count"].as_u64());
    (denied.len(), counts.sum())
}

#[tokio::test]
async fn equal_refusals_in_a_row_are_counted_and_not_recorded_one_by_one() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..150 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(11))).await, OVER);
    }
    let scene = scene.stop_and_start().await?;
    let journal = scene.journal().await?;
    let (denied, counted) = refusals([journal.of("denied"), journal.of("suppressed")]);
    assert_eq!(u64::try_from(denied)? + counted, 150);
    assert!(counted > 0, "{denied} records");
    Ok(())
}

#[tokio::test]
async fn a_caller_that_invents_keys_cannot_use_the_journal_as_a_hose() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    for number in 0..150 {
        let ghost = KeyRef { id: format!("{number:032x}").parse()?, address: STRANGER };
        let id = payouts.new_request_id();
        let answer = scene.sign_as(&payouts, &ghost, &id, &payment(0, ether(1))).await;
        assert_eq!(crate::support::outcome(answer), "KEY_UNKNOWN");
    }
    let scene = scene.stop_and_start().await?;
    let journal = scene.journal().await?;
    let (denied, counted) = refusals([journal.of("denied"), journal.of("suppressed")]);
    assert_eq!(u64::try_from(denied)? + counted, 150);
    assert!(counted > 0, "{denied} records");
    assert!(journal.count("suppressed") < 20, "{} counts", journal.count("suppressed"));
    Ok(())
}

const OVER: &str = "OVER_TRANSACTION_LIMIT";
