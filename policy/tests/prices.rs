//! Reference prices: how old they may be, and who may tell them.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::Address;
use portcullis_policy::money::Amount;
use portcullis_policy::record::{Priced, Record};
use portcullis_policy::time::{Interval, Millis};
use support::parts::{FEES, HEAD, codes, eth, key_head, narrows};
use support::tx::Tx;
use support::{Ask, Vault};

const ONE: Address = Address::repeat_byte(0x11);
const HOUR: u64 = 3_600_000;

fn book(stale: &str, percent: u64) -> String {
    format!(
        "{HEAD}{}native = {{ to = \"{ONE:#x}\", per_tx = \"50 ETH\", window = \"unlimited\" }}\n\
         {FEES}[limit.worth]\nkeys = [\"hot\"]\nasset = \"USD\"\nwindow = \"9_000 USD / 24h\"\n\
         [prices]\nstale = \"{stale}\"\npercent_a_day = {percent}\n",
        key_head()
    )
}

fn priced(by: &str, dollars: u128) -> Priced {
    let prices = [("ETH".to_owned(), Amount::from(dollars * 1_000_000))].into();
    Priced { by: by.parse().unwrap(), prices }
}

fn pay(ether: u64) -> Ask {
    Ask::of(&Tx { value: eth(ether), to: Some(ONE), ..Tx::default() })
}

#[test]
fn a_price_grows_old_in_time_that_may_have_passed_and_is_not_sure_to_have() {
    let mut vault = Vault::new(&book("1h", 20));
    vault.write(Record::Priced(priced("petra", 1_000)));
    let down = |millis| Interval { possible: Millis(vault.now.possible.0 + millis), ..vault.now };
    let (just, stale) = (down(HOUR - 1), down(HOUR));
    // The process was down: sure time goes on from the last record, the wall clock went on.
    vault.now = just;
    vault.restart();
    assert_eq!(codes(&mut vault, &pay(8)), [""; 0]);
    vault.now = stale;
    vault.restart();
    assert_eq!(codes(&mut vault, &pay(8)), ["PRICE_MISSING"]);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn another_bound_on_how_far_a_price_moves_is_wider_in_either_direction() {
    // Moved less far, it stays low while the market rises: what is counted in USD gains room.
    assert!(!narrows(&book("24h", 50), &book("24h", 5)));
    assert!(!narrows(&book("24h", 5), &book("24h", 50)));
    assert!(narrows(&book("24h", 50), &book("23h", 50)));
    assert!(!narrows(&book("23h", 50), &book("24h", 50)));
}

#[test]
fn prices_told_by_somebody_who_is_no_pricer_are_found_by_the_verifier() {
    let mut vault = Vault::new(&book("1h", 20));
    vault.write(Record::Priced(priced("petra", 1_000)));
    assert!(vault.verify().discrepancies.is_empty());
    vault.write(Record::Priced(priced("olga", 1_000)));
    let found = vault.verify().discrepancies;
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("prices reported by somebody who may not"), "{found:?}");
}
