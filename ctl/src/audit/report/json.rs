//! A report for programs. docs/operations.md lists the fields; they are only added to.

use std::collections::BTreeMap;

use portcullis_policy::book::{asset_name, format_amount};
use portcullis_policy::id::KeyId;
use portcullis_policy::money::{Account, Asset};
use portcullis_policy::time::Millis;
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use super::Told;
use super::gather::At;
use super::stops::Stop;
use super::tally::{ByCode, Requests, Sum, Sums, Tally};

pub(super) fn render(told: &Told<'_>) -> Value {
    let found = told.found;
    let (mut keys, mut callers) = (BTreeMap::new(), BTreeMap::new());
    let mut all = Tally::default();
    for ((key, caller), tally) in &found.tallies {
        keys.entry(*key).or_insert_with(Tally::default).add(tally);
        callers.entry(caller.to_string()).or_insert_with(Tally::default).add(tally);
        all.add(tally);
    }
    json!({
        "report": FORM,
        "file": told.file,
        "checked": {
            "level": "bytes_and_tree",
            "size": told.checked.size,
            "root": told.root(),
            "not_checked": ["decisions", "votes"],
            "next": told.next(),
        },
        "vault_id": told.vault(),
        "environment": found.environment,
        "first": place(found.first),
        "last": place(found.last),
        "period": {
            "from": told.period.from.map(time),
            "until": told.period.until.map(time),
            "records": found.within,
            "first": found.first_within.map(place),
            "last": found.first_within.map(|_| place(found.last_within)),
        },
        "only_keys": told.only,
        "requests": requests(&all.requests),
        "amounts": amounts(&all.sums),
        "by_key": keys.iter().map(|(key, tally)| of_key(told, *key, tally)).collect::<Vec<_>>(),
        "by_caller": callers.iter().map(|(caller, tally)| json!({
            "caller": caller,
            "requests": requests(&tally.requests),
            "amounts": amounts(&tally.sums),
        })).collect::<Vec<_>>(),
        "stops": told.stops.iter().map(|one| stop(told, one)).collect::<Vec<_>>(),
        "votes": votes(told),
        "approved_requests": approved(told),
        "changes": changes(told),
        "starts": starts(told),
    })
}

fn requests(all: &Requests) -> Value {
    let by_code = |codes: &ByCode| {
        let reasons: BTreeMap<&str, u64> = codes.iter().collect();
        json!({ "total": codes.total(), "by_reason": reasons })
    };
    json!({
        "signed": all.signed,
        "signed_again": all.again,
        "parked": all.parked,
        "refused": by_code(&all.refused),
        "withheld": by_code(&all.withheld),
        "failed": by_code(&all.failed),
        "suppressed": by_code(&all.suppressed),
    })
}

fn of_key(told: &Told<'_>, key: KeyId, tally: &Tally) -> Value {
    let known = told.found.keys.get(&key);
    json!({
        "key_id": key,
        "label": known.map(|key| &key.label),
        "address": known.and_then(|key| key.address.as_ref()),
        "requests": requests(&tally.requests),
        "amounts": amounts(&tally.sums),
    })
}

fn amounts(sums: &Sums) -> Vec<Value> {
    sums.iter().map(|(account, sum)| amount(account, sum)).collect()
}

/// Base units as decimal strings, and the same in the book's units.
fn amount(account: Account, sum: &Sum) -> Value {
    let units = |amount| format_amount(&sum.units, account, amount);
    let (asset, token) = match account.asset {
        Asset::Native => ("native", None),
        Asset::Fee => ("fee", None),
        Asset::Token(contract) => ("token", Some(contract.to_checksum(None))),
        Asset::Requests => ("requests", None),
        Asset::Usd => ("usd", None),
    };
    let total = sum.total.to_amount_saturating();
    json!({
        "chain_id": account.chain,
        "asset": asset,
        "token": token,
        "name": asset_name(&sum.units, account),
        "signatures": sum.signatures,
        "sum": total,
        "sum_text": units(total),
        "unlimited": sum.unlimited,
        "largest": sum.largest.map(|(amount, at)| json!({
            "amount": amount,
            "text": units(amount),
            "sequence": at,
        })),
    })
}

fn stop(told: &Told<'_>, stop: &Stop) -> Value {
    json!({
        "scope": stop.scope,
        "what": told.found.scope(&stop.scope),
        "sequence": stop.at.0,
        "at": time(stop.at.1),
        "by": stop.by,
        "reason": stop.why,
        "thawed": stop.thawed.as_ref().map(|thawed| json!({
            "sequence": thawed.at.0,
            "at": time(thawed.at.1),
            "lasted_ms": thawed.at.1.0.saturating_sub(stop.at.1.0),
            "by": thawed.by,
            "reason": thawed.why,
            "approved": thawed.approved,
        })),
    })
}

fn votes(told: &Told<'_>) -> Vec<Value> {
    let people = told.found.votes.people.iter();
    let people = people.map(|(person, voter)| {
        json!({
            "person": person,
            "approved": voter.approved,
            "rejected": voter.rejected,
            "requests_decided": voter.requests,
            "proposals_decided": voter.proposals,
        })
    });
    people.collect()
}

fn approved(told: &Told<'_>) -> Vec<Value> {
    let requests = told.found.votes.requests.iter();
    let requests = requests.map(|one| {
        json!({
            "sequence": one.at.0,
            "at": time(one.at.1),
            "caller": one.caller,
            "key_id": one.key,
            "request_id": one.request,
            "approved": one.by,
        })
    });
    requests.collect()
}

fn changes(told: &Told<'_>) -> Vec<Value> {
    let deeds = told.found.deeds.iter();
    let deeds = deeds.map(|deed| {
        json!({
            "sequence": deed.at.0,
            "at": time(deed.at.1),
            "kind": deed.kind,
            "what": deed.what,
            "by": deed.by,
            "reason": deed.why,
            "approved": deed.approved,
        })
    });
    deeds.collect()
}

fn starts(told: &Told<'_>) -> Vec<Value> {
    let starts = told.found.starts.iter();
    let starts = starts.map(|((sequence, at), started)| {
        json!({
            "sequence": sequence,
            "at": time(*at),
            "epoch": started.epoch,
            "version": started.version,
            "cut_bytes": started.cut,
            "lost_decisions": started.lost,
        })
    });
    starts.collect()
}

fn place((sequence, at): At) -> Value {
    json!({ "sequence": sequence, "at": time(at) })
}

fn time(at: Millis) -> String {
    rfc3339(at.0)
}

/// Of the fields above: a field that goes or means something else makes it 2.
const FORM: u64 = 1;
