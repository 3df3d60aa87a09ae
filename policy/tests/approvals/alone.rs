//! What one person cannot do alone, and what they still can.

use alloy_primitives::{Address, U256};
use portcullis_policy::act::{
    Act, AddCredential, AdoptBook, Enrol, Govern, Reinstate, Remove, Revoke, SetRoles, Thaw,
};
use portcullis_policy::credential::{Credential, Purpose};
use portcullis_policy::governance::{Deed, Governance};
use portcullis_policy::people::Role;
use portcullis_policy::record::{Choice, Record, Signature, Suspended, Voted};
use portcullis_policy::state::ExecutionFault;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;

use crate::acts::{explains_itself, pass, refused, remove};
use crate::requests::ask;
use crate::rig::{
    BOOK, approve, cast, execute, fault, genesis_of, governance, id, park, pens, propose,
    requirement, vault, vote,
};
use crate::support::people::{PasskeyPen, Pen, person};
use crate::support::{Said, Vault, key};

fn without_recovery() -> Governance {
    Governance { recovery: None, ..governance() }
}

fn suspend(by: &str, whom: &str, pen: Option<&Pen>) -> Suspended {
    Suspended {
        by: id(by),
        credential: pen.map(|pen| pen.credential().id()),
        person: id(whom),
        reason: "lost".into(),
    }
}

/// Suspends, and says what is wrong with it; "" if nothing is.
fn try_to(vault: &mut Vault, suspended: Suspended) -> &'static str {
    match vault.state.check_suspension(&suspended) {
        Ok(()) => {
            vault.write(Record::Suspended(suspended));
            ""
        }
        Err(fault) => fault.code(),
    }
}

#[test]
fn one_person_of_security_cannot_make_themselves_indispensable() {
    let mut vault = Vault::begin(genesis_of(without_recovery(), pens));
    // Two of security change the people, and there are three: without Sue it would take Sam.
    assert_eq!(try_to(&mut vault, suspend("sam", "sue", None)), "LAST_OF_A_QUORUM");
    for name in ["alice", "bob", "carol"] {
        assert_eq!(try_to(&mut vault, suspend("sam", name, None)), "", "{name}");
    }
    assert_eq!(try_to(&mut vault, suspend("sam", "dan", None)), "LAST_OF_A_QUORUM");
    // Whoever lost their own key says so, and the other two are enough to let it count again.
    assert_eq!(try_to(&mut vault, suspend("sue", "sue", None)), "");
    assert_eq!(try_to(&mut vault, suspend("sam", "sid", None)), "LAST_OF_A_QUORUM");
    assert_eq!(try_to(&mut vault, suspend("sid", "sid", None)), "LAST_OF_A_QUORUM");
    let back = Reinstate { credential: None, person: id("sue") };
    pass(&mut vault, "olga", Act::Reinstate(back), &["sam", "sid", "dan"]).unwrap();
    explains_itself(&vault);
}

#[test]
fn suspending_what_is_strong_enough_one_by_one_leaves_enough_to_undo_it() {
    let both = |name: &str| vec![Pen::new(name, 1, true), Pen::new(name, 2, false)];
    let mut vault = Vault::begin(genesis_of(without_recovery(), both));
    for (name, code) in [
        ("sue", "LAST_OF_A_QUORUM"),
        ("alice", ""),
        ("bob", ""),
        ("carol", ""),
        ("dan", "LAST_OF_A_QUORUM"),
    ] {
        // The key in a file stays, and counts for nothing here.
        let one = suspend("sam", name, Some(&both(name)[0]));
        assert_eq!(try_to(&mut vault, one), code, "{name}");
    }
    assert_eq!(try_to(&mut vault, suspend("sam", "dan", Some(&both("dan")[1]))), "");
    let back = Reinstate { credential: Some(both("bob")[0].credential().id()), person: id("bob") };
    pass(&mut vault, "olga", Act::Reinstate(back), &["sue", "sid", "dan"]).unwrap();
    explains_itself(&vault);
}

#[test]
fn whoever_agreed_may_think_better_of_it() {
    let mut vault = vault();
    let request = ask(0, 5_000);
    let matter = park(&mut vault, &request);
    approve(&mut vault, &matter, "alice");
    let again = vote(&vault, &matter, "alice", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, again)), "VOTED_ALREADY");
    let no = vote(&vault, &matter, "alice", Choice::Reject);
    assert_eq!(fault(cast(&mut vault, no)), "");
    let late = vote(&vault, &matter, "bob", Choice::Approve);
    assert_eq!(fault(cast(&mut vault, late)), "REJECTED");
    assert!(matches!(vault.ask(&request), Said::Denied(_)));
    explains_itself(&vault);
}

#[test]
fn a_key_that_was_started_again_is_not_ended_by_votes_from_before() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    let revoke = propose(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) })).unwrap();
    for name in ["sam", "sid"] {
        approve(&mut vault, &revoke, name);
    }
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    pass(&mut vault, "olga", thaw, &["sue", "sid"]).unwrap();
    // A drill next month stops it again, and whoever kept the old votes would end it alone.
    vault.freeze("sam", Scope::Key(key(1)));
    assert_eq!(execute(&mut vault, "alice", &revoke).unwrap_err(), ExecutionFault::NoMatter);
    explains_itself(&vault);
}

#[test]
fn a_key_that_stays_stopped_by_another_stop_may_still_be_ended() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    vault.freeze("sam", Scope::All);
    let revoke = propose(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) })).unwrap();
    for name in ["sam", "sid"] {
        approve(&mut vault, &revoke, name);
    }
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All }), &["sue", "sid"]).unwrap();
    execute(&mut vault, "alice", &revoke).unwrap();
    explains_itself(&vault);
}

#[test]
fn what_could_no_longer_be_done_is_said_and_somebody_can_always_change_the_people() {
    let mut vault = Vault::begin(genesis_of(without_recovery(), pens));
    let nothing = Act::Govern(Govern { governance: Governance::default() });
    assert_eq!(refused(&mut vault, nothing), "UNGOVERNABLE");
    let mut less = without_recovery();
    less.quorums.remove(&Deed::Thaw);
    less.quorums.insert(Deed::Revoke, requirement("1 of security"));
    let matter = propose(&mut vault, "olga", Act::Govern(Govern { governance: less })).unwrap();
    let text = &vault.state.pending().get(&matter).unwrap().statement;
    for line in [
        "it would no longer be possible:\n  thaw: nobody could\n",
        "  revoke: 2 of security, within 1h",
        "  revoke: 1 of security, within 1h",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn an_enrolment_needs_a_name_that_a_certificate_can_hold_and_what_a_role_less_leaves_is_said() {
    let mut vault = vault();
    for control in ["", " ", "a b", "spiffe://acme/\u{202e}dora", &"x".repeat(256)] {
        let pen = Pen::new("dora", 1, true);
        let mut dora = person("dora", &[Role::Approver], std::slice::from_ref(&pen));
        dora.control = control.into();
        let vault_id = hex::encode(vault.state.vault().0);
        let text = statement::enrolment(&vault_id, &id("dora"), &pen.credential().id());
        let possession = vec![pen.sign(Purpose::Enrolment, &text)];
        let enrol = Act::Enrol(Enrol { person: dora, possession });
        assert_eq!(refused(&mut vault, enrol), "UNGOVERNABLE", "{control:?}");
    }
    // Whoever is to go goes, and what is missing then is said.
    let auditor = SetRoles { person: id("olga"), roles: [Role::Auditor].into() };
    let matter = propose(&mut vault, "alice", Act::SetRoles(auditor)).unwrap();
    let text = &vault.state.pending().get(&matter).unwrap().statement;
    for line in [
        "act: give olga the roles auditor instead of operator\n",
        "after that:\n  nobody has the role operator: nobody could make a key\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn what_was_rejected_or_signed_does_not_wait_as_well() {
    let mut vault = vault();
    let first = park(&mut vault, &ask(0, 5_000));
    let no = vote(&vault, &first, "alice", Choice::Reject);
    assert_eq!(fault(cast(&mut vault, no)), "");
    let second = park(&mut vault, &ask(1, 5_000));
    for name in ["alice", "bob"] {
        approve(&mut vault, &second, name);
    }
    vault.sign(&ask(1, 5_000)).unwrap();
    let statement = |vault: &Vault, matter: &_| {
        vault.state.pending().get(matter).unwrap().statement.to_string()
    };
    let third = park(&mut vault, &ask(2, 5_000));
    assert!(!statement(&vault, &third).contains("as well"), "{}", statement(&vault, &third));
    let fourth = park(&mut vault, &ask(3, 5_000));
    assert!(
        statement(&vault, &fourth).contains("1 other request"),
        "{}",
        statement(&vault, &fourth)
    );
}

#[test]
fn one_secret_is_never_behind_two_people_whatever_its_credentials_are_called() {
    let mut vault = vault();
    let vault_id = hex::encode(vault.state.vault().0);
    let mut add = |who: &str, pen: &Pen| {
        let text = statement::enrolment(&vault_id, &id(who), &pen.credential().id());
        let (credential, possession) = (pen.credential(), pen.sign(Purpose::Enrolment, &text));
        let act = AddCredential { credential, person: id(who), possession };
        refused(&mut vault, Act::AddCredential(act))
    };
    // The point of Bob's security key, as a key in a file: to Alice, and to himself.
    let mut copied = pens("bob").remove(0);
    copied.hardware = false;
    assert_ne!(copied.credential().id(), pens("bob")[0].credential().id());
    assert_eq!(add("alice", &copied), "TAKEN");
    assert_eq!(add("bob", &copied), "TAKEN");

    // One passkey's key under another authenticator's id, for somebody new.
    let Credential::Passkey(mine) = PasskeyPen::new("dora").credential() else { panic!() };
    let mut renamed = mine.clone();
    renamed.id = "ab".repeat(16);
    let (mine, renamed) = (Credential::Passkey(mine), Credential::Passkey(renamed));
    assert_ne!(mine.id(), renamed.id());
    assert!(mine.is_in_the_hand_of(&renamed) && renamed.is_in_the_hand_of(&mine));
    assert!(!mine.is_in_the_hand_of(&PasskeyPen::new("eve").credential()));
    let mut genesis = genesis_of(governance(), pens);
    genesis.people[1].credentials.push(mine);
    genesis.people[2].credentials.push(renamed);
    assert!(portcullis_policy::people::People::new(&genesis.people).is_none());
    // Nor is a recovery credential somebody's own.
    let mut recovery = governance();
    let safe = &mut recovery.recovery.as_mut().unwrap().credentials[0];
    *safe = copied.credential();
    let act = Act::Govern(Govern { governance: recovery });
    assert_eq!(refused(&mut vault, act), "UNGOVERNABLE");
}

/// What an operator would hide, in a book whose reason is harmless: each is told, or refused.
#[test]
fn nothing_that_a_book_changes_is_kept_from_whoever_agrees_to_it() {
    let hidden = Address::repeat_byte(0xee).to_checksum(None);
    let plausible = (1..=6_u8).map(|n| Address::with_last_byte(n).to_checksum(None));
    let listed: Vec<String> =
        plausible.chain([hidden.clone()]).map(|one| format!("    \"{one}\",\n")).collect();
    let list = format!("[list]\nmany = [\n{}]\n[group]", listed.concat());
    let suppliers = BOOK
        .replace("[group]", &list)
        .replace("to = [\"@supplier\", \"@lookalike\"]", "to = [\"@supplier\", \"@many\"]");
    let quoted = format!(":     \"{hidden}\",\n");
    let canary = format!(
        "{BOOK}[key.canary]\ncallers = [\"spiffe://acme/payouts\"]\nchains = [\"ethereum\"]\n\
         native = {{ to = \"anyone\", per_tx = \"unlimited\", window = \"unlimited\" }}\n\
         fees = {{ per_tx = \"unlimited\", window = \"unlimited\", \
         max_priority_fee = \"unlimited\", counts_as = \"native\" }}\n\
         rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 3 }}\n"
    );
    let eased = BOOK.replace("2 of treasury\", expires", "1 of treasury\", expires");
    for (book, lines) in [
        (&suppliers, vec![hidden.as_str(), quoted.as_str(), "+ 8: [list]"]),
        (
            &canary,
            vec![
                "key canary: native added: per_tx unlimited, window unlimited",
                "key canary: native to 0 addresses -> anyone",
                "+ 23: [key.canary]",
                "+ 26: native = { to = \"anyone\", per_tx = \"unlimited\"",
            ],
        ),
        (&eased, vec!["asked for is above 1 ETH, 1 of alice/bob/carol/olga", "= 13: [key.hot]"]),
    ] {
        let mut vault = vault();
        let act = Act::Adopt(AdoptBook { book: book.clone() });
        let matter = propose(&mut vault, "olga", act).unwrap();
        let text = &vault.state.pending().get(&matter).unwrap().statement;
        for line in lines {
            assert!(text.contains(line), "{line}\n{text}");
        }
        explains_itself(&vault);
    }
    // A list that no rule uses takes a quorum too, and a rule that names it says who is in it.
    let mut vault = vault();
    let staged = BOOK.replace("[group]", &format!("[list]\nwallets = [\"{hidden}\"]\n[group]"));
    let matter =
        propose(&mut vault, "olga", Act::Adopt(AdoptBook { book: staged.clone() })).unwrap();
    for name in ["alice", "bob"] {
        approve(&mut vault, &matter, name);
    }
    vault.wait(60_000);
    execute(&mut vault, "olga", &matter).unwrap();
    let used = staged.replace("\"@lookalike\"]", "\"@wallets\"]");
    let used = used.replace("2 of treasury\", expires", "1 of guards\", expires");
    let matter = propose(&mut vault, "olga", Act::Adopt(AdoptBook { book: used })).unwrap();
    let text = &vault.state.pending().get(&matter).unwrap().statement;
    for line in [&format!("  @wallets: {hidden}\n"), "  group guards: sam, sid, sue\n"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // More, or a longer line, than people read.
    let mut vault = crate::rig::vault();
    let many: Vec<String> = (0..301_u64)
        .map(|n| {
            format!("    \"{}\",\n", Address::from_word(U256::from(n + 1).into()).to_checksum(None))
        })
        .collect();
    for list in [many.concat(), many[..12].concat().replace('\n', "")] {
        let list = format!("[list]\nmany = [\n{list}\n]\n[group]");
        let book = BOOK.replace("[group]", &list).replace("\"@lookalike\"]", "\"@many\"]");
        let act = Act::Adopt(AdoptBook { book });
        assert_eq!(refused(&mut vault, act), "TOO_LONG_TO_APPROVE");
    }
}

#[test]
fn a_vote_from_before_a_suspension_or_a_removal_does_not_come_back_with_its_voter() {
    for (by_credential, parked) in [(false, true), (true, true), (false, false)] {
        let mut vault = vault();
        let request = ask(0, 5_000);
        let (matter, one, other) = if parked {
            (park(&mut vault, &request), "alice", "bob")
        } else {
            vault.freeze("sam", Scope::All);
            let thaw = Act::Thaw(Thaw { scope: Scope::All });
            (propose(&mut vault, "olga", thaw).unwrap(), "sue", "sid")
        };
        approve(&mut vault, &matter, one);
        approve(&mut vault, &matter, other);
        // Somebody has stolen the laptop, and perhaps cast that vote.
        let pen = &pens(one)[0];
        let pen = by_credential.then_some(pen);
        assert_eq!(try_to(&mut vault, suspend("sam", one, pen)), "");
        let credential = pen.map(|pen| pen.credential().id());
        let back = Reinstate { credential, person: id(one) };
        pass(&mut vault, "olga", Act::Reinstate(back), &["sam", "sid", "carol"]).unwrap();
        let met = |vault: &mut Vault| match (&matter, parked) {
            (_, true) => matches!(vault.ask(&request), Said::Reserved(_)),
            (matter, false) => {
                vault.wait(60_000);
                execute(vault, "olga", matter).is_ok()
            }
        };
        assert!(!met(&mut vault), "{by_credential} {parked}");
        // Whoever carries votes brings the old one back: it stands in the journal.
        let old = vote(&vault, &matter, one, Choice::Approve);
        assert_eq!(fault(cast(&mut vault, old)), "VOTED_ALREADY");
        assert!(!met(&mut vault), "{by_credential} {parked}");
        // They read it again, and say so in other words.
        let statement = &vault.state.pending().get(&matter).unwrap().statement;
        let text = statement::ballot(statement, Choice::Approve, &id(one), "I am back");
        let pen = &pens(one)[0];
        let voted = Voted {
            by: id(one),
            choice: Choice::Approve,
            credential: pen.credential().id(),
            evidence: pen.sign(Purpose::Vote, &text),
            matter: matter.clone(),
            reason: "I am back".into(),
        };
        cast(&mut vault, voted).unwrap();
        assert!(met(&mut vault), "{by_credential} {parked}");
        explains_itself(&vault);
    }
}

#[test]
fn nobody_stays_because_they_forbid_it_and_what_then_hangs_on_one_person_is_said() {
    let mut vault = Vault::begin(genesis_of(without_recovery(), pens));
    vault.freeze("sam", Scope::All);
    // Sam stops everything, and forbids whatever would start it again.
    let thaw = propose(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All })).unwrap();
    let no = vote(&vault, &thaw, "sam", Choice::Reject);
    assert_eq!(fault(cast(&mut vault, no)), "");
    assert_eq!(try_to(&mut vault, suspend("sid", "sam", None)), "LAST_OF_A_QUORUM");
    let out = propose(&mut vault, "olga", Act::Remove(Remove { person: id("sam") })).unwrap();
    let text = &vault.state.pending().get(&out).unwrap().statement;
    for name in ["sid", "sue"] {
        let line =
            format!("  people: 2 of security + 1 of approver cannot be met without {name}: ");
        assert!(text.contains(&line), "{text}");
    }
    for choice in [Choice::Reject, Choice::Approve] {
        let own = vote(&vault, &out, "sam", choice);
        assert_eq!(fault(cast(&mut vault, own)), "VOTER_NOT_ASKED");
    }
    for name in ["sue", "sid", "alice"] {
        approve(&mut vault, &out, name);
    }
    execute(&mut vault, "olga", &out).unwrap();
    let thaw = Act::Thaw(Thaw { scope: Scope::All });
    pass(&mut vault, "olga", thaw, &["sue", "sid"]).unwrap();
    // And one more would leave nothing that two can do.
    assert_eq!(refused(&mut vault, Act::Remove(Remove { person: id("sid") })), "UNGOVERNABLE");
    explains_itself(&vault);
}

/// The same people with one more, who agrees to nothing and proposes nothing, and sam in two roles.
fn with_a_watcher(governance: Governance, sam: &[Role]) -> Vault {
    let mut genesis = genesis_of(governance, pens);
    genesis.people.push(person("wanda", &[Role::Watcher], &[]));
    for one in genesis.people.iter_mut().filter(|one| one.id == id("sam")) {
        one.roles = sam.iter().copied().collect();
    }
    let text = statement::genesis(&genesis);
    let all = genesis.people.clone();
    let all = all.iter().flat_map(|one| pens(one.id.as_str())).filter(|pen| {
        let held = pen.credential().id();
        all.iter().any(|one| one.credentials.iter().any(|held_by| held_by.id() == held))
    });
    genesis.signatures = all
        .map(|pen| Signature {
            credential: pen.credential().id(),
            evidence: pen.sign(Purpose::Genesis, &text),
        })
        .collect();
    Vault::begin(genesis)
}

#[test]
fn whoever_cannot_propose_is_no_way_out_for_those_who_are_left() {
    let mut vault = with_a_watcher(without_recovery(), &[Role::Security]);
    for name in ["alice", "bob", "carol"] {
        assert_eq!(try_to(&mut vault, suspend("sam", name, None)), "", "{name}");
    }
    // Olga is the only one who could propose what sid, sue and dan would agree to: neither the
    // watcher nor the auditor can.
    assert_eq!(try_to(&mut vault, suspend("sam", "olga", None)), "LAST_OF_A_QUORUM");
    vault.freeze("sam", Scope::All);
    let out = Act::Remove(Remove { person: id("sam") });
    pass(&mut vault, "olga", out, &["sid", "sue", "dan"]).unwrap();
    explains_itself(&vault);
}

#[test]
fn nobody_stays_because_something_else_could_then_not_be_done() {
    // Security and approver in one: with the others suspended, widening hangs on him.
    let mut vault = with_a_watcher(without_recovery(), &[Role::Security, Role::Approver]);
    for name in ["alice", "bob", "carol"] {
        assert_eq!(try_to(&mut vault, suspend("sam", name, None)), "", "{name}");
    }
    vault.freeze("sam", Scope::All);
    let out = propose(&mut vault, "olga", Act::Remove(Remove { person: id("sam") })).unwrap();
    let text = &vault.state.pending().get(&out).unwrap().statement;
    assert!(text.contains("  widen: 2 of approver can never be met"), "{text}");
    for name in ["sid", "sue", "dan"] {
        approve(&mut vault, &out, name);
    }
    execute(&mut vault, "olga", &out).unwrap();
    // People of approver change the people, and one of security is enough to end a key.
    let mut other = without_recovery();
    other.quorums.insert(Deed::People, requirement("2 of approver"));
    other.quorums.insert(Deed::Revoke, requirement("1 of security"));
    let mut vault = with_a_watcher(other, &[Role::Security]);
    for name in ["sue", "sid"] {
        assert_eq!(try_to(&mut vault, suspend("sam", name, None)), "", "{name}");
    }
    let out = Act::Remove(Remove { person: id("sam") });
    pass(&mut vault, "olga", out, &["alice", "bob"]).unwrap();
    let back = Reinstate { credential: None, person: id("sue") };
    pass(&mut vault, "olga", Act::Reinstate(back), &["alice", "bob"]).unwrap();
    explains_itself(&vault);
}

#[test]
fn a_genesis_in_which_somebody_could_never_be_removed_is_refused() {
    // Three who are everything: without one of them, and without whoever proposes it, one is left.
    let all = [Role::Security, Role::Approver, Role::Operator];
    let three = |governance: Governance| {
        let names = ["sam", "sid", "sue"];
        let people = names.map(|name| person(name, &all, &pens(name)));
        let people = portcullis_policy::people::People::new(&people).unwrap();
        governance.faults(&people).join("; ")
    };
    let mut alone = without_recovery();
    for deed in [Deed::People, Deed::Widen, Deed::Thaw] {
        let rule = alone.quorums.get_mut(&deed).unwrap();
        rule.need = "2 of security".into();
    }
    let said = three(alone.clone());
    assert!(said.contains("people: sam could not be removed against their will"), "{said}");
    alone.recovery = governance().recovery;
    assert_eq!(three(alone), "");
}

/// A vault that everybody agreed to with this book.
fn agreed(book: &str) -> Vault {
    let mut genesis = genesis_of(governance(), pens);
    genesis.book = book.into();
    let text = statement::genesis(&genesis);
    for signature in &mut genesis.signatures {
        let all = crate::rig::PEOPLE.iter().flat_map(|(name, _)| pens(name));
        let pen = all.into_iter().find(|pen| pen.credential().id() == signature.credential);
        signature.evidence = pen.unwrap().sign(Purpose::Genesis, &text);
    }
    Vault::begin(genesis)
}

/// What people read who are asked to agree to this book.
fn told(vault: &mut Vault, book: &str) -> String {
    let act = Act::Adopt(AdoptBook { book: book.into() });
    let matter = propose(vault, "olga", act).unwrap();
    vault.state.pending().get(&matter).unwrap().statement.to_string()
}

/// What one person narrows today, and what a later widening then means: each is told.
#[test]
fn what_one_person_prepared_by_narrowing_is_told_to_whoever_agrees_to_what_uses_it() {
    let hidden = format!("\"{}\"", Address::repeat_byte(0xee).to_checksum(None));
    let [faucet, safe, moved] =
        [0x51_u8, 0x52, 0x53].map(|n| Address::repeat_byte(n).to_checksum(None));
    let contracts = format!(
        "[contract.faucet]\nchain = \"ethereum\"\naddress = \"{faucet}\"\n\
         [contract.safe]\nchain = \"ethereum\"\naddress = \"{safe}\"\n"
    );
    let base = BOOK.replace("[group]", &format!("{contracts}[group]"));
    let head = |contract: &str| {
        format!(
            "{base}[[key.hot.call]]\ncontract = \"@{contract}\"\n\
             function = \"withdraw(address to,uint256 amount)\"\n"
        )
    };
    let beside = |contract: &str, to: &str| {
        format!("{}where = {{ to = {to}, amount = \"any\" }}\n", head(contract))
    };
    let apart = |contract: &str, to: &str| {
        format!("{}[key.hot.call.where]\nto = {to}\namount = \"any\"\n", head(contract))
    };
    // Where a call may go, narrowed by one person, and then the contract changes: in whatever
    // layout, also one that they chose.
    type Layout<'a> = &'a dyn Fn(&str, &str) -> String;
    let layouts: [Layout<'_>; 2] = [&beside, &apart];
    for before in layouts {
        for after in layouts {
            let mut vault = agreed(&before("faucet", "\"any\""));
            assert!(vault.adopt(&after("faucet", &hidden)));
            let text = told(&mut vault, &after("safe", &hidden));
            for line in [&format!("to = {hidden}"), ": [key.hot]", "asks people above 1 ETH"] {
                assert!(text.contains(line), "{line}\n{text}");
            }
            // The rule stays as it is, and a name in it means something else.
            let renamed = after("faucet", &hidden).replace(&faucet, &moved);
            let text = told(&mut vault, &renamed);
            for line in [&format!("to = {hidden}"), ": [key.hot]", &moved] {
                assert!(text.contains(line), "{line}\n{text}");
            }
            explains_itself(&vault);
        }
    }
}

#[test]
fn nobody_takes_a_tier_away_alone_and_whoever_raises_an_amount_hears_who_is_asked() {
    let book = |per_tx: &str, tiers: bool| {
        let per_tx = format!("per_tx = \"{per_tx}\", window");
        let book = BOOK.replace("per_tx = \"100 ETH\", window", &per_tx);
        let (first, last) = (book.find("approve = [").unwrap(), book.rfind("]\n").unwrap());
        if tiers { book } else { format!("{}approve = []\n{}", &book[..first], &book[last + 2..]) }
    };
    // Also where no request is allowed so much.
    let parse = |text: &str| portcullis_policy::book::Book::parse(text).unwrap();
    let (less, none) = (book("0.9 ETH", true), book("0.9 ETH", false));
    let difference = parse(&less).difference(&parse(&none));
    assert!(!difference.is_narrowing(), "{difference:?}");
    let mut vault = agreed(&none);
    let text = told(&mut vault, &book("90 ETH", false));
    for line in
        ["key hot asks NOBODY for ETH, whatever the amount", "key hot is held by no [limit]"]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
    explains_itself(&vault);
}

/// What a limit counts, or whose word counts, may change where no line of a key does.
#[test]
fn a_key_that_gains_by_an_entry_of_the_registry_is_told_whole() {
    let junk = Address::repeat_byte(0x6a).to_checksum(None);
    let base = BOOK.replace("owners = [\"olga\"]", "owners = [\"olga\", \"dan\"]").replace(
        "[group]",
        &format!(
            "[asset.JUNK]\nkind = \"erc20\"\nchain = \"ethereum\"\naddress = \"{junk}\"\n\
                 decimals = 6\n[contract.batch]\nchain = \"ethereum\"\n\
                 address = \"0x5100000000000000000000000000000000000051\"\n\
                 kind = \"multicall\"\n[group]"
        ),
    );
    for (from, to) in [
        ("decimals = 6", "decimals = 18"),
        ("kind = \"multicall\"", "kind = \"multisend\""),
        (", \"dan\"]", "]"),
    ] {
        let mut vault = agreed(&base);
        let text = told(&mut vault, &base.replace(from, to));
        for line in [
            ": [key.hot]\n",
            "native = { to = [\"@supplier\", \"@lookalike\"], per_tx = \"100 ETH\"",
            "key hot asks people above 1 ETH",
            "key hot serves spiffe://acme/payouts, whose owners never count: ",
            "key hot is held by no [limit]",
        ] {
            assert!(text.contains(line), "{from}: {line}\n{text}");
        }
        explains_itself(&vault);
    }
}

/// A long list is told by its hash, to people who were told of each of its members by its name.
#[test]
fn a_long_list_gets_no_other_members_by_one_person_alone() {
    let addresses = |from: u64, count: u64| {
        let lines = (from..from + count).map(|n| {
            format!("    \"{}\",\n", Address::from_word(U256::from(n + 1).into()).to_checksum(None))
        });
        lines.collect::<String>()
    };
    let book = |cold: &str| {
        let lists =
            format!("[list]\ncold = [\n{cold}]\ncustomers = [\n{}]\n[group]", addresses(100, 60));
        portcullis_policy::book::Book::parse(&BOOK.replace("[group]", &lists)).unwrap()
    };
    let before = book(&addresses(0, 41));
    for (what, cold, narrows) in [
        ("the same", addresses(0, 41), true),
        ("fewer", addresses(0, 40), true),
        ("part of another", addresses(100, 41), false),
        ("all of another", addresses(100, 60), false),
        ("one more", addresses(0, 42), false),
    ] {
        assert_eq!(before.difference(&book(&cold)).is_narrowing(), narrows, "{what}");
    }
}

#[test]
fn whoever_is_enrolled_under_a_name_that_the_book_knows_is_told_so() {
    let mut vault = vault();
    remove(&mut vault, "carol");
    let pen = Pen::new("carol", 7, true);
    let carol = person("carol", &[Role::Auditor], std::slice::from_ref(&pen));
    let vault_id = hex::encode(vault.state.vault().0);
    let text = statement::enrolment(&vault_id, &id("carol"), &pen.credential().id());
    let possession = vec![pen.sign(Purpose::Enrolment, &text)];
    let matter =
        propose(&mut vault, "olga", Act::Enrol(Enrol { person: carol, possession })).unwrap();
    let text = &vault.state.pending().get(&matter).unwrap().statement;
    assert!(text.contains("whom the book names already:\n  in the group treasury\n"), "{text}");
}
