//! The functions that can be spoiled, and the order of things within a call.
//!
//! Each forwards to the real module and adds nothing of its own, except `C_Sign` (spoilt or
//! instant), `C_SignInit` (instant), `C_GetAttributeValue` (the point) and `C_GetTokenInfo` (the
//! serial number).

use std::thread;
use std::time::Duration;

use cryptoki_sys::*;

use crate::checkpoints;
use crate::instant::{Instant, throw_away_key};
use crate::module::{Module, module, real};
use crate::object::{Object, report_raw_point, report_throw_away_point};
use crate::script::Fault;
use crate::tamper::{SIGNATURE_BYTES, Tamper};

/// How often a held call looks whether its line has gone.
const HANG_POLL: Duration = Duration::from_millis(2);

/// [`SIGNATURE_BYTES`] as PKCS#11 counts.
const SIGNATURE_LENGTH: CK_ULONG = 64;

/// What is still to be done to the answer of a forwarded call.
enum Twist {
    None,
    Tamper(Tamper),
    RawPoint,
    OtherSerial,
}

/// Log, fault, call, log: the frame around every listed function.
fn around(function: &str, call: impl FnOnce(&'static Module, Twist) -> CK_RV) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(log) = &module.log {
        log.called(function);
    }
    let answer = spoil(module, function, call);
    if let Some(log) = &module.log {
        log.returned(function, answer);
    }
    answer
}

fn spoil(
    module: &'static Module,
    function: &str,
    call: impl FnOnce(&'static Module, Twist) -> CK_RV,
) -> CK_RV {
    let Some(script) = &module.script else { return call(module, Twist::None) };
    let Ok(strike) = script.strike(function) else { return CKR_GENERAL_ERROR };
    let Some(strike) = strike else { return call(module, Twist::None) };
    match strike.fault {
        Fault::Delay(time) => thread::sleep(time),
        Fault::Hang => {
            if let Some(log) = &module.log {
                log.hanging(function);
            }
            while script.still_says(&strike.line) {
                thread::sleep(HANG_POLL);
            }
        }
        Fault::Error(value) => return value,
        Fault::Lost(value) => {
            call(module, Twist::None);
            return value;
        }
        Fault::Tamper(tamper) => return call(module, Twist::Tamper(tamper)),
        Fault::RawPoint => return call(module, Twist::RawPoint),
        Fault::OtherSerial => return call(module, Twist::OtherSerial),
    }
    call(module, Twist::None)
}

/// Defines a forwarding function a line, with what must happen in instant mode once it succeeded.
macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:ty),*) $(then $after:expr)?;)*) => {$(
        #[expect(non_snake_case, reason = "PKCS#11's names, not ours")]
        // Allowed and not expected, because only some of them have that many.
        #[allow(clippy::too_many_arguments, reason = "PKCS#11's signatures, not ours")]
        unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            around(stringify!($name), |module, _| {
                let answer = real!(module, $name($($argument),*));
                $(if let (CKR_OK, Some(instant)) = (answer, &module.instant) {
                    let after: &dyn Fn(&Instant) = &$after;
                    after(instant);
                })?
                answer
            })
        }
    )*

    /// The real table with our functions in their places.
    pub(crate) fn table(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
        let mut table = *real;
        table.C_GetFunctionList = Some(crate::module::C_GetFunctionList);
        table.C_SignInit = Some(C_SignInit);
        table.C_Sign = Some(C_Sign);
        table.C_GetAttributeValue = Some(C_GetAttributeValue);
        table.C_GetTokenInfo = Some(C_GetTokenInfo);
        $(table.$name = Some($name);)*
        table
    }

    /// The functions that are logged and may be named in a script.
    pub(crate) const LISTED: &[&str] = &[
        "C_SignInit",
        "C_Sign",
        "C_SignInit:EdDSA",
        "C_Sign:EdDSA",
        "C_GetAttributeValue",
        "C_GetTokenInfo",
        $(stringify!($name)),*
    ];
    };
}

forward! {
    C_Initialize(arguments: CK_VOID_PTR);
    C_Finalize(reserved: CK_VOID_PTR) then |i: &Instant| i.forget_all();
    C_GetSlotList(present: CK_BBOOL, slots: CK_SLOT_ID_PTR, count: CK_ULONG_PTR);
    C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: CK_MECHANISM_INFO_PTR);
    C_OpenSession(
        slot: CK_SLOT_ID,
        flags: CK_FLAGS,
        application: CK_VOID_PTR,
        notify: CK_NOTIFY,
        session: CK_SESSION_HANDLE_PTR
    );
    C_CloseSession(session: CK_SESSION_HANDLE) then |i: &Instant| { i.end(session); };
    C_CloseAllSessions(slot: CK_SLOT_ID) then |i: &Instant| i.forget_all();
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: CK_SESSION_INFO_PTR);
    C_Login(
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: CK_UTF8CHAR_PTR,
        length: CK_ULONG
    );
    C_Logout(session: CK_SESSION_HANDLE) then |i: &Instant| i.forget_all();
    C_CreateObject(
        session: CK_SESSION_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG,
        object: CK_OBJECT_HANDLE_PTR
    );
    C_CopyObject(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG,
        copy: CK_OBJECT_HANDLE_PTR
    );
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE)
        then |i: &Instant| i.forget(object);
    C_SetAttributeValue(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG
    ) then |i: &Instant| i.forget(object);
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: CK_ATTRIBUTE_PTR, count: CK_ULONG);
    C_FindObjects(
        session: CK_SESSION_HANDLE,
        objects: CK_OBJECT_HANDLE_PTR,
        most: CK_ULONG,
        count: CK_ULONG_PTR
    );
    C_FindObjectsFinal(session: CK_SESSION_HANDLE);
    C_GenerateKeyPair(
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_PTR,
        public: CK_ATTRIBUTE_PTR,
        public_count: CK_ULONG,
        private: CK_ATTRIBUTE_PTR,
        private_count: CK_ULONG,
        public_key: CK_OBJECT_HANDLE_PTR,
        private_key: CK_OBJECT_HANDLE_PTR
    );
    C_WrapKey(
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_PTR,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        wrapped: CK_BYTE_PTR,
        length: CK_ULONG_PTR
    );
    C_GenerateRandom(session: CK_SESSION_HANDLE, random: CK_BYTE_PTR, length: CK_ULONG);
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: null or, as PKCS#11 demands, a mechanism that lives through the call.
    let asked = unsafe { mechanism.as_ref() }.map(|asked| asked.mechanism);
    let eddsa = checkpoints::begins(session, asked);
    around(if eddsa { "C_SignInit:EdDSA" } else { "C_SignInit" }, |module, _| {
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
unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_length: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_length: CK_ULONG_PTR,
) -> CK_RV {
    let sign = |module: &'static Module, tamper: Twist| {
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
        match tamper {
            // SAFETY: after CKR_OK `signature` holds `signature_length` bytes and `data` is whole.
            Twist::Tamper(tamper) if answer == CKR_OK => unsafe {
                tamper_with(tamper, (data, data_length), (signature, signature_length))
            },
            Twist::Tamper(_) | Twist::None | Twist::RawPoint | Twist::OtherSerial => answer,
        }
    };
    if signature.is_null() {
        // Only the length is asked for: neither a fault nor a line in the log.
        return module().map_or(CKR_GENERAL_ERROR, |module| sign(module, Twist::None));
    }
    around(if checkpoints::is_of(session) { "C_Sign:EdDSA" } else { "C_Sign" }, sign)
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
/// The arguments are those of a `C_Sign` that answered `CKR_OK` into a buffer.
unsafe fn tamper_with(
    tamper: Tamper,
    (data, data_length): (CK_BYTE_PTR, CK_ULONG),
    (signature, signature_length): (CK_BYTE_PTR, CK_ULONG_PTR),
) -> CK_RV {
    // SAFETY: a place for one length, as `C_Sign` has just written it.
    let Some(length) = (unsafe { signature_length.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    let (Ok(made), Ok(asked)) = (usize::try_from(*length), usize::try_from(data_length)) else {
        return CKR_GENERAL_ERROR;
    };
    if made != SIGNATURE_BYTES {
        return CKR_GENERAL_ERROR;
    }
    // SAFETY: 64 bytes that `C_Sign` has just written; nobody else holds them during the call.
    let bytes = unsafe { &mut *signature.cast::<[u8; SIGNATURE_BYTES]>() };
    // SAFETY: `C_Sign` has just read as many bytes from here.
    let digest = unsafe { std::slice::from_raw_parts(data, asked) };
    match tamper.spoil(bytes, digest).map(CK_ULONG::try_from) {
        Some(Ok(left)) => {
            *length = left;
            CKR_OK
        }
        Some(Err(_)) | None => CKR_GENERAL_ERROR,
    }
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    around("C_GetAttributeValue", |module, twist| {
        // SAFETY: null or, as the caller promises, `count` attributes that live through the call.
        let place = unsafe { point_place(template, count) };
        let room = place.as_ref().map(|point| point.ulValueLen);
        let answer = real!(module, C_GetAttributeValue(session, object, template, count));
        match (place, room, twist) {
            (Some(point), Some(room), Twist::RawPoint) => {
                report_raw_point(module, (session, object), point, room).unwrap_or(answer)
            }
            (Some(point), _, _) if module.instant.is_some() && answer == CKR_OK => {
                report_throw_away_point(module, (session, object), point);
                answer
            }
            _ => answer,
        }
    })
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    around("C_GetTokenInfo", |module, twist| {
        let answer = real!(module, C_GetTokenInfo(slot, info));
        // SAFETY: null or, as the caller promises, a place for one record, which the real module
        // has just filled; nobody else holds it during the call.
        let info = unsafe { info.as_mut() };
        if let (CKR_OK, Twist::OtherSerial, Some(info)) = (answer, twist, info) {
            info.serialNumber = *OTHER_SERIAL;
        }
        answer
    })
}

/// What no token of a rig has.
const OTHER_SERIAL: &[u8; 16] = b"another token!!!";

/// The place for `CKA_EC_POINT` in a template.
///
/// # Safety
///
/// `template` is null or points to `count` attributes that nobody else holds.
unsafe fn point_place<'a>(
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> Option<&'a mut CK_ATTRIBUTE> {
    let count = usize::try_from(count).ok().filter(|_| !template.is_null())?;
    // SAFETY: not null, and the caller promises the rest.
    let attributes = unsafe { std::slice::from_raw_parts_mut(template, count) };
    attributes.iter_mut().find(|attribute| attribute.type_ == CKA_EC_POINT)
}
