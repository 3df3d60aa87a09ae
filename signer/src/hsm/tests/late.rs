//! Jobs that were given up: they do nothing to the token any more.

use std::cell::Cell;

use super::*;
use crate::hsm::pool::Turn;
use crate::hsm::token::{Access, Token};

fn token(tokens: &Tokens) -> Arc<Token> {
    tokens.make("vault");
    Token::find(&config(tokens, SPY)).unwrap()
}

#[test]
fn a_chore_that_was_given_up_changes_neither_fence_nor_marker() {
    in_own_process(
        module_path!(),
        "a_chore_that_was_given_up_changes_neither_fence_nor_marker",
        |tokens| {
            let held = token(tokens).open(Access::Manage).unwrap();
            let (over, wanted) = (Turn::fake(true), Turn::fake(false));
            assert!(matches!(held.enter_for(&over).err(), Some(HsmError::TimedOut)));

            let (id, vault) = (KeyId::from_bytes([7; 16]), VaultId(B256::ZERO));
            let keys = BTreeSet::from([id]);
            let inside = held.enter_for(&wanted).unwrap();
            keys::create(inside.session, &id, &"payouts".parse().unwrap()).unwrap();
            fence::set(&inside, &keys, true, false).unwrap();
            marker::write(&inside, &vault, b"200").unwrap();
            let changes = ["C_SetAttributeValue", "C_CreateObject"];
            let before = changes.map(|call| tokens.calls(call));

            // It hung in one of the looks before, and was given up there.
            let late = held.enter().unwrap().given_up(&over);
            let down = fence::set(&late, &keys, false, false);
            assert!(matches!(down, Err(HsmError::TimedOut)), "{down:?}");
            let marked = marker::write(&late, &vault, b"100");
            assert!(matches!(marked, Err(HsmError::TimedOut)), "{marked:?}");
            assert_eq!(changes.map(|call| tokens.calls(call)), before);
            assert_eq!(marker::read(late.session, &vault).unwrap(), [b"200".to_vec()]);
        },
    );
}

#[test]
fn a_chore_that_was_given_up_is_not_done_once_more() {
    in_own_process(module_path!(), "a_chore_that_was_given_up_is_not_done_once_more", |tokens| {
        let mut keeper = Keeper::open(token(tokens)).unwrap();
        let (sessions, chores) = (tokens.calls("C_OpenSession"), Cell::new(0));
        let chore = |_: &Inside<'_>| -> Result<(), HsmError> {
            chores.set(chores.get() + 1);
            Err(HsmError::Reloaded)
        };
        let done = |keeper: &mut Keeper, over| {
            assert!(keeper.attend(Repeat::Harmless, &Turn::fake(over), chore).is_err());
        };
        done(&mut keeper, false);
        assert_eq!((chores.get(), tokens.calls("C_OpenSession")), (2, sessions + 1));
        done(&mut keeper, true);
        assert_eq!((chores.get(), tokens.calls("C_OpenSession")), (2, sessions + 1));
    });
}

#[test]
fn a_request_that_was_given_up_is_not_signed() {
    in_own_process(module_path!(), "a_request_that_was_given_up_is_not_signed", |tokens| {
        let token = token(tokens);
        let id = KeyId::from_bytes([7; 16]);
        let manage = token.open(Access::Manage).unwrap();
        keys::create(manage.enter().unwrap().session, &id, &"payouts".parse().unwrap()).unwrap();
        let mut session = SigningSession::open(token).unwrap();
        let calls = || ["C_SignInit", "C_OpenSession"].map(|call| tokens.calls(call));
        let before = calls();
        assert!(session.self_test(&id, &Turn::fake(true)).is_err());
        assert_eq!(calls(), before);
        assert!(session.self_test(&id, &Turn::fake(false)).is_ok());
        assert_eq!(calls(), [before[0] + 1, before[1]]);
    });
}
