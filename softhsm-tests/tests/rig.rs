//! The rig itself, on trial: a fault that does not strike, a checker that finds nothing or a node
//! that mines anything would make every suite above it worthless.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test"
)]

use alloy_primitives::{Address, B256, U256, U512, keccak256};
use portcullis_softhsm_tests::anvil::{Anvil, CHAIN_ID};
use portcullis_softhsm_tests::curve::{SoftwareKey, address_of, has_low_s, verifies};
use portcullis_softhsm_tests::ledger::{Account, Asset, Holding, Ledger, LedgerError, Limit};
use portcullis_softhsm_tests::probe::{Probe, ProbeError};
use portcullis_softhsm_tests::token::{Through, Token};
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::witness::Witness;

/// A digest by name.
fn digest(name: &str) -> B256 {
    keccak256(name)
}

/// A token behind the fault module, a probe on it, and the point of the key `k` made there.
fn faulty() -> (Token, Probe, Vec<u8>) {
    let token = Token::fresh(Through::Faults).unwrap();
    let mut probe = Probe::start(&token).unwrap();
    let point = probe.generate("k").unwrap();
    (token, probe, point)
}

fn refusal(answer: Result<Vec<u8>, ProbeError>) -> String {
    match answer {
        Err(ProbeError::Refused { text }) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn without_a_script_the_fault_module_only_forwards_and_logs() {
    let (token, mut probe, point) = faulty();
    let signature = probe.sign("k", digest("a")).unwrap();
    assert!(verifies(&point, digest("a"), &signature));
    let faults = token.faults().unwrap();
    assert_eq!(faults.calls("C_Login").unwrap(), 1);
    assert_eq!(faults.calls("C_Sign").unwrap(), 1, "asking for the length is not a signature");
    assert_eq!(faults.returns("C_Sign").unwrap(), [0]);
    assert_eq!(faults.calls("C_GenerateKeyPair").unwrap(), 1);
}

#[test]
fn a_held_signature_comes_when_it_is_released_and_not_before() {
    let (token, mut probe, point) = faulty();
    let faults = token.faults().unwrap();
    faults.set(&["C_Sign hang next 1"]).unwrap();
    probe.begin_sign("k", digest("held")).unwrap();
    faults.wait_for_hangs("C_Sign", 1).unwrap();

    // Only what is named is stuck: another process uses the token while the first is held.
    let mut other = Probe::start(&token).unwrap();
    assert_eq!(other.ask("point k").unwrap(), point);
    assert!(faults.returns("C_Sign").unwrap().is_empty(), "the held call has not returned");

    faults.clear().unwrap();
    assert!(verifies(&point, digest("held"), &probe.answer().unwrap()));
    assert_eq!(faults.returns("C_Sign").unwrap(), [0]);
    assert_eq!(faults.calls("C_Sign").unwrap(), 1);
}

#[test]
fn a_delayed_call_is_forwarded_all_the_same() {
    let (token, mut probe, point) = faulty();
    token.faults().unwrap().set(&["C_SignInit delay 20", "C_Sign delay 20"]).unwrap();
    let start = std::time::Instant::now();
    let signature = probe.sign("k", digest("late")).unwrap();
    // A lower bound that the fault itself promises; it says nothing of the machine.
    assert!(start.elapsed() >= std::time::Duration::from_millis(40));
    assert!(verifies(&point, digest("late"), &signature));
}

#[test]
fn an_error_is_answered_as_often_as_asked_and_the_real_module_is_not_called() {
    let (token, mut probe, point) = faulty();
    let faults = token.faults().unwrap();
    faults.set(&["C_Sign error 0x32 next 1"]).unwrap();
    assert!(refusal(probe.sign("k", digest("a"))).contains("DeviceRemoved"));
    // The operation was left open in the token; the probe has opened a new session since.
    assert!(verifies(&point, digest("a"), &probe.sign("k", digest("a")).unwrap()));
    assert_eq!(faults.returns("C_Sign").unwrap(), [0x32, 0]);
}

#[test]
fn a_lost_answer_has_happened_nevertheless() {
    let (token, mut probe, _) = faulty();
    token.faults().unwrap().set(&["C_GenerateKeyPair lost 0x30 next 1"]).unwrap();
    assert!(refusal(probe.generate("unheard")).contains("DeviceError"));
    let keys = Witness::of(&token).private_keys().unwrap();
    assert!(keys.iter().any(|key| key.label == "unheard"), "{keys:?}");
}

#[test]
fn every_way_to_spoil_a_signature_spoils_it_in_that_way() {
    let (token, mut probe, point) = faulty();
    let faults = token.faults().unwrap();
    let mut spoilt = |fault: &str| {
        faults.set(&[&format!("C_Sign {fault} next 1")]).unwrap();
        probe.sign("k", digest("d")).unwrap()
    };
    for fault in ["wrong-signature", "foreign-signature", "zero-r", "short-signature"] {
        assert!(!verifies(&point, digest("d"), &spoilt(fault)), "{fault}");
    }
    assert_eq!(spoilt("short-signature").len(), 63);
    assert_eq!(spoilt("zero-r")[..32], [0; 32]);
    let foreign = spoilt("foreign-signature");
    let strangers = k256_point_of_the_foreign_key();
    assert!(verifies(&strangers, digest("d"), &foreign));
    let high = spoilt("high-s");
    assert!(verifies(&point, digest("d"), &high) && !has_low_s(&high));
    assert!(verifies(&point, digest("d"), &probe.sign("k", digest("d")).unwrap()), "spent");
}

/// The fault module signs foreign signatures with the scalar 0x4242…42.
fn k256_point_of_the_foreign_key() -> Vec<u8> {
    let key = k256::ecdsa::SigningKey::from_slice(&[0x42; 32]).unwrap();
    key.verifying_key().to_encoded_point(false).as_bytes().to_vec()
}

#[test]
fn the_point_can_be_reported_raw() {
    let (token, mut probe, point) = faulty();
    assert_eq!(probe.ask("point-bytes k").unwrap(), [67]);
    token.faults().unwrap().set(&["C_GetAttributeValue raw-point"]).unwrap();
    assert_eq!(probe.ask("point-bytes k").unwrap(), [65]);
    assert_eq!(probe.ask("point k").unwrap(), point);
}

#[test]
fn a_script_with_a_mistake_fails_every_call() {
    let (token, mut probe, point) = faulty();
    let faults = token.faults().unwrap();
    faults.set(&["C_Sign hagn"]).unwrap();
    assert!(refusal(probe.sign("k", digest("a"))).contains("GeneralError"));
    faults.clear().unwrap();
    // The probe lost its session and could not open another under the faulty script.
    let mut probe = Probe::start(&token).unwrap();
    assert!(verifies(&point, digest("a"), &probe.sign("k", digest("a")).unwrap()));
}

#[test]
fn instant_mode_signs_verifiably_under_the_point_it_reports() {
    let token = Token::fresh(Through::Instant).unwrap();
    let mut probe = Probe::start(&token).unwrap();
    let (a, b) = (probe.generate("a").unwrap(), probe.generate("b").unwrap());
    assert_ne!(a, b, "each key has its own throw-away key");
    for name in ["x", "y", "z"] {
        let signature = probe.sign("a", digest(name)).unwrap();
        assert!(verifies(&a, digest(name), &signature));
        assert!(!verifies(&b, digest(name), &signature));
    }
    // The same key in another process: what a signer pins survives its restart.
    let mut again = Probe::start(&token).unwrap();
    assert_eq!(again.ask("point a").unwrap(), a);
    assert!(verifies(&a, digest("x"), &again.sign("a", digest("x")).unwrap()));
}

#[test]
fn instant_mode_gives_the_nonce_away() {
    // Said loudly in its documentation; here is why it must never sign anything of value.
    let token = Token::fresh(Through::Instant).unwrap();
    let mut probe = Probe::start(&token).unwrap();
    probe.generate("a").unwrap();
    let one = probe.sign("a", digest("x")).unwrap();
    let two = probe.sign("a", digest("y")).unwrap();
    assert_eq!(one[..32], two[..32], "r is the same");
}

#[test]
fn a_private_key_made_by_the_rig_cannot_be_taken_out_and_a_lax_one_can() {
    let token = Token::fresh(Through::Real).unwrap();
    let mut probe = Probe::start(&token).unwrap();
    probe.generate("safe").unwrap();
    probe.ask("generate-extractable lax").unwrap();
    for theft in ["read-out", "wrap-out", "copy-out", "copy"] {
        assert!(!refusal(probe.ask(&format!("{theft} safe"))).is_empty());
        // The same theft succeeds where it is allowed: the refusal above was not an accident.
        probe.ask(&format!("{theft} lax")).unwrap();
    }
    let witness = Witness::of(&token);
    let keys = witness.private_keys().unwrap();
    let safe = keys.iter().find(|key| key.label == "safe").unwrap();
    assert_eq!(safe.usage, ["sign"]);
    assert_eq!(safe.access, ["sensitive", "always sensitive", "never extractable", "local"]);
    assert!(witness.take_out(&safe.id).unwrap().is_empty());
    let lax = keys.iter().find(|key| key.label == "lax").unwrap();
    assert!(lax.access.contains(&"extractable".to_owned()), "{lax:?}");
}

const TOKEN_CONTRACT: Address = Address::repeat_byte(0x70);

/// A transaction of `wei` and 5 tokens, held since `at` (sent) to `at + 10` (received).
fn held(key: &SoftwareKey, kind: Kind, nonce: u64, wei: u64, at: u64) -> Holding {
    let payment = Payment::new(1, nonce, TOKEN_CONTRACT, U256::from(wei))
        .erc20_transfer(Address::repeat_byte(9), U256::from(5));
    let unsigned = payment.unsigned(kind);
    let signature = key.sign(tx::digest(&unsigned));
    Holding { sent_ms: at, received_ms: at + 10, raw: tx::signed(unsigned, signature) }
}

fn native(key: &SoftwareKey, most: u64, window_ms: u64) -> Limit {
    let account = Account { key: key.address(), chain: 1, asset: Asset::Native };
    Limit { account, most: U256::from(most), window_ms }
}

#[test]
fn the_checker_finds_a_planted_overspend_and_passes_a_clean_set() {
    let key = SoftwareKey::named("payer").unwrap();
    let mut holdings: Vec<Holding> = Kind::ALL
        .into_iter()
        .zip(0u64..)
        .map(|(kind, nonce)| held(&key, kind, nonce, 20, nonce * 100))
        .collect();
    let limits = [native(&key, 100, 1_000), native(&key, 40, 200)];
    assert!(Ledger::read(&holdings).unwrap().overspends(&limits).is_empty());

    holdings.push(held(&key, Kind::Eip1559, 5, 1, 450));
    let found = Ledger::read(&holdings).unwrap().overspends(&limits);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].spent, found[0].since_ms), (U512::from(101), 0));
    assert_eq!((found[1].spent, found[1].since_ms), (U512::from(41), 300));
}

#[test]
fn the_checker_counts_a_slot_once_at_its_maximum() {
    let key = SoftwareKey::named("bumper").unwrap();
    let holdings = [
        held(&key, Kind::Eip1559, 7, 30, 0),
        held(&key, Kind::Legacy, 7, 50, 20),
        held(&key, Kind::Eip4844, 8, 1, 40),
    ];
    let ledger = Ledger::read(&holdings).unwrap();
    assert_eq!(ledger.peak(native(&key, 0, 1_000).account, 1_000).0, U512::from(51));
}

#[test]
fn the_checker_never_accuses_across_the_edge_of_a_window() {
    let key = SoftwareKey::named("edge").unwrap();
    let holdings = [held(&key, Kind::Eip1559, 0, 60, 0), held(&key, Kind::Eip1559, 1, 60, 995)];
    let ledger = Ledger::read(&holdings).unwrap();
    // Received at 1,005: it may have been permitted at 1,000, when the first had left the window.
    assert!(ledger.overspends(&[native(&key, 100, 1_000)]).is_empty());
    assert_eq!(ledger.overspends(&[native(&key, 100, 1_006)]).len(), 1);
}

#[test]
fn the_checker_keeps_keys_chains_assets_and_fees_apart() {
    let (a, b) = (SoftwareKey::named("a").unwrap(), SoftwareKey::named("b").unwrap());
    let holdings = [held(&a, Kind::Eip1559, 0, 3, 0), held(&b, Kind::Eip4844, 0, 4, 0)];
    let ledger = Ledger::read(&holdings).unwrap();
    let peak = |key: &SoftwareKey, chain, asset| {
        ledger.peak(Account { key: key.address(), chain, asset }, u64::MAX).0
    };
    assert_eq!(peak(&a, 1, Asset::Native), U512::from(3));
    assert_eq!(peak(&b, 1, Asset::Native), U512::from(4));
    assert_eq!(peak(&a, 2, Asset::Native), U512::ZERO);
    assert_eq!(peak(&a, 1, Asset::Erc20(TOKEN_CONTRACT)), U512::from(5));
    let gas = 100_000u64 * 2_000_000_000;
    assert_eq!(peak(&a, 1, Asset::Fee), U512::from(gas));
    let blob = 131_072u64 * 1_000_000_000;
    assert_eq!(peak(&b, 1, Asset::NativeAndFee), U512::from(gas + blob + 4));
    assert_eq!(ledger.accounts().len(), 8);
}

#[test]
fn the_checker_refuses_what_it_cannot_read() {
    let mut bad = held(&SoftwareKey::named("a").unwrap(), Kind::Eip1559, 0, 3, 0);
    bad.raw.push(0);
    let refused = Ledger::read(&[bad]).unwrap_err();
    assert!(matches!(refused, LedgerError::NotATransaction { index: 0, .. }), "{refused:?}");
}

#[test]
fn a_node_mines_a_software_signed_transaction_of_each_type() {
    let node = Anvil::start().unwrap();
    let key = SoftwareKey::named("node payer").unwrap();
    node.set_balance(key.address(), U256::from(10).pow(U256::from(20))).unwrap();
    let delegator = SoftwareKey::named("delegator").unwrap();
    let to = Address::repeat_byte(0xaa);
    for (kind, number) in Kind::ALL.into_iter().zip(0u64..) {
        let mut payment = Payment::new(CHAIN_ID, number, to, U256::from(1_000));
        payment.authorizations =
            vec![tx::authorization(&delegator, CHAIN_ID, Address::repeat_byte(0xbb), 0)];
        let unsigned = payment.unsigned(kind);
        assert_eq!(keccak256(tx::preimage(&unsigned)), tx::digest(&unsigned));
        let signature = key.sign(tx::digest(&unsigned));
        let raw = tx::for_node(&tx::signed(unsigned, signature)).unwrap();
        let receipt = node.receipt(node.send(&raw).unwrap()).unwrap();
        assert_eq!((receipt.from, receipt.kind), (key.address(), number), "{kind:?}");
        assert!(receipt.succeeded, "{kind:?}");
    }
    assert_eq!(node.balance(to).unwrap(), U256::from(5_000));
}

#[test]
fn a_node_refuses_a_transaction_whose_signature_was_spoilt() {
    let node = Anvil::start().unwrap();
    let (key, other) = (SoftwareKey::named("rich").unwrap(), SoftwareKey::named("poor").unwrap());
    node.set_balance(key.address(), U256::from(10).pow(U256::from(20))).unwrap();
    let payment = Payment::new(CHAIN_ID, 0, Address::repeat_byte(0xaa), U256::from(1_000));
    let unsigned = payment.unsigned(Kind::Eip1559);
    let signature = other.sign(tx::digest(&unsigned));
    node.send(&tx::signed(unsigned, signature)).unwrap_err();
}

#[test]
fn the_address_of_a_token_key_is_that_of_its_signatures() {
    let (_token, mut probe, point) = faulty();
    let unsigned = Payment::new(1, 0, TOKEN_CONTRACT, U256::from(1)).unsigned(Kind::Eip1559);
    let bytes = probe.sign("k", tx::digest(&unsigned)).unwrap();
    let recovered = [false, true].map(|parity| {
        alloy_primitives::Signature::from_bytes_and_parity(&bytes, parity)
            .recover_address_from_prehash(&tx::digest(&unsigned))
            .ok()
    });
    assert!(recovered.contains(&Some(address_of(&point))), "{recovered:?}");
}
