//! Which crate may know which: DESIGN's forbidden arrows.

use std::env;
use std::process::Command;

use serde_json::Value;

use super::{none, root};

/// A dependency that a `Cargo.toml` of ours writes down.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Arrow {
    from: String,
    to: String,
    /// Only tests and the like need it.
    dev: bool,
}

/// Our crates, and what of ours each may depend on. A crate that is not here may not exist.
const OURS: [(&str, &[&str]); 10] = [
    ("portcullis-proto", &[]),
    ("portcullis-tlog", &[]),
    ("portcullis-policy", &["portcullis-tlog"]),
    ("portcullis", &["portcullis-policy", "portcullis-proto"]),
    ("portcullis-client", &["portcullis-proto", "portcullis-tlog"]),
    ("portctl", &["portcullis-client", "portcullis-policy"]),
    ("portcullis-fuzz", &["portcullis-policy", "portcullis-proto", "portcullis"]),
    ("portcullis-crash-points", &[]),
    ("portcullis-fault-module", &[]),
    (
        "portcullis-softhsm-tests",
        &["portcullis-client", "portcullis-fault-module", "portcullis-policy", "portcullis-proto"],
    ),
];

/// Of ours, what a crate's tests alone may also use. Of the rig's, only the journal's benchmark
/// links the signer.
const OURS_IN_TESTS: [(&str, &str); 2] =
    [("portctl", "portcullis-proto"), ("portcullis-softhsm-tests", "portcullis")];

/// What a shipped crate must not reach, however far down: itself or any crate it begins.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    // Whoever checks a receipt links neither books nor decisions, nor anything that has a clock.
    (
        "portcullis-tlog",
        &["tokio", "tonic", "prost", "cryptoki", "chrono", "time", "toml", "portcullis"],
    ),
    (
        "portcullis-policy",
        &[
            "tokio",
            "tonic",
            "prost",
            "hyper",
            "cryptoki",
            "governor",
            "tracing",
            "chrono",
            "time",
            "jiff",
            "quanta",
            "portcullis ",
            "portcullis-proto",
            "portcullis-client",
            "portctl",
            "ethers",
            "ring",
        ],
    ),
    ("portcullis-client", &["portcullis-policy", "portcullis ", "cryptoki", "ethers"]),
    ("portcullis-proto", &["portcullis-policy", "portcullis ", "portcullis-client", "cryptoki"]),
    ("portctl", &["portcullis ", "cryptoki", "ethers", "portcullis-softhsm-tests"]),
    ("portcullis", &["ring", "openssl", "ethers", "portcullis-client", "portcullis-softhsm-tests"]),
];

fn cargo(arguments: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo {arguments:?}:\n{said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What the manifests of the workspace say.
fn arrows() -> Vec<Arrow> {
    let metadata =
        cargo(&["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]);
    arrows_in(&serde_json::from_str(&metadata).expect("JSON"))
}

fn arrows_in(metadata: &Value) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let text = |value: &Value| value["name"].as_str().expect("a name").to_owned();
            let dev = dependency["kind"] == "dev";
            arrows.push(Arrow { from: text(package), to: text(dependency), dev });
        }
    }
    arrows
}

/// All that is built into a crate, as `name version`: features as the crate alone asks for them,
/// which `cargo metadata` does not tell apart.
fn reached(package: &str) -> Vec<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--offline",
        "--all-features",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let mut names: Vec<String> = tree.lines().filter_map(name_and_version).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `tokio v1.2.3 (proc-macro) (*)` is `tokio 1.2.3`.
fn name_and_version(line: &str) -> Option<String> {
    let (name, rest) = line.split_once(" v")?;
    Some(format!("{name} {}", rest.split_whitespace().next()?))
}

/// Arrows between crates of ours that DESIGN does not draw.
fn wrong_arrows(arrows: &[Arrow]) -> Vec<String> {
    let ours = |name: &str| OURS.iter().find(|(ours, _)| *ours == name);
    let mut faults = Vec::new();
    for Arrow { from, to, dev } in arrows {
        if to == "ethers-core" && !(from == "portcullis-softhsm-tests" && *dev) {
            faults.push(format!("{from} depends on ethers-core, an oracle of tests only"));
        }
        let Some((_, may)) = ours(from) else {
            faults.push(format!("{from} is no crate of DESIGN section 3"));
            continue;
        };
        if ours(to).is_none() || may.contains(&to.as_str()) {
            continue;
        }
        if !(*dev && OURS_IN_TESTS.contains(&(from.as_str(), to.as_str()))) {
            faults.push(format!("{from} must not depend on {to}"));
        }
    }
    faults
}

/// What is reached of what must not be. A pattern that ends in a space is a whole name; another is
/// also the beginning of `name-something`.
fn forbidden(reached: &[String], patterns: &[&str]) -> Vec<String> {
    let is = |name: &str, pattern: &str| match pattern.strip_suffix(' ') {
        Some(whole) => name == whole,
        None => name == pattern || name.starts_with(&format!("{pattern}-")),
    };
    let name = |crate_: &String| crate_.split(' ').next().unwrap_or_default().to_owned();
    let found = reached.iter().filter(|one| patterns.iter().any(|pattern| is(&name(one), pattern)));
    found.cloned().collect()
}

/// The curve stack must be one, and of the line that alloy speaks.
fn curve_faults(reached: &[String]) -> Vec<String> {
    let curves: Vec<_> = reached.iter().filter(|name| name.starts_with("k256 ")).collect();
    match curves.as_slice() {
        [one] if one.starts_with("k256 0.13.") => Vec::new(),
        other => vec![format!("k256 must be there once, as 0.13: {other:?}")],
    }
}

#[test]
fn our_crates_depend_on_each_other_only_as_the_design_draws() {
    let arrows = arrows();
    none(&wrong_arrows(&arrows));
    for (name, _) in OURS {
        assert!(arrows.iter().any(|arrow| arrow.from == name), "{name} is gone from the workspace");
    }
}

#[test]
fn no_shipped_crate_reaches_what_it_must_not_however_far_down() {
    let mut faults = Vec::new();
    for (package, patterns) in FORBIDDEN {
        let reached = reached(package);
        let own: Vec<String> =
            reached.into_iter().filter(|one| !one.starts_with(&format!("{package} "))).collect();
        let found = forbidden(&own, patterns);
        faults.extend(found.into_iter().map(|found| format!("{package} reaches {found}")));
    }
    none(&faults);
}

#[test]
fn the_signing_process_holds_one_curve_stack() {
    none(&curve_faults(&reached("portcullis")));
}

#[test]
fn a_wrong_arrow_is_found() {
    let metadata = serde_json::json!({ "packages": [
        { "name": "portcullis-client", "dependencies": [
            { "name": "portcullis-policy", "kind": null },
            { "name": "serde", "kind": null },
            { "name": "ethers-core", "kind": "dev" },
        ] },
        { "name": "portctl", "dependencies": [
            { "name": "portcullis-proto", "kind": "dev" },
            { "name": "portcullis-softhsm-tests", "kind": "dev" },
        ] },
        { "name": "portcullis-softhsm-tests", "dependencies": [
            { "name": "ethers-core", "kind": null },
        ] },
        { "name": "portcullis-utils", "dependencies": [{ "name": "serde", "kind": null }] },
    ] });
    let faults = wrong_arrows(&arrows_in(&metadata));
    assert_eq!(
        faults,
        [
            "portcullis-client must not depend on portcullis-policy",
            "portcullis-client depends on ethers-core, an oracle of tests only",
            "portctl must not depend on portcullis-softhsm-tests",
            "portcullis-softhsm-tests depends on ethers-core, an oracle of tests only",
            "portcullis-utils is no crate of DESIGN section 3",
        ]
    );
}

#[test]
fn a_forbidden_crate_deep_in_a_tree_is_found_and_a_like_named_one_is_not() {
    let tree = "tokio-util v0.7.1\ntokio-util v0.7.1 (*)\ntime v0.3.1\ntimely v1.0.0\n\
        portcullis v0.1.0 (/somewhere)\nportcullis-proto v0.1.0 (/somewhere)\n";
    let reached: Vec<String> = tree.lines().filter_map(name_and_version).collect();
    let found = forbidden(&reached, &["tokio", "time", "portcullis "]);
    assert_eq!(found, ["tokio-util 0.7.1", "tokio-util 0.7.1", "time 0.3.1", "portcullis 0.1.0"]);
}

#[test]
fn a_second_or_a_newer_curve_stack_is_found() {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(curve_faults(&names(&["k256 0.13.4", "p256 0.13.2"])).is_empty());
    assert_eq!(curve_faults(&names(&["k256 0.13.4", "k256 0.14.0"])).len(), 1);
    assert_eq!(curve_faults(&names(&["k256 0.14.0"])).len(), 1);
    assert_eq!(curve_faults(&names(&[])).len(), 1);
}
