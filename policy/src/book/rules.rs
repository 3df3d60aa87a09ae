//! Reads what each key may do: `[key.LABEL]`. An absent limit is a fault, never "no limit".

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::calls::calls;
use super::check::{chain_named, closed_word};
use super::file::{Field, Fields, Word};
use super::limits::{Zero, limit, limits, rate, span_of};
use super::names::{Names, refuse_repeats};
use super::tokens::tokens;
use super::units::{UnitDef, coin_units};
use super::words::{Vocabulary, quoted};
use super::{Addresses, DenyWord, FeeRule, KeyRules, NativeRule, Recipients, offchain, tiers};
use crate::id::{CallerId, ChainId, KeyLabel};

/// The rules of all keys. `None` after some faults: what a key must ask for was not read.
pub(super) fn keys(root: &Fields<'_>, names: &Names) -> Option<BTreeMap<KeyLabel, KeyRules>> {
    let entries = root.optional("key").map(|field| field.entries(KEYS_MAX)).unwrap_or_default();
    let mut keys = BTreeMap::new();
    for (word, field) in entries {
        let rules = field.fields(KEY).and_then(|fields| key(&fields, names));
        match word.text.parse::<KeyLabel>() {
            Ok(label) => drop(keys.insert(label, rules)),
            Err(invalid) => field.fault_at(word.at, invalid.to_string(), "rename the key"),
        }
    }
    keys.into_iter().map(|(label, rules)| Some((label, rules?))).collect()
}

/// What the rules of one key are read against.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The registry.
    pub(super) names: &'a Names,
    /// The key's chains; none if they could not be read.
    pub(super) chains: BTreeSet<ChainId>,
    /// The symbol of their native coin, if they have one in common.
    pub(super) native: Option<&'a str>,
    /// The units of that coin; of every coin if it is not known which is meant, so that amounts can
    /// be read for their faults; `None` if not even the coins are known.
    pub(super) units: Option<Vec<UnitDef<'a>>>,
    /// Units of assets that have a rule, sound or not.
    pub(super) ruled: BTreeSet<&'a str>,
}

/// `None` if a tier or the rate cannot be read: without them more is permitted, not less.
fn key(fields: &Fields<'_>, names: &Names) -> Option<KeyRules> {
    let callers = callers(fields, names);
    let mut scope = scope(fields, names);
    let rate = fields.required("rate", RATE_HINT).and_then(|field| rate(&field));
    let native = fields.optional("native");
    let fees = fields.optional("fees");
    refuse_mixed_coins(&scope, native.as_ref().or(fees.as_ref()));
    let (native, fees) = coin_rules(&mut scope, native, fees);
    let tokens = fields.optional("token").map(|field| tokens(&field, &mut scope));
    let calls = fields.optional("call").map(|field| calls(&field, &scope));
    let tiers = fields.optional("approve").map(|field| tiers::tiers(&field, &scope, &callers));
    let delegate = fields.optional("delegate");
    let typed = fields.optional("typed").map(|field| offchain::typed(&field, &scope));
    let messages = fields.optional("message").map(|field| offchain::messages(&field));
    // Without it more is permitted, not less.
    let cooling = fields.optional("cooling").map(|field| span_of(&field, field.word()?));
    let authorize = fields.optional("authorize");
    let authorize = authorize.and_then(|field| offchain::authorize(&field, &scope, &callers));
    let approve = match tiers {
        Some(tiers) => tiers?,
        None => Vec::new(),
    };
    Some(KeyRules {
        callers,
        native,
        fees,
        rate: rate?,
        deny: fields.optional("deny").map(|field| deny(&field)).unwrap_or_default(),
        tokens: tokens.unwrap_or_default(),
        calls: calls.unwrap_or_default(),
        deploy: fields.optional("deploy").map(|field| deploy(&field)).unwrap_or_default(),
        delegate: delegate.map(|f| names.addresses(&f, &scope.chains)).unwrap_or_default(),
        via: contracts(fields, &scope, "via"),
        delegatecall: contracts(fields, &scope, "delegatecall"),
        typed: typed.unwrap_or_default(),
        messages: messages.unwrap_or_default(),
        authorize,
        approve,
        cooling: match cooling {
            Some(span) => Some(span?),
            None => None,
        },
        chains: scope.chains,
    })
}

fn contracts(fields: &Fields<'_>, scope: &Scope<'_>, name: &str) -> BTreeSet<(ChainId, Address)> {
    let field = fields.optional(name);
    field.map(|field| scope.names.contracts(&field, &scope.chains)).unwrap_or_default()
}

fn callers(fields: &Fields<'_>, names: &Names) -> BTreeSet<CallerId> {
    let hint = "write callers = [\"ID\"]: who may ask for signatures of this key";
    let Some((field, words)) = some_words(fields, "callers", hint) else { return BTreeSet::new() };
    let mut callers = BTreeSet::new();
    for word in words {
        let caller = word.text.parse::<CallerId>().ok();
        if let Some(caller) = caller.filter(|caller| names.callers.contains_key(caller)) {
            callers.insert(caller);
            continue;
        }
        let hint = match field.nearest(word.text, names.callers.keys().map(CallerId::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "give it an entry [caller.\"ID\"] with its owners".to_owned(),
        };
        field.fault_at(word.at, format!("unknown caller {}", quoted(word.text)), hint);
    }
    callers
}

/// The key's chains. If one of them has a fault none is known, so that nothing else is blamed.
fn scope<'a>(fields: &Fields<'_>, names: &'a Names) -> Scope<'a> {
    let hint = "write chains = [\"NAME\"]: where this key may sign";
    let found = some_words(fields, "chains", hint).and_then(|(field, words)| {
        let chains: Vec<_> = words.iter().map(|word| chain_named(&field, *word, names)).collect();
        chains.into_iter().collect::<Option<BTreeSet<ChainId>>>()
    });
    let chains = found.unwrap_or_default();
    let natives = chains.iter().filter_map(|id| names.registry.chain(*id));
    let natives: BTreeSet<&str> = natives.map(|chain| chain.native.as_str()).collect();
    let native = if natives.len() == 1 { natives.first().copied() } else { None };
    let units = match native {
        Some(symbol) => Some(coin_units([symbol].into_iter())),
        None => names.coin_units(),
    };
    Scope { names, chains, native, units, ruled: BTreeSet::new() }
}

fn refuse_mixed_coins(scope: &Scope<'_>, field: Option<&Field<'_>>) {
    if let (Some(field), None, false) = (field, scope.native, scope.chains.is_empty()) {
        field.fault(MIXED_COINS.0, MIXED_COINS.1);
    }
}

fn coin_rules<'a>(
    scope: &mut Scope<'a>,
    native: Option<Field<'_>>,
    fees: Option<Field<'_>>,
) -> (Option<NativeRule>, Option<FeeRule>) {
    let Some(units) = &scope.units else {
        // Amounts cannot be read, but misspelt fields can be told all the same.
        native.and_then(|field| field.fields(NATIVE));
        fees.and_then(|field| field.fields(FEES));
        return (None, None);
    };
    let native_rule = native.as_ref().and_then(|field| native_rule(field, scope, units));
    let fee_rule = fees.as_ref().and_then(|field| fee_rule(field, units));
    let Some(symbol) = scope.native else { return (native_rule, fee_rule) };
    // Fees count as native spend, so without a native rule they are all that can be spent.
    if native.is_some() || fees.is_some() {
        scope.ruled.insert(symbol);
    }
    (native_rule, fee_rule)
}

fn native_rule(field: &Field<'_>, scope: &Scope<'_>, units: &[UnitDef<'_>]) -> Option<NativeRule> {
    let fields = field.fields(NATIVE)?;
    let to = recipients(&fields, scope.names, &scope.chains);
    let limits = limits(&fields, units);
    Some(NativeRule { to, limits: limits? })
}

fn fee_rule(field: &Field<'_>, units: &[UnitDef<'_>]) -> Option<FeeRule> {
    let fields = field.fields(FEES)?;
    let limits = limits(&fields, units);
    let hint = "write max_priority_fee = \"5 gwei\": the most per unit of gas for the builder";
    let priority = fields.required("max_priority_fee", hint);
    let priority = priority.and_then(|field| limit(&field, units, Zero::Allowed));
    let hint = "write counts_as = \"native\": fees always count as native spend too";
    if let Some(counts_as) = fields.required("counts_as", hint) {
        closed_word(&counts_as, "word", Vocabulary { known: &["native"], later: &[] });
    }
    Some(FeeRule { limits: limits?, max_priority_fee: priority? })
}

pub(super) fn recipients(
    fields: &Fields<'_>,
    names: &Names,
    chains: &BTreeSet<ChainId>,
) -> Recipients {
    let hint = "write to = \"@NAME\", an array, or \"anyone\"; what is absent permits nothing";
    let Some(field) = fields.required("to", hint) else {
        return Recipients::Only(Addresses::default());
    };
    if field.as_word().is_some_and(|word| word.text == "anyone") {
        return Recipients::Anyone;
    }
    Recipients::Only(names.addresses(&field, chains))
}

fn deny(field: &Field<'_>) -> BTreeSet<DenyWord> {
    let words = field.words(DENY_MAX).unwrap_or_default();
    refuse_repeats(field, &words);
    let mut denied = BTreeSet::new();
    for word in words {
        match DenyWord::ALL.into_iter().find(|(_, spelling)| *spelling == word.text) {
            Some((deny, _)) => drop(denied.insert(deny)),
            None => field.unknown(word, "word", DENY),
        }
    }
    denied
}

fn deploy(field: &Field<'_>) -> BTreeSet<B256> {
    let words = field.words(DEPLOY_MAX).unwrap_or_default();
    let mut hashes = BTreeSet::new();
    for word in words {
        let mut bytes = [0; 32];
        let digits = word.text.strip_prefix("0x");
        let read = digits.map(|digits| hex::decode_to_slice(digits, &mut bytes));
        if !matches!(read, Some(Ok(()))) {
            let hint = "write 0x and 64 hexadecimal digits: the Keccak-256 of the init code";
            field.fault_at(word.at, format!("{} is not a hash", quoted(word.text)), hint);
        } else if !hashes.insert(B256::from(bytes)) {
            let message = format!("{} stands here twice", quoted(word.text));
            field.fault_at(word.at, message, "leave one of them out");
        }
    }
    hashes
}

/// A field that must hold at least one string, none twice.
fn some_words<'a>(
    fields: &Fields<'a>,
    name: &str,
    hint: &str,
) -> Option<(Field<'a>, Vec<Word<'a>>)> {
    let field = fields.required(name, hint)?;
    let words = field.words(MEMBERS_MAX)?;
    if words.is_empty() {
        field.fault("is empty", "leave the key out: what is absent permits nothing");
        return None;
    }
    refuse_repeats(&field, &words);
    Some((field, words))
}

const KEY: Vocabulary = Vocabulary {
    known: &[
        "callers",
        "chains",
        "native",
        "fees",
        "rate",
        "approve",
        "deny",
        "deploy",
        "delegate",
        "token",
        "call",
        "via",
        "delegatecall",
        "typed",
        "message",
        "authorize",
        "cooling",
    ],
    later: &[],
};
const NATIVE: Vocabulary =
    Vocabulary { known: &["to", "per_tx", "window", "lifetime", "unsettled"], later: &[] };
const FEES: Vocabulary = Vocabulary {
    known: &["per_tx", "window", "lifetime", "max_priority_fee", "counts_as"],
    later: &[],
};
const DENY: Vocabulary = Vocabulary {
    known: &["contract-creation", "eip7702", "unlimited-allowance", "delegatecall"],
    later: &[],
};

/// Message and hint for an amount that could be one of two coins.
pub(super) const MIXED_COINS: (&str, &str) = (
    "the key's chains have different native coins",
    "no limit can count two coins: give each coin a key of its own",
);

const RATE_HINT: &str = "write rate = { per_caller = \"20/s\", per_key = \"50/s\", parked = 25 }";

/// Keys of one vault; a vault with more is several.
const KEYS_MAX: usize = 10_000;

/// Callers or chains of one key.
const MEMBERS_MAX: usize = 10_000;

/// Contracts of one key that people have read.
const DEPLOY_MAX: usize = 10_000;

/// More than there are words.
const DENY_MAX: usize = 100;
