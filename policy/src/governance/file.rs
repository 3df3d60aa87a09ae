//! Governance as people write it in a proposal: `[quorum.NAME]` and `[recovery]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Deed, Governance, Recovery, Requirement};
use crate::credential::{Credential, SshKey, Strength};
use crate::time::Span;

/// The tables of a file. `deny_unknown_fields` is for whoever embeds them to say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GovernanceFile {
    /// `[quorum.NAME]`.
    #[serde(default)]
    pub quorum: BTreeMap<Deed, QuorumTable>,
    /// `[recovery]`.
    pub recovery: Option<RecoveryTable>,
}

/// `[quorum.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuorumTable {
    need: String,
    expires: Length,
    execute: Option<Length>,
    delay: Option<Length>,
    credentials: Option<Strength>,
    channels: Option<u64>,
}

/// `[recovery]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryTable {
    need: u64,
    delay: Length,
    credentials: Vec<CredentialEntry>,
}

/// `"30m"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Length(Span);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time: write 30s, 15m, 24h or 7d");
        Span::parse(&text).map(Self).ok_or_else(wrong)
    }
}

/// A line of an `id_ed25519.pub` file, or a credential as records hold it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum CredentialEntry {
    /// `"ssh-ed25519 AAAA.. comment"`.
    Line(String),
    /// `{ passkey = { .. } }`.
    Whole(Credential),
}

impl CredentialEntry {
    /// The credential.
    ///
    /// # Errors
    ///
    /// Why the line is none, in words.
    pub fn read(self) -> Result<Credential, String> {
        match self {
            Self::Line(line) => match SshKey::from_authorized_line(&line) {
                Ok(key) => Ok(Credential::Ssh(key)),
                Err(bad) => Err(bad.to_string()),
            },
            Self::Whole(credential) => Ok(credential),
        }
    }
}

impl GovernanceFile {
    /// Whether the file says nothing of it.
    pub fn is_empty(&self) -> bool {
        self.quorum.is_empty() && self.recovery.is_none()
    }

    /// What it says.
    ///
    /// # Errors
    ///
    /// Why a recovery credential is none.
    pub fn read(self) -> Result<Governance, String> {
        let quorums = self.quorum.into_iter().map(|(deed, table)| (deed, table.into()));
        let recovery = match self.recovery {
            None => None,
            Some(RecoveryTable { need, delay: Length(delay), credentials }) => {
                let credentials = credentials.into_iter().map(CredentialEntry::read);
                let credentials = credentials.collect::<Result<Vec<_>, String>>()?;
                Some(Recovery { credentials, delay, need })
            }
        };
        Ok(Governance { quorums: quorums.collect(), recovery })
    }
}

impl From<QuorumTable> for Requirement {
    fn from(table: QuorumTable) -> Self {
        let QuorumTable { need, expires, execute, delay, credentials, channels } = table;
        let span = |length: Option<Length>| length.map_or(Span(0), |Length(span)| span);
        Self {
            channels: channels.unwrap_or(1),
            credentials: credentials.unwrap_or(Strength::Presence),
            delay: span(delay),
            execute: span(execute),
            expires: span(Some(expires)),
            need,
        }
    }
}
