//! What of a transaction stays the same when its fee is raised, and when another does the same.

use alloy_primitives::{B256, keccak256};

use super::UnsignedTx;
use super::parts::{Authorization, Common, Destination, Fees};
use super::rlp::Writer;
use crate::money::Amount;

impl UnsignedTx {
    /// Hash of everything but gas limit and fees per gas: two transactions that share it do the
    /// same to the same account under the same nonce, at another price.
    pub(crate) fn essence(&self) -> B256 {
        keccak256(self.without_fees().preimage())
    }

    /// Hash of what it does, and of nothing else: what would do the same once more, whatever its
    /// envelope, nonce, gas, fees and access list. Never signed: it has no transaction's form.
    pub(crate) fn likeness(&self) -> B256 {
        let mut out = Writer::default();
        out.number(&self.chain().0.to_be_bytes());
        match self.destination() {
            Destination::Call(address) => out.bytes(address.as_slice()),
            Destination::Create => out.bytes(&[]),
        }
        out.number(&self.value().units().to_be_bytes::<32>());
        out.bytes(self.data());
        out.list(|hashes| self.blob_hashes().iter().for_each(|hash| hashes.bytes(hash.as_slice())));
        out.list(|list| self.authorizations().iter().for_each(|one| authorization(list, one)));
        keccak256(out.finish(&[]))
    }

    /// Zeros where a bump may change it. Never leaves this file: it is hashed, and not signed.
    fn without_fees(&self) -> Self {
        const NONE: Fees = Fees { max: Amount::ZERO, priority: Amount::ZERO };
        let mut tx = self.clone();
        tx.common_mut().gas_limit = 0;
        match &mut tx {
            Self::Legacy(tx) => tx.gas_price = Amount::ZERO,
            Self::AccessList(tx) => tx.gas_price = Amount::ZERO,
            Self::DynamicFee(tx) => tx.fees = NONE,
            Self::Blob(tx) => {
                tx.fees = NONE;
                tx.max_fee_per_blob_gas = Amount::ZERO;
            }
            Self::SetCode(tx) => tx.fees = NONE,
        }
        tx
    }

    fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::Legacy(tx) => &mut tx.common,
            Self::AccessList(tx) => &mut tx.common,
            Self::DynamicFee(tx) => &mut tx.common,
            Self::Blob(tx) => &mut tx.common,
            Self::SetCode(tx) => &mut tx.common,
        }
    }
}

/// All of it: whose account it is about, its signature alone says.
fn authorization(out: &mut Writer, tuple: &Authorization) {
    out.list(|parts| {
        parts.number(&tuple.chain.0.to_be_bytes());
        parts.bytes(tuple.address.as_slice());
        parts.number(&tuple.nonce.to_be_bytes());
        parts.number(&[u8::from(tuple.y_parity)]);
        parts.number(&tuple.r.to_be_bytes::<32>());
        parts.number(&tuple.s.to_be_bytes::<32>());
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alloy_primitives::{Address, U256};

    use super::*;
    use crate::id::ChainId;
    use crate::tx::parts::{
        AccessListEntry, AccessListed, Blob, Calldata, DynamicFee, Legacy, SetCode,
    };

    const SHOP: Address = Address::repeat_byte(0x35);

    fn common(nonce: u64, gas_limit: u64) -> Common {
        Common {
            chain: ChainId(1),
            nonce,
            gas_limit,
            to: Destination::Call(SHOP),
            value: Amount::from(7),
            data: Calldata(vec![0xda, 0x7a]),
        }
    }

    fn dynamic(common: Common) -> UnsignedTx {
        UnsignedTx::DynamicFee(DynamicFee { common, fees: fees(20), access_list: Vec::new() })
    }

    fn fees(max: u128) -> Fees {
        Fees { max: Amount::from(max), priority: Amount::from(1) }
    }

    fn listed() -> Vec<AccessListEntry> {
        vec![AccessListEntry { address: SHOP, storage_keys: vec![B256::repeat_byte(0x42)] }]
    }

    #[test]
    fn the_same_payment_is_alike_in_any_envelope_and_is_covered_by_no_vote_for_another() {
        let first = dynamic(common(9, 21_000));
        let gas_price = Amount::from(20);
        for again in [
            dynamic(common(10, 21_000)),
            UnsignedTx::Legacy(Legacy { common: common(9, 21_000), gas_price }),
            UnsignedTx::AccessList(AccessListed {
                common: common(9, 30_000),
                gas_price,
                access_list: listed(),
            }),
            UnsignedTx::DynamicFee(DynamicFee {
                common: common(9, 21_000),
                fees: fees(20),
                access_list: listed(),
            }),
        ] {
            assert_eq!(again.likeness(), first.likeness(), "{again:?}");
            assert_ne!(again.essence(), first.essence(), "{again:?}");
        }
        let bump = UnsignedTx::DynamicFee(DynamicFee {
            common: common(9, 30_000),
            fees: fees(40),
            access_list: Vec::new(),
        });
        assert_eq!((bump.likeness(), bump.essence()), (first.likeness(), first.essence()));
    }

    #[test]
    fn whatever_does_something_else_is_unlike() {
        let tuple = |address| Authorization {
            chain: ChainId(1),
            address,
            nonce: 5,
            y_parity: true,
            r: U256::from(77),
            s: U256::from(78),
        };
        let carrying = |authorizations| {
            let (common, access_list) = (common(9, 21_000), Vec::new());
            UnsignedTx::SetCode(SetCode { common, fees: fees(20), access_list, authorizations })
        };
        let blobs = |hashes| {
            let (common, access_list) = (common(9, 21_000), Vec::new());
            let max_fee_per_blob_gas = Amount::from(3);
            UnsignedTx::Blob(Blob {
                common,
                fees: fees(20),
                access_list,
                max_fee_per_blob_gas,
                hashes,
            })
        };
        let other = Address::repeat_byte(0x36);
        let all = [
            dynamic(common(9, 21_000)),
            dynamic(Common { chain: ChainId(2), ..common(9, 21_000) }),
            dynamic(Common { to: Destination::Call(other), ..common(9, 21_000) }),
            dynamic(Common { to: Destination::Create, ..common(9, 21_000) }),
            dynamic(Common { value: Amount::from(8), ..common(9, 21_000) }),
            dynamic(Common { data: Calldata(vec![0xda]), ..common(9, 21_000) }),
            blobs(vec![B256::repeat_byte(1)]),
            blobs(vec![B256::repeat_byte(2)]),
            blobs(vec![B256::repeat_byte(1); 2]),
            carrying(vec![tuple(SHOP)]),
            carrying(vec![tuple(other)]),
            carrying(vec![Authorization { r: U256::from(79), ..tuple(SHOP) }]),
        ];
        let likenesses: BTreeSet<B256> = all.iter().map(UnsignedTx::likeness).collect();
        assert_eq!(likenesses.len(), all.len());
    }
}
