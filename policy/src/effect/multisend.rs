//! The packed batch of Safe's MultiSend: operation (1 byte), to (20), value (32), length (32) and
//! data of each call.

use alloy_primitives::{Address, U256};

use crate::money::Amount;

/// One call of a batch.
pub(super) struct Part<'d> {
    /// Whether the Safe would run the code as its own. Any operation but 0 counts as that.
    pub(super) delegate: bool,
    pub(super) to: Address,
    pub(super) value: Amount,
    pub(super) data: &'d [u8],
}

/// The calls of a batch. `None` if it does not end where a call ends.
pub(super) fn parts(packed: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut rest = packed;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (operation, after) = rest.split_first()?;
        let (to, after) = after.split_first_chunk::<20>()?;
        let (value, after) = after.split_first_chunk::<32>()?;
        let (length, after) = after.split_first_chunk::<32>()?;
        let length = usize::try_from(U256::from_be_bytes(*length)).ok()?;
        let (data, after) = after.split_at_checked(length)?;
        let value = Amount::from_units(U256::from_be_bytes(*value));
        parts.push(Part { delegate: *operation != 0, to: Address::from(*to), value, data });
        rest = after;
    }
    Some(parts)
}
