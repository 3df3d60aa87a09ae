//! A transaction that is written down to be asked about, never to be sent: for examples.

use super::UnsignedTx;
use super::parts::{Calldata, Common, Destination, DynamicFee, Fees};
use crate::id::ChainId;
use crate::money::Amount;

/// The parts of a type 2 transaction that examples speak of.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The chain.
    pub chain: ChainId,
    /// The nonce.
    pub nonce: u64,
    /// Units of gas.
    pub gas_limit: u64,
    /// The most for a unit of gas, in wei.
    pub max_fee: Amount,
    /// The most of it for the builder, in wei.
    pub priority: Amount,
    /// Where it goes.
    pub to: Destination,
    /// Wei.
    pub value: Amount,
    /// Calldata.
    pub data: Vec<u8>,
}

impl Draft {
    /// The bytes that would be hashed. Whether they are a transaction, decoding says.
    pub fn preimage(self) -> Vec<u8> {
        let Self { chain, nonce, gas_limit, max_fee, priority, to, value, data } = self;
        let common = Common { chain, nonce, gas_limit, to, value, data: Calldata(data) };
        let fees = Fees { max: max_fee, priority };
        UnsignedTx::DynamicFee(DynamicFee { common, fees, access_list: Vec::new() }).preimage()
    }
}
