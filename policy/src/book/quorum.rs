//! Who must agree, and whether enough of them do.

use std::collections::BTreeSet;
use std::fmt;

use crate::id::PersonId;

/// "2 of treasury + 1 of security".
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// How many of which group, each at least 1; at most 8 parts, each group once.
    pub parts: Vec<QuorumPart>,
}

impl Quorum {
    /// Whether distinct people can fill every place. Somebody who is in two groups fills one place.
    ///
    /// `counts` says whose voice counts: who voted, and owns no caller concerned.
    ///
    /// By Hall's theorem they can exactly if for every choice of parts the people who are in at
    /// least one of them are as many as the places in all of them.
    pub fn is_met(&self, counts: impl Fn(&PersonId) -> bool) -> bool {
        let bits = (0..32).map(|bit| 1_u32 << bit);
        let parts: Vec<(u32, &QuorumPart)> = bits.zip(&self.parts).collect();
        let all: u32 = parts.iter().fold(0, |all, (bit, _)| all | bit);
        (1..=all).all(|choice| {
            let chosen = parts.iter().filter(|(bit, _)| choice & bit != 0);
            let chosen: Vec<&QuorumPart> = chosen.map(|(_, part)| *part).collect();
            let people = chosen.iter().flat_map(|part| &part.members);
            let people: BTreeSet<_> = people.filter(|person| counts(person)).collect();
            let places: u64 = chosen.iter().map(|part| u64::from(part.count)).sum();
            u64::try_from(people.len()).is_ok_and(|people| people >= places)
        })
    }

    /// Whether whoever meets this quorum also meets the other: each part of the other has one of
    /// its own here that asks for as many, of no other people.
    ///
    /// Says no where it is not sure: 3 of a group are not seen to be 2 of it and 1 of it.
    pub(super) fn at_least_as_hard_as(&self, other: &Self) -> bool {
        let mut taken: Vec<Option<usize>> = vec![None; self.parts.len()];
        (0..other.parts.len())
            .all(|easy| self.assign(other, easy, &mut taken, &mut BTreeSet::new()))
    }

    /// Finds a part of its own for a part of the other, moving earlier ones if need be: one step of
    /// a bipartite matching.
    fn assign(
        &self,
        other: &Self,
        easy: usize,
        taken: &mut Vec<Option<usize>>,
        tried: &mut BTreeSet<usize>,
    ) -> bool {
        let Some(part) = other.parts.get(easy) else { return false };
        for (at, hard) in self.parts.iter().enumerate() {
            if !hard.at_least_as_hard_as(part) || !tried.insert(at) {
                continue;
            }
            let holder = taken.get(at).copied().flatten();
            if holder.is_none_or(|holder| self.assign(other, holder, taken, tried)) {
                if let Some(place) = taken.get_mut(at) {
                    *place = Some(easy);
                }
                return true;
            }
        }
        false
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            let plus = if at == 0 { "" } else { " + " };
            write!(out, "{plus}{} of {}", part.count, part.group)?;
        }
        Ok(())
    }
}

/// "2 of treasury".
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumPart {
    /// How many.
    pub count: u32,
    /// Name of the group.
    pub group: String,
    /// Who is in it.
    pub members: BTreeSet<PersonId>,
}

impl QuorumPart {
    fn at_least_as_hard_as(&self, other: &Self) -> bool {
        self.count >= other.count && self.members.is_subset(&other.members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(number: usize) -> PersonId {
        format!("p{number}").parse().unwrap()
    }

    fn part(count: u32, members: &[usize]) -> QuorumPart {
        let members = members.iter().map(|number| person(*number)).collect();
        QuorumPart { count, group: "g".into(), members }
    }

    fn met_by(quorum: &Quorum, people: &[usize]) -> bool {
        let people: BTreeSet<PersonId> = people.iter().map(|number| person(*number)).collect();
        quorum.is_met(|person| people.contains(person))
    }

    #[test]
    fn a_person_in_two_groups_fills_one_place() {
        let quorum = Quorum { parts: vec![part(2, &[1, 2]), part(1, &[2, 3])] };
        assert!(!met_by(&quorum, &[1, 2]));
        assert!(met_by(&quorum, &[1, 2, 3]));
    }

    fn quorum() -> impl Strategy<Value = Quorum> {
        let members = prop::collection::btree_set(0_usize..5, 1..5);
        let part = (1_u32..3, members)
            .prop_map(|(count, members)| part(count, &members.into_iter().collect::<Vec<_>>()));
        prop::collection::vec(part, 1..4).prop_map(|parts| Quorum { parts })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn whoever_meets_the_harder_quorum_meets_the_easier(
            hard in quorum(),
            easy in quorum(),
        ) {
            // One pair in ten is.
            if !hard.at_least_as_hard_as(&easy) {
                return Ok(());
            }
            for chosen in 0_u32..32 {
                let people: Vec<usize> = (0..5).filter(|bit| chosen & (1 << bit) != 0).collect();
                prop_assert!(!met_by(&hard, &people) || met_by(&easy, &people), "{people:?}");
            }
        }

        #[test]
        fn a_quorum_is_as_hard_as_itself_and_harder_with_a_part_more(
            quorum in quorum(),
            more in quorum(),
        ) {
            prop_assert!(quorum.at_least_as_hard_as(&quorum));
            let mut parts = more.parts;
            parts.extend(quorum.parts.clone());
            let longer = Quorum { parts };
            prop_assert!(longer.at_least_as_hard_as(&quorum));
        }
    }
}
