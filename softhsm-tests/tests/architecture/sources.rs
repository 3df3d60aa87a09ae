//! What the code may say, and where: one call of `C_Sign`, one reader of the clock, no `unsafe`,
//! nothing left undone.

use super::files::{File, files};
use super::none;

/// Lints that a file of the signer sets aside, and how often. Each is one door: there is no other.
const DOORS: [(&str, usize); 7] = [
    ("signer/src/clock.rs", 1),
    ("signer/src/hsm/fence.rs", 1),
    ("signer/src/hsm/session.rs", 1),
    ("signer/src/journal/disk.rs", 1),
    ("signer/src/pin.rs", 1),
    ("signer/src/rescue/notes.rs", 1),
    ("signer/src/snapshot/file.rs", 1),
];

/// Bans that `signer/clippy.toml` must hold: the doors' other side.
const BANS: [&str; 7] = [
    "cryptoki::session::Session::sign",
    "cryptoki::session::Session::sign_init",
    "cryptoki::session::Session::sign_update",
    "cryptoki::session::Session::sign_final",
    "cryptoki::session::Session::update_attributes",
    "std::time::SystemTime::now",
    "std::time::Instant::now",
];

/// Crates that ship.
const SHIPPED: [&str; 5] = ["proto/", "policy/", "signer/", "client/", "ctl/"];

const SIGNS: [&str; 5] =
    [".sign(&Mechanism", ".sign(&mechanism", ".sign_init(", ".sign_update(", ".sign_final("];

const READS_CLOCK: [&str; 5] =
    ["SystemTime::now", "Instant::now", "clock_gettime(", "Utc::now", ".elapsed()"];

/// Ways to reach somebody. The signer is only ever reached, and reaches its witness.
const CONNECTS: [&str; 8] = [
    "TcpStream::connect",
    "TcpSocket",
    "UdpSocket",
    "UnixStream::connect",
    "UnixDatagram",
    "Endpoint",
    "connect_lazy",
    "to_socket_addrs",
];

/// Where code, not a comment, says one of these: `path:line`.
fn sayings<'a>(files: impl IntoIterator<Item = &'a File>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (line, number) in file.shipped().into_iter().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| says(code, word)) {
                found.push(format!("{}:{number}", file.path));
            }
        }
    }
    found
}

/// Whether code says it as a word of its own: `unsafe` is not in `unsafe_code`.
fn says(code: &str, word: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let open_left = word.starts_with(joins) && before.is_some_and(joins);
        let open_right = word.ends_with(joins) && after.is_some_and(joins);
        !open_left && !open_right
    })
}

/// Files and how often each sets a ban aside.
fn doors(files: &[File]) -> Vec<(String, usize)> {
    let mut doors = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("signer/src/") && !file.is_test())
    {
        let count = sayings([file], &["clippy::disallowed_methods"]).len();
        if count > 0 {
            doors.push((file.path.clone(), count));
        }
    }
    doors
}

/// Bans that a clippy file lacks.
fn lacking(clippy: &str, bans: &[&str]) -> Vec<String> {
    let table: toml::Table = clippy.parse().expect("TOML");
    let listed = table.get("disallowed-methods").and_then(toml::Value::as_array);
    let listed: Vec<&str> = listed.into_iter().flatten().filter_map(path_of).collect();
    let lacking = bans.iter().filter(|ban| !listed.contains(ban));
    lacking.map(|ban| format!("{ban} is not banned")).collect()
}

fn path_of(ban: &toml::Value) -> Option<&str> {
    ban.as_str().or_else(|| ban.get("path")?.as_str())
}

/// What stands on both sides of a C interface, and never ships.
const UNSAFE: [&str; 2] = ["softhsm-tests/crash-points/", "softhsm-tests/fault-module/"];

/// Manifests that do not take the workspace's lints.
fn lax(manifests: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for File { path, text } in manifests {
        let table: toml::Table = text.parse().expect("TOML");
        let lints = table.get("lints");
        let inherits = lints.and_then(|lints| lints.get("workspace")?.as_bool()) == Some(true);
        let workspace = table.get("workspace").is_some();
        let folder = path.trim_end_matches("Cargo.toml");
        if !inherits && !workspace && !UNSAFE.contains(&folder) {
            faults.push(format!("{path} does not take the workspace's lints"));
        }
        let levels = table.get("workspace").and_then(|it| it.get("lints")?.get("rust"));
        let forbids = levels.and_then(|rust| rust.get("unsafe_code")?.as_str()) == Some("forbid");
        if workspace && !forbids {
            faults.push(format!("{path} lets crates go without the rules"));
        }
    }
    faults
}

fn shipped(files: Vec<File>) -> Vec<File> {
    let ships = |file: &File| SHIPPED.iter().any(|part| file.path.starts_with(part));
    files.into_iter().filter(|file| ships(file) && !file.is_test()).collect()
}

fn in_files(sayings: &[String]) -> Vec<&str> {
    sayings.iter().filter_map(|place| Some(place.rsplit_once(':')?.0)).collect()
}

#[test]
fn one_place_in_all_shipped_code_asks_the_token_for_a_signature() {
    let found = sayings(&shipped(files(&[".rs"])), &SIGNS);
    assert_eq!(in_files(&found), ["signer/src/hsm/session.rs"], "{found:?}");
}

#[test]
fn one_file_of_the_signer_reads_a_clock_and_two_of_the_tool_to_show_and_to_measure_time() {
    let found = sayings(&shipped(files(&[".rs"])), &READS_CLOCK);
    let mut places = in_files(&found);
    places.dedup();
    let known = ["ctl/src/approvals/words.rs", "ctl/src/drill/stopwatch.rs", "signer/src/clock.rs"];
    assert_eq!(places, known, "{found:?}");
}

#[test]
fn one_file_of_the_signer_connects_to_its_witness_and_the_rules_to_nothing() {
    let files = shipped(files(&[".rs"]));
    let ours = |file: &&File| file.path.starts_with("signer/") || file.path.starts_with("policy/");
    let found = sayings(files.iter().filter(ours), &CONNECTS);
    assert_eq!(in_files(&found), ["signer/src/witness/remote.rs"], "{found:?}");
}

#[test]
fn the_bans_stand_and_each_is_set_aside_in_its_one_place() {
    let files = files(&[".rs", "clippy.toml"]);
    let clippy = files.iter().find(|file| file.path == "signer/clippy.toml").expect("the bans");
    none(&lacking(&clippy.text, &BANS));
    let expected: Vec<(String, usize)> =
        DOORS.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
    assert_eq!(doors(&files), expected);
    // `expect` and never `allow`: only `expect` notices a ban that stopped biting.
    let shipped = shipped(files);
    let allowed = shipped.iter().filter(|file| {
        let code: String = file.shipped().concat();
        code.split("allow(").skip(1).any(|rest| {
            rest.split(')').next().is_some_and(|lints| lints.contains("disallowed_methods"))
        })
    });
    none(&allowed.map(|file| format!("{} allows a banned method", file.path)).collect::<Vec<_>>());
}

#[test]
fn only_what_spoils_calls_says_unsafe_and_every_crate_takes_the_lints_that_forbid_it() {
    let all = files(&[".rs"]);
    let rest = all.iter().filter(|file| !UNSAFE.iter().any(|one| file.path.starts_with(one)));
    none(&sayings(rest, &[concat!("uns", "afe")]));
    none(&lax(&files(&["Cargo.toml"])));
}

#[test]
fn nothing_is_left_undone() {
    let words = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("FIX", "ME")];
    let mut faults = Vec::new();
    for File { path, text } in files(&[".rs", ".proto", ".toml", ".sh"]) {
        for (line, number) in text.lines().zip(1..) {
            if words.iter().any(|word| line.contains(word)) {
                faults.push(format!("{path}:{number}"));
            }
        }
    }
    none(&faults);
}

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_second_signature_call_is_found_and_comments_and_tests_are_not_code() {
    let one = file("signer/src/hsm/session.rs", "session.sign(&Mechanism::Ecdsa, key, digest)?;");
    let two = file(
        "signer/src/edge/fast.rs",
        "// session.sign(&Mechanism::Ecdsa)\nsession.sign_init(&mechanism, key)?;\n\
        #[cfg(test)]\nmod tests {\nsession.sign(&Mechanism::Ecdsa)\n}",
    );
    assert_eq!(
        sayings(&[one, two], &SIGNS),
        ["signer/src/hsm/session.rs:1", "signer/src/edge/fast.rs:2"]
    );
}

#[test]
fn a_second_clock_is_found() {
    let bad = file("policy/src/decide.rs", "let now = std::time::Instant::now();");
    assert_eq!(sayings(&[bad], &READS_CLOCK), ["policy/src/decide.rs:1"]);
}

#[test]
fn a_connection_of_the_signers_own_is_found() {
    let bad = file("signer/src/hook.rs", "let stream = TcpStream::connect(address).await?;");
    let fine = file("signer/src/edge/a.rs", "let stream: TcpStream = listener.accept().await?;");
    assert_eq!(sayings(&[bad, fine], &CONNECTS), ["signer/src/hook.rs:1"]);
}

#[test]
fn a_ban_that_was_taken_out_or_set_aside_once_more_is_found() {
    let clippy = "disallowed-methods = [\n\
        { path = \"cryptoki::session::Session::sign\", reason = \"one\" }, \"a::b\"]";
    assert_eq!(lacking(clippy, &["a::b", "cryptoki::session::Session::sign"]), [""; 0]);
    assert_eq!(lacking(clippy, &["std::time::Instant::now"]).len(), 1);
    let text = "#[expect(clippy::disallowed_methods, reason = \"a\")]\n".repeat(2);
    let found =
        doors(&[file("signer/src/clock.rs", &text), file("signer/src/hsm/testing.rs", &text)]);
    assert_eq!(found, [("signer/src/clock.rs".to_owned(), 2)]);
}

#[test]
fn an_unsafe_block_is_found_and_the_lint_of_that_name_is_not_one() {
    let word = concat!("uns", "afe");
    let bad = file("a.rs", &format!("#![deny({word}_code)]\n{word} {{ read(pointer) }}"));
    assert_eq!(sayings(&[bad], &[word]), ["a.rs:2"]);
}

#[test]
fn a_crate_without_the_lints_is_found_and_so_is_a_workspace_that_does_not_forbid() {
    let lacking = file("new/Cargo.toml", "[package]\nname = \"new\"\n");
    let own = file("own/Cargo.toml", "[lints.rust]\nunsafe_code = \"allow\"\n");
    let workspace = file("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"warn\"\n");
    let good = file("good/Cargo.toml", "[lints]\nworkspace = true\n");
    assert_eq!(lax(&[lacking, own, workspace, good]).len(), 3);
}
