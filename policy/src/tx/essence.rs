//! What of a transaction stays the same when its fee is raised.

use alloy_primitives::{B256, keccak256};

use super::UnsignedTx;
use super::parts::{Common, Fees};
use crate::money::Amount;

impl UnsignedTx {
    /// Hash of everything but gas limit and fees per gas: two transactions that share it do the
    /// same to the same account under the same nonce, at another price.
    pub(crate) fn essence(&self) -> B256 {
        keccak256(self.without_fees().preimage())
    }

    /// The same without the nonce: what would do the same once more.
    pub(crate) fn likeness(&self) -> B256 {
        let mut tx = self.without_fees();
        tx.common_mut().nonce = 0;
        keccak256(tx.preimage())
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
