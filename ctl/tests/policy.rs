//! The verbs that look at books without a signer: what they print, and how they exit.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const BOOK: &str = include_str!("../../policy/tests/semantics/book.toml");
const CASES: &str = include_str!("../../policy/tests/semantics/cases.toml");

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

fn portctl(args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_portctl")).args(args).output().expect("portctl");
    Ran {
        code: output.status.code().expect("a code"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("write");
    path
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_books_own_examples_hold_and_one_that_does_not_is_shown_with_its_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let book = file(folder.path(), "book.toml", BOOK);
    let cases = file(folder.path(), "cases.toml", CASES);
    let ran = portctl(&["policy", "test", path(&book), path(&cases)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("all as they say"), "{}", ran.out);

    // Treasury lowers a limit: the examples say which answers change.
    let lower =
        file(folder.path(), "lower.toml", &BOOK.replace("\"12 ETH / 1h\"", "\"9 ETH / 1h\""));
    let ran = portctl(&["policy", "test", path(&lower), path(&cases)]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("WRONG A window is rolling"), "{}", ran.out);
    assert!(ran.out.contains("expected allow, and it is deny"), "{}", ran.out);
    let ran = portctl(&["--output", "json", "policy", "test", path(&lower), path(&cases)]);
    assert_eq!(ran.json()["holds"], false);

    let bad =
        file(folder.path(), "bad.toml", "[[case]]\nname = \"x\"\nstep = [{ expect = \"allow\" }]");
    let ran = portctl(&["policy", "test", path(&book), path(&bad)]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("exactly one of transaction"), "{}", ran.err);
}

#[test]
fn lint_fails_on_faults_and_on_foot_guns_and_names_them() {
    let folder = tempfile::tempdir().expect("folder");
    let clean = BOOK.replacen("id = 8453", "id = 8453\nl1_fee = \"0.001 ETH\"", 1);
    let book = file(folder.path(), "book.toml", &clean);
    let ran = portctl(&["policy", "lint", path(&book)]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "nothing found\n"));

    let loose = clean.replacen("per_tx = \"10 ETH\"", "per_tx = \"unlimited\"", 1);
    let loose = file(folder.path(), "loose.toml", &loose);
    let ran = portctl(&["policy", "lint", path(&loose)]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("key.hot.native: one transaction may take everything"), "{}", ran.out);

    let broken = file(folder.path(), "broken.toml", &clean.replacen("per_tx", "per_txx", 1));
    let ran = portctl(&["--output", "json", "policy", "lint", path(&broken)]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json()["found"][0]["code"], "fault");
}

#[test]
fn diff_says_in_numbers_what_is_wider_and_what_is_narrower() {
    let folder = tempfile::tempdir().expect("folder");
    let old = file(folder.path(), "old.toml", BOOK);
    let new = BOOK.replace("\"12 ETH / 1h\"", "\"11 ETH / 1h\"");
    let narrower = file(folder.path(), "narrower.toml", &new);
    let ran = portctl(&["policy", "diff", path(&old), path(&narrower)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("native window 12 ETH / 1h -> 11 ETH / 1h"), "{}", ran.out);
    assert!(ran.out.contains("it only narrows"), "{}", ran.out);
    let ran = portctl(&["--output", "json", "policy", "diff", path(&narrower), path(&old)]);
    assert_eq!(ran.json()["narrowing"], false);
    let ran = portctl(&["policy", "diff", path(&old), path(&old)]);
    assert!(ran.out.contains("exactly the same"), "{}", ran.out);
}

#[test]
fn explain_shows_every_rule_and_exits_as_the_decision() {
    let folder = tempfile::tempdir().expect("folder");
    let book = file(folder.path(), "book.toml", BOOK);
    // 1 ETH to the supplier, 21,000 gas at 10 gwei.
    let hex = "0x02f00180843b9aca008502540be400825208941111111111111111111111111111111111111111\
               880de0b6b3a764000080c0";
    let args = ["policy", "explain", "--book", path(&book), "--key", "hot", "--hex", hex];
    let asked = |caller: &str| portctl(&[&args[..], &["--caller", caller]].concat());
    let ran = asked("spiffe://acme/payouts");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("✓ native.window 1h: 1.00021 ETH of at most 12 ETH, 10.99979 ETH left")
    );
    let ran = asked("spiffe://evil/x");
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("✗ callers: spiffe://evil/x"), "{}", ran.out);
}
