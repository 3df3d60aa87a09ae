//! Charges in flight: allowed and not yet recorded, withheld or failed.
//!
//! What is in flight is always computed from this table, never kept as a difference to something.

use std::collections::BTreeMap;

use crate::id::{CallerId, DecisionNumber, Digest, KeyId, RequestId, Sequence};
use crate::ledger::Slot;
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
}

/// All open reservations, by decision number.
#[derive(Clone, Debug, Default)]
pub struct Reservations(BTreeMap<DecisionNumber, Open>);

impl Reservations {
    /// Opens one.
    pub fn open(&mut self, number: DecisionNumber, open: Open) {
        self.0.insert(number, open);
    }

    /// Closes one, for good. `None` if it is not open: then whatever came for it came too late.
    pub fn close(&mut self, number: DecisionNumber) -> Option<Open> {
        self.0.remove(&number)
    }

    /// One that is open.
    pub fn get(&self, number: DecisionNumber) -> Option<&Open> {
        self.0.get(&number)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one key, but for one, in order.
    pub fn of_key(
        &self,
        key: KeyId,
        except: Option<DecisionNumber>,
    ) -> impl Iterator<Item = (DecisionNumber, &Open)> {
        let others = self.0.iter().filter(move |(number, _)| Some(**number) != except);
        others.filter(move |(_, open)| open.slot.key == key).map(|(number, open)| (*number, open))
    }

    /// Those that a decision on a request looks at: of its key, or of its name. But for one, in
    /// order.
    pub fn counted(&self, asker: &Asker, except: Option<DecisionNumber>) -> Vec<DecisionNumber> {
        let named = |open: &Open| open.caller == asker.caller && open.request == asker.request;
        let counts = |open: &Open| open.slot.key == asker.key || named(open);
        let others = self.0.iter().filter(|(number, _)| Some(**number) != except);
        others.filter(|(_, open)| counts(open)).map(|(number, _)| *number).collect()
    }

    /// What each slot of one key would be charged if everything in flight were recorded.
    pub fn by_slot(&self, key: KeyId, except: Option<DecisionNumber>) -> BTreeMap<Slot, Charges> {
        let mut slots: BTreeMap<Slot, Charges> = BTreeMap::new();
        for (_, open) in self.of_key(key, except) {
            let charges = slots.remove(&open.slot).unwrap_or_default().max(&open.charges);
            slots.insert(open.slot, charges);
        }
        slots
    }

    /// The digest an open request of this name stands for.
    pub fn digest_of(&self, caller: &CallerId, request: &RequestId) -> Option<Digest> {
        let mut open = self.0.values();
        let same = |open: &&Open| open.caller == *caller && open.request == *request;
        open.find(same).map(|open| open.digest)
    }
}
