//! The functions that can be spoiled.
//!
//! Each forwards to the real module and adds nothing of its own, except `C_GetAttributeValue` (the
//! point), those of [`crate::signing`] and those of [`crate::slots`].

use cryptoki_sys::*;

use crate::frame::{Twist, around};
use crate::instant::Instant;
use crate::module::real;
use crate::object::{report_raw_point, report_throw_away_point};
use crate::signing::{C_Sign, C_SignInit};
use crate::slots::{C_GetSlotList, C_GetTokenInfo, C_OpenSession};

/// Defines a forwarding function a line, with what must happen in instant mode once it succeeded.
macro_rules! forward {
    ($(
        $name:ident($($argument:ident: $kind:ty),*) $(in $session:ident)? $(then $after:expr)?;
    )*) => {$(
        #[expect(non_snake_case, reason = "PKCS#11's names, not ours")]
        // Allowed and not expected, because only some of them have that many.
        #[allow(clippy::too_many_arguments, reason = "PKCS#11's signatures, not ours")]
        unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            let session: Option<CK_SESSION_HANDLE> = None$(.or(Some($session)))?;
            around(stringify!($name), session, |module, _| {
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
        table.C_GetSlotList = Some(C_GetSlotList);
        table.C_OpenSession = Some(C_OpenSession);
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
        "C_GetSlotList",
        "C_OpenSession",
        $(stringify!($name)),*
    ];
    };
}

forward! {
    C_Initialize(arguments: CK_VOID_PTR);
    C_Finalize(reserved: CK_VOID_PTR) then |i: &Instant| i.forget_all();
    C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: CK_MECHANISM_INFO_PTR);
    C_CloseSession(session: CK_SESSION_HANDLE) in session then |i: &Instant| { i.end(session); };
    C_CloseAllSessions(slot: CK_SLOT_ID) then |i: &Instant| i.forget_all();
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: CK_SESSION_INFO_PTR) in session;
    C_Login(
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: CK_UTF8CHAR_PTR,
        length: CK_ULONG
    ) in session;
    C_Logout(session: CK_SESSION_HANDLE) in session then |i: &Instant| i.forget_all();
    C_CreateObject(
        session: CK_SESSION_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG,
        object: CK_OBJECT_HANDLE_PTR
    ) in session;
    C_CopyObject(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG,
        copy: CK_OBJECT_HANDLE_PTR
    ) in session;
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) in session
        then |i: &Instant| i.forget(object);
    C_SetAttributeValue(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG
    ) in session then |i: &Instant| i.forget(object);
    C_FindObjectsInit(
        session: CK_SESSION_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        count: CK_ULONG
    ) in session;
    C_FindObjects(
        session: CK_SESSION_HANDLE,
        objects: CK_OBJECT_HANDLE_PTR,
        most: CK_ULONG,
        count: CK_ULONG_PTR
    ) in session;
    C_FindObjectsFinal(session: CK_SESSION_HANDLE) in session;
    C_GenerateKeyPair(
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_PTR,
        public: CK_ATTRIBUTE_PTR,
        public_count: CK_ULONG,
        private: CK_ATTRIBUTE_PTR,
        private_count: CK_ULONG,
        public_key: CK_OBJECT_HANDLE_PTR,
        private_key: CK_OBJECT_HANDLE_PTR
    ) in session;
    C_WrapKey(
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_PTR,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        wrapped: CK_BYTE_PTR,
        length: CK_ULONG_PTR
    ) in session;
    C_GenerateRandom(session: CK_SESSION_HANDLE, random: CK_BYTE_PTR, length: CK_ULONG) in session;
}

/// Whether a function is called in a session.
pub(crate) fn has_session(function: &str) -> bool {
    let without = [
        "C_Initialize",
        "C_Finalize",
        "C_GetSlotList",
        "C_GetTokenInfo",
        "C_GetMechanismInfo",
        "C_OpenSession",
        "C_CloseAllSessions",
    ];
    !without.contains(&function)
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    around("C_GetAttributeValue", Some(session), |module, twist| {
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
