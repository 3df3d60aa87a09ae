//! Reads above which amounts people are asked, and who: `approve`. A tier in an asset that has no
//! rule, or a quorum that can never be met, is a fault: somebody relies on it.

use std::collections::BTreeSet;

use super::file::{Field, Fields, Word};
use super::limits::{Zero, amount, span_of};
use super::names::Thing;
use super::rules::{MIXED_COINS, Scope};
use super::units::{UnitDef, split_amount};
use super::words::{Vocabulary, quoted};
use super::{Quorum, QuorumPart, Threshold, Tier};
use crate::credential::Strength;
use crate::id::{CallerId, PersonId};
use crate::money::{Account, Asset};
use crate::quorum::{BadQuorum, PARTS_MAX, STRENGTHS, Terms, parts_of};
use crate::time::Span;

/// The tiers of one key. `None` after a fault in one: people would not be asked.
pub(super) fn tiers(
    field: &Field<'_>,
    scope: &Scope<'_>,
    callers: &BTreeSet<CallerId>,
) -> Option<Vec<Tier>> {
    let owners = owners(scope, callers);
    let elements = field.elements(TIERS_MAX);
    let read = elements.iter().map(|field| tier(&field.fields(TIER)?, scope, &owners));
    let read: Vec<Option<Tier>> = read.collect();
    read.into_iter().collect()
}

fn tier(fields: &Fields<'_>, scope: &Scope<'_>, owners: &BTreeSet<&PersonId>) -> Option<Tier> {
    let hint = "write above = \"1 ETH\", or an array with an amount for each asset";
    let first = fields.optional("first_payment");
    let known = Vocabulary { known: &["asks"], later: &[] };
    let first_payment = first.is_some_and(|field| super::check::closed_word(&field, "word", known));
    let above = match fields.optional("above") {
        None if first_payment => Some(Vec::new()),
        None => {
            fields.required("above", hint);
            None
        }
        Some(field) => thresholds(&field, scope),
    };
    let terms = terms(fields, scope, owners);
    Some(Tier { above: above?, first_payment, terms: terms? })
}

/// What is asked of people for something about which they are always asked.
pub(super) fn people(
    fields: &Fields<'_>,
    scope: &Scope<'_>,
    callers: &BTreeSet<CallerId>,
) -> Option<Terms> {
    terms(fields, scope, &owners(scope, callers))
}

/// `need` and `expires`, and if wanted `execute`, `delay`, `credentials` and `channels`. `None`
/// after a fault in any of them: less would be asked.
fn terms(fields: &Fields<'_>, scope: &Scope<'_>, owners: &BTreeSet<&PersonId>) -> Option<Terms> {
    let need = fields.required("need", NEED_HINT).and_then(|field| quorum(&field, scope, owners));
    let hint = "write expires = \"30m\": how long a request may wait";
    let expires = fields.required("expires", hint);
    let expires = expires.and_then(|field| span_of(&field, field.word()?));
    let span = |name| match fields.optional(name) {
        Some(field) => span_of(&field, field.word()?),
        None => Some(Span(0)),
    };
    let (execute, delay) = (span("execute"), span("delay"));
    let strength = match fields.optional("credentials") {
        Some(field) => strength(&field),
        None => Some(Strength::Presence),
    };
    let channels = match fields.optional("channels") {
        Some(field) => field.number(1, CHANNELS_MAX),
        None => Some(1),
    };
    Some(Terms {
        need: need?,
        expires: expires?,
        execute: execute?,
        delay: delay?,
        strength: strength?,
        channels: channels?,
    })
}

/// Which signatures count: by hardware, unless somebody wrote "file".
fn strength(field: &Field<'_>) -> Option<Strength> {
    let word = field.word()?;
    let found = STRENGTHS.into_iter().find(|(_, spelling)| *spelling == word.text);
    if found.is_none() {
        let known = &["file", "presence", "verified"];
        field.unknown(word, "word", Vocabulary { known, later: &[] });
    }
    found.map(|(strength, _)| strength)
}

fn owners<'s>(scope: &Scope<'s>, callers: &BTreeSet<CallerId>) -> BTreeSet<&'s PersonId> {
    let owners = callers.iter().filter_map(|caller| scope.names.callers.get(caller)?.as_ref());
    owners.flatten().collect()
}

fn thresholds(field: &Field<'_>, scope: &Scope<'_>) -> Option<Vec<Threshold>> {
    let words = field.one_or_more(THRESHOLDS_MAX)?;
    if words.is_empty() {
        field.fault("is empty", "name an amount, or leave the tier out");
        return None;
    }
    let read: Vec<_> = words.iter().map(|word| threshold(field, *word, scope)).collect();
    let mut seen = BTreeSet::new();
    for (word, threshold) in words.iter().zip(&read) {
        let account = threshold.as_ref().and_then(|threshold| threshold.accounts.first());
        if account.is_some_and(|account| !seen.insert(*account)) {
            let message = format!("{} is a second amount of the same asset", quoted(word.text));
            field.fault_at(word.at, message, "keep the smaller one");
        }
    }
    read.into_iter().collect()
}

fn threshold(field: &Field<'_>, word: Word<'_>, scope: &Scope<'_>) -> Option<Threshold> {
    let unit = split_amount(word.text).map_or("", |(_, unit)| unit);
    if let Some(units) = &scope.units
        && is_coin(unit, units)
    {
        let amount = amount(field, word, units, Zero::Allowed)?;
        let Some(symbol) = scope.native else {
            // If the chains are not known, that was told.
            if !scope.chains.is_empty() {
                field.fault_at(word.at, MIXED_COINS.0, MIXED_COINS.1);
            }
            return None;
        };
        let chains = scope.names.registry.chains_with_native(symbol);
        let accounts = chains.map(|chain| Account { chain, asset: Asset::Native }).collect();
        let threshold = Threshold { accounts, amount };
        return ruled(field, word, scope.ruled.contains(symbol), threshold);
    }
    let Some(thing) = scope.names.things.get(unit) else {
        // Without units it may be in a coin that cannot be read, which was told.
        scope.units.as_ref()?;
        let message = format!("{} has a unit that is no asset of this key", quoted(word.text));
        field.fault_at(word.at, message, "write the key's native coin or a registered token");
        return None;
    };
    let Thing::Token(chain, contract) = *thing.as_ref()? else {
        field.fault_at(word.at, format!("{} is not an asset", quoted(unit)), "name an asset");
        return None;
    };
    let decimals = scope.names.registry.token(chain, contract)?.decimals;
    let amount = amount(field, word, &[UnitDef { name: unit, decimals }], Zero::Allowed)?;
    let account = Account { chain, asset: Asset::Token(contract) };
    let threshold = Threshold { accounts: vec![account], amount };
    ruled(field, word, scope.ruled.contains(unit), threshold)
}

/// Whether the unit is a coin's. A text that has no unit is taken for one, so that it is
/// told what an amount looks like.
fn is_coin(unit: &str, units: &[UnitDef<'_>]) -> bool {
    unit.is_empty() || units.iter().any(|known| known.name == unit)
}

/// The threshold, unless the key has no rule for what it is in. One that lies above a limit is no
/// fault: whoever lowers the limit in a hurry leaves the tiers alone. Lint tells of it.
fn ruled(
    field: &Field<'_>,
    word: Word<'_>,
    has_rule: bool,
    threshold: Threshold,
) -> Option<Threshold> {
    if has_rule {
        return Some(threshold);
    }
    let message = "can never be reached: the key has no rule for it";
    field.fault_at(
        word.at,
        format!("{} {message}", quoted(word.text)),
        "add the rule, or leave it out",
    );
    None
}

/// `"2 of treasury + 1 of security"`.
fn quorum(field: &Field<'_>, scope: &Scope<'_>, owners: &BTreeSet<&PersonId>) -> Option<Quorum> {
    let word = field.word()?;
    let parts = match parts_of(word.text) {
        Ok(parts) => parts,
        Err(bad) => {
            bad.iter().for_each(|bad| bad_quorum(field, bad));
            return None;
        }
    };
    let parts: Vec<Option<QuorumPart>> =
        parts.into_iter().map(|(count, group)| part(field, count, group, scope)).collect();
    let quorum = Quorum { parts: parts.into_iter().collect::<Option<Vec<_>>>()? };
    if !quorum.is_met(|person| !owners.contains(person)) {
        let message = format!("{} can never be met", quoted(word.text));
        let hint = "people who own a caller of this key do not count, and nobody counts twice";
        field.fault(message, hint);
        return None;
    }
    Some(quorum)
}

fn bad_quorum(field: &Field<'_>, bad: &BadQuorum<'_>) {
    match bad {
        BadQuorum::TooManyParts => {
            field.fault(format!("asks for more than {PARTS_MAX} groups"), "join groups");
        }
        BadQuorum::Form(text) => {
            field.fault(format!("{} is not a quorum", quoted(text)), NEED_HINT);
        }
        BadQuorum::Count(text) => {
            field.fault(format!("{} is not a number of people", quoted(text)), NEED_HINT);
        }
        BadQuorum::Repeated => field.fault("names a group twice", "add its numbers up"),
    }
}

fn part(field: &Field<'_>, count: u32, group: &str, scope: &Scope<'_>) -> Option<QuorumPart> {
    let Some(members) = scope.names.groups.get(group) else {
        let known = scope.names.groups.keys().map(String::as_str);
        let hint = match field.nearest(group, known) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "define it under [group]".to_owned(),
        };
        field.fault(format!("unknown group {}", quoted(group)), hint);
        return None;
    };
    Some(QuorumPart { count, group: group.to_owned(), members: members.clone()? })
}

const TIER: Vocabulary = Vocabulary {
    known: &[
        "above",
        "first_payment",
        "need",
        "expires",
        "execute",
        "delay",
        "credentials",
        "channels",
    ],
    later: &[],
};

const NEED_HINT: &str = "write need = \"2 of treasury + 1 of security\"";

/// Amounts that people can keep apart.
const TIERS_MAX: usize = 16;

/// One for each asset of the key.
const THRESHOLDS_MAX: usize = 1_000;

/// The console and the terminal.
const CHANNELS_MAX: u64 = 2;
