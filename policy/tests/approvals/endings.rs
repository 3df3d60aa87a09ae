//! The end of a key: revoked, then removed from the token, each by a quorum; and never back.

use portcullis_policy::act::{Act, ActFault, Destroy, Revoke, Thaw};
use portcullis_policy::governance::{Deed, Requirement};
use portcullis_policy::id::Sequence;
use portcullis_policy::record::{
    Absence, DestroyAnswered, Destruction, Entry, Grade, Matter, Record,
};
use portcullis_policy::state::{ExecutionFault, ProposalFault, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Span;

use crate::acts::{explains_itself, pass};
use crate::requests::ask;
use crate::rig::{HOUR, approve, execute, genesis_of, governance, pens, propose, requirement};
use crate::support::{Said, Vault, key};

/// A vault in which keys can be destroyed, a day after it was agreed to.
fn vault() -> Vault {
    let mut governance = governance();
    let slow = Requirement {
        delay: Span(24 * HOUR),
        expires: Span(25 * HOUR),
        ..requirement("2 of security + 1 of approver")
    };
    governance.quorums.insert(Deed::Destroy, slow);
    Vault::begin(genesis_of(governance, pens))
}

fn destroy() -> Act {
    Act::Destroy(Destroy { key: key(1) })
}

fn fault(vault: &mut Vault) -> ActFault {
    let refused = propose(vault, "olga", destroy()).unwrap_err();
    let ProposalFault::Act(fault) = refused else { panic!("{refused:?}") };
    fault
}

fn revoke(vault: &mut Vault) {
    vault.freeze("sam", Scope::Key(key(1)));
    pass(vault, "olga", Act::Revoke(Revoke { key: key(1) }), &["sam", "sue"]).unwrap();
}

/// Agreed to by whom it takes, and not yet old enough.
fn agreed(vault: &mut Vault) -> Matter {
    let matter = propose(vault, "olga", destroy()).unwrap();
    for name in ["sam", "sue", "alice"] {
        approve(vault, &matter, name);
    }
    matter
}

fn gone(intent: Sequence) -> DestroyAnswered {
    let absence = Absence {
        backups: vec!["tape 7".into()],
        grade: Grade::Unlinked,
        objects: 2,
        token: "SoftHSM project, SoftHSM v2, 1234".into(),
    };
    DestroyAnswered { answer: Destruction::Gone(absence), intent, key: key(1) }
}

fn write(vault: &mut Vault, answered: DestroyAnswered) -> Result<Sequence, Unfoldable> {
    vault.try_write(Record::DestroyAnswered(Box::new(answered)))
}

#[test]
fn a_key_is_removed_after_its_revocation_by_a_quorum_and_not_before_the_delay() {
    let mut vault = vault();
    assert_eq!(fault(&mut vault), ActFault::NotRevoked(key(1)));
    vault.freeze("sam", Scope::Key(key(1)));
    assert_eq!(fault(&mut vault), ActFault::NotRevoked(key(1)), "stopped is not ended");
    revoke(&mut vault);
    let matter = propose(&mut vault, "olga", destroy()).unwrap();
    let statement = vault.state.pending().get(&matter).unwrap().statement.clone();
    assert!(statement.contains("act: destroy key hot 0x"), "{statement}");
    assert!(statement.contains("nothing brings it back"), "{statement}");
    for name in ["sam", "sue"] {
        approve(&mut vault, &matter, name);
    }
    vault.wait(24 * HOUR);
    let short = execute(&mut vault, "olga", &matter).unwrap_err();
    assert!(matches!(short, ExecutionFault::NotMet(_)), "{short:?}");
    let matter = agreed(&mut vault);
    vault.wait(24 * HOUR - 1);
    let early = execute(&mut vault, "olga", &matter).unwrap_err();
    assert!(matches!(early, ExecutionFault::NotMet(_)), "{early:?}");
    assert_eq!(vault.state.removals_due(), []);
    vault.wait(1);
    let intent = execute(&mut vault, "olga", &matter).unwrap();
    assert_eq!(vault.state.removals_due(), [(key(1), intent)]);
    assert_eq!(fault(&mut vault), ActFault::Destroyed(key(1)), "agreed to is agreed to");
    explains_itself(&vault);
}

#[test]
fn a_removal_is_due_until_the_token_has_nothing_of_the_key_and_its_name_is_nobodys_again() {
    let mut vault = vault();
    revoke(&mut vault);
    let matter = agreed(&mut vault);
    vault.wait(24 * HOUR);
    let intent = execute(&mut vault, "olga", &matter).unwrap();
    let refused = DestroyAnswered { answer: Destruction::Refused("locked".into()), ..gone(intent) };
    write(&mut vault, refused).unwrap();
    vault.restart();
    assert_eq!(vault.state.removals_due(), [(key(1), intent)], "a refusal is not the end");
    write(&mut vault, gone(intent)).unwrap();
    assert_eq!(vault.state.removals_due(), []);
    assert!(vault.state.tombs()[&key(1)].is_closed());
    vault.restart();
    assert_eq!(fault(&mut vault), ActFault::Destroyed(key(1)));
    assert_eq!(vault.state.key_named("hot").map(|(id, _)| id), Some(key(1)), "the tombstone");
    let Said::Denied(codes) = vault.ask(&ask(0, 10)) else { panic!("it signs") };
    assert!(codes.contains(&"KEY_REVOKED".to_owned()), "{codes:?}");
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    let refused = propose(&mut vault, "olga", thaw).unwrap_err();
    assert_eq!(refused, ProposalFault::Act(ActFault::Revoked(key(1))));
    explains_itself(&vault);
}

#[test]
fn a_journal_that_says_a_key_is_gone_which_nobody_agreed_to_is_not_believed() {
    let mut vault = vault();
    revoke(&mut vault);
    let head = vault.state.head();
    let folds = |vault: &Vault, answered: DestroyAnswered| {
        let seq = vault.state.head().next();
        let record = Record::DestroyAnswered(Box::new(answered));
        let folded = vault.state.clone().apply(&Entry { at: vault.now, record, seq });
        match folded {
            Ok(()) => true,
            Err(Unfoldable::Destroyed(at)) if at == seq => false,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(!folds(&vault, gone(head)), "nobody agreed");
    let matter = agreed(&mut vault);
    assert!(!folds(&vault, gone(vault.state.head())), "agreed, and not done");
    vault.wait(24 * HOUR);
    let intent = execute(&mut vault, "olga", &matter).unwrap();
    assert!(folds(&vault, gone(intent)));
    assert!(!folds(&vault, gone(head)), "an answer to something else");
    assert!(!folds(&vault, DestroyAnswered { key: key(2), ..gone(intent) }), "another key");
    write(&mut vault, gone(intent)).unwrap();
    assert!(!folds(&vault, gone(intent)), "twice");
}
