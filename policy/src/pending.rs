//! What waits for people: parked requests and proposals, with the votes cast on them.
//!
//! Part of the fold, and nothing but: what is here follows from records. Whether something has
//! expired is asked of the moment, and what has is dropped when a record says that time went by.

mod ends;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::book::Book;
use crate::credential::{Channel, Evidence, Strength};
use crate::governance::Requirement;
use crate::id::{CallerId, CredentialId, KeyId, PersonId, Sequence};
use crate::ledger::Slot;
use crate::money::Amount;
use crate::quorum::Vote;
use crate::record::{Choice, Matter};
use crate::rejections::Rejections;
use crate::request::Request;
use crate::time::Millis;

/// Everything that waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    matters: BTreeMap<Matter, Waiting>,
    /// Parked requests by whose they are, and where they would be charged.
    places: BTreeMap<(CallerId, Slot), BTreeSet<Sequence>>,
    /// Names of parked requests, by the records that parked them.
    names: BTreeMap<Sequence, Matter>,
    /// Parked requests of each caller that are neither signed nor rejected, by when they end.
    callers: BTreeMap<CallerId, BTreeSet<(Millis, Sequence)>>,
    /// Parked requests that would do the same.
    alike: BTreeMap<(KeyId, B256), BTreeSet<Sequence>>,
    ends: BTreeSet<(Millis, Matter)>,
    rejections: Rejections,
}

/// One thing that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// The record that began it.
    pub sequence: Sequence,
    /// What it is.
    pub subject: Subject,
    /// The text that voters sign, but for the lines of each vote.
    pub statement: Arc<str>,
    /// When votes are no longer taken, in possible time.
    pub expires: Millis,
    /// When it can no longer be done, in possible time.
    pub execute_until: Millis,
    /// Votes, in the order they came; at most one by each credential.
    pub votes: Vec<Cast>,
    /// Who ended it with a no, and when.
    pub rejected: Option<(PersonId, Millis)>,
}

/// What waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Subject {
    /// A request for a signature.
    Parked(ParkedSubject),
    /// A change to the vault.
    Proposed(ProposedSubject),
}

/// A request for a signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParkedSubject {
    /// The request.
    #[serde(with = "crate::state::image::request")]
    pub request: Arc<Request>,
    /// When it was parked, in possible time.
    pub parked_at: Millis,
    /// What stays the same when its fee is raised.
    pub essence: B256,
    /// What would do the same once more.
    pub likeness: B256,
    /// The most that a replacement may cost in fees; `None`: it cannot be replaced.
    pub fee_most: Option<Amount>,
    /// Quorums that were missing, in the words of the book.
    pub missing: Vec<String>,
    /// The record that signed it first.
    pub signed: Option<Sequence>,
}

/// A change to the vault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposedSubject {
    /// What to do.
    pub act: Act,
    /// Who proposes it.
    pub by: PersonId,
    /// What it took when it was proposed, as its text says.
    pub takes: Requirement,
    /// The book, if the act is to adopt one, and if it was parsed already.
    #[serde(skip)]
    pub book: Option<Arc<Book>>,
}

/// One vote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cast {
    /// Whose.
    pub by: PersonId,
    /// Signed with what.
    pub credential: CredentialId,
    /// What they said.
    pub choice: Choice,
    /// Why.
    pub reason: String,
    /// The signature.
    pub evidence: Evidence,
    /// How much it proved.
    pub strength: Strength,
    /// Where the statement was shown.
    pub channel: Channel,
    /// What the passkey's counter showed; 0 where there is none.
    pub counter: u32,
    /// When, in sure time.
    pub at: Millis,
    /// Its record.
    pub sequence: Sequence,
    /// Whether its voter or their credential was suspended, or taken away, since: somebody else
    /// may have cast it. It stays void when they come back.
    pub void: bool,
}

impl Cast {
    /// As quorums count it.
    pub fn vote(&self) -> Vote {
        Vote {
            person: self.by.clone(),
            strength: self.strength,
            channel: self.channel,
            at: self.at,
        }
    }
}

impl Waiting {
    /// The request, if it is one.
    pub fn parked(&self) -> Option<&ParkedSubject> {
        if let Subject::Parked(parked) = &self.subject { Some(parked) } else { None }
    }

    /// The proposal, if it is one.
    pub fn proposed(&self) -> Option<&ProposedSubject> {
        if let Subject::Proposed(proposed) = &self.subject { Some(proposed) } else { None }
    }

    /// Whether votes are still taken.
    pub fn takes_votes(&self, possible: Millis) -> bool {
        self.rejected.is_none() && possible < self.expires
    }
}

impl ParkedSubject {
    /// Who asks.
    pub fn caller(&self) -> &CallerId {
        &self.request.asker().caller
    }

    fn place(&self) -> (CallerId, Slot) {
        (self.caller().clone(), self.request.slot())
    }

    fn like(&self) -> (KeyId, B256) {
        (self.request.asker().key, self.likeness)
    }

    /// Whether what people agreed to here covers this request: the same, or the same at another
    /// price within the bound that they were shown.
    fn covers(&self, request: &Request) -> bool {
        if self.request.digest() == request.digest() {
            return true;
        }
        let Some((tx, most)) = request.transaction().zip(self.fee_most) else { return false };
        let dear = tx.worst_case_fee().is_none_or(|fee| fee > most);
        !dear && tx.essence() == self.essence
    }
}

impl Pending {
    /// One thing that waits, expired or not.
    pub fn get(&self, matter: &Matter) -> Option<&Waiting> {
        self.matters.get(matter)
    }

    /// Everything that waits, expired or not.
    pub fn iter(&self) -> impl Iterator<Item = (&Matter, &Waiting)> {
        self.matters.iter()
    }

    /// How many things wait.
    pub fn len(&self) -> usize {
        self.matters.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.matters.is_empty()
    }

    /// What was parked and covers this request, and may still be done: in the order it was parked.
    pub fn covering(
        &self,
        request: &Request,
        possible: Millis,
    ) -> impl Iterator<Item = (&Matter, &Waiting)> {
        // Most requests come when nothing waits, and pay nothing for this.
        let any = !self.places.is_empty();
        let place = any.then(|| (request.asker().caller.clone(), request.slot()));
        let numbers = place.and_then(|place| self.places.get(&place)).into_iter().flatten();
        let waiting = numbers.filter_map(|number| self.names.get(number));
        let waiting = waiting.filter_map(|name| Some((name, self.matters.get(name)?)));
        waiting.filter(move |(_, one)| {
            let live = possible < one.execute_until;
            live && one.parked().is_some_and(|parked| parked.covers(request))
        })
    }

    /// How many requests of a caller wait that this one does not belong to.
    pub(crate) fn others_of(&self, request: &Request, possible: Millis) -> u32 {
        let Some(ends) = self.callers.get(&request.asker().caller) else { return 0 };
        // What has ended stands first, and is dropped with the next record.
        let ended = ends.iter().take_while(|(end, _)| *end <= possible).count();
        let live = ends.len().saturating_sub(ended);
        let own = self
            .covering(request, possible)
            .filter(|(_, one)| ends.contains(&(one.execute_until, one.sequence)));
        u32::try_from(live.saturating_sub(own.count())).unwrap_or(u32::MAX)
    }

    /// How many requests wait that would do the same.
    pub(crate) fn like(&self, request: &Request) -> usize {
        self.alike.get(&likeness(request)).map_or(0, BTreeSet::len)
    }

    /// Who rejected something that would have done the same, and when.
    pub(crate) fn rejected_before(&self, request: &Request) -> Option<&(PersonId, Millis)> {
        self.rejections.of(&likeness(request))
    }

    /// How many proposals of a person wait.
    pub(crate) fn proposals_of(&self, person: &PersonId, possible: Millis) -> usize {
        let live = self.matters.values().filter(|one| possible < one.execute_until);
        live.filter_map(Waiting::proposed).filter(|one| one.by == *person).count()
    }

    pub(crate) fn begin(&mut self, matter: Matter, waiting: Waiting) {
        self.end(&matter);
        if let Some(parked) = waiting.parked() {
            let number = waiting.sequence;
            self.places.entry(parked.place()).or_default().insert(number);
            let ends = self.callers.entry(parked.caller().clone()).or_default();
            ends.insert((waiting.execute_until, number));
            self.alike.entry(parked.like()).or_default().insert(number);
            self.names.insert(number, matter.clone());
        }
        self.ends.insert((waiting.execute_until, matter.clone()));
        self.matters.insert(matter, waiting);
    }

    /// Drops one, with everything that is known of it but for a rejection.
    pub(crate) fn end(&mut self, matter: &Matter) -> Option<Waiting> {
        let waiting = self.matters.remove(matter)?;
        self.ends.remove(&(waiting.execute_until, matter.clone()));
        if let Some(parked) = waiting.parked() {
            let number = waiting.sequence;
            leave(&mut self.places, &parked.place(), &number);
            leave(&mut self.callers, parked.caller(), &(waiting.execute_until, number));
            leave(&mut self.alike, &parked.like(), &number);
            self.names.remove(&number);
        }
        Some(waiting)
    }

    pub(crate) fn vote(&mut self, matter: &Matter, cast: Cast) {
        let Some(waiting) = self.matters.get_mut(matter) else { return };
        if cast.choice == Choice::Reject {
            waiting.rejected = Some((cast.by.clone(), cast.at));
            if let Subject::Parked(parked) = &waiting.subject {
                self.rejections.note(parked.like(), (cast.by.clone(), cast.at));
                let ends = (waiting.execute_until, waiting.sequence);
                leave(&mut self.callers, parked.caller(), &ends);
                leave(&mut self.alike, &parked.like(), &waiting.sequence);
            }
        }
        waiting.votes.push(cast);
    }

    /// Notes that a request was signed on these votes: what people agreed to is bound to its slot
    /// by that record. It stays until it expires, because the same may be asked for again, or at
    /// another price.
    pub(crate) fn sign(&mut self, place: (CallerId, Slot), votes: &[Sequence], at: Sequence) {
        if votes.is_empty() {
            return;
        }
        let numbers = self.places.get(&place).into_iter().flatten();
        let names = numbers.filter_map(|number| self.names.get(number)).cloned();
        for name in names.collect::<Vec<Matter>>() {
            let Some(waiting) = self.matters.get_mut(&name) else { continue };
            if !waiting.votes.iter().any(|cast| votes.contains(&cast.sequence)) {
                continue;
            }
            if let Subject::Parked(parked) = &mut waiting.subject {
                parked.signed.get_or_insert(at);
                let ends = (waiting.execute_until, waiting.sequence);
                leave(&mut self.callers, &parked.request.asker().caller, &ends);
                leave(&mut self.alike, &parked.like(), &waiting.sequence);
            }
        }
    }

    /// Drops what can no longer be done, and forgets old rejections.
    pub(crate) fn pass(&mut self, possible: Millis, sure: Millis) {
        while let Some((_, matter)) = self.ends.first().filter(|(end, _)| *end <= possible) {
            let matter = matter.clone();
            self.end(&matter);
        }
        self.rejections.forget(sure);
    }

    /// Drops everything but what was rejected.
    pub(crate) fn clear(&mut self) {
        let matters: Vec<Matter> = self.matters.keys().cloned().collect();
        for matter in matters {
            self.end(&matter);
        }
    }

    /// Voids what a person, or one credential of theirs, said so far. A rejection stands.
    pub(crate) fn void(&mut self, person: &PersonId, credential: Option<&CredentialId>) {
        let casts = self.matters.values_mut().flat_map(|waiting| &mut waiting.votes);
        let theirs = casts.filter(|cast| {
            cast.by == *person && credential.is_none_or(|id| cast.credential == *id)
        });
        theirs.for_each(|cast| cast.void = true);
    }

    pub(crate) fn change_subjects(&mut self, change: impl Fn(&mut Subject)) {
        self.matters.values_mut().for_each(|waiting| change(&mut waiting.subject));
    }
}

fn likeness(request: &Request) -> (KeyId, B256) {
    let like = request.transaction().map_or_else(|| request.digest(), |tx| tx.likeness());
    (request.asker().key, like)
}

fn leave<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, name: &K, value: &V) {
    let Some(values) = index.get_mut(name) else { return };
    values.remove(value);
    if values.is_empty() {
        index.remove(name);
    }
}

/// Things that may wait at once, whoever asks: some 3 KiB each, mostly the statement.
pub const WAITING_MAX: usize = 20_000;

/// Proposals of one person that may wait at once.
pub const PROPOSALS_MAX: usize = 8;
