//! Charges in flight: allowed and not yet recorded, withheld or failed.
//!
//! What is in flight is always computed from this table, never kept as a difference to something.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CallerId, ChainId, DecisionNumber, Digest, KeyId, RequestId, Sequence};
use crate::ledger::{Place, Repeat, Slot};
use crate::money::{Amount, Charges, Line};
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

/// All open reservations, by decision number; and which are of one slot, of one name, and what each
/// charges where: an index of the table, which holds no sums.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    open: BTreeMap<DecisionNumber, Open>,
    slots: BTreeMap<Slot, InFlight>,
    names: BTreeMap<(CallerId, RequestId), BTreeSet<DecisionNumber>>,
    lines: BTreeMap<KeyId, BTreeMap<(Line, SlotNumber, DecisionNumber), Amount>>,
    charged: BTreeMap<SlotNumber, Slot>,
    last: SlotNumber,
}

/// Short for a slot while something is in flight in it.
type SlotNumber = u64;

#[derive(Clone, Debug)]
struct InFlight {
    slot: SlotNumber,
    numbers: BTreeSet<DecisionNumber>,
}

impl Reservations {
    /// Opens one.
    pub fn open(&mut self, number: DecisionNumber, open: Open) {
        let fresh = self.last.saturating_add(1);
        let new = || InFlight { slot: fresh, numbers: BTreeSet::new() };
        let in_flight = self.slots.entry(open.slot).or_insert_with(new);
        in_flight.numbers.insert(number);
        let slot = in_flight.slot;
        self.last = self.last.max(slot);
        let lines = self.lines.entry(open.slot.key).or_default();
        for (line, _) in open.charges.lines() {
            let amount = open.repeat.added(&open.charges, line);
            if amount > Amount::ZERO {
                lines.insert((line.clone(), slot, number), amount);
            }
        }
        self.names.entry(name(&open)).or_default().insert(number);
        self.open.insert(number, open);
    }

    /// Notes that a slot is charged something, so that what is in flight in it may add less than it
    /// would to one that is not.
    pub(crate) fn note_charged(&mut self, slot: Slot) {
        if let Some(in_flight) = self.slots.get(&slot) {
            self.charged.insert(in_flight.slot, slot);
        }
    }

    /// Closes one, for good. `None` if it is not open: then whatever came for it came too late.
    pub fn close(&mut self, number: DecisionNumber) -> Option<Open> {
        let open = self.open.remove(&number)?;
        leave(&mut self.names, &name(&open), number);
        let in_flight = self.slots.get_mut(&open.slot)?;
        let slot = in_flight.slot;
        in_flight.numbers.remove(&number);
        if in_flight.numbers.is_empty() {
            self.slots.remove(&open.slot);
            self.charged.remove(&slot);
        }
        if let Some(lines) = self.lines.get_mut(&open.slot.key) {
            for (line, _) in open.charges.lines() {
                lines.remove(&(line.clone(), slot, number));
            }
            if lines.is_empty() {
                self.lines.remove(&open.slot.key);
            }
        }
        Some(open)
    }

    /// What is in flight of a line, but for one decision: of each slot the largest alternative, and
    /// the slot if it may be charged something already. Returns that of the slot asked about
    /// instead.
    pub(crate) fn in_flight(
        &self,
        (key, line): (KeyId, &Line),
        (except, asked): (Option<DecisionNumber>, Slot),
        mut each: impl FnMut(Option<Slot>, Amount),
    ) -> Amount {
        let asked = self.slots.get(&asked).map(|in_flight| in_flight.slot);
        let first = (line.clone(), 0, DecisionNumber(0));
        let all = self.lines.get(&key).map(|lines| lines.range(first..)).into_iter().flatten();
        let all = all.take_while(|((of, ..), _)| of == line);
        let all = all.filter(|((.., number), _)| Some(*number) != except);
        let mut all = all.map(|((_, slot, _), amount)| (*slot, *amount)).peekable();
        let mut own = Amount::ZERO;
        while let Some((slot, mut most)) = all.next() {
            while let Some((_, other)) = all.next_if(|(next, _)| *next == slot) {
                most = most.max(other);
            }
            if Some(slot) == asked {
                own = most;
            } else {
                each(self.charged.get(&slot).copied(), most);
            }
        }
        own
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
        let from = self.slots.range(first..).map(|(slot, one)| (*slot, &one.numbers));
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
