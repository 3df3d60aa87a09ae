//! A journal explains itself: what a live writer wrote is repeated without a discrepancy, and
//! whatever is changed in it is noticed.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, U256};
use portcullis_policy::finding::Reason;
use portcullis_policy::id::{ChainId, DecisionNumber, Sequence};
use portcullis_policy::money::{Account, Amount, Asset};
use portcullis_policy::record::{Actor, Asked, Entry, Record, RecordedInput, SignedRecord};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;
use portcullis_policy::verify::Verifier;
use proptest::prelude::*;
use support::tx::{Tx, transfer};
use support::{Ask, CALLER, Said, Vault, key, verify};

const BOOK: &str = include_str!("books/replay.toml");

const USDC: Address = Address::repeat_byte(0xaa);

fn pay(nonce: u64, ether: u64) -> Tx {
    let value = U256::from(ether) * U256::from(10).pow(U256::from(18));
    Tx { nonce, value, max_fee: U256::from(1_000_000_000), ..Tx::default() }
}

fn eth(nonce: u64, ether: u64) -> Ask {
    Ask::of(&pay(nonce, ether))
}

fn usdc(nonce: u64, units: u64) -> Ask {
    let data = transfer(Address::repeat_byte(0x11), units * 1_000_000);
    Ask::of(&Tx { nonce, to: Some(USDC), gas: 100_000, data, ..pay(nonce, 0) })
}

fn reserved(said: Said) -> DecisionNumber {
    let Said::Reserved(number) = said else { panic!("{said:?}") };
    number
}

#[track_caller]
fn explains_itself(vault: &Vault) {
    let report = vault.verify();
    assert_eq!(report.discrepancies, []);
    assert_eq!(report.size, u64::try_from(vault.entries.len()).unwrap());
}

// What crashes leave behind, one by one.

#[test]
fn a_denial_that_counted_what_a_crash_lost_is_named_and_not_called_wrong() {
    let mut vault = Vault::new(BOOK);
    reserved(vault.ask(&eth(0, 5)));
    assert!(vault.sign(&eth(1, 5)).is_err());
    let denied = *vault.verify().not_repeated.first().unwrap();
    assert_eq!(denied, vault.state.head());
    vault.restart();
    vault.sign(&eth(1, 5)).unwrap();
    let report = vault.verify();
    assert_eq!((report.not_repeated, report.discrepancies), (vec![denied], vec![]));
}

#[test]
fn a_request_id_held_by_a_lost_request_of_another_key_is_named_too() {
    let mut vault = Vault::new(BOOK);
    reserved(vault.ask(&Ask { name: "r".into(), key: key(2), ..eth(0, 1) }));
    let codes = vault.sign(&Ask { name: "r".into(), ..eth(1, 1) }).unwrap_err();
    assert_eq!(codes, ["REQUEST_ID_REUSED"]);
    vault.restart();
    vault.sign(&Ask { name: "r".into(), ..eth(1, 1) }).unwrap();
    let report = vault.verify();
    assert_eq!((report.not_repeated.len(), report.discrepancies), (1, vec![]));
}

#[test]
fn a_withheld_signature_that_counted_what_a_crash_lost_is_named_too() {
    let mut vault = Vault::new(BOOK);
    let first = reserved(vault.ask(&eth(0, 4)));
    // Its number is in no other record.
    reserved(vault.ask(&eth(1, 5)));
    assert!(
        vault.adopt(
            &BOOK
                .replace("10 ETH / 1h", "8 ETH / 1h")
                .replace("\"8 ETH\", window = [", "\"7 ETH\", window = [")
        )
    );
    let reasons = vault.record(first).unwrap_err();
    assert_eq!(reasons[0].code, "OVER_WINDOW_LIMIT");
    vault.restart();
    assert_eq!(vault.state.last_number(), DecisionNumber(2));
    vault.sign(&eth(1, 5)).unwrap();
    let report = vault.verify();
    assert_eq!((report.not_repeated.len(), report.discrepancies), (1, vec![]));
}

#[test]
fn what_was_open_when_a_process_died_cannot_be_recorded_by_the_next() {
    let mut vault = Vault::new(BOOK);
    let number = reserved(vault.ask(&eth(0, 5)));
    let mut died = vault.clone();
    vault.record(number).unwrap();
    let mut late = vault.entries.last().unwrap().clone();
    died.restart();
    late.seq = died.state.head().next();
    died.entries.push(late);
    assert_ne!(died.verify().discrepancies, []);
}

#[test]
fn a_signature_that_waited_long_is_looked_at_again() {
    let mut vault = Vault::new(BOOK);
    let number = reserved(vault.ask(&eth(0, 4)));
    vault.wait(3_600_001);
    vault.record(number).unwrap();
    explains_itself(&vault);
}

#[test]
fn a_large_input_is_found_in_its_attachment_and_what_is_left_out_is_told() {
    let mut vault = Vault::new(BOOK);
    let large = Tx { data: vec![1; 9_000], ..pay(0, 1) };
    assert!(vault.sign(&Ask::of(&large)).is_err());
    assert_eq!(vault.attachments.len(), 1);
    vault.sign(&eth(0, 1)).unwrap();
    explains_itself(&vault);
    let whole = vault.verify();
    assert_eq!((whole.repeated, whole.withheld), (2, vec![]));
    let at = vault.entries.iter().find(|entry| entry.record.asked().is_some()).unwrap().seq;
    let mut flipped = vault.attachments.clone();
    flipped[0][8_000] ^= 1;
    for attachments in [&[][..], &flipped] {
        let report = verify(&vault.entries, attachments);
        assert_eq!((report.discrepancies, report.withheld), (vec![], vec![at]));
        assert_eq!(report.repeated, 1, "the other one is made again");
    }
}

/// What counted a request that is left out cannot be made again either, and is not called wrong.
#[test]
fn what_counted_an_input_that_is_left_out_is_told_and_not_called_wrong() {
    let mut vault = Vault::new(BOOK);
    let first = reserved(vault.ask(&eth(0, 4)));
    vault.wait(1_000);
    assert!(vault.sign(&eth(1, 9)).is_err(), "over the limit, with what is in flight");
    vault.record(first).unwrap();
    explains_itself(&vault);
    let mut entries = vault.entries.clone();
    signed(&mut entries, 0).asked.input = RecordedInput::TransactionSha256(B256::ZERO);
    let report = verify(&entries, &[]);
    assert_eq!(report.discrepancies, []);
    assert_eq!((report.withheld.len(), report.not_repeated.len(), report.repeated), (1, 1, 0));
}

// Any life of a vault.

#[derive(Clone, Debug)]
enum Step {
    Ask { token: bool, key: u8, nonce: u64, units: u64, name: u8 },
    Decide { nonce: u64, units: u64 },
    Record(prop::sample::Index),
    Fail(prop::sample::Index),
    Wait(u64),
    Freeze(u8),
    Narrow(u8),
    Suppress(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let waits = vec![0, 1, 1_000, 1_800_000, 3_600_000, 86_400_000, 36 * 86_400_000];
    let index = any::<prop::sample::Index>;
    prop_oneof![
        40 => (any::<bool>(), 1_u8..4, 0_u64..4, 0_u64..9, 0_u8..40).prop_map(
            |(token, key, nonce, units, name)| Step::Ask { token, key, nonce, units, name }
        ),
        5 => (0_u64..4, 0_u64..9).prop_map(|(nonce, units)| Step::Decide { nonce, units }),
        40 => index().prop_map(Step::Record),
        5 => index().prop_map(Step::Fail),
        20 => prop::sample::select(waits).prop_map(Step::Wait),
        1 => (0_u8..6).prop_map(Step::Freeze),
        5 => (0_u8..4).prop_map(Step::Narrow),
        3 => (1_u64..9).prop_map(Step::Suppress),
        4 => Just(Step::Restart),
    ]
}

fn scope(which: u8) -> Scope {
    match which {
        0 => Scope::All,
        1 => Scope::Caller(CALLER.parse().unwrap()),
        2 => Scope::Key(key(1)),
        3 => Scope::Key(key(2)),
        4 => Scope::Tag("tag-hot".parse().unwrap()),
        _ => Scope::Tag("tag-cold".parse().unwrap()),
    }
}

/// Books that narrow, unless a narrower one is in force.
fn narrower(vault: &Vault, how: u8) -> String {
    let (from, to) = [
        ("10 ETH / 1h", "9 ETH / 1h"),
        ("30 ETH / 24h", "20 ETH / 24h\", \"25 ETH / 60d"),
        ("above = \"6 ETH\"", "above = \"3 ETH\""),
        ("20 USDC / 24h", "11 USDC / 24h"),
    ][usize::from(how)];
    vault.state.book().text().replace(from, to)
}

fn live(steps: &[Step]) -> Vault {
    let mut vault = Vault::new(BOOK);
    for step in steps {
        let open = vault.open();
        match step {
            Step::Ask { token, key: which, nonce, units, name } => {
                let ask = if *token { usdc(*nonce, *units) } else { eth(*nonce, *units) };
                // Few names, so that some are used twice.
                let name = format!("n{name}");
                vault.ask(&Ask { key: key(*which), name, ..ask });
            }
            Step::Decide { nonce, units } => drop(vault.decide(&eth(*nonce, *units))),
            Step::Record(which) if !open.is_empty() => drop(vault.record(*which.get(&open))),
            Step::Fail(which) if !open.is_empty() => vault.fail(*which.get(&open)),
            Step::Record(_) | Step::Fail(_) => {}
            Step::Wait(millis) => vault.wait(*millis),
            Step::Freeze(which) => vault.freeze("sam", scope(*which)),
            Step::Narrow(how) => {
                let book = narrower(&vault, *how);
                vault.adopt(&book);
            }
            Step::Suppress(count) => vault.suppress(*count),
            Step::Restart => vault.restart(),
        }
    }
    vault
}

fn kinds(vault: &Vault) -> BTreeSet<&'static str> {
    vault.entries.iter().map(|entry| entry.record.kind()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_a_vault_lived_through_is_repeated_from_its_journal(
        steps in prop::collection::vec(step(), 1..120),
        cut in any::<prop::sample::Index>(),
    ) {
        let vault = live(&steps);
        let report = vault.verify();
        prop_assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
        let decided = vault.entries.iter().filter(|entry| entry.record.asked().is_some()).count();
        prop_assert!(usize::try_from(report.repeated).unwrap() <= decided);
        prop_assert!(report.repeated > 0 || decided == report.not_repeated.len());
        // Any prefix of a journal explains itself as well.
        let prefix = &vault.entries[..=cut.index(vault.entries.len())];
        let report = verify(prefix, &vault.attachments);
        prop_assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
    }
}

// Damage.

/// A journal with every kind of record in it, each decision at a time of its own.
fn journal() -> Vault {
    let mut vault = Vault::new(BOOK);
    let sign = |vault: &mut Vault, ask: &Ask| {
        vault.wait(1_000);
        let number = reserved(vault.ask(ask));
        vault.wait(1_000);
        vault.record(number)
    };
    sign(&mut vault, &eth(0, 4)).unwrap();
    sign(&mut vault, &usdc(1, 9)).unwrap();
    vault.wait(1_000);
    vault.sign(&eth(2, 9)).unwrap_err();
    vault.wait(3_600_000);
    assert_eq!(vault.ask(&eth(3, 7)), Said::Parked);
    vault.wait(1_000);
    let failed = reserved(vault.ask(&eth(3, 1)));
    vault.wait(1_000);
    vault.sign(&eth(4, 9)).unwrap_err();
    vault.fail(failed);
    vault.wait(1_000);
    let withheld = reserved(vault.ask(&eth(5, 5)));
    let lasting = reserved(vault.ask(&usdc(6, 1)));
    vault.wait(1_000);
    let narrower = BOOK.replace("above = \"6 ETH\"", "above = \"4.5 ETH\"");
    assert!(vault.adopt(&narrower));
    vault.wait(1_000);
    vault.record(withheld).unwrap_err();
    vault.wait(1_000);
    vault.record(lasting).unwrap();
    vault.suppress(3);
    let lost = reserved(vault.ask(&eth(7, 1)));
    sign(&mut vault, &eth(8, 1)).unwrap();
    vault.wait(1_000);
    vault.restart();
    assert!(lost < vault.state.last_number());
    sign(&mut vault, &eth(0, 4)).unwrap();
    vault.wait(1_000);
    vault.freeze("sam", Scope::Key(key(1)));
    vault.wait(1_000);
    vault.sign(&eth(9, 1)).unwrap_err();
    vault.wait(1_000);
    vault.restart();
    explains_itself(&vault);
    assert_eq!(kinds(&vault).len(), 12);
    vault
}

/// Where the nth record of a kind is.
fn nth(entries: &[Entry], kind: &str, n: usize) -> usize {
    let mut places = (0..entries.len()).filter(|at| entries[*at].record.kind() == kind);
    places.nth(n).unwrap()
}

fn asked(record: &mut Record) -> &mut Asked {
    match record {
        Record::Signed(record) => &mut record.asked,
        Record::Denied(record) => &mut record.asked,
        Record::Parked(record) => &mut record.asked,
        Record::Withheld(record) => &mut record.asked,
        Record::Failed(record) => &mut record.asked,
        Record::Genesis(_)
        | Record::Started(_)
        | Record::KeyIntended(_)
        | Record::KeyCreated(_)
        | Record::CheckpointKeyIntended(_)
        | Record::CheckpointKeyMade(_)
        | Record::Snapshot(_)
        | Record::Adopted(_)
        | Record::Settled(_)
        | Record::Priced(_)
        | Record::Frozen(_)
        | Record::FenceIntended(_)
        | Record::FenceAnswered(_)
        | Record::DestroyAnswered(_)
        | Record::DrainEnded(_)
        | Record::Drilled(_)
        | Record::Suppressed(_)
        | Record::Voted(_)
        | Record::Proposed(_)
        | Record::Executed(_)
        | Record::Withdrawn(_)
        | Record::Suspended(_)
        | Record::RecoveryBegun(_)
        | Record::Recovered(_) => panic!("decides nothing"),
    }
}

fn signed(entries: &mut [Entry], n: usize) -> &mut SignedRecord {
    let at = nth(entries, "signed", n);
    let Record::Signed(signed) = &mut entries[at].record else { panic!() };
    signed
}

/// What is done to a journal that must not go unnoticed.
type Damage = (&'static str, fn(&mut Vec<Entry>));

const DAMAGE: &[Damage] = &[
    ("a smaller charge", |entries| {
        let native = Account { chain: ChainId(1), asset: Asset::Native };
        let mut less = portcullis_policy::money::Charges::default();
        less.add(native, Amount::from(1)).unwrap();
        signed(entries, 0).charge = less;
    }),
    ("a charge more", |entries| {
        let other = Account { chain: ChainId(1), asset: Asset::Token(Address::ZERO) };
        signed(entries, 0).charge.add(other, Amount::from(1)).unwrap();
    }),
    ("another slot", |entries| {
        signed(entries, 0).slot.nonce = Some("1".into());
    }),
    ("a slot in another spelling", |entries| signed(entries, 0).slot.nonce = Some("00".into())),
    ("a repeat that is none", |entries| signed(entries, 1).repeats = Some(Sequence(7))),
    ("a first time that is a repeat", |entries| signed(entries, 4).repeats = None),
    ("another book", |entries| signed(entries, 0).book.0 = B256::ZERO),
    ("another digest", |entries| signed(entries, 0).asked.digest = B256::ZERO),
    ("another key", |entries| signed(entries, 0).asked.by.key = key(2)),
    ("a key that is none", |entries| signed(entries, 0).asked.by.key = key(3)),
    ("another caller", |entries| {
        signed(entries, 0).asked.by.caller = "spiffe://acme/else".parse().unwrap();
    }),
    ("another expected address", |entries| signed(entries, 0).asked.by.expected = USDC),
    ("a request id used before", |entries| {
        let used = signed(entries, 0).asked.by.request.clone();
        signed(entries, 1).asked.by.request = used;
    }),
    ("an input in upper case", |entries| {
        let asked = &mut signed(entries, 0).asked;
        let RecordedInput::Transaction(text) = &asked.input else { panic!() };
        asked.input = RecordedInput::Transaction(text.to_uppercase().replacen("0X", "0x", 1));
    }),
    ("an input flipped in one bit", |entries| {
        let asked = &mut signed(entries, 0).asked;
        let RecordedInput::Transaction(text) = &asked.input else { panic!() };
        // 4 ETH and one wei.
        let flipped = text.replacen("3782dace9d900000", "3782dace9d900001", 1);
        asked.input = RecordedInput::Transaction(flipped);
    }),
    ("a decision before its time", |entries| signed(entries, 0).asked.at.sure.0 -= 2_000),
    ("a decision after its record", |entries| {
        let at = &mut signed(entries, 0).asked.at;
        (at.sure.0, at.possible.0) = (at.sure.0 + 2_000, at.possible.0 + 2_000);
    }),
    ("a decision in the far future", |entries| {
        let at = &mut signed(entries, 0).asked.at;
        (at.sure.0, at.possible.0) = (at.sure.0 + 90_000_000, at.possible.0 + 90_000_000);
    }),
    ("a denial at another time than its record's", |entries| {
        let at = nth(entries, "denied", 0);
        asked(&mut entries[at].record).at.sure.0 -= 500;
    }),
    ("possible time before sure time", |entries| {
        let at = nth(entries, "suppressed", 0);
        entries[at].at.possible.0 = entries[at].at.sure.0 - 1;
    }),
    ("sure time that goes back", |entries| {
        let at = nth(entries, "suppressed", 0);
        entries[at].at.sure = Millis(entries[at].at.sure.0 - 1_001);
    }),
    ("more seen than there was", |entries| {
        let at = nth(entries, "signed", 0);
        let seq = entries[at].seq;
        signed(entries, 0).asked.seen = seq;
    }),
    ("nothing seen, and nothing charged", |entries| {
        let signed = signed(entries, 0);
        signed.asked.seen = Sequence(0);
        signed.charge = portcullis_policy::money::Charges::default();
    }),
    ("a failure that saw nothing", |entries| {
        let at = nth(entries, "failed", 0);
        asked(&mut entries[at].record).seen = Sequence(0);
    }),
    ("two people with one certificate", |entries| {
        let Record::Genesis(genesis) = &mut entries[0].record else { panic!() };
        genesis.people[0].control = genesis.people[1].control.clone();
    }),
    ("less seen", |entries| signed(entries, 1).asked.seen.0 -= 1),
    ("a denial that saw less", |entries| {
        let at = nth(entries, "denied", 2);
        asked(&mut entries[at].record).seen.0 -= 1;
    }),
    ("a decision number used twice", |entries| {
        let number = signed(entries, 0).asked.number;
        signed(entries, 1).asked.number = number;
    }),
    ("a decision number beyond all others", |entries| {
        signed(entries, 0).asked.number = DecisionNumber((1 << 53) - 1);
    }),
    ("decision numbers in another order", |entries| {
        let number = signed(entries, 0).asked.number;
        let other = std::mem::replace(&mut signed(entries, 1).asked.number, number);
        signed(entries, 0).asked.number = other;
    }),
    ("a denial without its reasons", |entries| {
        let at = nth(entries, "denied", 0);
        let Record::Denied(denied) = &mut entries[at].record else { panic!() };
        denied.reasons.clear();
    }),
    ("a denial for another reason", |entries| {
        let at = nth(entries, "denied", 0);
        let Record::Denied(denied) = &mut entries[at].record else { panic!() };
        denied.reasons[0].code = "FROZEN".into();
    }),
    ("a denial that counted less", |entries| {
        let at = nth(entries, "denied", 1);
        let Record::Denied(denied) = &mut entries[at].record else { panic!() };
        assert_eq!(denied.counted.len(), 1);
        denied.counted.clear();
    }),
    ("a denial that counted what was never open", |entries| {
        let at = nth(entries, "denied", 0);
        let Record::Denied(denied) = &mut entries[at].record else { panic!() };
        denied.counted.push(DecisionNumber(1));
    }),
    ("a parked request for other people", |entries| {
        let at = nth(entries, "parked", 0);
        let Record::Parked(parked) = &mut entries[at].record else { panic!() };
        parked.missing = vec!["1 of people".into()];
    }),
    ("a parked request that waits longer", |entries| {
        let at = nth(entries, "parked", 0);
        let Record::Parked(parked) = &mut entries[at].record else { panic!() };
        parked.expires.0 += 1;
    }),
    ("a parked request of another name", |entries| {
        let at = nth(entries, "parked", 0);
        let Record::Parked(parked) = &mut entries[at].record else { panic!() };
        parked.parked = "0".repeat(32);
    }),
    ("a signature withheld for another reason", |entries| {
        let at = nth(entries, "withheld", 0);
        let Record::Withheld(withheld) = &mut entries[at].record else { panic!() };
        withheld.reasons = vec![Reason {
            code: "FROZEN".into(),
            limit: None,
            rule: "not frozen".into(),
            saw: "everything".into(),
        }];
    }),
    ("a signature withheld that counted more", |entries| {
        let at = nth(entries, "withheld", 0);
        let Record::Withheld(withheld) = &mut entries[at].record else { panic!() };
        withheld.counted.push(DecisionNumber(1));
    }),
    ("a withheld signature called signed", |entries| {
        let at = nth(entries, "withheld", 0);
        let template = signed(entries, 0).clone();
        let Record::Withheld(withheld) = &entries[at].record else { panic!() };
        let asked = withheld.asked.clone();
        entries[at].record = Record::Signed(Box::new(SignedRecord { asked, ..template }));
    }),
    ("a denied request called signed", |entries| {
        let at = nth(entries, "denied", 0);
        let template = signed(entries, 0).clone();
        let asked = asked(&mut entries[at].record).clone();
        entries[at].record = Record::Signed(Box::new(SignedRecord { asked, ..template }));
    }),
    ("a request signed after its key was frozen", |entries| {
        let at = nth(entries, "denied", 2);
        let template = signed(entries, 0).clone();
        let asked = asked(&mut entries[at].record).clone();
        entries[at].record = Record::Signed(Box::new(SignedRecord { asked, ..template }));
    }),
    ("a failed request called denied", |entries| {
        let (at, denied) = (nth(entries, "failed", 0), nth(entries, "denied", 0));
        let asked = asked(&mut entries[at].record).clone();
        let Record::Denied(mut denied) = entries[denied].record.clone() else { panic!() };
        denied.asked = asked;
        entries[at].record = Record::Denied(denied);
    }),
    ("a freeze by somebody who may not", |entries| {
        let at = nth(entries, "frozen", 0);
        let Record::Frozen(frozen) = &mut entries[at].record else { panic!() };
        frozen.by = Actor::Person("olga".parse().unwrap());
    }),
    ("a freeze by nobody known", |entries| {
        let at = nth(entries, "frozen", 0);
        let Record::Frozen(frozen) = &mut entries[at].record else { panic!() };
        frozen.by = Actor::Person("mallory".parse().unwrap());
    }),
    ("a freeze of something else", |entries| {
        let at = nth(entries, "frozen", 0);
        let Record::Frozen(frozen) = &mut entries[at].record else { panic!() };
        frozen.scope = Scope::Key(key(2));
    }),
    ("a book by somebody who may not", |entries| {
        let at = nth(entries, "adopted", 0);
        let Record::Adopted(adopted) = &mut entries[at].record else { panic!() };
        adopted.by = "ada".parse().unwrap();
    }),
    ("a book that widens", |entries| {
        let at = nth(entries, "adopted", 0);
        let Record::Adopted(adopted) = &mut entries[at].record else { panic!() };
        adopted.book = adopted.book.replace("30 ETH / 24h", "300 ETH / 24h");
    }),
    ("a book with faults", |entries| {
        let at = nth(entries, "adopted", 0);
        let Record::Adopted(adopted) = &mut entries[at].record else { panic!() };
        adopted.book.push_str("limits = \"none\"");
    }),
    ("a book of another environment", |entries| {
        let at = nth(entries, "adopted", 0);
        let Record::Adopted(adopted) = &mut entries[at].record else { panic!() };
        let named = "version = 1\nenvironment = \"production\"\n";
        adopted.book = adopted.book.replacen("version = 1\n", named, 1);
        assert!(adopted.book.contains("production"));
    }),
    ("a key for another environment", |entries| {
        let at = nth(entries, "key_intended", 0);
        let Record::KeyIntended(intended) = &mut entries[at].record else { panic!() };
        intended.environment = portcullis_policy::record::Environment::Production;
    }),
    ("a key made by somebody who may not", |entries| {
        let at = nth(entries, "key_intended", 0);
        let Record::KeyIntended(intended) = &mut entries[at].record else { panic!() };
        intended.by = "sam".parse().unwrap();
    }),
    ("two keys of one label", |entries| {
        let at = nth(entries, "key_intended", 1);
        let Record::KeyIntended(intended) = &mut entries[at].record else { panic!() };
        intended.label = "hot".parse().unwrap();
    }),
    ("two keys of one address", |entries| {
        let (first, second) = (nth(entries, "key_created", 0), nth(entries, "key_created", 1));
        let Record::KeyCreated(mut created) = entries[first].record.clone() else { panic!() };
        created.key = key(2);
        entries[second].record = Record::KeyCreated(created);
    }),
    ("an address that is not that of its point", |entries| {
        let at = nth(entries, "key_created", 1);
        let Record::KeyCreated(created) = &mut entries[at].record else { panic!() };
        created.address = USDC;
    }),
    ("a point that is cut", |entries| {
        let at = nth(entries, "key_created", 1);
        let Record::KeyCreated(created) = &mut entries[at].record else { panic!() };
        created.point.truncate(64);
    }),
    ("a start that hides what was lost", |entries| {
        let at = nth(entries, "started", 1);
        let Record::Started(started) = &mut entries[at].record else { panic!() };
        assert_eq!(started.lost.len(), 1);
        started.lost.clear();
    }),
    ("a start that lost what was recorded", |entries| {
        let at = nth(entries, "started", 1);
        let Record::Started(started) = &mut entries[at].record else { panic!() };
        started.lost.push(DecisionNumber(1));
    }),
    ("a start of an older process", |entries| {
        let at = nth(entries, "started", 1);
        let Record::Started(started) = &mut entries[at].record else { panic!() };
        started.epoch.0 -= 1;
    }),
    ("a genesis in the middle", |entries| {
        let at = nth(entries, "suppressed", 0);
        entries[at].record = entries[0].record.clone();
    }),
    ("no genesis", |entries| drop(entries.remove(0))),
    ("a genesis of another format", |entries| {
        let Record::Genesis(genesis) = &mut entries[0].record else { panic!() };
        genesis.format += 1;
    }),
    ("nothing at all", Vec::clear),
];

#[test]
fn every_damage_to_a_journal_is_reported() {
    let journal = journal();
    for (what, damage) in DAMAGE {
        let mut entries = journal.entries.clone();
        damage(&mut entries);
        assert!(entries != journal.entries, "{what}: nothing is changed");
        let report = verify(&entries, &journal.attachments);
        assert_ne!(report.discrepancies, [], "{what}");
    }
}

#[test]
fn a_record_that_is_dropped_or_moved_is_noticed_whichever_it_is() {
    let journal = journal();
    let root = journal.verify().root;
    for at in 0..journal.entries.len() {
        let mut dropped = journal.entries.clone();
        dropped.remove(at);
        let report = verify(&dropped, &[]);
        // The last one can only be missed by whoever knows the head.
        let last = at + 1 == journal.entries.len();
        assert!(!report.discrepancies.is_empty() || last, "{at} dropped");
        assert_ne!(report.root, root);
        let mut swapped = journal.entries.clone();
        swapped.swap(at, (at + 1) % journal.entries.len());
        assert_ne!(verify(&swapped, &[]).discrepancies, [], "{at} moved");
    }
}

#[test]
fn a_record_that_is_dropped_and_closed_up_over_is_noticed_if_anything_followed_from_it() {
    let journal = journal();
    for at in 0..journal.entries.len() - 1 {
        let kind = journal.entries[at].record.kind();
        let mut entries = journal.entries.clone();
        let seq = entries.remove(at).seq;
        for entry in &mut entries {
            if entry.seq > seq {
                entry.seq.0 -= 1;
                if let Some(seen) = entry.record.asked().map(|asked| asked.seen) {
                    asked(&mut entry.record).seen.0 -= u64::from(seen >= seq);
                }
                if let Record::Signed(signed) = &mut entry.record
                    && let Some(repeats) = &mut signed.repeats
                {
                    repeats.0 -= u64::from(*repeats > seq);
                }
            }
        }
        // Nothing follows from a count, from a start that lost nothing that was counted, nor from a
        // key that nobody used, nor from the very last decision; the tree's root tells of those.
        let number = journal.entries[at].record.asked().map(|asked| asked.number);
        let last = number == Some(journal.state.last_number());
        let quiet = last || ["suppressed", "started", "key_created"].contains(&kind);
        let noticed = !verify(&entries, &[]).discrepancies.is_empty();
        assert!(noticed || quiet, "{kind} {at}");
    }
}

/// What the head's owner is told of an export: whether it holds up.
fn holds_up(lines: &[Vec<u8>], root: B256) -> bool {
    let mut verifier = Verifier::default();
    lines.iter().for_each(|line| verifier.record(line));
    let report = verifier.finish();
    report.root == root && report.discrepancies.is_empty()
}

#[test]
fn every_change_of_one_byte_is_noticed() {
    let mut vault = Vault::new(BOOK);
    vault.sign(&eth(0, 4)).unwrap();
    vault.sign(&eth(1, 9)).unwrap_err();
    let lines: Vec<Vec<u8>> = vault.entries.iter().map(|entry| entry.encode().unwrap()).collect();
    let root = vault.verify().root;
    assert!(holds_up(&lines, root));
    for at in 0..lines.len() {
        for place in 0..lines[at].len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = lines.clone();
                changed[at][place] ^= flip;
                assert!(!holds_up(&changed, root), "{flip:#x} at {place} of {at}");
            }
        }
    }
}

#[test]
fn a_change_of_what_was_decided_is_noticed_even_without_the_head() {
    let mut vault = Vault::new(BOOK);
    vault.sign(&eth(0, 4)).unwrap();
    let lines: Vec<Vec<u8>> = vault.entries.iter().map(|entry| entry.encode().unwrap()).collect();
    let (signed, before) = lines.split_last().unwrap();
    let text = String::from_utf8(signed.clone()).unwrap();
    // What nobody can compute again: when it was recorded, and a hash of a signature.
    let free = ["{\"at\":", "\"signature_sha256\":", "\"request\":", "\"possible\":"];
    let mut noticed = 0;
    for place in 0..signed.len() {
        let mut changed = signed.clone();
        changed[place] ^= 1;
        let mut verifier = Verifier::default();
        before.iter().for_each(|line| verifier.record(line));
        verifier.record(&changed);
        let fine = verifier.finish().discrepancies.is_empty();
        let within = free.iter().any(|field| {
            text.match_indices(field).any(|(at, _)| (at..at + field.len() + 70).contains(&place))
        });
        assert!(!fine || within, "{place}: {}", &text[place..]);
        noticed += usize::from(!fine);
    }
    assert!(noticed > signed.len() / 2);
}
