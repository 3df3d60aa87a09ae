//! A token on the test node: the least contract that has `balanceOf`, `transfer`, `approve` and
//! `allowance` of ERC-20. Balances are in the storage slot of the holder's address, allowances in
//! that of Keccak-256 over owner and spender.

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use serde_json::json;

use crate::anvil::{Anvil, AnvilError};

/// Assembled by hand:
///
/// ```text
///       0 CALLDATALOAD 0xe0 SHR
///       DUP1 #70a08231 EQ @BAL JUMPI   DUP1 #a9059cbb EQ @TRF JUMPI
///       DUP1 #095ea7b3 EQ @APP JUMPI   DUP1 #dd62ed3e EQ @ALW JUMPI
/// REV:  0 0 REVERT
/// BAL:  4 CALLDATALOAD SLOAD 0 MSTORE 0x20 0 RETURN
/// TRF:  CALLER SLOAD 0x24 CALLDATALOAD DUP2 DUP2 GT @REV JUMPI
///       SWAP1 DUP2 SWAP1 SUB CALLER SSTORE
///       4 CALLDATALOAD DUP1 SLOAD DUP3 ADD SWAP1 SSTORE POP
/// ONE:  1 0 MSTORE 0x20 0 RETURN
/// APP:  CALLER 0 MSTORE 4 CALLDATALOAD 0x20 MSTORE
///       0x24 CALLDATALOAD 0x40 0 SHA3 SSTORE @ONE JUMP
/// ALW:  4 CALLDATALOAD 0 MSTORE 0x24 CALLDATALOAD 0x20 MSTORE
///       0x40 0 SHA3 SLOAD 0 MSTORE 0x20 0 RETURN
/// ```
const CODE: &str = "0x60003560e01c806370a08231146034578063a9059cbb146041578063095ea7b314606857\
8063dd62ed3e14607f575b60006000fd5b6004355460005260206000f35b3354602435818111602e57908190033355\
600435805482019055505b600160005260206000f35b33600052600435602052602435604060002055605d565b6004\
3560005260243560205260406000205460005260206000f3";

/// The first two lines of it, without `transfer` and all after.
const STUCK: &str = "0x60003560e01c6370a082311460145760006000fd5b6004355460005260206000f3";

/// Puts the contract at an address.
pub fn place(node: &Anvil, token: Address) -> Result<(), AnvilError> {
    node.call("anvil_setCode", json!([token.to_string(), CODE])).map(drop)
}

/// Puts a contract there of which nothing can be moved: all but `balanceOf` fails.
pub fn place_stuck(node: &Anvil, token: Address) -> Result<(), AnvilError> {
    node.call("anvil_setCode", json!([token.to_string(), STUCK])).map(drop)
}

/// Gives an account so many base units.
pub fn give(node: &Anvil, token: Address, owner: Address, units: U256) -> Result<(), AnvilError> {
    let slot = owner.into_word();
    let value = B256::from(units);
    let params = json!([token.to_string(), slot.to_string(), value.to_string()]);
    node.call("anvil_setStorageAt", params).map(drop)
}

/// What an account has.
pub fn balance(node: &Anvil, token: Address, owner: Address) -> Result<U256, AnvilError> {
    stored(node, token, owner.into_word())
}

/// What a spender may take of it.
pub fn allowance(
    node: &Anvil,
    token: Address,
    [owner, spender]: [Address; 2],
) -> Result<U256, AnvilError> {
    let both = [owner.into_word(), spender.into_word()].concat();
    stored(node, token, keccak256(both))
}

fn stored(node: &Anvil, token: Address, slot: B256) -> Result<U256, AnvilError> {
    let method = "eth_getStorageAt";
    let answer = node.call(method, json!([token.to_string(), slot.to_string(), "latest"]))?;
    let bytes = answer.as_str().and_then(|text| hex::decode(text).ok());
    let word = bytes.filter(|bytes| bytes.len() == 32).map(|bytes| U256::from_be_slice(&bytes));
    word.ok_or_else(|| AnvilError::Unexpected { method: method.into(), answer })
}
