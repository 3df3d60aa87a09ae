//! What the runbooks tell people to type: every command stands, word for word but for names, in one
//! test that runs it.

use std::fs;

use super::files::{File, files};
use super::{none, root};

/// A line to be typed, and where it stands.
struct Typed {
    page: String,
    line: String,
}

/// All lines of `sh` blocks.
fn typed(page: &str, text: &str) -> Vec<Typed> {
    let (mut inside, mut lines) = (false, Vec::new());
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            lines.push(Typed { page: page.to_owned(), line: line.to_owned() });
        }
    }
    lines
}

/// The words that are not names of the reader's own: verbs and options. Names are in capitals or in
/// quotes; a file has a dot.
fn fixed(line: &str) -> Vec<String> {
    let (mut quoted, mut bare) = (false, String::new());
    for character in line.chars() {
        quoted ^= character == '"';
        bare.push(if quoted || character == '"' { ' ' } else { character });
    }
    let words = bare.split_whitespace().skip(1).map(str::to_owned);
    let own = |word: &String| {
        let name = word.chars().any(|one| one.is_ascii_uppercase()) && !word.starts_with('-');
        name || word.contains(['.', '/', '=', '>', '@', '$', '('])
    };
    words.filter(|word| !own(word)).collect()
}

/// Lines that no one test has all the fixed words of, each as a string by itself.
fn unproven(lines: &[Typed], tests: &[File]) -> Vec<String> {
    let is_proven = |line: &str| {
        let program = line.split_whitespace().next().unwrap_or_default();
        let mut words = fixed(line);
        // `portctl` is run by helpers of that name.
        if program != "portctl" {
            words.push(program.to_owned());
        }
        let all = |file: &File| words.iter().all(|word| file.text.contains(&format!("\"{word}\"")));
        !words.is_empty() && tests.iter().any(all)
    };
    let lines = lines.iter().filter(|typed| !is_proven(&typed.line));
    lines.map(|Typed { page, line }| format!("{page}: no test runs: {line}")).collect()
}

#[test]
fn every_command_of_a_runbook_is_run_by_a_test() {
    let mut lines = Vec::new();
    for entry in fs::read_dir(root().join("docs/runbooks")).expect("runbooks") {
        let path = entry.expect("a page").path();
        let text = fs::read_to_string(&path).expect("a page");
        lines.extend(typed(&path.file_name().expect("a name").to_string_lossy(), &text));
    }
    assert!(lines.len() > 15, "the runbooks say nothing to type");
    let tests: Vec<File> = files(&[".rs"]).into_iter().filter(File::is_test).collect();
    none(&unproven(&lines, &tests));
}

#[test]
fn a_command_that_no_test_runs_is_found() {
    let test = File {
        path: "ctl/tests/a.rs".into(),
        text: "portctl([\"drain\", \"run\", \"hot\", \"--rpc\", url])".into(),
    };
    let page = "text\n```sh\nportctl drain run KEY --rpc CHAIN=URL\n```\nportctl no code\n";
    let lines = typed("a.md", page);
    assert_eq!(lines.len(), 1);
    assert_eq!(unproven(&lines, std::slice::from_ref(&test)), [""; 0]);
    for wrong in ["drain run KEY --rpcs X=Y", "drain walk KEY", "freeze KEY --reason \"drain run\""]
    {
        let lines = typed("a.md", &format!("```sh\nportctl {wrong}\n```\n"));
        assert_eq!(unproven(&lines, std::slice::from_ref(&test)).len(), 1, "{wrong}");
    }
    let other = typed("a.md", "```sh\nrm -rf KEY\n```\n");
    assert_eq!(unproven(&other, &[test]).len(), 1);
}
