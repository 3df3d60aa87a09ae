//! The rig: everything a black-box suite needs around the real signer and a real token.
//!
//! It runs the shipped binary, never links its code, and holds its own opinion of what was signed
//! ([`ledger`]). It must not use the policy crate for that opinion.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test rig: a panic here is a failed test, not a lost signature"
)]

pub mod anvil;
pub mod child;
pub mod cosigner;
pub mod crash;
pub mod curve;
pub mod damage;
pub mod dial;
pub mod erc20;
pub mod fault;
pub mod folder;
pub mod http;
pub mod ledger;
pub mod load;
pub mod measure;
pub mod people;
pub mod pki;
pub mod place;
pub mod probe;
pub mod raw;
pub mod remote;
pub mod server;
pub mod stop;
pub mod token;
pub mod tx;
pub mod wait;
pub mod witness;
pub mod world;
