//! Which sessions sign with Ed25519: the signer's checkpoints, which come whenever they come. They
//! have names of their own in script and log, so that a test of requests meets its own calls only.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::{CK_MECHANISM_TYPE, CK_SESSION_HANDLE, CKM_EDDSA};

static SESSIONS: Mutex<BTreeSet<CK_SESSION_HANDLE>> = Mutex::new(BTreeSet::new());

/// An operation begins; whether it is one of Ed25519.
pub(crate) fn begins(session: CK_SESSION_HANDLE, mechanism: Option<CK_MECHANISM_TYPE>) -> bool {
    let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let eddsa = mechanism == Some(CKM_EDDSA);
    if eddsa {
        sessions.insert(session);
    } else {
        sessions.remove(&session);
    }
    eddsa
}

/// Whether the session's operation is one of Ed25519.
pub(crate) fn is_of(session: CK_SESSION_HANDLE) -> bool {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
}
