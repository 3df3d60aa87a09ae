//! The signing service: edge, sequencer, journal, HSM.

pub mod sequencer;
pub mod signature;
