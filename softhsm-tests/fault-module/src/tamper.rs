//! Spoils a finished signature, r then s, 32 bytes each, each in a way a token might.

use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::scalar::IsHigh;
use k256::{FieldBytes, Scalar};

/// A way to spoil it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tamper {
    /// The lowest bit of s is flipped.
    FlipS,
    /// Signed by another key.
    Foreign,
    /// s is above half the order.
    HighS,
    /// Of the call before, hence of another digest.
    Replayed,
    /// r is zero.
    ZeroR,
    /// s is zero.
    ZeroS,
    /// The last byte is missing.
    Short,
    /// There is a byte too many.
    Long,
}

/// Length of r and s.
pub(crate) const SIGNATURE_BYTES: usize = 64;

impl Tamper {
    /// Spoils `signature`, made over `digest`, where `before` was made in the call before. Gives
    /// the length to report; `None` if it cannot.
    pub(crate) fn spoil(
        self,
        signature: &mut [u8; SIGNATURE_BYTES],
        digest: &[u8],
        before: Option<[u8; SIGNATURE_BYTES]>,
    ) -> Option<usize> {
        match self {
            Self::FlipS => {
                let last = signature.last_mut()?;
                *last ^= 1;
            }
            Self::Foreign => {
                let key = SigningKey::from_slice(&[0x42; 32]).ok()?;
                let foreign: Signature = key.sign_prehash(digest).ok()?;
                signature.copy_from_slice(&foreign.to_bytes());
            }
            Self::HighS => {
                let s = signature.last_chunk_mut::<32>()?;
                let scalar = Option::<Scalar>::from(Scalar::from_repr(FieldBytes::from(*s)))?;
                if !bool::from(scalar.is_high()) {
                    s.copy_from_slice(&scalar.negate().to_repr());
                }
            }
            Self::Replayed => *signature = before?,
            Self::ZeroR => signature.first_chunk_mut::<32>()?.fill(0),
            Self::ZeroS => signature.last_chunk_mut::<32>()?.fill(0),
            Self::Short => return SIGNATURE_BYTES.checked_sub(1),
            Self::Long => return SIGNATURE_BYTES.checked_add(1),
        }
        Some(SIGNATURE_BYTES)
    }
}
