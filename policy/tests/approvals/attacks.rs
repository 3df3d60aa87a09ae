//! Votes that must not count.

use portcullis_policy::book::Book;
use portcullis_policy::credential::{Evidence, Purpose};
use portcullis_policy::record::{Choice, Genesis, Record, Suspended, Voted};
use portcullis_policy::state::{State, Unfoldable};
use portcullis_policy::statement;

use crate::requests::{ask, pay};
use crate::rig::{
    BOOK, HOUR, approve, cast, fault, genesis, id, park, pens, vault, vote, vote_with,
};
use crate::support::people::Pen;
use crate::support::tx::Tx;
use crate::support::{Ask, CALLER, Said, Vault};

#[test]
fn a_vote_for_one_request_is_none_for_another() {
    let mut vault = vault();
    let first = park(&mut vault, &ask(0, 5_000));
    let second = park(&mut vault, &ask(1, 5_000));
    let mut voted = vote(&vault, &first, "alice", Choice::Approve);
    voted.matter = second;
    assert_eq!(fault(cast(&mut vault, voted)), "EVIDENCE_WRONG_SIGNATURE");
}

#[test]
fn a_vote_for_a_request_is_none_for_the_same_request_parked_anew() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    let voted = vote(&vault, &matter, "alice", Choice::Approve);
    vault.wait(HOUR);
    let again = park(&mut vault, &ask(0, 5_000));
    assert_eq!(again, matter, "the name is the same");
    assert_eq!(fault(cast(&mut vault, voted)), "EVIDENCE_WRONG_SIGNATURE");
}

#[test]
fn a_yes_is_no_no_and_one_persons_vote_nobody_elses() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    let yes = vote(&vault, &matter, "alice", Choice::Approve);
    let no = Voted { choice: Choice::Reject, ..yes.clone() };
    assert_eq!(fault(cast(&mut vault, no)), "EVIDENCE_WRONG_SIGNATURE");
    let by_bob = Voted { by: id("bob"), ..yes.clone() };
    assert_eq!(fault(cast(&mut vault, by_bob)), "CREDENTIAL_UNKNOWN");
    let with_bobs =
        Voted { by: id("bob"), credential: pens("bob")[0].credential().id(), ..yes.clone() };
    assert_eq!(fault(cast(&mut vault, with_bobs)), "SSHSIG_OTHER_KEY");
    let reasoned = Voted { reason: "fine".into(), ..yes };
    assert_eq!(fault(cast(&mut vault, reasoned)), "EVIDENCE_WRONG_SIGNATURE");
}

#[test]
fn a_vote_in_one_vault_is_none_in_another() {
    let mut one = vault();
    let mut genesis: Genesis = genesis();
    genesis.salt = alloy_primitives::B256::repeat_byte(1);
    let text = statement::genesis(&genesis);
    let all = crate::rig::PEOPLE.iter().flat_map(|(name, _)| pens(name));
    genesis.signatures = all
        .map(|pen| portcullis_policy::record::Signature {
            credential: pen.credential().id(),
            evidence: pen.sign(Purpose::Genesis, &text),
        })
        .collect();
    let mut other = Vault::begin(genesis);
    let request = ask(0, 5_000);
    let (here, there) = (park(&mut one, &request), park(&mut other, &request));
    assert_eq!(here, there);
    let voted = vote(&one, &here, "alice", Choice::Approve);
    assert_eq!(fault(cast(&mut other, voted)), "EVIDENCE_WRONG_SIGNATURE");
}

#[test]
fn neither_the_owner_of_the_caller_nor_somebody_in_no_group_nor_a_stranger_votes() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    // Olga is of treasury, and owns the service.
    for (name, code) in [("olga", "VOTER_NOT_ASKED"), ("ada", "VOTER_NOT_ASKED")] {
        let voted = vote(&vault, &matter, name, Choice::Approve);
        assert_eq!(fault(cast(&mut vault, voted)), code, "{name}");
    }
    let stranger = vote(&vault, &matter, "mallory", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, stranger)), "VOTER_UNKNOWN");
}

#[test]
fn one_person_with_two_credentials_is_counted_once() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    for pen in &pens("alice") {
        let voted = vote_with(&vault, &matter, "alice", pen, Choice::Approve);
        cast(&mut vault, voted).unwrap();
    }
    assert_eq!(vault.ask(&request), Said::Parked);
    let again = vote(&vault, &matter, "alice", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, again)), "VOTED_ALREADY");
    approve(&mut vault, &matter, "bob");
    vault.sign(&request).unwrap();
}

#[test]
fn a_vote_of_somebody_who_was_suspended_between_vote_and_count_does_not_count() {
    for credential in [None, Some(pens("bob")[0].credential().id())] {
        let mut vault = vault();
        let request = ask(0, 5_000);
        let matter = park(&mut vault, &request);
        approve(&mut vault, &matter, "alice");
        approve(&mut vault, &matter, "bob");
        let (by, person, reason) = (id("sam"), id("bob"), "lost".into());
        vault.write(Record::Suspended(Suspended { by, credential, person, reason }));
        assert_eq!(vault.ask(&request), Said::Parked);
        let late = vote(&vault, &matter, "bob", Choice::Approve);
        assert!(!fault(cast(&mut vault, late)).is_empty());
        approve(&mut vault, &matter, "carol");
        vault.sign(&request).unwrap();
        assert!(vault.verify().discrepancies.is_empty());
    }
}

#[test]
fn a_quorum_met_by_somebody_who_was_removed_meanwhile_is_not_met() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    crate::acts::remove(&mut vault, "bob");
    assert_eq!(vault.ask(&request), Said::Parked);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn an_approval_is_used_for_one_slot_also_after_a_crash() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    let Said::Reserved(_) = vault.ask(&request) else { panic!() };
    vault.restart();
    // The signature was lost with the process: it is made again, in the same slot.
    vault.sign(&request).unwrap();
    vault.restart();
    assert_eq!(vault.ask(&ask(1, 5_000)), Said::Parked, "another slot asks anew");
    vault.sign(&request).unwrap();
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn another_caller_cannot_use_what_was_approved_for_the_first() {
    let mut genesis = genesis();
    let caller = "[caller.\"spiffe://acme/other\"]\nowners = [\"olga\"]\n[key.hot]";
    genesis.book = BOOK.replace("[key.hot]", caller).replace(
        "callers = [\"spiffe://acme/payouts\"]",
        "callers = [\"spiffe://acme/payouts\", \"spiffe://acme/other\"]",
    );
    assert!(Book::parse(&genesis.book).is_ok());
    let text = statement::genesis(&genesis);
    let all = crate::rig::PEOPLE.iter().flat_map(|(name, _)| pens(name));
    genesis.signatures = all
        .map(|pen| portcullis_policy::record::Signature {
            credential: pen.credential().id(),
            evidence: pen.sign(Purpose::Genesis, &text),
        })
        .collect();
    let mut vault = Vault::begin(genesis);
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    let other = Ask { caller: "spiffe://acme/other".into(), ..request.clone() };
    assert_eq!(vault.ask(&other), Said::Parked);
    vault.sign(&request).unwrap();
}

#[test]
fn a_vote_on_a_fee_beyond_the_bound_or_on_another_recipient_is_none_for_it() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    let fine = pay(0, 5_000);
    for other in [
        Tx { max_fee: fine.max_fee * alloy_primitives::U256::from(3), ..fine.clone() },
        Tx { gas: fine.gas * 3, ..fine.clone() },
        Tx {
            to: Some("0x2000000000000000000000000000000000990002".parse().unwrap()),
            ..fine.clone()
        },
        Tx { value: fine.value + alloy_primitives::U256::from(1), ..fine.clone() },
        Tx { kind: 1, ..fine.clone() },
    ] {
        let said = vault.clone().ask(&Ask::of(&other));
        assert_eq!(said, Said::Parked, "{other:?}");
    }
}

#[test]
fn a_file_key_counts_only_where_the_book_says_so_and_the_strongest_tier_takes_verification() {
    let mut vault = vault();
    let request = ask(0, 60_000);
    let matter = park(&mut vault, &request);
    for name in ["alice", "bob"] {
        approve(&mut vault, &matter, name);
    }
    // Touched, and not verified: enough for the lower tier, not for the higher.
    let touched = Pen { flags: 1, ..pens("sam")[0].clone() };
    let voted = vote_with(&vault, &matter, "sam", &touched, Choice::Approve);
    cast(&mut vault, voted).unwrap();
    assert_eq!(vault.ask(&request), Said::Parked);
    approve(&mut vault, &matter, "sue");
    vault.sign(&request).unwrap();
}

#[test]
fn a_signature_without_presence_or_in_another_namespace_is_no_vote() {
    let mut vault = vault();
    let matter = park(&mut vault, &ask(0, 5_000));
    let untouched = Pen { flags: 0, ..pens("alice")[0].clone() };
    let voted = vote_with(&vault, &matter, "alice", &untouched, Choice::Approve);
    assert_eq!(fault(cast(&mut vault, voted)), "EVIDENCE_NO_PRESENCE");
    let waiting = vault.state.pending().get(&matter).unwrap();
    let text = statement::ballot(&waiting.statement, Choice::Approve, &id("alice"), "");
    for namespace in ["git", "file", "enrolment.v1@portcullis", "genesis.v1@portcullis"] {
        let evidence = pens("alice")[0].sign_in(namespace, &text);
        let good = vote(&vault, &matter, "alice", Choice::Approve);
        let voted = Voted { evidence, ..good };
        assert_eq!(fault(cast(&mut vault, voted)), "SSHSIG_NAMESPACE", "{namespace}");
    }
}

#[test]
fn a_vote_forged_into_the_journal_is_found_by_the_start_and_by_the_verifier() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    approve(&mut vault, &matter, "bob");
    vault.sign(&request).unwrap();
    let at = vault.entries.iter().position(|entry| entry.record.kind() == "voted").unwrap();
    let mut forged = vault.entries.clone();
    let Record::Voted(voted) = &mut forged[at].record else { panic!() };
    let Evidence::Ssh(armored) = &mut voted.evidence else { panic!() };
    let other = Pen::new("mallory", 1, true);
    let Evidence::Ssh(theirs) = other.sign(Purpose::Vote, "text") else { panic!() };
    *armored = theirs;
    let (first, rest) = forged.split_first().unwrap();
    let mut state = State::genesis(first).unwrap();
    let folded = rest.iter().try_for_each(|entry| state.apply(entry));
    assert!(matches!(folded, Err(Unfoldable::Vote(..))), "{folded:?}");
    assert!(!crate::support::verify(&forged, &[]).discrepancies.is_empty());
}

#[test]
fn a_signed_record_that_leaves_votes_out_or_invents_them_is_found() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    let votes = ["alice", "bob"].map(|name| approve(&mut vault, &matter, name));
    vault.sign(&request).unwrap();
    for changed in [vec![], vec![votes[0]], vec![votes[1], votes[0]]] {
        let mut entries = vault.entries.clone();
        let Record::Signed(signed) = &mut entries.last_mut().unwrap().record else { panic!() };
        signed.votes = changed;
        assert!(!crate::support::verify(&entries, &[]).discrepancies.is_empty());
    }
}

#[test]
fn a_statement_in_the_journal_that_says_something_else_is_found() {
    let mut vault = vault();
    park(&mut vault, &ask(0, 5_000));
    let mut entries = vault.entries.clone();
    let Record::Parked(parked) = &mut entries.last_mut().unwrap().record else { panic!() };
    parked.statement = parked.statement.replace("5 ETH", "0.5 ETH");
    assert!(!crate::support::verify(&entries, &[]).discrepancies.is_empty());
}

#[test]
fn a_genesis_that_somebody_has_not_signed_or_signed_in_other_words_is_none() {
    let whole = genesis();
    let entry = |genesis: &Genesis| portcullis_policy::record::Entry {
        at: crate::support::at(crate::support::DAWN),
        record: Record::Genesis(genesis.clone()),
        seq: portcullis_policy::id::Sequence(1),
    };
    assert!(State::genesis(&entry(&whole)).is_ok());
    let mut short = whole.clone();
    short.signatures.remove(3);
    assert!(matches!(State::genesis(&entry(&short)), Err(Unfoldable::Governance(..))));
    let mut changed = whole.clone();
    changed.book = changed.book.replace("per_tx = \"100 ETH\"", "per_tx = \"1000 ETH\"");
    assert!(matches!(State::genesis(&entry(&changed)), Err(Unfoldable::Governance(..))));
    let mut elsewhere = whole;
    elsewhere.environment = portcullis_policy::record::Environment::Staging;
    assert!(matches!(State::genesis(&entry(&elsewhere)), Err(Unfoldable::Book(..))));
    elsewhere.book =
        elsewhere.book.replacen("version = 1\n", "version = 1\nenvironment = \"staging\"\n", 1);
    assert!(matches!(State::genesis(&entry(&elsewhere)), Err(Unfoldable::Governance(..))));
}

#[test]
fn the_callers_of_these_tests_are_who_they_should_be() {
    assert_eq!(ask(0, 1).caller, CALLER);
}
