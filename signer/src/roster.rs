//! Who a certificate stands for; the only maker of [`Authenticated`] and [`Present`].
//!
//! Knows names and roles. What a caller may do is the book's business.

use portcullis_policy::id::{CallerId, PersonId};
use portcullis_policy::record::Role;

use crate::refusal::Refusal;
use crate::sequencer::View;

/// Proof that a service with a certificate is one that the book knows.
#[derive(Debug)]
#[must_use]
pub struct Authenticated {
    caller: CallerId,
}

impl Authenticated {
    /// Who it is.
    pub fn caller(&self) -> &CallerId {
        &self.caller
    }

    /// Who it is, for keeps.
    pub fn into_caller(self) -> CallerId {
        self.caller
    }

    /// Tests of the throttle need callers without a vault.
    #[cfg(test)]
    pub(crate) fn for_test(caller: CallerId) -> Self {
        Self { caller }
    }
}

/// Proof that a person with a certificate is one that the vault knows, in a role that suffices.
#[derive(Debug)]
#[must_use]
pub struct Present {
    person: PersonId,
}

impl Present {
    /// Who it is.
    pub fn person(&self) -> &PersonId {
        &self.person
    }
}

/// Reads the name in a service's certificate as a caller.
pub fn authenticate(view: &View, name: &str) -> Result<Authenticated, Refusal> {
    let known = name.parse().ok().filter(|caller| view.book.caller(caller).is_some());
    let unknown = || Refusal::UnknownPeer { name: name.to_owned() };
    known.map(|caller| Authenticated { caller }).ok_or_else(unknown)
}

/// Reads the name in a certificate as a person with any one of these roles. A service is nobody
/// here, whatever the book says of it.
pub fn person(view: &View, name: &str, roles: &[Role]) -> Result<Present, Refusal> {
    let mut people = view.people.iter().map(|(_, member)| &member.person);
    let found = people.find(|person| person.control == name);
    let Some(person) = found else {
        return Err(Refusal::UnknownPeer { name: name.to_owned() });
    };
    if roles.iter().any(|role| person.roles.contains(role)) {
        return Ok(Present { person: person.id.clone() });
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let role = names.join(" or ");
    Err(Refusal::NotAuthorised { person: person.id.to_string(), role })
}

/// The same, of somebody who is not suspended: whoever is still looks, and stops things.
pub fn active(view: &View, name: &str, roles: &[Role]) -> Result<Present, Refusal> {
    let present = person(view, name, roles)?;
    let member = view.people.member(&present.person);
    if member.is_some_and(|member| member.suspended) {
        return Err(Refusal::PersonSuspended(present.person));
    }
    Ok(present)
}
