//! What a key is used for, and so what stops with it: counted from the journal's records alone.
//!
//! Tells; decides nothing. Whoever responds to an emergency reads it before they stop a key, and
//! again to see which signatures somebody may still bring to the chain.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use crate::book::{ContractKind, Registry};
use crate::effect::{self, Effect};
use crate::id::{CallerId, ChainId, KeyId, Sequence};
use crate::ledger::Place;
use crate::money::{Account, Amount, Asset, Total};
use crate::record::{Entry, Record, Settled, SignedRecord};
use crate::request::{Input, Request};
use crate::time::Millis;

/// Counts one key's records, in their order. What is older than [`DAYS`] days is forgotten, but for
/// allowances: one that was granted a year ago may stand.
#[derive(Clone, Debug)]
pub struct Survey {
    key: KeyId,
    days: BTreeMap<u64, Usage>,
    granted: BTreeMap<Grant, Granted>,
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

/// Who may take what, and where that stands: none of these takes the place of another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Grant {
    /// Of which token.
    pub account: Account,
    /// Who.
    pub spender: Address,
    /// Where it stands.
    pub way: Way,
    /// The Safe that it is of. `None`: of the key's own account.
    pub safe: Option<Address>,
}

/// Where it stands what somebody may take.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// In the token, up to an amount.
    Token,
    /// In the token, as an operator.
    Operator,
    /// In Permit2.
    Permit2,
    /// In the token and in Permit2 together: a watcher told it.
    Told,
}

/// How much somebody may take, as far as records tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// The most that was granted; 2^256 - 1 for an operator, who may take everything.
    pub amount: Amount,
    /// The record that signed it, or told of it.
    pub signed: Sequence,
    /// When.
    pub at: Millis,
    /// The record that signed since that it be taken back, or lowered. Nobody told that this is
    /// mined, so it may not be.
    pub taken_back: Option<Sequence>,
}

/// What one grant may come to, by when that is known.
#[derive(Clone, Debug, Default)]
struct Granted {
    /// Without what is known no later than another, and is no more.
    open: BTreeMap<Settles, Allowance>,
    taken_back: Option<Sequence>,
}

/// What a report says that knows what became of a signature: no fewer nonces mined, and the chain
/// read no earlier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Settles {
    mined: u64,
    read: Millis,
}

impl Survey {
    /// Of this key, with nothing counted.
    pub fn new(key: KeyId) -> Self {
        Self { key, days: BTreeMap::new(), granted: BTreeMap::new(), last: None, unread: 0 }
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
        self.days.retain(|one, _| *one >= oldest(day));
        if let Record::Denied(denied) = &entry.record
            && denied.asked.by.key == self.key
        {
            let usage = self.days.entry(day).or_default();
            usage.refused = usage.refused.saturating_add(1);
        }
        if let Record::Settled(settled) = &entry.record {
            self.settle(settled, (entry.seq, at));
        }
        let Record::Signed(signed) = &entry.record else { return };
        if signed.asked.by.key != self.key {
            return;
        }
        self.last = Some((entry.seq, at));
        let usage = self.days.entry(day).or_default();
        usage.count(signed, at);
        let request =
            input(signed).and_then(|input| Request::decode(signed.asked.by.clone(), &input).ok());
        let Some(request) = request else {
            self.unread = self.unread.saturating_add(1);
            return;
        };
        let effects = effect::effects(&request, signed.asked.by.expected, registry);
        usage.see(&effects, request.chain());
        let more = request.transaction().filter(|_| signed.repeats.is_none());
        let more = more.is_some_and(|tx| tx.data().starts_with(&INCREASE_ALLOWANCE));
        for (grant, amount) in grants(&effects, request.chain(), registry) {
            let before = if more { self.most(grant) } else { Amount::ZERO };
            let amount = before.checked_add(amount).unwrap_or(Amount::MAX);
            let one = Allowance { amount, signed: entry.seq, at, taken_back: None };
            self.allow(grant, Settles::of(&request), one);
        }
    }

    /// Notes what somebody may take once this is mined. Where that is nothing, what was granted may
    /// stand all the same: it need not be mined, and `decreaseAllowance` leaves a rest.
    fn allow(&mut self, grant: Grant, settles: Settles, one: Allowance) {
        if one.amount > Amount::ZERO {
            return self.granted.entry(grant).or_default().add(settles, one);
        }
        for place in grant.places() {
            if let Some(granted) = self.granted.get_mut(&place) {
                granted.taken_back = Some(one.signed);
            }
        }
    }

    /// The most that is known of a grant.
    fn most(&self, grant: Grant) -> Amount {
        let places = grant.places().into_iter();
        let known = places.filter_map(|place| self.granted.get(&place)?.most());
        known.map(|one| one.amount).max().unwrap_or(Amount::ZERO)
    }

    /// What a watcher names stands in the stead of what it knows to be settled. What it does not
    /// name is not known to have ended, and of what a Safe granted no report tells.
    fn settle(&mut self, settled: &Settled, (signed, at): (Sequence, Millis)) {
        let mined = settled.nonce.parse::<u64>().ok().filter(|_| settled.key == self.key);
        let Some(mined) = mined else { return };
        let report = Settles { mined, read: settled.read_at.unwrap_or_default() };
        for named in &settled.allowances {
            let account = Account { chain: settled.chain, asset: Asset::Token(named.token) };
            let place = |way| Grant { account, spender: named.spender, way, safe: None };
            for way in [Way::Token, Way::Permit2] {
                if let Some(granted) = self.granted.get_mut(&place(way)) {
                    granted.open.retain(|settles, _| !settles.is_within(report));
                }
            }
            let told = Allowance { amount: named.amount, signed, at, taken_back: None };
            let open = (told.amount > Amount::ZERO).then_some((Settles::NEVER, told));
            let told = Granted { open: open.into_iter().collect(), taken_back: None };
            self.granted.insert(place(Way::Told), told);
        }
        self.granted.retain(|_, granted| !granted.open.is_empty());
    }

    /// Everything of the last [`DAYS`] days before now, the time of the journal's last record.
    pub fn usage(&self, now: Millis) -> Usage {
        let days = self.days.range(oldest(now.0 / DAY_MS)..);
        days.map(|(_, usage)| usage).fold(Usage::default(), Usage::plus)
    }

    /// The most that each spender may take. Whether it was used up, and whether what was signed to
    /// take it back was mined, only the chain knows.
    pub fn allowances(&self) -> BTreeMap<Grant, Allowance> {
        self.granted.iter().filter_map(|(grant, one)| Some((*grant, one.most()?))).collect()
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

impl Grant {
    /// Where it stands, and where what a watcher told of it does.
    fn places(self) -> [Self; 2] {
        match self.way {
            Way::Token | Way::Permit2 | Way::Told => [self, Self { way: Way::Told, ..self }],
            Way::Operator => [self, self],
        }
    }
}

impl Granted {
    fn add(&mut self, settles: Settles, one: Allowance) {
        self.taken_back = None;
        let covers = |(other, more): (&Settles, &Allowance)| {
            settles.is_within(*other) && one.amount <= more.amount
        };
        if self.open.iter().any(covers) {
            return;
        }
        self.open.retain(|other, less| !other.is_within(settles) || less.amount > one.amount);
        self.open.insert(settles, one);
    }

    fn most(&self) -> Option<Allowance> {
        let most = self.open.values().max_by_key(|one| one.amount)?;
        Some(Allowance { taken_back: self.taken_back, ..*most })
    }
}

impl Settles {
    const NEVER: Self = Self { mined: 0, read: Millis(u64::MAX) };

    fn of(request: &Request) -> Self {
        match request.slot().place {
            Place::Nonce(nonce) => Self { mined: nonce.saturating_add(1), read: Millis(0) },
            Place::Digest(_) => request.ends().map_or(Self::NEVER, |read| Self { mined: 0, read }),
        }
    }

    /// Whether a report that knows the other's end knows this one's.
    fn is_within(self, other: Self) -> bool {
        self.mined <= other.mined && self.read <= other.read
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

/// What these effects let somebody take, or take back. What may have been taken back in one place
/// or in another is in neither: then it counts as standing in both.
#[expect(clippy::wildcard_enum_match_arm, reason = "looks at five kinds among all")]
fn grants(effects: &[Effect], chain: ChainId, registry: &Registry) -> Vec<(Grant, Amount)> {
    let batch = effects.iter().filter(|one| matches!(one, Effect::Via { .. })).count() > 1;
    // `None`: in Permit2, or already in the token that a batch calls next.
    let (mut way, mut safe) = (Some(Way::Token), None);
    let grant = |way, safe, token: &Address, spender: &Address| {
        let account = Account { chain, asset: Asset::Token(*token) };
        Grant { account, spender: *spender, way, safe }
    };
    let mut found = Vec::new();
    for effect in effects {
        match effect {
            // The permits of tokens themselves have all the same name.
            Effect::Typed { name, .. } if name == "Permit" => way = Some(Way::Token),
            Effect::Typed { .. } => way = Some(Way::Permit2),
            Effect::Via { contract } => {
                let kind = registry.contract_kind(chain, *contract);
                way = Some(if kind == ContractKind::Permit2 { Way::Permit2 } else { Way::Token });
                safe = if kind == ContractKind::Safe { Some(*contract) } else { safe };
            }
            Effect::GrantAllowance { token, spender, amount } => {
                // Permit2 grants one thing in a call, and takes back any number.
                let back = *amount == Amount::ZERO;
                let stands = if back { way } else { way.or(Some(Way::Token)) };
                found.extend(stands.map(|way| (grant(way, safe, token, spender), *amount)));
                if batch {
                    way = way.filter(|way| *way == Way::Token).or((!back).then_some(Way::Token));
                }
            }
            Effect::GrantOperator { token, operator } => {
                found.push((grant(Way::Operator, safe, token, operator), Amount::MAX));
            }
            Effect::RevokeOperator { token, operator } => {
                found.push((grant(Way::Operator, safe, token, operator), Amount::ZERO));
            }
            _ => {}
        }
    }
    found
}

/// The first day that counts on this one.
fn oldest(day: u64) -> u64 {
    day.saturating_add(1).saturating_sub(DAYS)
}

/// `increaseAllowance(address,uint256)`, which adds. In a batch it counts like an `approve`.
const INCREASE_ALLOWANCE: [u8; 4] = [0x39, 0x50, 0x93, 0x51];

/// How far back use is counted.
pub const DAYS: u64 = 30;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
