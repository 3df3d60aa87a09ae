//! The signing service.

pub mod edge;
