//! The main job, end to end: the shipped binary, a real token, mutual TLS.

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_policy::verify::Verifier;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, Vault, ether, payment, reason, sign,
};

#[tokio::test]
async fn a_payment_within_policy_is_signed_and_one_beyond_it_is_refused_with_the_rule_named()
-> Result<(), Failure> {
    let vault = Vault::new(Through::Real, &BookText::default().to_string())?;
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let payouts = vault.client(&server, PAYOUTS).await?;

    // The client itself checks that the reply recovers to the key's address over its own digest.
    let signed = sign(&payouts, &key, &payment(0, ether(1))).await?;
    assert!(signed.sequence > 0);

    let error = sign(&payouts, &key, &payment(1, ether(10))).await.expect_err("over the limit");
    assert_eq!(error.reason(), Some("OVER_TRANSACTION_LIMIT"), "{error:?}");

    let sam = vault.control(&server, "sam").await?;
    let frozen = sam.freeze(Scope::All(true), "drill").await?;
    assert!(frozen.recorded);
    assert_eq!(frozen.last_released_sequence, signed.sequence);
    assert_eq!(reason(&payouts, &key, &payment(2, ether(1))).await, "FROZEN");

    let mut verifier = Verifier::default();
    for (sequence, bytes) in vault.export(&server).await? {
        if sequence == 0 { verifier.attachment(bytes) } else { verifier.record(&bytes) }
    }
    let report = verifier.finish();
    assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
    assert_eq!(report.repeated, 3);
    Ok(())
}
