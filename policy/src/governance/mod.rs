//! What it takes to change the vault itself: to start what was stopped, to end a key for good, to
//! widen the book, to change the people. Groups here are roles, so that no book can change them.

mod file;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::file::{CredentialWord, GovernanceFile, QuorumTable, RecoveryTable, credentials};
use self::reach::Short;
use crate::bounded::at_most;
use crate::credential::{Credential, Strength};
use crate::id::CallerId;
use crate::people::{CREDENTIALS_MAX, PEOPLE_MAX, People, Person, Role};
use crate::quorum::{BadQuorum, Quorum, QuorumPart, Terms, parts_of};
use crate::time::Span;

/// What it takes. What is absent cannot be done.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// What each deed takes.
    pub quorums: BTreeMap<Deed, Requirement>,
    /// Offline credentials that can replace the people, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// Everything that takes a quorum, besides parked requests. In the order of their names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// To remove a key from the token.
    Destroy,
    /// To move what a key holds to its successor.
    Drain,
    /// To change people, their credentials, or these quorums.
    People,
    /// To end a key for good.
    Revoke,
    /// To start what was stopped.
    Thaw,
    /// To adopt a book that widens, or to let sure time go forward.
    Widen,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Destroy, Self::Drain, Self::People, Self::Revoke, Self::Thaw, Self::Widen];
}

impl fmt::Display for Deed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Destroy => "destroy",
            Self::Drain => "drain",
            Self::People => "people",
            Self::Revoke => "revoke",
            Self::Thaw => "thaw",
            Self::Widen => "widen",
        })
    }
}

/// What one deed takes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// On how many kinds of screen it must have been seen.
    pub channels: u64,
    /// The weakest signature that counts.
    pub credentials: Strength,
    /// How old a vote must be before it counts.
    pub delay: Span,
    /// How much longer what was agreed may still be done.
    pub execute: Span,
    /// How long votes are taken.
    pub expires: Span,
    /// Who: "2 of security + 1 of approver". Groups are roles.
    pub need: String,
}

/// Offline credentials, and what they take.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The credentials.
    #[serde(deserialize_with = "at_most::<RECOVERY_MAX, _, _>")]
    pub credentials: Vec<Credential>,
    /// How long everybody can see it coming.
    pub delay: Span,
    /// How many of them.
    pub need: u64,
}

impl Governance {
    /// What a deed takes now. `None`: nobody can do it.
    pub fn terms(&self, deed: Deed, people: &People) -> Option<Terms> {
        self.quorums.get(&deed)?.terms(people)
    }

    /// Everything that is wrong with it for these people, a line each. Empty: it can be in force.
    pub fn faults(&self, people: &People) -> Vec<String> {
        let mut faults = self.faults_of_form(people);
        let short = self.sound().flat_map(|deed| self.reach(deed, people));
        faults.extend(short.chain(self.hostages(people)).map(Short::line));
        faults
    }

    /// What is worse here than it was before: a quorum that is farther out of reach, or something
    /// else that is wrong and was not. What makes things better must not wait until all is well.
    pub fn faults_since(&self, people: &People, before: (&Self, &People)) -> Vec<String> {
        let known = before.0.faults_of_form(before.1);
        let mut faults = self.faults_of_form(people);
        faults.retain(|one| !known.contains(one));
        for deed in self.sound() {
            let known = before.0.reach(deed, before.1);
            let short = self.reach(deed, people).into_iter();
            let worse = short.filter(|one| !known.iter().any(|old| old.is_as_bad(one)));
            faults.extend(worse.map(Short::line));
        }
        if self.sound().any(|deed| deed == Deed::People) {
            let known: Vec<String> =
                before.0.hostages(before.1).into_iter().map(Short::line).collect();
            let now = self.hostages(people).into_iter().map(Short::line);
            faults.extend(now.filter(|line| !known.contains(line)));
        }
        faults
    }

    /// Everything that is wrong and was not, whether it may be or not.
    pub(crate) fn news_since(&self, people: &People, before: (&Self, &People)) -> Vec<String> {
        let known = before.0.faults(before.1);
        let mut faults = self.faults(people);
        faults.retain(|one| !known.contains(one));
        faults
    }

    /// Deeds whose rules can be read.
    pub(super) fn sound(&self) -> impl Iterator<Item = Deed> {
        let sound = self.quorums.iter().filter(|(deed, rule)| rule.faults(**deed).is_empty());
        sound.map(|(deed, _)| *deed)
    }

    /// What is wrong whoever could agree.
    fn faults_of_form(&self, people: &People) -> Vec<String> {
        let mut faults = Vec::new();
        for (deed, rule) in &self.quorums {
            faults.extend(rule.faults(*deed).into_iter().map(|line| format!("{deed}: {line}")));
        }
        if people.iter().count() > PEOPLE_MAX {
            faults.push(format!("more than {PEOPLE_MAX} people"));
        }
        let crowded = |person: &Person| person.credentials.len() > CREDENTIALS_MAX;
        let crowded = people.iter().filter(|(_, member)| crowded(&member.person));
        faults.extend(
            crowded.map(|(id, _)| format!("{id}: more than {CREDENTIALS_MAX} credentials")),
        );
        let guards = people.iter().filter(|(_, one)| one.person.roles.contains(&Role::Security));
        if guards.count() == 0 {
            faults.push("nobody has the role security: nobody could stop anything".into());
        }
        let makers = people.iter().filter(|(_, one)| one.person.roles.contains(&Role::Operator));
        if makers.count() == 0 {
            faults.push("nobody has the role operator: nobody could make a key".into());
        }
        if self.recovery.is_none() && !self.quorums.contains_key(&Deed::People) {
            faults.push(
                "people: nobody could replace a lost credential, or change any of this: write \
                 what it takes, or recovery credentials"
                    .into(),
            );
        }
        let unnamed = people.iter().filter(|(_, one)| !is_name(&one.person.control));
        faults.extend(unnamed.map(|(id, _)| {
            format!("{id}: control is the one SPIFFE URI or DNS name in their certificate")
        }));
        if let Some(recovery) = &self.recovery {
            recovery.faults(people, &mut faults);
        }
        faults
    }
}

impl Requirement {
    /// What it asks of these people. `None`: it is no quorum.
    pub fn terms(&self, people: &People) -> Option<Terms> {
        let parts = parts_of(&self.need).ok()?.into_iter().map(|(count, group)| {
            let members = voting_role(group).map(|role| people.voters(role))?;
            Some(QuorumPart { count, group: group.to_owned(), members })
        });
        Some(self.with(Quorum { parts: parts.collect::<Option<_>>()? }))
    }

    fn with(&self, need: Quorum) -> Terms {
        Terms {
            need,
            expires: self.expires,
            execute: self.execute,
            delay: self.delay,
            strength: self.credentials,
            channels: self.channels,
        }
    }

    /// How and for how long, without who.
    pub fn manner(&self) -> String {
        self.with(Quorum { parts: Vec::new() }).manner()
    }

    fn faults(&self, deed: Deed) -> Vec<String> {
        let mut faults = Vec::new();
        match parts_of(&self.need) {
            Ok(parts) => {
                let unknown = parts.iter().filter(|(_, group)| voting_role(group).is_none());
                faults.extend(unknown.map(|(_, group)| {
                    format!("{group:?} is no role that votes: approver, operator or security")
                }));
            }
            Err(bad) => faults.extend(bad.iter().map(said)),
        }
        if self.expires == Span(0) || self.expires > EXPIRES_MAX || self.execute > EXPIRES_MAX {
            faults.push("votes are taken for 1 second to 30 days".into());
        }
        if !(1..=2).contains(&self.channels) {
            faults.push("channels is 1 or 2".into());
        }
        let waits = matches!(deed, Deed::Thaw | Deed::Destroy | Deed::Widen);
        if waits && self.delay == Span(0) {
            faults.push("delay must be above zero: time to see it and to stop it".into());
        }
        // Votes that ripen after what they are for has expired would never count.
        if self.delay >= Span(self.expires.0.saturating_add(self.execute.0)) {
            faults.push("delay must be shorter than expires and execute together".into());
        }
        faults
    }
}

impl Recovery {
    fn faults(&self, people: &People, faults: &mut Vec<String>) {
        // How many first: what follows takes time for each.
        if self.credentials.len() > RECOVERY_MAX {
            return faults.push(format!("recovery: at most {RECOVERY_MAX} credentials"));
        }
        let keys: BTreeSet<_> = self.credentials.iter().map(Credential::public_key).collect();
        let many = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        if keys.len() != self.credentials.len() {
            faults.push("recovery: a credential stands there twice".into());
        }
        if self.need == 0 || self.need >= many {
            faults.push("recovery: it takes at least one credential, and never all of them".into());
        }
        if self.delay == Span(0) || self.delay > RECOVERY_DELAY_MAX {
            faults.push("recovery: delay is 1 second to 366 days: time to see it coming".into());
        }
        let held = self.credentials.iter().find_map(|one| Some((one.id(), people.holder(one)?)));
        if let Some((id, holder)) = held {
            faults.push(format!(
                "recovery: {id} is {holder}'s: recovery credentials are kept offline, for that \
                 alone"
            ));
        }
    }
}

/// What a certificate can hold as a name: as that of a caller.
fn is_name(control: &str) -> bool {
    control.parse::<CallerId>().is_ok()
}

fn voting_role(name: &str) -> Option<Role> {
    let votes = |role: &Role| matches!(role, Role::Approver | Role::Operator | Role::Security);
    Role::ALL.into_iter().find(|(_, word)| *word == name).map(|(role, _)| role).filter(votes)
}

fn said(bad: &BadQuorum<'_>) -> String {
    match bad {
        BadQuorum::TooManyParts => "asks for more groups than there are".into(),
        BadQuorum::Form(text) => format!("{text:?} is not a quorum: write \"2 of security\""),
        BadQuorum::Count(text) => format!("{text:?} is not a number of people"),
        BadQuorum::Repeated => "names a group twice: add its numbers up".into(),
    }
}

/// Who has not decided within a month has decided.
const EXPIRES_MAX: Span = Span(30 * 86_400_000);

/// Who waits longer has lost the vault.
const RECOVERY_DELAY_MAX: Span = Span(366 * 86_400_000);

/// Envelopes in safes.
const RECOVERY_MAX: usize = 16;
