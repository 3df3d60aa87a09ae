//! What is signed besides transactions, and what watchers and pricers report: out of a real token.

use alloy_primitives::{B256, U256};
use ethers_core::types::transaction::eip712::{Eip712, TypedData};
use portcullis_client::wire::{
    ReferencePrice, ReportPricesRequest, ReportSettlementRequest, StandingAllowance,
};
use portcullis_client::{Answer, Client, Code, SignError, SignedDigest};
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, STRANGER, SUPPLIER, USDC, ether, payment,
};
use serde_json::{Value, json};

use crate::support::{Scene, call_refused, refused, said};

/// Permits of USDC to the supplier, sign-ins, and code for the account.
fn book() -> BookText {
    let more = r#"authorize = { to = "@wallet-code", need = "1 of treasury", expires = "30m" }
[[key.hot.typed]]
domain = { name = "USD Coin", version = "2", chain = "anvil", contract = "@USDC" }
type = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
where = { owner = "self", spender = "@suppliers", value = "any", nonce = "any", deadline = "<= now + 15m" }
[[key.hot.message]]
template = "eip4361"
domains = ["app.acme.com"]
expires = "1h"
"#;
    let tables = format!(
        "[contract.wallet-code]\nchain = \"anvil\"\naddress = \"{:#x}\"\n",
        alloy_primitives::Address::repeat_byte(7)
    );
    BookText { more: more.into(), tables, ..BookText::default() }
}

fn with_allowance(mut text: String) -> String {
    let limits = "window = \"5_000 USDC / 1h\"";
    let allowance = "allowance = { spender = \"@suppliers\", per_tx = \"1_000 USDC\" }";
    text = text.replacen(limits, &format!("{limits}, {allowance}"), 1);
    text
}

async fn scene() -> Result<Scene, Failure> {
    Scene::new(with_allowance(book().to_string())).await
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// A permit of so many USDC.
fn permit(scene: &Scene, dollars: u64, nonce: u64) -> Value {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    json!({
        "types": {
            "EIP712Domain": [
                field("name", "string"), field("version", "string"),
                field("chainId", "uint256"), field("verifyingContract", "address"),
            ],
            "Permit": [
                field("owner", "address"), field("spender", "address"), field("value", "uint256"),
                field("nonce", "uint256"), field("deadline", "uint256"),
            ],
        },
        "primaryType": "Permit",
        "domain": {
            "name": "USD Coin", "version": "2", "chainId": CHAIN,
            "verifyingContract": USDC.to_checksum(None),
        },
        "message": {
            "owner": scene.key.address.to_checksum(None),
            "spender": SUPPLIER.to_checksum(None),
            "value": (dollars * 1_000_000).to_string(),
            "nonce": nonce.to_string(),
            "deadline": (now() + 600).to_string(),
        },
    })
}

/// The digest as ethers computes it: the client hands on a signature over nothing else.
fn digest(data: &Value) -> B256 {
    let data: TypedData = serde_json::from_value(data.clone()).expect("typed data");
    B256::from(data.encode_eip712().expect("a digest"))
}

async fn sign(scene: &Scene, by: &Client, data: &Value) -> Result<Answer<SignedDigest>, SignError> {
    let id = by.new_request_id();
    by.sign_typed_data(&scene.key, &id, &data.to_string(), digest(data)).await
}

fn signed(answer: Result<Answer<SignedDigest>, SignError>) -> SignedDigest {
    match answer {
        Ok(Answer::Signed(signed)) => signed,
        other => panic!("not signed: {other:?}"),
    }
}

fn transfer(nonce: u64, dollars: u64) -> Vec<u8> {
    let units = U256::from(dollars * 1_000_000);
    let transfer = Payment::new(CHAIN, nonce, USDC, U256::ZERO).erc20_transfer(SUPPLIER, units);
    tx::preimage(&transfer.unsigned(Kind::Eip1559))
}

#[tokio::test]
async fn a_permit_is_signed_over_the_digest_that_ethers_computes_and_spends_what_a_transfer_does()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..4 {
        signed(sign(&scene, &payouts, &permit(&scene, 1_000, nonce)).await);
    }
    // 4,000 of 5,000 USDC are promised; the rest may be sent, and nothing more.
    assert_eq!(scene.outcome(&payouts, &transfer(0, 1_000)).await, "signed");
    assert_eq!(scene.outcome(&payouts, &transfer(1, 1)).await, "TOKEN_OVER_WINDOW_LIMIT");
    let refusal = refused(sign(&scene, &payouts, &permit(&scene, 1, 9)).await);
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "TOKEN_OVER_WINDOW_LIMIT"));
    // The same permit again is the same promise.
    let again = signed(sign(&scene, &payouts, &permit(&scene, 1_000, 0)).await);
    assert_eq!(again.digest, digest(&permit(&scene, 1_000, 0)));
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &transfer(2, 1)).await, "TOKEN_OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn typed_data_that_no_rule_names_in_full_is_refused() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    for (path, value, reason) in [
        ("/domain/version", json!("1"), "TYPED_DATA_NOT_ALLOWED"),
        ("/domain/verifyingContract", json!(STRANGER.to_checksum(None)), "TYPED_DATA_NOT_ALLOWED"),
        ("/message/spender", json!(STRANGER.to_checksum(None)), "ARGUMENT_OUT_OF_BOUNDS"),
        ("/message/deadline", json!((now() + 3_600).to_string()), "ARGUMENT_OUT_OF_BOUNDS"),
        ("/message/owner", json!(SUPPLIER.to_checksum(None)), "ARGUMENT_OUT_OF_BOUNDS"),
        ("/message/value", json!("1001000000"), "ALLOWANCE_OVER_LIMIT"),
    ] {
        let mut data = permit(&scene, 1, 0);
        *data.pointer_mut(path).expect("a field") = value;
        let refusal = refused(sign(&scene, &payouts, &data).await);
        assert_eq!(refusal.reason(), Some(reason), "{path}");
    }
    for (json, reason) in [
        ("{}", "TYPED_DATA_MALFORMED"),
        ("", "TYPED_DATA_NOT_JSON"),
        ("{\"a\":1,\"a\":1}", "TYPED_DATA_NOT_JSON"),
    ] {
        let id = payouts.new_request_id();
        let answer = payouts.sign_typed_data(&scene.key, &id, json, B256::ZERO).await;
        assert_eq!(said(&refused(answer)), (Code::InvalidArgument, reason), "{json}");
    }
    let journal = scene.journal().await?;
    assert_eq!((journal.count("signed"), journal.count("denied")), (0, 6));
    Ok(())
}

#[tokio::test]
async fn only_a_sign_in_to_a_listed_site_is_signed_as_a_message() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let ends = portcullis_time(now() + 600);
    let text = |domain: &str| {
        format!(
            "{domain} wants you to sign in with your Ethereum account:\n{}\n\n\nURI: \
             https://{domain}/login\nVersion: 1\nChain ID: {CHAIN}\nNonce: 32891757\nIssued At: \
             2026-01-01T00:00:00Z\nExpiration Time: {ends}",
            scene.key.address.to_checksum(None)
        )
    };
    let message = |text: String| {
        let (payouts, key) = (payouts.clone(), scene.key);
        async move {
            let id = payouts.new_request_id();
            payouts.sign_message(&key, &id, text.as_bytes()).await
        }
    };
    signed(message(text("app.acme.com")).await);
    let refusal = refused(message(text("evil.com")).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "SIGN_IN_NOT_ALLOWED"));
    let refusal = refused(message("hello".into()).await);
    assert_eq!(said(&refusal), (Code::InvalidArgument, "MESSAGE_NOT_EIP4361"));
    scene.journal().await?;
    Ok(())
}

fn portcullis_time(seconds: u64) -> String {
    let days = i64::try_from(seconds / 86_400).expect("days");
    // Civil from days, by Howard Hinnant.
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z - era * 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[tokio::test]
async fn code_for_the_account_waits_for_people_and_nothing_else_has_its_digest()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let preimage = |to: u8, chain: u64| {
        let mut list = alloy_rlp::BytesMut::new();
        let fields: [&dyn alloy_rlp::Encodable; 3] =
            [&chain, &alloy_primitives::Address::repeat_byte(to), &0_u64];
        alloy_rlp::encode_list::<&dyn alloy_rlp::Encodable, dyn alloy_rlp::Encodable>(
            &fields, &mut list,
        );
        [&[5][..], &list].concat()
    };
    let ask = |preimage: Vec<u8>| {
        let (payouts, key) = (payouts.clone(), scene.key);
        async move {
            let id = payouts.new_request_id();
            payouts.sign_authorization(&key, &id, &preimage).await
        }
    };
    match ask(preimage(7, CHAIN)).await {
        Ok(Answer::Parked(parked)) => assert_eq!(parked.missing, ["1 of treasury"]),
        other => panic!("{other:?}"),
    }
    let refusal = refused(ask(preimage(8, CHAIN)).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "AUTHORIZATION_NOT_ALLOWED"));
    let refusal = refused(ask(preimage(7, 0)).await);
    assert_eq!(said(&refusal), (Code::InvalidArgument, "TX_CHAIN_ID_ZERO"));
    // As a transaction it is none: no other way leads to that digest.
    let as_transaction = scene.sign(&payouts, &preimage(7, CHAIN)).await;
    assert_eq!(said(&refused(as_transaction)), (Code::InvalidArgument, "TX_UNKNOWN_TYPE"));
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn what_is_unsettled_is_bounded_until_a_watcher_tells_what_is_mined() -> Result<(), Failure> {
    let text = BookText::default().to_string();
    let text =
        text.replacen("per_tx = \"10 ETH\"", "per_tx = \"10 ETH\", unsettled = \"12 ETH\"", 1);
    let text = text.replacen("parked = 5", "parked = 5, nonce_ahead = 3", 1);
    let scene = Scene::new(text).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(9))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(4))).await, "OVER_UNSETTLED_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(2))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(3, ether(0))).await, "NONCE_TOO_FAR_AHEAD");

    let report = |nonce| ReportSettlementRequest {
        key: "hot".into(),
        chain_id: CHAIN,
        nonce,
        allowances: Vec::new(),
        read_at_ms: None,
    };
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let refusal = call_refused(sam.report_settlement(report(1)).await);
    assert_eq!(refusal.code(), Code::PermissionDenied);
    let wanda = scene.vault.control(&scene.server, "wanda").await?;
    wanda.report_settlement(report(1)).await?;
    let refusal = call_refused(wanda.report_settlement(report(0)).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(scene.outcome(&payouts, &payment(3, ether(4))).await, "signed");
    // What is mined left what is unsettled, and no window: 25 ETH an hour, 15 are spent.
    wanda.report_settlement(report(4)).await?;
    assert_eq!(scene.outcome(&payouts, &payment(4, ether(9))).await, "signed");
    wanda.report_settlement(report(5)).await?;
    assert_eq!(scene.outcome(&payouts, &payment(5, ether(2))).await, "OVER_WINDOW_LIMIT");
    let journal = scene.journal().await?;
    assert_eq!(journal.count("settled"), 3);
    Ok(())
}

#[tokio::test]
async fn a_key_whose_account_has_more_transactions_than_were_signed_is_stopped()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    let report = |nonce| ReportSettlementRequest {
        key: "hot".into(),
        chain_id: CHAIN,
        nonce,
        allowances: Vec::new(),
        read_at_ms: None,
    };
    let wanda = scene.vault.control(&scene.server, "wanda").await?;
    wanda.report_settlement(report(1)).await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "signed");
    for _ in ["told", "told again"] {
        let refusal = call_refused(wanda.report_settlement(report(7)).await);
        assert_eq!(said(&refusal), (Code::InvalidArgument, "BAD_FIELD"));
        assert!(refusal.message().contains("somebody else signs"), "{refusal:?}");
        assert_eq!(scene.outcome(&payouts, &payment(2, ether(1))).await, "FROZEN");
    }
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, ether(1))).await, "FROZEN");
    let journal = scene.journal().await?;
    assert_eq!((journal.count("frozen"), journal.count("settled")), (1, 1));
    let stop = journal.of("frozen")[0];
    let told = &stop["by"]["trigger"]["used_elsewhere"];
    assert_eq!(
        (&told["nonce"], &told["signed"], &told["by"]),
        (&json!("7"), &json!("2"), &json!("wanda"))
    );
    assert_eq!(stop["scope"]["key"], scene.key.id.to_string());
    Ok(())
}

#[tokio::test]
async fn what_a_spender_may_take_stands_until_a_watcher_tells_what_is_left() -> Result<(), Failure>
{
    let text = with_allowance(BookText::default().to_string());
    let text = text.replacen(
        "per_tx = \"1_000 USDC\" }",
        "per_tx = \"1_000 USDC\", outstanding = \"1_500 USDC\" }",
        1,
    );
    let scene = Scene::new(text).await?;
    let payouts = scene.payouts().await?;
    let approve = |nonce, dollars: u64| {
        let units = U256::from(dollars * 1_000_000);
        let data = [
            &[0x09, 0x5e, 0xa7, 0xb3][..],
            SUPPLIER.into_word().as_slice(),
            &units.to_be_bytes::<32>(),
        ]
        .concat();
        let mut call = Payment::new(CHAIN, nonce, USDC, U256::ZERO);
        call.data = data.into();
        tx::preimage(&call.unsigned(Kind::Eip1559))
    };
    assert_eq!(scene.outcome(&payouts, &approve(0, 1_000)).await, "signed");
    assert_eq!(scene.outcome(&payouts, &approve(1, 501)).await, "OVER_OUTSTANDING_LIMIT");
    // Taking it back is signed, and lowers nothing before it is mined.
    assert_eq!(scene.outcome(&payouts, &approve(1, 0)).await, "signed");
    assert_eq!(scene.outcome(&payouts, &approve(2, 501)).await, "OVER_OUTSTANDING_LIMIT");
    let wanda = scene.vault.control(&scene.server, "wanda").await?;
    let standing =
        StandingAllowance { token: USDC.to_vec(), spender: SUPPLIER.to_vec(), amount: "0".into() };
    let report = |allowances| ReportSettlementRequest {
        key: "hot".into(),
        chain_id: CHAIN,
        nonce: 2,
        allowances,
        read_at_ms: None,
    };
    // Which of the two would be true?
    let twice = wanda.report_settlement(report(vec![standing.clone(), standing.clone()])).await;
    assert_eq!(call_refused(twice).code(), Code::InvalidArgument);
    wanda.report_settlement(report(vec![standing])).await?;
    assert_eq!(scene.outcome(&payouts, &approve(2, 1_000)).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_limit_in_usd_needs_a_price_that_is_believed() -> Result<(), Failure> {
    let tables = r#"[prices]
stale = "1h"
percent_a_day = 20
[limit.a-day]
keys = ["hot"]
asset = "USD"
window = "20_000 USD / 24h"
"#;
    let scene = Scene::new(BookText { tables: tables.into(), ..BookText::default() }).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "PRICE_MISSING");
    let petra = scene.vault.control(&scene.server, "petra").await?;
    let report = |dollars: u64| ReportPricesRequest {
        prices: vec![ReferencePrice {
            asset: "ETH".into(),
            micro_usd: (dollars * 1_000_000).to_string(),
        }],
    };
    let mut misspelt = report(3_000);
    misspelt.prices[0].asset = "Eth".into();
    let refusal = call_refused(petra.report_prices(misspelt).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    petra.report_prices(report(3_000)).await?;
    let refusal = call_refused(petra.report_prices(report(300)).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "OVER_SHARED_LIMIT");
    // USDC has no price.
    assert_eq!(scene.outcome(&payouts, &transfer(1, 1)).await, "PRICE_MISSING");
    let journal = scene.journal().await?;
    assert_eq!(journal.count("priced"), 1);
    Ok(())
}

#[tokio::test]
async fn a_freeze_stops_typed_data_as_it_stops_everything() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    signed(sign(&scene, &payouts, &permit(&scene, 1, 0)).await);
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let all = portcullis_client::wire::freeze_scope::Scope::All(true);
    sam.freeze(all, "drill").await?;
    for nonce in [0, 1] {
        let refusal = refused(sign(&scene, &payouts, &permit(&scene, 1, nonce)).await);
        assert_eq!(said(&refusal), (Code::FailedPrecondition, "FROZEN"));
    }
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}
