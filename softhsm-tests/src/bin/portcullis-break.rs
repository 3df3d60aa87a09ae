//! Breaks one rule at a time in a copy of the tree, and checks that the test named for it fails.
//!
//! A test that no break can make fail proves nothing. The breaks stand in
//! `softhsm-tests/breaks.toml`; the tree itself is never touched.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use serde::Deserialize;

/// Breaks one rule at a time, and checks that the test named for it notices.
#[derive(Parser)]
struct Arguments {
    /// The workspace to copy.
    #[arg(long)]
    root: PathBuf,
    /// Where the copy and its build go; kept, so that the next run is quick.
    #[arg(long)]
    work: PathBuf,
    /// Only the breaks whose name contains this. May be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// List them and do nothing.
    #[arg(long)]
    list: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaks {
    r#break: Vec<Break>,
}

/// One rule broken on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Break {
    /// What is broken, in a few words.
    name: String,
    /// Of DESIGN section 2.
    invariant: u32,
    /// What is changed.
    edit: Vec<Edit>,
    /// The package of the test.
    package: String,
    /// `lib`, or the name of an integration test.
    target: String,
    /// The test's full name.
    test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    /// Must stand in the file exactly once.
    find: String,
    replace: String,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{path} cannot be used")]
    File { path: PathBuf, source: std::io::Error },
    #[error("breaks.toml is not understood")]
    Breaks(#[from] toml::de::Error),
    #[error("{what} failed")]
    Command { what: String },
    #[error("{file}: the text to change stands there {times} times, not once")]
    Stale { file: PathBuf, times: usize },
}

/// Packages whose tests run the shipped binaries.
const BLACK_BOX: [&str; 1] = ["portcullis-softhsm-tests"];

/// What came of running a test.
#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    /// It was not run: it does not compile, or there is no such test.
    NotRun,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            println!("failed: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Fault> {
    let list = arguments.root.join("softhsm-tests/breaks.toml");
    let breaks: Breaks = toml::from_str(&read(&list)?)?;
    let only = &arguments.only;
    let asked = |one: &&Break| {
        only.is_empty() || only.iter().any(|words| one.name.contains(words.as_str()))
    };
    let chosen: Vec<&Break> = breaks.r#break.iter().filter(asked).collect();
    if arguments.list {
        for one in &chosen {
            println!("{:>2}  {:<58}  {}", one.invariant, one.name, one.test);
        }
        return Ok(true);
    }
    let tree = arguments.work.join("tree");
    copy(&arguments.root, &tree)?;
    let target = arguments.work.join("target");
    println!("building and running every named test as things are ({} breaks)", chosen.len());
    // All of them before the first break: then each break costs one build instead of two.
    let sound: Vec<bool> =
        chosen.iter().map(|one| passes(one, &tree, &target)).collect::<Result<_, _>>()?;
    let mut good = true;
    println!("{:>2}  {:<58}  {:<11}  test", "in", "break", "verdict");
    for (one, sound) in chosen.into_iter().zip(sound) {
        let verdict = if sound { verdict(one, &tree, &target)? } else { "bad test" };
        good &= verdict == "noticed";
        println!("{:>2}  {:<58}  {verdict:<11}  {}", one.invariant, one.name, one.test);
    }
    Ok(good)
}

fn passes(one: &Break, tree: &Path, target: &Path) -> Result<bool, Fault> {
    test(one, tree, target).map(|outcome| outcome == Outcome::Passed)
}

/// The test, which passes as things are, must fail once the rule is broken.
fn verdict(one: &Break, tree: &Path, target: &Path) -> Result<&'static str, Fault> {
    let originals: Result<Vec<String>, Fault> =
        one.edit.iter().map(|edit| read(&tree.join(&edit.file))).collect();
    let originals = originals?;
    for edit in &one.edit {
        apply(edit, tree)?;
    }
    let outcome = test(one, tree, target);
    for (edit, original) in one.edit.iter().zip(originals).rev() {
        write(&tree.join(&edit.file), &original)?;
    }
    Ok(match outcome? {
        Outcome::Failed => "noticed",
        Outcome::Passed => "UNNOTICED",
        Outcome::NotRun => "no verdict",
    })
}

fn apply(edit: &Edit, tree: &Path) -> Result<(), Fault> {
    let path = tree.join(&edit.file);
    let text = read(&path)?;
    let times = text.matches(&edit.find).count();
    if times != 1 {
        return Err(Fault::Stale { file: edit.file.clone(), times });
    }
    write(&path, &text.replace(&edit.find, &edit.replace))
}

fn test(one: &Break, tree: &Path, target: &Path) -> Result<Outcome, Fault> {
    // Black-box suites run the shipped binaries, which a test's build does not make.
    if BLACK_BOX.contains(&one.package.as_str()) {
        let build = ["build", "--release", "--locked", "-p", "portcullis", "-p", "portctl"];
        let built = cargo(tree, target, &build)?;
        if !built.status.success() {
            complain(&built.stderr);
            return Ok(Outcome::NotRun);
        }
    }
    let mut words = vec!["test", "--release", "--locked", "-p", &one.package];
    if one.target == "lib" {
        words.push("--lib");
    } else {
        words.extend(["--test", &one.target]);
    }
    words.extend(["--", "--exact", &one.test]);
    let output = cargo(tree, target, &words)?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(if said.contains("test result: ok. 1 passed") {
        Outcome::Passed
    } else if said.contains("test result: FAILED. 0 passed; 1 failed") {
        Outcome::Failed
    } else {
        complain(&output.stderr);
        Outcome::NotRun
    })
}

/// Why a test was not run: what was said last.
fn complain(said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
    println!("    not run: {}", errors.join("; "));
}

fn cargo(tree: &Path, target: &Path, words: &[&str]) -> Result<std::process::Output, Fault> {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(tree).env("CARGO_TARGET_DIR", target);
    // Many small changes, each of which is built once: what is built quickly matters here.
    command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    // The suites find the binaries beside themselves, and must not be sent elsewhere.
    command.env_remove("PORTCULLIS_BIN_DIR").env_remove("PORTCULLIS_FAULT_MODULE");
    command.output().map_err(|_| Fault::Command { what: "cargo".into() })
}

/// What git tracks, as it is in the working tree; untouched files keep their times, so that only
/// what changed since the last run is built again.
fn copy(root: &Path, tree: &Path) -> Result<(), Fault> {
    let listed = Command::new("git").arg("ls-files").current_dir(root).output();
    let listed = listed.map_err(|_| Fault::Command { what: "git ls-files".into() })?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    remove_others(tree, &listed.lines().map(|name| tree.join(name)).collect())?;
    for name in listed.lines() {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(content) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|source| fault(folder, source))?;
        }
        fs::copy(&from, &to).map_err(|source| fault(&to, source))?;
        let now =
            fs::File::open(&to).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        now.map_err(|source| fault(&to, source))?;
    }
    Ok(())
}

/// What an earlier run copied and is gone since, such as a file that was moved.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), Fault> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).map_err(|source| fault(&path, source))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|source| fault(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text).map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: std::io::Error) -> Fault {
    Fault::File { path: path.to_owned(), source }
}
