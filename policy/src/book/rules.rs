//! Reads what each key may do: `[key.LABEL]`. An absent limit is a fault, never "no limit".

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::check::{chain_named, closed_word};
use super::file::{Field, Fields, Vocabulary, Word, nearest, quoted, unknown};
use super::function::canonical_signature;
use super::names::{Names, Thing, refuse_repeats};
use super::units::{InvalidAmount, UnitDef, native_units, parse_amount};
use super::{
    Addresses, AllowanceRule, CallRule, DenyWord, FeeRule, KeyRules, Limit, Limits, NativeRule,
    Rate, RateRule, Recipients, TokenRule, Window, Windows, tiers,
};
use crate::id::{CallerId, ChainId, KeyLabel};
use crate::money::{Amount, parse_decimal};
use crate::time::Span;

/// The rules of all keys.
pub(super) fn keys(root: &Fields<'_>, names: &Names) -> BTreeMap<KeyLabel, KeyRules> {
    let entries = root.optional("key").map(|field| field.entries(KEYS_MAX)).unwrap_or_default();
    let mut keys = BTreeMap::new();
    for (word, field) in entries {
        let rules = field.fields(KEY).map(|fields| key(&fields, names));
        match word.text.parse::<KeyLabel>() {
            Ok(label) => drop(keys.insert(label, rules.unwrap_or_default())),
            Err(invalid) => field.fault_at(word.at, invalid.to_string(), "rename the key"),
        }
    }
    keys
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
    /// What can be spent at once at most, by unit. `None`: that rule has faults.
    pub(super) ceilings: BTreeMap<&'a str, Option<Limit>>,
}

fn key(fields: &Fields<'_>, names: &Names) -> KeyRules {
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
    KeyRules {
        callers,
        native,
        fees,
        rate: rate.unwrap_or_default(),
        deny: fields.optional("deny").map(|field| deny(&field)).unwrap_or_default(),
        tokens: tokens.unwrap_or_default(),
        calls: calls.unwrap_or_default(),
        deploy: fields.optional("deploy").map(|field| deploy(&field)).unwrap_or_default(),
        delegate: delegate.map(|f| names.addresses(&f, &scope.chains)).unwrap_or_default(),
        approve: tiers.unwrap_or_default(),
        chains: scope.chains,
    }
}

fn callers(fields: &Fields<'_>, names: &Names) -> BTreeSet<CallerId> {
    let hint = "write callers = [\"ID\"]: who may ask for signatures of this key";
    let Some((field, words)) = some_words(fields, "callers", hint) else { return BTreeSet::new() };
    let mut callers = BTreeSet::new();
    for word in words {
        let known = names.callers.get_key_value(word.text);
        if let Some((caller, _)) = known {
            callers.insert(caller.clone());
            continue;
        }
        let hint = match nearest(word.text, names.callers.keys().map(CallerId::as_str)) {
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
    Scope { names, chains, native, ceilings: BTreeMap::new() }
}

fn refuse_mixed_coins(scope: &Scope<'_>, field: Option<&Field<'_>>) {
    if let (Some(field), None, false) = (field, scope.native, scope.chains.is_empty()) {
        let message = "the key's chains have different native coins";
        field.fault(message, "no limit can count two coins: give each coin a key of its own");
    }
}

fn coin_rules<'a>(
    scope: &mut Scope<'a>,
    native: Option<Field<'_>>,
    fees: Option<Field<'_>>,
) -> (Option<NativeRule>, Option<FeeRule>) {
    let Some(symbol) = scope.native else { return (None, None) };
    let units = native_units(symbol);
    let native_rule = native.as_ref().and_then(|field| native_rule(field, scope, &units));
    let fee_rule = fees.as_ref().and_then(|field| fee_rule(field, &units));
    // Fees count as native spend, so without a native rule they are all that can be spent.
    if native.is_some() {
        let ceiling = native_rule.as_ref().map(|rule| ceiling(&rule.limits));
        scope.ceilings.insert(symbol, ceiling);
    } else if fees.is_some() {
        let ceiling = fee_rule.as_ref().map(|rule| ceiling(&rule.limits));
        scope.ceilings.insert(symbol, ceiling);
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

/// `token.NAME = { .. }`.
fn tokens<'a>(field: &Field<'a>, scope: &mut Scope<'a>) -> BTreeMap<(ChainId, Address), TokenRule> {
    let mut rules = BTreeMap::new();
    for (word, field) in field.entries(TOKENS_MAX) {
        let Some((account, decimals)) = token(&field, word, scope) else { continue };
        let chain = BTreeSet::from([account.0]);
        let unit = [UnitDef { name: word.text, decimals }];
        let rule = token_rule(&field, scope.names, &chain, &unit);
        scope.ceilings.insert(word.text, rule.as_ref().map(|rule| ceiling(&rule.limits)));
        rules.extend(rule.map(|rule| (account, rule)));
    }
    rules
}

fn token(field: &Field<'_>, word: Word<'_>, scope: &Scope<'_>) -> Option<((ChainId, Address), u8)> {
    let tokens = &scope.names.registry.tokens;
    let Some(thing) = scope.names.things.get(word.text) else {
        let hint = match nearest(word.text, tokens.values().map(|token| token.name.as_str())) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "register it as [asset.NAME]".to_owned(),
        };
        field.fault_at(word.at, "unknown asset", hint);
        return None;
    };
    let Thing::Token(chain, contract) = *thing.as_ref()? else {
        field.fault_at(word.at, "not an asset", "register it as [asset.NAME]");
        return None;
    };
    if !scope.chains.is_empty() && !scope.chains.contains(&chain) {
        let hint = "add the chain to the key's chains, or leave the rule out";
        field.fault_at(word.at, "the token is on a chain this key may not use", hint);
    }
    let decimals = scope.names.registry.token(chain, contract)?.decimals;
    Some(((chain, contract), decimals))
}

fn token_rule(
    field: &Field<'_>,
    names: &Names,
    chain: &BTreeSet<ChainId>,
    unit: &[UnitDef<'_>],
) -> Option<TokenRule> {
    let fields = field.fields(TOKEN)?;
    let to = recipients(&fields, names, chain);
    let from = fields.optional("from").map(|field| names.addresses(&field, chain));
    let limits = limits(&fields, unit);
    let given = fields.optional("allowance");
    let allowance = given.as_ref().map(|field| allowance_rule(field, names, chain, unit));
    let allowance = match allowance {
        Some(rule) => Some(rule?),
        None => None,
    };
    Some(TokenRule { to, from: from.unwrap_or_default(), limits: limits?, allowance })
}

fn allowance_rule(
    field: &Field<'_>,
    names: &Names,
    chain: &BTreeSet<ChainId>,
    unit: &[UnitDef<'_>],
) -> Option<AllowanceRule> {
    let fields = field.fields(ALLOWANCE)?;
    let spender = fields.required("spender", "write spender = \"@NAME\": who may be allowed");
    let spender: Option<Addresses> = spender.map(|field| names.addresses(&field, chain));
    let per_tx = fields.required("per_tx", PER_TX_HINT);
    let per_tx = per_tx.and_then(|field| limit(&field, unit, Zero::Fault));
    Some(AllowanceRule { spender: spender?, per_tx: per_tx? })
}

fn recipients(fields: &Fields<'_>, names: &Names, chains: &BTreeSet<ChainId>) -> Recipients {
    let hint = "write to = \"@NAME\", an array, or \"anyone\"; what is absent permits nothing";
    let Some(field) = fields.required("to", hint) else {
        return Recipients::Only(Addresses::default());
    };
    if field.as_word().is_some_and(|word| word.text == "anyone") {
        return Recipients::Anyone;
    }
    Recipients::Only(names.addresses(&field, chains))
}

fn limits(fields: &Fields<'_>, units: &[UnitDef<'_>]) -> Option<Limits> {
    let per_tx = fields.required("per_tx", PER_TX_HINT);
    let per_tx = per_tx.and_then(|field| limit(&field, units, Zero::Fault));
    let hint = "write window = \"AMOUNT / 24h\", several in an array, or \"unlimited\"; what is \
                absent permits nothing";
    let windows = fields.required("window", hint);
    let windows = windows.and_then(|field| windows_of(&field, units));
    Some(Limits { per_tx: per_tx?, windows: windows? })
}

/// Whether an amount of zero makes sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zero {
    /// A limit of zero permits nothing.
    Fault,
    /// A fee rate or a threshold of zero says something.
    Allowed,
}

fn limit(field: &Field<'_>, units: &[UnitDef<'_>], zero: Zero) -> Option<Limit> {
    let word = field.word()?;
    if word.text == "unlimited" {
        return Some(Limit::Unlimited);
    }
    amount(field, word, units, zero).map(Limit::AtMost)
}

/// An amount in one of the units; the first is the one to suggest.
pub(super) fn amount(
    field: &Field<'_>,
    word: Word<'_>,
    units: &[UnitDef<'_>],
    zero: Zero,
) -> Option<Amount> {
    let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
    let unit = names.first().copied().unwrap_or_default();
    let shown = quoted(word.text);
    match parse_amount(word.text, units) {
        Ok(Amount::ZERO) if zero == Zero::Fault => {
            let hint = "0 permits nothing: leave the rule out";
            field.fault_at(word.at, format!("{shown} is zero"), hint);
            None
        }
        Ok(amount) => Some(amount),
        Err(invalid) => {
            let hint = match invalid {
                InvalidAmount::Form => {
                    format!("write digits, one space and the unit: \"1_000.5 {unit}\"")
                }
                InvalidAmount::Unit => format!("write it in {}", names.join(", ")),
                InvalidAmount::Finer(_) => "leave the last digits out".to_owned(),
                InvalidAmount::Overflow => "write \"unlimited\" if that is meant".to_owned(),
            };
            field.fault_at(word.at, format!("{shown} {invalid}"), hint);
            None
        }
    }
}

/// `"25 ETH / 1h"`, several of them, or `"unlimited"`. `None` after a fault.
fn windows_of(field: &Field<'_>, units: &[UnitDef<'_>]) -> Option<Windows> {
    if field.as_word().is_some_and(|word| word.text == "unlimited") {
        return Some(Windows::Unlimited);
    }
    let words = field.one_or_more(WINDOWS_MAX)?;
    if words.is_empty() {
        field.fault("has no window", "write \"unlimited\" if that is meant");
        return None;
    }
    let read: Vec<Option<Window>> = words.iter().map(|word| window(field, *word, units)).collect();
    let mut spans = BTreeSet::new();
    for (word, window) in words.iter().zip(&read) {
        if window.is_some_and(|window| !spans.insert(window.span)) {
            let message = format!("{} is a second window of the same length", quoted(word.text));
            field.fault_at(word.at, message, "keep the smaller one");
        }
    }
    read.into_iter().collect::<Option<Vec<_>>>().map(Windows::Each)
}

fn window(field: &Field<'_>, word: Word<'_>, units: &[UnitDef<'_>]) -> Option<Window> {
    let Some((limit, span)) = word.text.split_once('/') else {
        let hint = "write \"AMOUNT / 24h\", or \"unlimited\" alone";
        field.fault_at(word.at, format!("{} is not a window", quoted(word.text)), hint);
        return None;
    };
    let limit = Word { at: word.at, text: limit.trim_end() };
    let limit = amount(field, limit, units, Zero::Fault);
    let span = span_of(field, Word { at: word.at, text: span.trim_start() });
    Some(Window { limit: limit?, span: span? })
}

/// A length of time.
pub(super) fn span_of(field: &Field<'_>, word: Word<'_>) -> Option<Span> {
    let span = Span::parse(word.text);
    if span.is_none() {
        let hint = "write a whole number and s, m, h or d, at most 366d: \"24h\"";
        field.fault_at(word.at, format!("{} is not a length of time", quoted(word.text)), hint);
    }
    span
}

/// What one request can be charged at most: more than any window admits, it can never be either.
fn ceiling(limits: &Limits) -> Limit {
    let per_tx = match limits.per_tx {
        Limit::Unlimited => None,
        Limit::AtMost(amount) => Some(amount),
    };
    let windows = limits.windows.iter().map(|window| window.limit);
    windows.chain(per_tx).min().map_or(Limit::Unlimited, Limit::AtMost)
}

fn rate(field: &Field<'_>) -> Option<RateRule> {
    let fields = field.fields(RATE)?;
    let hint = "write \"20/s\", \"100/m\" or \"unlimited\"";
    let read = |name| fields.required(name, hint).and_then(|field| rate_of(&field, hint));
    let (per_caller, per_key) = (read("per_caller"), read("per_key"));
    let hint = "write how many requests of one caller may wait for people at once";
    let parked = fields.required("parked", hint);
    let parked = parked.and_then(|field| field.number(0, PARKED_MAX));
    let parked = parked.and_then(|number| u32::try_from(number).ok());
    Some(RateRule { per_caller: per_caller?, per_key: per_key?, parked: parked? })
}

/// `Some(None)` is "unlimited".
#[allow(clippy::option_option, reason = "the outer one is a fault, the inner one is a word")]
fn rate_of(field: &Field<'_>, hint: &str) -> Option<Option<Rate>> {
    let word = field.word()?;
    if word.text == "unlimited" {
        return Some(None);
    }
    let rate = parse_rate(word.text);
    if rate.is_none() {
        field.fault(format!("{} is not a rate", quoted(word.text)), hint);
    }
    rate.map(Some)
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let requests = u32::try_from(parse_decimal(count)?.units()).ok().filter(|count| *count > 0)?;
    let per = match unit {
        "s" => Span::parse("1s")?,
        "m" => Span::parse("1m")?,
        _ => return None,
    };
    Some(Rate { requests, per })
}

fn deny(field: &Field<'_>) -> BTreeSet<DenyWord> {
    let words = field.words(DENY_MAX).unwrap_or_default();
    refuse_repeats(field, &words);
    let mut denied = BTreeSet::new();
    for word in words {
        match DenyWord::ALL.into_iter().find(|(_, spelling)| *spelling == word.text) {
            Some((deny, _)) => drop(denied.insert(deny)),
            None => {
                let (message, hint) = unknown("word", word.text, DENY);
                field.fault_at(word.at, message, hint);
            }
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

/// `[[key.LABEL.call]]`.
fn calls(field: &Field<'_>, scope: &Scope<'_>) -> BTreeMap<(ChainId, Address, [u8; 4]), CallRule> {
    let mut rules: BTreeMap<_, CallRule> = BTreeMap::new();
    for field in field.elements(CALLS_MAX) {
        let Some(fields) = field.fields(CALL) else { continue };
        bounds(&fields);
        let contract = fields.required("contract", "write contract = \"@NAME\"");
        let contract = contract.and_then(|field| scope.names.contract(&field, &scope.chains));
        let function = fields.required("function", FUNCTION_HINT);
        let Some((function, (signature, selector))) = function.and_then(read_function) else {
            continue;
        };
        let Some((chain, address)) = contract else { continue };
        if scope.names.registry.token(chain, address).is_some() {
            refuse_token_function(&function, &signature);
        }
        let rule = CallRule { signature: signature.clone() };
        if let Some(other) = rules.insert((chain, address, selector), rule) {
            let message = format!("{signature} has the selector of {}", other.signature);
            function.fault(message, "one contract and selector has one rule");
        }
    }
    rules
}

fn read_function(field: Field<'_>) -> Option<(Field<'_>, (String, [u8; 4]))> {
    let word = field.word()?;
    match canonical_signature(word.text) {
        Ok(function) => Some((field, function)),
        Err(why) => {
            field.fault(format!("{} {why}", quoted(word.text)), FUNCTION_HINT);
            None
        }
    }
}

/// Signed without being understood, these would move money past the token's limits.
fn refuse_token_function(field: &Field<'_>, signature: &str) {
    let moves = matches!(
        signature,
        "transfer(address,uint256)"
            | "transferFrom(address,address,uint256)"
            | "approve(address,uint256)"
            | "increaseAllowance(address,uint256)"
    );
    if moves {
        let message = format!("{signature} of a registered token moves money");
        field.fault(message, "write a token.NAME rule for it, with limits");
    }
}

/// `where`: only "any" yet.
fn bounds(fields: &Fields<'_>) {
    let hint = "write where = \"any\": any arguments at all are signed";
    let Some(field) = fields.required("where", hint) else { return };
    if field.is_table() {
        field.fault("bounds on arguments are not supported yet by this version", hint);
    } else {
        closed_word(&field, "word", Vocabulary { known: &["any"], later: &[] });
    }
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
        "callers", "chains", "native", "fees", "rate", "approve", "deny", "deploy", "delegate",
        "token", "call",
    ],
    later: &["typed"],
};
const NATIVE: Vocabulary = Vocabulary { known: &["to", "per_tx", "window"], later: &["unsettled"] };
const FEES: Vocabulary = Vocabulary {
    known: &["per_tx", "window", "max_priority_fee", "counts_as"],
    later: &["unsettled"],
};
const TOKEN: Vocabulary =
    Vocabulary { known: &["to", "per_tx", "window", "from", "allowance"], later: &["unsettled"] };
const ALLOWANCE: Vocabulary = Vocabulary { known: &["spender", "per_tx"], later: &["outstanding"] };
const RATE: Vocabulary =
    Vocabulary { known: &["per_caller", "per_key", "parked"], later: &["nonce_ahead"] };
const CALL: Vocabulary = Vocabulary { known: &["contract", "function", "where"], later: &[] };
const DENY: Vocabulary = Vocabulary {
    known: &["contract-creation", "eip7702", "unlimited-allowance"],
    later: &["delegatecall"],
};

const PER_TX_HINT: &str =
    "write per_tx = \"AMOUNT\" or \"unlimited\"; what is absent permits nothing";
const RATE_HINT: &str = "write rate = { per_caller = \"20/s\", per_key = \"50/s\", parked = 25 }";
const FUNCTION_HINT: &str = "write it as in its source: \"deposit(uint256 amount, address to)\"";

/// Keys of one vault; a vault with more is several.
const KEYS_MAX: usize = 10_000;

/// Callers or chains of one key.
const MEMBERS_MAX: usize = 10_000;

/// Each token has windows that every transfer is checked against.
const TOKENS_MAX: usize = 1_000;

/// Every window of an account is summed for every decision.
const WINDOWS_MAX: usize = 16;

/// Functions of one key that people have read.
const CALLS_MAX: usize = 10_000;

/// Contracts of one key that people have read.
const DEPLOY_MAX: usize = 10_000;

/// More than there are words.
const DENY_MAX: usize = 100;

/// Approvers asked too often stop reading.
const PARKED_MAX: u64 = 10_000;
