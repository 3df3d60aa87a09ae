//! Who can do what: the people of the vault, as far as a drill must know them.

use std::collections::BTreeSet;

use portcullis_client::ControlClient;
use portcullis_client::wire::{ListPeopleResponse, PersonEntry};
use portcullis_policy::credential::Credential;
use portcullis_policy::governance::{Deed, Governance};
use portcullis_policy::id::PersonId;
use portcullis_policy::people::{People, Person, Role};
use portcullis_policy::quorum::Terms;

use crate::failure::Failure;
use crate::people::PeopleFault;

/// The people, and what deeds take of them.
pub(super) struct Council {
    people: People,
    governance: Governance,
    suspended: BTreeSet<String>,
}

impl Council {
    pub(super) async fn of(control: &ControlClient) -> Result<Self, Failure> {
        Ok(Self::read(&control.list_people().await?)?)
    }

    fn read(listed: &ListPeopleResponse) -> Result<Self, PeopleFault> {
        let governance =
            serde_json::from_str(&listed.governance_json).map_err(PeopleFault::Governance)?;
        let people: Vec<Person> = listed.people.iter().filter_map(person).collect();
        let suspended = listed.people.iter().filter(|one| one.suspended);
        let suspended = suspended.map(|one| one.id.clone()).collect();
        let people = People::new(&people).unwrap_or_default();
        Ok(Self { people, governance, suspended })
    }

    /// What a deed takes. `None`: nobody can do it.
    pub(super) fn terms(&self, deed: Deed) -> Option<Terms> {
        self.governance.terms(deed, &self.people)
    }

    /// Who may vote on a deed that this person proposes, in order of id.
    pub(super) fn asked(&self, deed: Deed, proposer: &str) -> Vec<String> {
        let Some(terms) = self.terms(deed) else { return Vec::new() };
        let members = terms.need.parts.iter().flat_map(|part| &part.members);
        let members: BTreeSet<&PersonId> = members.filter(|id| self.counts(id, proposer)).collect();
        members.into_iter().map(ToString::to_string).collect()
    }

    /// Whether enough people could vote on a deed that this person proposes.
    pub(super) fn is_enough(&self, deed: Deed, proposer: &str) -> bool {
        let terms = self.terms(deed);
        terms.is_some_and(|terms| terms.need.is_met(|id| self.counts(id, proposer)))
    }

    /// Whoever proposes does not vote, nor who is suspended or has nothing to sign with.
    fn counts(&self, id: &PersonId, proposer: &str) -> bool {
        let signs = self.people.get(id).is_some_and(|person| !person.credentials.is_empty());
        id.as_str() != proposer && signs && !self.suspended.contains(id.as_str())
    }

    /// Everybody with a role, in order of id.
    pub(super) fn with(&self, role: Role) -> Vec<String> {
        let people = self.people.iter().filter(|(_, member)| member.person.roles.contains(&role));
        let people = people.map(|(id, _)| id.to_string());
        people.filter(|id| !self.suspended.contains(id)).collect()
    }
}

/// Somebody with a role or a credential that this version does not know is still a person.
fn person(entry: &PersonEntry) -> Option<Person> {
    let roles = entry.roles.iter().filter_map(|name| {
        serde_json::from_value::<Role>(serde_json::Value::String(name.clone())).ok()
    });
    let active = entry.credentials.iter().filter(|one| !one.suspended);
    let credentials =
        active.filter_map(|one| serde_json::from_str::<Credential>(&one.credential_json).ok());
    Some(Person {
        control: entry.control.clone(),
        credentials: credentials.collect(),
        id: entry.id.parse().ok()?,
        roles: roles.collect(),
    })
}
