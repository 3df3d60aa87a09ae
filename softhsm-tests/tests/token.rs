//! What bad tokens, keys, PINs and folders get, and what the process denies itself: all on the
//! shipped binary and a real token.
//!
//! Needs root: it looks into another process, and runs the signer as a user of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{Key, KeyState};
use portcullis_client::{Client, KeyRef};
use portcullis_softhsm_tests::child::Child;
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::probe::{Probe, ProbeError};
use portcullis_softhsm_tests::server::{Addresses, Server, ServerError};
use portcullis_softhsm_tests::token::{Through, Token, write_secret};
use portcullis_softhsm_tests::wait;
use portcullis_softhsm_tests::witness::Witness;
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, SUPPLIER, Vault, config, ether, payment, reason, sign,
};
use serde_json::Value;

fn vault(through: Through) -> Vault {
    Vault::new(through, &BookText::default().to_string()).unwrap()
}

/// A book in which these keys, too, may do what `hot` may.
fn book_with(labels: &[&str]) -> String {
    let supplier = SUPPLIER.to_checksum(None);
    let rules = labels.iter().map(|label| {
        format!(
            r#"[key.{label}]
callers = ["{PAYOUTS}"]
chains = ["anvil"]
native = {{ to = "{supplier}", per_tx = "10 ETH", window = "25 ETH / 1h" }}
fees = {{ per_tx = "1 ETH", window = "20 ETH / 1h", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
"#
        )
    });
    BookText { more: rules.collect(), ..BookText::default() }.to_string()
}

/// Starts the signer where it must not come up: its exit code, and what it said this time.
fn fails_to_start(vault: &Vault) -> (i32, String) {
    let before = fs::read_to_string(vault.installation.log()).map_or(0, |text| text.len());
    let (status, said) = vault.installation.serve_in_vain().unwrap();
    (status.code().expect("ended by itself"), said[before..].to_owned())
}

/// Every file below a folder, with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

// ---------------------------------------------------------------------------------------------
// PIN, module, token, journal

#[test]
fn a_wrong_pin_is_tried_once_and_ends_the_start() {
    let vault = vault(Through::Faults);
    let wrong = "not-the-pin-77d1";
    write_secret(&vault.token.pin_file(), wrong).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("PIN"), "{said}");
    assert!(!said.contains(wrong), "{said}");
    let faults = vault.token.faults().unwrap();
    assert_eq!(faults.calls("C_Login").unwrap(), 1);

    // The right one still opens the token, with one login for all sessions.
    write_secret(&vault.token.pin_file(), vault.token.pin()).unwrap();
    vault.serve().unwrap().terminate().unwrap();
    assert_eq!(faults.calls("C_Login").unwrap(), 2);
}

#[test]
fn a_pin_file_that_is_missing_or_open_to_others_ends_the_start_before_any_login() {
    let vault = vault(Through::Faults);
    let file = vault.token.pin_file();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("mode 640") && said.contains("chmod 600"), "{said}");

    fs::remove_file(&file).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert_eq!(vault.token.faults().unwrap().calls("C_Login").unwrap(), 0);
}

#[test]
fn a_token_put_in_the_place_of_ours_never_gets_to_see_the_pin() {
    let vault = vault(Through::Faults);
    let faults = vault.token.faults().unwrap();
    // How often a token is asked who it is before there is a session on it.
    faults.set(&["C_OpenSession hang"]).unwrap();
    let child = vault.installation.start().unwrap();
    faults.wait_for_hangs("C_OpenSession", 1).unwrap();
    let asked = faults.calls("C_GetTokenInfo").unwrap();
    child.kill_9().unwrap();

    // Exchanged just before that, and just after.
    for asked in [asked - 1, asked] {
        let ours = format!("C_GetTokenInfo delay 0 next {asked}");
        faults.set(&[&ours, "C_GetTokenInfo other-serial"]).unwrap();
        let (code, said) = fails_to_start(&vault);
        assert_eq!(code, 69, "{said}");
        assert!(said.contains("is now serial number \"another token!!!\""), "{said}");
        assert_eq!(faults.calls("C_Login").unwrap(), 0);
    }

    faults.clear().unwrap();
    vault.serve().unwrap().terminate().unwrap();
    assert_eq!(faults.calls("C_Login").unwrap(), 1);
}

#[test]
fn a_missing_module_and_a_missing_token_end_the_start_and_are_named() {
    let vault = vault(Through::Real);
    let mut settings = vault.settings.clone();
    settings.hsm.token = "another-label".into();
    vault.installation.configure(&settings).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 71, "{said}");
    assert!(said.contains("another-label"), "{said}");

    let mut settings = vault.settings.clone();
    settings.hsm.module = "/nowhere/module.so".into();
    vault.installation.configure(&settings).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("/nowhere/module.so"), "{said}");
}

#[test]
fn a_missing_journal_ends_the_start_and_none_is_made() {
    let vault = vault(Through::Real);
    let data = vault.installation.data();
    fs::remove_dir_all(data).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("there is no journal") && said.contains("restore"), "{said}");
    assert!(!data.exists());

    fs::create_dir(data).unwrap();
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 65, "{said}");
    let made: Vec<PathBuf> = contents(data).into_keys().collect();
    assert!(made.iter().all(|path| path.extension().is_none()), "only a lock: {made:?}");
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let vault = vault(Through::Real);
    let before = contents(vault.installation.data());
    let refused = vault.installation.init(&vault.folder.path().join("genesis.toml")).unwrap_err();
    let ServerError::Ended { status, log } = refused else { panic!("{refused:?}") };
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("holds a journal"), "{log}");
    assert_eq!(contents(vault.installation.data()), before);
}

#[tokio::test]
async fn a_second_process_on_the_same_journal_is_refused_before_it_logs_in() -> Result<(), Failure>
{
    let vault = vault(Through::Faults);
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let faults = vault.token.faults()?;
    let logins = faults.calls("C_Login")?;
    let (code, said) = fails_to_start(&vault);
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("another process holds the journal"), "{said}");
    assert_eq!(faults.calls("C_Login")?, logins);

    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &key, &payment(0, ether(1))).await?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Keys that are not as they were made

/// Attribute codes of PKCS#11 that somebody with the token's files might turn, what to, and what
/// the signer calls it.
const TAMPERINGS: [(&str, u64, bool, &str); 12] = [
    ("extractable", 0x162, true, "is extractable"),
    ("once-extractable", 0x164, false, "was once extractable"),
    ("open", 0x103, false, "is not sensitive"),
    ("once-open", 0x165, false, "was not always sensitive"),
    ("imported", 0x163, false, "was not generated in the token"),
    ("copyable", 0x171, true, "is copyable"),
    ("deriving", 0x10c, true, "may derive"),
    ("decrypting", 0x105, true, "may decrypt"),
    ("unwrapping", 0x107, true, "may unwrap"),
    ("recovering", 0x109, true, "may sign with recovery"),
    ("unfenceable", 0x170, false, "is not modifiable"),
    ("fenced", 0x108, false, "is fenced"),
];

/// The files of the token's private keys. SoftHSM writes an attribute as its code, its kind (1: a
/// truth value, 2: a number) and its value; codes and kinds are 8 bytes, big-endian.
fn private_key_files(token: &Token) -> BTreeSet<PathBuf> {
    let class_private_key = [&0u64.to_be_bytes()[..], &2u64.to_be_bytes(), &3u64.to_be_bytes()];
    let needle = class_private_key.concat();
    let objects = contents(&token.objects()).into_iter();
    let private = objects.filter(|(path, bytes)| {
        let object = path.extension().is_some_and(|ending| ending == "object");
        object && bytes.windows(needle.len()).any(|window| window == needle)
    });
    private.map(|(path, _)| path).collect()
}

/// Turns a truth value of a key at rest.
fn tamper(file: &Path, attribute: u64, value: bool) {
    let mut bytes = fs::read(file).unwrap();
    let needle = [attribute.to_be_bytes(), 1u64.to_be_bytes()].concat();
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter_map(|(at, window)| (window == needle).then_some(at + needle.len()))
        .collect();
    let [at] = places[..] else { panic!("attribute {attribute:#x} is at {places:?}") };
    assert_eq!(bytes[at] != 0, !value, "attribute {attribute:#x} is so already");
    bytes[at] = if value { 0xff } else { 0 };
    fs::write(file, bytes).unwrap();
}

/// The stops that the signer itself recorded: the key and why.
async fn stops_by_the_signer(vault: &Vault, server: &Server) -> Vec<(String, String)> {
    let lines = vault.export(server).await.unwrap();
    let records = lines.iter().filter(|(sequence, _)| *sequence > 0);
    let stops = records.filter_map(|(_, line)| {
        let entry: Value = serde_json::from_slice(line).unwrap();
        let stop = &entry["record"]["frozen"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        (stop["by"] == "signer")
            .then(|| (text(&stop["scope"]["key"]).unwrap(), text(&stop["reason"]).unwrap()))
    });
    stops.collect()
}

fn portctl(vault: &Vault, server: &Server, arguments: &[&str]) -> String {
    let config = vault.person(server, "ada").unwrap();
    let output = Command::new(place::binary("portctl").unwrap())
        .args(arguments)
        .args(["--output", "json", "--endpoint", &config.endpoint])
        .args([Path::new("--ca"), &config.ca, Path::new("--certificate"), &config.certificate])
        .args([Path::new("--private-key"), &config.private_key])
        .current_dir(vault.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn shown(vault: &Vault, server: &Server, label: &str) -> Key {
    vault.control(server, "ada").await.unwrap().key(label).await.unwrap()
}

#[tokio::test]
async fn a_key_that_drifted_is_frozen_at_the_start_and_says_so_while_other_keys_sign()
-> Result<(), Failure> {
    let labels = TAMPERINGS.map(|(label, ..)| label);
    let vault = Vault::new(Through::Real, &book_with(&labels))?;
    let server = vault.serve()?;
    let hot = vault.hot_key(&server).await?;
    let mut keys: BTreeMap<&str, (KeyRef, PathBuf)> = BTreeMap::new();
    for label in labels {
        let before = private_key_files(&vault.token);
        let key = vault.key(&server, label).await?;
        let mut made = private_key_files(&vault.token);
        made.retain(|file| !before.contains(file));
        keys.insert(label, (key, made.pop_first().expect("a file for the key")));
        assert!(made.is_empty());
    }
    server.terminate()?;
    for (label, attribute, value, _) in TAMPERINGS {
        tamper(&keys[label].1, attribute, value);
    }

    let server = vault.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    for (nonce, (label, _, _, what)) in (0u64..).zip(TAMPERINGS) {
        let key = &keys[label].0;
        assert_eq!(reason(&payouts, key, &payment(nonce, ether(1))).await, "FROZEN", "{label}");
        let seen = shown(&vault, &server, label).await;
        assert_eq!(seen.state(), KeyState::Frozen, "{label}");
        assert!(seen.trouble.contains(what), "{label}: {:?}", seen.trouble);
    }
    sign(&payouts, &hot, &payment(0, ether(1))).await?;
    assert_eq!(shown(&vault, &server, "hot").await.trouble, "");

    let stops = stops_by_the_signer(&vault, &server).await;
    assert_eq!(stops.len(), TAMPERINGS.len(), "{stops:?}");
    for (label, _, _, what) in TAMPERINGS {
        let id = keys[label].0.id.to_string();
        assert!(stops.iter().any(|(key, why)| *key == id && why.contains(what)), "{label}");
    }
    let show = portctl(&vault, &server, &["key", "show", "copyable"]);
    let show: Value = serde_json::from_str(&show)?;
    assert_eq!(show["state"], "frozen");
    assert!(show["trouble"].as_str().is_some_and(|text| text.contains("is copyable")), "{show}");
    let status = portctl(&vault, &server, &["status"]);
    let id = keys["copyable"].0.id.to_string();
    assert!(status.contains(&id) && status.contains("is copyable"), "{status}");
    server.terminate()?;

    // Turned back, a key stays frozen: nothing is healed by forgetting, and no stop is recorded
    // twice.
    for (label, attribute, value, _) in TAMPERINGS {
        tamper(&keys[label].1, attribute, !value);
    }
    let server = vault.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    for (label, (key, _)) in &keys {
        assert_eq!(reason(&payouts, key, &payment(99, ether(1))).await, "FROZEN", "{label}");
    }
    assert_eq!(stops_by_the_signer(&vault, &server).await.len(), TAMPERINGS.len());
    Ok(())
}

#[tokio::test]
async fn absent_doubled_and_replaced_keys_are_frozen_and_strangers_are_reported()
-> Result<(), Failure> {
    let labels = ["absent", "doubled", "replaced", "swapped", "spare"];
    let vault = Vault::new(Through::Real, &book_with(&labels))?;
    let server = vault.serve()?;
    let hot = vault.hot_key(&server).await?;
    let mut keys = BTreeMap::new();
    for label in labels {
        keys.insert(label, vault.key(&server, label).await?);
    }
    server.terminate()?;

    let witness = Witness::of(&vault.token);
    let delete = |label: &str| {
        let id = keys[label].id.to_string();
        for kind in ["privkey", "pubkey"] {
            witness.run(&["--delete-object", "--type", kind, "--id", &id]).unwrap();
        }
    };
    let generate = |label: &str, id: &str| {
        let curve = "EC:secp256k1";
        let made = ["--keypairgen", "--key-type", curve, "--label", label, "--id", id];
        witness.run(&made).unwrap();
    };
    delete("absent");
    generate("doubled", &keys["doubled"].id.to_string());
    delete("replaced");
    generate("replaced", &keys["replaced"].id.to_string());
    // Made by the signer itself, so that nothing but its point is wrong, and that is gone.
    delete("swapped");
    let [spare, swapped] = ["spare", "swapped"].map(|label| keys[label].id.to_string());
    for (kind, id) in [("pubkey", &swapped), ("privkey", &swapped)] {
        witness.run(&["--set-id", id, "--type", kind, "--id", &spare]).unwrap();
    }
    witness.run(&["--delete-object", "--type", "pubkey", "--id", &swapped]).unwrap();
    let strange = "00112233445566778899aabbccddeeff";
    generate("stranger", strange);
    let on_token = witness.private_keys()?;
    assert_eq!(on_token.len(), 7, "doubled twice, and one more each: {on_token:?}");
    assert!(!witness.run(&["--list-objects", "--type", "pubkey"])?.contains(&swapped));

    let server = vault.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    let wanted = [
        ("absent", "absent"),
        ("doubled", "more than once"),
        ("replaced", "drifted"),
        ("swapped", "not that of the pinned point"),
        ("spare", "absent"),
    ];
    for (label, what) in wanted {
        let refused = reason(&payouts, &keys[label], &payment(0, ether(1))).await;
        assert_eq!(refused, "FROZEN", "{label}");
        let seen = shown(&vault, &server, label).await;
        assert_eq!(seen.state(), KeyState::Frozen, "{label}");
        assert!(seen.trouble.contains(what), "{label}: {:?}", seen.trouble);
    }
    assert_eq!(stops_by_the_signer(&vault, &server).await.len(), wanted.len());
    sign(&payouts, &hot, &payment(0, ether(1))).await?;

    let status = vault.control(&server, "ada").await?.status().await?;
    assert!(status.serving, "other keys sign: {status:?}");
    let told =
        status.troubles.iter().any(|line| line.contains("unknown") && line.contains("stranger"));
    assert!(told, "{:?}", status.troubles);
    let unknown = KeyRef { id: strange.parse()?, address: hot.address };
    assert_eq!(reason(&payouts, &unknown, &payment(1, ether(1))).await, "KEY_UNKNOWN");
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Keys as they are made

#[tokio::test]
async fn a_created_key_has_every_attribute_it_must_and_cannot_be_taken_out() -> Result<(), Failure>
{
    let vault = vault(Through::Real);
    let server = vault.serve()?;
    let hot = vault.hot_key(&server).await?;

    let witness = Witness::of(&vault.token);
    let seen = witness.private_keys()?;
    assert_eq!(seen.len(), 2, "it, and the key that signs checkpoints: {seen:?}");
    for seen in &seen {
        assert_eq!(seen.usage, ["sign"], "{seen:?}");
        assert_eq!(seen.access, ["sensitive", "always sensitive", "never extractable", "local"]);
    }
    let seen = seen.iter().find(|seen| seen.label == "hot").unwrap();
    assert_eq!(seen.id, hot.id.to_string());
    assert!(witness.take_out(&seen.id)?.is_empty());

    let mut probe = Probe::start(&vault.token)?;
    let flags = String::from_utf8(probe.ask("flags hot")?)?;
    let mut flags: Vec<&str> = flags.split(' ').collect();
    flags.sort_unstable();
    let wanted = [
        "AlwaysSensitive(true)",
        "Copyable(false)",
        "Decrypt(false)",
        "Derive(false)",
        "Extractable(false)",
        "Local(true)",
        "Modifiable(true)",
        "NeverExtractable(true)",
        "Private(true)",
        "Sensitive(true)",
        "Sign(true)",
        "SignRecover(false)",
        "Token(true)",
        "Unwrap(false)",
    ];
    assert_eq!(flags, wanted);

    // What is refused here succeeds on a key that was made to be taken: the asking is sound.
    probe.ask("generate-extractable lax")?;
    for theft in ["read-out", "wrap-out", "copy-out", "copy"] {
        let refused = probe.ask(&format!("{theft} hot"));
        assert!(matches!(refused, Err(ProbeError::Refused { .. })), "{theft}: {refused:?}");
        probe.ask(&format!("{theft} lax"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_gives_its_points_bare_is_used_like_any_other() -> Result<(), Failure> {
    let vault = vault(Through::Faults);
    vault.token.faults()?.set(&["C_GetAttributeValue raw-point"])?;
    let server = vault.serve()?;
    let hot = vault.hot_key(&server).await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &hot, &payment(0, ether(1))).await?;
    drop(payouts);
    server.terminate()?;

    let server = vault.serve()?;
    assert_eq!(shown(&vault, &server, "hot").await.trouble, "");
    assert!(stops_by_the_signer(&vault, &server).await.is_empty());
    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &hot, &payment(1, ether(1))).await?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// The process

/// The signer as a user who is not root, talkative, from a copy of the shipped binary.
struct Unprivileged {
    child: Child,
    addresses: Addresses,
}

const NOBODY: u32 = 65_534;

impl Unprivileged {
    fn start(vault: &Vault) -> Self {
        let folder = vault.folder.path();
        let binary = folder.join("portcullis");
        fs::copy(place::binary("portcullis").unwrap(), &binary).unwrap();
        let given = Command::new("chown")
            .args(["-R", &format!("{NOBODY}:{NOBODY}")])
            .args([folder, vault.token.pin_file().parent().unwrap()])
            .status()
            .unwrap();
        assert!(given.success(), "this test runs the signer as another user, which takes root");
        let mut command = as_nobody(&binary);
        command.args(["serve", "--config"]).arg(vault.installation.config());
        command.envs(vault.token.environment()).env("RUST_LOG", "trace");
        let mut child = Child::start(command, vault.installation.log()).unwrap();
        let path = vault.installation.data().join("addresses.json");
        let ready = wait::until("the signer to be ready", || {
            assert!(child.ended().unwrap().is_none(), "{}", child.log().unwrap());
            let addresses: Addresses = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            let answer = http::get(addresses.loopback, "/readyz").ok()?;
            (answer.status == 200).then_some(addresses)
        });
        Self { addresses: ready.unwrap(), child }
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.pid())).join(file)
    }
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    let user = format!("--reuid={NOBODY}");
    let group = format!("--regid={NOBODY}");
    command.args([user.as_str(), &group, "--clear-groups"]).arg(program);
    command
}

#[test]
fn the_process_dumps_no_core_lets_nobody_look_into_it_and_gains_no_privilege() {
    let vault = vault(Through::Real);
    let signer = Unprivileged::start(&vault);
    let status = fs::read_to_string(signer.proc("status")).unwrap();
    let line = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(line("NoNewPrivs"), "1");
    assert_eq!(line("Umask"), "0077");
    assert!(line("Uid").starts_with(&NOBODY.to_string()));
    let limits = fs::read_to_string(signer.proc("limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);

    // The kernel gives the files of a process that may be dumped to its user, and those of one
    // that may not to root.
    let mut ordinary = as_nobody(Path::new("sleep"));
    ordinary.arg("600");
    let ordinary = Child::start(ordinary, &vault.folder.path().join("sleep.log")).unwrap();
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid();
    wait::until("an ordinary process of that user", || {
        (owner(ordinary.pid()) == NOBODY).then_some(())
    })
    .unwrap();
    assert_eq!(owner(signer.child.pid()), 0);
    let mem = signer.proc("mem");
    let look = as_nobody(Path::new("head")).args(["-c", "1"]).arg(&mem).output().unwrap();
    let said = String::from_utf8(look.stderr).unwrap();
    assert!(said.contains("Permission denied"), "{said}");
}

#[tokio::test]
async fn the_pin_is_nowhere_outside_of_its_file() {
    let vault = vault(Through::Real);
    let signer = Unprivileged::start(&vault);
    let issued = vault.services.issue(&Leaf::client_uri("payouts", PAYOUTS)).unwrap();
    let endpoint = format!("https://{}", signer.addresses.data_plane);
    let payouts = Client::connect(&config(&endpoint, &vault.services, &issued)).await.unwrap();
    assert!(payouts.list_keys().await.unwrap().is_empty());
    let pin = vault.token.pin();
    let metrics = http::get(signer.addresses.loopback, "/metrics").unwrap().body;
    let mut places = vec![("metrics".to_owned(), metrics)];
    for file in ["cmdline", "environ"] {
        places.push((file.to_owned(), fs::read(signer.proc(file)).unwrap()));
    }
    signer.child.terminate().unwrap();
    let files = contents(vault.folder.path()).into_iter();
    places.extend(files.map(|(path, bytes)| (path.display().to_string(), bytes)));
    for wanted in ["addresses.json", ".journal", "portcullis.log", "portcullis.toml"] {
        assert!(places.iter().any(|(name, _)| name.ends_with(wanted)), "{wanted}");
    }
    for (name, bytes) in &places {
        assert!(!holds(bytes, pin), "the PIN is in {name}");
    }
    let log = &places.iter().find(|(name, _)| name.ends_with("portcullis.log")).unwrap().1;
    assert!(holds(log, "TRACE"), "the log was to be talkative");
    assert!(holds(&fs::read(vault.token.pin_file()).unwrap(), pin), "what was looked for");
}

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> BTreeSet<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inodes = links.filter_map(|link| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    inodes.collect()
}

/// Of all TCP sockets that a process can see: inode and local port. The first line is a heading.
fn tcp(pid: u32) -> BTreeMap<u64, u16> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
    let mut ports = BTreeMap::new();
    for text in [table("tcp"), table("tcp6")] {
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words[1].rsplit(':').next().unwrap();
            ports.insert(words[9].parse().unwrap(), u16::from_str_radix(port, 16).unwrap());
        }
    }
    ports
}

/// The inodes of all local sockets that have no name: a process talking to itself.
fn nameless(pid: u32) -> BTreeSet<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap();
    let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.len() == 7).map(|words| words[6].parse().unwrap()).collect()
}

#[tokio::test]
async fn the_process_opens_no_connection_of_its_own() -> Result<(), Failure> {
    let vault = vault(Through::Real);
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &key, &payment(0, ether(1))).await?;
    vault.control(&server, "sam").await?.freeze(Scope::Key("hot".into()), "drill").await?;
    assert_eq!(reason(&payouts, &key, &payment(1, ether(1))).await, "FROZEN");

    let Addresses { data_plane, control_plane, loopback, stop_orders } = server.addresses();
    let listening = [data_plane, control_plane, loopback, stop_orders];
    let listening = listening.map(|address: SocketAddr| address.port());
    // A connection that just ended is in one list and not in the other: look again.
    let mine = wait::until("every socket to be accounted for", || {
        let open = sockets(server.pid());
        let (tcp, nameless) = (tcp(server.pid()), nameless(server.pid()));
        let known = open.iter().all(|inode| tcp.contains_key(inode) || nameless.contains(inode));
        let mine = open.iter().filter_map(|inode| tcp.get(inode).copied());
        known.then(|| mine.collect::<Vec<u16>>())
    })?;
    assert!(mine.len() > listening.len(), "the listeners and our connections: {mine:?}");
    for port in &mine {
        assert!(listening.contains(port), "a socket at {port}, which nothing listens on");
    }
    // The same looking finds the connection that this test opened.
    let ours = tcp(std::process::id());
    let ours =
        sockets(std::process::id()).into_iter().filter_map(|inode| ours.get(&inode).copied());
    assert!(ours.into_iter().any(|port| !listening.contains(&port)));
    Ok(())
}
