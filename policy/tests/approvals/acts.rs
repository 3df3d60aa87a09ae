//! Thawing, revoking, people, recovery: what takes a quorum, and what a quorum cannot do.

use std::collections::BTreeSet;

use portcullis_policy::act::{
    Act, ActFault, AddCredential, CancelRecovery, DropCredential, Enrol, Govern, Reinstate, Remove,
    Revoke, SetRoles, Thaw,
};
use portcullis_policy::credential::{Credential, Purpose};
use portcullis_policy::governance::{Deed, Governance};
use portcullis_policy::people::Role;
use portcullis_policy::record::{
    Choice, Matter, Party, Record, Recovered, RecoveryBegun, Renewal, Signature, Suspended, Voted,
    Withdrawn,
};
use portcullis_policy::state::{ExecutionFault, ProposalFault, RecoveryFault};
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Millis, Span};

use crate::requests::ask;
use crate::rig::{
    BOOK, HOUR, approve, cast, execute, fault, governance, id, park, pens, propose, requirement,
    vault, vote,
};
use crate::support::people::{PasskeyPen, Pen, person};
use crate::support::{Said, Vault, key};

fn vault_id(vault: &Vault) -> String {
    hex::encode(vault.state.vault().0)
}

/// Proposes as somebody who is not asked, lets these vote, waits, and executes.
pub(crate) fn pass(
    vault: &mut Vault,
    by: &str,
    act: Act,
    voters: &[&str],
) -> Result<(), ExecutionFault> {
    let matter = propose(vault, by, act).unwrap();
    for name in voters {
        approve(vault, &matter, name);
    }
    vault.wait(60_000);
    execute(vault, by, &matter).map(drop)
}

/// A passkey with a counter: one that does not go up was copied, or is an old assertion.
#[test]
fn a_passkey_whose_counter_does_not_go_up_votes_no_more() {
    let mut vault = vault();
    let passkey = PasskeyPen::new("alice");
    let text = statement::enrolment(&vault_id(&vault), &id("alice"), &passkey.credential().id());
    let add = AddCredential {
        credential: passkey.credential(),
        person: id("alice"),
        possession: passkey.sign(&text, 7),
    };
    pass(&mut vault, "olga", Act::AddCredential(add), &["sam", "sue", "bob"]).unwrap();
    for (nonce, counter, code) in [
        (0, 8, ""),
        (1, 8, "PASSKEY_COUNTER"),
        (1, 3, "PASSKEY_COUNTER"),
        (1, 0, "PASSKEY_COUNTER"),
        (1, 9, ""),
    ] {
        let matter = match vault.state.waiting(&ask(nonce, 5_000).request(), vault.now) {
            Some((matter, _)) => matter.clone(),
            None => park(&mut vault, &ask(nonce, 5_000)),
        };
        let waiting = vault.state.pending().get(&matter).unwrap();
        let text = statement::ballot(&waiting.statement, Choice::Approve, &id("alice"), "");
        let voted = Voted {
            by: id("alice"),
            choice: Choice::Approve,
            credential: passkey.credential().id(),
            evidence: passkey.sign(&text, counter),
            matter,
            reason: String::new(),
        };
        assert_eq!(fault(cast(&mut vault, voted)), code, "{nonce} {counter}");
    }
    explains_itself(&vault);
}

#[test]
fn a_stop_ends_what_would_thaw_it_and_nobody_thaws_during_a_recovery() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let thaw = || Act::Thaw(Thaw { scope: Scope::All });
    let matter = propose(&mut vault, "olga", thaw()).unwrap();
    for name in ["sam", "sue"] {
        approve(&mut vault, &matter, name);
    }
    vault.wait(60_000);
    // Ready to be done, and then somebody stops it once more.
    vault.freeze("sid", Scope::All);
    assert_eq!(execute(&mut vault, "olga", &matter).unwrap_err(), ExecutionFault::NoMatter);
    let again = propose(&mut vault, "olga", thaw()).unwrap();
    for name in ["sam", "sue"] {
        approve(&mut vault, &again, name);
    }
    vault.wait(60_000);
    let (renewal, pens) = renewal(&vault);
    let whole = begun(&vault, renewal, &pens, 2);
    vault.write(Record::RecoveryBegun(Box::new(whole)));
    assert_eq!(execute(&mut vault, "olga", &again).unwrap_err(), ExecutionFault::NoMatter);
    assert_eq!(refused(&mut vault, thaw()), "RECOVERY_ANNOUNCED");
    explains_itself(&vault);
}

#[test]
fn what_was_proposed_takes_what_its_text_says_also_after_governance_was_eased() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let revoke = Act::Revoke(Revoke { key: key(1) });
    let matter = propose(&mut vault, "olga", revoke).unwrap();
    approve(&mut vault, &matter, "sue");
    let mut eased = governance();
    eased.quorums.insert(Deed::Revoke, requirement("1 of security"));
    pass(&mut vault, "olga", Act::Govern(Govern { governance: eased }), OF_PEOPLE).unwrap();
    assert_eq!(execute(&mut vault, "olga", &matter).unwrap_err().code(), "QUORUM_NOT_MET");
    approve(&mut vault, &matter, "sid");
    execute(&mut vault, "olga", &matter).unwrap();
    explains_itself(&vault);
}

#[test]
fn what_could_not_be_written_down_or_takes_too_long_to_look_at_is_refused_first() {
    let mut vault = vault();
    let mut endless = governance();
    endless.recovery.as_mut().unwrap().delay = Span(1 << 53);
    let act = Act::Govern(Govern { governance: endless });
    assert_eq!(refused(&mut vault, act), "UNGOVERNABLE");
    let mut crowd = person("crowd", &[Role::Approver], &[]);
    crowd.credentials = (0..100).map(|n| Pen::new("crowd", n, true).credential()).collect();
    let enrol = Enrol { person: crowd, possession: Vec::new() };
    assert_eq!(refused(&mut vault, Act::Enrol(enrol)), "CREDENTIALS");
    let (mut renewal, pens) = renewal(&vault);
    let names = (0..40).map(|n| person(&format!("n{n}"), &[Role::Approver], &[]));
    renewal.people.extend(names);
    let whole = begun(&vault, renewal, &pens, 2);
    let fault = vault.state.check_recovery(&whole, vault.now).unwrap_err();
    assert_eq!(fault.code(), "RECOVERY_TOO_LARGE");
}

#[test]
fn a_passkeys_id_is_a_hash_over_its_key_and_origins_too() {
    let one = PasskeyPen::new("alice").credential();
    let Credential::Passkey(inner) = &one else { panic!() };
    let mut elsewhere = inner.clone();
    elsewhere.origins = BTreeSet::from(["https://evil.console.acme".to_owned()]);
    assert_ne!(Credential::Passkey(elsewhere).id(), one.id());
    let mut other = inner.clone();
    let Credential::Passkey(theirs) = PasskeyPen::new("mallory").credential() else { panic!() };
    other.key = theirs.key;
    assert_ne!(Credential::Passkey(other).id(), one.id());
}

/// Everything about people takes two of security and one approver.
pub(crate) const OF_PEOPLE: &[&str] = &["sam", "sue", "alice"];

pub(crate) fn remove(vault: &mut Vault, name: &str) {
    let act = Act::Remove(Remove { person: id(name) });
    pass(vault, "olga", act, OF_PEOPLE).unwrap();
}

pub(crate) fn explains_itself(vault: &Vault) {
    let report = vault.verify();
    assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);
}

pub(crate) fn refused(vault: &mut Vault, act: Act) -> &'static str {
    match propose(vault, "olga", act) {
        Ok(_) => "",
        Err(fault) => fault.code(),
    }
}

#[test]
fn one_person_stops_a_key_and_two_others_start_it_again_after_the_delay() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    let act = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    let matter = propose(&mut vault, "sam", act).unwrap();
    let own = vote(&vault, &matter, "sam", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, own)), "VOTER_NOT_ASKED", "the proposer does not count");
    approve(&mut vault, &matter, "sue");
    let alone = execute(&mut vault, "sam", &matter).unwrap_err();
    assert_eq!(alone.code(), "QUORUM_NOT_MET");
    approve(&mut vault, &matter, "sid");
    vault.wait(59_999);
    assert_eq!(execute(&mut vault, "sam", &matter).unwrap_err().code(), "QUORUM_NOT_MET");
    assert_eq!(vault.ask(&ask(0, 900)), Said::Denied(vec!["FROZEN".into()]));
    vault.wait(1);
    execute(&mut vault, "sam", &matter).unwrap();
    vault.sign(&ask(0, 900)).unwrap();
    explains_itself(&vault);
}

#[test]
fn a_thaw_lifts_exactly_the_stop_that_it_names() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    vault.freeze("sam", Scope::All);
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All }), &["sam", "sue"]).unwrap();
    assert_eq!(vault.ask(&ask(0, 900)), Said::Denied(vec!["FROZEN".into()]));
    assert_eq!(refused(&mut vault, Act::Thaw(Thaw { scope: Scope::All })), "NOT_STOPPED");
    explains_itself(&vault);
}

#[test]
fn a_revoked_key_signs_never_again_whatever_is_thawed_or_adopted() {
    let mut vault = vault();
    let revoke = Act::Revoke(Revoke { key: key(1) });
    assert_eq!(refused(&mut vault, revoke.clone()), "KEY_NOT_FROZEN");
    vault.freeze("sam", Scope::All);
    pass(&mut vault, "olga", revoke.clone(), &["sam", "sue"]).unwrap();
    assert_eq!(refused(&mut vault, revoke), "KEY_REVOKED");
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    assert_eq!(refused(&mut vault, thaw), "KEY_REVOKED");
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All }), &["sam", "sue"]).unwrap();
    let Said::Denied(codes) = vault.ask(&ask(0, 900)) else { panic!() };
    assert!(codes.contains(&"KEY_REVOKED".into()) && codes.contains(&"FROZEN".into()));
    vault.restart();
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Denied(_)));
    explains_itself(&vault);
}

#[test]
fn what_is_not_set_cannot_be_done_and_what_cannot_be_met_cannot_be_proposed() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let mut without = governance();
    without.quorums.remove(&Deed::Thaw);
    let act = Act::Govern(Govern { governance: without });
    pass(&mut vault, "olga", act, OF_PEOPLE).unwrap();
    assert_eq!(refused(&mut vault, Act::Thaw(Thaw { scope: Scope::All })), "NO_QUORUM_SET");
    explains_itself(&vault);
}

#[test]
fn a_governance_that_takes_everybody_or_nobody_is_refused() {
    let mut vault = vault();
    for (deed, need) in [
        (Deed::Thaw, "3 of security"),
        (Deed::Thaw, "4 of security"),
        (Deed::Thaw, "0 of security"),
        (Deed::Thaw, "2 of nobody"),
        (Deed::Thaw, "1 of watcher"),
        (Deed::People, "2 of security + 2 of security"),
        (Deed::Widen, "1 of operator"),
    ] {
        let mut changed = governance();
        let delay = Span(60_000);
        let rule = portcullis_policy::governance::Requirement { delay, ..requirement(need) };
        changed.quorums.insert(deed, rule);
        let act = Act::Govern(Govern { governance: changed });
        assert_eq!(refused(&mut vault, act), "UNGOVERNABLE", "{need}");
    }
    let mut at_once = governance();
    at_once.quorums.insert(Deed::Thaw, requirement("2 of security"));
    let act = Act::Govern(Govern { governance: at_once });
    assert_eq!(refused(&mut vault, act), "UNGOVERNABLE", "a thaw without a delay");
}

#[test]
fn nobody_is_removed_without_whom_the_people_could_not_be_changed() {
    let mut vault = vault();
    remove(&mut vault, "carol");
    remove(&mut vault, "bob");
    // Two approvers are left, and widening takes both: that can wait until somebody is enrolled,
    // and is said.
    let act = Act::Remove(Remove { person: id("dan") });
    let matter = propose(&mut vault, "olga", act).unwrap();
    let text = &vault.state.pending().get(&matter).unwrap().statement;
    assert!(text.contains("after that:\n"), "{text}");
    assert!(text.contains("  widen: 2 of approver can never be met"), "{text}");
    remove(&mut vault, "dan");
    // Without the last of them nobody could be enrolled.
    let act = Act::Remove(Remove { person: id("alice") });
    assert_eq!(refused(&mut vault, act), "UNGOVERNABLE");
}

#[test]
fn a_new_person_holds_what_they_are_enrolled_with_and_then_votes() {
    let mut vault = vault();
    let pen = Pen::new("dora", 1, true);
    let dora = person("dora", &[Role::Approver], std::slice::from_ref(&pen));
    let possession = vec![pen.possession(&vault_id(&vault), &id("dora"))];
    let enrol = Enrol { person: dora.clone(), possession };
    for (what, wrong) in [
        ("nothing signed", Enrol { possession: vec![], ..enrol.clone() }),
        (
            "signed by another key",
            Enrol {
                possession: vec![Pen::new("x", 1, true).possession(&vault_id(&vault), &id("dora"))],
                ..enrol.clone()
            },
        ),
        (
            "signed for another person",
            Enrol {
                possession: vec![pen.possession(&vault_id(&vault), &id("dara"))],
                ..enrol.clone()
            },
        ),
        (
            "signed for another vault",
            Enrol { possession: vec![pen.possession("00", &id("dora"))], ..enrol.clone() },
        ),
        ("an id that is taken", {
            let mut other = enrol.clone();
            other.person.id = id("alice");
            other
        }),
        ("a certificate that is taken", {
            let mut other = enrol.clone();
            other.person.control = "spiffe://acme/people/alice".into();
            other
        }),
        ("a service's certificate", {
            let mut other = enrol.clone();
            other.person.control = crate::support::CALLER.into();
            other
        }),
        ("a credential that is taken", {
            let mut other = enrol.clone();
            other.person.credentials = vec![pens("alice")[0].credential()];
            other
        }),
        ("no role", {
            let mut other = enrol.clone();
            other.person.roles.clear();
            other
        }),
    ] {
        assert!(!refused(&mut vault, Act::Enrol(wrong)).is_empty(), "{what}");
    }
    pass(&mut vault, "olga", Act::Enrol(enrol), OF_PEOPLE).unwrap();
    // Dora votes where governance asks her role. The book's groups are the book's.
    let wider = BOOK.replace("per_tx = \"100 ETH\"", "per_tx = \"101 ETH\"");
    let act = Act::Adopt(portcullis_policy::act::AdoptBook { book: wider });
    let matter = propose(&mut vault, "olga", act).unwrap();
    let voted = crate::rig::vote_with(&vault, &matter, "dora", &pen, Choice::Approve);
    cast(&mut vault, voted).unwrap();
    explains_itself(&vault);
}

#[test]
fn a_suspended_vote_comes_back_by_a_quorum_only_and_anybody_may_suspend_their_own() {
    let mut vault = vault();
    let suspend = |by: &str, whom: &str| Suspended {
        by: id(by),
        credential: None,
        person: id(whom),
        reason: "lost".into(),
    };
    let said = |vault: &Vault, by, whom| vault.state.check_suspension(&suspend(by, whom));
    assert_eq!(said(&vault, "alice", "bob").unwrap_err().code(), "ROLE_MISSING");
    vault.write(Record::Suspended(suspend("bob", "bob")));
    assert_eq!(said(&vault, "sam", "bob").unwrap_err().code(), "NOTHING_TO_SUSPEND");
    vault.write(Record::Suspended(suspend("sue", "sid")));
    assert_eq!(said(&vault, "sid", "sam").unwrap_err().code(), "ROLE_MISSING");
    let back = Reinstate { credential: None, person: id("sid") };
    pass(&mut vault, "olga", Act::Reinstate(back), OF_PEOPLE).unwrap();
    let back = Reinstate { credential: None, person: id("bob") };
    pass(&mut vault, "olga", Act::Reinstate(back.clone()), OF_PEOPLE).unwrap();
    assert_eq!(refused(&mut vault, Act::Reinstate(back)), "NOT_SUSPENDED");
    let matter = park(&mut vault, &ask(0, 5_000));
    approve(&mut vault, &matter, "bob");
    explains_itself(&vault);
}

#[test]
fn a_suspended_person_of_security_still_stops_things() {
    let mut vault = vault();
    let (by, person, reason) = (id("sue"), id("sam"), "away".into());
    vault.write(Record::Suspended(Suspended { by, credential: None, person, reason }));
    vault.freeze("sam", Scope::All);
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Denied(_)));
    explains_itself(&vault);
}

#[test]
fn credentials_and_roles_change_by_quorum() {
    let mut vault = vault();
    let pen = Pen::new("alice", 3, true);
    let add = AddCredential {
        credential: pen.credential(),
        person: id("alice"),
        possession: pen.possession(&vault_id(&vault), &id("alice")),
    };
    let of_people = &["sam", "sue", "bob"];
    pass(&mut vault, "olga", Act::AddCredential(add.clone()), of_people).unwrap();
    assert_eq!(refused(&mut vault, Act::AddCredential(add)), "TAKEN");
    let old = pens("alice")[0].credential().id();
    let drop = DropCredential { credential: old, person: id("alice") };
    pass(&mut vault, "olga", Act::DropCredential(drop), &["sam", "sue", "bob"]).unwrap();
    let matter = park(&mut vault, &ask(0, 5_000));
    let voted = vote(&vault, &matter, "alice", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, voted)), "CREDENTIAL_UNKNOWN");
    let voted = crate::rig::vote_with(&vault, &matter, "alice", &pen, Choice::Approve);
    cast(&mut vault, voted).unwrap();
    let roles = BTreeSet::from([Role::Auditor, Role::Approver]);
    let set = SetRoles { person: id("ada"), roles };
    pass(&mut vault, "olga", Act::SetRoles(set.clone()), &["sam", "sue", "bob"]).unwrap();
    assert_eq!(refused(&mut vault, Act::SetRoles(set)), "NO_CHANGE");
    explains_itself(&vault);
}

#[test]
fn a_proposal_is_taken_back_by_whoever_made_it_and_nobody_makes_too_many() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let act = Act::Thaw(Thaw { scope: Scope::All });
    let matter = propose(&mut vault, "olga", act.clone()).unwrap();
    let by = |name: &str| Withdrawn { by: Party::Person(id(name)), matter: matter.clone() };
    assert!(!vault.state.may_withdraw(&by("sam"), vault.now));
    let caller = Party::Caller(crate::support::CALLER.parse().unwrap());
    let theirs = Withdrawn { by: caller, matter: matter.clone() };
    assert!(!vault.state.may_withdraw(&theirs, vault.now));
    let mut later = vault.clone();
    later.wait(2 * HOUR);
    assert!(!later.state.may_withdraw(&by("olga"), later.now), "it waits no longer");
    vault.write(Record::Withdrawn(by("olga")));
    assert_eq!(execute(&mut vault, "olga", &matter).unwrap_err(), ExecutionFault::NoMatter);
    for _ in 0..8 {
        propose(&mut vault, "olga", act.clone()).unwrap();
    }
    let ninth = propose(&mut vault, "olga", act);
    assert_eq!(ninth.unwrap_err(), ProposalFault::TooMany(id("olga")));
    explains_itself(&vault);
}

#[test]
fn a_new_book_ends_votes_to_thaw_and_not_votes_to_revoke() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let thaw = propose(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All })).unwrap();
    let revoke = propose(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) })).unwrap();
    for matter in [&thaw, &revoke] {
        for name in ["sam", "sue"] {
            approve(&mut vault, matter, name);
        }
    }
    assert!(vault.adopt(&BOOK.replace("per_tx = \"100 ETH\"", "per_tx = \"99 ETH\"")));
    vault.wait(60_000);
    assert_eq!(execute(&mut vault, "olga", &thaw).unwrap_err(), ExecutionFault::NoMatter);
    execute(&mut vault, "olga", &revoke).unwrap();
    explains_itself(&vault);
}

#[test]
fn an_execution_that_names_other_votes_or_comes_too_early_is_found() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    let act = Act::Thaw(Thaw { scope: Scope::All });
    pass(&mut vault, "olga", act, &["sam", "sue"]).unwrap();
    let at = vault.entries.iter().position(|entry| entry.record.kind() == "executed").unwrap();
    let mut fewer = vault.entries.clone();
    let Record::Executed(executed) = &mut fewer[at].record else { panic!() };
    executed.votes.pop();
    assert!(!crate::support::verify(&fewer, &[]).discrepancies.is_empty());
    let mut early = vault.entries.clone();
    early[at].at = early[at - 1].at;
    assert!(!crate::support::verify(&early, &[]).discrepancies.is_empty());
}

pub(crate) fn renewal(vault: &Vault) -> (Renewal, Vec<Pen>) {
    let names = ["nora", "nils", "nina", "noel", "nell"];
    let pens: Vec<Pen> = names.iter().map(|name| Pen::new(name, 1, true)).collect();
    let roles = [Role::Security, Role::Approver, Role::Operator];
    let people = names.iter().zip(&pens);
    let people = people.map(|(name, pen)| person(name, &roles, std::slice::from_ref(pen)));
    let mut fresh: Governance = governance();
    fresh.recovery = None;
    let renewal = Renewal {
        expires: Millis(vault.now.possible.0 + 24 * HOUR),
        governance: fresh,
        people: people.collect(),
        reason: "everybody lost everything".into(),
    };
    (renewal, pens)
}

pub(crate) fn begun(vault: &Vault, renewal: Renewal, pens: &[Pen], safes: u8) -> RecoveryBegun {
    let text = statement::recovery(&vault_id(vault), &renewal);
    let safes = (0..safes).map(|n| Pen::new("safe", n, true));
    let signatures = safes.chain(pens.iter().cloned()).map(|pen| Signature {
        credential: pen.credential().id(),
        evidence: pen.sign(Purpose::Recovery, &text),
    });
    RecoveryBegun { signatures: signatures.collect(), renewal }
}

#[test]
fn recovery_replaces_the_people_after_its_delay_with_everything_stopped_and_once() {
    let mut vault = vault();
    let (renewal, pens) = renewal(&vault);
    let whole = begun(&vault, renewal.clone(), &pens, 2);
    for (what, wrong) in [
        ("one safe", begun(&vault, renewal.clone(), &pens, 1)),
        ("a new person who did not sign", begun(&vault, renewal.clone(), &pens[1..], 2)),
    ] {
        let fault = vault.state.check_recovery(&wrong, vault.now).unwrap_err();
        assert_eq!(fault, RecoveryFault::Signatures { need: 2 }, "{what}");
    }
    let seq = vault.write(Record::RecoveryBegun(Box::new(whole.clone())));
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Denied(_)), "everything is stopped");
    vault.wait(3 * 24 * HOUR - 1);
    let early = vault.state.check_recovered(seq, vault.now).unwrap_err();
    assert_eq!(early.code(), "RECOVERY_TOO_EARLY");
    vault.wait(1);
    vault.write(Record::Recovered(Recovered { begun: seq }));
    assert!(vault.state.people().get(&id("sam")).is_none());
    assert!(vault.state.people().may(&id("nora"), &[Role::Security]));
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Denied(_)), "and stays so");
    // What they signed stands in the journal for everybody, and is worth nothing any more.
    assert!(vault.state.check_recovery(&whole, vault.now).is_err());
    explains_itself(&vault);
}

#[test]
fn a_recovery_is_called_off_by_the_people_and_its_statement_is_spent() {
    let mut vault = vault();
    let (renewal, pens) = renewal(&vault);
    let whole = begun(&vault, renewal, &pens, 2);
    let seq = vault.write(Record::RecoveryBegun(Box::new(whole.clone())));
    pass(&mut vault, "olga", Act::CancelRecovery(CancelRecovery {}), OF_PEOPLE).unwrap();
    vault.wait(4 * 24 * HOUR);
    assert_eq!(vault.state.check_recovered(seq, vault.now), Err(RecoveryFault::NotAnnounced));
    let mut fresh = crate::rig::vault();
    assert!(fresh.state.check_recovery(&whole, fresh.now).is_ok());
    fresh.write(Record::RecoveryBegun(Box::new(whole.clone())));
    pass(&mut fresh, "olga", Act::CancelRecovery(CancelRecovery {}), OF_PEOPLE).unwrap();
    assert_eq!(fresh.state.check_recovery(&whole, fresh.now), Err(RecoveryFault::Expired));
    explains_itself(&fresh);
}

#[test]
fn recovery_credentials_vote_on_nothing() {
    let mut vault = vault();
    let matter: Matter = park(&mut vault, &ask(0, 5_000));
    let safe = Pen::new("safe", 0, true);
    let voted = crate::rig::vote_with(&vault, &matter, "alice", &safe, Choice::Approve);
    assert_eq!(fault(cast(&mut vault, voted)), "CREDENTIAL_UNKNOWN");
    let Credential::Ssh(_) = safe.credential() else { panic!() };
    let act = Act::Revoke(Revoke { key: key(9) });
    assert_eq!(propose(&mut vault, "olga", act).unwrap_err().code(), "KEY_UNKNOWN");
    assert!(matches!(ActFault::NoRecovery.code(), "NO_RECOVERY"));
}
