//! The signing service: edge, sequencer, journal, HSM.

pub mod hsm;
pub mod pin;
pub mod sequencer;
pub mod signature;
