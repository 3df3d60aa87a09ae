//! The signing service: edge, sequencer, journal, HSM. Touches the world, decides nothing.
//!
//! Start reading in [`pipeline`]: it carries one request from the wire to its reply. The rules
//! are in `portcullis-policy`.

pub mod app;
pub mod attestor;
pub mod clock;
pub mod config;
pub mod doctor;
mod door;
pub mod edge;
pub mod fencer;
pub mod gate;
pub mod genesis;
pub mod health;
pub mod hsm;
pub mod journal;
pub mod keys;
pub mod marker;
pub mod pin;
pub mod pipeline;
pub mod process;
pub mod proofs;
pub mod recent;
pub mod refusal;
pub mod remover;
pub mod rescue;
pub mod roster;
pub mod sequencer;
pub mod signature;
pub mod snapshot;
pub mod throttle;
pub mod witness;
mod words;
