//! Who could meet what a deed takes, and who would be missed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deed, Governance};
use crate::credential::{Channel, Credential};
use crate::id::PersonId;
use crate::people::{Member, People, Role};
use crate::quorum::Terms;

impl Governance {
    /// Somebody who could not be removed against their will. They may forbid whatever else is
    /// asked of them, and so everything could stay as it is for ever.
    pub(super) fn hostages(&self, people: &People) -> Vec<Short> {
        if !self.sound().any(|deed| deed == Deed::People) {
            return Vec::new();
        }
        let all = people.iter().map(|(id, _)| id);
        let stuck = all.filter(|one| !self.can_change_people(people, Some(one)));
        let line = |one| format!("people: {one} could not be removed against their will");
        stuck.map(|one| Short::Hostage(line(one))).collect()
    }

    /// Whether the people can still be changed against the will of one of them, or of nobody: those
    /// who are left agree, to what one of them proposes; or recovery credentials replace them all.
    /// As long as that is so, everything else can be mended.
    pub(crate) fn can_change_people(&self, people: &People, without: Option<&PersonId>) -> bool {
        self.recovery.is_some() || self.people_change_people(people, without)
    }

    /// The same without recovery credentials, which take long.
    pub(crate) fn people_change_people(&self, people: &People, without: Option<&PersonId>) -> bool {
        let Some(terms) = self.terms(Deed::People, people) else { return false };
        let able = able(&terms, people);
        let met = |proposer: Option<&PersonId>| {
            let out = |id: &PersonId| Some(id) == proposer || Some(id) == without;
            let left = able.iter().filter(|(id, _)| !out(id)).map(|(_, screens)| screens);
            terms.need.is_met(|person| able.contains_key(person) && !out(person))
                && on_enough_screens(&terms, left)
        };
        let proposers = people.iter().filter(|(id, member)| {
            !member.suspended && Some(*id) != without && people.may(id, &Role::VOTERS)
        });
        let proposers: Vec<&PersonId> = proposers.map(|(id, _)| id).collect();
        // Whoever is not asked is not missed.
        let aside = proposers.iter().any(|id| !terms.need.asks(id));
        met(None) && (aside || proposers.into_iter().any(|proposer| met(Some(proposer))))
    }

    /// Whether people could do this, if everybody but those of whom `without` says so agrees.
    pub fn is_in_reach(
        &self,
        deed: Deed,
        people: &People,
        without: impl Fn(&PersonId) -> bool,
    ) -> bool {
        let Some(terms) = self.terms(deed, people) else { return false };
        let mut able = able(&terms, people);
        able.retain(|id, _| !without(id));
        terms.need.is_met(|person| able.contains_key(person))
            && on_enough_screens(&terms, able.values())
    }

    /// What is short of what a deed takes. A quorum that takes everybody is lost with one of them,
    /// and the proposer never counts: so it must be met, on enough screens, without any one person,
    /// whoever that is.
    pub(super) fn reach(&self, deed: Deed, people: &People) -> Vec<Short> {
        let Some(terms) = self.terms(deed, people) else { return Vec::new() };
        let able = able(&terms, people);
        let need = &terms.need;
        if !need.is_met(|person| able.contains_key(person)) {
            return vec![Short::Never(format!("{deed}: {need}"))];
        }
        if !on_enough_screens(&terms, able.values()) {
            return vec![Short::Screens(format!("{deed}: channels = {}", terms.channels))];
        }
        let met = |without: &PersonId| {
            let others = able.iter().filter(|(id, _)| **id != without).map(|(_, screens)| screens);
            need.is_met(|person| able.contains_key(person) && person != without)
                && on_enough_screens(&terms, others)
        };
        // Where each group has one more than all of them together take, nobody is missed.
        let places: u64 = need.parts.iter().map(|part| u64::from(part.count)).sum();
        let spare = need.parts.iter().all(|part| {
            let able = part.members.iter().filter(|person| able.contains_key(person)).count();
            u64::try_from(able).is_ok_and(|able| able > places)
        });
        let missed = |one: &&&PersonId| !(met(one) || spare && terms.channels == 1);
        let hang = able.keys().filter(missed);
        let line = |one| Short::Without(format!("{deed}: {need} cannot be met without {one}"));
        hang.map(line).collect()
    }
}

/// How people fall short of a quorum, and of which.
pub(super) enum Short {
    /// All of them are not enough.
    Never(String),
    /// It hangs on one of them.
    Without(String),
    /// They do not see it on enough kinds of screen.
    Screens(String),
    /// Without one of them and whoever proposes it they are not enough.
    Hostage(String),
}

impl Short {
    pub(super) fn line(self) -> String {
        match self {
            Self::Never(what) => format!(
                "{what} can never be met by people who have a role, a credential that counts, and \
                 are not suspended"
            ),
            Self::Without(what) => format!(
                "{what}: whoever proposes does not count, and a credential can be lost, so there \
                 must be one person more"
            ),
            Self::Screens(what) => {
                format!("{what}, and nobody asked has a credential for the console")
            }
            Self::Hostage(what) => format!(
                "{what}: somebody else must propose it, and enough others agree; or write recovery \
                 credentials"
            ),
        }
    }

    /// Whether whoever was this short of something was no better off.
    pub(super) fn is_as_bad(&self, other: &Self) -> bool {
        match self {
            Self::Never(_) => true,
            Self::Without(_) => matches!(other, Self::Without(_)),
            Self::Screens(_) => matches!(other, Self::Screens(_)),
            Self::Hostage(_) => matches!(other, Self::Hostage(_)),
        }
    }
}

/// Whoever has a credential that counts and could be strong enough, with the screens they see.
fn able<'p>(terms: &Terms, people: &'p People) -> BTreeMap<&'p PersonId, BTreeSet<Channel>> {
    let screens = |member: &Member| {
        let own = member.active_credentials();
        let strong = own.filter(|credential| credential.could_be() >= terms.strength);
        strong.map(Credential::channel).collect::<BTreeSet<_>>()
    };
    let all = people.iter().filter(|(id, _)| terms.need.asks(id));
    let all = all.map(|(id, member)| (id, screens(member)));
    all.filter(|(_, screens)| !screens.is_empty()).collect()
}

fn on_enough_screens<'s>(
    terms: &Terms,
    screens: impl Iterator<Item = &'s BTreeSet<Channel>>,
) -> bool {
    let screens: BTreeSet<_> = screens.flatten().collect();
    u64::try_from(screens.len()).is_ok_and(|screens| screens >= terms.channels)
}
