//! Draining a key: what it may still sign while people bring what it holds to safety.
//!
//! A plan that a quorum signed takes the place of the key's rules: coin and tokens to one address,
//! nonces cancelled, allowances taken back, fees up to a sum, for a while. Nothing else is signed,
//! and when it is over the key is stopped as before.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::bounded::at_most;
use crate::decide::Facts;
use crate::effect::{self, Effect};
use crate::finding::{Findings, Rule, Seen};
use crate::id::{CallerId, ChainId, KeyId, KeyLabel, Sequence};
use crate::ledger::{Repeat, Slot};
use crate::limits::{self, Asked};
use crate::money::{Account, Amount, Asset, Charges, Total};
use crate::request::Request;
use crate::time::{Millis, Span};

/// What a quorum permits a key, instead of everything that the book does.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainPlan {
    /// Who may ask for its signatures: callers of the book.
    #[serde(deserialize_with = "at_most::<CALLERS_MAX, _, _>")]
    pub callers: Vec<CallerId>,
    /// What may be moved, each chain once, in order.
    #[serde(deserialize_with = "at_most::<CHAINS_MAX, _, _>")]
    pub chains: Vec<DrainChain>,
    /// When it is over, in possible time.
    pub expires: Millis,
    /// Where everything goes.
    pub to: DrainTo,
}

/// What may be moved on one chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainChain {
    /// The chain.
    pub chain: ChainId,
    /// What all its transactions together may cost in fees, at the worst: wei, above zero.
    pub fees: Amount,
    /// Whether its native coin is moved.
    pub native: bool,
    /// Contracts of registered tokens that are moved, each once, in order.
    #[serde(deserialize_with = "at_most::<TOKENS_MAX, _, _>")]
    pub tokens: Vec<Address>,
}

/// Where everything goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DrainTo {
    /// To an address that the book names on each of the chains.
    Address(Address),
    /// To another key of this vault, its successor: whoever asks for the old one is told.
    Key(KeyId),
}

/// A plan that cannot be carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanFault {
    /// Nobody could ask for anything.
    #[error("callers: name who may ask for its signatures, 1 to {CALLERS_MAX} of them")]
    NoCaller,
    /// A caller that the book does not know.
    #[error("callers: the book has no caller {0}")]
    Caller(CallerId),
    /// Nothing would be moved.
    #[error("chains: name 1 to {CHAINS_MAX} chains, each once and in order of their numbers")]
    Chains,
    /// A chain that the book does not know.
    #[error("chains: the book has no chain {0}")]
    Chain(ChainId),
    /// Nothing could be paid.
    #[error("chain {0}: fees: the most that all its transactions may cost, above zero")]
    Fees(ChainId),
    /// Tokens twice, or in no order.
    #[error("chain {0}: tokens: each once, in order of their addresses")]
    Order(ChainId),
    /// Nothing is moved and nothing could be.
    #[error("chain {0}: neither native coin nor a token is to be moved")]
    Nothing(ChainId),
    /// A token that the book does not know, so that nobody understands what its calls would do.
    #[error("chain {0}: the book has no token {1}")]
    Token(ChainId, Address),
    /// Nobody would know whose it is.
    #[error("to: the book has no name for {1} on chain {0}: add it there first")]
    Unnamed(ChainId, Address),
    /// It would stay where it is.
    #[error("to: that is the key itself")]
    Itself,
    /// One of this vault's keys, by its address: how it stands would not be looked at.
    #[error("to: {0} is the address of a key of this vault: name the key, by its label")]
    OwnKey(Address),
    /// A successor that is none.
    #[error("to: key {0} is not there, or stopped, drained or ended itself")]
    Successor(KeyId),
    /// It is made to be destroyed.
    #[error(
        "to: key {0} is a canary, which the next drill destroys: only another canary goes there"
    )]
    Canary(KeyId),
    /// A chain that one of the two keys was not made for: what lies there could not be moved, or
    /// not be moved again.
    #[error("chain {1}: key {0} was not made for it")]
    NotOfKey(KeyId, ChainId),
    /// Over before it begins, or never.
    #[error("expires: within {DRAIN_MAX}, and not over yet")]
    Expires,
}

/// A plan that is carried out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// The plan.
    pub plan: Arc<DrainPlan>,
    /// The record that began it. What was signed before it is not released under it.
    pub from: Sequence,
    /// Where everything goes.
    pub to: Address,
    fees: BTreeMap<Slot, Amount>,
    paid: BTreeMap<ChainId, Total>,
}

impl Drain {
    pub(crate) fn begin(plan: DrainPlan, from: Sequence, to: Address) -> Self {
        Self { plan: Arc::new(plan), from, to, fees: BTreeMap::new(), paid: BTreeMap::new() }
    }

    /// Whether it is over by its own terms.
    pub fn is_over(&self, possible: Millis) -> bool {
        possible >= self.plan.expires
    }

    /// The successor, if everything goes to one.
    pub fn successor(&self) -> Option<KeyId> {
        if let DrainTo::Key(key) = self.plan.to { Some(key) } else { None }
    }

    /// What its fees may have cost so far, each nonce at the dearest of its alternatives.
    pub fn paid(&self, chain: ChainId) -> Total {
        self.paid.get(&chain).copied().unwrap_or(Total::ZERO)
    }

    pub(crate) fn pay(&mut self, slot: Slot, charge: &Charges) {
        let fee = charge.of(Account { chain: slot.chain, asset: Asset::Fee });
        let before = self.held(slot);
        if fee > before || !self.fees.contains_key(&slot) {
            let most = fee.max(before);
            let paid = self.paid.entry(slot.chain).or_insert(Total::ZERO);
            *paid = paid.minus(before).plus(most);
            self.fees.insert(slot, most);
        }
    }

    /// What it may cost. What goes to a successor stays with the keys of the vault, and counts as
    /// spent once that one spends it: else a limit over both would be used up by the move, and
    /// refuse whoever follows. Its fees go, and so does everything that goes to an address.
    fn charges(&self, effects: &[Effect], chain: ChainId) -> Option<Charges> {
        match self.plan.to {
            DrainTo::Address(_) => effect::charges(effects, chain),
            DrainTo::Key(_) => {
                let fees = effects.iter().filter(|one| matches!(one, Effect::Fee { .. }));
                effect::charges(&fees.cloned().collect::<Vec<_>>(), chain)
            }
        }
    }

    fn held(&self, slot: Slot) -> Amount {
        self.fees.get(&slot).copied().unwrap_or(Amount::ZERO)
    }

    fn chain(&self, chain: ChainId) -> Option<&DrainChain> {
        self.plan.chains.iter().find(|one| one.chain == chain)
    }
}

/// A drain, as far as decisions go.
#[derive(Clone, Copy, Debug)]
pub struct Draining<'a> {
    /// The drain.
    pub drain: &'a Drain,
    /// What the book calls the key that takes its place.
    pub successor: Option<&'a KeyLabel>,
}

/// Judges one request by the plan alone. `None`: nothing could be charged.
pub(crate) fn judge(
    book: &Book,
    (facts, draining): (&Facts<'_>, &Draining<'_>),
    (own, request): (Address, &Request),
    out: &mut Findings,
) -> Option<Charges> {
    let Draining { drain, successor } = *draining;
    let (caller, chain) = (&request.asker().caller, request.chain());
    let refused = |out: &mut Findings| {
        let seen = successor.map_or(Seen::Nothing, |label| Seen::Words(label.shared()));
        out.note(Rule::NotDraining, seen, false);
    };
    if !drain.plan.callers.contains(caller) || book.caller(caller).is_none() {
        refused(out);
        return None;
    }
    let registry = book.registry();
    let effects = effect::effects(request, own, registry);
    let part = drain.chain(chain);
    let permitted = |one: &Effect| part.is_some_and(|part| permits(part, drain.to, own, one));
    let transaction = request.transaction().is_some();
    if !transaction || !effects.iter().all(permitted) {
        refused(out);
        for one in effects.iter().filter(|one| !transaction || !permitted(one)) {
            let words = effect::describe(one, chain, registry);
            out.note(Rule::InDrainPlan, Seen::Words(words.into()), false);
        }
        return None;
    }
    let charge = drain.charges(&effects, chain);
    out.note(Rule::NoOverflow, Seen::Nothing, charge.is_some());
    let (charge, part) = charge.zip(part)?;
    check_fees(facts, (drain, part), (request.slot(), &charge), out);
    Some(charge)
}

fn check_fees(
    facts: &Facts<'_>,
    (drain, part): (&Drain, &DrainChain),
    (slot, charge): (Slot, &Charges),
    out: &mut Findings,
) {
    let account = Account { chain: part.chain, asset: Asset::Fee };
    let asked = Asked { slot, charge, repeat: Repeat::No };
    let held = |slot: Slot| drain.held(slot);
    let more = limits::raised(facts, &asked, |charges| charges.of(account), held);
    let total = drain.paid(part.chain).plus_total(more);
    let (sum, bound) = (total.to_amount_saturating(), Some(part.fees));
    let passed = !total.exceeds(part.fees);
    out.note(Rule::DrainFees, Seen::Amount { account, sum, bound }, passed);
    // What cannot be remembered cannot be summed.
    if drain.fees.len() >= TRANSACTIONS_MAX && !drain.fees.contains_key(&slot) {
        let words = format!("{TRANSACTIONS_MAX} transactions: propose another drain");
        out.note(Rule::DrainFees, Seen::Words(words.into()), false);
    }
}

/// Whether an effect brings something to safety, or nothing at all.
fn permits(part: &DrainChain, to: Address, own: Address, effect: &Effect) -> bool {
    match effect {
        // Of fees the sum is bounded.
        Effect::Fee { .. } => true,
        // To itself and nothing: a nonce cancelled.
        Effect::PayNative { to: whom, amount } => {
            (*whom == to && part.native) || (*whom == own && *amount == Amount::ZERO)
        }
        Effect::TransferToken { token, id: _, from, to: whom, amount: _ } => {
            let its_own = from.is_none_or(|holder| holder == own);
            *whom == to && its_own && part.tokens.contains(token)
        }
        Effect::GrantAllowance { token: _, spender: _, amount } => *amount == Amount::ZERO,
        Effect::RevokeOperator { .. } => true,
        Effect::GrantOperator { .. }
        | Effect::Wrap { .. }
        | Effect::Unwrap { .. }
        | Effect::Call { .. }
        | Effect::Via { .. }
        | Effect::DelegateCall { .. }
        | Effect::Typed { .. }
        | Effect::SignIn { .. }
        | Effect::Authorize { .. }
        | Effect::Deploy { .. }
        | Effect::Delegate { .. }
        | Effect::Unknown { .. } => false,
    }
}

impl DrainPlan {
    /// What is wrong with its form, and with what it names in the book, for a key of this address.
    pub(crate) fn check(&self, book: &Book, own: Address, to: Address) -> Result<(), PlanFault> {
        if self.callers.is_empty() || self.callers.len() > CALLERS_MAX {
            return Err(PlanFault::NoCaller);
        }
        if let Some(unknown) = self.callers.iter().find(|caller| book.caller(caller).is_none()) {
            return Err(PlanFault::Caller(unknown.clone()));
        }
        let chains: Vec<ChainId> = self.chains.iter().map(|one| one.chain).collect();
        if chains.is_empty() || chains.len() > CHAINS_MAX || !is_ascending(&chains) {
            return Err(PlanFault::Chains);
        }
        if to == own {
            return Err(PlanFault::Itself);
        }
        self.chains.iter().try_for_each(|part| self.check_chain(part, book, to))
    }

    fn check_chain(&self, part: &DrainChain, book: &Book, to: Address) -> Result<(), PlanFault> {
        let (chain, registry) = (part.chain, book.registry());
        if registry.chain(chain).is_none() {
            return Err(PlanFault::Chain(chain));
        }
        if part.fees == Amount::ZERO {
            return Err(PlanFault::Fees(chain));
        }
        if part.tokens.len() > TOKENS_MAX || !is_ascending(&part.tokens) {
            return Err(PlanFault::Order(chain));
        }
        if !part.native && part.tokens.is_empty() {
            return Err(PlanFault::Nothing(chain));
        }
        let unknown = part.tokens.iter().find(|token| registry.token(chain, **token).is_none());
        if let Some(token) = unknown {
            return Err(PlanFault::Token(chain, *token));
        }
        let named = match self.to {
            DrainTo::Key(_) => true,
            DrainTo::Address(_) => registry.label_on(chain, to).is_some(),
        };
        if named { Ok(()) } else { Err(PlanFault::Unnamed(chain, to)) }
    }

    /// Whether it lies ahead, and not too far.
    pub(crate) fn check_end(&self, possible: Millis) -> Result<(), PlanFault> {
        let ahead = possible < self.expires && self.expires <= possible.plus(DRAIN_MAX);
        if ahead { Ok(()) } else { Err(PlanFault::Expires) }
    }
}

fn is_ascending<T: Ord>(all: &[T]) -> bool {
    all.is_sorted_by(|one, next| one < next)
}

/// Whoever asks for the signatures of one drain.
pub const CALLERS_MAX: usize = 16;

/// Chains of one drain.
pub const CHAINS_MAX: usize = 32;

/// Tokens of one drain on one chain.
pub const TOKENS_MAX: usize = 100;

/// Transactions of one drain: each is remembered until it is over.
const TRANSACTIONS_MAX: usize = 10_000;

/// The longest that one lasts.
const DRAIN_MAX: Span = Span(30 * 86_400_000);
