//! Slots that are recognised: what each is charged, when that was, and which digests were signed.
//!
//! There are up to 200,000 of them, nearly all for one transaction that nobody replaces, so
//! each is kept as a string of bytes of about a hundred, and unpacked when it is asked for.
//! Forgetting one is always safe: whatever is signed for it later is charged again.

mod image;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::{LogId, Stamp, Step};
use super::{Place, Slot};
use crate::id::{ChainId, Digest, KeyId, Sequence};
use crate::money::Amount;
use crate::outage::Outage;
use crate::time::Millis;

/// A caller's number in the ledger.
pub(super) type CallerNumber = u64;

/// What a slot is charged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Charged {
    /// Of the last charge.
    pub(super) stamp: Stamp,
    pub(super) digests: Vec<Signed>,
    /// By log: those of one stand together, and what was charged last stands last.
    pub(super) steps: Vec<(LogId, Step)>,
}

/// A digest that was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Signed {
    pub(super) digest: Digest,
    /// First.
    pub(super) at: Sequence,
    /// For whom it was charged, if a limit counts callers apart.
    pub(super) callers: Vec<CallerNumber>,
}

impl Charged {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp, digests: Vec::new(), steps: Vec::new() }
    }

    pub(super) fn signed(&self, digest: Digest) -> Option<&Signed> {
        self.digests.iter().find(|signed| signed.digest == digest)
    }

    pub(super) fn steps(&self, log: LogId) -> Vec<Step> {
        self.steps.iter().filter(|(known, _)| *known == log).map(|(_, step)| *step).collect()
    }

    pub(super) fn set(&mut self, log: LogId, steps: Vec<Step>) {
        self.steps.retain(|(known, _)| *known != log);
        self.steps.extend(steps.into_iter().map(|step| (log, step)));
        // What a log holds of a slot that does not know it is counted twice, if it is raised.
        while self.steps.len() > STEPS_PER_SLOT_MAX {
            let Some((oldest, _)) = self.steps.first().copied() else { return };
            self.steps.retain(|(known, _)| *known != oldest);
        }
    }

    pub(super) fn sign(&mut self, digest: Digest, at: Sequence) {
        if self.signed(digest).is_none() {
            if self.digests.len() >= DIGESTS_PER_SLOT_MAX {
                self.digests.remove(0);
            }
            self.digests.push(Signed { digest, at, callers: Vec::new() });
        }
    }

    /// Remembers for whom a digest is charged. Beyond the bound it is charged again, each time.
    pub(super) fn count(&mut self, digest: Digest, caller: CallerNumber) {
        let signed = self.digests.iter_mut().find(|signed| signed.digest == digest);
        let Some(signed) = signed else { return };
        if signed.callers.len() < CALLERS_PER_DIGEST_MAX && !signed.callers.contains(&caller) {
            signed.callers.push(caller);
        }
    }
}

/// All of them, by place and by age.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Slots {
    accounts: BTreeMap<(KeyId, ChainId), u32>,
    nonces: Table<u64>,
    digests: Table<Digest>,
    bytes: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<image::Row<P>>", bound = "P: Copy + Ord + Deserialize<'de>")]
struct Table<P> {
    packed: BTreeMap<(u32, P), Box<[u8]>>,
    ages: BTreeMap<Sequence, (u32, P)>,
}

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self { packed: BTreeMap::new(), ages: BTreeMap::new() }
    }
}

impl<P: Copy + Ord> Table<P> {
    fn take(&mut self, place: (u32, P)) -> Option<Box<[u8]>> {
        let packed = self.packed.remove(&place)?;
        if let Some(stamp) = stamp_of(&packed) {
            self.ages.remove(&stamp.1);
        }
        Some(packed)
    }

    fn put(&mut self, place: (u32, P), packed: Box<[u8]>, at: Sequence) {
        self.packed.insert(place, packed);
        self.ages.insert(at, place);
    }

    fn oldest(&self) -> Option<(Stamp, (u32, P))> {
        let place = *self.ages.first_key_value()?.1;
        let stamp = self.packed.get(&place).and_then(|packed| stamp_of(packed))?;
        Some((stamp, place))
    }
}

impl Slots {
    /// What a slot is charged.
    pub(super) fn charged(&self, slot: Slot) -> Option<Charged> {
        unpack(self.packed(slot)?)
    }

    /// When it was charged last.
    pub(super) fn stamp(&self, slot: Slot) -> Option<Stamp> {
        stamp_of(self.packed(slot)?)
    }

    fn packed(&self, slot: Slot) -> Option<&[u8]> {
        let account = *self.accounts.get(&(slot.key, slot.chain))?;
        match slot.place {
            Place::Nonce(nonce) => self.nonces.packed.get(&(account, nonce)),
            Place::Digest(digest) => self.digests.packed.get(&(account, digest)),
        }
        .map(|packed| &**packed)
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Charged> {
        let account = *self.accounts.get(&(slot.key, slot.chain))?;
        let packed = match slot.place {
            Place::Nonce(nonce) => self.nonces.take((account, nonce)),
            Place::Digest(digest) => self.digests.take((account, digest)),
        }?;
        self.bytes = self.bytes.saturating_sub(packed.len());
        unpack(&packed)
    }

    /// Puts back what was taken, or a new one.
    pub(super) fn put(&mut self, slot: Slot, charged: &Charged) {
        let fresh = u32::try_from(self.accounts.len()).unwrap_or(u32::MAX);
        let account = *self.accounts.entry((slot.key, slot.chain)).or_insert(fresh);
        let packed = pack(charged);
        self.bytes = self.bytes.saturating_add(packed.len());
        match slot.place {
            Place::Nonce(nonce) => self.nonces.put((account, nonce), packed, charged.stamp.1),
            Place::Digest(digest) => self.digests.put((account, digest), packed, charged.stamp.1),
        }
    }

    /// Forgets those that were last charged no later than `horizon`, and the oldest of too many.
    pub(super) fn forget(&mut self, horizon: Option<Millis>, (number, bytes): (usize, usize)) {
        loop {
            let (nonce, digest) = (self.nonces.oldest(), self.digests.oldest());
            let ages = nonce.iter().map(|(stamp, _)| *stamp);
            let Some(oldest) = ages.chain(digest.iter().map(|(stamp, _)| *stamp)).min() else {
                return;
            };
            let over = self.len() > number || self.bytes > bytes;
            if !over && horizon.is_none_or(|horizon| oldest.0 > horizon) {
                return;
            }
            let packed = match (nonce, digest) {
                (Some((stamp, place)), _) if stamp == oldest => self.nonces.take(place),
                (_, Some((_, place))) => self.digests.take(place),
                (_, None) => None,
            };
            let Some(packed) = packed else { return };
            self.bytes = self.bytes.saturating_sub(packed.len());
        }
    }

    /// What was charged since an outage ended is remembered as long after it as before.
    pub(super) fn keep_young(&mut self, outage: Outage) {
        let (nonces, digests) = (&mut self.nonces.packed, &mut self.digests.packed);
        for packed in nonces.values_mut().chain(digests.values_mut()) {
            // None of its steps is younger.
            let young = stamp_of(packed).filter(|stamp| outage.moved(*stamp) != *stamp);
            let Some(mut charged) = young.and_then(|_| unpack(packed)) else { continue };
            charged.stamp = outage.moved(charged.stamp);
            for (_, step) in &mut charged.steps {
                step.stamp = outage.moved(step.stamp);
            }
            self.bytes = self.bytes.saturating_sub(packed.len());
            *packed = pack(&charged);
            self.bytes = self.bytes.saturating_add(packed.len());
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.len(), self.bytes)
    }

    #[cfg(test)]
    pub(super) fn packed_bytes(&self) -> usize {
        let (nonces, digests) = (self.nonces.packed.values(), self.digests.packed.values());
        nonces.chain(digests).map(|packed| packed.len()).sum()
    }

    fn len(&self) -> usize {
        self.nonces.packed.len().saturating_add(self.digests.packed.len())
    }
}

/// Small numbers are many: seven bits to a byte, the lowest first.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn pack(charged: &Charged) -> Box<[u8]> {
    let mut out = Vec::with_capacity(256);
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let (last, sequence) = (charged.stamp.0.0, charged.stamp.1.0);
    put_number(&mut out, last);
    put_number(&mut out, sequence);
    put_number(&mut out, count(charged.digests.len()));
    for signed in &charged.digests {
        out.extend_from_slice(signed.digest.as_slice());
        put_number(&mut out, signed.at.0);
        put_number(&mut out, count(signed.callers.len()));
        signed.callers.iter().for_each(|caller| put_number(&mut out, *caller));
    }
    for (log, step) in &charged.steps {
        put_number(&mut out, *log);
        let bytes = step.amount.units().to_be_bytes::<32>();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(zeros..).unwrap_or_default();
        put_number(&mut out, count(digits.len()));
        out.extend_from_slice(digits);
        // Most are of the slot's own stamp, and none is younger.
        put_number(&mut out, last.saturating_sub(step.stamp.0.0));
        put_number(&mut out, sequence.saturating_sub(step.stamp.1.0));
    }
    out.into_boxed_slice()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10_u32 {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7f).checked_shl(place.checked_mul(7)?)?;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, length: usize) -> Option<&[u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some((Millis(self.number()?), Sequence(self.number()?)))
    }

    fn digest(&mut self) -> Option<Signed> {
        let digest = Digest::from_slice(self.bytes(32)?);
        let at = Sequence(self.number()?);
        let callers = (0..self.number()?).map(|_| self.number()).collect::<Option<_>>()?;
        Some(Signed { digest, at, callers })
    }

    fn step(&mut self, (last, sequence): Stamp) -> Option<(LogId, Step)> {
        let log = self.number()?;
        let length = usize::try_from(self.number()?).ok()?;
        let amount = alloy_primitives::U256::try_from_be_slice(self.bytes(length)?)?;
        let amount = Amount::from_units(amount);
        let time = Millis(last.0.checked_sub(self.number()?)?);
        let stamp = (time, Sequence(sequence.0.checked_sub(self.number()?)?));
        Some((log, Step { amount, stamp }))
    }
}

fn stamp_of(packed: &[u8]) -> Option<Stamp> {
    Reader(packed).stamp()
}

/// `None` for what [`pack`] did not make: then nothing is recognised.
fn unpack(packed: &[u8]) -> Option<Charged> {
    let mut reader = Reader(packed);
    let stamp = reader.stamp()?;
    let digests = (0..reader.number()?).map(|_| reader.digest()).collect::<Option<_>>()?;
    let mut steps = Vec::new();
    while !reader.0.is_empty() {
        steps.push(reader.step(stamp)?);
    }
    Some(Charged { stamp, digests, steps })
}

/// How many alternatives of one nonce are recognised as repeats. More are signed all the same, as
/// new alternatives that raise nothing.
const DIGESTS_PER_SLOT_MAX: usize = 16;

/// Callers of one digest that are told apart.
const CALLERS_PER_DIGEST_MAX: usize = 16;

/// What alternatives of one nonce are charged, in how many logs: a transfer has about four. Of more
/// the oldest are charged again if they are raised.
const STEPS_PER_SLOT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = (LogId, Step)> {
        let amount = any::<[u64; 4]>()
            .prop_map(|limbs| Amount::from_units(alloy_primitives::U256::from_limbs(limbs)));
        let small = any::<u64>().prop_map(|units| Amount::from(u128::from(units)));
        let amount = prop_oneof![amount, small, Just(Amount::ZERO), Just(Amount::MAX)];
        (any::<LogId>(), amount, 0..=TIME, 0..=TIME).prop_map(|(log, amount, time, sequence)| {
            (log, Step { amount, stamp: (Millis(time), Sequence(sequence)) })
        })
    }

    const TIME: u64 = 1_700_000_000_000;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_as_it_was(
            steps in prop::collection::vec(step(), 0..20),
            digests in prop::collection::vec(
                (any::<[u8; 32]>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..17)), 0..17
            ),
        ) {
            let signed = digests.into_iter().map(|(digest, at, callers)| {
                Signed { digest: digest.into(), at: Sequence(at), callers }
            });
            let digests = signed.collect();
            let charged = Charged { stamp: (Millis(TIME), Sequence(TIME)), digests, steps };
            let packed = pack(&charged);
            prop_assert_eq!(stamp_of(&packed), Some(charged.stamp));
            prop_assert_eq!(unpack(&packed), Some(charged));
        }

        #[test]
        fn bytes_that_nobody_packed_break_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = unpack(&bytes);
        }
    }

    fn slot(place: Place) -> Slot {
        Slot { key: KeyId::from_bytes([1; 16]), chain: ChainId(1), place }
    }

    #[test]
    fn the_oldest_are_forgotten_first_whatever_their_place() {
        let mut slots = Slots::default();
        for number in 0..10_u64 {
            let digest = Digest::repeat_byte(u8::try_from(number).unwrap());
            let place = if number % 2 == 0 { Place::Nonce(number) } else { Place::Digest(digest) };
            slots.put(slot(place), &Charged::new((Millis(number), Sequence(number + 1))));
        }
        slots.forget(None, (7, usize::MAX));
        assert_eq!(slots.len(), 7);
        assert!(slots.charged(slot(Place::Nonce(2))).is_none());
        assert!(slots.charged(slot(Place::Digest(Digest::repeat_byte(3)))).is_some());
        slots.forget(Some(Millis(8)), (7, usize::MAX));
        assert_eq!(slots.len(), 1);
        slots.forget(None, (7, 0));
        assert_eq!((slots.len(), slots.bytes), (0, 0));
    }

    #[test]
    fn a_slot_with_too_many_steps_forgets_those_of_the_log_that_was_charged_longest_ago() {
        let mut charged = Charged::new((Millis(9), Sequence(9)));
        let step = Step { amount: Amount::MAX, stamp: (Millis(1), Sequence(1)) };
        for log in 0..u64::try_from(STEPS_PER_SLOT_MAX).unwrap() {
            charged.set(log, vec![step]);
        }
        charged.set(0, vec![step, step]);
        assert_eq!((charged.steps(0).len(), charged.steps(1).len()), (2, 0));
        assert_eq!(charged.steps.len(), STEPS_PER_SLOT_MAX);
    }
}
