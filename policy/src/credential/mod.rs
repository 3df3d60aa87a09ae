//! What a person signs with, and what a signature by it proves.
//!
//! [`Credential::verify`] is the one place where a person's signature is believed: when a vote
//! comes, when it counts, and when somebody replays the journal years later. It knows keys and
//! texts. Whose a credential is, whether it is still enrolled, and whether this signature came
//! before, is the caller's business.

mod client_data;
mod fault;
mod passkey;
mod ssh;
mod sshsig;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use fault::{BadCredential, BadEvidence};
pub use passkey::{Assertion, Passkey, PasskeyKey};
pub use ssh::SshKey;

use crate::id::CredentialId;

/// Something a person signs with. In records: `{"ssh":"ssh-ed25519 AAAA.."}` or `{"passkey":{..}}`.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// A key of OpenSSH, in a file or on a security key.
    Ssh(SshKey),
    /// A credential of WebAuthn.
    Passkey(Passkey),
}

impl Credential {
    /// Whether this credential signed exactly this statement for this purpose, and how strongly.
    ///
    /// An SSH signature names its purpose by itself. A passkey signs nothing but a hash of the
    /// statement: for it, the purpose must be part of the statement, as in its first line it is.
    ///
    /// The proof says nothing about time. A replay is the caller's to notice, and so is a
    /// [`Proof::counter`] that did not go up.
    ///
    /// # Errors
    ///
    /// The first rule that the evidence breaks.
    pub fn verify(
        &self,
        purpose: Purpose,
        statement: &[u8],
        evidence: &Evidence,
    ) -> Result<Proof, BadEvidence> {
        match (self, evidence) {
            (Self::Ssh(key), Evidence::Ssh(armored)) => key.verify(purpose, statement, armored),
            (Self::Passkey(passkey), Evidence::Passkey(assertion)) => {
                passkey.verify(statement, assertion)
            }
            (Self::Ssh(_), Evidence::Passkey(_)) | (Self::Passkey(_), Evidence::Ssh(_)) => {
                Err(BadEvidence::OtherKind)
            }
        }
    }

    /// Its name in records and logs.
    pub fn id(&self) -> CredentialId {
        match self {
            Self::Ssh(key) => key.id(),
            Self::Passkey(passkey) => passkey.credential_id(),
        }
    }

    /// Its public key: 32 bytes of Ed25519, or 65 of P-256. Two credentials with the same are in
    /// one hand, whatever they are called.
    pub fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Ssh(key) => key.point().to_vec(),
            Self::Passkey(passkey) => passkey.key.bytes(),
        }
    }

    /// Whether both are in one hand: they have the same public key, or are passkeys to which their
    /// authenticator gave the same id.
    pub fn is_in_the_hand_of(&self, other: &Self) -> bool {
        let same_authenticator = match (self, other) {
            (Self::Passkey(one), Self::Passkey(two)) => one.id == two.id,
            (Self::Ssh(_), Self::Ssh(_) | Self::Passkey(_)) | (Self::Passkey(_), Self::Ssh(_)) => {
                false
            }
        };
        same_authenticator || self.public_key() == other.public_key()
    }

    /// Where its owner reads what is signed.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Ssh(_) => Channel::Terminal,
            Self::Passkey(_) => Channel::Console,
        }
    }

    /// The most that a signature by it can show.
    pub fn could_be(&self) -> Strength {
        match self {
            Self::Ssh(key) => key.could_be(),
            Self::Passkey(_) => Strength::Verified,
        }
    }
}

/// Where a statement was shown to who signed it. One compromised screen shows every voter the
/// same lie, so the top tiers ask for both.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// `portctl` and `ssh-keygen`.
    Terminal,
    /// A browser.
    Console,
}

/// What a signature shows of the person. Each includes the one before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Somebody had the key: it is in a file, and a program can copy and use it.
    File,
    /// Somebody touched the device that holds the key.
    Presence,
    /// The device knew its owner, by PIN or finger.
    Verified,
}

/// What is signed for. Each has an SSHSIG namespace of its own, so that a signature for one is
/// none for another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Hash)]
pub enum Purpose {
    /// A vote on something parked.
    Vote,
    /// The first record of a vault.
    Genesis,
    /// A person takes a new credential.
    Enrolment,
    /// The people are replaced.
    Recovery,
    /// What was done straight on the token.
    Rescue,
    /// A stop, signed before it is needed.
    Stop,
    /// What a drill of the stop found.
    Drill,
}

impl Purpose {
    /// For `ssh-keygen -Y sign -n`: see PROTOCOL.sshsig, section 2, on what it keeps apart.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Vote => "vote.v1@portcullis",
            Self::Genesis => "genesis.v1@portcullis",
            Self::Enrolment => "enrolment.v1@portcullis",
            Self::Recovery => "recovery.v1@portcullis",
            Self::Rescue => "rescue.v1@portcullis",
            Self::Stop => "stop.v1@portcullis",
            Self::Drill => "drill.v1@portcullis",
        }
    }
}

/// What a signature looks like in a record: enough to verify it again, years later.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Evidence {
    /// An armored SSHSIG, exactly as `ssh-keygen` writes it, with its last line feed.
    Ssh(String),
    /// What a browser gave.
    Passkey(Assertion),
}

/// What a signature that verified shows. Made only by [`Credential::verify`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a proof that nobody looks at proves nothing"]
#[non_exhaustive]
pub struct Proof {
    /// Of the person.
    pub strength: Strength,
    /// How often the device says it signed, and 0 where it does not count. A device that was
    /// copied counts twice: one that does not go up is worth an alarm. Many passkeys always say 0,
    /// so nothing may rely on it.
    pub counter: u32,
}
