//! Lets a start begin at a later record than the first: what the journal comes to up to a record is
//! written to a file beside it, and the file's hash is a record itself.
//!
//! Whoever has the disk can write such a file, and a record that names it, and every sector around
//! it; and a checkpoint that the token signs covers whatever stands in the journal then. So a start
//! believes a file only if the token's own key signed its very hash, which it does for what the
//! background folded itself ([`Folded`]); and only under a checkpoint. All that a start took on
//! trust is read and folded afterwards ([`Shadow`]). Where that comes out otherwise, everything is
//! stopped.

mod choice;
mod claims;
mod file;
mod progress;
mod shadow;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test")]
mod tests;

pub use self::choice::{Candidate, Chosen, Judged, Trusted, Unusable, open};
pub use self::claims::{Claim, Claims};
pub use self::file::{Folder, Snapshot};
pub use self::progress::{Pace, Progress};
pub use self::shadow::{Folded, Seal, Shadow, seal};
