//! The book's semantics as a table: what is asked, what the book says, why, and what is charged.
//!
//! `docs/policy.md` holds the table for people; this holds that it is true.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test"
)]

use portcullis_policy::book::Book;
use portcullis_policy::examples::{Examples, Outcome, Verdict};

const BOOK: &str = include_str!("semantics/book.toml");
const CASES: &str = include_str!("semantics/cases.toml");

fn outcomes() -> Vec<Outcome> {
    let book = Book::parse(BOOK).unwrap_or_else(|faults| {
        let lines: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    });
    Examples::parse(CASES).unwrap().run(&book).unwrap()
}

#[test]
fn every_case_comes_out_as_the_table_says() {
    let outcomes = outcomes();
    let wrong = outcomes.iter().filter(|outcome| !outcome.holds());
    let wrong: Vec<String> = wrong
        .map(|one| {
            let failed = one.findings.iter().filter(|(_, passed)| !passed);
            let failed: Vec<&str> = failed.map(|(said, _)| said.as_str()).collect();
            let (case, step, faults) = (&one.case, one.step, one.faults.join("; "));
            format!("{case}, step {step}: {faults}\n  {}", failed.join("\n  "))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_case_that_says_something_else_is_noticed() {
    let book = Book::parse(BOOK).unwrap();
    for (from, to) in [
        (
            "expect = \"allow\", charge = [\"1.00021 ETH\"",
            "expect = \"deny\", charge = [\"1.00021 ETH\"",
        ),
        ("\"1.00021 ETH\"", "\"1.00022 ETH\""),
        ("reasons = [\"RECIPIENT_NOT_ALLOWED\"]", "reasons = []"),
        ("missing = [\"2 of treasury\"]", "missing = [\"1 of treasury\"]"),
    ] {
        let changed = CASES.replacen(from, to, 1);
        assert_ne!(changed, CASES, "{from}");
        let outcomes = Examples::parse(&changed).unwrap().run(&book).unwrap();
        assert!(outcomes.iter().any(|outcome| !outcome.holds()), "{from} -> {to}");
    }
}

/// Rules that no other table of tests shows.
#[test]
fn every_rule_of_this_table_refuses_something_in_it() {
    let refused: Vec<String> = outcomes().into_iter().flat_map(|one| one.reasons).collect();
    for code in [
        "OPERATOR_NOT_ALLOWED",
        "CONVERSION_NOT_ALLOWED",
        "ARGUMENT_OUT_OF_BOUNDS",
        "VIA_NOT_ALLOWED",
        "DELEGATECALL_NOT_ALLOWED",
        "TYPED_DATA_NOT_ALLOWED",
        "SIGN_IN_ADDRESS_MISMATCH",
        "SIGN_IN_NOT_ALLOWED",
        "SIGN_IN_TOO_LONG",
        "AUTHORIZATION_NOT_ALLOWED",
        "OVER_SHARED_LIMIT",
    ] {
        assert!(refused.iter().any(|reason| reason == code), "{code}");
    }
}

#[test]
fn the_page_for_people_holds_the_same_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let whole = format!("{before}{BEGIN}\n{}{END}{after}", table(&outcomes()));
    if std::env::var("PORTCULLIS_REGENERATE").is_ok() {
        std::fs::write(path, &whole).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == whole, "PORTCULLIS_REGENERATE=1 writes the table in docs/policy.md anew");
}

const BEGIN: &str = "<!-- table: begin -->";
const END: &str = "<!-- table: end -->";

/// A heading for each case and a row for each step.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for one in outcomes {
        if one.step == 1 {
            text.push_str(&format!(
                "\n**{}**\n\n| asked | said | ledger |\n| --- | --- | --- |\n",
                one.case
            ));
        }
        let asked: Vec<&str> = one.asked.iter().map(String::as_str).collect();
        let after = one.after.as_ref().map(|after| format!("{after} later: ")).unwrap_or_default();
        let asked = if asked.is_empty() { "(cannot be read)".to_owned() } else { asked.join("; ") };
        let said = match one.verdict {
            Some(Verdict::Allow) => "signed".to_owned(),
            Some(Verdict::Park) => format!("waits for {}", one.missing.join(", ")),
            Some(Verdict::Deny) | None => {
                let codes = one.reasons.iter().map(|code| format!("`{code}`"));
                format!("refused: {}", codes.collect::<Vec<_>>().join(", "))
            }
        };
        text.push_str(&format!("| {after}{asked} | {said} | {} |\n", one.charge.join(", ")));
    }
    text
}
