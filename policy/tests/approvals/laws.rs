//! What holds of every quorum and every history of votes.

use std::collections::BTreeSet;

use portcullis_policy::book::{Quorum, QuorumPart};
use portcullis_policy::credential::{Channel, Strength};
use portcullis_policy::id::PersonId;
use portcullis_policy::quorum::{Terms, Vote};
use portcullis_policy::time::{Interval, Millis, Span};

/// A small generator: proptest keeps a tree for each value, which a million of them cannot afford.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const PEOPLE: usize = 6;

fn name(number: usize) -> PersonId {
    format!("p{number}").parse().unwrap()
}

struct Case {
    terms: Terms,
    votes: Vec<Vote>,
    excluded: BTreeSet<PersonId>,
    now: Interval,
}

fn strength(number: u64) -> Strength {
    [Strength::File, Strength::Presence, Strength::Verified][usize::try_from(number).unwrap()]
}

fn case(dice: &mut Dice, names: &[PersonId]) -> Case {
    let parts = (0..1 + dice.roll(3)).map(|_| {
        let members = names.iter().filter(|_| dice.roll(2) == 0).cloned().collect();
        let count = u32::try_from(1 + dice.roll(3)).unwrap();
        QuorumPart { count, group: "g".into(), members }
    });
    let need = Quorum { parts: parts.collect() };
    let terms = Terms {
        need,
        expires: Span(1),
        execute: Span(0),
        delay: Span(dice.roll(3)),
        strength: strength(dice.roll(3)),
        channels: 1 + dice.roll(2),
    };
    let votes = (0..dice.roll(9)).map(|_| Vote {
        person: names[usize::try_from(dice.roll(6)).unwrap()].clone(),
        strength: strength(dice.roll(3)),
        channel: if dice.roll(2) == 0 { Channel::Terminal } else { Channel::Console },
        at: Millis(dice.roll(4)),
    });
    let votes = votes.collect();
    let excluded = names.iter().filter(|_| dice.roll(4) == 0).cloned().collect();
    let now = Millis(dice.roll(5));
    Case { terms, votes, excluded, now: Interval { possible: now, sure: now } }
}

fn met(case: &Case) -> bool {
    case.terms.are_met(&case.votes, case.now, |person| case.excluded.contains(person))
}

/// The same in other words: put people into places one after the other, in every way there is.
fn model(case: &Case) -> bool {
    let terms = &case.terms;
    let good: Vec<&Vote> = case
        .votes
        .iter()
        .filter(|vote| vote.strength >= terms.strength)
        .filter(|vote| vote.at.0 + terms.delay.0 <= case.now.sure.0)
        .filter(|vote| !case.excluded.contains(&vote.person))
        .filter(|vote| terms.need.parts.iter().any(|part| part.members.contains(&vote.person)))
        .collect();
    let screens = good.iter().map(|vote| vote.channel).collect::<BTreeSet<_>>().len();
    let people: BTreeSet<&PersonId> = good.iter().map(|vote| &vote.person).collect();
    let mut places = Vec::new();
    for part in &terms.need.parts {
        places.extend((0..part.count).map(|_| &part.members));
    }
    u64::try_from(screens).unwrap() >= terms.channels
        && seat(&places, &people.into_iter().collect::<Vec<_>>())
}

fn seat(places: &[&BTreeSet<PersonId>], people: &[&PersonId]) -> bool {
    let Some((place, rest)) = places.split_first() else { return true };
    (0..people.len()).any(|at| {
        let mut others = people.to_vec();
        place.contains(others.remove(at)) && seat(rest, &others)
    })
}

#[test]
fn a_plain_model_agrees_on_a_million_histories() {
    let names: Vec<PersonId> = (0..PEOPLE).map(name).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut yes = 0_u32;
    for round in 0..1_000_000 {
        let case = case(&mut dice, &names);
        let said = met(&case);
        assert_eq!(said, model(&case), "round {round}: {:?} {:?}", case.terms, case.votes);
        yes += u32::from(said);
    }
    assert!(yes > 20_000, "{yes} of them are met");
}

#[test]
fn never_by_fewer_people_than_it_takes_never_by_taking_somebody_away_and_in_whatever_order() {
    let names: Vec<PersonId> = (0..PEOPLE).map(name).collect();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for _ in 0..100_000 {
        let mut case = case(&mut dice, &names);
        let before = met(&case);
        let voters: BTreeSet<&PersonId> = case.votes.iter().map(|vote| &vote.person).collect();
        let takes: u32 = case.terms.need.parts.iter().map(|part| part.count).sum();
        assert!(!before || voters.len() >= usize::try_from(takes).unwrap());
        case.votes.reverse();
        let middle = case.votes.len() / 2;
        case.votes.rotate_left(middle);
        assert_eq!(met(&case), before);
        let who = names[usize::try_from(dice.roll(6)).unwrap()].clone();
        case.excluded.insert(who.clone());
        assert!(before || !met(&case), "taking {who} away met it");
        case.votes.retain(|vote| vote.person != who);
        assert!(before || !met(&case));
    }
}

#[test]
fn more_time_and_more_votes_never_unmeet_a_quorum() {
    let names: Vec<PersonId> = (0..PEOPLE).map(name).collect();
    let mut dice = Dice(0x0fed_cba9_8765_4321);
    for _ in 0..100_000 {
        let mut case = case(&mut dice, &names);
        let before = met(&case);
        let more = crate::laws::case(&mut dice, &names).votes;
        case.votes.extend(more);
        case.now.sure = Millis(case.now.sure.0 + dice.roll(3));
        assert!(!before || met(&case));
    }
}
