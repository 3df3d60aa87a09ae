//! Stops that a person signed beforehand, and that whoever holds the paper may use once; and those
//! that were made straight on the token and noted there.
//!
//! A stolen one can do one thing, in the open: stop what a quorum starts again. So it asks for no
//! certificate, and for no vote that counts: who is suspended still stops things.

use std::collections::BTreeSet;

use alloy_primitives::B128;

use crate::canonical::INTEGER_MAX;
use crate::credential::{BadEvidence, Evidence, Purpose};
use crate::id::{CredentialId, KeyId, PersonId, VaultId};
use crate::people::{People, Role};
use crate::record::{Actor, Entry, Frozen, Order, SignedNote, Trigger};
use crate::statement;
use crate::stops::Scope;
use crate::time::{Interval, Millis};

use super::votes::REASON_MAX;
use super::{State, Unfoldable};

/// An order or a note that stops nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OrderFault {
    /// By somebody who may not.
    #[error("{0} may stop nothing: it takes the role security")]
    Role(PersonId),
    /// Signed with something that is not theirs, or that was suspended because it was lost.
    #[error("{0} does not sign with {1}")]
    Credential(PersonId, CredentialId),
    /// Too late.
    #[error("the order was good until {}", crate::utc::rfc3339(.0.0))]
    Expired(Millis),
    /// It was used.
    #[error("the order was used already: each is good for one stop")]
    Used,
    /// The note was taken in.
    #[error("the note was taken in already: each is good for one stop")]
    Taken,
    /// A time that no record can hold.
    #[error("its time is after the year 287396")]
    Time,
    /// A note about something else than one key.
    #[error("a note is about one key, and this is about {0}")]
    NotOneKey(Scope),
    /// Nobody could read why, or what was done.
    #[error(
        "an order or a note says why, in 1 to {REASON_MAX} characters, and so of all its words"
    )]
    Reason,
    /// The signature is none over this text in this vault.
    #[error("the signature does not fit this order or note in this vault: {0}")]
    Evidence(BadEvidence),
}

impl OrderFault {
    /// The stable reason, as an answer names it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Role(_) => "ROLE_MISSING",
            Self::Credential(..) => "CREDENTIAL_UNKNOWN",
            Self::Expired(_) => "ORDER_EXPIRED",
            Self::Used => "ORDER_USED",
            Self::Taken => "NOTE_TAKEN",
            Self::Time => "BAD_TIME",
            Self::NotOneKey(_) => "NOTE_SCOPE",
            Self::Reason => "BAD_REASON",
            Self::Evidence(fault) => fault.code(),
        }
    }
}

/// Whoever may have signed an order, and which are used: all that it takes to judge one.
#[derive(Clone, Copy, Debug)]
pub struct Signatories<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// Its people.
    pub people: &'a People,
    /// Orders that were used, with their ends.
    pub used: &'a BTreeSet<(Millis, B128)>,
    /// Notes that were taken in.
    pub taken: &'a BTreeSet<B128>,
}

impl Signatories<'_> {
    /// Whether a stop is somebody's to make: that of an order is, if it is signed, in time and not
    /// used. Who may stop things by themselves is for the edge to say.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, stop: &Frozen, now: Interval) -> Result<(), OrderFault> {
        match &stop.by {
            Actor::Person(_) | Actor::Signer | Actor::Trigger(_) => Ok(()),
            Actor::Order(order) => self.check_order(order, stop, now),
            Actor::Rescue(note) => self.check_note(note, stop),
        }
    }

    /// Whether a note is somebody's who may stop things, signed, and not taken in yet. It does not
    /// expire: the token stays as it is until then.
    fn check_note(&self, signed: &SignedNote, stop: &Frozen) -> Result<(), OrderFault> {
        let SignedNote { credential, evidence, note } = signed;
        let Scope::Key(key) = &stop.scope else {
            return Err(OrderFault::NotOneKey(stop.scope.clone()));
        };
        if self.taken.contains(&note.id) {
            return Err(OrderFault::Taken);
        }
        let clear = |words: &&String| (1..=REASON_MAX).contains(&words.chars().count());
        let labelled = note.label.chars().count() <= REASON_MAX;
        if note.written.0 >= INTEGER_MAX {
            return Err(OrderFault::Time);
        }
        if ![&stop.reason, &note.answer, &note.token].iter().all(clear) || !labelled {
            return Err(OrderFault::Reason);
        }
        let text = statement::rescue(note, key, &stop.reason);
        self.check_signed(Purpose::Rescue, &text, (&note.by, credential, evidence))
    }

    fn check_order(&self, order: &Order, stop: &Frozen, now: Interval) -> Result<(), OrderFault> {
        let Order { by, credential, evidence, expires, order: id } = order;
        if expires.0 >= INTEGER_MAX {
            return Err(OrderFault::Time);
        }
        if now.possible >= *expires {
            return Err(OrderFault::Expired(*expires));
        }
        if self.used.contains(&(*expires, *id)) {
            return Err(OrderFault::Used);
        }
        if !(1..=REASON_MAX).contains(&stop.reason.chars().count()) {
            return Err(OrderFault::Reason);
        }
        let text = statement::stop_order(&hex::encode(self.vault.0), order, stop);
        self.check_signed(Purpose::Stop, &text, (by, credential, evidence))
    }

    fn check_signed(
        &self,
        purpose: Purpose,
        text: &str,
        (by, credential, evidence): (&PersonId, &CredentialId, &Evidence),
    ) -> Result<(), OrderFault> {
        if !self.people.may(by, &[Role::Security]) {
            return Err(OrderFault::Role(by.clone()));
        }
        let member = self.people.member(by).filter(|one| !one.silenced.contains(credential));
        let held = member.and_then(|one| one.credential(credential));
        let held = held.ok_or_else(|| OrderFault::Credential(by.clone(), credential.clone()))?;
        let signed = held.verify(purpose, text.as_bytes(), evidence);
        signed.map(drop).map_err(OrderFault::Evidence)
    }
}

impl State {
    /// What it takes to judge a stop order.
    pub fn signatories(&self) -> Signatories<'_> {
        Signatories {
            vault: &self.vault,
            people: &self.people,
            used: &self.used_orders,
            taken: &self.taken_notes,
        }
    }

    /// Notes of what was done straight on the token that were taken in.
    pub fn taken_notes(&self) -> &BTreeSet<B128> {
        &self.taken_notes
    }

    /// Orders that were used, with their ends, until they are no longer good.
    pub fn used_orders(&self) -> &BTreeSet<(Millis, B128)> {
        &self.used_orders
    }

    /// Takes in what set off a stop by the signer itself. `None`: it does not stop that, or what it
    /// says is not so.
    fn trigger(&mut self, trigger: &Trigger, scope: &Scope) -> Option<()> {
        let made = |id: &KeyId| self.keys.get(id).is_some_and(|key| key.made.is_some());
        match (trigger, scope) {
            (Trigger::BadSignature, Scope::Key(key)) if made(key) => Some(()),
            (Trigger::Denials(_), Scope::Caller(_)) => Some(()),
            (Trigger::UsedElsewhere(told), Scope::Key(key)) if made(key) => {
                let nonce = told.nonce.parse().ok()?;
                let signed = self.settlements.used_elsewhere(*key, told.chain, nonce)?;
                let as_told = signed.to_string() == told.signed && !self.drains.contains_key(key);
                as_told.then(|| self.settlements.elsewhere.alarmed(*key, told.chain, nonce))
            }
            (
                Trigger::BadSignature | Trigger::Denials(_) | Trigger::UsedElsewhere(_),
                Scope::All | Scope::Caller(_) | Scope::Key(_) | Scope::Tag(_),
            ) => None,
        }
    }

    pub(super) fn freeze(&mut self, entry: &Entry, frozen: &Frozen) -> Result<(), Unfoldable> {
        let checked = self.signatories().check(frozen, entry.at);
        checked.map_err(|fault| Unfoldable::Order(entry.seq, fault))?;
        if let Actor::Order(order) = &frozen.by {
            // By sure time, which goes on more slowly: what is forgotten here has long expired.
            self.used_orders.retain(|(expires, _)| *expires > entry.at.sure);
            self.used_orders.insert((order.expires, order.order));
        }
        if let Actor::Rescue(signed) = &frozen.by {
            self.taken_notes.insert(signed.note.id);
        }
        if let Actor::Trigger(trigger) = &frozen.by {
            let fits = self.trigger(trigger, &frozen.scope);
            fits.ok_or(Unfoldable::Trigger(entry.seq))?;
        }
        self.stops.add(frozen.scope.clone());
        self.stop_drains(&frozen.scope);
        // Whoever agreed to start it again had not heard of this stop.
        self.pending.stop(|scope| *scope == frozen.scope);
        self.narrowed = entry.seq;
        Ok(())
    }
}
