//! What `audit verify` found out, for people and for machines.

use portcullis_policy::id::Sequence;
use portcullis_policy::verify::{Level, Report};
use serde_json::{Value, json};

use crate::output::{fields, hex0x};

/// `known`: who signs the checkpoints was given, and not taken from the journal.
pub(super) fn human(report: &Report, known: bool) -> String {
    let kinds = report.kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    let mut lines = vec![
        ("vault", vault(report)),
        ("records", report.size.to_string()),
        ("root", hex0x(report.root.as_slice())),
        ("kinds", kinds.collect::<Vec<_>>().join(", ")),
        ("decisions made again", report.repeated.to_string()),
    ];
    if !report.not_repeated.is_empty() {
        let list = list(&report.not_repeated);
        lines.push(("not made again: they counted requests without a record", list));
    }
    if !report.withheld.is_empty() {
        lines.push(("not made again: what was asked for is left out", list(&report.withheld)));
    }
    if let Some(journal) = &report.journal {
        let whose = if known { "" } else { ", as the journal itself says" };
        lines.push(("checkpoints by", format!("{journal}{whose}")));
    }
    let (attested, size) = (report.attested, report.size);
    lines.push(("attested", format!("{attested} of {size} records")));
    lines.extend(Level::ALL.map(|level| (level.name(), standing(report, level))));
    let wrong = report.discrepancies.iter().take(SHOWN_MAX);
    lines.extend(wrong.map(|found| ("wrong", format!("record {}: {}", found.at, found.what))));
    let more = report.discrepancies.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines.push(("wrong", format!("and {more} more: --output json lists them")));
    }
    lines.push(("verdict", verdict(report)));
    fields(&lines)
}

fn verdict(report: &Report) -> String {
    if !report.discrepancies.is_empty() {
        return "not verified".to_owned();
    }
    let mut verdict = "the journal explains itself".to_owned();
    match report.unattested() {
        0 => {}
        all if all == report.size => verdict.push_str("; nobody attests it"),
        some => verdict.push_str(&format!("; nobody attests its last {some} records")),
    }
    if !report.withheld.is_empty() {
        verdict.push_str("; not all of it was made again");
    }
    verdict
}

fn standing(report: &Report, level: Level) -> String {
    let wrong = report.discrepancies.iter().filter(|found| found.level == level).count();
    if wrong > 0 {
        return format!("wrong in {wrong} places");
    }
    if let (Some(at), Level::People | Level::Replay) = (report.ended, level) {
        return format!("not looked at from record {at} on");
    }
    match report.first_wrong() {
        Some(Level::Form) => "not looked at".to_owned(),
        Some(first) if first < level => format!("nothing is wrong, but {first} is"),
        Some(_) | None => match level {
            Level::Tree if report.attested == 0 => "no checkpoint".to_owned(),
            Level::Replay if !report.withheld.is_empty() => "not all of it".to_owned(),
            Level::Form | Level::Tree | Level::People | Level::Replay => "good".to_owned(),
        },
    }
}

/// What nobody should overlook.
pub(super) fn warnings(report: &Report, known: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.unattested() > 0 {
        warnings.push(format!(
            "no checkpoint attests the last {} records: who could edit the file could have added, \
             changed or taken away any of them",
            report.unattested()
        ));
    }
    if report.attested > 0 && !known {
        warnings.push(
            "the key of the checkpoints is the journal's own word: hold it against what \
             `portctl audit checkpoint` printed on another day, with --journal"
                .to_owned(),
        );
    }
    warnings
}

pub(super) fn json(report: &Report, against_head: bool) -> Value {
    let level = |level: Level| {
        let of_level = report.discrepancies.iter().filter(|found| found.level == level);
        json!({
            "level": level.name(),
            "good": report.is_good(level),
            "wrong": of_level.count(),
        })
    };
    let wrong = report.discrepancies.iter();
    let wrong = wrong.map(|found| format!("record {}: {}", found.at, found.what));
    json!({
        "verified": report.discrepancies.is_empty() && report.withheld.is_empty(),
        "vault_id": vault(report),
        "size": report.size,
        "root": hex0x(report.root.as_slice()),
        "kinds": report.kinds,
        "repeated": report.repeated,
        "not_repeated": numbers(&report.not_repeated),
        "withheld": numbers(&report.withheld),
        "ended": report.ended.map(|at| at.0),
        "attested": report.attested,
        "unattested": report.unattested(),
        "journal": report.journal.as_ref().map(ToString::to_string),
        "levels": Level::ALL.map(level),
        "against_head": against_head,
        "wrong": wrong.collect::<Vec<_>>(),
    })
}

fn numbers(sequences: &[Sequence]) -> Vec<u64> {
    sequences.iter().map(|at| at.0).collect()
}

fn list(sequences: &[Sequence]) -> String {
    sequences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn vault(report: &Report) -> String {
    report.vault.as_ref().map_or_else(|| "none".to_owned(), |vault| hex0x(vault.0.as_slice()))
}

/// A journal that is damaged in one place may be wrong in thousands.
const SHOWN_MAX: usize = 20;
