//! Who must agree, how, and whether they do. One engine, for everything that takes people: parked
//! requests, thaws, revocations, books that widen, people themselves.

use std::collections::BTreeSet;
use std::fmt;

use crate::credential::{Channel, Strength};
use crate::id::PersonId;
use crate::time::{Interval, Millis, Span};

/// Everything that is asked of people before something is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Who must agree.
    pub need: Quorum,
    /// How long votes are taken.
    pub expires: Span,
    /// How much longer what was agreed may still be done. Zero: no longer.
    pub execute: Span,
    /// How old a vote must be before it counts. Zero: it counts at once.
    pub delay: Span,
    /// The weakest signature that counts.
    pub strength: Strength,
    /// On how many kinds of screen the statement must have been seen: one compromised screen shows
    /// every voter the same lie.
    pub channels: u64,
}

/// A vote in favour, as far as quorums can tell. Whoever makes one has checked its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vote {
    /// Whose.
    pub person: PersonId,
    /// How much its signature proved.
    pub strength: Strength,
    /// Where its statement was shown.
    pub channel: Channel,
    /// When it was recorded, in sure time.
    pub at: Millis,
}

impl Terms {
    /// Whether enough people have agreed by now, those not counted of whom `excluded` says so: the
    /// requester, and whoever owns the requesting caller.
    ///
    /// In whatever order votes came, and however many one person cast, the answer is the same.
    pub fn are_met(
        &self,
        votes: &[Vote],
        now: Interval,
        excluded: impl Fn(&PersonId) -> bool,
    ) -> bool {
        let counts = |vote: &&Vote| {
            vote.strength >= self.strength
                && vote.at.plus(self.delay) <= now.sure
                && self.need.asks(&vote.person)
                && !excluded(&vote.person)
        };
        let counted: Vec<&Vote> = votes.iter().filter(counts).collect();
        let channels: BTreeSet<Channel> = counted.iter().map(|vote| vote.channel).collect();
        let people: BTreeSet<&PersonId> = counted.iter().map(|vote| &vote.person).collect();
        let seen = u64::try_from(channels.len()).is_ok_and(|seen| seen >= self.channels);
        seen && self.need.is_met(|person| people.contains(person))
    }

    /// Whether whoever meets these terms also meets the others, and must be as quick.
    pub(crate) fn at_least_as_hard_as(&self, other: &Self) -> bool {
        self.expires <= other.expires
            && self.execute <= other.execute
            && self.delay >= other.delay
            && self.strength >= other.strength
            && self.channels >= other.channels
            && self.need.at_least_as_hard_as(&other.need)
    }
}

impl Terms {
    /// How and for how long, without who.
    pub fn manner(&self) -> String {
        let span = |word: &str, span: Span| match span {
            Span(0) => String::new(),
            _ => format!(", {word} {span}"),
        };
        let (execute, delay) =
            (span("to be done within another", self.execute), span("each vote after", self.delay));
        let strength = match self.strength {
            Strength::Presence => "",
            Strength::File => ", by any credential",
            Strength::Verified => ", by credentials that verify their holder",
        };
        let channels = if self.channels > 1 { ", seen in console and terminal" } else { "" };
        format!("within {}{execute}{delay}{strength}{channels}", self.expires)
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}", self.need, self.manner())
    }
}

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

    /// Whether it asks this person at all.
    pub fn asks(&self, person: &PersonId) -> bool {
        self.parts.iter().any(|part| part.members.contains(person))
    }

    /// Whether whoever meets this quorum also meets the other: each part of the other has one of
    /// its own here that asks for as many, of no other people.
    ///
    /// Says no where it is not sure: 3 of a group are not seen to be 2 of it and 1 of it.
    pub(crate) fn at_least_as_hard_as(&self, other: &Self) -> bool {
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

/// How strong a signature must be, as it is written; what is not written asks for hardware.
pub const STRENGTHS: [(Strength, &str); 3] =
    [(Strength::File, "file"), (Strength::Presence, "presence"), (Strength::Verified, "verified")];

/// Why a text is no quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BadQuorum<'t> {
    /// More groups than are looked at.
    TooManyParts,
    /// Not "N of GROUP".
    Form(&'t str),
    /// Not a number of people.
    Count(&'t str),
    /// A group twice.
    Repeated,
}

/// Reads "2 of treasury + 1 of security": how many of which group. Who is in a group is for others
/// to say.
pub fn parts_of(text: &str) -> Result<Vec<(u32, &str)>, Vec<BadQuorum<'_>>> {
    let texts: Vec<&str> = text.split('+').map(str::trim).collect();
    if texts.len() > PARTS_MAX {
        return Err(vec![BadQuorum::TooManyParts]);
    }
    let (mut parts, mut bad) = (Vec::new(), Vec::new());
    for text in texts {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [count, "of", group] = words.as_slice() else {
            bad.push(BadQuorum::Form(text));
            continue;
        };
        let number = crate::money::parse_decimal(count);
        let number = number.and_then(|count| u32::try_from(count.units()).ok());
        match number.filter(|count| *count > 0) {
            Some(count) => parts.push((count, *group)),
            None => bad.push(BadQuorum::Count(text)),
        }
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let groups: BTreeSet<&str> = parts.iter().map(|(_, group)| *group).collect();
    if groups.len() < parts.len() { Err(vec![BadQuorum::Repeated]) } else { Ok(parts) }
}

/// Every choice of parts is looked at: 2^8.
pub const PARTS_MAX: usize = 8;

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
