//! Drills of the stop: a report is believed as far as the journal does not know better.

use portcullis_policy::act::{Act, Destroy, Revoke};
use portcullis_policy::governance::{Deed, Requirement};
use portcullis_policy::id::{Sequence, StepName};
use portcullis_policy::record::{
    Absence, DestroyAnswered, Destruction, Drilled, Entry, Grade, Record, Suspended,
};
use portcullis_policy::state::{DrillFault, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Millis, Span};

use crate::acts::{explains_itself, pass};
use crate::rig::{HOUR, genesis_of, governance, id, pens, requirement};
use crate::support::{DAWN, Vault, key};

const DAY: u64 = 24 * HOUR;

/// A vault in which keys can be destroyed, with a canary.
fn vault() -> Vault {
    let mut governance = governance();
    let slow = requirement("2 of security + 1 of approver");
    governance.quorums.insert(Deed::Destroy, Requirement { delay: Span(60_000), ..slow });
    let mut vault = Vault::begin(genesis_of(governance, pens));
    vault.make_key_for(key(3), "canary-1", "canary");
    vault
}

fn step(name: &str) -> StepName {
    name.parse().unwrap()
}

fn report(good: bool) -> Drilled {
    Drilled {
        by: id("sam"),
        drill: "first".parse().unwrap(),
        evidence: alloy_primitives::B256::repeat_byte(5),
        good,
        key: key(3),
        measured: [(step("freeze"), Span(12)), (step("whole"), Span(90_000))].into(),
        missed: [step("whole")].into(),
    }
}

fn write(vault: &mut Vault, drilled: Drilled) -> Result<Sequence, Unfoldable> {
    vault.try_write(Record::Drilled(Box::new(drilled)))
}

/// What is wrong with a report, for the writer and in the fold.
fn fault(vault: &Vault, drilled: Drilled) -> Option<DrillFault> {
    let seq = vault.state.head().next();
    let told = vault.state.check_drill(&drilled).err();
    let record = Record::Drilled(Box::new(drilled));
    let folded = vault.state.clone().apply(&Entry { at: vault.now, record, seq });
    match (told, folded) {
        (None, Ok(())) => None,
        (Some(told), Err(Unfoldable::Drilled(at, fault))) if at == seq && told == fault => {
            Some(fault)
        }
        (told, folded) => panic!("{told:?}, and {folded:?}"),
    }
}

/// Frozen, revoked and removed, each by whom it takes.
fn end(vault: &mut Vault) {
    vault.freeze("sam", Scope::Key(key(3)));
    pass(vault, "olga", Act::Revoke(Revoke { key: key(3) }), &["sam", "sue"]).unwrap();
    let destroy = Act::Destroy(Destroy { key: key(3) });
    pass(vault, "olga", destroy, &["sam", "sue", "alice"]).unwrap();
    let intent = vault.state.tombs()[&key(3)].intent;
    assert_eq!(fault(vault, report(true)), Some(DrillFault::NotDestroyed(key(3))), "agreed to");
    let absence =
        Absence { backups: vec![], grade: Grade::Unlinked, objects: 2, token: "SoftHSM".into() };
    let answered = DestroyAnswered { answer: Destruction::Gone(absence), intent, key: key(3) };
    vault.write(Record::DestroyAnswered(Box::new(answered)));
}

#[test]
fn a_drill_is_good_once_its_canary_is_gone_and_each_canary_has_one() {
    let mut vault = vault();
    assert_eq!(fault(&vault, report(true)), Some(DrillFault::NotDestroyed(key(3))));
    end(&mut vault);
    let sequence = write(&mut vault, report(true)).unwrap();
    let last = vault.state.drills().last_good().unwrap();
    assert_eq!((last.sequence, last.at, last.good), (sequence, vault.now.sure, true));
    assert_eq!(vault.state.drills().last(), Some(last));
    for good in [true, false] {
        assert_eq!(fault(&vault, report(good)), Some(DrillFault::Twice(key(3))));
    }
    vault.restart();
    explains_itself(&vault);
}

#[test]
fn a_drill_that_was_not_good_is_the_last_and_not_the_last_good_one() {
    let mut vault = vault();
    end(&mut vault);
    write(&mut vault, report(true)).unwrap();
    let good = vault.state.drills().last_good();
    vault.make_key_for(key(4), "canary-2", "canary");
    let failed = Drilled { key: key(4), ..report(false) };
    let sequence = write(&mut vault, failed).unwrap();
    assert_eq!(vault.state.drills().last().map(|drill| drill.sequence), Some(sequence));
    assert_eq!(vault.state.drills().last_good(), good);
    explains_itself(&vault);
}

#[test]
fn a_drill_is_overdue_from_the_last_good_one_or_from_the_beginning() {
    let mut vault = vault();
    let month = Span(30 * DAY);
    let overdue = |vault: &Vault| vault.state.drills().overdue_since(month, vault.now.sure);
    assert_eq!(overdue(&vault), None);
    vault.wait(DAWN + 30 * DAY - vault.now.sure.0);
    assert_eq!(overdue(&vault), Some(Millis(DAWN + 30 * DAY)), "there never was one");
    vault.make_key_for(key(4), "canary-2", "canary");
    write(&mut vault, Drilled { key: key(4), ..report(false) }).unwrap();
    assert!(overdue(&vault).is_some(), "it was not good");
    end(&mut vault);
    write(&mut vault, report(true)).unwrap();
    let at = vault.now.sure;
    assert_eq!(overdue(&vault), None);
    vault.wait(30 * DAY);
    assert_eq!(overdue(&vault), Some(at.plus(month)));
}

#[test]
fn a_report_of_what_cannot_have_been_is_not_believed() {
    let vault = vault();
    assert_eq!(fault(&vault, report(false)), None);
    let hot = Drilled { key: key(1), ..report(false) };
    assert_eq!(fault(&vault, hot), Some(DrillFault::NoCanary(key(1))), "a key with money");
    let unknown = Drilled { key: key(9), ..report(false) };
    assert_eq!(fault(&vault, unknown), Some(DrillFault::NoCanary(key(9))));
    let nobody = Drilled { by: id("mallory"), ..report(false) };
    assert_eq!(fault(&vault, nobody), Some(DrillFault::NoPerson(id("mallory"))));
    let operator = Drilled { by: id("olga"), ..report(false) };
    assert_eq!(fault(&vault, operator), Some(DrillFault::MayNot(id("olga"))));
    let mut suspended = vault.clone();
    let (by, person, reason) = (id("sue"), id("sam"), "laptop lost".into());
    suspended.write(Record::Suspended(Suspended { by, credential: None, person, reason }));
    assert_eq!(fault(&suspended, report(false)), Some(DrillFault::MayNot(id("sam"))));
    let nothing = Drilled { measured: [].into(), missed: [].into(), ..report(false) };
    assert_eq!(fault(&vault, nothing), Some(DrillFault::Measured));
    let steps = |count: u32, took| {
        let measured = (0..count).map(|n| (step(&format!("s{n}")), Span(took))).collect();
        Drilled { measured, missed: [].into(), ..report(false) }
    };
    assert_eq!(fault(&vault, steps(32, 7 * DAY)), None);
    assert_eq!(fault(&vault, steps(33, 1)), Some(DrillFault::Measured));
    assert_eq!(fault(&vault, steps(1, 7 * DAY + 1)), Some(DrillFault::Measured));
    let unmeasured = Drilled { missed: [step("fence")].into(), ..report(false) };
    assert_eq!(fault(&vault, unmeasured), Some(DrillFault::Missed));
}
