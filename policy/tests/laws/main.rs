//! Laws of the whole vocabulary, over generated books, histories and requests: what a diff calls
//! narrower never allows what the wider book refuses, whatever was signed before; and a larger
//! amount never turns a refusal into an allowance.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod books;
mod images;
#[path = "../support/mod.rs"]
mod support;
mod wishes;

use std::collections::BTreeMap;

use alloy_primitives::U256;
use books::{CHOICES, changes, chosen, near, wide};
use portcullis_policy::book::Book;
use portcullis_policy::decide::Decision;
use portcullis_policy::id::ChainId;
use portcullis_policy::money::{Account, Amount, Asset, Facet};
use portcullis_policy::record::{Priced, Record, Settled, SettledAllowance};
use portcullis_policy::time::Millis;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use support::{Ask, Vault, key};
use wishes::{KINDS, POOL, USD, Wish, wish};

/// What happens in a vault before it is asked.
#[derive(Clone, Debug)]
enum Event {
    Asked(Wish),
    Minutes(u64),
    Mined(u8, u8),
    Priced(u128),
    Restarted,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => wish().prop_map(Event::Asked),
        2 => (1_u64..400).prop_map(Event::Minutes),
        1 => (0_u8..12, 0_u8..9).prop_map(|(nonce, left)| Event::Mined(nonce, left)),
        2 => (900_u128..1_100).prop_map(Event::Priced),
        1 => Just(Event::Restarted),
    ]
}

fn happen(vault: &mut Vault, event: &Event) {
    match event {
        Event::Asked(wish) => drop(vault.sign(&wish.ask(vault.now.sure.0))),
        Event::Minutes(minutes) => vault.wait(minutes * 60_000),
        Event::Mined(nonce, left) => {
            let allowance = SettledAllowance {
                amount: Amount::from(u128::from(*left)),
                spender: POOL,
                token: USD,
            };
            let settled = Settled {
                allowances: vec![allowance],
                by: "wanda".parse().unwrap(),
                chain: ChainId(1),
                key: key(1),
                nonce: nonce.to_string(),
                read_at: (left % 3 > 0)
                    .then(|| Millis(vault.now.sure.0 - u64::from(left % 3) * 60_000)),
            };
            if vault.state.settlements().check(&settled, vault.now).is_ok() {
                vault.write(Record::Settled(settled));
            }
        }
        Event::Priced(price) => {
            let price = |units: u128| Amount::from(price * units);
            let prices =
                [("ETH", 1_000_000), ("USD-A", 1_000_000), ("WETH", 1_000_000), ("NFT", 1)];
            let prices: BTreeMap<String, Amount> =
                prices.map(|(name, units)| (name.to_owned(), price(units))).into();
            let priced = Priced { by: "petra".parse().unwrap(), prices };
            let (rule, now) = (vault.state.book().prices(), vault.now.sure);
            if vault.state.prices().check(rule, &priced, now).is_ok() {
                vault.write(Record::Priced(priced));
            }
        }
        Event::Restarted => vault.restart(),
    }
}

/// 0 refused, 1 shown to people, 2 signed.
fn outcome(vault: &mut Vault, ask: &Ask) -> u8 {
    match vault.decide(ask) {
        Decision::Deny(_) => 0,
        Decision::Park(_) => 1,
        Decision::Allow(_) => 2,
    }
}

/// Everything that can be asked: each kind with several amounts, recipients and slots.
fn probes(vault: &Vault) -> Vec<Ask> {
    let mut all = Vec::new();
    for kind in 0..KINDS {
        for amount in [0, 1, 4, 7] {
            for whom in 0..3 {
                let nonce = (kind + amount) % 12;
                let by_b = (usize::from(kind) + whom) % 2 == 0;
                all.push(Wish { kind, amount, whom, nonce, by_b }.ask(vault.now.sure.0));
            }
        }
    }
    all
}

#[test]
fn every_choice_can_stand_in_a_book_and_every_kind_of_request_is_signed_or_parked_by_some() {
    for (part, choices) in CHOICES.iter().enumerate() {
        for choice in 0..choices.len() {
            // What the registry leaves out, nothing else may name.
            let nameless = [(4, 2), (5, 3), (7, 1), (8, 3)];
            let silent = choices[choice].starts_with("REG no");
            let base = if silent { near(&wide(), &nameless) } else { wide() };
            let text = near(&base, &[(part, choice)]).text();
            Book::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        }
    }
    let mut vault = Vault::new(&wide().text());
    for kind in 0..KINDS {
        let wishes = (0..12).map(|nonce| Wish { kind, amount: 1, whom: 0, nonce, by_b: false });
        let most = wishes.map(|wish| {
            let ask = wish.ask(vault.now.sure.0);
            outcome(&mut vault, &ask)
        });
        assert_eq!(most.max(), Some(if kind == KINDS - 1 { 1 } else { 2 }), "kind {kind}");
    }
}

#[test]
fn the_law_below_is_about_something() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut parsed, mut narrower, mut refuses_more) = (0, 0, 0);
    for _ in 0..400 {
        let pair = (chosen(), changes(), prop::collection::vec(event(), 0..25));
        let (first, changes, history) = pair.new_tree(&mut runner).unwrap().current();
        let texts = [first.text(), near(&first, &changes).text()];
        let [Ok(old), Ok(new)] = [Book::parse(&texts[0]), Book::parse(&texts[1])] else { continue };
        parsed += 1;
        if !old.difference(&new).is_narrowing() {
            continue;
        }
        narrower += 1;
        let mut before = Vault::new(&texts[0]);
        history.iter().for_each(|event| happen(&mut before, event));
        let mut after = before.clone();
        assert!(after.adopt(&texts[1]));
        let probes = probes(&before);
        let less = |ask: &Ask| outcome(&mut after, ask) < outcome(&mut before, ask);
        refuses_more += usize::from(probes.iter().any(less));
    }
    assert!(
        parsed > 300 && narrower > 80 && refuses_more > 20,
        "{parsed} {narrower} {refuses_more}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000, max_shrink_iters: 3_000, ..ProptestConfig::default()
    })]

    #[test]
    fn a_narrower_book_allows_nothing_more_whatever_was_signed_before(
        first in chosen(),
        changes in changes(),
        history in prop::collection::vec(event(), 0..40),
        later in prop::collection::vec(1_u64..200, 0..2),
    ) {
        let texts = [first.text(), near(&first, &changes).text()];
        let [Ok(old), Ok(new)] = [Book::parse(&texts[0]), Book::parse(&texts[1])] else {
            return Ok(());
        };
        if !old.difference(&new).is_narrowing() {
            return Ok(());
        }
        let mut before = Vault::new(&texts[0]);
        history.iter().for_each(|event| happen(&mut before, event));
        let mut after = before.clone();
        prop_assert!(after.adopt(&texts[1]));
        for minutes in later {
            before.wait(minutes * 60_000);
            after.wait(minutes * 60_000);
        }
        for ask in probes(&before) {
            let (was, is) = (outcome(&mut before, &ask), outcome(&mut after, &ask));
            prop_assert!(is <= was, "{was} {is} {ask:?}\n{}\n----\n{}", texts[0], texts[1]);
        }
    }

    #[test]
    fn a_larger_amount_never_turns_a_refusal_into_an_allowance(
        book in chosen(),
        history in prop::collection::vec(event(), 0..40),
        wish in wish(),
        more in 1_u8..6,
    ) {
        let Ok(_) = Book::parse(&book.text()) else {
            return Ok(());
        };
        let mut vault = Vault::new(&book.text());
        for event in history {
            let event = if let Event::Asked(wish) = event {
                Event::Asked(Wish { nonce: wish.nonce & !1, ..wish })
            } else {
                event
            };
            happen(&mut vault, &event);
        }
        // A slot of its own: what was signed before may be signed again, whatever it costs.
        let wish = Wish { nonce: wish.nonce | 1, ..wish };
        let larger = Wish { amount: wish.amount + more, ..wish };
        let now = vault.now.sure.0;
        let (small, large) = (wish.ask(now), larger.ask(now));
        let (small, large) = (outcome(&mut vault, &small), outcome(&mut vault, &large));
        prop_assert!(large <= small, "{small} {large} {wish:?} {larger:?}\n{}", book.text());
        prop_assert!(vault.verify().discrepancies.is_empty());
    }
    #[test]
    fn what_is_mined_gives_no_window_back(
        book in chosen(),
        history in prop::collection::vec(event(), 0..40),
    ) {
        // Without the three words that wait for a watcher.
        let book = near(&book, &[(1, book.0[1] % 3), (3, book.0[3] % 2), (12, 0)]);
        if Book::parse(&book.text()).is_err() {
            return Ok(());
        }
        let mut before = Vault::new(&book.text());
        history.iter().for_each(|event| happen(&mut before, event));
        let mut after = before.clone();
        let mined = after.state.settlements().next(key(1), ChainId(1));
        happen(&mut after, &Event::Mined(u8::try_from(mined).unwrap(), 1));
        prop_assert_eq!(after.entries.len(), before.entries.len() + 1);
        for ask in probes(&before) {
            let (was, is) = (outcome(&mut before, &ask), outcome(&mut after, &ask));
            prop_assert_eq!(is, was, "{:?}\n{}", ask, book.text());
        }
    }

    #[test]
    fn what_is_signed_and_not_known_to_be_mined_never_exceeds_what_the_book_lets_stand(
        history in prop::collection::vec(event(), 0..60),
    ) {
        let book = near(&wide(), &[(1, 3), (2, 2), (3, 3), (12, 2)]);
        let mut vault = Vault::new(&book.text());
        let (mut mined, mut told) = (0_u64, U256::ZERO);
        let (mut slots, mut grants) = (BTreeMap::new(), BTreeMap::new());
        let mut typed: BTreeMap<_, (u64, U256)> = BTreeMap::new();
        for event in history {
            let seen = vault.entries.len();
            happen(&mut vault, &event);
            for entry in &vault.entries[seen..] {
                match &entry.record {
                    Record::Settled(settled) => {
                        mined = settled.nonce.parse().unwrap();
                        told = settled.allowances[0].amount.units();
                        slots.retain(|nonce, _| *nonce >= mined);
                        // Nobody knows what became of a permit since the chain was read.
                        let read = settled.read_at.map_or(0, |read| read.0);
                        grants.retain(|_, (nonce, until, _): &mut (Option<u64>, u64, U256)| {
                            nonce.map_or(*until > read, |nonce| nonce >= mined)
                        });
                    }
                    Record::Signed(signed) if signed.repeats.is_none() => {
                        let nonce = signed.slot.nonce.as_ref();
                        let nonce: Option<u64> = nonce.map(|nonce| nonce.parse().unwrap());
                        let account = |asset| Account { chain: ChainId(1), asset };
                        let of = |asset| signed.charge.of(account(asset)).units();
                        // Permits are good for ten minutes, the last second included.
                        let until = (entry.at.sure.0 / 1_000 + 601) * 1_000;
                        if nonce.is_none() {
                            typed.insert(signed.asked.digest, (until, of(Asset::Token(USD))));
                        }
                        if let Some(nonce) = nonce {
                            prop_assert!(nonce < mined + 8);
                            let costs = [of(Asset::Native), of(Asset::Token(USD))];
                            let held = slots.entry(nonce).or_insert([U256::ZERO; 2]);
                            *held = [held[0].max(costs[0]), held[1].max(costs[1])];
                        }
                        let grant = signed.charge.lines().find(|(line, _)| {
                            matches!(line.facet, Facet::Grant(_))
                        });
                        if let Some((_, amount)) = grant {
                            let held = grants
                                .entry(nonce.map_or_else(|| Err(signed.asked.digest), Ok))
                                .or_insert((nonce, until, U256::ZERO));
                            held.2 = held.2.max(amount.units());
                            let all = grants.values().map(|(_, _, amount)| *amount);
                            let stands = all.fold(told, |sum, amount| sum + amount);
                            prop_assert!(amount == Amount::ZERO || stands <= U256::from(5));
                        }
                    }
                    Record::Genesis(_)
                    | Record::Started(_)
                    | Record::KeyIntended(_)
                    | Record::KeyCreated(_)
                    | Record::CheckpointKeyIntended(_)
                    | Record::CheckpointKeyMade(_)
                    | Record::Snapshot(_)
                    | Record::Adopted(_)
                    | Record::Priced(_)
                    | Record::Frozen(_)
                    | Record::Signed(_)
                    | Record::Denied(_)
                    | Record::Parked(_)
                    | Record::Withheld(_)
                    | Record::Failed(_)
                    | Record::Suppressed(_)
                    | Record::Voted(_)
                    | Record::Proposed(_)
                    | Record::Executed(_)
                    | Record::Withdrawn(_)
                    | Record::Suspended(_)
                    | Record::RecoveryBegun(_)
                    | Record::FenceIntended(_)
                    | Record::FenceAnswered(_)
                    | Record::DestroyAnswered(_)
                    | Record::DrainEnded(_)
                    | Record::Drilled(_)
                    | Record::Recovered(_) => {}
                }
            }
            let sum = |asset: usize| slots.values().fold(U256::ZERO, |sum, held| sum + held[asset]);
            prop_assert!(sum(0) <= U256::from(9) * U256::from(10).pow(U256::from(18)));
            let now = vault.now.sure.0;
            typed.retain(|_, (until, _)| *until > now);
            let permits = typed.values().fold(U256::ZERO, |sum, (_, amount)| sum + *amount);
            prop_assert!(sum(1) + permits <= U256::from(9));
            prop_assert!(typed.values().filter(|(_, amount)| *amount > U256::ZERO).count() <= 8);
        }
    }
}
