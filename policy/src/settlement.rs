//! What a watcher says of the chain: which nonces are mined, which allowances stand.
//!
//! Such facts lower `unsettled` and `outstanding` and advance the base of `nonce_ahead`, and do
//! nothing else: no window ever gets back what a transaction did not spend. Without a watcher they
//! never come, and what these words bound only fills up.
//!
//! A transaction is settled when its nonce is mined. Typed data has no nonce that is known here: it
//! is settled when its own deadline has surely passed, for then it was used or never will be; and
//! one without a deadline (a Safe's transaction) is never known to be.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::elsewhere::Elsewhere;
use crate::id::{ChainId, KeyId};
use crate::ledger::{Place, Slot};
use crate::money::{Account, Amount, Asset, Charges, Facet, Total};
use crate::record::Settled;
use crate::time::{Interval, Millis};

/// Signed and not known to be settled, as far as a book asked for it when it was signed.
///
/// Sums are kept, not computed: a decision looks at one number, however much is pending.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settlements {
    mined: BTreeMap<(KeyId, ChainId), u64>,
    /// The nonce after the highest that was ever signed.
    next: BTreeMap<(KeyId, ChainId), u64>,
    pub(crate) elsewhere: Elsewhere,
    /// When the chain was read that the last report tells of, where a report said so.
    read: BTreeMap<(KeyId, ChainId), Millis>,
    pending: BTreeMap<Slot, Pending>,
    sums: BTreeMap<(KeyId, Account), Total>,
    ends: BTreeSet<(Millis, Slot)>,
    granted: BTreeMap<(KeyId, Account, Address), Standing>,
    counts: BTreeMap<KeyId, Count>,
}

/// What one slot may still move.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    amounts: BTreeMap<Account, Amount>,
    settles: Settles,
}

/// What one spender may take, at most.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Standing {
    settled: Total,
    pending: BTreeMap<Slot, Grant>,
    /// Of all that is pending.
    sum: Total,
}

/// An allowance that was signed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Grant {
    amount: Amount,
    settles: Settles,
}

/// When it is known what became of a signature. The later, the greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
enum Settles {
    /// When its nonce is mined.
    Mined,
    /// At this time: from then on it cannot be used.
    At(Millis),
    /// Never.
    Never,
}

/// How many entries there are of one key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Count {
    /// Slots, and allowances by slot.
    entries: usize,
    /// Slots of typed data, by chain.
    typed: BTreeMap<ChainId, u64>,
}

/// What of a signature is to be remembered until it is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// Whether the book counts what is not settled.
    pub(crate) counted: bool,
    /// From when on it cannot be used. `None`: not known, or never.
    pub(crate) ends: Option<Millis>,
    /// Whether it acts for a Safe: whom that lets take what, no report tells.
    pub(crate) as_safe: bool,
}

/// Why a report cannot be true, or is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSettled {
    /// Not a 64-bit decimal number.
    #[error("the nonce is not a 64-bit decimal number")]
    Nonce,
    /// A nonce that was mined stays mined.
    #[error("the nonce is below {0}, which was reported before")]
    Backwards(u64),
    /// More was mined than was ever signed here.
    #[error(
        "no nonce from {0} on was ever signed here: somebody else signs with the key, so it is \
         stopped; move its funds with another key"
    )]
    Elsewhere(u64),
    /// Read at a time that is yet to come.
    #[error("the chain was read at a time that is yet to come")]
    Future,
    /// An older reading than the last would bring back what was taken since.
    #[error("an earlier report tells of a later block")]
    Older,
    /// A report before it said when, so this one could be older.
    #[error("a report before this one said when the chain was read: say so too")]
    Undated,
}

impl NotSettled {
    /// The field of the report that is wrong.
    pub fn field(self) -> &'static str {
        match self {
            Self::Nonce | Self::Backwards(_) | Self::Elsewhere(_) => "nonce",
            Self::Future | Self::Older | Self::Undated => "read_at_ms",
        }
    }
}

impl Settlements {
    /// The nonce after the last that is known to be mined. 0 if nobody said.
    pub fn mined(&self, key: KeyId, chain: ChainId) -> u64 {
        self.mined.get(&(key, chain)).copied().unwrap_or(0)
    }

    /// The nonce after the highest that was ever signed. 0 if none was.
    pub fn next(&self, key: KeyId, chain: ChainId) -> u64 {
        self.next.get(&(key, chain)).copied().unwrap_or(0)
    }

    /// On each chain where a nonce of the key was signed: what [`mined`](Self::mined) and
    /// [`next`](Self::next) say.
    pub fn nonces(&self, key: KeyId) -> impl Iterator<Item = (ChainId, u64, u64)> {
        let of_key = self.next.range((key, ChainId(0))..=(key, ChainId(u64::MAX)));
        of_key.map(move |((_, chain), next)| (*chain, self.mined(key, *chain), *next))
    }

    /// Notes a nonce that was signed, whether or not anything is counted of it.
    pub(crate) fn used(&mut self, slot: Slot) {
        if let Place::Nonce(nonce) = slot.place {
            let next = self.next.entry((slot.key, slot.chain)).or_default();
            *next = nonce.saturating_add(1).max(*next);
        }
    }

    /// Whether a report of this nonce proves that somebody else signs with the key, and tells of
    /// more than is known already: the nonce after the highest that was signed here.
    pub fn used_elsewhere(&self, key: KeyId, chain: ChainId, nonce: u64) -> Option<u64> {
        let next = self.next(key, chain);
        let proves = nonce > next && self.elsewhere.proves(key, chain);
        (proves && self.elsewhere.is_news(key, chain, nonce)).then_some(next)
    }

    /// Notes what was signed: if it is counted, what it moves, and every grant that its charge
    /// names.
    pub(crate) fn sign(&mut self, slot: Slot, charges: &Charges, watched: Watched) {
        let settles = match (slot.place, watched.ends) {
            (Place::Nonce(_), _) => Settles::Mined,
            (Place::Digest(_), Some(ends)) => Settles::At(ends),
            (Place::Digest(_), None) => Settles::Never,
        };
        if watched.counted && moves(charges) {
            self.hold(slot, charges, settles);
        }
        let settles = if watched.as_safe { Settles::Never } else { settles };
        for (line, amount) in charges.lines() {
            let Facet::Grant(spender) = line.facet else { continue };
            let standing = self.granted.entry((slot.key, line.account, spender)).or_default();
            let before = standing.pending.get(&slot).copied();
            let grant = before.map_or(Grant { amount, settles }, |before| Grant {
                amount: before.amount.max(amount),
                settles: before.settles.max(settles),
            });
            let known = before.map_or(Amount::ZERO, |before| before.amount);
            standing.sum = standing.sum.minus(known).plus(grant.amount);
            standing.pending.insert(slot, grant);
            if before.is_none() {
                let count = self.counts.entry(slot.key).or_default();
                count.entries = count.entries.saturating_add(1);
            }
        }
    }

    fn hold(&mut self, slot: Slot, charges: &Charges, mut settles: Settles) {
        let mut amounts = BTreeMap::new();
        if let Some(before) = self.release(slot) {
            settles = settles.max(before.settles);
            amounts = before.amounts;
        }
        for (account, amount) in charges.iter().filter(|(account, _)| is_moved(*account)) {
            let held = amounts.entry(account).or_default();
            *held = amount.max(*held);
        }
        for (account, amount) in &amounts {
            let sum = self.sums.entry((slot.key, *account)).or_default();
            *sum = sum.plus(*amount);
        }
        let count = self.counts.entry(slot.key).or_default();
        count.entries = count.entries.saturating_add(1);
        if matches!(slot.place, Place::Digest(_)) {
            let typed = count.typed.entry(slot.chain).or_default();
            *typed = typed.saturating_add(1);
        }
        if let Settles::At(ends) = settles {
            self.ends.insert((ends, slot));
        }
        self.pending.insert(slot, Pending { amounts, settles });
    }

    /// Takes a slot out of all sums.
    fn release(&mut self, slot: Slot) -> Option<Pending> {
        let pending = self.pending.remove(&slot)?;
        for (account, amount) in &pending.amounts {
            if let Some(sum) = self.sums.get_mut(&(slot.key, *account)) {
                *sum = sum.minus(*amount);
            }
        }
        if let Some(count) = self.counts.get_mut(&slot.key) {
            count.entries = count.entries.saturating_sub(1);
            let typed = count.typed.get_mut(&slot.chain);
            if let Some(typed) = typed.filter(|_| matches!(slot.place, Place::Digest(_))) {
                *typed = typed.saturating_sub(1);
            }
        }
        if let Settles::At(ends) = pending.settles {
            self.ends.remove(&(ends, slot));
        }
        Some(pending)
    }

    /// Lets go of what can surely not be used any more. Nothing that matters later is lost: at any
    /// later time it could be used no more.
    pub(crate) fn advance(&mut self, now: Millis) {
        while let Some((ends, slot)) = self.ends.first().copied() {
            if ends > now {
                return;
            }
            self.release(slot);
            self.ends.remove(&(ends, slot));
        }
    }

    /// Whether a report can follow those before it: the nonce that it tells.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, settled: &Settled, now: Interval) -> Result<u64, NotSettled> {
        let nonce: u64 = settled.nonce.parse().map_err(|_| NotSettled::Nonce)?;
        let (key, chain) = (settled.key, settled.chain);
        let (mined, next) = (self.mined(key, chain), self.next(key, chain));
        if nonce.to_string() != settled.nonce {
            return Err(NotSettled::Nonce);
        }
        if nonce < mined {
            return Err(NotSettled::Backwards(mined));
        }
        if nonce > next && self.elsewhere.proves(key, chain) {
            return Err(NotSettled::Elsewhere(next));
        }
        match (settled.read_at, self.read.get(&(key, chain))) {
            (Some(read), _) if read > now.possible => Err(NotSettled::Future),
            (Some(read), Some(last)) if read < *last => Err(NotSettled::Older),
            (None, Some(_)) if !settled.allowances.is_empty() => Err(NotSettled::Undated),
            (Some(_) | None, _) => Ok(nonce),
        }
    }

    /// Takes a report in.
    pub(crate) fn settle(&mut self, settled: &Settled, now: Interval) -> Result<(), NotSettled> {
        let nonce = self.check(settled, now)?;
        let (key, chain) = (settled.key, settled.chain);
        // An account that may run code can count more than was signed here, and whoever reports it
        // could say anything: what was not signed yet is not known to be mined.
        let nonce = nonce.min(self.next(key, chain)).max(self.mined(key, chain));
        self.mined.insert((key, chain), nonce);
        self.elsewhere.accepted(key, chain);
        if let Some(read) = settled.read_at {
            self.read.insert((key, chain), read);
        }
        let at = |nonce| Slot { key, chain, place: Place::Nonce(nonce) };
        let done = at(0)..at(nonce);
        let mined: Vec<Slot> = self.pending.range(done.clone()).map(|(slot, _)| *slot).collect();
        for slot in mined {
            self.release(slot);
        }
        // What was granted before the book counted it stands all the same.
        for one in &settled.allowances {
            let account = Account { chain, asset: Asset::Token(one.token) };
            self.granted.entry((key, account, one.spender)).or_default();
        }
        let first = Account { chain, asset: Asset::Native };
        let of_chain = self.granted.range_mut((key, first, Address::ZERO)..);
        let of_chain =
            of_chain.take_while(|((owner, account, _), _)| *owner == key && account.chain == chain);
        let mut gone = 0;
        for ((_, account, spender), standing) in of_chain {
            let named = settled
                .allowances
                .iter()
                .find(|one| Asset::Token(one.token) == account.asset && one.spender == *spender);
            // What stands on the chain is told; what may still get there is not.
            let over = |slot: &Slot, grant: &Grant| match grant.settles {
                Settles::Mined => done.contains(slot),
                Settles::At(ends) => {
                    named.is_some() && settled.read_at.is_some_and(|read| ends <= read)
                }
                Settles::Never => false,
            };
            let before = standing.pending.len();
            let (mut left, mut told) = (Total::ZERO, standing.settled);
            standing.pending.retain(|slot, grant| {
                let over = over(slot, grant);
                if over {
                    told = told.plus(grant.amount);
                } else {
                    left = left.plus(grant.amount);
                }
                !over
            });
            standing.sum = left;
            // If nobody says what is left of what was mined, all of it.
            standing.settled = named.map_or(told, |one| one.amount.to_total());
            gone = before.saturating_sub(standing.pending.len()).saturating_add(gone);
        }
        if let Some(count) = self.counts.get_mut(&key) {
            count.entries = count.entries.saturating_sub(gone);
        }
        self.granted
            .retain(|_, standing| standing.settled != Total::ZERO || !standing.pending.is_empty());
        Ok(())
    }

    /// What is signed and not settled in an account.
    pub(crate) fn unsettled(&self, key: KeyId, account: Account) -> Total {
        self.sums.get(&(key, account)).copied().unwrap_or(Total::ZERO)
    }

    /// How much of that is one slot's.
    pub(crate) fn unsettled_in(&self, slot: Slot, account: Account) -> Amount {
        let pending = self.pending.get(&slot);
        let amount = pending.and_then(|pending| pending.amounts.get(&account)).copied();
        amount.unwrap_or(Amount::ZERO)
    }

    /// Whether it is known already that something of this slot is not settled.
    pub(crate) fn is_pending(&self, slot: Slot) -> bool {
        self.pending.contains_key(&slot)
    }

    /// How much typed data of a key on a chain may still move something.
    pub(crate) fn typed(&self, key: KeyId, chain: ChainId) -> u64 {
        let count = self.counts.get(&key).and_then(|count| count.typed.get(&chain));
        count.copied().unwrap_or(0)
    }

    /// How much is remembered of a key.
    pub(crate) fn entries(&self, key: KeyId) -> usize {
        self.counts.get(&key).map_or(0, |count| count.entries)
    }

    /// What stands of one spender's allowances, and what is signed and may still stand.
    pub(crate) fn standing(&self, key: KeyId, account: Account, spender: Address) -> Total {
        let standing = self.granted.get(&(key, account, spender));
        standing.map_or(Total::ZERO, |standing| standing.settled.plus_total(standing.sum))
    }

    /// How much of that one slot grants.
    pub(crate) fn granted_in(&self, slot: Slot, account: Account, spender: Address) -> Amount {
        let standing = self.granted.get(&(slot.key, account, spender));
        let grant = standing.and_then(|standing| standing.pending.get(&slot));
        grant.map_or(Amount::ZERO, |grant| grant.amount)
    }
}

/// Whether anything that can be settled is charged.
pub(crate) fn moves(charges: &Charges) -> bool {
    charges.iter().any(|(account, amount)| is_moved(account) && amount > Amount::ZERO)
}

fn is_moved(account: Account) -> bool {
    matches!(account.asset, Asset::Native | Asset::Token(_))
}

/// Signatures and allowances of one key that are remembered until they are settled: about 300 bytes
/// each. What would be one more is refused: what is not remembered is not counted.
pub(crate) const ENTRIES_MAX: usize = 16_384;
