//! Everything that can be done to a vault by people together. Closed: a new act must find the deed
//! whose quorum it takes, its words, and its effect.

mod fault;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::fault::ActFault;
use crate::bounded::at_most;
use crate::credential::{Credential, Evidence, Purpose};
use crate::drain::DrainPlan;
use crate::governance::{Deed, Governance};
use crate::id::{CredentialId, KeyId, PersonId, Sequence};
use crate::people::{CREDENTIALS_MAX, People, Person, Role};
use crate::statement;
use crate::stops::Scope;
use crate::time::{Millis, Span};

/// One act.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Lets sure time go forward over an outage that no clock could vouch for.
    AcceptTime(AcceptTime),
    /// Gives a person one more thing to sign with.
    AddCredential(AddCredential),
    /// Puts a book in force that widens.
    Adopt(AdoptBook),
    /// Calls off a recovery that was announced.
    CancelRecovery(CancelRecovery),
    /// Removes a key that was ended from the token.
    Destroy(Destroy),
    /// Brings what a key holds to safety, and lets it sign nothing else.
    Drain(Drain),
    /// Takes away something to sign with.
    DropCredential(DropCredential),
    /// Adds a person.
    Enrol(Enrol),
    /// Changes what deeds take.
    Govern(Govern),
    /// Lets a suspended vote count again.
    Reinstate(Reinstate),
    /// Removes a person.
    Remove(Remove),
    /// Ends a key for good.
    Revoke(Revoke),
    /// Changes what a person may do.
    SetRoles(SetRoles),
    /// Starts what was stopped.
    Thaw(Thaw),
}

/// Lets sure time go forward over an outage that no clock could vouch for.
///
/// Two readings of one moment, and not one: votes take hours, which pass on the boot clock, so
/// that what people agree to is how far sure time is behind, whenever it is carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptTime {
    /// What time it really was,
    pub at: Millis,
    /// The start after which nothing stood still: what was recorded from it on grows no older. The
    /// signer fills it in. Absent: proposed before there was such a start, and then all of it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Sequence>,
    /// when sure time was this.
    pub sure: Millis,
}

impl AcceptTime {
    /// How far sure time is behind.
    pub fn behind(&self) -> Span {
        Span(self.at.0.saturating_sub(self.sure.0))
    }
}

/// Gives a person one more thing to sign with.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddCredential {
    /// What.
    pub credential: Credential,
    /// Whom.
    pub person: PersonId,
    /// Signed with it, over the statement of enrolment: whoever holds it agrees.
    pub possession: Evidence,
}

/// Puts a book in force that widens.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptBook {
    /// Its bytes.
    pub book: String,
}

/// Calls off a recovery that was announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRecovery {}

/// Removes a key that was ended from the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroy {
    /// Which.
    pub key: KeyId,
}

/// Brings what a key holds to safety, and lets it sign nothing else.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Which.
    pub key: KeyId,
    /// What it may sign, and until when.
    pub plan: DrainPlan,
}

/// Takes away something to sign with.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropCredential {
    /// What.
    pub credential: CredentialId,
    /// Whose.
    pub person: PersonId,
}

/// Adds a person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// Who.
    pub person: Person,
    /// Signed with each of their credentials, in order, over its statement of enrolment.
    #[serde(deserialize_with = "at_most::<CREDENTIALS_MAX, _, _>")]
    pub possession: Vec<Evidence>,
}

/// Changes what deeds take.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Govern {
    /// What they take from then on.
    pub governance: Governance,
}

/// Lets a suspended vote count again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reinstate {
    /// Only this credential; absent: the person's vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Whose.
    pub person: PersonId,
}

/// Removes a person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Whom.
    pub person: PersonId,
}

/// Ends a key for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Which.
    pub key: KeyId,
}

/// Changes what a person may do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRoles {
    /// Who.
    pub person: PersonId,
    /// All that they may do from then on.
    pub roles: BTreeSet<Role>,
}

/// Starts what was stopped.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thaw {
    /// Exactly what one freeze stopped.
    pub scope: Scope,
}

impl Act {
    /// Whose quorum it takes.
    pub fn deed(&self) -> Deed {
        match self {
            // Sure time that goes forward empties every window and ends every delay earlier: for
            // that moment it widens all of the book.
            Self::AcceptTime(_) | Self::Adopt(_) => Deed::Widen,
            Self::Thaw(_) => Deed::Thaw,
            Self::Revoke(_) => Deed::Revoke,
            Self::Destroy(_) => Deed::Destroy,
            Self::Drain(_) => Deed::Drain,
            Self::AddCredential(_)
            | Self::CancelRecovery(_)
            | Self::DropCredential(_)
            | Self::Enrol(_)
            | Self::Govern(_)
            | Self::Reinstate(_)
            | Self::Remove(_)
            | Self::SetRoles(_) => Deed::People,
        }
    }

    /// The one key that it is about, if it is about one.
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Destroy(destroy) => Some(destroy.key),
            Self::Drain(drain) => Some(drain.key),
            Self::Revoke(revoke) => Some(revoke.key),
            Self::Thaw(thaw) => match &thaw.scope {
                Scope::Key(key) => Some(*key),
                Scope::All | Scope::Caller(_) | Scope::Tag(_) => None,
            },
            Self::AcceptTime(_)
            | Self::AddCredential(_)
            | Self::Adopt(_)
            | Self::CancelRecovery(_)
            | Self::DropCredential(_)
            | Self::Enrol(_)
            | Self::Govern(_)
            | Self::Reinstate(_)
            | Self::Remove(_)
            | Self::SetRoles(_) => None,
        }
    }

    /// Whether it is about this person: then they are not asked, neither to agree nor to forbid it.
    /// Else nobody could be removed against their will.
    pub fn is_about(&self, whom: &PersonId) -> bool {
        match self {
            Self::AddCredential(add) => add.person == *whom,
            Self::DropCredential(drop) => drop.person == *whom,
            Self::Enrol(enrol) => enrol.person.id == *whom,
            Self::Reinstate(back) => back.person == *whom,
            Self::Remove(remove) => remove.person == *whom,
            Self::SetRoles(set) => set.person == *whom,
            Self::AcceptTime(_)
            | Self::Adopt(_)
            | Self::CancelRecovery(_)
            | Self::Destroy(_)
            | Self::Drain(_)
            | Self::Govern(_)
            | Self::Revoke(_)
            | Self::Thaw(_) => false,
        }
    }

    /// Whether it takes somebody's say away. Then a quorum may be left out of reach, as long as the
    /// people can be changed: who is hostile, or whose key is stolen, must not stay for the sake of
    /// order.
    pub(crate) fn takes_away(&self) -> bool {
        matches!(self, Self::DropCredential(_) | Self::Remove(_) | Self::SetRoles(_))
    }

    /// Whether votes for it end with the book they were cast under. What people agreed to start
    /// again, or to widen, they judged by the book in force; what ends a key, or an enrolment, must
    /// not be held up by one person who narrows the book.
    pub fn is_bound_to_the_book(&self) -> bool {
        matches!(self, Self::AcceptTime(_) | Self::Adopt(_) | Self::Thaw(_))
    }

    /// What is done to the people, tried on a copy of them. `None`: it does nothing to them.
    pub(crate) fn apply_to(&self, people: &mut People, governance: &mut Governance) -> bool {
        match self {
            Self::AddCredential(add) => {
                people.change(&add.person, |one| one.add_credential(add.credential.clone()));
            }
            Self::DropCredential(drop) => {
                people.change(&drop.person, |one| one.drop_credential(&drop.credential));
            }
            Self::Enrol(enrol) => people.add(enrol.person.clone()),
            Self::Remove(remove) => people.remove(&remove.person),
            Self::SetRoles(set) => {
                people.change(&set.person, |one| one.person.roles.clone_from(&set.roles));
            }
            Self::Reinstate(back) => {
                people.change(&back.person, |one| match &back.credential {
                    Some(credential) => drop(one.silenced.remove(credential)),
                    None => one.suspended = false,
                });
            }
            Self::Govern(govern) => governance.clone_from(&govern.governance),
            Self::AcceptTime(_)
            | Self::Adopt(_)
            | Self::CancelRecovery(_)
            | Self::Destroy(_)
            | Self::Drain(_)
            | Self::Revoke(_)
            | Self::Thaw(_) => return false,
        }
        true
    }

    /// What is wrong with an act on people, for these people.
    pub(crate) fn check_people(&self, people: &People, vault: &str) -> Result<(), ActFault> {
        let member =
            |id: &PersonId| people.member(id).ok_or_else(|| ActFault::NoPerson(id.clone()));
        match self {
            Self::AddCredential(add) => {
                let held = member(&add.person)?.person.credentials.len();
                if held >= CREDENTIALS_MAX {
                    return Err(ActFault::Credentials(add.person.clone()));
                }
                if people.holder(&add.credential).is_some() {
                    let id = add.credential.id();
                    return Err(ActFault::Taken(format!("the credential {id}")));
                }
                possession(vault, &add.person, &add.credential, &add.possession)
            }
            Self::DropCredential(drop) => has(member(&drop.person)?, &drop.credential),
            Self::Enrol(enrol) => newcomer(enrol, people, vault),
            Self::Remove(remove) => member(&remove.person).map(|_| ()),
            Self::SetRoles(set) => {
                let before = &member(&set.person)?.person.roles;
                match (set.roles.is_empty(), *before == set.roles) {
                    (true, _) => Err(ActFault::NoRole(set.person.clone())),
                    (false, true) => Err(ActFault::NoChange),
                    (false, false) => Ok(()),
                }
            }
            Self::Reinstate(back) => {
                let one = member(&back.person)?;
                let out = back.credential.as_ref();
                let out = out.map_or(one.suspended, |id| one.silenced.contains(id));
                if out { Ok(()) } else { Err(ActFault::NotSuspended(back.person.clone())) }
            }
            Self::Govern(_)
            | Self::AcceptTime(_)
            | Self::Adopt(_)
            | Self::CancelRecovery(_)
            | Self::Destroy(_)
            | Self::Drain(_)
            | Self::Revoke(_)
            | Self::Thaw(_) => Ok(()),
        }
    }
}

fn has(member: &crate::people::Member, credential: &CredentialId) -> Result<(), ActFault> {
    let (person, credential) = (member.person.id.clone(), credential.clone());
    let held = member.credential(&credential).is_some();
    if held { Ok(()) } else { Err(ActFault::NoCredential { person, credential }) }
}

fn newcomer(enrol: &Enrol, people: &People, vault: &str) -> Result<(), ActFault> {
    let Enrol { person, possession: signed } = enrol;
    // How many first: what follows takes time for each.
    let count = person.credentials.len();
    if count > CREDENTIALS_MAX || signed.len() != count {
        return Err(ActFault::Credentials(person.id.clone()));
    }
    if let Some(taken) = people.clash(person) {
        return Err(ActFault::Taken(taken));
    }
    if person.roles.is_empty() {
        return Err(ActFault::NoRole(person.id.clone()));
    }
    let mut pairs = person.credentials.iter().zip(signed);
    pairs.try_for_each(|(credential, evidence)| possession(vault, &person.id, credential, evidence))
}

/// Whoever holds a credential agrees to be this person with it, in this vault.
fn possession(
    vault: &str,
    person: &PersonId,
    credential: &Credential,
    evidence: &Evidence,
) -> Result<(), ActFault> {
    let text = statement::enrolment(vault, person, &credential.id());
    let signed = credential.verify(Purpose::Enrolment, text.as_bytes(), evidence);
    let failed = |source| ActFault::Possession { credential: credential.id(), source };
    signed.map(drop).map_err(failed)
}
