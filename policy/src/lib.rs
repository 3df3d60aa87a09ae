//! Stub.

pub mod abi;
pub mod id;
pub mod money;
pub mod time;
pub mod tx;
