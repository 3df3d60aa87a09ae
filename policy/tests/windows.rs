//! The window theorem: what was authorised in any stretch of a window's length never exceeds its
//! limit, whatever comes between a charge and its record. The model that checks it is a list.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use portcullis_policy::decide::Decision;
use portcullis_policy::request::Input;
use proptest::prelude::*;
use support::tx::{Tx, transfer};
use support::{Ask, Said, Vault, key};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const USDC: Address = Address::repeat_byte(0xaa);
const SUPPLIER: Address = Address::repeat_byte(0x11);

/// Windows of the native coin and of USDC, in hours and whole units.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Limits {
    native: Vec<(u64, u64)>,
    usdc: Vec<(u64, u64)>,
}

fn windows(windows: &[(u64, u64)], unit: &str) -> String {
    let windows = windows.iter().map(|(hours, limit)| format!("\"{limit} {unit} / {hours}h\""));
    windows.collect::<Vec<_>>().join(", ")
}

/// Two chains with one coin, and a third with another.
fn book(limits: &Limits) -> String {
    let (native, usdc) = (windows(&limits.native, "ETH"), windows(&limits.usdc, "USDC"));
    let key = |label| {
        format!(
            "[key.{label}]\ncallers = [\"{CALLER}\"]\nchains = [\"main\", \"side\"]\n\
             native = {{ to = \"@supplier\", per_tx = \"unlimited\", window = [{native}] }}\n\
             fees = {{ per_tx = \"unlimited\", window = \"100 ETH / 1h\", \
             max_priority_fee = \"unlimited\", counts_as = \"native\" }}\n\
             rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 0 }}\n\
             token.USDC = {{ to = \"@supplier\", per_tx = \"unlimited\", window = [{usdc}] }}\n"
        )
    };
    format!(
        "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n[chain.side]\nid = 2\n\
         native = \"ETH\"\n[chain.other]\nid = 3\nnative = \"POL\"\n\
         [asset.USDC]\nkind = \"erc20\"\nchain = \"main\"\naddress = \"{USDC}\"\ndecimals = 6\n\
         [address]\nsupplier = \"{SUPPLIER}\"\n[caller.\"{CALLER}\"]\nowners = [\"alan\"]\n{}{}",
        key("hot"),
        key("cold")
    )
}

use support::CALLER;

/// Pays `units` of `asset` (0: ETH, 1: USDC) with a fee of `fee` ETH.
fn pay(chain: u64, nonce: u64, asset: u8, units: u64, fee: u64) -> Ask {
    let ether = |count: u64| U256::from(count) * U256::from(10).pow(U256::from(18));
    let max_fee = ether(fee) / U256::from(100_000);
    let mut tx = Tx { chain, nonce, gas: 100_000, max_fee, ..Tx::default() };
    match asset {
        0 => (tx.to, tx.value) = (Some(SUPPLIER), ether(units)),
        _ => (tx.to, tx.data) = (Some(USDC), transfer(SUPPLIER, units * 1_000_000)),
    }
    Ask::of(&tx)
}

fn eth(nonce: u64, units: u64) -> Ask {
    pay(1, nonce, 0, units, 0)
}

fn limits(native: &[(u64, u64)]) -> Limits {
    Limits { native: native.to_vec(), usdc: vec![(24, 10)] }
}

fn vault(native: &[(u64, u64)]) -> Vault {
    Vault::new(&book(&limits(native)))
}

const OVER: &str = "OVER_WINDOW_LIMIT";

fn refused(said: Result<portcullis_policy::id::Sequence, Vec<String>>) -> bool {
    said == Err(vec![OVER.to_owned()])
}

// Edges, one by one.

#[test]
fn a_limit_can_be_hit_exactly_and_not_passed_by_one_wei() {
    let mut vault = vault(&[(24, 10)]);
    vault.sign(&eth(0, 9)).unwrap();
    let mut tx = Tx { nonce: 1, ..Tx::default() };
    tx.value = U256::from(10).pow(U256::from(18)) + U256::ONE;
    assert!(refused(vault.sign(&Ask::of(&tx))));
    vault.sign(&eth(1, 1)).unwrap();
    tx.value = U256::ONE;
    tx.nonce = 2;
    assert!(refused(vault.sign(&Ask::of(&tx))));
}

#[test]
fn a_burst_on_each_side_of_a_boundary_is_refused() {
    let mut vault = vault(&[(1, 10)]);
    vault.wait(HOUR - 1);
    vault.sign(&eth(0, 10)).unwrap();
    vault.wait(1);
    assert!(refused(vault.sign(&eth(1, 10))));
    vault.wait(HOUR - 2);
    assert!(refused(vault.sign(&eth(1, 1))));
    vault.wait(1);
    vault.sign(&eth(1, 10)).unwrap();
}

#[test]
fn an_open_reservation_does_not_age() {
    let mut vault = vault(&[(1, 10)]);
    let Said::Reserved(number) = vault.ask(&eth(0, 10)) else { panic!() };
    vault.wait(40 * DAY);
    assert!(refused(vault.sign(&eth(1, 1))));
    vault.record(number).unwrap();
    vault.wait(HOUR - 1);
    assert!(refused(vault.sign(&eth(1, 1))));
    vault.wait(1);
    vault.sign(&eth(1, 10)).unwrap();
}

#[test]
fn a_reservation_that_failed_is_free_again() {
    let mut vault = vault(&[(1, 10)]);
    let Said::Reserved(number) = vault.ask(&eth(0, 10)) else { panic!() };
    assert!(refused(vault.sign(&eth(1, 1))));
    vault.fail(number);
    vault.sign(&eth(1, 10)).unwrap();
}

#[test]
fn a_longer_window_adopted_later_sees_what_was_spent_before() {
    let mut vault = vault(&[(24, 10)]);
    vault.sign(&eth(0, 10)).unwrap();
    vault.wait(10 * DAY);
    assert!(vault.adopt(&book(&limits(&[(24, 10), (30 * 24, 12)]))));
    assert!(refused(vault.sign(&eth(1, 3))));
    vault.sign(&eth(1, 2)).unwrap();
    vault.wait(20 * DAY - 1);
    assert!(refused(vault.sign(&eth(2, 1))));
    vault.wait(1);
    vault.sign(&eth(2, 10)).unwrap();
}

#[test]
fn the_native_coin_is_summed_over_all_chains_that_have_it_and_a_token_over_one() {
    let mut vault = vault(&[(24, 10)]);
    vault.sign(&pay(1, 0, 0, 6, 0)).unwrap();
    assert!(refused(vault.sign(&pay(2, 0, 0, 5, 0))));
    let Said::Reserved(_) = vault.ask(&pay(2, 0, 0, 4, 0)) else { panic!() };
    assert!(refused(vault.sign(&pay(1, 1, 0, 1, 0))));
    vault.sign(&pay(1, 1, 1, 10, 0)).unwrap();
    let twice = vault.sign(&pay(1, 2, 1, 1, 0)).unwrap_err();
    assert_eq!(twice, ["TOKEN_OVER_WINDOW_LIMIT"]);
}

#[test]
fn fees_count_as_native_spend_at_their_worst_case() {
    let mut vault = vault(&[(24, 10)]);
    vault.sign(&pay(1, 0, 1, 1, 8)).unwrap();
    assert!(refused(vault.sign(&eth(1, 3))));
    assert!(refused(vault.sign(&pay(1, 1, 0, 1, 2))));
    vault.sign(&pay(1, 1, 0, 1, 1)).unwrap();
}

#[test]
fn each_key_has_a_window_of_its_own() {
    let mut vault = vault(&[(24, 10)]);
    vault.sign(&eth(0, 10)).unwrap();
    vault.sign(&Ask { key: key(2), name: "cold".into(), ..eth(0, 10) }).unwrap();
}

#[test]
fn decisions_that_no_record_tells_of_change_nothing_that_a_restart_would_not_find() {
    let mut live = vault(&[(24, 10)]);
    live.sign(&eth(0, 10)).unwrap();
    live.wait(40 * DAY);
    // Such as a refusal that was only counted.
    drop(live.decide(&eth(1, 11)));
    drop(live.decide(&Ask { key: key(2), ..eth(1, 11) }));
    let mut restarted = live.clone();
    restarted.restart();
    live.write(restarted.entries.last().unwrap().record.clone());
    let longer = book(&limits(&[(24, 10), (60 * 24, 12)]));
    for vault in [&mut live, &mut restarted] {
        assert!(vault.adopt(&longer));
        assert!(refused(vault.sign(&eth(1, 3))));
        vault.sign(&eth(1, 2)).unwrap();
        assert_eq!(vault.verify().discrepancies, []);
    }
}

// The theorem.

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Ask { chain: u64, nonce: u64, asset: u8, units: u64, fee: u64 },
    Record(prop::sample::Index),
    Fail(prop::sample::Index),
    Wait(u64),
    Narrow(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let waits = [1, 59_999, HOUR - 1, HOUR, 5 * HOUR, DAY - 1, DAY, 3 * DAY, 36 * DAY];
    prop_oneof![
        10 => (1_u64..3, 0_u64..5, 0_u8..2, 0_u64..8, 0_u64..3).prop_map(
            |(chain, nonce, asset, units, fee)| {
                let chain = if asset == 1 { 1 } else { chain };
                Step::Ask { chain, nonce, asset, units, fee }
            }
        ),
        10 => any::<prop::sample::Index>().prop_map(Step::Record),
        1 => any::<prop::sample::Index>().prop_map(Step::Fail),
        5 => prop::sample::select(waits.to_vec()).prop_map(Step::Wait),
        1 => (0_u8..6).prop_map(Step::Narrow),
        1 => Just(Step::Restart),
    ]
}

/// Native coin (its fees included), USDC, and fees by themselves: whole units.
type Units = [u64; 3];

type Place = (u64, u64);

/// A request that was allowed.
struct Open {
    place: Place,
    units: Units,
    input: Input,
    repeat: bool,
}

/// Everything that was authorised, as a list; nothing is ever taken out of it.
#[derive(Default)]
struct Model {
    /// Which alternative of a slot was authorised when.
    stamps: Vec<(u64, Place, Units)>,
    open: BTreeMap<u64, Open>,
    /// What is recognised as a repeat, by slot; and when the slot was last stamped.
    known: BTreeMap<Place, (u64, Vec<Input>)>,
    /// How long a slot is remembered, in milliseconds.
    memory: u64,
    /// What was stamped no later than this is forgotten for good.
    forgotten: u64,
}

impl Model {
    fn is_repeat(&self, place: Place, input: &Input, now: u64) -> bool {
        let known = self.known.get(&place);
        known.is_some_and(|(last, known)| {
            last + self.memory > now + HOUR && known.iter().any(|known| known == input)
        })
    }

    /// What a window of the native coin or USDC would hold with this one recorded.
    fn exposure(&self, asked: &Open, asset: usize, (span, since): (u64, u64), now: u64) -> u64 {
        let recent = |at: u64| at + span > now && at > since;
        let stamped = self.stamps.iter().filter(|(at, ..)| recent(*at));
        let stamped = stamped.map(|(_, place, units)| (*place, units[asset]));
        let open = self.open.values().chain([asked]).filter(|open| !open.repeat);
        let open = open.map(|open| (open.place, open.units[asset]));
        let mut slots: BTreeMap<Place, u64> = BTreeMap::new();
        for (place, units) in stamped.chain(open) {
            let most = slots.entry(place).or_default();
            *most = units.max(*most);
        }
        slots.values().sum()
    }

    fn record(&mut self, number: u64, now: u64) {
        let Open { place, units, input, repeat } = self.open.remove(&number).unwrap();
        self.forgotten = self.forgotten.max(now.saturating_sub(self.memory));
        self.known.retain(|_, (last, _)| *last > self.forgotten);
        if repeat {
            return;
        }
        self.stamps.push((now, place, units));
        let (last, known) = self.known.entry(place).or_default();
        *last = now;
        if !known.contains(&input) {
            known.push(input);
            known.drain(..known.len().saturating_sub(16));
        }
    }

    /// The largest sum over any stretch of this length that ends with this stamp, of what is not
    /// older than `since`.
    fn sum_ending_at(&self, last: usize, asset: usize, (span, since): (u64, u64)) -> u64 {
        let end = self.stamps[last].0;
        let mut slots: BTreeMap<Place, u64> = BTreeMap::new();
        for (at, place, units) in &self.stamps[..=last] {
            if at + span > end && *at > since {
                let most = slots.entry(*place).or_default();
                *most = units[asset].max(*most);
            }
        }
        slots.values().sum()
    }
}

/// A vault, the model beside it, and the limits in force at each stamp.
struct Run {
    vault: Vault,
    model: Model,
    limits: Limits,
    in_force: Vec<Limits>,
    /// For windows longer than memory was: what was already forgotten when they were adopted.
    history: BTreeMap<u64, u64>,
}

impl Run {
    fn new() -> Self {
        let limits = Limits { native: vec![(1, 9), (24, 14)], usdc: vec![(1, 8), (24, 12)] };
        let vault = Vault::new(&book(&limits));
        let model = Model { memory: 35 * DAY, ..Model::default() };
        Self { vault, model, limits, in_force: Vec::new(), history: BTreeMap::new() }
    }

    fn now(&self) -> u64 {
        self.vault.now.sure.0
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Ask { chain, nonce, asset, units, fee } => {
                let ask = pay(*chain, *nonce, *asset, *units, *fee);
                let native = if *asset == 0 { units + fee } else { *fee };
                let usdc = if *asset == 1 { *units } else { 0 };
                self.ask(&ask, (*chain, *nonce), [native, usdc, *fee])?;
            }
            Step::Record(which) => self.record(which)?,
            Step::Fail(which) => {
                let open = self.vault.open();
                if !open.is_empty() {
                    let number = *which.get(&open);
                    self.vault.fail(number);
                    self.model.open.remove(&number.0);
                }
            }
            Step::Wait(millis) => self.vault.wait(*millis),
            Step::Narrow(how) => self.narrow(*how),
            Step::Restart => {
                self.vault.restart();
                self.model.open.clear();
            }
        }
        Ok(())
    }

    fn ask(&mut self, ask: &Ask, place: Place, units: Units) -> Result<(), TestCaseError> {
        let now = self.now();
        let repeat = self.model.is_repeat(place, &ask.input, now);
        let asked = Open { place, units, input: ask.input.clone(), repeat };
        let limits = [&self.limits.native, &self.limits.usdc];
        let fits = limits.iter().enumerate().all(|(asset, all)| {
            all.iter().all(|(hours, limit)| {
                let since = self.history.get(hours).copied().unwrap_or(0);
                let window = (hours * HOUR, since);
                // What adds nothing to a window is not refused by it.
                units[asset] == 0 || self.model.exposure(&asked, asset, window, now) <= *limit
            })
        });
        let said = self.vault.ask(ask);
        if let Said::Reserved(number) = said {
            prop_assert!(fits, "allowed beyond the list: {:?}", self.model.stamps);
            self.model.open.insert(number.0, asked);
        } else {
            prop_assert!(!fits, "{said:?}, though the list has room");
        }
        Ok(())
    }

    fn record(&mut self, which: &prop::sample::Index) -> Result<(), TestCaseError> {
        let open = self.vault.open();
        if open.is_empty() {
            return Ok(());
        }
        let number = *which.get(&open);
        let now = self.now();
        if self.vault.record(number).is_err() {
            self.model.open.remove(&number.0);
            return Ok(());
        }
        let stamps = self.model.stamps.len();
        self.model.record(number.0, now);
        if self.model.stamps.len() > stamps {
            self.in_force.push(self.limits.clone());
        }
        Ok(())
    }

    /// Lowers a limit, or adds a longer window.
    fn narrow(&mut self, how: u8) {
        let mut new = self.limits.clone();
        match how {
            0 => new.native[0].1 = new.native[0].1.saturating_sub(2).max(1),
            1 => new.native[1].1 = new.native[1].1.saturating_sub(2).max(1),
            2 => new.usdc[1].1 = new.usdc[1].1.saturating_sub(2).max(1),
            3 => new.native.push((30 * 24, 20)),
            4 => new.usdc.push((7 * 24, 15)),
            _ => new.native.push((60 * 24, 25)),
        }
        new.native.sort_unstable();
        new.native.dedup_by_key(|(hours, _)| *hours);
        new.usdc.dedup_by_key(|(hours, _)| *hours);
        if self.vault.adopt(&book(&new)) {
            let longest = new.native.iter().map(|(hours, _)| hours * HOUR).max().unwrap();
            self.model.memory = self.model.memory.max(longest + DAY);
            for (hours, _) in &new.native {
                self.history.entry(*hours).or_insert(self.model.forgotten);
            }
            self.limits = new;
        }
    }

    fn holds(&self) -> Result<(), TestCaseError> {
        for (last, limits) in self.in_force.iter().enumerate() {
            for (asset, all) in [&limits.native, &limits.usdc].into_iter().enumerate() {
                // A limit may be lowered below what is spent; then nothing may be added.
                let adds = self.model.stamps[last].2[asset] > 0;
                for (hours, limit) in all.iter().filter(|_| adds) {
                    let since = self.history.get(hours).copied().unwrap_or(0);
                    let sum = self.model.sum_ending_at(last, asset, (hours * HOUR, since));
                    prop_assert!(sum <= *limit, "{sum} of {limit} / {hours}h at {last}");
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_stretch_of_a_windows_length_holds_more_than_its_limit(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step)?;
        }
        run.holds()?;
        let report = run.vault.verify();
        prop_assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
    }
}

#[test]
fn the_list_that_checks_would_notice_a_window_that_is_too_full() {
    let mut run = Run::new();
    run.model.stamps = vec![(1, (1, 0), [9, 0, 0]), (HOUR, (1, 1), [1, 0, 0])];
    run.in_force = vec![run.limits.clone(); 2];
    assert!(run.holds().is_err());
    run.model.stamps[1].0 = HOUR + 1;
    assert!(run.holds().is_ok());
}

#[test]
fn what_is_forgotten_between_decision_and_record_was_counted_all_the_same() {
    let mut vault = vault(&[(1, 10)]);
    vault.sign(&eth(0, 10)).unwrap();
    vault.wait(35 * DAY - 1_000);
    // The repeat is forgotten before it is recorded, and then charged anew: so it counts now.
    let Said::Reserved(repeat) = vault.ask(&eth(0, 10)) else { panic!() };
    assert!(refused(vault.sign(&eth(1, 10))));
    vault.wait(2_000);
    vault.record(repeat).unwrap();
    assert!(refused(vault.sign(&eth(1, 10))));
    assert!(matches!(vault.decide(&eth(0, 10)), Decision::Allow(_)));
    assert_eq!(vault.verify().discrepancies, []);
}
