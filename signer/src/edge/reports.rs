//! Reads what watchers, pricers and whoever ran a drill report. Believes nothing of it: that is the
//! sequencer's part.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use portcullis_policy::id::{ChainId, PersonId, StepName};
use portcullis_policy::money::parse_decimal;
use portcullis_policy::record::{Drilled, Priced, Settled, SettledAllowance};
use portcullis_policy::time::{Millis, Span};
use portcullis_proto::v1::{ReportDrillRequest, ReportPricesRequest, ReportSettlementRequest};

use crate::refusal::Refusal;
use crate::sequencer::View;

/// A watcher's report.
pub(super) fn settled(
    view: &View,
    by: PersonId,
    request: &ReportSettlementRequest,
) -> Result<Settled, Refusal> {
    let name = &request.key;
    let found = view.key_named(name).map(|(id, _)| id);
    let key = found.ok_or_else(|| Refusal::NotFound { kind: "key", name: name.clone() })?;
    let chain = ChainId(request.chain_id);
    if view.book.registry().chain(chain).is_none() {
        return Err(bad("chain_id", "is not a chain of the book in force"));
    }
    if request.allowances.len() > ALLOWANCES_MAX {
        return Err(bad("allowances", "are more than 1,000: report them in parts"));
    }
    let allowances = request.allowances.iter().map(|one| {
        let address = |bytes: &[u8]| Address::try_from(bytes).ok();
        let read = (address(&one.token), address(&one.spender), parse_decimal(&one.amount));
        match read {
            (Some(token), Some(spender), Some(amount)) => {
                Ok(SettledAllowance { amount, spender, token })
            }
            _ => Err(bad("allowances", "need 20 bytes, 20 bytes and a decimal amount each")),
        }
    });
    let allowances: Vec<SettledAllowance> = allowances.collect::<Result<_, _>>()?;
    let named: BTreeSet<_> = allowances.iter().map(|one| (one.token, one.spender)).collect();
    if named.len() != allowances.len() {
        return Err(bad("allowances", "name a token and spender twice"));
    }
    let (nonce, read_at) = (request.nonce.to_string(), request.read_at_ms.map(Millis));
    Ok(Settled { allowances, by, chain, key, nonce, read_at })
}

/// A pricer's report.
pub(super) fn priced(
    view: &View,
    by: PersonId,
    request: ReportPricesRequest,
) -> Result<Priced, Refusal> {
    if request.prices.is_empty() || request.prices.len() > PRICES_MAX {
        return Err(bad("prices", "must be 1 to 1,000"));
    }
    let mut prices = BTreeMap::new();
    for price in request.prices {
        let named = (1..=64).contains(&price.asset.len()) && price.asset.is_ascii();
        let amount = parse_decimal(&price.micro_usd).filter(|_| named);
        let amount =
            amount.ok_or_else(|| bad("prices", "need a name and a decimal number each"))?;
        if !view.book.registry().has_asset(&price.asset) {
            let problem = format!("{} is no coin or asset of the book in force", price.asset);
            return Err(bad("prices", &problem));
        }
        if prices.insert(price.asset, amount).is_some() {
            return Err(bad("prices", "name an asset twice"));
        }
    }
    Ok(Priced { by, prices })
}

/// A drill, by whoever ran it.
pub(super) fn drilled(
    view: &View,
    by: PersonId,
    request: ReportDrillRequest,
) -> Result<Drilled, Refusal> {
    let ReportDrillRequest { drill, key: name, good, evidence, steps } = request;
    let drill = drill.parse().map_err(|error| Refusal::bad_name("drill", &error))?;
    let found = view.key_named(&name).map(|(id, _)| id);
    let key = found.ok_or(Refusal::NotFound { kind: "key", name })?;
    let evidence = B256::try_from(evidence.as_slice());
    let evidence = evidence.map_err(|_| bad("evidence", "must be a SHA-256: 32 bytes"))?;
    let (mut measured, mut missed) = (BTreeMap::new(), BTreeSet::new());
    for step in steps {
        let name: StepName =
            step.name.parse().map_err(|error| Refusal::bad_name("steps", &error))?;
        if step.missed {
            missed.insert(name.clone());
        }
        if measured.insert(name, Span(step.took_ms)).is_some() {
            return Err(bad("steps", "name a step twice"));
        }
    }
    Ok(Drilled { by, drill, evidence, good, key, measured, missed })
}

fn bad(field: &'static str, problem: &str) -> Refusal {
    Refusal::BadField { field, problem: problem.into() }
}

const ALLOWANCES_MAX: usize = 1_000;

const PRICES_MAX: usize = 1_000;
