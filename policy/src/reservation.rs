//! Charges in flight: allowed and not yet recorded, withheld or failed.
//!
//! What is in flight is always computed from this table, never kept as a difference to something.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CallerId, ChainId, DecisionNumber, Digest, KeyId, RequestId, Sequence};
use crate::ledger::{Place, Repeat, Slot};
use crate::money::Charges;
use crate::request::Asker;

/// One open reservation.
#[derive(Clone, Debug)]
pub struct Open {
    /// Who asked.
    pub caller: CallerId,
    /// What the caller calls the request.
    pub request: RequestId,
    /// What is being signed.
    pub digest: Digest,
    /// Where it is charged.
    pub slot: Slot,
    /// What it may cost at most.
    pub charges: Charges,
    /// The last record folded when it was decided.
    pub seen: Sequence,
    /// Whether its digest was signed before: then it adds nothing to its slot, or only what counts
    /// for its caller alone.
    pub repeat: Repeat,
}

/// All open reservations, by decision number; and which are of one slot, and of one name.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    open: BTreeMap<DecisionNumber, Open>,
    slots: BTreeMap<Slot, BTreeSet<DecisionNumber>>,
    names: BTreeMap<(CallerId, RequestId), BTreeSet<DecisionNumber>>,
}

impl Reservations {
    /// Opens one.
    pub fn open(&mut self, number: DecisionNumber, open: Open) {
        self.slots.entry(open.slot).or_default().insert(number);
        self.names.entry(name(&open)).or_default().insert(number);
        self.open.insert(number, open);
    }

    /// Closes one, for good. `None` if it is not open: then whatever came for it came too late.
    pub fn close(&mut self, number: DecisionNumber) -> Option<Open> {
        let open = self.open.remove(&number)?;
        leave(&mut self.slots, &open.slot, number);
        leave(&mut self.names, &name(&open), number);
        Some(open)
    }

    /// One that is open.
    pub fn get(&self, number: DecisionNumber) -> Option<&Open> {
        self.open.get(&number)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The slots of one key in which something is in flight, and which decisions that is.
    pub fn slots_of(&self, key: KeyId) -> impl Iterator<Item = (Slot, &BTreeSet<DecisionNumber>)> {
        let first = Slot { key, chain: ChainId(0), place: Place::Nonce(0) };
        let from = self.slots.range(first..).map(|(slot, numbers)| (*slot, numbers));
        from.take_while(move |(slot, _)| slot.key == key)
    }

    /// Those that a decision on a request looks at: of its key, of keys that are summed with it, or
    /// of its name. But for one, in order.
    pub fn counted(
        &self,
        asker: &Asker,
        companions: impl IntoIterator<Item = KeyId>,
        except: Option<DecisionNumber>,
    ) -> Vec<DecisionNumber> {
        let named = self.names.get(&(asker.caller.clone(), asker.request.clone()));
        let keys = companions.into_iter().chain([asker.key]);
        let of_key = keys.flat_map(|key| self.slots_of(key)).map(|(_, numbers)| numbers);
        let numbers: BTreeSet<DecisionNumber> = of_key.chain(named).flatten().copied().collect();
        numbers.into_iter().filter(|number| Some(*number) != except).collect()
    }

    /// The digest an open request of this name stands for.
    pub fn digest_of(&self, caller: &CallerId, request: &RequestId) -> Option<Digest> {
        let numbers = self.names.get(&(caller.clone(), request.clone()))?;
        numbers.first().and_then(|number| self.get(*number)).map(|open| open.digest)
    }
}

fn name(open: &Open) -> (CallerId, RequestId) {
    (open.caller.clone(), open.request.clone())
}

fn leave<K: Ord>(
    index: &mut BTreeMap<K, BTreeSet<DecisionNumber>>,
    name: &K,
    number: DecisionNumber,
) {
    let Some(numbers) = index.get_mut(name) else { return };
    numbers.remove(&number);
    if numbers.is_empty() {
        index.remove(name);
    }
}
