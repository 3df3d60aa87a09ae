//! Whom keys have paid before, and whom a book added a while ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;

use crate::book::{Addresses, Book, KeyRules, Recipients};
use crate::id::{ChainId, KeyId, KeyLabel, Sequence};
use crate::time::{Millis, Span};

/// What records say about recipients and spenders.
///
/// Bounded: of more than [`PAID_MAX`] the oldest are forgotten, and asked about again as if new.
#[derive(Clone, Debug, Default)]
pub struct Payees {
    paid: BTreeMap<(KeyId, ChainId, Address), Sequence>,
    order: BTreeMap<(Sequence, Address), (KeyId, ChainId)>,
    added: Vec<Added>,
}

/// Addresses that one book had in a key's lists and the one before it had not.
#[derive(Clone, Debug)]
struct Added {
    label: KeyLabel,
    who: Addresses,
    since: Millis,
}

impl Payees {
    /// Whether the key has paid this address on this chain, as far as is remembered.
    pub fn were_paid(&self, key: KeyId, chain: ChainId, who: Address) -> bool {
        self.paid.contains_key(&(key, chain, who))
    }

    /// Notes whom a signature pays for the first time.
    pub(crate) fn pay(&mut self, key: KeyId, chain: ChainId, who: &[Address], at: Sequence) {
        for address in who {
            if self.paid.insert((key, chain, *address), at).is_none() {
                self.order.insert((at, *address), (key, chain));
            }
        }
        while self.paid.len() > PAID_MAX {
            let Some(((_, address), (key, chain))) = self.order.pop_first() else { return };
            self.paid.remove(&(key, chain, address));
        }
    }

    /// Notes whom a new book adds to lists of keys that have a cooling-off time.
    pub(crate) fn adopt(&mut self, old: &Book, new: &Book, now: Millis) {
        let waits = |added: &Added| {
            let cooling = new.rules(&added.label).and_then(|rules| rules.cooling);
            cooling.is_some_and(|cooling| added.since.plus(cooling) > now)
        };
        self.added.retain(waits);
        for (label, rules) in new.keys().filter(|(_, rules)| rules.cooling.is_some()) {
            let before: Vec<&Addresses> = old.rules(label).map(lists).unwrap_or_default();
            let known = |who: &Address| before.iter().any(|list| list.contains(who));
            let fresh: BTreeSet<Address> = lists(rules)
                .into_iter()
                .filter(|list| !before.iter().any(|known| Arc::ptr_eq(known, list)))
                .flat_map(|list| list.iter().copied())
                .filter(|who| !known(who))
                .collect();
            if !fresh.is_empty() {
                let who = Arc::new(fresh);
                self.added.push(Added { label: label.clone(), who, since: now });
            }
        }
    }

    /// Whether a book added this address to the key's lists less than `cooling` ago.
    pub fn is_cooling(&self, label: &KeyLabel, who: Address, cooling: Span, now: Millis) -> bool {
        let added = self.added.iter().filter(|added| added.label == *label);
        let mut recent = added.filter(|added| added.since.plus(cooling) > now);
        recent.any(|added| added.who.contains(&who))
    }
}

/// Every list of a key that says who may receive or take.
fn lists(rules: &KeyRules) -> Vec<&Addresses> {
    let only = |to| match to {
        &Recipients::Anyone => None,
        Recipients::Only(list) => Some(list),
    };
    let tokens = rules.tokens.values();
    let of_tokens = tokens.flat_map(|rule| {
        let spender = rule.allowance.as_ref().map(|allowance| &allowance.spender);
        only(&rule.to).into_iter().chain(spender).chain([&rule.operator])
    });
    rules.native.iter().filter_map(|rule| only(&rule.to)).chain(of_tokens).collect()
}

/// About 100 bytes each.
const PAID_MAX: usize = 100_000;
