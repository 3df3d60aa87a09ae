//! `C_SignInit` and `C_Sign`: spoilt, or instant.

use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::checkpoints;
use crate::frame::{Twist, around};
use crate::instant::{Instant, throw_away_key};
use crate::module::{Module, module, real};
use crate::object::Object;
use crate::script::Fault;
use crate::tamper::{SIGNATURE_BYTES, Tamper};

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
pub(crate) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: null or, as PKCS#11 demands, a mechanism that lives through the call.
    let asked = unsafe { mechanism.as_ref() }.map(|asked| asked.mechanism);
    let eddsa = checkpoints::begins(session, asked);
    let function = if eddsa { "C_SignInit:EdDSA" } else { "C_SignInit" };
    around(function, Some(session), |module, _| {
        let ecdsa = asked == Some(CKM_ECDSA);
        let Some(instant) = module.instant.as_ref().filter(|_| ecdsa) else {
            return real!(module, C_SignInit(session, mechanism, key));
        };
        let known = instant.key(key).or_else(|| {
            let object = Object::read(module, (session, key))?;
            let scalar = object.may_sign.then(|| throw_away_key(object.id()))?;
            instant.remember(key, scalar);
            Some(scalar)
        });
        match known {
            Some(scalar) if instant.begin(session, scalar) => CKR_OK,
            Some(_) => CKR_OPERATION_ACTIVE,
            None => real!(module, C_SignInit(session, mechanism, key)),
        }
    })
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
pub(crate) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_length: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_length: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: null or a place for one length, which nobody else holds during the call.
    let room = unsafe { signature_length.as_ref() }.copied().unwrap_or_default();
    let sign = |module: &'static Module, twist: Twist| {
        let ours = module.instant.as_ref().filter(|i| i.has_begun(session));
        let answer = match ours {
            // SAFETY: the caller's own arguments.
            Some(instant) => unsafe {
                sign_instantly(instant, session, (data, data_length), (signature, signature_length))
            },
            None => {
                real!(module, C_Sign(session, data, data_length, signature, signature_length))
            }
        };
        if answer != CKR_OK || signature.is_null() {
            return answer;
        }
        // SAFETY: after CKR_OK `signature` holds `signature_length` bytes and `data` is whole.
        unsafe { tamper_with((twist, room), (data, data_length), (signature, signature_length)) }
    };
    if signature.is_null() {
        // Only the length is asked for: neither a fault nor a line in the log.
        let answer = module().map_or(CKR_GENERAL_ERROR, |module| sign(module, Twist::None));
        // SAFETY: as above.
        let length = unsafe { signature_length.as_mut() };
        if let (CKR_OK, Some(length), true) = (answer, length, is_to_be_long(session)) {
            *length = length.saturating_add(1);
        }
        return answer;
    }
    let function = if checkpoints::is_of(session) { "C_Sign:EdDSA" } else { "C_Sign" };
    around(function, Some(session), sign)
}

/// Whether the signature that is made next gets a byte too many, for which there must be room.
fn is_to_be_long(session: CK_SESSION_HANDLE) -> bool {
    let script = module().and_then(|module| module.script.as_ref());
    let long = Fault::Tamper(Tamper::Long);
    !checkpoints::is_of(session) && script.is_some_and(|script| script.would("C_Sign", long))
}

/// # Safety
///
/// The arguments are those of `C_Sign`.
unsafe fn sign_instantly(
    instant: &Instant,
    session: CK_SESSION_HANDLE,
    (data, data_length): (CK_BYTE_PTR, CK_ULONG),
    (signature, signature_length): (CK_BYTE_PTR, CK_ULONG_PTR),
) -> CK_RV {
    // SAFETY: null or a place for one length.
    let Some(length) = (unsafe { signature_length.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    let room = std::mem::replace(length, SIGNATURE_LENGTH);
    if signature.is_null() {
        return CKR_OK;
    }
    if room < *length {
        return CKR_BUFFER_TOO_SMALL;
    }
    let Some(key) = instant.end(session) else { return CKR_OPERATION_NOT_INITIALIZED };
    if data_length != 32 || data.is_null() {
        return CKR_DATA_LEN_RANGE;
    }
    // SAFETY: not null, 32 bytes long, bytes need no alignment.
    let digest = unsafe { data.cast::<[u8; 32]>().read() };
    let made = instant.sign(&key, &digest);
    // SAFETY: not null, with room for at least 64 bytes, bytes need no alignment.
    unsafe { signature.cast::<[u8; SIGNATURE_BYTES]>().write(made) };
    CKR_OK
}

/// # Safety
///
/// The arguments are those of a `C_Sign` that answered `CKR_OK` into a buffer of `room` bytes.
unsafe fn tamper_with(
    (twist, room): (Twist, CK_ULONG),
    (data, data_length): (CK_BYTE_PTR, CK_ULONG),
    (signature, signature_length): (CK_BYTE_PTR, CK_ULONG_PTR),
) -> CK_RV {
    // SAFETY: a place for one length, as `C_Sign` has just written it.
    let Some(length) = (unsafe { signature_length.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    let Ok(asked) = usize::try_from(data_length) else { return CKR_GENERAL_ERROR };
    let tamper = if let Twist::Tamper(tamper) = twist { Some(tamper) } else { None };
    if *length != SIGNATURE_LENGTH {
        // A checkpoint's, which nothing but errors spoils.
        return if tamper.is_none() { CKR_OK } else { CKR_GENERAL_ERROR };
    }
    // SAFETY: 64 bytes that `C_Sign` has just written; nobody else holds them during the call.
    let bytes = unsafe { &mut *signature.cast::<[u8; SIGNATURE_BYTES]>() };
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).replace(*bytes);
    let Some(tamper) = tamper else { return CKR_OK };
    // SAFETY: `C_Sign` has just read as many bytes from here.
    let digest = unsafe { std::slice::from_raw_parts(data, asked) };
    match tamper.spoil(bytes, digest, before).map(CK_ULONG::try_from) {
        Some(Ok(left)) if left <= room => {
            *length = left;
            CKR_OK
        }
        Some(_) | None => CKR_GENERAL_ERROR,
    }
}

/// The signature of the call before, as it truly was: one of another digest, to be replayed.
static BEFORE: Mutex<Option<[u8; SIGNATURE_BYTES]>> = Mutex::new(None);

/// [`SIGNATURE_BYTES`] as PKCS#11 counts.
const SIGNATURE_LENGTH: CK_ULONG = 64;
