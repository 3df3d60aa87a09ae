//! A report as tables: what the text and the page both say, in the same order.

use std::collections::BTreeMap;

use portcullis_policy::book::{Registry, asset_name, format_amount};
use portcullis_policy::money::{Account, Asset};
use portcullis_policy::utc::rfc3339;

use super::Told;
use super::gather::{At, Deed};
use super::stops::{Stop, names};
use super::tally::{ByCode, Requests, Sum, Sums, Tally};
use crate::paper::grouped;

/// One table, and what is to be known about it.
pub(super) struct Section {
    pub(super) title: &'static str,
    /// Below it.
    pub(super) remark: &'static str,
    /// Columns; those of numbers begin with `#`.
    pub(super) heading: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

/// What is said of the report itself.
pub(super) fn facts(told: &Told<'_>) -> Vec<(&'static str, String)> {
    let found = told.found;
    let mut facts = vec![
        ("vault", told.vault()),
        ("environment", found.environment.to_owned()),
        ("export", told.file.display().to_string()),
        (
            "records",
            format!("{}, {} to {}", told.checked.size, place(found.first), place(found.last)),
        ),
        ("root", told.root()),
        ("checked", told.level()),
        ("not checked", told.unchecked()),
        ("period", told.period.words()),
    ];
    if let Some(first) = found.first_within {
        let (within, last) = (grouped(found.within), found.last_within);
        facts.push(("in it", format!("{within} records, {} to {}", place(first), place(last))));
    }
    if !told.only.is_empty() {
        let only = told.only.join(", ");
        let told = "requests, amounts and stops; people, books and starts are of the whole vault";
        facts.push(("only of keys", format!("{only}: {told}")));
    }
    facts
}

/// Every table, in order.
pub(super) fn sections(told: &Told<'_>) -> Vec<Section> {
    let (mut keys, mut callers) = (BTreeMap::new(), BTreeMap::new());
    let mut all = Tally::default();
    for ((key, caller), tally) in &told.found.tallies {
        keys.entry(told.found.name(*key)).or_insert_with(Tally::default).add(tally);
        callers.entry(caller.to_string()).or_insert_with(Tally::default).add(tally);
        all.add(tally);
    }
    vec![
        outcomes(&all.requests),
        requests("Requests by key", &KEY, &keys),
        requests("Requests by caller", &CALLER, &callers),
        assets(&all.sums),
        amounts("Amounts by key", &["Key", "Asset", "#Sum", "#Largest", "In record"], &keys),
        amounts(
            "Amounts by caller",
            &["Caller", "Asset", "#Sum", "#Largest", "In record"],
            &callers,
        ),
        stops(told),
        voters(told),
        approved(told),
        deeds(told),
        starts(told),
    ]
}

fn outcomes(all: &Requests) -> Section {
    let mut rows = Vec::new();
    let mut row = |what: &str, count: u64, why: &str| {
        rows.push(vec![what.to_owned(), grouped(count), why.to_owned()]);
    };
    row("signed", all.signed, "");
    if all.again > 0 {
        row("of these, again", all.again, "the same digest: charged once");
    }
    let by_code: [(&str, &ByCode); 4] = [
        ("refused", &all.refused),
        ("refused, only counted", &all.suppressed),
        ("signed and withheld", &all.withheld),
        ("failed", &all.failed),
    ];
    row("waiting for people", all.parked, "");
    for (what, codes) in by_code {
        row(what, codes.total(), "");
        for (code, count) in codes.iter() {
            row("", count, code);
        }
    }
    let remark = "Each request is counted once, under its first reason. One that waited is counted \
                  again as what became of it.";
    Section { title: "Requests", remark, heading: &["Outcome", "#Requests", "Why"], rows }
}

const KEY: [&str; 8] =
    ["Key", "#Signed", "#Refused", "#Parked", "#Withheld", "#Failed", "#Suppressed", "Why refused"];
const CALLER: [&str; 8] = [
    "Caller",
    "#Signed",
    "#Refused",
    "#Parked",
    "#Withheld",
    "#Failed",
    "#Suppressed",
    "Why refused",
];

fn requests(
    title: &'static str,
    heading: &'static [&'static str],
    all: &BTreeMap<String, Tally>,
) -> Section {
    let row = |(name, tally): (&String, &Tally)| {
        let all = &tally.requests;
        let why = all.refused.iter().map(|(code, count)| format!("{} {code}", grouped(count)));
        vec![
            name.clone(),
            grouped(all.signed),
            grouped(all.refused.total()),
            grouped(all.parked),
            grouped(all.withheld.total()),
            grouped(all.failed.total()),
            grouped(all.suppressed.total()),
            why.collect::<Vec<_>>().join(", "),
        ]
    };
    Section { title, remark: "", heading, rows: all.iter().map(row).collect() }
}

fn assets(sums: &Sums) -> Section {
    let row = |(account, sum): (Account, &Sum)| {
        let (largest, at) = largest(account, sum);
        let unlimited = if sum.unlimited == 0 { String::new() } else { grouped(sum.unlimited) };
        vec![
            asset(account, sum),
            grouped(sum.signatures),
            total(account, sum),
            largest,
            at,
            unlimited,
        ]
    };
    let remark = "What was signed may cost at most so much: alternatives for one nonce count once, \
                  with the most of them, and an allowance counts as spent. Coin includes fees at \
                  their worst case, which are told by themselves too. Unlimited is what has no \
                  bound: it is counted, and in no sum.";
    Section {
        title: "Amounts",
        remark,
        heading: &["Asset", "#Signatures", "#Sum", "#Largest", "In record", "#Unlimited"],
        rows: told_sums(sums).map(row).collect(),
    }
}

fn amounts(
    title: &'static str,
    heading: &'static [&'static str],
    all: &BTreeMap<String, Tally>,
) -> Section {
    let rows = all.iter().flat_map(|(name, tally)| {
        told_sums(&tally.sums).map(move |(account, sum)| {
            let (largest, at) = largest(account, sum);
            vec![name.clone(), asset(account, sum), total(account, sum), largest, at]
        })
    });
    Section { title, remark: "", heading, rows: rows.collect() }
}

/// The number of requests is told as such.
fn told_sums(sums: &Sums) -> impl Iterator<Item = (Account, &Sum)> {
    sums.iter().filter(|(account, _)| account.asset != Asset::Requests)
}

/// What a sum is of.
pub(super) fn asset(account: Account, sum: &Sum) -> String {
    let name = asset_name(&sum.units, account);
    match account.asset {
        Asset::Native => format!("{name} on {}, with fees", chain(&sum.units, account)),
        Asset::Fee => format!("{name} on {}, fees alone", chain(&sum.units, account)),
        Asset::Token(_) => format!("{name} on {}", chain(&sum.units, account)),
        Asset::Requests => "requests".to_owned(),
        Asset::Usd => "worth in USD, by reported prices".to_owned(),
    }
}

fn chain(registry: &Registry, account: Account) -> String {
    let named = registry.chain(account.chain).map(|chain| chain.name.clone());
    named.unwrap_or_else(|| format!("chain {}", account.chain))
}

fn total(account: Account, sum: &Sum) -> String {
    let bounded = format_amount(&sum.units, account, sum.total.to_amount_saturating());
    match sum.unlimited {
        0 => bounded,
        count => format!("{bounded}, and {count} × unlimited"),
    }
}

fn largest(account: Account, sum: &Sum) -> (String, String) {
    match sum.largest {
        None => ("unlimited".to_owned(), String::new()),
        Some((amount, at)) => (format_amount(&sum.units, account, amount), at.to_string()),
    }
}

fn stops(told: &Told<'_>) -> Section {
    let last = told.found.last.1;
    let row = |stop: &Stop| {
        vec![
            stop.at.0.to_string(),
            rfc3339(stop.at.1.0),
            told.found.scope(&stop.scope),
            stop.by.clone(),
            stop.why.clone(),
            stop.lasted(last),
            stop.end(),
        ]
    };
    Section {
        title: "Stops",
        remark: "All that were in force in the period. How long is until the thaw, or until the \
                 last record of the export.",
        heading: &["#Record", "Since", "What", "By", "Why", "For", "Thawed"],
        rows: told.stops.iter().map(row).collect(),
    }
}

fn voters(told: &Told<'_>) -> Section {
    let rows = told.found.votes.people.iter().map(|(person, voter)| {
        let numbers = [voter.approved, voter.rejected, voter.requests, voter.proposals];
        let numbers = numbers.iter().map(|number| grouped(*number));
        std::iter::once(person.to_string()).chain(numbers).collect()
    });
    Section {
        title: "Votes",
        remark: "",
        heading: &["Person", "#Approved", "#Rejected", "#Requests decided", "#Proposals decided"],
        rows: rows.collect(),
    }
}

fn approved(told: &Told<'_>) -> Section {
    let rows = told.found.votes.requests.iter().map(|one| {
        vec![
            one.at.0.to_string(),
            rfc3339(one.at.1.0),
            one.caller.to_string(),
            told.found.name(one.key),
            one.request.to_string(),
            names(&one.by),
        ]
    });
    Section {
        title: "Requests that people approved",
        remark: "",
        heading: &["#Record", "Signed", "Caller", "Key", "Request", "Approved by"],
        rows: rows.collect(),
    }
}

fn deeds(told: &Told<'_>) -> Section {
    let row = |deed: &Deed| {
        let approved = if deed.approved.is_empty() { String::new() } else { names(&deed.approved) };
        vec![
            deed.at.0.to_string(),
            rfc3339(deed.at.1.0),
            deed.what.clone(),
            deed.by.clone(),
            deed.why.clone(),
            approved,
        ]
    };
    Section {
        title: "Changes to the vault",
        remark: "Keys, books, people, drills and recoveries. What took a quorum names who proposed \
                 it and on whose votes it was done.",
        heading: &["#Record", "Done", "What", "By", "Why", "Approved by"],
        rows: told.found.deeds.iter().map(row).collect(),
    }
}

fn starts(told: &Told<'_>) -> Section {
    let rows = told.found.starts.iter().map(|((sequence, at), started)| {
        let lost = u64::try_from(started.lost.len()).unwrap_or(u64::MAX);
        vec![
            sequence.to_string(),
            rfc3339(at.0),
            started.epoch.to_string(),
            started.version.clone(),
            grouped(started.cut),
            grouped(lost),
        ]
    });
    Section {
        title: "Starts",
        remark: "Bytes cut are those of a batch that nobody had seen; decisions lost were open \
                 when the process before ended, and nobody got a signature of them.",
        heading: &["#Record", "Time", "#Start", "Version", "#Bytes cut", "#Decisions lost"],
        rows: rows.collect(),
    }
}

fn place((sequence, at): At) -> String {
    format!("record {sequence} at {}", rfc3339(at.0))
}
