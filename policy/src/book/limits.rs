//! Reads limits of a book: amounts, windows, rates. "unlimited" is a word that somebody wrote;
//! whatever else cannot be read is a fault.

use std::collections::BTreeSet;

use super::file::{Field, Fields, Word};
use super::units::{InvalidAmount, UnitDef, parse_amount};
use super::words::{Vocabulary, quoted};
use super::{Limit, Limits, Rate, RateRule, Window, Windows};
use crate::money::{Amount, parse_decimal};
use crate::time::Span;

/// `per_tx` and `window` of a rule. `None` after a fault.
pub(super) fn limits(fields: &Fields<'_>, units: &[UnitDef<'_>]) -> Option<Limits> {
    let per_tx = fields.required("per_tx", PER_TX_HINT);
    let per_tx = per_tx.and_then(|field| limit(&field, units, Zero::Fault));
    let hint = "write window = \"AMOUNT / 24h\", several in an array, or \"unlimited\"; what is \
                absent permits nothing";
    let windows = fields.required("window", hint);
    let windows = windows.and_then(|field| windows_of(&field, units));
    let lifetime = fields.optional("lifetime").map(|field| lifetime(&field, units));
    let windows = match (windows?, lifetime) {
        (windows, None) => windows,
        (Windows::Unlimited, Some(lifetime)) => Windows::Each(vec![lifetime?]),
        (Windows::Each(mut each), Some(lifetime)) => {
            each.push(lifetime?);
            Windows::Each(each)
        }
    };
    let unsettled = fields.optional("unsettled");
    let unsettled = unsettled.map(|field| amount(&field, field.word()?, units, Zero::Fault));
    let unsettled = match unsettled {
        Some(amount) => Some(amount?),
        None => None,
    };
    Some(Limits { per_tx: per_tx?, windows, unsettled })
}

/// `lifetime`: a window that nothing ever leaves.
pub(super) fn lifetime(field: &Field<'_>, units: &[UnitDef<'_>]) -> Option<Window> {
    let limit = amount(field, field.word()?, units, Zero::Fault)?;
    Some(Window { limit, span: Span::LIFETIME })
}

/// Whether an amount of zero makes sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zero {
    /// A limit of zero permits nothing.
    Fault,
    /// A fee rate or a threshold of zero says something.
    Allowed,
}

/// An amount or "unlimited". `None` after a fault.
pub(super) fn limit(field: &Field<'_>, units: &[UnitDef<'_>], zero: Zero) -> Option<Limit> {
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
pub(super) fn windows_of(field: &Field<'_>, units: &[UnitDef<'_>]) -> Option<Windows> {
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

/// `rate = { .. }`. `None` after a fault.
pub(super) fn rate(field: &Field<'_>) -> Option<RateRule> {
    let fields = field.fields(RATE)?;
    let hint = "write \"20/s\", \"100/m\" or \"unlimited\"";
    let read = |name| fields.required(name, hint).and_then(|field| rate_of(&field, hint));
    let (per_caller, per_key) = (read("per_caller"), read("per_key"));
    let hint = "write how many requests of one caller may wait for people at once";
    let parked = fields.required("parked", hint);
    let parked = parked.and_then(|field| field.number(0, PARKED_MAX));
    let parked = parked.and_then(|number| u32::try_from(number).ok());
    let nonce_ahead = fields.optional("nonce_ahead").map(|field| field.number(1, 1_000_000));
    let nonce_ahead = match nonce_ahead {
        Some(number) => Some(number?),
        None => None,
    };
    Some(RateRule { per_caller: per_caller?, per_key: per_key?, parked: parked?, nonce_ahead })
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

const RATE: Vocabulary =
    Vocabulary { known: &["per_caller", "per_key", "parked", "nonce_ahead"], later: &[] };

/// What a limit of nothing is told.
pub(super) const LIFETIME_HINT: &str =
    "write window = \"AMOUNT / 24h\", lifetime = \"AMOUNT\", or both";

/// What an absent `per_tx` is told.
pub(super) const PER_TX_HINT: &str =
    "write per_tx = \"AMOUNT\" or \"unlimited\"; what is absent permits nothing";

/// Every window of an account is summed for every decision.
const WINDOWS_MAX: usize = 16;

/// Approvers asked too often stop reading.
const PARKED_MAX: u64 = 10_000;
