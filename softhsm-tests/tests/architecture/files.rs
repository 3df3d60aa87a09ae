//! What a file looks like: module comment, width, length; and what the top folder holds.

use std::fs;
use std::path::Path;

use super::{none, root};

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl File {
    /// The lines before the file's own tests.
    pub(crate) fn shipped(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        lines[..tests.unwrap_or(lines.len())].to_vec()
    }

    /// Whether all of it is only for tests.
    pub(crate) fn is_test(&self) -> bool {
        let tests = ["/tests/", "/tests.rs", "/testing.rs"];
        tests.iter().any(|part| self.path.contains(part))
            || self.path.starts_with("softhsm-tests/")
            || self.path.starts_with("fuzz/")
    }

    fn is_generated(&self) -> bool {
        self.path.starts_with("proto/src/gen/")
    }
}

/// All files whose name ends so, in order of path.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", endings, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 3, "the sources are not where they were looked for");
    found
}

fn walk(folder: &Path, prefix: &str, endings: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a UTF-8 name");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), endings, found);
        } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(File { path, text: fs::read_to_string(entry.path()).expect("text") });
        }
    }
}

/// Folders of builds and tools.
const NOT_OURS: [&str; 5] = ["target", ".git", ".portcullis", "node_modules", "corpus"];

/// Files of more than 400 lines without their tests, and why each is better whole.
const LONG: [(&str, &str); 1] = [(
    "policy/src/state/mod.rs",
    "one fold: each record's effect beside the others it must agree with",
)];

const LINES_MAX: usize = 400;

/// An excuse is idle from here down, so that a file about the limit does not gain and lose it.
const LINES_IDLE: usize = 350;

const COLUMNS_MAX: usize = 100;

/// DESIGN section 3, and what a repository needs.
const TOP: [&str; 19] = [
    "proto",
    "policy",
    "signer",
    "client",
    "ctl",
    "console",
    "softhsm-tests",
    "fuzz",
    "deploy",
    "docs",
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "rustfmt.toml",
    "LICENSE",
    "SECURITY.md",
    "README.md",
    ".gitignore",
    ".ci",
];

/// Not part of the repository: `.gitignore` names them.
const TOP_IGNORED: [&str; 4] = ["target", ".git", ".portcullis", "node_modules"];

fn without_module_comment(files: &[File]) -> Vec<String> {
    let without = files.iter().filter(|file| !file.text.starts_with("//! "));
    without.map(|file| format!("{} does not begin with its module comment", file.path)).collect()
}

/// Text that stands in a raw string as it is (a book, an expected output) may be as wide as it is.
fn wide_lines(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for File { path, text } in files {
        let mut raw = false;
        for (line, number) in text.lines().zip(1..) {
            let within = raw;
            raw = if within { !line.contains("\"#") } else { opens_raw_string(line) };
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !within {
                faults.push(format!("{path}:{number} has {columns} columns"));
            }
        }
    }
    faults
}

fn opens_raw_string(line: &str) -> bool {
    line.split_once("r#\"").is_some_and(|(_, rest)| !rest.contains("\"#"))
}

/// Too long without a reason, or with a reason and no longer too long.
fn long_files(files: &[File], reasons: &[(&str, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        let lines = file.shipped().len();
        let excused = reasons.iter().any(|(path, _)| *path == file.path);
        if lines > LINES_MAX && !excused {
            faults.push(format!("{} has {lines} lines", file.path));
        }
        if lines <= LINES_IDLE && excused {
            faults.push(format!("{} needs no excuse any more", file.path));
        }
    }
    let gone = reasons.iter().filter(|(path, _)| !files.iter().any(|file| file.path == *path));
    faults.extend(gone.map(|(path, _)| format!("{path} is excused and is not there")));
    faults
}

fn strangers(names: &[String], allowed: &[&str]) -> Vec<String> {
    let strange = names.iter().filter(|name| !allowed.contains(&name.as_str()));
    strange.map(|name| format!("{name} has no place in the top folder")).collect()
}

/// Rust that people write.
fn written() -> Vec<File> {
    files(&[".rs"]).into_iter().filter(|file| !file.is_generated()).collect()
}

#[test]
fn every_rust_file_begins_with_what_it_is_for() {
    none(&without_module_comment(&written()));
}

#[test]
fn no_line_is_wider_than_a_hundred_columns() {
    none(&wide_lines(&written()));
}

#[test]
fn no_file_is_longer_than_four_hundred_lines_without_a_reason() {
    none(&long_files(&written(), &LONG));
}

#[test]
fn the_top_folder_holds_what_the_design_lists_and_nothing_else() {
    let entries = fs::read_dir(root()).expect("the root");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let names: Vec<String> = names.map(|name| name.expect("UTF-8")).collect();
    none(&strangers(&names, &[&TOP[..], &TOP_IGNORED[..]].concat()));
    for must in ["LICENSE", "SECURITY.md", "README.md", "Cargo.lock", "docs", "deploy"] {
        assert!(names.iter().any(|name| name == must), "{must} is missing");
    }
}

fn file(path: &str, text: String) -> File {
    File { path: path.to_owned(), text }
}

#[test]
fn a_file_that_begins_with_code_or_a_plain_comment_is_found() {
    let good = file("a.rs", "//! Says why.\n".into());
    let code = file("b.rs", "use std::fs;\n//! Too late.\n".into());
    let plain = file("c.rs", "// Says nothing to rustdoc.\n".into());
    assert_eq!(without_module_comment(&[good, code, plain]).len(), 2);
}

#[test]
fn a_line_of_a_hundred_and_one_columns_is_found_and_letters_count_not_bytes() {
    let umlauts = "ü".repeat(COLUMNS_MAX);
    let wide = "x".repeat(COLUMNS_MAX + 1);
    let faults = wide_lines(&[file("a.rs", format!("{umlauts}\n{wide}\n"))]);
    assert_eq!(faults, ["a.rs:2 has 101 columns"]);
    let quoted = format!("let a = r#\"x\"#;\nlet b = r#\"\n{wide}\n\"#;\n{wide}\n");
    assert_eq!(wide_lines(&[file("b.rs", quoted)]), ["b.rs:5 has 101 columns"]);
}

#[test]
fn a_long_file_is_found_its_tests_do_not_count_and_an_idle_excuse_is_found_too() {
    let code = "let a = 1;\n".repeat(LINES_MAX);
    let tests = "#[cfg(test)]\nmod tests {\n}\n".to_owned();
    let fits = file("policy/src/a.rs", format!("{code}{tests}{code}"));
    let short = file("policy/src/s.rs", "let a = 1;\n".repeat(LINES_IDLE));
    let long = file("policy/src/b.rs", format!("{code}let b = 1;\n"));
    let suite = file("policy/tests/c.rs", format!("{code}{code}"));
    let all = [fits, short, long, suite];
    assert_eq!(long_files(&all, &[]), ["policy/src/b.rs has 401 lines"]);
    assert_eq!(long_files(&all, &[("policy/src/b.rs", "whole")]), [""; 0]);
    let idle = [("policy/src/b.rs", "whole"), ("policy/src/s.rs", "?"), ("gone.rs", "?")];
    assert_eq!(long_files(&all, &idle).len(), 2);
}

#[test]
fn a_stranger_in_the_top_folder_is_found() {
    let names = ["docs".to_owned(), "misc".to_owned()];
    assert_eq!(strangers(&names, &TOP), ["misc has no place in the top folder"]);
}
