//! Whose vote, or which credential, no longer counts: said by one person, undone by a quorum.

use crate::governance::Deed;
use crate::id::PersonId;
use crate::people::{People, Role};
use crate::record::{Entry, Suspended};

use super::{State, Unfoldable};

/// A suspension that may not be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SuspensionFault {
    /// By somebody who may not.
    #[error("{0} may suspend nobody else: it takes the role security, and a vote that counts")]
    Role(PersonId),
    /// There is nothing to suspend.
    #[error("{0} has no such vote or credential, or it is suspended already")]
    Nothing(PersonId),
    /// Nobody could let it count again.
    #[error(
        "without {0} the others could not undo this, and there are no recovery credentials: \
         freeze instead, or propose to put somebody else in their place"
    )]
    Last(PersonId),
}

impl SuspensionFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Role(_) => "ROLE_MISSING",
            Self::Nothing(_) => "NOTHING_TO_SUSPEND",
            Self::Last(_) => "LAST_OF_A_QUORUM",
        }
    }
}

impl State {
    /// Whether this suspension may be recorded: it says something new of somebody there is, by
    /// somebody who may. That is the person themselves, or one person of security whose own vote is
    /// not suspended.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_suspension(&self, suspended: &Suspended) -> Result<(), SuspensionFault> {
        let Suspended { by, credential, person, reason: _ } = suspended;
        let own = by == person && self.people.get(by).is_some();
        let guard = self.people.may(by, &[Role::Security])
            && self.people.member(by).is_some_and(|member| !member.suspended);
        if !own && !guard {
            return Err(SuspensionFault::Role(by.clone()));
        }
        let member = self.people.member(person);
        let new = member.is_some_and(|member| match credential {
            Some(id) => member.credential(id).is_some() && !member.silenced.contains(id),
            None => !member.suspended,
        });
        if !new {
            return Err(SuspensionFault::Nothing(person.clone()));
        }
        let mut people = self.people.clone();
        suspend(&mut people, suspended);
        if self.others_can_undo(by, &people) {
            Ok(())
        } else {
            Err(SuspensionFault::Last(person.clone()))
        }
    }

    /// Whether the others could undo what one person did. Else that person could take the vault
    /// hostage by suspending the rest.
    fn others_can_undo(&self, one: &PersonId, people: &People) -> bool {
        let governance = &self.governance;
        !governance.quorums.contains_key(&Deed::People)
            || governance.can_change_people(people, Some(one))
    }

    pub(super) fn suspend(
        &mut self,
        entry: &Entry,
        suspended: &Suspended,
    ) -> Result<(), Unfoldable> {
        let checked = self.check_suspension(suspended);
        checked.map_err(|fault| Unfoldable::Suspended(entry.seq, fault))?;
        suspend(&mut self.people, suspended);
        self.pending.void(&suspended.person, suspended.credential.as_ref());
        self.narrowed = entry.seq;
        Ok(())
    }
}

fn suspend(people: &mut People, suspended: &Suspended) {
    people.change(&suspended.person, |one| match &suspended.credential {
        Some(id) => drop(one.silenced.insert(id.clone())),
        None => one.suspended = true,
    });
}
