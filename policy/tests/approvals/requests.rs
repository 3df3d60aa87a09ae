//! Parked requests: what lets them be signed, and what they say to whoever votes.

use alloy_primitives::U256;
use portcullis_policy::act::{Act, AdoptBook};
use portcullis_policy::record::{Choice, Party, Record, Suspended, Withdrawn};
use portcullis_policy::state::Progress;

use crate::rig::{BOOK, HOUR, approve, cast, id, park, propose, vault, vote};
use crate::support::tx::Tx;
use crate::support::{Ask, Said, Vault, key};

/// A payment at 10 gwei.
pub(crate) fn pay_to(nonce: u64, to: &str, milli_ether: u64) -> Tx {
    Tx {
        nonce,
        max_fee: U256::from(10_000_000_000_u64),
        to: Some(to.parse().unwrap()),
        value: U256::from(milli_ether) * U256::from(10).pow(U256::from(15)),
        ..Tx::default()
    }
}

pub(crate) fn pay(nonce: u64, milli_ether: u64) -> Tx {
    pay_to(nonce, "0x2000000000000000000000000000000000000002", milli_ether)
}

pub(crate) fn ask(nonce: u64, milli_ether: u64) -> Ask {
    Ask::of(&pay(nonce, milli_ether))
}

fn explains_itself(vault: &Vault) {
    let report = vault.verify();
    assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);
}

#[test]
fn two_votes_let_a_parked_request_be_signed_and_the_record_names_them() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    let first = approve(&mut vault, &matter, "alice");
    assert_eq!(vault.ask(&request), Said::Parked);
    let second = approve(&mut vault, &matter, "bob");
    let signed = vault.sign(&request).unwrap();
    let entry = vault.entries.iter().find(|entry| entry.seq == signed).unwrap();
    let Record::Signed(record) = &entry.record else { panic!() };
    assert_eq!(record.votes, [first, second]);
    explains_itself(&vault);
}

#[test]
fn what_was_approved_may_be_asked_for_again_and_at_another_price_within_the_bound_only() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    vault.sign(&request).unwrap();
    // The reply was lost.
    vault.sign(&request).unwrap();
    // A bump of twice the price is what people were told; a wei more is not.
    let bound = pay(0, 5_000);
    let twice = Tx { max_fee: bound.max_fee * U256::from(2), ..bound.clone() };
    vault.sign(&Ask::of(&twice)).unwrap();
    let over = Tx { max_fee: bound.max_fee * U256::from(2) + U256::from(1), ..bound.clone() };
    assert_eq!(vault.ask(&Ask::of(&over)), Said::Parked);
    // Another nonce, value or data is another matter.
    assert_eq!(vault.ask(&ask(1, 5_000)), Said::Parked);
    assert_eq!(vault.ask(&ask(0, 5_001)), Said::Parked);
    explains_itself(&vault);
}

#[test]
fn after_its_time_what_was_approved_is_signed_no_more_and_votes_are_taken_no_more() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    vault.wait(HOUR / 2);
    let late = vote(&vault, &matter, "bob", Choice::Approve);
    assert_eq!(crate::rig::fault(cast(&mut vault, late)), "APPROVAL_EXPIRED");

    let mut vault = crate::rig::vault();
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    vault.wait(HOUR / 2 + HOUR / 6 - 1);
    let mut in_time = vault.clone();
    in_time.sign(&request).unwrap();
    vault.wait(1);
    assert_eq!(vault.ask(&request), Said::Parked);
    explains_itself(&vault);
}

#[test]
fn one_rejection_ends_it_and_whoever_votes_on_the_same_again_is_told() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    let no = vote(&vault, &matter, "carol", Choice::Reject);
    cast(&mut vault, no).unwrap();
    let late = vote(&vault, &matter, "bob", Choice::Approve);
    assert_eq!(crate::rig::fault(cast(&mut vault, late)), "REJECTED");
    assert_eq!(vault.ask(&request), Said::Denied(vec!["REJECTED".into()]));
    let again = park(&mut vault, &ask(1, 5_000));
    let statement = &vault.state.pending().get(&again).unwrap().statement;
    assert!(statement.contains("REJECTED BEFORE by carol"), "{statement}");
    explains_itself(&vault);
}

#[test]
fn somebody_of_security_may_reject_what_they_are_not_asked_about_and_may_not_approve_it() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    let no = vote(&vault, &matter, "sam", Choice::Reject);
    cast(&mut vault, no).unwrap();
    let mut vault = crate::rig::vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    let by_auditor = vote(&vault, &matter, "ada", Choice::Reject);
    assert_eq!(crate::rig::fault(cast(&mut vault, by_auditor)), "VOTER_NOT_ASKED");
}

#[test]
fn a_new_book_parks_anew_and_old_votes_are_void() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    assert!(vault.adopt(&BOOK.replace("100 ETH\", window", "90 ETH\", window")));
    assert_eq!(vault.ask(&request), Said::Parked);
    assert!(vault.state.pending().get(&matter).unwrap().votes.is_empty());
    explains_itself(&vault);
}

#[test]
fn a_book_that_comes_while_the_token_signs_withholds_what_was_approved_under_the_old_one() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    let Said::Reserved(number) = vault.ask(&request) else { panic!() };
    assert!(vault.adopt(&BOOK.replace("100 ETH\", window", "90 ETH\", window")));
    let reasons = vault.record(number).unwrap_err();
    assert_eq!(reasons[0].code, "NOT_APPROVED");
    explains_itself(&vault);
}

#[test]
fn a_suspension_or_a_withdrawal_while_the_token_signs_withholds_it() {
    for what in 0..2 {
        let mut vault = vault();
        let request = ask(0, 5_000);
        let matter = park(&mut vault, &request);
        approve(&mut vault, &matter, "alice");
        approve(&mut vault, &matter, "bob");
        let Said::Reserved(number) = vault.ask(&request) else { panic!() };
        vault.write(if what == 0 {
            let (by, person, reason) = (id("sam"), id("bob"), "lost".into());
            Record::Suspended(Suspended { by, credential: None, person, reason })
        } else {
            let by = Party::Caller(crate::support::CALLER.parse().unwrap());
            Record::Withdrawn(Withdrawn { by, matter: matter.clone() })
        });
        assert_eq!(vault.record(number).unwrap_err()[0].code, "NOT_APPROVED");
        explains_itself(&vault);
    }
}

#[test]
fn approval_does_not_lift_a_limit() {
    let mut vault = vault();
    let (first, second) = (ask(0, 60_000), ask(1, 60_000));
    for request in [&first, &second] {
        let matter = park(&mut vault, request);
        for name in ["alice", "bob", "sam"] {
            approve(&mut vault, &matter, name);
        }
    }
    vault.sign(&first).unwrap();
    assert_eq!(vault.ask(&second), Said::Denied(vec!["OVER_WINDOW_LIMIT".into()]));
    explains_itself(&vault);
}

#[test]
fn a_caller_may_let_only_so_many_wait_and_those_that_were_signed_or_ended_do_not_count() {
    let mut vault = vault();
    let matters: Vec<_> = (0..3).map(|nonce| park(&mut vault, &ask(nonce, 2_000))).collect();
    assert_eq!(vault.ask(&ask(3, 2_000)), Said::Denied(vec!["TOO_MANY_PARKED".into()]));
    // Asked again, one that waits is no other.
    assert_eq!(vault.ask(&ask(2, 2_000)), Said::Parked);
    approve(&mut vault, &matters[0], "alice");
    approve(&mut vault, &matters[0], "bob");
    vault.sign(&ask(0, 2_000)).unwrap();
    park(&mut vault, &ask(3, 2_000));
    let no = vote(&vault, &matters[1], "alice", Choice::Reject);
    cast(&mut vault, no).unwrap();
    park(&mut vault, &ask(4, 2_000));
    vault.wait(HOUR / 2 + HOUR / 6);
    assert_eq!(vault.ask(&ask(5, 2_000)), Said::Parked, "the others have expired");
    explains_itself(&vault);
}

#[test]
fn the_statement_is_printable_ascii_and_says_everything_that_is_signed() {
    let mut vault = vault();
    vault.sign(&ask(0, 900)).unwrap();
    let matter = park(&mut vault, &ask(1, 60_000));
    let statement = vault.state.pending().get(&matter).unwrap().statement.to_string();
    let printable = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
    assert!(statement.chars().all(printable), "{statement}");
    let expected = include_str!("statement.txt");
    if std::env::var_os("PORTCULLIS_REGENERATE").is_some() {
        std::fs::write("tests/approvals/statement.txt", &statement).unwrap();
    }
    assert_eq!(statement, expected, "PORTCULLIS_REGENERATE=1 writes it anew");
}

#[test]
fn somebody_who_looks_like_a_known_recipient_is_called_out() {
    let mut vault = vault();
    let tx = pay_to(0, "0x2000000000000000000000000000000000990002", 2_000);
    let matter = park(&mut vault, &Ask::of(&tx));
    let statement = &vault.state.pending().get(&matter).unwrap().statement;
    assert!(statement.contains("LOOKS LIKE supplier (0x2000"), "{statement}");
    assert!(statement.contains("NEVER PAID BEFORE"), "{statement}");
}

#[test]
fn what_nobody_can_read_is_not_put_before_people() {
    let mut vault = vault();
    let long = Tx { data: vec![1; 9_000], ..pay(0, 5_000) };
    let Said::Denied(codes) = vault.ask(&Ask::of(&long)) else { panic!() };
    assert!(
        codes.contains(&"TOO_LONG_TO_APPROVE".into()) || codes.contains(&"NOT_UNDERSTOOD".into())
    );
}

#[test]
fn whoever_looks_sees_how_far_it_is() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    let look = |vault: &Vault| {
        let waiting = vault.state.pending().get(&matter).unwrap();
        vault.state.outlook(waiting, vault.now).progress
    };
    assert_eq!(look(&vault), Progress::Waiting);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    assert_eq!(look(&vault), Progress::Ready);
    vault.freeze("sam", portcullis_policy::stops::Scope::Key(key(1)));
    assert_eq!(look(&vault), Progress::Refused);
    let mut vault = crate::rig::vault();
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    vault.sign(&request).unwrap();
    let waiting = vault.state.pending().get(&matter).unwrap();
    assert_eq!(vault.state.outlook(waiting, vault.now).progress, Progress::Signed);
}

#[test]
fn a_book_that_widens_takes_people_and_then_holds() {
    let mut vault = vault();
    let wider = BOOK.replace("per_tx = \"100 ETH\"", "per_tx = \"101 ETH\"");
    let act = Act::Adopt(AdoptBook { book: wider.clone() });
    let matter = propose(&mut vault, "olga", act).unwrap();
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "carol");
    assert!(crate::rig::execute(&mut vault, "olga", &matter).is_err(), "the delay is not over");
    vault.wait(60_000);
    crate::rig::execute(&mut vault, "olga", &matter).unwrap();
    assert_eq!(vault.state.book().text(), wider);
    explains_itself(&vault);
}
