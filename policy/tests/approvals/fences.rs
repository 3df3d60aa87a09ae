//! What the token may be told: a fence for whatever is stopped for everybody, and none taken away
//! that no quorum has thawed.

use std::collections::BTreeSet;

use portcullis_policy::act::{Act, Revoke, Thaw};
use portcullis_policy::fences::Told;
use portcullis_policy::id::{KeyId, Sequence};
use portcullis_policy::record::{Entry, FenceAnswered, FenceCause, FenceIntended, Record};
use portcullis_policy::state::Unfoldable;
use portcullis_policy::stops::Scope;

use crate::acts::{explains_itself, pass};
use crate::rig::vault;
use crate::support::{CALLER, Vault, key};

fn intended(cause: FenceCause, keys: &[KeyId]) -> FenceIntended {
    FenceIntended { cause, keys: keys.iter().copied().collect() }
}

fn answered(intent: Sequence, done: &[KeyId], refused: &[KeyId]) -> FenceAnswered {
    let refused = refused.iter().map(|key| (*key, "it will not".to_owned()));
    FenceAnswered { done: done.iter().copied().collect(), intent, refused: refused.collect() }
}

fn due(vault: &Vault) -> Vec<FenceIntended> {
    vault.state.fences_due(&BTreeSet::new())
}

/// Does what the signer does: notes what is due, and what the token says to it.
fn obey(vault: &mut Vault) {
    for intended in due(vault) {
        let keys: Vec<KeyId> = intended.keys.iter().copied().collect();
        vault.write(Record::FenceIntended(intended));
        let intent = vault.state.head();
        vault.write(Record::FenceAnswered(answered(intent, &keys, &[])));
    }
    assert_eq!(due(vault), []);
    assert_eq!(vault.state.fences().standing(), []);
}

/// Whether a journal with this record at its end would be believed.
fn folds(vault: &Vault, record: Record) -> bool {
    let seq = vault.state.head().next();
    let folded = vault.state.clone().apply(&Entry { at: vault.now, record, seq });
    match folded {
        Ok(()) => true,
        Err(Unfoldable::Fence(at)) if at == seq => false,
        Err(other) => panic!("{other}"),
    }
}

fn thaw(vault: &mut Vault, scope: Scope) {
    pass(vault, "olga", Act::Thaw(Thaw { scope }), &["sam", "sue"]).unwrap();
}

#[test]
fn a_stop_fences_the_keys_that_it_stops_for_everybody_and_no_others() {
    let cases = [
        (Scope::All, vec![key(1), key(2)]),
        (Scope::Key(key(2)), vec![key(2)]),
        (Scope::Tag("tag-hot".parse().unwrap()), vec![key(1)]),
        (Scope::Caller(CALLER.parse().unwrap()), vec![]),
    ];
    for (scope, keys) in cases {
        let mut vault = vault();
        assert_eq!(due(&vault), []);
        vault.freeze("sam", scope.clone());
        let expected =
            if keys.is_empty() { vec![] } else { vec![intended(FenceCause::Stopped, &keys)] };
        assert_eq!(due(&vault), expected, "{scope}");
        obey(&mut vault);
        // Neither a second stop nor a restart asks for it again.
        vault.freeze("sam", scope.clone());
        vault.restart();
        assert_eq!(due(&vault), [], "{scope}");
        thaw(&mut vault, scope.clone());
        let expected =
            if keys.is_empty() { vec![] } else { vec![intended(FenceCause::Thawed, &keys)] };
        assert_eq!(due(&vault), expected, "{scope}");
        obey(&mut vault);
        explains_itself(&vault);
    }
}

#[test]
fn a_fence_stays_while_any_stop_is_left_and_for_good_once_the_key_is_revoked() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    vault.freeze("sam", Scope::Key(key(2)));
    obey(&mut vault);
    pass(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) }), &["sam", "sue"]).unwrap();
    thaw(&mut vault, Scope::All);
    assert_eq!(due(&vault), []);
    thaw(&mut vault, Scope::Key(key(2)));
    assert_eq!(due(&vault), [intended(FenceCause::Thawed, &[key(2)])]);
    obey(&mut vault);
    assert!(vault.state.must_be_fenced(key(1)) && vault.state.fences().is_up(&key(1)));
    explains_itself(&vault);
}

#[test]
fn a_journal_in_which_the_token_is_told_otherwise_than_the_stops_say_is_not_believed() {
    let mut vault = vault();
    let intend = |cause, keys: &[KeyId]| Record::FenceIntended(intended(cause, keys));
    let causes = [FenceCause::Stopped, FenceCause::Undone, FenceCause::Thawed];
    // Nothing is stopped: nothing may be said, of any key, or of none.
    for cause in causes {
        assert!(!folds(&vault, intend(cause, &[key(1)])), "{cause:?}");
        assert!(!folds(&vault, intend(cause, &[])), "{cause:?}");
    }
    vault.freeze("sam", Scope::Key(key(1)));
    assert!(folds(&vault, intend(FenceCause::Stopped, &[key(1)])));
    assert!(!folds(&vault, intend(FenceCause::Stopped, &[key(1), key(2)])), "one is not stopped");
    assert!(!folds(&vault, intend(FenceCause::Stopped, &[key(1), key(9)])), "one does not exist");
    obey(&mut vault);
    // It is fenced and stopped: it may be told again if it was undone, and never the opposite.
    assert!(!folds(&vault, intend(FenceCause::Stopped, &[key(1)])));
    assert!(folds(&vault, intend(FenceCause::Undone, &[key(1)])));
    assert!(!folds(&vault, intend(FenceCause::Thawed, &[key(1)])));
    thaw(&mut vault, Scope::Key(key(1)));
    assert!(!folds(&vault, intend(FenceCause::Undone, &[key(1)])));
    assert!(folds(&vault, intend(FenceCause::Thawed, &[key(1)])));
}

#[test]
fn an_answer_is_taken_to_what_was_asked_last_and_until_it_is_done() {
    let mut vault = vault();
    let answer = |intent, done: &[KeyId], refused: &[KeyId]| {
        Record::FenceAnswered(answered(intent, done, refused))
    };
    assert!(!folds(&vault, answer(vault.state.head(), &[key(1)], &[])), "nothing was asked");
    vault.freeze("sam", Scope::All);
    vault.write(Record::FenceIntended(intended(FenceCause::Stopped, &[key(1), key(2)])));
    let first = vault.state.head();
    assert!(!folds(&vault, answer(first, &[], &[])), "says nothing");
    assert!(!folds(&vault, answer(first, &[key(1)], &[key(1)])), "both");
    assert!(!folds(&vault, answer(Sequence(2), &[key(1)], &[])), "another intent");
    assert!(!folds(&vault, answer(first, &[key(9)], &[])), "another key");
    vault.write(answer(first, &[key(1)], &[key(2)]));
    assert!(!folds(&vault, answer(first, &[key(1)], &[])), "done already");
    assert_eq!(vault.state.fences().of(&key(2)).unwrap().told, Told::Refused("it will not".into()));
    // What was refused stands, and may be answered again.
    let standing = vault.state.fences().standing();
    assert_eq!((standing.len(), standing[0].keys.clone()), (1, BTreeSet::from([key(2)])));
    assert!(folds(&vault, answer(first, &[key(2)], &[])));
    // A thaw comes before the token could be told: its intent takes the place of the first.
    thaw(&mut vault, Scope::All);
    vault.write(Record::FenceIntended(intended(FenceCause::Thawed, &[key(1), key(2)])));
    assert!(!folds(&vault, answer(first, &[key(2)], &[])), "that is asked no more");
    vault.write(answer(vault.state.head(), &[key(1), key(2)], &[]));
    assert_eq!(vault.state.fences().standing(), []);
    explains_itself(&vault);
}

#[test]
fn only_a_fence_that_was_read_back_can_have_come_undone() {
    let mut vault = vault();
    let both = BTreeSet::from([key(1), key(2)]);
    assert_eq!(vault.state.fences_due(&both), []);
    vault.freeze("sam", Scope::Key(key(1)));
    assert_eq!(vault.state.fences_due(&both), [intended(FenceCause::Stopped, &[key(1)])]);
    vault.write(Record::FenceIntended(intended(FenceCause::Stopped, &[key(1)])));
    assert_eq!(vault.state.fences_due(&both), [], "the token has not answered");
    vault.write(Record::FenceAnswered(answered(vault.state.head(), &[key(1)], &[])));
    assert_eq!(vault.state.fences_due(&both), [intended(FenceCause::Undone, &[key(1)])]);
}

#[test]
fn a_stop_of_many_keys_is_written_in_records_of_a_bounded_size() {
    let mut vault = vault();
    for number in 10..=255 {
        vault.make_key(key(number), &format!("key-{number}"));
    }
    vault.freeze("sam", Scope::All);
    let sizes: Vec<usize> = due(&vault).iter().map(|intended| intended.keys.len()).collect();
    assert_eq!(sizes, [128, 120]);
    obey(&mut vault);
    explains_itself(&vault);
}
