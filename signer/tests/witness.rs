//! The witness as a process: it is killed, started again, held and released.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::note::{Checkpoint, Note, NoteKey, NoteSignature, Verifier, Witness};
use portcullis_policy::submission::Submission;
use portcullis_policy::tree::{Tiles, leaf_hash};

const ORIGIN: &str = "portcullis/aa";

fn key() -> (SigningKey, NoteKey) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let public = NoteKey::ed25519(key.verifying_key().as_bytes()).unwrap();
    (key, public)
}

fn submission(old: u64, new: u64) -> Submission {
    let mut tiles = Tiles::default();
    (0..new).for_each(|number| tiles.push(leaf_hash(&number.to_be_bytes())));
    let root = (0..new).map(|number| leaf_hash(&number.to_be_bytes())).collect();
    let root = portcullis_policy::tree::Tree::new(root).root();
    let text = Checkpoint { origin: ORIGIN.into(), size: new, root }.text();
    let (key, public) = key();
    let (id, bytes) = (public.id(ORIGIN), key.sign(text.as_bytes()).to_bytes().to_vec());
    let signatures = vec![NoteSignature { name: ORIGIN.into(), id, bytes }];
    let proof = tiles.consistency(old, new, |_| Ok::<_, ()>(Vec::new())).unwrap();
    let path = proof.map_or(Vec::new(), |proof| proof.path);
    Submission { old, path, note: Note { text, signatures } }
}

fn portcullis(verb: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("witness").args(verb).arg("--config").arg(config);
    command
}

fn done(verb: &[&str], config: &Path) -> Output {
    portcullis(verb, config).output().unwrap()
}

fn said(verb: &[&str], config: &Path) -> String {
    let output = done(verb, config);
    assert!(output.status.success(), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

struct Served {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Served {
    fn start(config: &Path) -> Self {
        let mut child = portcullis(&["serve"], config).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        // Colours may stand between a name and what it is.
        let address = lines.find_map(|line| {
            let rest = line.split_once("127.0.0.1:")?.1;
            Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        });
        let log = Arc::new(Mutex::new(String::new()));
        let rest = Arc::clone(&log);
        // A log that nobody reads would fail.
        std::thread::spawn(move || {
            lines.for_each(|line| rest.lock().unwrap().push_str(&format!("{line}\n")));
        });
        Self { child, address: format!("127.0.0.1:{}", address.unwrap()), log }
    }

    /// Waits for a line of the log with all of these words.
    fn logs(&self, words: &[&str]) {
        let says = |line: &str| words.iter().all(|word| line.contains(word));
        while !self.log.lock().unwrap().lines().any(says) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn ask(&self, submission: &Submission) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = submission.to_string();
        let length = body.len();
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\
             Content-Length: {length}"
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn config_in(folder: &Path) -> PathBuf {
    let config = folder.join("witness.toml");
    let journal = Verifier { name: ORIGIN.into(), key: key().1 };
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = \"state\"\nname = \"witness.example.com/one\"\n\
         journals = [\"{journal}\"]\n"
    );
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn a_witness_that_is_killed_knows_what_it_cosigned_and_heeds_a_hold_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    assert_eq!(done(&["serve"], &config).status.code(), Some(78), "there is no key yet");
    let vkey = said(&["init"], &config);
    assert_eq!(said(&["init"], &config), vkey);
    let public = Witness::parse(vkey.trim_end()).unwrap();

    let served = Served::start(&config);
    let (status, line) = served.ask(&submission(0, 3));
    assert_eq!(status, "200", "{line}");
    let mut note = submission(0, 3).note;
    note.signatures.push(NoteSignature::parse(line.trim_end()).unwrap());
    public.check(&note).unwrap();
    // Nobody else serves the same folder.
    assert_eq!(done(&["serve"], &config).status.code(), Some(65));
    served.kill();

    let served = Served::start(&config);
    assert_eq!(served.ask(&submission(0, 5)), ("409".to_owned(), "3\n".to_owned()));
    assert_eq!(
        said(&["hold", ORIGIN, "--reason", "money leaves"], &config),
        "held: portcullis/aa\n"
    );
    let (status, why) = served.ask(&submission(3, 5));
    assert!(status == "403" && why.contains("money leaves"), "{status} {why}");
    served.logs(&["held", ORIGIN, "money leaves"]);
    assert_eq!(done(&["hold", "portcullis/bb"], &config).status.code(), Some(64));
    assert_eq!(done(&["hold"], &config).status.code(), Some(64));
    said(&["hold", "--all"], &config);
    let left = said(&["release", ORIGIN], &config);
    assert!(left.starts_with("released: portcullis/aa\nevery journal is held still"), "{left}");
    served.kill();

    // A hold outlives the process too.
    let served = Served::start(&config);
    assert_eq!(served.ask(&submission(3, 5)).0, "403");
    assert_eq!(said(&["release", "--all"], &config), "released: every journal\n");
    assert_eq!(served.ask(&submission(3, 5)).0, "200");
    served.kill();
}

#[test]
fn a_configuration_that_is_named_without_a_folder_is_where_we_are() {
    let folder = tempfile::tempdir().unwrap();
    config_in(folder.path());
    let config = Path::new("witness.toml");
    let output = portcullis(&["init"], config).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(folder.path().join("state/key").is_file());
    // Its own folder, too.
    let text = std::fs::read_to_string(folder.path().join("witness.toml")).unwrap();
    for own in [".", ""] {
        let folder = tempfile::tempdir().unwrap();
        let text = text.replace("\"state\"", &format!("\"{own}\""));
        std::fs::write(folder.path().join("witness.toml"), text).unwrap();
        let output = portcullis(&["init"], config).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(folder.path().join("key").is_file());
    }
}

#[test]
fn everything_is_held_also_when_the_configuration_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    said(&["init"], &config);
    let served = Served::start(&config);
    assert_eq!(served.ask(&submission(0, 3)).0, "200");
    std::fs::write(&config, "no TOML").unwrap();
    assert_eq!(done(&["hold", "--all"], &config).status.code(), Some(78));
    let state = folder.path().join("state");
    let with_folder = |verb: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("witness").args(verb).arg("--folder").arg(&state).output().unwrap()
    };
    assert!(with_folder(&["hold", "--all", "--reason", "all of it"]).status.success());
    // The log learns of it without being asked for a cosignature.
    served.logs(&["held", "every journal", "all of it"]);
    assert_eq!(served.ask(&submission(3, 5)).0, "403");
    assert!(with_folder(&["release", "--all"]).status.success());
    served.logs(&["released", "every journal"]);
    assert_eq!(served.ask(&submission(3, 5)).0, "200");
    // One journal is named as the configuration names it.
    assert_eq!(with_folder(&["hold", ORIGIN]).status.code(), Some(64));
    assert_eq!(with_folder(&["hold"]).status.code(), Some(64));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["witness", "hold", "--all", "--folder"])
        .arg(folder.path())
        .output();
    assert_eq!(nowhere.unwrap().status.code(), Some(74), "there is no witness");
    served.kill();
}

#[test]
fn a_journal_is_made_known_under_an_old_key_by_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    let vkey = said(&["init"], &config);
    let state = folder.path().join("state");
    std::fs::remove_dir_all(state.join("journals")).unwrap();
    // Here it was known, and is lost: no word makes it new.
    assert_eq!(done(&["init", "--new", ORIGIN], &config).status.code(), Some(65));
    std::fs::remove_file(state.join("origins")).unwrap();
    // Where only the key is, somebody has to say it.
    let refused = done(&["init"], &config);
    assert_eq!(refused.status.code(), Some(65));
    let said_why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said_why.contains("init --new portcullis/aa"), "{said_why}");
    assert_eq!(done(&["init", "--new", "portcullis/bb"], &config).status.code(), Some(64));
    assert_eq!(said(&["init", "--new", ORIGIN], &config), vkey);
}
