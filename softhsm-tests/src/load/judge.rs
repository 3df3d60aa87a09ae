//! Looks at every reply as a suspicious caller would. libsecp256k1, so that the judge shares no
//! code with the signer, and costs little on the cores that are being measured.

use alloy_primitives::{Address, B256, keccak256};
use portcullis_proto::v1::sign_response::Answer;
use portcullis_proto::v1::{SignResponse, Signed};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use super::drive::Reply;
use super::preimages::Preimages;
use crate::curve::address_of;

/// What is wrong with a reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyFault {
    /// Parked, or empty.
    #[error("the reply holds no signature")]
    NoSignature,
    /// Not r, s and a parity.
    #[error("the signature is not r, s and a parity of a point on the curve")]
    Malformed(#[source] Option<secp256k1::Error>),
    /// The reply is about another digest.
    #[error("the digest is not that of the transaction that was sent")]
    OtherDigest,
    /// s is over half the order.
    #[error("s is high")]
    HighS,
    /// Somebody else signed.
    #[error("the signature recovers to {0}")]
    Stranger(Address),
    /// The raw transaction is not the one sent with the signature put in place.
    #[error("the raw transaction is another one")]
    OtherTransaction,
}

/// Knows the address that must have signed.
#[derive(Debug)]
pub struct Judge {
    address: Address,
    curve: Secp256k1<VerifyOnly>,
}

impl Judge {
    /// For replies of the key with this address.
    pub fn new(address: Address) -> Self {
        Self { address, curve: Secp256k1::verification_only() }
    }

    /// The address that must have signed.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Everything a caller can check of the reply to this preimage.
    pub fn check(&self, preimage: &[u8], reply: SignResponse) -> Result<Reply, ReplyFault> {
        let Some(Answer::Signed(signed)) = reply.answer else {
            return Err(ReplyFault::NoSignature);
        };
        let digest = keccak256(preimage);
        if signed.digest != digest.as_slice() {
            return Err(ReplyFault::OtherDigest);
        }
        self.check_signature(digest, &signed)?;
        let raw = Preimages::signed(preimage, &signed.signature);
        if raw.as_ref() != Some(&signed.raw_transaction) {
            return Err(ReplyFault::OtherTransaction);
        }
        Ok(Reply { sequence: signed.sequence, digest })
    }

    fn check_signature(&self, digest: B256, signed: &Signed) -> Result<(), ReplyFault> {
        let Some((scalars, &[parity @ (0 | 1)])) = signed.signature.split_at_checked(64) else {
            return Err(ReplyFault::Malformed(None));
        };
        if scalars[32..] > HALF_ORDER[..] {
            return Err(ReplyFault::HighS);
        }
        let malformed = |error| ReplyFault::Malformed(Some(error));
        let id = RecoveryId::try_from(i32::from(parity)).map_err(malformed)?;
        let signature = RecoverableSignature::from_compact(scalars, id).map_err(malformed)?;
        let message = Message::from_digest(digest.0);
        let key = self.curve.recover_ecdsa(&message, &signature).map_err(malformed)?;
        let address = address_of(&key.serialize_uncompressed());
        if address == self.address { Ok(()) } else { Err(ReplyFault::Stranger(address)) }
    }
}

/// Half the order of secp256k1, rounded down: the largest s that is low.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, uint};

    use super::*;
    use crate::curve::SoftwareKey;

    const ORDER: U256 =
        uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

    fn key() -> SoftwareKey {
        SoftwareKey::named("judged").expect("key")
    }

    fn preimage() -> Vec<u8> {
        Preimages::new().with_nonce(Preimages::FIRST)
    }

    fn honest(key: &SoftwareKey, preimage: &[u8]) -> Signed {
        let digest = keccak256(preimage);
        let given = key.sign(digest);
        let (r, s) = (given.r().to_be_bytes::<32>(), given.s().to_be_bytes::<32>());
        let signature = [&r[..], &s[..], &[u8::from(given.v())]].concat();
        Signed {
            raw_transaction: Preimages::signed(preimage, &signature).expect("parts"),
            transaction_hash: Vec::new(),
            signature,
            digest: digest.to_vec(),
            sequence: 7,
            leaf_hash: Vec::new(),
            receipt: None,
        }
    }

    fn verdict(signed: Signed) -> Result<Reply, ReplyFault> {
        let reply = SignResponse { answer: Some(Answer::Signed(signed)) };
        Judge::new(key().address()).check(&preimage(), reply)
    }

    #[test]
    fn an_honest_reply_passes_with_its_sequence_and_digest() {
        let reply = verdict(honest(&key(), &preimage())).expect("honest");
        assert_eq!((reply.sequence, reply.digest), (7, keccak256(preimage())));
    }

    #[test]
    fn a_signature_by_another_key_is_a_strangers() {
        let stranger = SoftwareKey::named("stranger").expect("key");
        let refused = verdict(honest(&stranger, &preimage()));
        assert!(matches!(refused, Err(ReplyFault::Stranger(who)) if who == stranger.address()));
    }

    #[test]
    fn a_signature_of_another_transaction_does_not_pass_under_our_digest() {
        let other = Preimages::new().with_nonce(Preimages::FIRST + 1);
        assert!(matches!(verdict(honest(&key(), &other)), Err(ReplyFault::OtherDigest)));
        let mut relabelled = honest(&key(), &other);
        relabelled.digest = keccak256(preimage()).to_vec();
        assert!(matches!(
            verdict(relabelled),
            Err(ReplyFault::Stranger(_) | ReplyFault::Malformed(_))
        ));
    }

    #[test]
    fn the_high_twin_of_a_good_signature_is_refused() {
        let mut signed = honest(&key(), &preimage());
        let s = U256::from_be_slice(&signed.signature[32..64]);
        signed.signature[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
        signed.signature[64] ^= 1;
        assert!(matches!(verdict(signed), Err(ReplyFault::HighS)));
    }

    #[test]
    fn a_raw_transaction_other_than_ours_is_refused() {
        let mut signed = honest(&key(), &preimage());
        let last = signed.raw_transaction.len() - 1;
        signed.raw_transaction[last] ^= 1;
        assert!(matches!(verdict(signed), Err(ReplyFault::OtherTransaction)));
    }

    #[test]
    fn half_the_order_is_the_largest_low_s() {
        assert_eq!(U256::from_be_bytes(HALF_ORDER), ORDER >> 1);
    }
}
