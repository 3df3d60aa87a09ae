//! What a key is used for, and so what stops with it: counted from the journal's records alone.
//!
//! Tells; decides nothing. Whoever responds to an emergency reads it before they stop a key, and
//! again to see which signatures somebody may still bring to the chain.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use crate::book::Registry;
use crate::effect::{self, Effect};
use crate::id::{CallerId, ChainId, KeyId, Sequence};
use crate::money::{Account, Amount, Total};
use crate::record::{Entry, Record, SignedRecord};
use crate::request::{Input, Request};
use crate::time::Millis;

/// Counts one key's records, in their order. What is older than [`DAYS`] days is forgotten, but for
/// allowances: one that was granted a year ago may stand.
#[derive(Clone, Debug)]
pub struct Survey {
    key: KeyId,
    days: BTreeMap<u64, Usage>,
    allowances: BTreeMap<(Account, Address), Allowance>,
    last: Option<(Sequence, Millis)>,
    unread: u64,
}

/// How much was signed, for whom, and to whom it went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Signatures, repeats included.
    pub signed: u64,
    /// Requests refused, as far as each has a record of its own.
    pub refused: u64,
    /// The most signatures in one hour of the clock.
    pub busiest_hour: u64,
    /// Signatures by caller.
    pub callers: BTreeMap<CallerId, u64>,
    /// Requests that touch a contract.
    pub contracts: BTreeMap<(ChainId, Address), u64>,
    /// What recipients and spenders were to get: how often, and how much.
    pub recipients: BTreeMap<(Account, Address), (u64, Total)>,
    /// What was charged, each digest once.
    pub charged: BTreeMap<Account, Total>,
    hours: BTreeMap<u64, u64>,
}

/// What a spender was last allowed to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// How much; 2^256 - 1 for an operator, who may take everything.
    pub amount: Amount,
    /// The record that signed it.
    pub signed: Sequence,
    /// When.
    pub at: Millis,
}

impl Survey {
    /// Of this key, with nothing counted.
    pub fn new(key: KeyId) -> Self {
        let (days, allowances) = (BTreeMap::new(), BTreeMap::new());
        Self { key, days, allowances, last: None, unread: 0 }
    }

    /// Takes the next record. `registry` is of the book in force when it was written, and
    /// `attachment` finds an input too large for the record.
    pub fn take(
        &mut self,
        entry: &Entry,
        registry: &Registry,
        input: impl FnOnce(&SignedRecord) -> Option<Input>,
    ) {
        let at = entry.at.sure;
        let day = at.0 / DAY_MS;
        while let Some(oldest) = self.days.first_entry() {
            if oldest.key().saturating_add(DAYS) > day {
                break;
            }
            oldest.remove();
        }
        if let Record::Denied(denied) = &entry.record
            && denied.asked.by.key == self.key
        {
            let usage = self.days.entry(day).or_default();
            usage.refused = usage.refused.saturating_add(1);
        }
        let Record::Signed(signed) = &entry.record else { return };
        if signed.asked.by.key != self.key {
            return;
        }
        self.last = Some((entry.seq, at));
        let usage = self.days.entry(day).or_default();
        usage.count(signed, at);
        let request = input(signed);
        let request =
            request.and_then(|input| Request::decode(signed.asked.by.clone(), &input).ok());
        let Some(request) = request else {
            self.unread = self.unread.saturating_add(1);
            return;
        };
        let own = signed.asked.by.expected;
        let effects = effect::effects(&request, own, registry);
        usage.see(&effects, request.chain());
        for effect in &effects {
            self.allow(effect, request.chain(), (entry.seq, at));
        }
    }

    /// Notes what an effect lets somebody take, or no longer.
    fn allow(&mut self, effect: &Effect, chain: ChainId, (signed, at): (Sequence, Millis)) {
        let token =
            |contract: Address| Account { chain, asset: crate::money::Asset::Token(contract) };
        #[expect(clippy::wildcard_enum_match_arm, reason = "looks at three kinds among all")]
        let (place, amount) = match effect {
            Effect::GrantAllowance { token: contract, spender, amount } => {
                ((token(*contract), *spender), *amount)
            }
            Effect::GrantOperator { token: contract, operator } => {
                ((token(*contract), *operator), Amount::MAX)
            }
            Effect::RevokeOperator { token: contract, operator } => {
                ((token(*contract), *operator), Amount::ZERO)
            }
            _ => return,
        };
        if amount == Amount::ZERO {
            self.allowances.remove(&place);
        } else {
            self.allowances.insert(place, Allowance { amount, signed, at });
        }
    }

    /// Everything of the last [`DAYS`] days, as of the last record taken.
    pub fn usage(&self) -> Usage {
        self.days.values().fold(Usage::default(), Usage::plus)
    }

    /// What each spender was last allowed to take, unless it was taken back. Whether it was used up
    /// only the chain knows.
    pub fn allowances(&self) -> &BTreeMap<(Account, Address), Allowance> {
        &self.allowances
    }

    /// The last signature, ever.
    pub fn last_signed(&self) -> Option<(Sequence, Millis)> {
        self.last
    }

    /// Signatures whose input was not at hand, and which are in no list.
    pub fn unread(&self) -> u64 {
        self.unread
    }
}

impl Usage {
    fn count(&mut self, signed: &SignedRecord, at: Millis) {
        self.signed = self.signed.saturating_add(1);
        let by = self.callers.entry(signed.asked.by.caller.clone()).or_default();
        *by = by.saturating_add(1);
        let hour = self.hours.entry(at.0 / HOUR_MS).or_default();
        *hour = hour.saturating_add(1);
        self.busiest_hour = self.busiest_hour.max(*hour);
        if signed.repeats.is_none() {
            for (account, amount) in signed.charge.iter() {
                let sum = self.charged.entry(account).or_insert(Total::ZERO);
                *sum = sum.plus(amount);
            }
        }
    }

    fn see(&mut self, effects: &[Effect], chain: ChainId) {
        let mut touched: Vec<Address> = effects.iter().filter_map(contract).collect();
        touched.sort_unstable();
        touched.dedup();
        for contract in touched {
            let count = self.contracts.entry((chain, contract)).or_default();
            *count = count.saturating_add(1);
        }
        for (account, whom, amount) in effect::payments(effects, chain) {
            let (count, sum) = self.recipients.entry((account, whom)).or_insert((0, Total::ZERO));
            (*count, *sum) = (count.saturating_add(1), sum.plus(amount));
        }
    }

    /// Both together. Days do not share an hour.
    fn plus(mut self, other: &Self) -> Self {
        self.signed = self.signed.saturating_add(other.signed);
        self.refused = self.refused.saturating_add(other.refused);
        self.busiest_hour = self.busiest_hour.max(other.busiest_hour);
        for (caller, count) in &other.callers {
            let sum = self.callers.entry(caller.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (place, count) in &other.contracts {
            let sum = self.contracts.entry(*place).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (place, (count, amount)) in &other.recipients {
            let (all, sum) = self.recipients.entry(*place).or_insert((0, Total::ZERO));
            (*all, *sum) = (all.saturating_add(*count), sum.plus_total(*amount));
        }
        for (account, amount) in &other.charged {
            let sum = self.charged.entry(*account).or_insert(Total::ZERO);
            *sum = sum.plus_total(*amount);
        }
        self
    }
}

/// The contract that an effect is carried out by.
fn contract(effect: &Effect) -> Option<Address> {
    match effect {
        Effect::TransferToken { token: contract, .. }
        | Effect::GrantAllowance { token: contract, .. }
        | Effect::GrantOperator { token: contract, .. }
        | Effect::RevokeOperator { token: contract, .. }
        | Effect::Wrap { token: contract, .. }
        | Effect::Unwrap { token: contract, .. }
        | Effect::Call { contract, .. }
        | Effect::Via { contract }
        | Effect::DelegateCall { target: contract, .. }
        | Effect::Authorize { to: contract }
        | Effect::Delegate { to: contract, .. }
        | Effect::Unknown { contract, .. } => Some(*contract),
        Effect::Typed { contract, .. } => *contract,
        Effect::Fee { .. }
        | Effect::PayNative { .. }
        | Effect::SignIn { .. }
        | Effect::Deploy { .. } => None,
    }
}

/// How far back use is counted.
pub const DAYS: u64 = 30;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
