//! The signing service: touches the world, decides nothing.

pub mod journal;
