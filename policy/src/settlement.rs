//! What a watcher says of the chain: which nonces are mined, which allowances stand.
//!
//! Such facts lower `unsettled` and `outstanding` and advance the base of `nonce_ahead`, and do
//! nothing else: no window ever gets back what a transaction did not spend. Without a watcher they
//! never come, and what these words bound only fills up.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use crate::id::{ChainId, KeyId};
use crate::ledger::{Place, Slot};
use crate::money::{Account, Amount, Asset, Charges, Facet, Total};
use crate::record::Settled;
use crate::time::Millis;

/// Signed and not known to be settled, as far as a book asked for it when it was signed.
#[derive(Clone, Debug, Default)]
pub struct Settlements {
    mined: BTreeMap<(KeyId, ChainId), u64>,
    pending: BTreeMap<Slot, Charges>,
    granted: BTreeMap<(KeyId, Account, Address), Standing>,
}

/// What one spender may take, at most.
#[derive(Clone, Debug, Default)]
struct Standing {
    settled: Total,
    pending: BTreeMap<Slot, Grant>,
}

/// An allowance that was signed. A permit can be used until its time is over.
#[derive(Clone, Copy, Debug)]
struct Grant {
    amount: Amount,
    until: Option<Millis>,
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
}

impl Settlements {
    /// The nonce after the last that is known to be mined. 0 if nobody said.
    pub fn mined(&self, key: KeyId, chain: ChainId) -> u64 {
        self.mined.get(&(key, chain)).copied().unwrap_or(0)
    }

    /// Notes what was signed: for `unsettled` if `watched`, and every grant that its charge names.
    pub(crate) fn sign(
        &mut self,
        slot: Slot,
        charges: &Charges,
        watched: bool,
        permits_until: Millis,
    ) {
        let on_chain = matches!(slot.place, Place::Nonce(_));
        if watched && on_chain {
            let before = self.pending.remove(&slot).unwrap_or_default();
            self.pending.insert(slot, before.max(charges));
        }
        for (line, amount) in charges.lines() {
            let Facet::Grant(spender) = line.facet else { continue };
            let standing = self.granted.entry((slot.key, line.account, spender)).or_default();
            let until = (!on_chain).then_some(permits_until);
            let grant = standing.pending.entry(slot).or_insert(Grant { amount, until });
            grant.amount = grant.amount.max(amount);
            grant.until = grant.until.max(until);
        }
    }

    /// Whether a report can follow those before it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, settled: &Settled) -> Result<u64, NotSettled> {
        let nonce: u64 = settled.nonce.parse().map_err(|_| NotSettled::Nonce)?;
        let before = self.mined(settled.key, settled.chain);
        if nonce.to_string() != settled.nonce {
            return Err(NotSettled::Nonce);
        }
        if nonce < before { Err(NotSettled::Backwards(before)) } else { Ok(nonce) }
    }

    /// Takes a report in.
    pub(crate) fn settle(&mut self, settled: &Settled, now: Millis) -> Result<(), NotSettled> {
        let nonce = self.check(settled)?;
        let (key, chain) = (settled.key, settled.chain);
        self.mined.insert((key, chain), nonce);
        let done = |slot: &Slot| {
            let below = matches!(slot.place, Place::Nonce(own) if own < nonce);
            below && slot.key == key && slot.chain == chain
        };
        self.pending.retain(|slot, _| !done(slot));
        // What was granted before the book counted it stands all the same.
        for one in &settled.allowances {
            let account = Account { chain, asset: Asset::Token(one.token) };
            self.granted.entry((key, account, one.spender)).or_default();
        }
        for ((owner, account, spender), standing) in &mut self.granted {
            if *owner != key || account.chain != chain {
                continue;
            }
            let named = settled
                .allowances
                .iter()
                .find(|one| Asset::Token(one.token) == account.asset && one.spender == *spender);
            let over = |slot: &Slot, grant: &Grant| {
                done(slot) || grant.until.is_some_and(|until| until <= now)
            };
            match named {
                // What stands on the chain, and what may still get there.
                Some(one) => {
                    standing.settled = one.amount.to_total();
                    standing.pending.retain(|slot, grant| !over(slot, grant));
                }
                // It was mined, and nobody said what is left of it.
                None => {
                    let mined = standing.pending.iter().filter(|(slot, _)| done(slot));
                    let amounts = mined.map(|(_, grant)| grant.amount);
                    standing.settled = amounts.fold(standing.settled, Total::plus);
                    standing.pending.retain(|slot, _| !done(slot));
                }
            }
        }
        self.granted
            .retain(|_, standing| standing.settled != Total::ZERO || !standing.pending.is_empty());
        Ok(())
    }

    /// What is signed and not settled in these accounts, slot by slot.
    pub(crate) fn pending(&self, key: KeyId, account: Account) -> BTreeMap<Slot, Amount> {
        let first = Slot { key, chain: account.chain, place: Place::Nonce(0) };
        let own = self.pending.range(first..);
        let own = own.take_while(|(slot, _)| slot.key == key && slot.chain == account.chain);
        own.map(|(slot, charges)| (*slot, charges.of(account))).collect()
    }

    /// What stands of one spender's allowances, and what is signed and may still stand, by slot.
    pub(crate) fn standing(
        &self,
        key: KeyId,
        account: Account,
        spender: Address,
    ) -> (Total, BTreeMap<Slot, Amount>) {
        let Some(standing) = self.granted.get(&(key, account, spender)) else {
            return (Total::ZERO, BTreeMap::new());
        };
        let pending = standing.pending.iter().map(|(slot, grant)| (*slot, grant.amount));
        (standing.settled, pending.collect())
    }
}
