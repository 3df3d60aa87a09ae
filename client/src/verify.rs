//! Believes nothing: checks a reply against what was asked, with the caller's own bytes.
//!
//! The only maker of [`SignedTransaction`]. It must never take a digest, an address or a
//! transaction from the reply as given.

use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use alloy_rlp::{Decodable, Encodable, Header};
use portcullis_proto::v1;

use crate::client::{Answer, Parked, SignedDigest, SignedTransaction};

/// Checks one reply to a request to sign `preimage` with the key of `address`.
pub(crate) fn answer(
    address: Address,
    preimage: &[u8],
    reply: v1::SignResponse,
) -> Result<Answer, UntrustedReply> {
    match reply.answer {
        Some(v1::sign_response::Answer::Signed(signed)) => {
            signed_transaction(address, preimage, signed).map(Answer::Signed)
        }
        Some(v1::sign_response::Answer::Parked(parked)) => Ok(Answer::Parked(waits(parked))),
        None => Err(UntrustedReply::Missing { part: "answer" }),
    }
}

/// Checks one reply to a request to sign what has this digest with the key of `address`.
pub(crate) fn digest_answer(
    address: Address,
    digest: B256,
    reply: v1::SignResponse,
) -> Result<Answer<SignedDigest>, UntrustedReply> {
    match reply.answer {
        Some(v1::sign_response::Answer::Signed(signed)) => {
            let signature = signature_over(address, digest, &signed)?;
            // Signed as a transaction, it would be one that we did not ask for.
            if !signed.raw_transaction.is_empty() || !signed.transaction_hash.is_empty() {
                return Err(UntrustedReply::RawTransaction);
            }
            let leaf_hash = hash("leaf hash", &signed.leaf_hash)?;
            let sequence = signed.sequence;
            Ok(Answer::Signed(SignedDigest { signature, digest, sequence, leaf_hash }))
        }
        Some(v1::sign_response::Answer::Parked(parked)) => Ok(Answer::Parked(waits(parked))),
        None => Err(UntrustedReply::Missing { part: "answer" }),
    }
}

fn waits(parked: v1::Parked) -> Parked {
    Parked {
        parked_id: parked.parked_id,
        missing: parked.missing,
        expires_at_ms: parked.expires_at_ms,
        sequence: parked.sequence,
    }
}

/// The signature, if it is by the expected address over our own digest.
fn signature_over(
    expected: Address,
    digest: B256,
    signed: &v1::Signed,
) -> Result<Signature, UntrustedReply> {
    let claimed = hash("digest", &signed.digest)?;
    if claimed != digest {
        return Err(UntrustedReply::Digest { ours: digest, claimed });
    }
    let signature = parse_signature(&signed.signature)?;
    let recovered = signature
        .recover_address_from_prehash(&digest)
        .map_err(|_| UntrustedReply::Unrecoverable)?;
    if recovered != expected {
        return Err(UntrustedReply::Signer { expected, recovered });
    }
    Ok(signature)
}

/// A reply that does not hold what was asked for. Whoever sent it is faulty or hostile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UntrustedReply {
    /// A promised part is absent.
    #[error("it has no {part}")]
    Missing {
        /// What is absent.
        part: &'static str,
    },
    /// A part is not of its fixed form.
    #[error("its {part} is not of the promised form")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// `s` is above half the group order: nodes refuse such a signature, and it is not what a
    /// sound signer sends.
    #[error("its signature has a high s")]
    HighS,
    /// Another digest than that of our bytes was signed, or so it says.
    #[error("it speaks of digest {claimed}, and the request's is {ours}")]
    Digest {
        /// Keccak-256 of the request's bytes.
        ours: B256,
        /// The reply's.
        claimed: B256,
    },
    /// No key made this signature over our digest.
    #[error("its signature recovers to no key")]
    Unrecoverable,
    /// Another key, or other bytes, made this signature.
    #[error("its signature recovers to {recovered}, and the key's address is {expected}")]
    Signer {
        /// The address asked for.
        expected: Address,
        /// The address found.
        recovered: Address,
    },
    /// Our bytes are no unsigned transaction, so nothing that claims to be a signed one is ours.
    #[error("it answers a request that is no unsigned transaction")]
    NotATransaction,
    /// The raw transaction is not our bytes with this signature in place.
    #[error("its raw transaction is not the request with the signature in place")]
    RawTransaction,
    /// The hash is not that of the raw transaction.
    #[error("its transaction hash is not that of the raw transaction")]
    TransactionHash,
}

fn signed_transaction(
    expected: Address,
    preimage: &[u8],
    signed: v1::Signed,
) -> Result<SignedTransaction, UntrustedReply> {
    let digest = keccak256(preimage);
    let signature = signature_over(expected, digest, &signed)?;
    let raw = assemble(preimage, &signature).ok_or(UntrustedReply::NotATransaction)?;
    if raw != signed.raw_transaction {
        return Err(UntrustedReply::RawTransaction);
    }
    let transaction_hash = hash("transaction hash", &signed.transaction_hash)?;
    if transaction_hash != keccak256(&raw) {
        return Err(UntrustedReply::TransactionHash);
    }
    Ok(SignedTransaction {
        signature,
        raw_transaction: Bytes::from(raw),
        transaction_hash,
        digest,
        sequence: signed.sequence,
        leaf_hash: hash("leaf hash", &signed.leaf_hash)?,
    })
}

fn hash(part: &'static str, bytes: &[u8]) -> Result<B256, UntrustedReply> {
    B256::try_from(bytes).map_err(|_| UntrustedReply::Malformed { part })
}

/// r, s, y parity: 65 bytes, low s. alloy's recovery quietly lowers a high s, so it is looked at
/// here first.
fn parse_signature(bytes: &[u8]) -> Result<Signature, UntrustedReply> {
    let malformed = UntrustedReply::Malformed { part: "signature" };
    let Some((&parity @ (0 | 1), scalars)) = bytes.split_last() else {
        return Err(malformed);
    };
    let Some((r, s)) = scalars.split_at_checked(32) else {
        return Err(malformed);
    };
    let (Ok(r), Ok(s)) = (B256::try_from(r), B256::try_from(s)) else {
        return Err(malformed);
    };
    let signature = Signature::from_scalars_and_parity(r, s, parity == 1);
    if signature.normalize_s().is_some() {
        return Err(UntrustedReply::HighS);
    }
    Ok(signature)
}

/// The signed transaction that `preimage` and `signature` make: the same fields in the same
/// order, and the signature at the end. `None` if `preimage` is no unsigned transaction.
///
/// This copies fields without reading them, except a legacy transaction's chain id (EIP-155). What
/// they mean is for the service, which refuses what it does not understand.
pub(crate) fn assemble(preimage: &[u8], signature: &Signature) -> Option<Vec<u8>> {
    match preimage.split_first()? {
        (&kind @ 1..=4, list) => {
            let fields = list_payload(list)?;
            let mut signed = vec![kind];
            write_list(fields, u128::from(signature.v()), signature, &mut signed);
            Some(signed)
        }
        (0xc0.., _) => assemble_legacy(list_payload(preimage)?, signature),
        _ => None,
    }
}

/// EIP-155: six fields, chain id, two empty strings; signed, `v` stands in for the latter three.
fn assemble_legacy(payload: &[u8], signature: &Signature) -> Option<Vec<u8>> {
    let mut rest = payload;
    for _ in 0..6 {
        skip_item(&mut rest)?;
    }
    let fields = payload.get(..payload.len().checked_sub(rest.len())?)?;
    let chain_id = u64::decode(&mut rest).ok()?;
    if rest != [0x80, 0x80] {
        return None;
    }
    let v = u128::from(chain_id).checked_mul(2)?.checked_add(35)?;
    let v = v.checked_add(u128::from(signature.v()))?;
    let mut signed = Vec::new();
    write_list(fields, v, signature, &mut signed);
    Some(signed)
}

/// The inside of an RLP list that is all of `bytes`.
fn list_payload(mut bytes: &[u8]) -> Option<&[u8]> {
    let header = Header::decode(&mut bytes).ok()?;
    (header.list && bytes.len() == header.payload_length).then_some(bytes)
}

fn skip_item(bytes: &mut &[u8]) -> Option<()> {
    let header = Header::decode(bytes).ok()?;
    *bytes = bytes.get(header.payload_length..)?;
    Some(())
}

fn write_list(fields: &[u8], v: u128, signature: &Signature, out: &mut Vec<u8>) {
    let mut payload = fields.to_vec();
    v.encode(&mut payload);
    signature.r().encode(&mut payload);
    signature.s().encode(&mut payload);
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(&payload);
}
