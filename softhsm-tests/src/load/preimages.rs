//! Unsigned payments that differ only in their nonce, so that making one costs a copy.

use alloy_primitives::U256;
use alloy_rlp::{Encodable, Header};

use crate::tx::{self, Kind, Payment};
use crate::world::{CHAIN, SUPPLIER};

/// Makes them. Nonces are 32 bits and at least [`Preimages::FIRST`], so that all encode to the same
/// length.
#[derive(Clone, Debug)]
pub struct Preimages {
    template: Vec<u8>,
    nonce_at: usize,
}

impl Preimages {
    /// The smallest nonce that takes four bytes.
    pub const FIRST: u32 = 0x0100_0000;

    /// Payments of 1 gwei to [`SUPPLIER`], type 2.
    pub fn new() -> Self {
        let [template, other] = [Self::FIRST, u32::MAX].map(encode);
        let same = template.iter().zip(&other).take_while(|(left, right)| left == right);
        let nonce_at = same.count();
        Self { template, nonce_at }
    }

    /// The one with this nonce.
    pub fn with_nonce(&self, nonce: u32) -> Vec<u8> {
        let mut preimage = self.template.clone();
        preimage[self.nonce_at..self.nonce_at + 4].copy_from_slice(&nonce.to_be_bytes());
        preimage
    }

    /// The signed transaction of such a preimage: its fields, then parity, r and s.
    pub fn signed(preimage: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
        let (kind, mut list) = preimage.split_first()?;
        let header = Header::decode(&mut list).ok()?;
        let (r, rest) = signature.split_at_checked(32)?;
        let (s, parity) = rest.split_at_checked(32)?;
        let [r, s, parity] = [r, s, parity].map(U256::from_be_slice);
        let payload_length = header.payload_length + parity.length() + r.length() + s.length();
        let mut signed = Vec::with_capacity(payload_length + 8);
        signed.push(*kind);
        Header { list: true, payload_length }.encode(&mut signed);
        signed.extend_from_slice(list);
        parity.encode(&mut signed);
        r.encode(&mut signed);
        s.encode(&mut signed);
        Some(signed)
    }
}

impl Default for Preimages {
    fn default() -> Self {
        Self::new()
    }
}

fn encode(nonce: u32) -> Vec<u8> {
    let mut payment = Payment::new(CHAIN, nonce.into(), SUPPLIER, U256::from(1_000_000_000));
    payment.gas_limit = 21_000;
    tx::preimage(&payment.unsigned(Kind::Eip1559))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::SoftwareKey;
    use alloy_primitives::keccak256;

    #[test]
    fn a_patched_preimage_is_what_encoding_gives() {
        let preimages = Preimages::new();
        for nonce in [Preimages::FIRST, Preimages::FIRST + 1, 0x7f80_00ff, u32::MAX] {
            assert_eq!(preimages.with_nonce(nonce), encode(nonce));
        }
    }

    #[test]
    fn an_assembled_transaction_is_what_alloy_assembles() {
        let key = SoftwareKey::named("assembled").expect("key");
        for nonce in Preimages::FIRST..Preimages::FIRST + 600 {
            let preimage = encode(nonce);
            let signature = key.sign(keccak256(&preimage));
            let parts = [
                &signature.r().to_be_bytes::<32>()[..],
                &signature.s().to_be_bytes::<32>()[..],
                &[u8::from(signature.v())],
            ];
            let mut payment =
                Payment::new(CHAIN, nonce.into(), SUPPLIER, U256::from(1_000_000_000));
            payment.gas_limit = 21_000;
            let expected = tx::signed(payment.unsigned(Kind::Eip1559), signature);
            assert_eq!(Preimages::signed(&preimage, &parts.concat()).expect("parts"), expected);
        }
    }
}
