//! Slots: of all transactions of one key, chain and nonce only one can be mined, so they are
//! charged together, at the largest of them in every account.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::{Address, U256};
use portcullis_policy::id::{ChainId, DecisionNumber, Sequence};
use portcullis_policy::ledger::{Place, Slot};
use portcullis_policy::money::{Account, Amount, Asset, Facet, Line};
use portcullis_policy::record::Record;
use portcullis_policy::time::Span;
use support::tx::{Tx, transfer};
use support::{Ask, CALLER, Said, Vault, key};

const DAY: u64 = 86_400_000;
const USDC: Address = Address::repeat_byte(0xaa);
const SUPPLIER: Address = Address::repeat_byte(0x11);

fn vault() -> Vault {
    Vault::new(&format!(
        "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n[chain.side]\nid = 2\n\
         native = \"ETH\"\n[asset.USDC]\nkind = \"erc20\"\nchain = \"main\"\n\
         address = \"{USDC}\"\ndecimals = 6\n[address]\nsupplier = \"{SUPPLIER}\"\n\
         [caller.\"{CALLER}\"]\nowners = [\"alan\"]\n\
         [key.hot]\ncallers = [\"{CALLER}\"]\nchains = [\"main\", \"side\"]\n\
         native = {{ to = \"@supplier\", per_tx = \"10 ETH\", window = \"10 ETH / 24h\" }}\n\
         fees = {{ per_tx = \"10 ETH\", window = \"10 ETH / 24h\", \
         max_priority_fee = \"unlimited\", counts_as = \"native\" }}\n\
         rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 0 }}\n\
         token.USDC = {{ to = \"@supplier\", per_tx = \"unlimited\", \
         window = \"12 USDC / 24h\" }}\n"
    ))
}

fn ether(tenths: u64) -> U256 {
    U256::from(tenths) * U256::from(10).pow(U256::from(17))
}

/// Pays tenths of ETH, with a fee in tenths of ETH.
fn eth(nonce: u64, tenths: u64, fee: u64) -> Ask {
    let max_fee = ether(fee) / U256::from(100_000);
    Ask::of(&Tx { nonce, gas: 100_000, max_fee, value: ether(tenths), ..Tx::default() })
}

fn usdc(nonce: u64, units: u64) -> Ask {
    let data = transfer(SUPPLIER, units * 1_000_000);
    Ask::of(&Tx { nonce, to: Some(USDC), data, ..Tx::default() })
}

/// What is used of the last 24 hours: tenths of ETH, and USDC.
fn used(vault: &mut Vault) -> (Amount, Amount) {
    vault.state.advance(key(1), vault.now);
    let of = |asset| {
        let account = Account { chain: ChainId(1), asset };
        vault
            .state
            .ledger()
            .used(key(1), &account.into(), Span(DAY), vault.now.sure)
            .to_amount_saturating()
    };
    let (native, token) = (of(Asset::Native).units(), of(Asset::Token(USDC)).units());
    let tenths = native / ether(1);
    (Amount::from_units(tenths), Amount::from_units(token / U256::from(1_000_000)))
}

fn counts(tenths: u128, usdc: u128) -> (Amount, Amount) {
    (Amount::from(tenths), Amount::from(usdc))
}

fn reserved(said: Said) -> DecisionNumber {
    let Said::Reserved(number) = said else { panic!("{said:?}") };
    number
}

fn repeats(vault: &Vault) -> Option<Sequence> {
    let Record::Signed(signed) = &vault.entries.last().unwrap().record else { panic!() };
    signed.repeats
}

const OVER: [&str; 1] = ["OVER_WINDOW_LIMIT"];

#[test]
fn one_nonce_that_pays_usdc_or_ether_holds_both() {
    let mut vault = vault();
    vault.sign(&usdc(0, 10)).unwrap();
    vault.sign(&eth(0, 50, 0)).unwrap();
    assert_eq!(used(&mut vault), counts(50, 10));
    assert_eq!(vault.sign(&usdc(1, 3)).unwrap_err(), ["TOKEN_OVER_WINDOW_LIMIT"]);
    assert_eq!(vault.sign(&eth(1, 51, 0)).unwrap_err(), OVER);
    vault.sign(&usdc(1, 2)).unwrap();
    vault.sign(&eth(2, 50, 0)).unwrap();
}

#[test]
fn an_alternative_that_costs_no_more_in_any_account_adds_nothing_to_a_window_that_holds_both() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 40)).unwrap();
    assert_eq!(used(&mut vault), counts(100, 0));
    vault.sign(&eth(0, 50, 40)).unwrap();
    vault.sign(&eth(0, 0, 1)).unwrap();
    assert_eq!(used(&mut vault), counts(100, 0));
    assert_eq!(vault.sign(&eth(1, 1, 0)).unwrap_err(), OVER);
}

#[test]
fn an_alternative_counts_in_full_in_windows_that_the_older_ones_have_left() {
    let mut vault = vault();
    vault.sign(&eth(0, 90, 0)).unwrap();
    vault.wait(2 * DAY);
    vault.sign(&eth(1, 95, 0)).unwrap();
    // Another payment of the same amount to the same nonce would be 18.5 ETH in one day.
    let elsewhere = Tx { gas: 22_000, value: ether(90), ..Tx::default() };
    assert_eq!(vault.sign(&Ask::of(&elsewhere)).unwrap_err(), OVER);
    assert_eq!(vault.sign(&eth(0, 6, 0)).unwrap_err(), OVER);
    // Cancelling it costs a fee, and fits; and so does what was authorised already.
    vault.sign(&eth(0, 0, 5)).unwrap();
    assert_eq!(used(&mut vault), counts(100, 0));
    vault.wait(DAY);
    assert_eq!(used(&mut vault), counts(0, 0));
}

#[test]
fn a_repeat_in_a_window_that_others_filled_meanwhile_adds_nothing() {
    let mut vault = vault();
    vault.sign(&eth(0, 90, 0)).unwrap();
    vault.wait(2 * DAY);
    vault.sign(&eth(1, 100, 0)).unwrap();
    vault.sign(&eth(0, 90, 0)).unwrap();
    assert!(repeats(&vault).is_some());
    assert_eq!(used(&mut vault), counts(100, 0));
}

#[test]
fn what_an_alternative_leaves_standing_leaves_when_the_older_one_does() {
    let mut vault = vault();
    vault.sign(&eth(0, 90, 0)).unwrap();
    vault.wait(DAY / 2);
    vault.sign(&eth(0, 30, 0)).unwrap();
    assert_eq!(used(&mut vault), counts(90, 0));
    vault.wait(DAY / 2);
    assert_eq!(used(&mut vault), counts(30, 0));
    vault.sign(&usdc(0, 1)).unwrap();
    assert_eq!(used(&mut vault), counts(30, 1));
    vault.wait(DAY / 2);
    assert_eq!(used(&mut vault), counts(0, 1));
}

#[test]
fn many_ever_cheaper_alternatives_leave_no_earlier_than_they_may() {
    let mut vault = vault();
    for step in 0..40 {
        vault.sign(&eth(0, 100 - step, 0)).unwrap();
        vault.wait(DAY / 80);
    }
    assert_eq!(used(&mut vault), counts(100, 0));
    vault.wait(DAY / 2);
    let (left, _) = used(&mut vault);
    assert!(left >= Amount::from(61) && left <= Amount::from(100), "{left:?}");
    vault.wait(DAY / 2);
    assert_eq!(used(&mut vault), counts(0, 0));
    assert_eq!(vault.verify().discrepancies, []);
}

#[test]
fn a_digest_asked_for_again_is_charged_once_and_says_which_record_it_repeats() {
    let mut vault = vault();
    let first = vault.sign(&eth(0, 60, 0)).unwrap();
    assert_eq!(repeats(&vault), None);
    let again = Ask { name: "again".into(), ..eth(0, 60, 0) };
    vault.sign(&again).unwrap();
    assert_eq!(repeats(&vault), Some(first));
    vault.restart();
    vault.sign(&eth(0, 60, 0)).unwrap();
    assert_eq!(repeats(&vault), Some(first));
    assert_eq!(used(&mut vault), counts(60, 0));
}

#[test]
fn a_digest_asked_for_again_is_still_checked() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 0)).unwrap();
    vault.freeze("sam", portcullis_policy::stops::Scope::All);
    assert_eq!(vault.sign(&eth(0, 60, 0)).unwrap_err(), ["FROZEN"]);
}

#[test]
fn after_its_memory_a_digest_is_charged_again() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 0)).unwrap();
    vault.wait(34 * DAY);
    vault.sign(&eth(0, 60, 0)).unwrap();
    assert_eq!(used(&mut vault), counts(0, 0));
    vault.wait(DAY);
    vault.sign(&eth(0, 60, 0)).unwrap();
    assert_eq!((repeats(&vault), used(&mut vault)), (None, counts(60, 0)));
    assert_eq!(vault.sign(&eth(1, 50, 0)).unwrap_err(), OVER);
}

#[test]
fn alternatives_in_flight_count_as_their_maximum_and_not_as_their_sum() {
    let mut vault = vault();
    let first = reserved(vault.ask(&eth(0, 60, 0)));
    let second = reserved(vault.ask(&eth(0, 70, 0)));
    let third = reserved(vault.ask(&usdc(0, 12)));
    assert_eq!(vault.sign(&eth(1, 31, 0)).unwrap_err(), OVER);
    assert_eq!(vault.sign(&usdc(1, 1)).unwrap_err(), ["TOKEN_OVER_WINDOW_LIMIT"]);
    let other = reserved(vault.ask(&eth(1, 30, 0)));
    for number in [third, second, first, other] {
        vault.record(number).unwrap();
    }
    assert_eq!(used(&mut vault), counts(100, 12));
}

#[test]
fn an_alternative_that_failed_leaves_what_the_others_hold() {
    let mut vault = vault();
    let small = reserved(vault.ask(&eth(0, 60, 0)));
    let large = reserved(vault.ask(&eth(0, 100, 0)));
    assert_eq!(vault.sign(&eth(1, 40, 0)).unwrap_err(), OVER);
    vault.fail(large);
    assert_eq!(vault.sign(&eth(1, 41, 0)).unwrap_err(), OVER);
    vault.sign(&eth(1, 40, 0)).unwrap();
    vault.record(small).unwrap();
    assert_eq!(used(&mut vault), counts(100, 0));
}

#[test]
fn an_alternative_in_flight_keeps_what_its_slot_holds_from_aging() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 0)).unwrap();
    let bump = reserved(vault.ask(&eth(0, 60, 10)));
    vault.wait(2 * DAY);
    assert_eq!(vault.sign(&eth(1, 31, 0)).unwrap_err(), OVER);
    vault.record(bump).unwrap();
    assert_eq!(used(&mut vault), counts(70, 0));
}

#[test]
fn the_same_nonce_on_another_chain_or_of_another_key_is_another_slot() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 0)).unwrap();
    let side = Tx { chain: 2, value: ether(40), ..Tx::default() };
    vault.sign(&Ask::of(&side)).unwrap();
    let bump = Tx { value: ether(41), ..side };
    assert_eq!(vault.sign(&Ask::of(&bump)).unwrap_err(), OVER);
    let slot = |chain| Slot { key: key(1), chain: ChainId(chain), place: Place::Nonce(0) };
    assert!(vault.state.ledger().held(slot(1)).is_some());
    assert!(vault.state.ledger().held(slot(2)).is_some());
    assert!(vault.state.ledger().held(Slot { key: key(2), ..slot(1) }).is_none());
}

#[test]
fn more_alternatives_than_are_recognised_are_still_charged_once() {
    let mut vault = vault();
    vault.sign(&eth(0, 60, 0)).unwrap();
    for tenths in 0..20 {
        vault.sign(&eth(0, 40 + tenths, 0)).unwrap();
    }
    vault.sign(&Ask { name: "late".into(), ..eth(0, 60, 0) }).unwrap();
    assert_eq!((repeats(&vault), used(&mut vault)), (None, counts(60, 0)));
    assert_eq!(vault.verify().discrepancies, []);
}

#[test]
fn a_second_caller_is_charged_though_the_digest_was_forgotten_meanwhile() {
    let text = vault().state.book().text().to_owned();
    let two = format!("callers = [\"{CALLER}\", \"other\"]");
    let text = text.replace(&format!("callers = [\"{CALLER}\"]"), &two);
    let mut vault = Vault::new(&format!(
        "{text}[caller.other]\nowners = [\"alan\"]\n[limit.each]\nkeys = [\"hot\"]\n\
         asset = \"ETH\"\nper = \"caller\"\nwindow = \"6 ETH / 24h\"\n"
    ));
    let other = |ask: Ask| Ask { caller: "other".into(), name: "x".into(), ..ask };
    vault.sign(&eth(0, 60, 0)).unwrap();
    let Said::Reserved(number) = vault.ask(&other(eth(0, 60, 0))) else { panic!() };
    // So many alternatives that the first is no longer recognised.
    for tenths in 0..17 {
        vault.sign(&eth(0, tenths, 0)).unwrap();
    }
    vault.record(number).unwrap();
    let line = Line {
        facet: Facet::Caller("other".parse().unwrap()),
        account: Account { chain: ChainId(1), asset: Asset::Native },
    };
    vault.state.advance(key(1), vault.now);
    let used = vault.state.ledger().used(key(1), &line, Span(DAY), vault.now.sure);
    assert_eq!(used.to_amount_saturating(), Amount::from_units(ether(60)));
    assert!(vault.sign(&other(eth(1, 1, 0))).is_err());
    assert_eq!(vault.verify().discrepancies, []);
}
