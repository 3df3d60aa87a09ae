//! What was signed and is not known to be settled: what a stop cannot call back, because somebody
//! holds it. Whoever responds reads it to race them.
//!
//! Tells; decides nothing. Unlike [`crate::settlement`] it remembers whatever was signed and not
//! only what a book counts, and for whom; and of that the newest only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::id::{CallerId, ChainId, Digest, KeyId, KeyLabel, Sequence};
use crate::ledger::{Place, Slot};
use crate::record::{RecordedInput, SignedRecord};
use crate::stops::Scope;
use crate::time::Millis;

/// Signatures that may still take effect, by the record that signed each digest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unsettled {
    signed: BTreeMap<Sequence, One>,
    /// By account and nonce, so that a report of what is mined finds them.
    nonces: BTreeSet<(KeyId, ChainId, u64, Sequence)>,
    /// Callers, each once in memory.
    callers: BTreeSet<Arc<CallerId>>,
    /// Whether something was forgotten that was not known to be settled.
    forgotten: bool,
}

/// One digest that was signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct One {
    slot: Slot,
    digest: Digest,
    at: Millis,
    ends: Option<Millis>,
    form: Form,
    caller: Arc<CallerId>,
    /// Who else was given it.
    others: Vec<Arc<CallerId>>,
    /// Whether it was signed again under a later record.
    again: bool,
}

/// What a signature is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Form {
    /// A transaction.
    Transaction,
    /// An EIP-7702 authorization: it uses up a nonce of its account as a transaction does.
    Authorization,
    /// EIP-712 typed data: a permit, an order, a Safe's transaction.
    TypedData,
    /// A sign-in message of EIP-4361.
    Message,
}

/// One signature that may still take effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// The key.
    pub key: KeyId,
    /// Its name in books.
    pub label: KeyLabel,
    /// Its address: on the chain, sender and nonce are what finds it.
    pub address: Address,
    /// For whom it was signed: who asked first stands first.
    pub callers: Vec<CallerId>,
    /// The chain. 0 if typed data names none.
    pub chain: ChainId,
    /// The nonce that it uses up. `None`: typed data or a message, which has none that is known
    /// here.
    pub nonce: Option<u64>,
    /// What was signed.
    pub digest: Digest,
    /// What that is.
    pub form: Form,
    /// The record that signed it first.
    pub sequence: Sequence,
    /// When.
    pub at: Millis,
    /// From when on it can surely not be used. `None`: that is not known.
    pub ends: Option<Millis>,
}

/// What may still take effect in a scope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// The newest, newest first: by the record that signed each first.
    pub newest: Vec<Signature>,
    /// How many more there are in scope.
    pub more: u64,
    /// Whether there may be even older ones, in whatever scope, that are not remembered.
    pub incomplete: bool,
}

/// What of everything is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What is stopped.
    pub scope: &'a Scope,
    /// Records whose signatures were not released and now are not.
    pub unreleased: &'a BTreeSet<Sequence>,
    /// At most so many are listed.
    pub most: usize,
}

/// A key, as far as a listing names it. `None`: it does not exist, or is not in scope.
pub(crate) struct Named<'a> {
    pub(crate) label: &'a KeyLabel,
    pub(crate) address: Address,
    /// Whether it stands behind all others: what nobody has to race.
    pub(crate) last: bool,
}

impl Unsettled {
    /// Takes in a signature. `mined`: the nonce after the last that is known to be mined.
    pub(crate) fn sign(
        &mut self,
        signed: &SignedRecord,
        slot: Slot,
        (sequence, at): (Sequence, Millis),
        mined: u64,
    ) {
        if matches!(slot.place, Place::Nonce(nonce) if nonce < mined) {
            return;
        }
        let caller = self.intern(&signed.asked.by.caller);
        // What is not remembered any more is as good as new.
        let first = signed.repeats.and_then(|first| self.signed.get_mut(&first));
        if let Some(one) = first {
            one.again = true;
            let known = one.caller == caller || one.others.contains(&caller);
            if !known && one.others.len() < OTHERS_MAX {
                one.others.push(caller);
            }
            return;
        }
        if let Place::Nonce(nonce) = slot.place {
            self.nonces.insert((slot.key, slot.chain, nonce, sequence));
        }
        let (digest, ends) = (signed.asked.digest, signed.slot.ends);
        let (form, others) = (Form::of(&signed.asked.input), Vec::new());
        let again = signed.repeats.is_some();
        let one = One { slot, digest, at, ends, form, caller, others, again };
        self.signed.insert(sequence, one);
        while self.signed.len() > REMEMBERED_MAX {
            let Some((oldest, one)) = self.signed.pop_first() else { return };
            self.forget_nonce(one.slot, oldest);
            self.forgotten |= one.ends.is_none_or(|ends| ends > at);
        }
    }

    /// Takes in that every nonce below this one is mined.
    pub(crate) fn settle(&mut self, key: KeyId, chain: ChainId, mined: u64) {
        let first = (key, chain, 0, Sequence(0));
        let done = self.nonces.range(first..(key, chain, mined, Sequence(0)));
        for (key, chain, nonce, sequence) in done.copied().collect::<Vec<_>>() {
            self.nonces.remove(&(key, chain, nonce, sequence));
            self.signed.remove(&sequence);
        }
    }

    /// What may still take effect. `named` finds the keys in scope, and of a caller's scope every
    /// key.
    pub(crate) fn list<'a>(
        &self,
        wanted: &Wanted<'_>,
        now: Millis,
        named: impl Fn(KeyId) -> Option<Named<'a>>,
    ) -> Listing {
        let mut listing = Listing { incomplete: self.forgotten, ..Listing::default() };
        let (mut last, mut count) = (Vec::new(), 0_u64);
        for (sequence, one) in self.signed.iter().rev() {
            let over = one.ends.is_some_and(|ends| ends <= now);
            // Signed again, it may have been released then.
            let unreleased = !one.again && wanted.unreleased.contains(sequence);
            if over || unreleased || !one.is_in(wanted.scope) {
                continue;
            }
            let Some(key) = named(one.slot.key) else { continue };
            count = count.saturating_add(1);
            let list = if key.last { &mut last } else { &mut listing.newest };
            if list.len() < wanted.most {
                list.push(one.told(*sequence, &key));
            }
        }
        let room = wanted.most.saturating_sub(listing.newest.len());
        listing.newest.extend(last.into_iter().take(room));
        let told = u64::try_from(listing.newest.len()).unwrap_or(u64::MAX);
        listing.more = count.saturating_sub(told);
        listing
    }

    fn intern(&mut self, caller: &CallerId) -> Arc<CallerId> {
        if let Some(known) = self.callers.get(caller) {
            return Arc::clone(known);
        }
        let new = Arc::new(caller.clone());
        self.callers.insert(Arc::clone(&new));
        new
    }

    /// Callers, each once in memory again.
    pub(crate) fn share_callers(&mut self) {
        let callers = &self.callers;
        let shared = |caller: &mut Arc<CallerId>| {
            if let Some(known) = callers.get(caller) {
                *caller = Arc::clone(known);
            }
        };
        for one in self.signed.values_mut() {
            shared(&mut one.caller);
            one.others.iter_mut().for_each(shared);
        }
    }

    fn forget_nonce(&mut self, slot: Slot, sequence: Sequence) {
        if let Place::Nonce(nonce) = slot.place {
            self.nonces.remove(&(slot.key, slot.chain, nonce, sequence));
        }
    }
}

impl One {
    /// Whether a scope covers it, as far as that does not depend on the key's tags.
    fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All | Scope::Tag(_) => true,
            Scope::Key(key) => self.slot.key == *key,
            Scope::Caller(caller) => {
                *self.caller == *caller || self.others.iter().any(|other| **other == *caller)
            }
        }
    }

    fn told(&self, sequence: Sequence, key: &Named<'_>) -> Signature {
        let callers = std::iter::once(&self.caller).chain(&self.others);
        Signature {
            key: self.slot.key,
            label: key.label.clone(),
            address: key.address,
            callers: callers.map(|caller| CallerId::clone(caller)).collect(),
            chain: self.slot.chain,
            nonce: match self.slot.place {
                Place::Nonce(nonce) => Some(nonce),
                Place::Digest(_) => None,
            },
            digest: self.digest,
            form: self.form,
            sequence,
            at: self.at,
            ends: self.ends,
        }
    }
}

impl Form {
    fn of(input: &RecordedInput) -> Self {
        match input {
            RecordedInput::Transaction(_) | RecordedInput::TransactionSha256(_) => {
                Self::Transaction
            }
            RecordedInput::Delegation(_) => Self::Authorization,
            RecordedInput::Typed(_) | RecordedInput::TypedSha256(_) => Self::TypedData,
            RecordedInput::Message(_) => Self::Message,
        }
    }
}

/// Signatures that are remembered until they are settled, about 300 bytes each. Of more the newest:
/// with a watcher there are never so many, and nobody races so many by hand.
pub const REMEMBERED_MAX: usize = 32_768;

/// Callers of one digest that are told apart from who asked first.
const OTHERS_MAX: usize = 16;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test")]
mod tests {
    use alloy_primitives::B256;

    use super::*;
    use crate::id::{BookHash, DecisionNumber};
    use crate::money::Charges;
    use crate::record::{Asked, RecordedSlot};
    use crate::request::Asker;
    use crate::time::Interval;

    fn signed(nonce: u64) -> SignedRecord {
        let at = Interval { possible: Millis(nonce), sure: Millis(nonce) };
        let key = KeyId::from_bytes([1; 16]);
        let by = Asker {
            caller: "payouts".parse().unwrap(),
            expected: Address::ZERO,
            key,
            request: "r".parse().unwrap(),
        };
        let digest = Digest::left_padding_from(&nonce.to_be_bytes());
        let input = RecordedInput::Transaction("0x".into());
        let (number, seen) = (DecisionNumber(1), Sequence(1));
        let nonce = Some(nonce.to_string());
        let slot = RecordedSlot { as_safe: false, chain: ChainId(1), ends: None, nonce };
        SignedRecord {
            asked: Asked { at, by, digest, input, number, seen },
            book: BookHash(B256::ZERO),
            charge: Charges::default(),
            first_payments: Vec::new(),
            repeats: None,
            signature_sha256: B256::ZERO,
            slot,
            votes: Vec::new(),
        }
    }

    fn take(unsettled: &mut Unsettled, nonce: u64) {
        take_by(unsettled, nonce, KeyId::from_bytes([1; 16]));
    }

    fn take_by(unsettled: &mut Unsettled, nonce: u64, key: KeyId) {
        let mut signed = signed(nonce);
        signed.asked.by.key = key;
        let slot = signed.slot.resolve(signed.asked.by.key, signed.asked.digest).unwrap();
        unsettled.sign(&signed, slot, (Sequence(nonce + 1), Millis(nonce)), 0);
    }

    #[test]
    fn what_nobody_has_to_race_stands_behind_all_others_and_is_counted() {
        let (mut unsettled, canary) = (Unsettled::default(), KeyId::from_bytes([2; 16]));
        take(&mut unsettled, 0);
        (1..4).for_each(|nonce| take_by(&mut unsettled, nonce, canary));
        let label: KeyLabel = "hot".parse().unwrap();
        let named =
            |key| Some(Named { label: &label, address: Address::ZERO, last: key == canary });
        let unreleased = BTreeSet::new();
        for (most, nonces, more) in
            [(1, vec![0], 3), (2, vec![0, 3], 2), (9, vec![0, 3, 2, 1], 0), (0, vec![], 4)]
        {
            let wanted = Wanted { scope: &Scope::All, unreleased: &unreleased, most };
            let listing = unsettled.list(&wanted, Millis(9), named);
            let told: Vec<u64> = listing.newest.iter().filter_map(|one| one.nonce).collect();
            assert_eq!((told, listing.more), (nonces, more), "at most {most}");
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten_and_that_is_said() {
        let mut unsettled = Unsettled::default();
        let most = u64::try_from(REMEMBERED_MAX).unwrap();
        (0..most).for_each(|nonce| take(&mut unsettled, nonce));
        let label: KeyLabel = "hot".parse().unwrap();
        let named = |_| Some(Named { label: &label, address: Address::ZERO, last: false });
        let unreleased = BTreeSet::new();
        let wanted = Wanted { scope: &Scope::All, unreleased: &unreleased, most: 256 };
        let list = |unsettled: &Unsettled| unsettled.list(&wanted, Millis(most), named);
        assert!(!list(&unsettled).incomplete);
        (most..most + 10).for_each(|nonce| take(&mut unsettled, nonce));
        let listing = list(&unsettled);
        assert!(listing.incomplete);
        assert_eq!(listing.newest.first().unwrap().nonce, Some(most + 9));
        let listed = u64::try_from(listing.newest.len()).unwrap();
        assert_eq!(listed + listing.more, most);
        assert_eq!(unsettled.nonces.len(), REMEMBERED_MAX, "both tables are bounded");
        unsettled.settle(KeyId::from_bytes([1; 16]), ChainId(1), most);
        let left: Vec<_> = list(&unsettled).newest.iter().map(|one| one.nonce).collect();
        assert_eq!(left, (most..most + 10).rev().map(Some).collect::<Vec<_>>());
    }
}
