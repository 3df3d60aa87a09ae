//! What was done straight on the token, without the signer, as it is noted and signed.

use alloy_primitives::B128;
use serde::{Deserialize, Serialize};

use crate::credential::Evidence;
use crate::id::{CredentialId, PersonId};
use crate::time::Millis;

/// A note that a person of security signed, together with the scope and the reason of the record it
/// stands in. It holds in whichever vault has that key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedNote {
    /// What they signed with.
    pub credential: CredentialId,
    /// The signature over the note's text.
    pub evidence: Evidence,
    /// What they signed.
    pub note: RescueNote,
}

/// What `portcullis rescue` did to one key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescueNote {
    /// What the token answered.
    pub answer: String,
    /// Who saw to it, and signs.
    pub by: PersonId,
    /// What was done.
    pub deed: RescueDeed,
    /// 16 random bytes, so that no note is taken in twice.
    pub id: B128,
    /// The key's name in the token, which is whatever somebody with the PIN called it.
    pub label: String,
    /// Which token: manufacturer, model and serial number.
    pub token: String,
    /// When, by the host's clock.
    pub written: Millis,
}

/// What is done straight on the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RescueDeed {
    /// The key's objects were removed.
    Destroy,
    /// `CKA_SIGN` was set to false.
    Fence,
}

impl RescueDeed {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Fence => "fence",
        }
    }
}
