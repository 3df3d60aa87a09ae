//! Key objects as they are in the real module, and the point reported in their place.

use cryptoki_sys::*;

use crate::instant::{DER_POINT_BYTES, der_point, throw_away_key};
use crate::module::{Module, real};

/// secp256k1 as `CKA_EC_PARAMS`: its object identifier, 1.3.132.0.10, in DER.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Puts the throw-away point in the place of the real one, if the key is on secp256k1.
pub(crate) fn report_throw_away_point(
    module: &Module,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    point: &mut CK_ATTRIBUTE,
) {
    let Some(object) = Object::read(module, session, object) else { return };
    let Some(der) = der_point(&throw_away_key(object.id())) else { return };
    // SAFETY: the real module has just written a point of this very length here.
    unsafe { point.pValue.cast::<[u8; DER_POINT_BYTES]>().write(der) };
}

/// Takes the two bytes of DER before the point away.
pub(crate) fn strip_der(point: &mut CK_ATTRIBUTE) {
    point.ulValueLen = point.ulValueLen.saturating_sub(2);
    if point.pValue.is_null() {
        return;
    }
    // SAFETY: the real module has just written a point of this very length here.
    let der = unsafe { &mut *point.pValue.cast::<[u8; DER_POINT_BYTES]>() };
    der.copy_within(2.., 0);
}

/// What instant mode needs to know of a key on secp256k1.
pub(crate) struct Object {
    id: [u8; 255],
    id_length: usize,
    /// Its `CKA_SIGN`; false for a public key.
    pub(crate) may_sign: bool,
}

impl Object {
    /// Asks the real module. `None` if the object is no key on secp256k1, or cannot be read.
    pub(crate) fn read(
        module: &Module,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
    ) -> Option<Self> {
        let mut curve = [0u8; 16];
        let mut id = [0u8; 255];
        let mut sign = [CK_FALSE; 1];
        let curve_length = value(module, (session, object), CKA_EC_PARAMS, &mut curve)?;
        let id_length = value(module, (session, object), CKA_ID, &mut id)?;
        // A public key has no CKA_SIGN: it may not sign, and its point is still replaced.
        let may_sign =
            value(module, (session, object), CKA_SIGN, &mut sign) == Some(1) && sign == [CK_TRUE];
        let known = curve.get(..curve_length)? == SECP256K1;
        known.then_some(Self { id, id_length, may_sign })
    }

    /// Its `CKA_ID`.
    pub(crate) fn id(&self) -> &[u8] {
        self.id.get(..self.id_length).unwrap_or_default()
    }
}

/// Reads one attribute of the real object into `buffer`, and gives its length.
fn value(
    module: &Module,
    (session, object): (CK_SESSION_HANDLE, CK_OBJECT_HANDLE),
    kind: CK_ATTRIBUTE_TYPE,
    buffer: &mut [u8],
) -> Option<usize> {
    let mut attribute = CK_ATTRIBUTE {
        type_: kind,
        pValue: buffer.as_mut_ptr().cast(),
        ulValueLen: CK_ULONG::try_from(buffer.len()).ok()?,
    };
    let answer = real!(module, C_GetAttributeValue(session, object, &raw mut attribute, 1));
    let length = usize::try_from(attribute.ulValueLen).ok()?;
    (answer == CKR_OK && length <= buffer.len()).then_some(length)
}
