//! Key objects as they are in the real module, and the point reported in their place.

use cryptoki_sys::*;

use crate::instant::{DER_POINT_BYTES, der_point, throw_away_key};
use crate::module::{Module, real};

/// secp256k1 as `CKA_EC_PARAMS`: its object identifier, 1.3.132.0.10, in DER.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Lengths of a point with and without DER around it, as PKCS#11 counts.
const DER_POINT_LENGTH: CK_ULONG = 67;
const RAW_POINT_LENGTH: CK_ULONG = 65;

/// A session and an object in it.
type Place = (CK_SESSION_HANDLE, CK_OBJECT_HANDLE);

/// Puts the throw-away point in the place of the real one, which was just reported, if the key is
/// on secp256k1.
pub(crate) fn report_throw_away_point(module: &Module, place: Place, point: &mut CK_ATTRIBUTE) {
    if point.pValue.is_null() || point.ulValueLen != DER_POINT_LENGTH {
        return;
    }
    if let Some(der) = throw_away_point(module, place) {
        // SAFETY: the real module has just written a point of this very length here.
        unsafe { point.pValue.cast::<[u8; DER_POINT_BYTES]>().write(der) };
    }
}

/// Reports the point without the two bytes of DER before it, into `room` bytes. `None` if the
/// object has no uncompressed point.
pub(crate) fn report_raw_point(
    module: &Module,
    place: Place,
    point: &mut CK_ATTRIBUTE,
    room: CK_ULONG,
) -> Option<CK_RV> {
    let mut der = [0; DER_POINT_BYTES];
    let length = value(module, place, CKA_EC_POINT, &mut der)?;
    if module.instant.is_some() {
        der = throw_away_point(module, place).unwrap_or(der);
    }
    let raw = der.last_chunk::<65>().filter(|_| length == DER_POINT_BYTES)?;
    let asked_for_length = point.pValue.is_null();
    if !asked_for_length && room < RAW_POINT_LENGTH {
        point.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return Some(CKR_BUFFER_TOO_SMALL);
    }
    point.ulValueLen = RAW_POINT_LENGTH;
    if !asked_for_length {
        // SAFETY: the caller promises `room` bytes here, which are enough.
        unsafe { point.pValue.cast::<[u8; 65]>().write(*raw) };
    }
    Some(CKR_OK)
}

fn throw_away_point(module: &Module, place: Place) -> Option<[u8; DER_POINT_BYTES]> {
    let object = Object::read(module, place)?;
    der_point(&throw_away_key(object.id()))
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
    pub(crate) fn read(module: &Module, place: Place) -> Option<Self> {
        let mut curve = [0u8; 16];
        let mut id = [0u8; 255];
        let mut sign = [CK_FALSE; 1];
        let curve_length = value(module, place, CKA_EC_PARAMS, &mut curve)?;
        let id_length = value(module, place, CKA_ID, &mut id)?;
        // A public key has no CKA_SIGN: it may not sign, and its point is still replaced.
        let may_sign = value(module, place, CKA_SIGN, &mut sign) == Some(1) && sign == [CK_TRUE];
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
    (session, object): Place,
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
