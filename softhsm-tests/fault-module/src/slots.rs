//! Slots and sessions: a token that is out of its slot, or has few sessions.

use cryptoki_sys::*;

use crate::frame::{Twist, around};
use crate::module::real;
use crate::world;

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
pub(crate) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    around("C_GetTokenInfo", None, |module, twist| {
        let answer = real!(module, C_GetTokenInfo(slot, info));
        // SAFETY: null or, as the caller promises, a place for one record, which the real module
        // has just filled; nobody else holds it during the call.
        let info = unsafe { info.as_mut() };
        let Some(info) = info.filter(|_| answer == CKR_OK) else { return answer };
        match twist {
            Twist::Guise(Guise::Serial) => info.serialNumber = *OTHER_SERIAL,
            Twist::Guise(Guise::Maker) => info.manufacturerID = *OTHER_MAKER,
            Twist::Guise(Guise::FinalTry) => info.flags |= CKF_USER_PIN_FINAL_TRY,
            Twist::None | Twist::Tamper(_) | Twist::RawPoint | Twist::WritingOnly => {}
        }
        if let Some((most, open)) = world::sessions(module) {
            (info.ulMaxSessionCount, info.ulMaxRwSessionCount) = (most, most);
            info.ulSessionCount = open;
        }
        answer
    })
}

/// What a token is made to say of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guise {
    /// Another serial number: another token is in the slot.
    Serial,
    /// Another maker, whose sessions may be closed.
    Maker,
    /// One more wrong PIN locks it.
    FinalTry,
}

const OTHER_MAKER: &[u8; 32] = b"another maker                   ";

/// What no token of a rig has.
const OTHER_SERIAL: &[u8; 16] = b"another token!!!";

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
pub(crate) unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    slots: CK_SLOT_ID_PTR,
    count: CK_ULONG_PTR,
) -> CK_RV {
    around("C_GetSlotList", None, |module, _| {
        if !world::is_removed() || present == CK_FALSE {
            return real!(module, C_GetSlotList(present, slots, count));
        }
        // SAFETY: null or a place for one number, which nobody else holds during the call.
        let Some(count) = (unsafe { count.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        *count = 0;
        CKR_OK
    })
}

#[expect(non_snake_case, reason = "PKCS#11's, not ours")]
pub(crate) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: CK_VOID_PTR,
    notify: CK_NOTIFY,
    session: CK_SESSION_HANDLE_PTR,
) -> CK_RV {
    around("C_OpenSession", None, |module, twist| {
        if matches!(twist, Twist::WritingOnly) && flags & CKF_RW_SESSION == 0 {
            return CKR_FUNCTION_NOT_SUPPORTED;
        }
        if world::sessions(module).is_some_and(|(most, open)| open >= most) {
            return CKR_SESSION_COUNT;
        }
        let answer = real!(module, C_OpenSession(slot, flags, application, notify, session));
        // SAFETY: null or, after CKR_OK, the handle that the real module has just written.
        if let (CKR_OK, Some(session)) = (answer, unsafe { session.as_ref() }) {
            world::opened(*session);
        }
        answer
    })
}
