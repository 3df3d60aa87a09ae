//! Who there is: people, their roles, what they sign with, and whose vote is suspended.
//!
//! A person's right to stop things hangs on their role alone, never on whether their vote counts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::bounded::at_most;
use crate::credential::Credential;
use crate::id::{CredentialId, PersonId};

/// A person: an id, what they may do, and how they are known.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The one name (SPIFFE URI or DNS) in their control certificate.
    pub control: String,
    /// What they sign votes with. Programs have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "at_most::<CREDENTIALS_MAX, _, _>")]
    pub credentials: Vec<Credential>,
    /// Their id. Not a name: journals are handed to auditors.
    pub id: PersonId,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes on parked requests.
    Approver,
    /// Reads everything.
    Auditor,
    /// Makes keys, proposes books.
    Operator,
    /// Reports reference prices.
    Pricer,
    /// Freezes.
    Security,
    /// Reports what is mined.
    Watcher,
}

impl Role {
    /// All of them, as they are written.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Approver, "approver"),
        (Self::Auditor, "auditor"),
        (Self::Operator, "operator"),
        (Self::Pricer, "pricer"),
        (Self::Security, "security"),
        (Self::Watcher, "watcher"),
    ];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Pricer => "pricer",
            Self::Security => "security",
            Self::Watcher => "watcher",
        }
    }

    /// Whoever can be in a quorum may propose, and ask for what was agreed to be done.
    pub const VOTERS: [Self; 3] = [Self::Approver, Self::Operator, Self::Security];
}

/// All people of a vault.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct People(BTreeMap<PersonId, Member>);

/// A person, and how far their vote counts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The person.
    pub person: Person,
    /// Whether their vote is suspended.
    pub suspended: bool,
    /// Credentials of theirs that are suspended by themselves: one was lost.
    pub silenced: BTreeSet<CredentialId>,
    /// The highest counter that each passkey has shown.
    counters: BTreeMap<CredentialId, u32>,
}

impl People {
    /// These people. `None` if two share an id, a control certificate or a credential.
    pub fn new(people: &[Person]) -> Option<Self> {
        let mut all = Self::default();
        for person in people {
            if all.clash(person).is_some() {
                return None;
            }
            all.0.insert(person.id.clone(), Member::new(person.clone()));
        }
        Some(all)
    }

    /// What somebody new has that is taken already, in words.
    pub fn clash(&self, person: &Person) -> Option<String> {
        if self.0.contains_key(&person.id) {
            return Some(format!("the id {}", person.id));
        }
        let others = || self.0.values().map(|member| &member.person);
        if others().any(|other| other.control == person.control) {
            return Some(format!("the control certificate {}", person.control));
        }
        let mut own = person.credentials.iter();
        let taken = own.find(|one| {
            // Itself, and then another one.
            let same = person.credentials.iter().filter(|other| one.is_in_the_hand_of(other));
            same.count() > 1 || self.holder(one).is_some()
        });
        taken.map(|one| format!("the credential {}", one.id()))
    }

    /// In whose hand this credential is already: one secret behind two people would be two votes
    /// of one.
    pub fn holder(&self, credential: &Credential) -> Option<&PersonId> {
        let holds = |member: &Member| {
            member.person.credentials.iter().any(|one| one.is_in_the_hand_of(credential))
        };
        self.0.iter().find(|(_, member)| holds(member)).map(|(id, _)| id)
    }

    /// A person.
    pub fn get(&self, id: &PersonId) -> Option<&Person> {
        self.0.get(id).map(|member| &member.person)
    }

    /// A person, and how far their vote counts.
    pub fn member(&self, id: &PersonId) -> Option<&Member> {
        self.0.get(id)
    }

    /// Everybody, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&PersonId, &Member)> {
        self.0.iter()
    }

    /// Whether this person has one of these roles.
    pub fn may(&self, id: &PersonId, roles: &[Role]) -> bool {
        let person = self.get(id);
        person.is_some_and(|person| roles.iter().any(|role| person.roles.contains(role)))
    }

    /// Who may vote in this role: not suspended, and with a credential that counts.
    pub fn voters(&self, role: Role) -> BTreeSet<PersonId> {
        let able = |member: &&Member| member.person.roles.contains(&role) && member.can_vote();
        self.0.values().filter(able).map(|member| member.person.id.clone()).collect()
    }

    pub(crate) fn add(&mut self, person: Person) {
        self.0.insert(person.id.clone(), Member::new(person));
    }

    pub(crate) fn remove(&mut self, id: &PersonId) {
        self.0.remove(id);
    }

    pub(crate) fn change(&mut self, id: &PersonId, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.0.get_mut(id) {
            change(member);
        }
    }
}

impl Member {
    fn new(person: Person) -> Self {
        let (silenced, counters) = (BTreeSet::new(), BTreeMap::new());
        Self { person, suspended: false, silenced, counters }
    }

    /// One of their credentials, whether it counts or not.
    pub fn credential(&self, id: &CredentialId) -> Option<&Credential> {
        self.person.credentials.iter().find(|credential| credential.id() == *id)
    }

    /// One of their credentials, if a vote with it counts.
    pub fn active(&self, id: &CredentialId) -> Option<&Credential> {
        let counts = !self.suspended && !self.silenced.contains(id);
        self.credential(id).filter(|_| counts)
    }

    /// Those of their credentials with which a vote counts.
    pub fn active_credentials(&self) -> impl Iterator<Item = &Credential> {
        let all = self.person.credentials.iter().filter(|_| !self.suspended);
        all.filter(|credential| !self.silenced.contains(&credential.id()))
    }

    fn can_vote(&self) -> bool {
        self.active_credentials().next().is_some()
    }

    /// Whether a passkey shows a counter that it may show now. Those that do not count show 0.
    pub(crate) fn counter_is_new(&self, id: &CredentialId, counter: u32) -> bool {
        let last = self.counters.get(id).copied().unwrap_or(0);
        (counter == 0 && last == 0) || counter > last
    }

    pub(crate) fn note_counter(&mut self, id: &CredentialId, counter: u32) {
        if counter > 0 {
            self.counters.insert(id.clone(), counter);
        }
    }

    pub(crate) fn add_credential(&mut self, credential: Credential) {
        self.person.credentials.push(credential);
    }

    pub(crate) fn drop_credential(&mut self, id: &CredentialId) {
        self.person.credentials.retain(|credential| credential.id() != *id);
        self.silenced.remove(id);
        self.counters.remove(id);
    }
}

/// Credentials of one person: two to use, and some to spare.
pub const CREDENTIALS_MAX: usize = 8;

/// People of one vault.
pub const PEOPLE_MAX: usize = 200;
