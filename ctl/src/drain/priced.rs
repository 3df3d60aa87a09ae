//! A transaction of a drain, its price, and its bytes.

use alloy_primitives::U256;
use portcullis_policy::id::ChainId;
use serde_json::json;

use super::DrainFault;
use super::node::Call;
use super::steps::Deed;
use crate::output::hex0x;
use crate::transaction::Transaction;

/// One transaction, before it has its nonce and its fee.
pub(super) struct Step {
    pub(super) deed: Deed,
    pub(super) call: Call,
    pub(super) gas: u64,
}

/// Wei per gas: at most, and to the builder.
#[derive(Clone, Copy)]
pub(super) struct Price {
    most: u128,
    tip: u128,
}

impl Price {
    pub(super) fn of([base, tip]: [u128; 2]) -> Self {
        // Room for the base fee to double, as it can in six full blocks.
        Self { most: base.saturating_mul(2).saturating_add(tip), tip }
    }

    /// A third more: nodes want a tenth more of both for a replacement.
    pub(super) fn raised(self) -> Self {
        let more =
            |wei: u128| wei.saturating_add(wei.checked_div(3).unwrap_or(0)).saturating_add(1);
        Self { most: more(self.most), tip: more(self.tip) }
    }

    pub(super) fn fee(self, gas: u64) -> U256 {
        U256::from(self.most).saturating_mul(U256::from(gas))
    }
}

/// The bytes that are hashed for signing.
pub(super) fn preimage(
    chain: ChainId,
    step: &Step,
    (nonce, price): (u64, Price),
) -> Result<Vec<u8>, DrainFault> {
    let object = json!({
        "type": "0x2",
        "chainId": format!("{:#x}", chain.0),
        "nonce": format!("{nonce:#x}"),
        "gas": format!("{:#x}", step.gas),
        "maxFeePerGas": format!("{:#x}", price.most),
        "maxPriorityFeePerGas": format!("{:#x}", price.tip),
        "to": step.call.to.to_checksum(None),
        "value": format!("{:#x}", step.call.value),
        "data": hex0x(&step.call.data),
    });
    let parsed = Transaction::parse(&object.to_string()).and_then(|one| one.preimage());
    parsed.map_err(|error| DrainFault::Asked(format!("no transaction: {error}")))
}
