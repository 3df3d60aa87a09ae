//! The table of invariants in `docs/architecture.md` against the tree: what it names must exist.

use std::collections::BTreeSet;

use super::files::{File, files};
use super::none;

const INVARIANTS: usize = 14;

/// One invariant as the table has it: `| 1 | what | enforcers | tests |`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    number: usize,
    enforcers: Vec<String>,
    tests: Vec<String>,
}

/// All rows that begin with a number, with the words in backticks of their last two cells.
fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &["", number, _what, enforcers, tests, ""] = cells.as_slice() else { continue };
        let Ok(number) = number.parse() else { continue };
        rows.push(Row { number, enforcers: quoted(enforcers), tests: quoted(tests) });
    }
    rows
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Everything a row names and the tree lacks. A word with a `/` is a file. In the enforcers any
/// other is a name that stands in one of the files named there; in the tests it is a function of
/// one of the files named there.
fn faults(rows: &[Row], tree: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    let numbers: BTreeSet<usize> = rows.iter().map(|row| row.number).collect();
    let missing = (1..=INVARIANTS).filter(|number| !numbers.contains(number));
    faults.extend(missing.map(|number| format!("invariant {number} has no row")));
    for Row { number, enforcers, tests } in rows {
        let stands = |text: &str, name: &str| text.contains(name);
        let runs = |text: &str, name: &str| text.contains(&format!("fn {name}("));
        check(*number, "enforcer", enforcers, tree, &stands, &mut faults);
        check(*number, "test", tests, tree, &runs, &mut faults);
    }
    faults
}

fn check(
    number: usize,
    what: &str,
    names: &[String],
    tree: &[File],
    is_in: &dyn Fn(&str, &str) -> bool,
    faults: &mut Vec<String>,
) {
    let (paths, words): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.contains('/'));
    if words.is_empty() || paths.is_empty() {
        faults.push(format!("invariant {number} names no {what} with its file"));
    }
    let there = |path: &String| tree.iter().find(|file| file.path == *path);
    for path in &paths {
        if there(path).is_none() {
            faults.push(format!("invariant {number}: {path} is not there"));
        }
    }
    for word in words {
        // `Reserved::attach` stands where `attach` does.
        let name = word.rsplit("::").next().unwrap_or(word).trim_end_matches("()");
        let found = paths.iter().filter_map(|path| there(path)).any(|file| is_in(&file.text, name));
        if !found {
            faults.push(format!("invariant {number}: {what} {word} is in none of its files"));
        }
    }
}

fn page() -> String {
    let found = files(&[".md"]).into_iter().find(|file| file.path == "docs/architecture.md");
    found.expect("docs/architecture.md").text
}

#[test]
fn every_invariant_names_enforcers_and_tests_that_exist() {
    none(&faults(&rows(&page()), &files(&[".rs", ".toml"])));
}

#[test]
fn every_file_that_the_architecture_page_names_exists() {
    let mut gone = Vec::new();
    for name in page().lines().flat_map(quoted) {
        let folder = name.split('/').next().unwrap_or_default();
        let ours = ["proto", "policy", "signer", "client", "ctl", "softhsm-tests", "fuzz", "docs"];
        let is_path = ours.contains(&folder) && name.contains('/') && !name.contains([' ', '*']);
        if is_path && !super::root().join(&name).exists() {
            gone.push(format!("{name} is not there"));
        }
    }
    none(&gone);
}

/// What a break changes must stand in its file, once: a rule that was moved would not be broken,
/// and nobody would hear of it before the next whole run.
#[test]
fn every_break_finds_what_it_changes_and_the_test_that_must_notice() {
    let tree = files(&[".rs", ".toml"]);
    let text = |path: &str| tree.iter().find(|file| file.path == path).map(|file| &file.text);
    let breaks: toml::Table = text("softhsm-tests/breaks.toml").unwrap().parse().unwrap();
    let word = |table: &toml::Value, name: &str| table[name].as_str().unwrap().to_owned();
    let mut stale = Vec::new();
    for one in breaks["break"].as_array().unwrap() {
        let name = word(one, "name");
        for edit in one["edit"].as_array().unwrap() {
            let (path, find) = (word(edit, "file"), word(edit, "find"));
            let times = text(&path).map_or(0, |text| text.matches(&find).count());
            if times != 1 {
                stale.push(format!("{name}: {find:?} stands {times} times in {path}"));
            }
        }
        let test = word(one, "test");
        let test = format!("fn {}(", test.rsplit("::").next().unwrap());
        if !tree.iter().any(|file| file.text.contains(&test)) {
            stale.push(format!("{name}: there is no {test}..)"));
        }
    }
    none(&stale);
}

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_row_that_names_what_is_gone_is_found_and_so_is_a_row_that_is_gone() {
    let tree = [
        file("a/b.rs", "pub fn attach(self) {}"),
        file("a/tests/c.rs", "#[test]\nfn it_holds() {}"),
    ];
    let good = "| 1 | Keys | `Reserved::attach` in `a/b.rs` | `it_holds` in `a/tests/c.rs` |";
    let found = rows(good);
    assert_eq!(found[0].enforcers, ["Reserved::attach", "a/b.rs"]);
    let of_first = |page: &str| {
        let faults = faults(&rows(page), &tree);
        faults.into_iter().filter(|fault| !fault.ends_with("has no row")).collect::<Vec<_>>()
    };
    assert_eq!(of_first(good), [""; 0]);
    assert_eq!(faults(&found, &tree).len(), INVARIANTS - 1, "rows 2 to 14 are gone");
    assert_eq!(of_first(&good.replace("it_holds", "it_held")).len(), 1);
    assert_eq!(of_first(&good.replace("attach", "detach")).len(), 1);
    assert_eq!(of_first(&good.replace("`a/b.rs`", "`a/z.rs`")).len(), 2);
    assert_eq!(of_first("| 1 | Keys | by care | by luck |").len(), 2);
    // A name that is only mentioned is no test.
    let mentioned = [file("a/b.rs", "attach"), file("a/tests/c.rs", "// it_holds()")];
    assert_eq!(faults(&found, &mentioned).len(), INVARIANTS);
}
