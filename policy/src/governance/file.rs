//! What deeds take, as people write it: `[quorum.DEED]` and `[recovery]`.
//!
//! The file is one type and the governance another: it is built from the file, and every fault is
//! reported at once. What is absent cannot be done.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Deed, Governance, Recovery, Requirement};
use crate::credential::{Credential, SshKey, Strength};
use crate::quorum::parts_of;
use crate::time::Span;

/// The tables.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GovernanceFile {
    #[serde(default)]
    quorum: BTreeMap<Deed, QuorumTable>,
    #[serde(default)]
    recovery: Option<RecoveryTable>,
}

/// What one deed takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuorumTable {
    /// "2 of security + 1 of approver". Groups are roles.
    need: String,
    /// How long votes are taken: "1h".
    expires: String,
    /// How old a vote must be before it counts.
    #[serde(default)]
    delay: Option<String>,
    /// How much longer it may be done.
    #[serde(default)]
    execute: Option<String>,
    /// The weakest signature that counts: "file", "presence" or "verified".
    #[serde(default)]
    credentials: Option<Strength>,
    /// On how many kinds of screen it must have been seen.
    #[serde(default)]
    channels: Option<u64>,
}

/// Offline credentials that can replace the people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryTable {
    need: u64,
    delay: String,
    credentials: Vec<CredentialWord>,
}

/// A line as in `id_ed25519.pub`, or a credential as records hold it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum CredentialWord {
    /// The line.
    Line(String),
    /// The credential.
    Whole(Credential),
}

impl GovernanceFile {
    /// From the tables of a larger file.
    pub fn new(quorum: BTreeMap<Deed, QuorumTable>, recovery: Option<RecoveryTable>) -> Self {
        Self { quorum, recovery }
    }

    /// What it says, or everything that is wrong with it. Whether these quorums can be met by the
    /// people there are is for the signer to say.
    pub fn governance(&self) -> Result<Governance, Vec<String>> {
        let mut faults = Vec::new();
        let mut quorums = BTreeMap::new();
        for (deed, table) in &self.quorum {
            if let Some(rule) = table.requirement(*deed, &mut faults) {
                quorums.insert(*deed, rule);
            }
        }
        let recovery = self.recovery.as_ref().and_then(|table| table.recovery(&mut faults));
        if faults.is_empty() { Ok(Governance { quorums, recovery }) } else { Err(faults) }
    }
}

impl QuorumTable {
    fn requirement(&self, deed: Deed, faults: &mut Vec<String>) -> Option<Requirement> {
        let place = format!("quorum.{deed}");
        if parts_of(&self.need).is_err() {
            let need = &self.need;
            faults.push(format!(
                "{place}.need: {need:?} is no quorum: write \"2 of security + 1 of approver\""
            ));
        }
        let mut length = |name: &str, text: Option<&String>| match text {
            Some(text) => span(&format!("{place}.{name}"), text, faults),
            None => Some(Span(0)),
        };
        let expires = length("expires", Some(&self.expires));
        let delay = length("delay", self.delay.as_ref());
        let execute = length("execute", self.execute.as_ref());
        Some(Requirement {
            channels: self.channels.unwrap_or(1),
            credentials: self.credentials.unwrap_or(Strength::Presence),
            delay: delay?,
            execute: execute?,
            expires: expires?,
            need: self.need.clone(),
        })
    }
}

impl RecoveryTable {
    fn recovery(&self, faults: &mut Vec<String>) -> Option<Recovery> {
        let delay = span("recovery.delay", &self.delay, faults);
        let credentials = credentials("recovery.credentials", &self.credentials, faults);
        Some(Recovery { credentials, delay: delay?, need: self.need })
    }
}

/// Those that can be read; of the others, what is wrong with them.
pub fn credentials(
    place: &str,
    words: &[CredentialWord],
    faults: &mut Vec<String>,
) -> Vec<Credential> {
    let mut all = Vec::new();
    for word in words {
        match word {
            CredentialWord::Whole(credential) => all.push(credential.clone()),
            CredentialWord::Line(line) => match SshKey::from_authorized_line(line.trim()) {
                Ok(key) => all.push(Credential::Ssh(key)),
                Err(bad) => faults.push(format!("{place}: {line:?}: {bad}")),
            },
        }
    }
    all
}

fn span(place: &str, text: &str, faults: &mut Vec<String>) -> Option<Span> {
    let span = Span::parse(text);
    if span.is_none() {
        faults
            .push(format!("{place}: {text:?} is no length of time: write \"10m\", \"1h\", \"3d\""));
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIBGgzvyu/dBMbYIAnZ9P9xk4+l4+5PFdA2Xz3rKnGYnR";

    fn governance(text: &str) -> Result<Governance, Vec<String>> {
        let file: GovernanceFile = toml::from_str(text).expect("TOML");
        file.governance()
    }

    #[test]
    fn what_is_left_out_asks_for_hardware_one_screen_and_no_delay() {
        let read = governance("[quorum.revoke]\nneed = \"2 of security\"\nexpires = \"1h\"\n");
        let read = read.expect("sound");
        let rule = read.quorums.get(&Deed::Revoke).expect("a quorum");
        let expected = Requirement {
            channels: 1,
            credentials: Strength::Presence,
            delay: Span(0),
            execute: Span(0),
            expires: Span(3_600_000),
            need: "2 of security".into(),
        };
        assert_eq!(*rule, expected);
        assert_eq!(read.recovery, None);
    }

    #[test]
    fn everything_can_be_said_and_a_key_may_have_a_comment() {
        let text = format!(
            "[quorum.thaw]\nneed = \"2 of security + 1 of approver\"\nexpires = \"1h\"\n\
             delay = \"10m\"\nexecute = \"2h\"\ncredentials = \"file\"\nchannels = 2\n\
             [recovery]\nneed = 1\ndelay = \"3d\"\ncredentials = [\"{KEY} the safe in Bern\"]\n"
        );
        let read = governance(&text).expect("sound");
        let rule = read.quorums.get(&Deed::Thaw).expect("a quorum");
        assert_eq!((rule.delay, rule.execute), (Span(600_000), Span(7_200_000)));
        assert_eq!((rule.credentials, rule.channels), (Strength::File, 2));
        let recovery = read.recovery.expect("recovery");
        assert_eq!((recovery.need, recovery.delay), (1, Span(259_200_000)));
        let key = KEY.to_owned().try_into().expect("a key");
        assert_eq!(recovery.credentials, [Credential::Ssh(key)]);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "[quorum.thaw]\nneed = \"two of security\"\nexpires = \"1 hour\"\n\
            [recovery]\nneed = 1\ndelay = \"soon\"\ncredentials = [\"ssh-rsa AAAA\"]\n";
        let faults = governance(text).expect_err("faulty");
        for (fault, part) in faults.iter().zip([
            "quorum.thaw.need: \"two of security\"",
            "quorum.thaw.expires: \"1 hour\"",
            "recovery.delay: \"soon\"",
            "recovery.credentials: \"ssh-rsa AAAA\"",
        ]) {
            assert!(fault.starts_with(part), "{part}: {fault}");
        }
        assert_eq!(faults.len(), 4, "{faults:?}");
    }

    #[test]
    fn a_misspelt_deed_or_word_is_refused() {
        for text in [
            "[quorum.melt]\nneed = \"1 of security\"\nexpires = \"1h\"\n",
            "[quorum.thaw]\nneed = \"1 of security\"\nexpired = \"1h\"\n",
            "[recover]\nneed = 1\n",
        ] {
            assert!(toml::from_str::<GovernanceFile>(text).is_err(), "{text}");
        }
    }
}
