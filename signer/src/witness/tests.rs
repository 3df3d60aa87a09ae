//! What a witness cosigns and what not, over HTTP as a signer would ask.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::note::{Note, NoteKey, Verifier};
use portcullis_policy::tree::{Frontier, Tiles, leaf_hash};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::Load;
use super::known::place;
use super::*;

mod folder;
mod listener;
mod refused;

const ORIGIN: &str = "portcullis/aa";

/// A journal: what stands in it from `fork` on is its own.
#[derive(Clone, Copy)]
struct Journal {
    fork: u64,
    mark: u8,
}

const HONEST: Journal = Journal { fork: u64::MAX, mark: 0 };

impl Journal {
    fn leaves(self, size: u64) -> Vec<alloy_primitives::B256> {
        let mark = |number| if number < self.fork { 0 } else { self.mark };
        (0..size).map(|at: u64| leaf_hash(&[&at.to_be_bytes()[..], &[mark(at)]].concat())).collect()
    }

    fn checkpoint(self, size: u64) -> Checkpoint {
        let root = self.leaves(size).into_iter().collect::<Frontier>().root();
        Checkpoint { origin: ORIGIN.into(), size, root }
    }

    /// From a size to another, as its own signer would prove it.
    fn submission(self, old: u64, new: u64) -> Submission {
        let mut tiles = Tiles::default();
        self.leaves(new).into_iter().for_each(|leaf| tiles.push(leaf));
        let proof = tiles.consistency(old, new, |_| Ok::<_, Infallible>(Vec::new())).unwrap();
        let path = proof.map_or(Vec::new(), |proof| proof.path);
        Submission { old, path, note: signed(&self.checkpoint(new), &key()) }
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn public(key: &SigningKey) -> NoteKey {
    NoteKey::ed25519(key.verifying_key().as_bytes()).unwrap()
}

fn signed(checkpoint: &Checkpoint, key: &SigningKey) -> Note {
    let (text, name) = (checkpoint.text(), checkpoint.origin.clone());
    let bytes = key.sign(text.as_bytes()).to_bytes().to_vec();
    let id = public(key).id(&name);
    Note { text, signatures: vec![NoteSignature { name, id, bytes }] }
}

fn config_in(folder: &Path) -> WitnessConfig {
    let journal = Verifier { name: ORIGIN.into(), key: public(&key()) };
    let file = folder.join("witness.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = \"state\"\nname = \"witness.example.com/one\"\n\
         journals = [\"{journal}\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    WitnessConfig::read(&file).unwrap()
}

/// A witness that serves, and what it is reached by.
struct Running {
    cosigner: Arc<Cosigner>,
    address: SocketAddr,
    load: Load,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), WitnessError>>,
}

impl Running {
    async fn start(config: &WitnessConfig) -> Self {
        let cosigner = Arc::new(Cosigner::open(config).unwrap());
        let server = Server::bind(config.listen).await.unwrap();
        let (address, (stop, stopped)) = (server.address(), oneshot::channel());
        let load = server.load.clone();
        let served = server.serve(cosigner.clone(), async { drop(stopped.await) });
        Self { cosigner, address, load, stop, served: tokio::spawn(served) }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }

    /// Status, content type and body.
    async fn post(&self, body: &str) -> (u16, String, String) {
        self.ask("POST /add-checkpoint", body).await
    }

    async fn ask(&self, what: &str, body: impl AsRef<[u8]>) -> (u16, String, String) {
        let body = body.as_ref();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nHost: witness\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        // A body that is too long is refused before all of it is read.
        drop(stream.write_all(&[head.as_bytes(), body].concat()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        (status, kind.to_owned(), body.to_owned())
    }

    async fn status(&self, submission: &Submission) -> u16 {
        self.post(&submission.to_string()).await.0
    }

    /// Submits what must be cosigned, and verifies that it is.
    async fn cosigned(&self, submission: &Submission) -> u64 {
        let (status, _, body) = self.post(&submission.to_string()).await;
        assert_eq!(status, 200, "{body}");
        let mut note = submission.note.clone();
        note.signatures.extend(body.lines().map(|line| NoteSignature::parse(line).unwrap()));
        assert!(body.ends_with('\n'));
        self.cosigner.witness().check(&Note::parse(&note.to_string()).unwrap()).unwrap()
    }
}

/// A config with another journal beside the first.
fn with_another(config: &WitnessConfig) -> WitnessConfig {
    let another = Verifier { name: "portcullis/bb".into(), key: public(&key()) };
    let journals = config.journals.iter().cloned().chain([another]).collect();
    WitnessConfig { journals, ..config.clone() }
}

async fn running() -> (tempfile::TempDir, WitnessConfig, Running) {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    let made = init(&config).unwrap();
    assert_eq!(made.journals, [ORIGIN]);
    let running = Running::start(&config).await;
    assert_eq!(&made.witness, running.cosigner.witness());
    (folder, config, running)
}

#[tokio::test]
async fn a_journal_that_only_grows_is_cosigned_each_time_at_the_time_of_the_clock() {
    let (_folder, _config, witness) = running().await;
    let (mut old, before) = (0, clock::wall().0 / 1_000);
    for new in [1, 2, 7, 8, 100, 200] {
        let time = witness.cosigned(&HONEST.submission(old, new)).await;
        assert!((before..=clock::wall().0 / 1_000).contains(&time), "{time}");
        old = new;
    }
    // The same one once more, for a newer time.
    witness.cosigned(&HONEST.submission(200, 200)).await;
    // Signatures of strangers beside its own are of no interest.
    let mut more = HONEST.submission(200, 201);
    let stranger = NoteSignature { name: "stranger".into(), id: [1; 4], bytes: vec![1; 64] };
    more.note.signatures.insert(0, stranger);
    witness.cosigned(&more).await;
    witness.end().await;
}

#[tokio::test]
async fn an_old_size_that_is_not_the_newest_is_told_the_newest() {
    let (_folder, _config, witness) = running().await;
    let told = (409, "text/x.tlog.size".to_owned(), "0\n".to_owned());
    assert_eq!(witness.post(&HONEST.submission(3, 9).to_string()).await, told);
    witness.cosigned(&HONEST.submission(0, 9)).await;
    let told = (409, "text/x.tlog.size".to_owned(), "9\n".to_owned());
    for (old, new) in [(0, 9), (0, 20), (3, 8), (8, 9), (10, 20)] {
        let answer = witness.post(&HONEST.submission(old, new).to_string()).await;
        assert_eq!(answer, told, "{old} to {new}");
    }
    witness.cosigned(&HONEST.submission(9, 20)).await;
    witness.end().await;
}

#[tokio::test]
async fn what_was_cosigned_last_is_there_for_whoever_asks_as_the_journal_signed_it() {
    let (folder, config, witness) = running().await;
    let path = format!("GET /checkpoint/{}", hex::encode(sha256(ORIGIN.as_bytes())));
    assert_eq!(witness.ask(&path, "").await.0, 404, "there is nothing yet");
    witness.cosigned(&HONEST.submission(0, 9)).await;
    // A hold cosigns nothing, and hides nothing.
    Holds::new(&config.folder).hold(Scope::All, "money leaves").unwrap();
    let kept = (200, signed(&HONEST.checkpoint(9), &key()).to_string());
    let (status, _, body) = witness.ask(&path, "").await;
    assert_eq!((status, body), kept);
    assert_eq!(witness.ask("GET /checkpoint/00", "").await.0, 404);
    witness.end().await;
    // Also if another process serves it.
    let witness = Running::start(&config_in(folder.path())).await;
    let (status, _, body) = witness.ask(&path, "").await;
    assert_eq!((status, body), kept);
    witness.end().await;
}

/// Two signers on copies of one folder, or one before and after its folder was put back.
#[tokio::test]
async fn of_two_journals_that_begin_alike_only_one_is_cosigned() {
    let (_folder, _config, witness) = running().await;
    let other = Journal { fork: 10, mark: 1 };
    assert_eq!(HONEST.checkpoint(10), other.checkpoint(10));
    witness.cosigned(&HONEST.submission(0, 10)).await;
    witness.cosigned(&HONEST.submission(10, 12)).await;
    // It does not know of that one; then it does, and proves what it has.
    assert_eq!(witness.post(&other.submission(10, 15).to_string()).await.2, "12\n");
    for new in [13, 15, 64] {
        assert_eq!(witness.status(&other.submission(12, new)).await, 422, "{new}");
    }
    // As long, and another one: the size says nothing, and it is refused all the same.
    assert_eq!(witness.post(&other.submission(12, 12).to_string()).await.0, 409);
    // The first goes on as if nothing had been.
    witness.cosigned(&HONEST.submission(12, 13)).await;
    witness.end().await;
}

#[tokio::test]
async fn a_proof_that_is_bent_too_long_or_missing_is_refused_and_moves_nothing() {
    let (_folder, _config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 5)).await;
    let good = HONEST.submission(5, 11);
    let mut bent = good.clone();
    bent.path[1].0[0] ^= 1;
    let mut longer = good.clone();
    longer.path.push(longer.path[0]);
    let none = Submission { path: Vec::new(), ..good.clone() };
    let mut idle = HONEST.submission(5, 5);
    idle.path = good.path.clone();
    for bad in [bent, longer, none, idle] {
        assert_eq!(witness.status(&bad).await, 422, "{bad}");
    }
    witness.cosigned(&good).await;
    witness.end().await;
}

#[tokio::test]
async fn what_the_journal_did_not_sign_and_what_is_nothing_is_refused() {
    let (_folder, _config, witness) = running().await;
    let good = HONEST.submission(0, 5);
    let other = SigningKey::from_bytes(&[6; 32]);
    let theirs = Submission { note: signed(&HONEST.checkpoint(5), &other), ..good.clone() };
    assert_eq!(witness.status(&theirs).await, 403);
    let mut changed = good.clone();
    changed.note.text = HONEST.checkpoint(6).text();
    assert_eq!(witness.status(&changed).await, 403);
    let unknown = Checkpoint { origin: "portcullis/bb".into(), ..HONEST.checkpoint(5) };
    let unknown = Submission { note: signed(&unknown, &key()), ..good.clone() };
    assert_eq!(witness.status(&unknown).await, 404);
    let backwards = Submission { old: 6, ..good.clone() };
    assert_eq!(witness.status(&backwards).await, 400);
    for bad in ["", "old 0\n", &good.to_string().replace("old 0", "old 00"), "\u{0}\u{1}"] {
        assert_eq!(witness.post(bad).await.0, 400, "{bad}");
    }
    assert_eq!(witness.post(&"x".repeat(1_000_000)).await.0, 413);
    assert_eq!(witness.ask("GET /add-checkpoint", "").await.0, 405);
    assert_eq!(witness.ask("POST /", "").await.0, 404);
    witness.cosigned(&good).await;
    witness.end().await;
}

#[tokio::test]
async fn a_witness_that_starts_again_knows_what_it_cosigned() {
    let (folder, config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    witness.cosigned(&HONEST.submission(10, 12)).await;
    assert!(matches!(Cosigner::open(&config), Err(WitnessError::State { .. })), "it is held");
    let public = witness.cosigner.witness().clone();
    // What another process would find if this one were killed at once.
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("state"), copy.path());
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
    witness.end().await;
    for folder in [folder.path(), copy.path()] {
        let config = config_in(folder);
        // Making it once more changes nothing.
        let made = init(&config).unwrap();
        assert_eq!((made.witness, made.journals.len()), (public.clone(), 0));
        let witness = Running::start(&config).await;
        assert_eq!(witness.post(&HONEST.submission(10, 20).to_string()).await.2, "12\n");
        assert_eq!(witness.status(&Journal { fork: 10, mark: 1 }.submission(12, 20)).await, 422);
        witness.cosigned(&HONEST.submission(12, 20)).await;
        witness.end().await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_kept_is_not_cosigned_and_the_witness_ends() {
    let (_folder, config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    witness.cosigner.journals[ORIGIN].spoil();
    let refused = witness.cosigner.add(&HONEST.submission(10, 11).to_string());
    assert!(matches!(refused, Err(Refused::NotKept(_))), "{refused:?}");
    let ended = witness.served.await.unwrap();
    assert!(matches!(ended, Err(WitnessError::Disk)), "{ended:?}");
    drop(witness.cosigner);
    let witness = Running::start(&config).await;
    witness.cosigned(&HONEST.submission(10, 11)).await;
    witness.end().await;
}

#[tokio::test]
async fn a_hold_refuses_at_once_and_until_it_is_released() {
    let (_folder, config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    let holds = Holds::new(&config.folder);
    for scope in [Scope::One(ORIGIN), Scope::All] {
        holds.hold(scope, "money leaves").unwrap();
        let (status, _, body) = witness.post(&HONEST.submission(10, 11).to_string()).await;
        assert!(status == 403 && body.contains("held") && body.contains("money leaves"), "{body}");
        assert_eq!(witness.status(&HONEST.submission(10, 10)).await, 403);
        assert!(holds.release(scope).unwrap());
        assert!(!holds.release(scope).unwrap());
        // It stopped nothing for good: the size is where it was.
        witness.cosigned(&HONEST.submission(10, 10)).await;
    }
    holds.hold(Scope::One("portcullis/bb"), "another").unwrap();
    witness.cosigned(&HONEST.submission(10, 11)).await;
    // Where nobody can see whether something is held, it is.
    std::fs::remove_dir_all(config.folder.join(holds::HOLDS)).unwrap();
    assert_eq!(witness.status(&HONEST.submission(11, 12)).await, 500);
    witness.end().await;
}

#[test]
fn nothing_that_is_missing_or_open_to_others_is_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    let open = || Cosigner::open(&config).map(|_| ());
    assert!(matches!(open(), Err(WitnessError::Secret(SecretError::Io { .. }))));
    init(&config).unwrap();
    open().unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(config.key(), mode(0o640)).unwrap();
    let exposed = SecretError::Exposed { path: config.key(), mode: 0o640 }.to_string();
    assert!(matches!(open(), Err(WitnessError::Secret(fault)) if fault.to_string() == exposed));
    std::fs::set_permissions(config.key(), mode(0o600)).unwrap();
    // A key that is gone is not made again under what it cosigned.
    let secret = std::fs::read(config.key()).unwrap();
    std::fs::remove_file(config.key()).unwrap();
    assert!(matches!(init(&config), Err(WitnessError::KeyLost { .. })));
    std::fs::write(config.key(), &secret[1..]).unwrap();
    std::fs::set_permissions(config.key(), mode(0o600)).unwrap();
    assert!(matches!(open(), Err(WitnessError::Secret(SecretError::NoKey { .. }))));
    std::fs::write(config.key(), &secret).unwrap();
    open().unwrap();
    let kept = place(&config, ORIGIN).join("checkpoints");
    std::fs::write(&kept, "").unwrap();
    assert!(matches!(open(), Err(WitnessError::State { .. })));
    std::fs::remove_file(&kept).unwrap();
    assert!(matches!(open(), Err(WitnessError::Lost { .. })));
    assert!(!kept.exists(), "a start makes nothing anew");
}
