//! The fence: `CKA_SIGN` of a private key set to false, so that no process that holds a handle to
//! it can begin a signature (PKCS#11 v2.40 section 4.4: the attribute may be modified after
//! creation).
//!
//! It stops honest processes, also those of other hosts, and no one who has the PIN: they can set
//! it back. That is why it is read again and again, and why it is never the only stop.

use std::collections::{BTreeMap, BTreeSet};

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::id::KeyId;

use super::error::{HsmError, chain};
use super::keeper::is_cured_by_a_session;
use super::module::Inside;
use super::session::{find_private, insist_on_login};

/// What the token answered, key by key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FenceAnswer {
    /// Keys of which it says so now.
    pub done: BTreeSet<KeyId>,
    /// Keys of which it would not be told, and why.
    pub refused: BTreeMap<KeyId, String>,
}

/// Fences these keys, or lets them sign again, and reads each back. A key that errs while the
/// session goes on keeps no other from being fenced: the first time a fresh session may help it,
/// `again` not.
///
/// # Errors
///
/// The token could not be asked, or nobody waits for it any more: then nothing is known of any.
pub(super) fn set(
    inside: &Inside<'_>,
    keys: &BTreeSet<KeyId>,
    up: bool,
    again: bool,
) -> Result<FenceAnswer, HsmError> {
    let session = inside.session;
    insist_on_login(session)?;
    let mut answer = FenceAnswer::default();
    for key in keys {
        match set_one(inside, key, up) {
            Ok(None) => drop(answer.done.insert(*key)),
            Ok(Some(why)) => drop(answer.refused.insert(*key, why)),
            Err(error) if !again && is_cured_by_a_session(&error) => return Err(error),
            Err(error) => {
                inside.still_wanted()?;
                insist_on_login(session)?;
                answer.refused.insert(*key, chain(&error));
            }
        }
    }
    // A session that lost its login sees no private keys: what it did not find proves nothing.
    insist_on_login(session)?;
    Ok(answer)
}

/// `None` if it is so now, or why it is not.
fn set_one(inside: &Inside<'_>, key: &KeyId, up: bool) -> Result<Option<String>, HsmError> {
    let session = inside.session;
    let handles = find_private(session, key).map_err(HsmError::Read)?;
    match handles.as_slice() {
        [] => return Ok(Some("it is not on the token".into())),
        // All of them are fenced; none is let sign, as nobody knows which is ours.
        [_, _, ..] if !up => return Ok(Some("it is on the token more than once".into())),
        [..] => {}
    }
    for handle in handles {
        // A key that was let sign since is not fenced by a call that comes late, nor the reverse.
        inside.still_wanted()?;
        if let Err(source) = write(session, handle, !up) {
            let refused = is_refusal(&source);
            let error = HsmError::Fence { key: *key, source };
            return if refused { Ok(Some(chain(&error))) } else { Err(error) };
        }
        let read =
            session.get_attributes(handle, &[AttributeType::Sign]).map_err(HsmError::Read)?;
        if !read.contains(&Attribute::Sign(!up)) {
            return Ok(Some("the token took it and reads otherwise".into()));
        }
    }
    Ok(None)
}

/// The one call of `C_SetAttributeValue`.
#[expect(clippy::disallowed_methods, reason = "the one call site of C_SetAttributeValue")]
fn write(session: &Session, key: ObjectHandle, may_sign: bool) -> Result<(), Error> {
    session.update_attributes(key, &[Attribute::Sign(may_sign)])
}

/// Whether the token understood and will not, as against a call that failed.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::ActionProhibited
                | RvError::AttributeReadOnly
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::FunctionNotSupported
                | RvError::KeyFunctionNotPermitted
                | RvError::TemplateInconsistent
                | RvError::TokenWriteProtected,
            _
        )
    )
}
