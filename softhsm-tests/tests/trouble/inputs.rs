//! Bytes that are no transaction, transactions that no rule permits, and fields that are not well
//! formed: each has its stable reason.

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use portcullis_client::wire as v1;
use portcullis_client::{Code, Refusal};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::tx::{self, Kind, Payment, Unsigned};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, PAYOUTS, STRANGER, SUPPLIER, USDC, ether, payment,
};
use tonic::Status;
use tonic_types::StatusExt;

use crate::support::{Scene, refused, said, wire};

async fn scene() -> Result<Scene, Failure> {
    Scene::new(BookText::default()).await
}

/// What these bytes get, from the book of every scene here.
async fn refusal_of(preimage: &[u8]) -> Result<Refusal, Failure> {
    let scene = scene().await?;
    let refusal = refused(scene.sign(&scene.payouts().await?, preimage).await);
    let journal = scene.journal().await?;
    assert_eq!(journal.count("signed") + journal.count("failed"), 0);
    Ok(refusal)
}

async fn is_malformed(preimage: &[u8], reason: &str) -> Result<(), Failure> {
    let refusal = refusal_of(preimage).await?;
    assert_eq!(said(&refusal), (Code::InvalidArgument, reason), "{refusal:?}");
    let violation = &refusal.violations()[0];
    assert_eq!((violation.kind.as_str(), violation.subject.as_str()), ("FIELD", "transaction"));
    assert!(!violation.description.is_empty());
    // The complaint never repeats the bytes.
    let bytes = hex::encode(preimage);
    let told = format!("{refusal:?}");
    assert!(bytes.is_empty() || !told.contains(&bytes), "{told}");
    Ok(())
}

async fn is_denied(payment: &Payment, reason: &str) -> Result<Refusal, Failure> {
    let refusal = refusal_of(&tx::preimage(&payment.unsigned(Kind::Eip1559))).await?;
    assert_eq!(said(&refusal), (Code::PermissionDenied, reason), "{refusal:?}");
    assert!(refusal.metadata().contains_key("rule"), "{refusal:?}");
    assert!(refusal.violations().iter().any(|one| one.kind == reason), "{refusal:?}");
    Ok(refusal)
}

fn call(contract: Address, data: Vec<u8>) -> Payment {
    let mut payment = Payment::new(CHAIN, 0, contract, U256::ZERO);
    payment.data = Bytes::from(data);
    payment
}

#[tokio::test]
async fn an_empty_transaction_is_refused_as_empty() -> Result<(), Failure> {
    is_malformed(&[], "TX_EMPTY").await
}

#[tokio::test]
async fn a_truncated_transaction_is_refused_as_truncated() -> Result<(), Failure> {
    let whole = payment(0, ether(1));
    is_malformed(&whole[..whole.len() - 1], "TX_TRUNCATED").await
}

#[tokio::test]
async fn a_byte_after_the_transaction_is_refused() -> Result<(), Failure> {
    let mut long = payment(0, ether(1));
    long.push(0);
    is_malformed(&long, "TX_TRAILING_BYTES").await
}

#[tokio::test]
async fn a_small_number_in_its_long_form_is_refused() -> Result<(), Failure> {
    let mut bytes = payment(1, ether(1));
    // Type, list header, chain id (0x82 and two bytes), then the nonce: 0x01.
    assert_eq!((bytes[0], bytes[2], bytes[5]), (2, 0x82, 1));
    bytes.insert(5, 0x81);
    bytes[1] += 1;
    is_malformed(&bytes, "TX_NON_CANONICAL").await
}

#[tokio::test]
async fn a_number_with_a_leading_zero_is_refused() -> Result<(), Failure> {
    let mut bytes = payment(1, ether(1));
    bytes[5] = 0;
    is_malformed(&bytes, "TX_LEADING_ZERO").await
}

#[tokio::test]
async fn an_unknown_type_is_refused() -> Result<(), Failure> {
    let mut bytes = payment(0, ether(1));
    bytes[0] = 5;
    is_malformed(&bytes, "TX_UNKNOWN_TYPE").await
}

#[tokio::test]
async fn a_transaction_sent_as_hexadecimal_text_is_refused_with_that_said() -> Result<(), Failure> {
    let text = format!("0x{}", hex::encode(payment(0, ether(1))));
    is_malformed(text.as_bytes(), "TX_HEX_TEXT").await
}

#[tokio::test]
async fn a_signed_transaction_is_refused() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(1));
    let signed = crate::support::signed(scene.sign(&payouts, &preimage).await);
    let refusal = refused(scene.sign(&payouts, &signed.raw_transaction).await);
    assert_eq!(said(&refusal), (Code::InvalidArgument, "TX_ALREADY_SIGNED"));
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_legacy_transaction_without_a_chain_id_is_refused() -> Result<(), Failure> {
    let legacy = TxLegacy {
        chain_id: None,
        nonce: 0,
        gas_price: 1_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(SUPPLIER),
        value: ether(1),
        input: Bytes::new(),
    };
    is_malformed(&tx::preimage(&Unsigned::Legacy(legacy)), "TX_LEGACY_WITHOUT_CHAIN_ID").await
}

#[tokio::test]
async fn a_transaction_above_the_cap_is_refused_as_too_large() -> Result<(), Failure> {
    let large = call(SUPPLIER, vec![7; 131_072]);
    is_malformed(&tx::preimage(&large.unsigned(Kind::Eip1559)), "TX_TOO_LARGE").await
}

#[tokio::test]
async fn an_oversized_message_is_refused_with_a_reason_and_the_connection_goes_on()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let refusal = refused(scene.sign(&payouts, &vec![2; 4 * 1024 * 1024]).await);
    assert_eq!(refusal.reason(), Some("MESSAGE_TOO_LARGE"), "{refusal:?}");
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_chain_that_is_not_in_the_book_is_refused() -> Result<(), Failure> {
    is_denied(&Payment::new(1, 0, SUPPLIER, ether(1)), "CHAIN_NOT_OF_KEY").await?;
    Ok(())
}

#[tokio::test]
async fn the_zero_address_gets_no_payment() -> Result<(), Failure> {
    let refusal =
        is_denied(&Payment::new(CHAIN, 0, Address::ZERO, ether(1)), "RECIPIENT_NOT_ALLOWED")
            .await?;
    assert_eq!(refusal.metadata()["saw"], Address::ZERO.to_checksum(None));
    Ok(())
}

#[tokio::test]
async fn the_zero_address_gets_no_tokens() -> Result<(), Failure> {
    let transfer = Payment::new(CHAIN, 0, USDC, U256::ZERO)
        .erc20_transfer(Address::ZERO, U256::from(1_000_000));
    is_denied(&transfer, "TOKEN_RECIPIENT_NOT_ALLOWED").await?;
    Ok(())
}

#[tokio::test]
async fn a_stranger_gets_no_payment() -> Result<(), Failure> {
    is_denied(&Payment::new(CHAIN, 0, STRANGER, ether(1)), "RECIPIENT_NOT_ALLOWED").await?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_selector_on_a_registered_token_is_refused_and_named() -> Result<(), Failure> {
    let refusal = is_denied(&call(USDC, vec![0xde, 0xad, 0xbe, 0xef]), "CALL_NOT_ALLOWED").await?;
    assert!(refusal.metadata()["saw"].contains("0xdeadbeef"), "{refusal:?}");
    Ok(())
}

#[tokio::test]
async fn calldata_to_an_unregistered_contract_is_refused() -> Result<(), Failure> {
    // A transfer in form; but nobody said that this contract is a token.
    let transfer =
        Payment::new(CHAIN, 0, STRANGER, U256::ZERO).erc20_transfer(SUPPLIER, U256::from(1));
    is_denied(&transfer, "CALL_NOT_ALLOWED").await?;
    Ok(())
}

#[tokio::test]
async fn calldata_too_short_for_a_selector_is_not_understood() -> Result<(), Failure> {
    is_denied(&call(USDC, vec![0xa9, 0x05, 0x9c]), "NOT_UNDERSTOOD").await?;
    Ok(())
}

#[tokio::test]
async fn a_transfer_with_a_byte_after_its_arguments_is_not_understood() -> Result<(), Failure> {
    let mut transfer =
        Payment::new(CHAIN, 0, USDC, U256::ZERO).erc20_transfer(SUPPLIER, U256::from(1));
    transfer.data = [&transfer.data[..], &[0]].concat().into();
    is_denied(&transfer, "NOT_UNDERSTOOD").await?;
    Ok(())
}

#[tokio::test]
async fn a_contract_creation_is_refused() -> Result<(), Failure> {
    let mut deploy = call(SUPPLIER, vec![0x60, 0x00]).unsigned(Kind::Eip1559);
    if let Unsigned::Eip1559(transaction) = &mut deploy {
        transaction.to = TxKind::Create;
    }
    let refusal = refusal_of(&tx::preimage(&deploy)).await?;
    assert_eq!(said(&refusal), (Code::PermissionDenied, "DEPLOY_NOT_ALLOWED"));
    Ok(())
}

/// Sends a request that is wrong in one way, and gives what was said of which field.
async fn field_of(
    scene: &Scene,
    spoil: impl FnOnce(&mut v1::SignRequest),
) -> Result<String, Failure> {
    let issued = scene.vault.services.issue(&Leaf::client_uri("wire", PAYOUTS))?;
    let address = scene.server.addresses().data_plane;
    let authority = scene.vault.services.certificate();
    let mut client = wire::signing(address, &authority, Some(&issued)).await?;
    let mut request = wire::request(&scene.key, &payment(0, ether(1)));
    spoil(&mut request);
    let status: Status = client.sign(request).await.expect_err("a bad field");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "BAD_FIELD");
    assert_eq!(details.error_info().unwrap().domain, "portcullis.v1");
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert!(!violation.description.is_empty());
    Ok(violation.field.clone())
}

#[tokio::test]
async fn a_request_id_that_is_none_is_a_bad_field() -> Result<(), Failure> {
    let scene = scene().await?;
    for id in ["", "two words", "zażółć", "new\nline", &"a".repeat(65)] {
        let field = field_of(&scene, |request| request.request_id = id.to_owned()).await?;
        assert_eq!(field, "request_id", "{id:?}");
    }
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn a_key_id_or_address_that_is_none_is_a_bad_field() -> Result<(), Failure> {
    let scene = scene().await?;
    for id in ["", "hot", "00112233445566778899AABBCCDDEEFF", &"0".repeat(33)] {
        let field = field_of(&scene, |request| request.key_id = id.to_owned()).await?;
        assert_eq!(field, "key_id", "{id:?}");
    }
    for length in [0, 19, 21, 32] {
        let spoil = |request: &mut v1::SignRequest| request.expected_address = vec![1; length];
        assert_eq!(field_of(&scene, spoil).await?, "expected_address");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_for_nothing_is_told_what_is_missing() -> Result<(), Failure> {
    let spoil = |request: &mut v1::SignRequest| request.input = None;
    assert_eq!(field_of(&scene().await?, spoil).await?, "input");
    Ok(())
}
