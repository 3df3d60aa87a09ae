//! A PKCS#11 module in front of a real one, that misbehaves on request. What the functions do is in
//! [`calls`]; how it is told what to do, below.
//!
#![doc = include_str!("../README.md")]

mod calls;
mod checkpoints;
mod frame;
mod instant;
mod log;
mod module;
mod object;
mod script;
mod signing;
mod slots;
mod tamper;
mod world;

pub use module::C_GetFunctionList;
