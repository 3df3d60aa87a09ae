//! Whom keys have paid before, and whom a book added a while ago.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::book::{Addresses, Book, KeyRules, Recipients, beginning_like, looks_like};
use crate::id::{ChainId, KeyId, KeyLabel, Sequence};
use crate::money::{Account, Asset};
use crate::outage::Outage;
use crate::time::{Millis, Span};

/// What records say about recipients and spenders.
///
/// Bounded: of more than [`PAID_MAX`] the oldest are forgotten, and asked about again as if new.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Payees {
    paid: BTreeMap<(KeyId, ChainId, Address), Sequence>,
    order: BTreeMap<(Sequence, Address), (KeyId, ChainId)>,
    added: Vec<Added>,
}

/// Addresses that one book had in one of a key's lists and the one before it had not in the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Added {
    label: KeyLabel,
    list: List,
    who: Addresses,
    since: Millis,
}

/// Which list: somebody who may be paid one thing is new to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum List {
    Native,
    Token(ChainId, Address, Way),
}

/// How somebody gets at a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum Way {
    Receives,
    Spends,
    Operates,
}

impl List {
    /// Whether a payment in an account can be by this list. Which of a token's it is by, an account
    /// does not say.
    fn pays(self, account: Account) -> bool {
        match self {
            Self::Native => account.asset == Asset::Native,
            Self::Token(chain, contract, _) => {
                account == Account { chain, asset: Asset::Token(contract) }
            }
        }
    }
}

impl Payees {
    /// Whether the key has paid this address on this chain, as far as is remembered.
    pub fn were_paid(&self, key: KeyId, chain: ChainId, who: Address) -> bool {
        self.paid.contains_key(&(key, chain, who))
    }

    /// Those that the key has paid on this chain, that look like this one and are not.
    pub(crate) fn alike(
        &self,
        key: KeyId,
        chain: ChainId,
        one: Address,
    ) -> impl Iterator<Item = Address> {
        let (start, end) = beginning_like(one).into_inner();
        let paid = self.paid.range((key, chain, start)..=(key, chain, end));
        paid.map(|((_, _, other), _)| *other).filter(move |other| looks_like(one, *other))
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
        let mut known: Vec<(&Addresses, &Addresses, Addresses)> = Vec::new();
        for (label, rules) in new.keys().filter(|(_, rules)| rules.cooling.is_some()) {
            let before = old.rules(label).map(lists).unwrap_or_default();
            for (list, to) in lists(rules) {
                let before = before.iter().find(|(other, _)| *other == list).map(|(_, to)| *to);
                let who = match (before, to) {
                    // Nobody is new to whoever paid anyone; and "anyone" names nobody.
                    (Some(Whom::Anyone), _) | (_, Whom::Anyone) => continue,
                    (None, Whom::Only(list)) => Arc::clone(list),
                    (Some(Whom::Only(before)), Whom::Only(list)) => {
                        // One list may stand in many rules, and be long.
                        let same = known.iter().find(|(one, other, _)| {
                            Arc::ptr_eq(one, before) && Arc::ptr_eq(other, list)
                        });
                        let found = same.map(|(_, _, fresh)| Arc::clone(fresh));
                        found.unwrap_or_else(|| {
                            let fresh: Addresses =
                                Arc::new(list.difference(before).copied().collect());
                            known.push((before, list, Arc::clone(&fresh)));
                            fresh
                        })
                    }
                };
                if !who.is_empty() {
                    self.added.push(Added { label: label.clone(), list, who, since: now });
                }
            }
        }
    }

    /// Whom a book added since an outage ended is as new after it as before.
    pub(crate) fn keep_young(&mut self, outage: Outage) {
        for added in &mut self.added {
            added.since = outage.moved_time(added.since);
        }
    }

    /// Whether a book added this address less than `cooling` ago to a list of the key that such a
    /// payment may be by.
    pub fn is_cooling(
        &self,
        label: &KeyLabel,
        (account, who): (Account, Address),
        cooling: Span,
        now: Millis,
    ) -> bool {
        let added = self.added.iter();
        let mut recent = added.filter(|added| {
            added.label == *label && added.list.pays(account) && added.since.plus(cooling) > now
        });
        recent.any(|added| added.who.contains(&who))
    }
}

/// Who is in a list.
#[derive(Clone, Copy, Debug)]
enum Whom<'b> {
    Anyone,
    Only(&'b Addresses),
}

/// Every list of a key that says who may receive or take.
fn lists(rules: &KeyRules) -> Vec<(List, Whom<'_>)> {
    let whom = |to| match to {
        &Recipients::Anyone => Whom::Anyone,
        Recipients::Only(list) => Whom::Only(list),
    };
    let of_tokens = rules.tokens.iter().flat_map(|((chain, contract), rule)| {
        let list = |way| List::Token(*chain, *contract, way);
        let spender = rule.allowance.as_ref().map(|allowance| &allowance.spender);
        [
            Some((list(Way::Receives), whom(&rule.to))),
            spender.map(|spender| (list(Way::Spends), Whom::Only(spender))),
            Some((list(Way::Operates), Whom::Only(&rule.operator))),
        ]
    });
    let native = rules.native.iter().map(|rule| (List::Native, whom(&rule.to)));
    native.chain(of_tokens.flatten()).collect()
}

/// About 100 bytes each.
const PAID_MAX: usize = 100_000;
