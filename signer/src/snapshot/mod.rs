//! Lets a start begin at a later record than the first: what the journal comes to up to a record is
//! written to a file beside it, and the file's hash is a record itself.
//!
//! Whoever has the disk can write such a file, and a record that names it, and every sector around
//! it. So a start believes one only under a checkpoint that the token's own key signed; and all
//! that it took on trust is read and folded afterwards, in the background ([`Shadow`]). Where that
//! comes out otherwise, everything is stopped.

mod choice;
mod file;
mod shadow;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test")]
mod tests;

pub use self::choice::{Candidate, Chosen, Judged, Trusted, Unusable, open};
pub use self::file::{Folder, Snapshot};
pub use self::shadow::{Claim, Claims, Pace, Progress, Shadow};
