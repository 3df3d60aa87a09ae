//! Checks a token's signature against the pinned point, and finds its recovery bit on the way.
//!
//! Nothing here is secret, so nothing here is constant-time. Nothing here may ever accept a
//! signature that does not verify: a mistake must show as a refusal.

mod comb;

use std::fmt;
use std::sync::OnceLock;

use alloy_primitives::{Address, B256, keccak256};
use k256::elliptic_curve::ops::{Invert, Reduce};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::scalar::IsHigh;
use k256::elliptic_curve::sec1::FromEncodedPoint;
use k256::elliptic_curve::{Field, PrimeField};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use comb::Comb;

/// Verifies `raw` for this point and digest, and says which of the two recovery bits is its own.
///
/// One step: R = u1·G + u2·Q is what verification computes anyway; the signature is good if
/// R.x is r, and the parity of R.y is the recovery bit. s is made low first, because tokens give
/// the high one half of the time and Ethereum takes only the low one (EIP-2).
///
/// # Errors
///
/// [`BadSignature`] for everything that is not a signature of exactly this digest by exactly this
/// key: zero or out-of-range scalars, and also the case R.x ≥ n, which a `y_parity` cannot
/// express (one in 2^127; nobody will see it).
pub fn verify_and_recover(
    point: &PublicPoint,
    digest: &B256,
    raw: &RawSignature,
) -> Result<RecoverableSignature, BadSignature> {
    let (r, s) = raw.scalars().ok_or(BadSignature)?;
    let s = low(s);
    let z = <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(digest.0));
    let inverse = Option::<Scalar>::from(s.invert_vartime()).ok_or(BadSignature)?;
    let (u1, u2) = (z.mul(&inverse), r.mul(&inverse));
    let sum = comb::sum((comb::generator(), &u1), (point.comb(), &u2)).to_affine();
    // The point at infinity has x = 0 here, and r is not 0.
    if sum.x() != r.to_repr() {
        return Err(BadSignature);
    }
    Ok(RecoverableSignature {
        r: r.to_repr().into(),
        s: s.to_repr().into(),
        y_parity: bool::from(sum.y_is_odd()),
    })
}

/// The token's answer is no signature of this digest by this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not verify against the pinned point")]
pub struct BadSignature;

/// A key's public point, parsed once: on the curve, with its Ethereum address.
///
/// Two are equal if their encodings are. The table that makes verification fast (22 KiB) is built
/// at the first signature, so a vault with many idle keys does not pay for them.
pub struct PublicPoint {
    encoded: [u8; POINT_BYTES],
    affine: AffinePoint,
    address: Address,
    comb: OnceLock<Comb>,
}

/// An uncompressed SEC1 point: 0x04, x, y.
pub const POINT_BYTES: usize = 65;

/// Bytes that are not an uncompressed point on secp256k1.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an uncompressed secp256k1 point of 65 bytes")]
pub struct InvalidPoint;

impl PublicPoint {
    /// The 65 bytes it was parsed from.
    pub fn as_bytes(&self) -> &[u8; POINT_BYTES] {
        &self.encoded
    }

    /// Its Ethereum address: the last 20 bytes of Keccak-256 over x and y.
    pub fn address(&self) -> Address {
        self.address
    }

    fn comb(&self) -> &Comb {
        self.comb.get_or_init(|| Comb::of(&ProjectivePoint::from(self.affine)))
    }
}

impl TryFrom<&[u8]> for PublicPoint {
    type Error = InvalidPoint;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidPoint> {
        let encoded = <[u8; POINT_BYTES]>::try_from(bytes).map_err(|_| InvalidPoint)?;
        let [0x04, coordinates @ ..] = &encoded else { return Err(InvalidPoint) };
        let parsed = EncodedPoint::from_bytes(encoded).map_err(|_| InvalidPoint)?;
        let affine = Option::<AffinePoint>::from(AffinePoint::from_encoded_point(&parsed))
            .ok_or(InvalidPoint)?;
        let address = Address::from_word(keccak256(coordinates));
        Ok(Self { encoded, affine, address, comb: OnceLock::new() })
    }
}

impl PartialEq for PublicPoint {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for PublicPoint {}

impl fmt::Display for PublicPoint {
    /// `0x04…`, 132 characters.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", hex::encode(self.encoded))
    }
}

impl fmt::Debug for PublicPoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicPoint({})", self.address)
    }
}

/// r and s as the token gave them: 32 bytes each, big-endian, unchecked. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RawSignature([u8; 64]);

impl RawSignature {
    /// Takes what the token answered; `None` if it is not 64 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Both numbers, if both are between 1 and n-1.
    fn scalars(&self) -> Option<(Scalar, Scalar)> {
        let (r, s) = self.0.split_at_checked(32)?;
        Some((non_zero(r)?, non_zero(s)?))
    }
}

impl From<[u8; 64]> for RawSignature {
    fn from(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for RawSignature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RawSignature(..)")
    }
}

/// The smaller of s and n-s.
#[expect(clippy::arithmetic_side_effects, reason = "modulo n")]
fn low(s: Scalar) -> Scalar {
    if bool::from(s.is_high()) { -s } else { s }
}

fn non_zero(bytes: &[u8]) -> Option<Scalar> {
    let bytes = <[u8; 32]>::try_from(bytes).ok()?;
    let scalar = Option::<Scalar>::from(Scalar::from_repr(FieldBytes::from(bytes)))?;
    (!bool::from(Field::is_zero(&scalar))).then_some(scalar)
}

/// A verified signature: low s, and the parity that Ethereum calls `yParity`. Wiped on drop.
///
/// Made only by [`verify_and_recover`]. Prints nothing of itself (invariant 12).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoverableSignature {
    r: [u8; 32],
    s: [u8; 32],
    y_parity: bool,
}

impl RecoverableSignature {
    /// r, big-endian.
    pub fn r(&self) -> &[u8; 32] {
        &self.r
    }

    /// s, big-endian, at most n/2.
    pub fn s(&self) -> &[u8; 32] {
        &self.s
    }

    /// Whether R.y is odd.
    pub fn y_parity(&self) -> bool {
        self.y_parity
    }
}

impl fmt::Debug for RecoverableSignature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RecoverableSignature(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "test")]

    use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
    use k256::elliptic_curve::point::DecompactPoint;

    use super::*;

    fn key(seed: u64) -> SigningKey {
        SigningKey::from_slice(keccak256(seed.to_be_bytes()).as_slice()).unwrap()
    }

    fn point(key: &SigningKey) -> PublicPoint {
        let point = key.verifying_key().to_encoded_point(false);
        PublicPoint::try_from(point.as_bytes()).unwrap()
    }

    fn raw(signature: &Signature) -> RawSignature {
        RawSignature::from_slice(&signature.to_bytes()).unwrap()
    }

    fn with_s(signature: &Signature, change: impl Fn(Scalar) -> Scalar) -> RawSignature {
        let (r, s) = signature.split_scalars();
        let changed = Signature::from_scalars(*r, change(*s)).unwrap();
        raw(&changed)
    }

    #[test]
    fn every_good_signature_recovers_as_the_curve_library_recovers_it_low_or_high() {
        for seed in 0..3_000 {
            let key = key(seed % 16);
            let point = point(&key);
            let digest = keccak256(seed.to_le_bytes());
            let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
            for given in [raw(&signature), with_s(&signature, |s| -s)] {
                let ours = verify_and_recover(&point, &digest, &given).unwrap();
                assert_eq!(ours.y_parity(), recovery.is_y_odd());
                assert_eq!([*ours.r(), *ours.s()].concat(), signature.to_vec());
                let recovered =
                    VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, recovery);
                assert_eq!(recovered.unwrap(), *key.verifying_key());
            }
        }
    }

    #[test]
    fn a_signature_of_another_digest_key_or_number_is_bad() {
        for seed in 0..300 {
            let (right, wrong) = (key(seed), key(seed + 1_000));
            let digest = keccak256(seed.to_le_bytes());
            let (signature, _) = right.sign_prehash_recoverable(digest.as_slice()).unwrap();
            let bad = |point: &PublicPoint, digest: &B256, raw: &RawSignature| {
                assert_eq!(verify_and_recover(point, digest, raw).err(), Some(BadSignature));
            };
            bad(&point(&wrong), &digest, &raw(&signature));
            bad(&point(&right), &keccak256(digest), &raw(&signature));
            bad(&point(&right), &digest, &with_s(&signature, |s| s + Scalar::ONE));
            let mut flipped = raw(&signature);
            flipped.0[usize::try_from(seed).unwrap() % 64] ^= 1;
            bad(&point(&right), &digest, &flipped);
        }
    }

    #[test]
    fn zero_and_out_of_range_numbers_are_bad() {
        let key = key(1);
        let digest = keccak256(b"edge");
        let (signature, _) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
        let good: [u8; 64] = signature.to_bytes().into();
        let mut n = <[u8; 32]>::from((-Scalar::ONE).to_bytes());
        n[31] += 1;
        for edge in [[0; 32], n, [0xff; 32]] {
            for place in [0..32, 32..64] {
                let mut bytes = good;
                bytes[place].copy_from_slice(&edge);
                let raw = RawSignature::from(bytes);
                assert_eq!(
                    verify_and_recover(&point(&key), &digest, &raw).err(),
                    Some(BadSignature)
                );
            }
        }
    }

    #[test]
    fn a_digest_of_zero_or_above_the_order_is_reduced_as_the_standard_says() {
        let key = key(2);
        for digest in [B256::ZERO, B256::repeat_byte(0xff)] {
            let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
            let ours = verify_and_recover(&point(&key), &digest, &raw(&signature)).unwrap();
            assert_eq!(ours.y_parity(), recovery.is_y_odd());
        }
    }

    /// The smallest x ≥ n on the curve stands for R: r = x - n verifies by the standard, with a
    /// recovery id that Ethereum cannot write. Q = r⁻¹(sR - zG) makes it a real signature.
    #[test]
    fn a_signature_whose_x_wrapped_around_the_order_is_bad_though_it_verifies() {
        let (mut r, one) = (Scalar::ONE, Scalar::ONE);
        let nonce_point = loop {
            let bytes: FieldBytes = wrapped(&r);
            let found = Option::<AffinePoint>::from(AffinePoint::decompact(&bytes));
            match found {
                Some(found) => break ProjectivePoint::from(found),
                None => r += one,
            }
        };
        let digest = keccak256(b"wrapped");
        let z = <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(digest.0));
        let s = Scalar::from(5_u64);
        let q = (nonce_point * s - ProjectivePoint::GENERATOR * z) * r.invert().unwrap();
        let verifying = VerifyingKey::from_affine(q.to_affine()).unwrap();
        let signature = Signature::from_scalars(r, s).unwrap();
        let wrapped_id = [2, 3].map(|id| {
            let id = RecoveryId::from_byte(id).unwrap();
            VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, id).ok()
        });
        assert!(wrapped_id.contains(&Some(verifying)), "the example is a signature");
        let encoded = verifying.to_encoded_point(false);
        let point = PublicPoint::try_from(encoded.as_bytes()).unwrap();
        assert_eq!(verify_and_recover(&point, &digest, &raw(&signature)).err(), Some(BadSignature));
    }

    /// r + n as 32 bytes: n = 2^256 - c, so it is r - c modulo 2^256.
    fn wrapped(r: &Scalar) -> FieldBytes {
        use k256::elliptic_curve::Curve;
        let order = k256::Secp256k1::ORDER;
        let sum = order.wrapping_add(&U256::from(r));
        k256::elliptic_curve::bigint::ArrayEncoding::to_be_byte_array(&sum)
    }

    #[test]
    fn a_point_is_65_bytes_on_the_curve_and_knows_its_address() {
        // Private key 1; the address is well known.
        let one = SigningKey::from_slice(&Scalar::ONE.to_bytes()).unwrap();
        let point = point(&one);
        let address = point.address().to_string();
        assert_eq!(address, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        assert!(point.to_string().starts_with("0x0479be667e"));

        let good = *point.as_bytes();
        let mut off_curve = good;
        off_curve[64] ^= 1;
        let mut hybrid = good;
        hybrid[0] = 0x06;
        let bad: [&[u8]; 6] = [&[], &good[1..], &good[..64], &off_curve, &hybrid, &[0; 65]];
        for bytes in bad {
            assert_eq!(PublicPoint::try_from(bytes), Err(InvalidPoint));
        }
    }

    #[test]
    fn signatures_print_nothing_of_themselves() {
        let key = key(3);
        let digest = keccak256(b"quiet");
        let (signature, _) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
        let raw = raw(&signature);
        assert_eq!(format!("{raw:?}"), "RawSignature(..)");
        let good = verify_and_recover(&point(&key), &digest, &raw).unwrap();
        assert_eq!(format!("{good:?}"), "RecoverableSignature(..)");
    }
}
