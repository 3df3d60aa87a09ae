//! An EIP-7702 authorization by itself: what an account signs to run a contract's code as its own.

use alloy_primitives::{Address, B256, U256, keccak256};

use super::malformed::Malformed;
use super::rlp::{Items, Writer};
use crate::id::ChainId;

/// The account that signs it runs this contract's code until it signs another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delegation {
    chain: ChainId,
    address: Address,
    nonce: u64,
}

impl Delegation {
    /// Reads the bytes that are hashed for signing: 0x05 and the list of chain id, address, nonce.
    ///
    /// # Errors
    ///
    /// Anything that is not their one form; and chain id 0, which is every chain there is.
    pub fn decode(preimage: &[u8]) -> Result<Self, Malformed> {
        let (first, body) = preimage.split_first().ok_or(Malformed::Empty)?;
        if *first != MAGIC {
            return Err(Malformed::Delegation);
        }
        let items = Items::of_list(body)?;
        if items.count()? != 3 {
            return Err(Malformed::Delegation);
        }
        let delegation = super::decode::delegation(items)?;
        if delegation.preimage() == preimage {
            Ok(delegation)
        } else {
            Err(Malformed::NonCanonical)
        }
    }

    pub(super) fn new(chain: U256, address: Address, nonce: u64) -> Result<Self, Malformed> {
        match u64::try_from(chain) {
            Ok(0) => Err(Malformed::ChainIdZero),
            Ok(id) if id <= super::CHAIN_ID_MAX => Ok(Self { chain: ChainId(id), address, nonce }),
            Ok(_) | Err(_) => Err(Malformed::ChainIdTooLarge),
        }
    }

    /// The bytes that would be hashed, for examples: whether they are one, decoding says.
    pub(crate) fn draft(chain: ChainId, address: Address, nonce: u64) -> Vec<u8> {
        Self { chain, address, nonce }.preimage()
    }

    /// The only chain on which it is valid. Never 0.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The contract. The zero address ends a delegation.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The account's transaction count at which it is accepted.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The bytes that are hashed for signing (EIP-7702, "Behavior").
    pub fn preimage(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(&self.chain.0.to_be_bytes());
        out.bytes(self.address.as_slice());
        out.number(&self.nonce.to_be_bytes());
        out.finish(&[MAGIC])
    }

    /// Keccak-256 over them.
    pub fn signing_hash(&self) -> B256 {
        keccak256(self.preimage())
    }
}

/// Tells an authorization from a transaction: no transaction type has it.
const MAGIC: u8 = 0x05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_has_one_form_and_names_one_chain() {
        let one = Delegation { chain: ChainId(1), address: Address::repeat_byte(7), nonce: 9 };
        let preimage = one.preimage();
        assert_eq!(Delegation::decode(&preimage), Ok(one));
        assert_eq!(preimage.get(..4), Some(&[0x05, 0xd7, 0x01, 0x94][..]));
        for end in 0..preimage.len() {
            assert!(Delegation::decode(&preimage[..end]).is_err());
        }
        let longer = [&preimage[..], &[0]].concat();
        assert!(Delegation::decode(&longer).is_err());
        let everywhere = Delegation { chain: ChainId(0), ..one };
        assert_eq!(Delegation::decode(&everywhere.preimage()), Err(Malformed::ChainIdZero));
        let transaction = [&[0x02][..], &preimage[1..]].concat();
        assert_eq!(Delegation::decode(&transaction), Err(Malformed::Delegation));
    }
}
