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
    /// r is zero.
    ZeroR,
    /// The last byte is missing.
    Short,
}

/// Length of r and s.
pub(crate) const SIGNATURE_BYTES: usize = 64;

impl Tamper {
    /// Spoils `signature`, made over `digest`. Gives the length to report; `None` if it cannot.
    pub(crate) fn spoil(
        self,
        signature: &mut [u8; SIGNATURE_BYTES],
        digest: &[u8],
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
            Self::ZeroR => signature.first_chunk_mut::<32>()?.fill(0),
            Self::Short => return SIGNATURE_BYTES.checked_sub(1),
        }
        Some(SIGNATURE_BYTES)
    }
}
