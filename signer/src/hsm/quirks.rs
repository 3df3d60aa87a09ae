//! Where tokens differ from the standard or from each other. All of it stands here, each with a
//! test.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::token::Access;
use super::verdict::{self, Verdict};
use crate::signature::{InvalidPoint, POINT_BYTES, PublicPoint};

/// May a session be closed while others sign?
///
/// SoftHSM can crash on it (SoftHSMv2 issue 688): there a discarded session is left open, which
/// costs a few hundred bytes of its memory, and it has no limit on their number.
pub(super) fn sessions_may_close(manufacturer: &str) -> bool {
    !manufacturer.trim().eq_ignore_ascii_case("SoftHSM project")
}

/// A session of either kind. One that only reads is enough to sign, and tokens allow more of them;
/// a token that has none such (CloudHSM: docs/hsm.md) gives one that may write.
pub(super) fn open(module: &Pkcs11, slot: Slot, access: Access) -> Result<Session, Error> {
    match access {
        Access::Manage => module.open_rw_session_no_drop(slot),
        Access::Sign => match module.open_ro_session_no_drop(slot) {
            Err(error) if verdict::of(&error) == Verdict::NewSession => {
                module.open_rw_session_no_drop(slot)
            }
            opened => opened,
        },
    }
}

/// `CKA_EC_POINT`: a DER octet string around the point, as the standard says (SoftHSM, CloudHSM),
/// or the bare point, as some tokens give it.
///
/// # Errors
///
/// Neither, or the point is not on the curve.
pub(super) fn ec_point(value: &[u8]) -> Result<PublicPoint, InvalidPoint> {
    point_bytes(value, POINT_BYTES).ok_or(InvalidPoint)?.try_into()
}

/// The point of so many bytes in either form; Ed25519's has 32 (RFC 8032).
pub(super) fn point_bytes(value: &[u8], bytes: usize) -> Option<&[u8]> {
    match value {
        [OCTET_STRING, length, point @ ..]
            if point.len() == bytes && usize::from(*length) == bytes =>
        {
            Some(point)
        }
        bare => (bare.len() == bytes).then_some(bare),
    }
}

/// Both forms of it, to search by.
pub(super) fn ec_point_forms(point: &PublicPoint) -> [Vec<u8>; 2] {
    let bare = point.as_bytes();
    [[&[OCTET_STRING, LENGTH], &bare[..]].concat(), bare.to_vec()]
}

/// Whether the token is software that keeps each object in a file: to destroy one unlinks it.
pub(super) fn keeps_objects_in_files(manufacturer: &str) -> bool {
    !sessions_may_close(manufacturer)
}

const OCTET_STRING: u8 = 0x04;
/// [`POINT_BYTES`] in DER's short form.
const LENGTH: u8 = 0x41;

/// Whether the token does not know an attribute that it was asked for, or will not have it set.
pub(super) fn refuses_the_template(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::AttributeReadOnly
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::TemplateInconsistent,
            _
        )
    )
}

/// The same template without what one token or another refuses to be told, though it may well be so
/// by itself (docs/hsm.md).
pub(super) fn lean(full: &[Attribute]) -> Vec<Attribute> {
    let is_refused_somewhere = |attribute: &Attribute| {
        matches!(
            attribute,
            Attribute::Copyable(_)
                | Attribute::Modifiable(_)
                | Attribute::Private(false)
                | Attribute::SignRecover(_)
                | Attribute::VerifyRecover(_)
                | Attribute::WrapWithTrusted(_)
        )
    };
    full.iter().filter(|attribute| !is_refused_somewhere(attribute)).cloned().collect()
}

/// What a token that does not know `CKA_COPYABLE` does when asked for a copy.
#[derive(Debug)]
pub(super) enum CopyVerdict {
    /// It will not copy the key.
    Refused,
    /// It did; the copy, a session object, is destroyed again.
    Allowed,
    /// It failed in a way that proves nothing. Counts as allowed.
    Unclear,
}

/// Tries to copy a key into a session object, which cannot outlive the session.
///
/// Only for tokens that do not know `CKA_COPYABLE`: a copy survives the original's destruction and
/// its fence (invariant 1), so where the attribute cannot say no, the call must.
pub(super) fn try_copy(session: &Session, key: ObjectHandle) -> CopyVerdict {
    match session.copy_object(key, &[Attribute::Token(false)]) {
        Ok(copy) => {
            if let Err(error) = session.destroy_object(copy) {
                tracing::error!(%error, "a trial copy of a key stays until its session ends");
            }
            CopyVerdict::Allowed
        }
        Err(Error::Pkcs11(RvError::ActionProhibited | RvError::FunctionNotSupported, _)) => {
            CopyVerdict::Refused
        }
        Err(_) => CopyVerdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    fn encoded() -> Vec<u8> {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        key.verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    #[test]
    fn a_point_is_understood_in_der_and_bare() {
        let bare = encoded();
        let der = [&[0x04, 0x41], bare.as_slice()].concat();
        assert_eq!(ec_point(&der), ec_point(&bare));
        assert_eq!(ec_point(&bare).unwrap().as_bytes().as_slice(), bare);
    }

    #[test]
    fn nothing_else_is_taken_for_a_point() {
        let bare = encoded();
        let der = [&[0x04, 0x41], bare.as_slice()].concat();
        let trailing = [der.as_slice(), &[0]].concat();
        let bit_string = [&[0x03, 0x42, 0x00], bare.as_slice()].concat();
        let wrong_length = [&[0x04, 0x40], bare.as_slice()].concat();
        for bad in [&[][..], &der[..66], &trailing, &bit_string, &wrong_length, &bare[1..]] {
            assert_eq!(ec_point(bad), Err(InvalidPoint));
        }
    }

    #[test]
    fn only_softhsm_keeps_its_sessions_open() {
        assert!(!sessions_may_close("SoftHSM project                 "));
        assert!(sessions_may_close("SafeNet"));
    }
}
