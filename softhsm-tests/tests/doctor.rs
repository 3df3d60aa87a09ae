//! `portcullis doctor` on tokens that are well and tokens that are not; and the conformance cases
//! on every module there is to be had here: what "works with this HSM" means.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_softhsm_tests::curve::address_of;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::probe::Probe;
use portcullis_softhsm_tests::remote::Remote;
use portcullis_softhsm_tests::token::{LABEL, Through, Token, write_secret};
use serde_json::Value;

/// A configuration of its own for one token.
struct Clinic {
    token: Token,
    folder: tempfile::TempDir,
}

/// What the doctor said, and how it ended.
struct Said {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Clinic {
    fn of(through: Through) -> Self {
        let folder = tempfile::Builder::new().prefix("portcullis-doctor-").tempdir().unwrap();
        Self { token: Token::fresh(through).unwrap(), folder }
    }

    fn configured(&self, module: &Path, label: &str, pin: &Path) -> PathBuf {
        let path = self.folder.path().join("signer.toml");
        let listener = |name: &str| {
            format!(
                "[{name}]\nlisten = \"127.0.0.1:0\"\ncertificate = \"c\"\nprivate_key = \"k\"\n\
                 client_ca = \"a\"\n"
            )
        };
        let text = format!(
            "data = \"data\"\n[hsm]\nmodule = {module:?}\ntoken = {label:?}\npin_file = {pin:?}\n\
             {}{}[loopback]\nlisten = \"127.0.0.1:0\"\n",
            listener("data_plane"),
            listener("control_plane"),
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// As somebody types it, for this token as it is configured here.
    fn ask(&self, config: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(place::binary("portcullis").unwrap());
        command.arg("doctor").arg("--config").arg(config).args(more);
        command.envs(self.token.environment()).output().unwrap()
    }

    fn examined(&self, config: &Path, more: &[&str]) -> Said {
        let more = [&["--json"], more].concat();
        let output = self.ask(config, &more);
        let text = String::from_utf8(output.stdout).unwrap();
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}"));
        let findings = told["findings"].as_array().unwrap().clone();
        Said { code: output.status.code(), findings }
    }

    fn well(&self) -> PathBuf {
        self.configured(self.token.module(), LABEL, &self.token.pin_file())
    }
}

impl Said {
    fn of(&self, about: &str) -> Vec<(&str, &str)> {
        let about = self.findings.iter().filter(|one| one["about"] == about);
        about
            .map(|one| (one["verdict"].as_str().unwrap(), one["found"].as_str().unwrap()))
            .collect()
    }

    fn bad(&self) -> Vec<(&str, &str)> {
        let bad = self.findings.iter().filter(|one| one["verdict"] == "bad");
        bad.map(|one| (one["about"].as_str().unwrap(), one["found"].as_str().unwrap())).collect()
    }

    /// Every case held, in the words that the documentation explains.
    fn conforms(&self) {
        let cases = self.of("conformance");
        assert_eq!(cases.len(), CASES.len(), "{cases:?}");
        for (case, name) in cases.iter().zip(CASES) {
            assert_eq!(case.0, "ok", "{case:?}");
            assert!(case.1.starts_with(name), "{case:?}");
        }
    }
}

const CASES: [&str; 10] = [
    "makes a secp256k1 key as closed as we ask",
    "shows it to every session of the login",
    "signs with it, in every session at once",
    "lets its value out in no form",
    "refuses to copy it",
    "fences it, also for who holds it already",
    "lets it sign again",
    "destroys it, also for who holds it already",
    "makes a key for checkpoints, and signs",
    "keeps a marker of how far the journal came",
];

/// How many objects SoftHSM keeps: one file each, and a lock beside it.
fn objects(token: &Token) -> usize {
    let folders = fs::read_dir(token.objects()).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let objects = files.filter(|file| {
        let name = file.as_ref().unwrap().file_name().into_string().unwrap();
        name.ends_with(".object") && name != "token.object"
    });
    objects.count()
}

#[test]
fn every_module_that_is_here_conforms_and_keeps_nothing_of_it() {
    for through in [Through::Real, Through::Faults] {
        let clinic = Clinic::of(through);
        let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
        assert_eq!(said.bad(), [], "{through:?}");
        assert_eq!(said.code, Some(0));
        said.conforms();
        assert_eq!(objects(&clinic.token), 0, "something was left on the token");
    }
}

#[test]
fn a_networked_hsm_with_somebody_elses_module_conforms() {
    let clinic = Clinic::of(Through::Real);
    let remote = Remote::start(&clinic.token).unwrap();
    let config = clinic.configured(&remote.module(), LABEL, &clinic.token.pin_file());
    let mut command = Command::new(place::binary("portcullis").unwrap());
    command.args(["doctor", "--json", "--conformance", "--measure", "0", "--config"]).arg(config);
    let output = command.envs(remote.environment()).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap().clone();
    let said = Said { code: output.status.code(), findings };
    assert_eq!(said.bad(), []);
    said.conforms();
    assert_eq!(objects(&clinic.token), 0, "something was left on the token");
}

#[test]
fn a_key_that_signs_is_told_and_the_rate_is_measured_with_it() {
    let clinic = Clinic::of(Through::Real);
    let mut probe = Probe::start(&clinic.token).unwrap();
    let point = probe.generate("hot").unwrap();
    drop(probe);
    let said = clinic.examined(&clinic.well(), &["--measure", "1"]);
    let [("ok", key)] = said.of("key")[..] else { panic!("{:?}", said.of("key")) };
    let address = address_of(&point).to_string();
    assert!(key.contains("\"hot\"") && key.contains(&address), "{key} {address}");
    let [(_, rate)] = said.of("rate")[..] else { panic!("{:?}", said.of("rate")) };
    for at_once in ["/s with 1", "/s with 2", "/s with 4"] {
        assert!(rate.contains(at_once), "{rate}");
    }
    assert!(!rate.contains(" 0/s"), "{rate}");
}

#[test]
fn a_key_that_may_do_more_than_sign_is_bad() {
    let clinic = Clinic::of(Through::Real);
    let made = Command::new("pkcs11-tool")
        .args(["--module", place::SOFTHSM_MODULE, "--token-label", LABEL, "--login", "--pin"])
        .args([clinic.token.pin(), "--keypairgen", "--key-type", "EC:secp256k1"])
        .args(["--label", "loose", "--id", "000102030405060708090a0b0c0d0e0f", "--usage-derive"])
        .envs(clinic.token.environment())
        .output()
        .expect("install the Debian package opensc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = clinic.examined(&clinic.well(), &[]);
    assert_eq!(said.code, Some(69));
    let [("key", found)] = said.bad()[..] else { panic!("{:?}", said.bad()) };
    assert!(found.contains("\"loose\"") && found.contains("may derive"), "{found}");
    let [("look", rate)] = said.of("rate")[..] else { panic!("{:?}", said.of("rate")) };
    assert!(rate.contains("not measured"), "{rate}");
}

#[test]
fn a_wrong_label_is_answered_with_the_tokens_there_are() {
    let clinic = Clinic::of(Through::Real);
    let config = clinic.configured(clinic.token.module(), "treasury", &clinic.token.pin_file());
    let said = clinic.examined(&config, &[]);
    assert_eq!(said.code, Some(69));
    let [("token", found)] = said.bad()[..] else { panic!("{:?}", said.bad()) };
    assert!(found.contains("no token with label \"treasury\""), "{found}");
    assert!(found.contains(&format!("{LABEL:?} (serial ")), "{found}");
}

#[test]
fn a_wrong_pin_is_tried_once_and_what_to_do_is_said() {
    let clinic = Clinic::of(Through::Faults);
    let wrong = clinic.folder.path().join("wrong");
    write_secret(&wrong, "not-the-pin-4711").unwrap();
    let config = clinic.configured(clinic.token.module(), LABEL, &wrong);
    let said = clinic.examined(&config, &["--conformance"]);
    assert_eq!(said.code, Some(69));
    let [("login", found)] = said.bad()[..] else { panic!("{:?}", said.bad()) };
    assert!(found.contains("refused the PIN"), "{found}");
    assert_eq!(clinic.token.faults().unwrap().calls("C_Login").unwrap(), 1);
    let text = fs::read_to_string(&wrong).unwrap();
    let output = clinic.ask(&config, &[]);
    let told = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&told).contains(&text), "the PIN is in what it says");
    // SoftHSM tells that somebody was wrong, and the next look says so before it logs in.
    let said = clinic.examined(&clinic.well(), &["--measure", "0"]);
    assert_eq!(said.of("PIN")[0].0, "look", "{:?}", said.of("PIN"));
    assert_eq!(said.of("login"), [("ok", "the token took the PIN")]);
}

#[test]
fn a_module_that_is_none_and_a_file_that_is_none_are_told_apart() {
    let clinic = Clinic::of(Through::Real);
    let config = clinic.configured(Path::new("/nowhere/p11.so"), LABEL, &clinic.token.pin_file());
    let said = clinic.examined(&config, &[]);
    assert_eq!(said.code, Some(69));
    assert!(matches!(said.bad()[..], [("module", _)]), "{:?}", said.bad());
    fs::write(&config, "data = 7").unwrap();
    let said = clinic.examined(&config, &[]);
    assert_eq!(said.code, Some(69));
    assert!(matches!(said.bad()[..], [("configuration", _)]), "{:?}", said.bad());
}

/// The fault module makes a token that lies: no case may pass that it lies about.
#[test]
fn a_token_that_signs_wrongly_does_not_conform_and_is_cleaned_all_the_same() {
    let clinic = Clinic::of(Through::Faults);
    // The first signature is that of the making of the key.
    clinic
        .token
        .faults()
        .unwrap()
        .set(&["C_Sign delay 0 next 1", "C_Sign wrong-signature"])
        .unwrap();
    let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
    assert_eq!(said.code, Some(69));
    let cases = said.of("conformance");
    assert_eq!(cases[0].0, "ok", "{cases:?}");
    assert_eq!(cases[2].0, "bad", "{cases:?}");
    assert!(cases[2].1.contains("does not verify"), "{cases:?}");
    assert_eq!(objects(&clinic.token), 0, "something was left on the token");
}

#[test]
fn people_read_one_line_a_finding_and_what_to_do_below_it() {
    let clinic = Clinic::of(Through::Real);
    let output = clinic.ask(&clinic.well(), &["--measure", "0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("ok    login          the token took the PIN\n"), "{text}");
    assert!(text.contains("look  backups        the configuration names no copy"), "{text}");
    assert!(text.contains("\n                     -> make one with the token's own"), "{text}");
    assert!(text.ends_with("nothing is bad, 2 to look at\n"), "{text}");
}

/// Some modules refuse attributes that others take for granted. They are asked for fewer; and since
/// what counts is what came out, SoftHSM, which is looser where it is not told, makes no key then.
#[test]
fn a_token_that_knows_fewer_attributes_is_asked_for_fewer_and_held_to_all() {
    let clinic = Clinic::of(Through::Faults);
    let faults = clinic.token.faults().unwrap();
    for refusal in ["0x10", "0x12", "0x13", "0xd1"] {
        faults.set(&[&format!("C_GenerateKeyPair error {refusal} next 1")]).unwrap();
        let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
        let ("bad", made) = said.of("conformance")[0] else { panic!("{:?}", said.findings) };
        let looser = "otherwise than asked: is copyable, may sign with recovery";
        assert!(made.contains(looser), "{refusal}: {made}");
        assert_eq!(objects(&clinic.token), 0, "a loose key was left on the token");
    }
    // What is no refusal of the template is not tried again: the key may have been made.
    let before = faults.calls("C_GenerateKeyPair").unwrap();
    faults.set(&["C_GenerateKeyPair error 0x30 next 1"]).unwrap();
    let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
    assert_eq!(said.of("conformance")[0].0, "bad");
    // That of the checkpoint key.
    assert_eq!(faults.calls("C_GenerateKeyPair").unwrap(), before + 2);
}

/// Tokens give the public point in one of two forms.
#[test]
fn a_bare_public_point_conforms() {
    let clinic = Clinic::of(Through::Faults);
    clinic.token.faults().unwrap().set(&["C_GetAttributeValue raw-point"]).unwrap();
    let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
    assert_eq!(said.bad(), []);
    said.conforms();
}

/// A fence that the token refuses, and every other trouble of one call: never "it conforms".
#[test]
fn what_a_token_will_not_do_is_named_in_its_case() {
    let clinic = Clinic::of(Through::Faults);
    let faults = clinic.token.faults().unwrap();
    faults.set(&["C_SetAttributeValue error 0x10"]).unwrap();
    let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
    let cases = said.of("conformance");
    assert_eq!((cases[5].0, cases[6].0), ("look", "look"), "{cases:?}");
    assert_eq!(said.code, Some(0), "the signer copes with it: {cases:?}");
    for (line, case) in [
        ("C_GenerateKeyPair error 0x30", 0),
        ("C_SignInit error 0x60", 0),
        ("C_DestroyObject error 0x1b", 7),
        ("C_CreateObject error 0x21", 9),
    ] {
        faults.set(&[line]).unwrap();
        let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
        assert_ne!(said.of("conformance")[case].0, "ok", "{line}: {:?}", said.of("conformance"));
    }
}

/// AWS CloudHSM has no sessions that only read (docs/hsm.md).
#[test]
fn a_token_whose_sessions_may_all_write_conforms() {
    let clinic = Clinic::of(Through::Faults);
    clinic.token.faults().unwrap().set(&["C_OpenSession writing-only"]).unwrap();
    let said = clinic.examined(&clinic.well(), &["--conformance", "--measure", "0"]);
    assert_eq!(said.bad(), []);
    said.conforms();
}
