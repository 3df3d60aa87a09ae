//! A signer's journal and a witness, between which something is not as it should be.

use std::sync::Arc;

use alloy_primitives::B128;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::id::{BookHash, Epoch, Sequence};
use portcullis_policy::note::{NoteKey, NoteSignature, Verifier, Witness};
use portcullis_policy::record::{Entry, Environment, FORMAT, Genesis, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::journal::{Batch, Memory, Storage as _};
use crate::sequencer::{CheckpointKeyStep, Heard, start};
use crate::witness::cover::Unwitnessed;
use crate::witness::{Cosigner, Server, WitnessConfig, init_with};

fn genesis() -> Vec<u8> {
    let genesis = Genesis {
        book: "version = 1\n".into(),
        environment: Environment::Development,
        format: FORMAT,
        governance: None,
        people: Vec::new(),
        salt: BookHash::of("salt").0,
        signatures: Vec::new(),
    };
    let record = Record::Genesis(genesis);
    Entry { at: Clock::genesis().now(), record, seq: Sequence(1) }.encode().unwrap()
}

/// A signer's part of it: a journal that grows, and what was signed of it.
struct Signer {
    sequencer: Sequencer,
    memory: Memory,
}

impl Signer {
    /// On a copy of a folder that holds no more than the beginning, and with the same token.
    async fn on(genesis: &[u8]) -> Self {
        let mut memory = Memory::default();
        let mut batch = Batch::ordinary();
        batch.push_record(genesis).unwrap();
        let _durable = memory.append_if_owner(Epoch(0), &batch).unwrap();
        let sequencer = start(Box::new(memory.clone()), 0, &Heard::default()).unwrap().sequencer;
        let object = B128::from([7; 16]);
        for step in [CheckpointKeyStep::Intended(object), CheckpointKeyStep::Made(object, public())]
        {
            sequencer.checkpoint_key(step).await.unwrap();
        }
        Self { sequencer, memory }
    }

    async fn grow(&self, records: u8) {
        for number in 0..records {
            let scope = Scope::Caller(format!("spiffe://test/{number}").parse().unwrap());
            let stop = Frozen { by: Actor::Signer, reason: "grow".into(), scope };
            assert!(self.sequencer.freeze(stop).await.sequence.is_some());
        }
    }

    fn attested(&self) -> Attested {
        let checkpoint = self.sequencer.durable_root().checkpoint();
        Attested { note: sign(&checkpoint, &secret()), checkpoint }
    }

    fn follower(&self, url: &str, key: &str) -> Follower {
        let remote = Remote::new(url, key).unwrap();
        let (sequencer, proofs) = (self.sequencer.clone(), Proofs::new(&self.memory.reader()));
        Follower::new(remote, Mode::Fence, sequencer, proofs)
    }

    /// Why everything was stopped, as the journal says; each time.
    fn stops(&self) -> Vec<String> {
        let records = self.memory.reader().records_from(Sequence(1));
        let entries = records.map(|stored| Entry::decode(&stored.unwrap().record).unwrap());
        let reasons = entries.filter_map(|entry| {
            let Record::Frozen(Frozen { by: Actor::Signer, reason, scope: Scope::All }) =
                entry.record
            else {
                return None;
            };
            Some(reason)
        });
        reasons.collect()
    }
}

fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> Note {
    let (text, name) = (checkpoint.text(), checkpoint.origin.clone());
    let bytes = key.sign(text.as_bytes()).to_bytes().to_vec();
    let id = NoteKey::ed25519(key.verifying_key().as_bytes()).unwrap().id(&name);
    Note { text, signatures: vec![NoteSignature { name, id, bytes }] }
}

fn secret() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn public() -> NoteKey {
    NoteKey::ed25519(secret().verifying_key().as_bytes()).unwrap()
}

/// A witness of a signer's journal: where it is, and its key.
async fn witness(folder: &std::path::Path, signer: &Signer) -> (String, String) {
    let journal = Verifier { name: signer.attested().checkpoint.origin, key: public() };
    let config = WitnessConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        folder: folder.to_owned(),
        name: "witness.example.com/one".into(),
        journals: vec![journal],
    };
    // Under a key that was there, somebody has to say that nothing was cosigned.
    let new = if folder.join("key").exists() { config.origins() } else { Vec::new() };
    let new: Vec<String> = new.into_iter().map(str::to_owned).collect();
    let key = init_with(&config, &new).unwrap().witness.to_string();
    let cosigner = Arc::new(Cosigner::open(&config).unwrap());
    let server = Server::bind(config.listen).await.unwrap();
    let url = format!("http://{}", server.address());
    tokio::spawn(server.serve(cosigner, pending()));
    (url, key)
}

/// Answers every request to a path alike, as somebody in the witness's place would.
async fn impostor(posted: (u16, &'static str, String), got: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !is_whole(&String::from_utf8_lossy(&asked)) {
                assert!(tcp.read_buf(&mut asked).await.unwrap() > 0);
            }
            let (status, kind, body) = match (asked.starts_with(b"GET"), &got) {
                (false, _) => posted.clone(),
                (true, Some(note)) => (200, "text/plain", note.clone()),
                (true, None) => (404, "text/plain", String::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            );
            tcp.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    url
}

/// Whether a request has all of its body.
fn is_whole(asked: &str) -> bool {
    let Some((head, body)) = asked.split_once("\r\n\r\n") else { return false };
    let mut lines = head.lines().map(str::to_ascii_lowercase);
    let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn is_cosigned(turn: &Turn) -> bool {
    matches!(turn, Turn::Cosigned(_))
}

const SIZE: &str = "text/x.tlog.size";

#[tokio::test]
async fn what_is_kept_is_cosigned_as_the_journal_grows_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::on(&genesis()).await;
    let (url, key) = witness(folder.path(), &signer).await;
    let follower = signer.follower(&url, &key);
    for _ in 0..3 {
        let newest = signer.attested();
        let Turn::Cosigned(note) = follower.cosigned(&newest).await else { panic!() };
        assert!(Witness::parse(&key).unwrap().check(&note).unwrap() > 0);
        assert_eq!(
            (&note.text, &note.signatures[0]),
            (&newest.note.text, &newest.note.signatures[0])
        );
        // Once more, with what it has: there is one cosignature still. Whoever else has the
        // witness's name keeps theirs.
        let mut again = Attested { note, ..newest };
        let stranger = NoteSignature { id: [9; 4], ..again.note.signatures[1].clone() };
        again.note.signatures.insert(0, stranger.clone());
        let Turn::Cosigned(note) = follower.cosigned(&again).await else { panic!() };
        assert_eq!((note.signatures.len(), &note.signatures[0]), (3, &stranger));
        signer.grow(3).await;
    }
    // It was not told how far the witness is, and is told by it.
    let follower = signer.follower(&url, &key);
    assert!(is_cosigned(&follower.cosigned(&signer.attested()).await));
    assert_eq!((signer.stops(), follower.troubles()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_what_was_cosigned_stops_everything_once_for_each_proof() {
    let (folder, genesis) = (tempfile::tempdir().unwrap(), genesis());
    let signer = Signer::on(&genesis).await;
    let (url, key) = witness(folder.path(), &signer).await;
    signer.grow(5).await;
    let theirs = signer.follower(&url, &key);
    assert!(is_cosigned(&theirs.cosigned(&signer.attested()).await));
    let older = Signer::on(&genesis).await;
    let follower = older.follower(&url, &key);
    for _ in 0..2 {
        assert!(matches!(follower.cosigned(&older.attested()).await, Turn::Contradicted));
    }
    // People who have looked and thawed are not stopped for the same again.
    let [reason] = &older.stops()[..] else { panic!("{:?}", older.stops()) };
    assert!(reason.contains("rolled back, or another signer runs on a copy"), "{reason}");
    assert!(follower.troubles()[0].contains("rolled back, or another signer runs on a copy"));
    // The other one goes on: that is another.
    signer.grow(9).await;
    assert!(is_cosigned(&theirs.cosigned(&signer.attested()).await));
    assert!(matches!(follower.cosigned(&older.attested()).await, Turn::Contradicted));
    assert_eq!(older.stops().len(), 2);
    assert_eq!(signer.stops(), [""; 0]);
}

#[tokio::test]
async fn a_second_signer_on_a_copy_stops_itself_also_if_its_journal_is_longer() {
    let (folder, genesis) = (tempfile::tempdir().unwrap(), genesis());
    let signer = Signer::on(&genesis).await;
    let (url, key) = witness(folder.path(), &signer).await;
    assert!(is_cosigned(&signer.follower(&url, &key).cosigned(&signer.attested()).await));
    signer.grow(1).await;
    assert!(is_cosigned(&signer.follower(&url, &key).cosigned(&signer.attested()).await));
    for records in [1, 6] {
        let copy = Signer::on(&genesis).await;
        copy.grow(records).await;
        // The same records at other times are other records.
        if copy.attested().checkpoint.root == signer.attested().checkpoint.root {
            copy.grow(1).await;
        }
        let follower = copy.follower(&url, &key);
        assert!(matches!(follower.cosigned(&copy.attested()).await, Turn::Contradicted));
        assert_eq!(copy.stops().len(), 1, "{records}");
    }
    signer.grow(1).await;
    assert!(is_cosigned(&signer.follower(&url, &key).cosigned(&signer.attested()).await));
    assert_eq!(signer.stops(), [""; 0]);
}

#[tokio::test]
async fn a_witness_that_is_gone_hangs_or_is_another_one_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::on(&genesis()).await;
    let (url, key) = witness(folder.path(), &signer).await;
    let other = Witness::new("witness.example.com/one", secret().verifying_key().as_bytes());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let gone = "http://127.0.0.1:1".to_owned();
    let theirs = other.unwrap().to_string();
    // Nothing is contradicted by a size that is none, and nothing is no continuation of nothing.
    let plus = impostor((409, SIZE, "+9\n".into()), None).await;
    let plain = impostor((409, "text/plain", "9\n".into()), None).await;
    let of_nothing = impostor((422, "text/plain", String::new()), None).await;
    for (url, key, why) in [
        (&url, &theirs, "witness.example.com/one did not sign it"),
        (&format!("{url}/elsewhere"), &key, "404"),
        (&hangs, &key, "does not answer within"),
        (&gone, &key, "cannot be reached"),
        (&plus, &key, "does not say which size"),
        (&plain, &key, "does not say which size"),
        (&of_nothing, &key, "no proof where none is needed"),
    ] {
        let follower = signer.follower(url, key);
        assert!(matches!(follower.cosigned(&signer.attested()).await, Turn::Nothing));
        let trouble = follower.told.lock().trouble.clone().unwrap();
        assert!(trouble.contains(why), "{trouble}");
        // It is said when it has lasted for a minute.
        assert_eq!(follower.troubles(), [""; 0]);
        follower.told.lock().since = Millis(clock::boot().0.saturating_sub(61_000));
        assert!(follower.troubles()[0].contains(why));
    }
    assert_eq!(signer.stops(), [""; 0]);
}

#[tokio::test]
async fn a_checkpoint_that_is_cosigned_again_covers_nothing_that_came_after_it() {
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::on(&genesis()).await);
    let (url, key) = witness(folder.path(), &signer).await;
    let follower = Arc::new(signer.follower(&url, &key));
    let watching = follower.clone();
    let watched = tokio::spawn(async move { watching.watch_growth().await });
    let old = signer.attested();
    assert!(is_cosigned(&follower.cosigned(&old).await));
    signer.grow(1).await;
    let waits = || follower.cover().waits(clock::boot()).0;
    let is_noticed = async {
        while waits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_noticed).await.unwrap();
    assert!(is_cosigned(&follower.cosigned(&old).await));
    assert!(waits() > 0);
    assert!(is_cosigned(&follower.cosigned(&signer.attested()).await));
    assert_eq!(waits(), 0);
    watched.abort();
}

#[tokio::test]
async fn in_fence_nothing_is_admitted_when_the_witness_is_ahead_of_the_checkpoint_in_hand() {
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::on(&genesis()).await);
    let (url, key) = witness(folder.path(), &signer).await;
    let old = signer.attested();
    signer.grow(2).await;
    let newer = signer.attested();
    let ahead = newer.note.to_string();
    for answer in [
        (409, SIZE, format!("{}\n", newer.checkpoint.size)),
        // It says no to what it has, and shows what is newer.
        (409, SIZE, format!("{}\n", old.checkpoint.size)),
    ] {
        let follower = signer.follower(&url, &key);
        assert!(is_cosigned(&follower.cosigned(&old).await));
        assert_eq!(follower.cover().ready(), Ok(()));
        let url = impostor(answer, Some(ahead.clone())).await;
        let follower = Follower { remote: Remote::new(&url, &key).unwrap(), ..follower };
        assert!(matches!(follower.cosigned(&old).await, Turn::Nothing));
        assert_eq!(follower.cover().ready(), Err(Unwitnessed::Away));
    }
}

/// Whoever answers in the witness's place.
#[tokio::test]
async fn a_size_and_a_no_that_nobody_signed_stop_nothing_and_are_named_at_once() {
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::on(&genesis()).await);
    let (url, key) = witness(folder.path(), &signer).await;
    let ours = signer.attested();
    let longer = Checkpoint { size: 1_000, ..ours.checkpoint.clone() };
    let elsewhere = Checkpoint { origin: "portcullis/bb".into(), ..longer.clone() };
    let forged = SigningKey::from_bytes(&[6; 32]);
    signer.grow(2).await;
    for shown in [
        None,
        Some("no note".to_owned()),
        Some(sign(&longer, &forged).to_string()),
        Some(sign(&elsewhere, &secret()).to_string()),
        // What it shows is of our journal, and proves nothing.
        Some(ours.note.to_string()),
    ] {
        let url = impostor((409, SIZE, "1000\n".into()), shown.clone()).await;
        let follower = signer.follower(&url, &key);
        let turn = follower.cosigned(&signer.attested()).await;
        assert!(matches!(turn, Turn::Contradicted), "{turn:?}: {shown:?}");
        let troubles = follower.troubles();
        assert!(
            troubles[0].contains("contradicts this journal, and proves it not"),
            "{troubles:?}"
        );
    }
    assert_eq!(signer.stops(), [""; 0]);
    // The same words with what proves them, whoever brings it.
    let proof = sign(&longer, &secret()).to_string();
    let liar = impostor((409, SIZE, "1000\n".into()), Some(proof)).await;
    let follower = signer.follower(&liar, &key);
    assert!(matches!(follower.cosigned(&signer.attested()).await, Turn::Contradicted));
    assert_eq!(signer.stops().len(), 1);
    // A doubt ends when the witness itself cosigns.
    let follower = signer.follower(&url, &key);
    follower.told.lock().doubt = Some("a doubt".into());
    assert!(is_cosigned(&follower.cosigned(&signer.attested()).await));
    assert_eq!(follower.troubles(), [""; 0]);
}

#[tokio::test]
async fn what_the_witness_shows_proves_itself_also_if_it_cosigns_nothing() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let ours = signer.attested();
    let longer = Checkpoint { size: 1_000, ..ours.checkpoint.clone() };
    let held = || (403, "text/plain", "held\n".to_owned());
    let longer = sign(&longer, &secret()).to_string();
    for (shown, stops) in [(None, 0), (Some(ours.note.to_string()), 0), (Some(longer), 1)] {
        let url = impostor(held(), shown).await;
        let follower = signer.follower(&url, &key);
        assert!(matches!(follower.cosigned(&ours).await, Turn::Nothing));
        follower.look(&signer.sequencer.durable_root().checkpoint()).await;
        assert_eq!(signer.stops().len(), stops);
    }
}

#[tokio::test]
async fn a_witness_that_has_forgotten_what_it_cosigned_is_named_for_good() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signer = Signer::on(&genesis()).await;
    let (url, key) = witness(first.path(), &signer).await;
    let Turn::Cosigned(note) = signer.follower(&url, &key).cosigned(&signer.attested()).await
    else {
        panic!()
    };
    let kept = Kept::Text(note.to_string());
    // It comes back with its key, and somebody says that nothing was cosigned under that.
    std::fs::copy(first.path().join("key"), second.path().join("key")).unwrap();
    std::fs::create_dir(second.path().join("holds")).unwrap();
    let (url, same) = witness(second.path(), &signer).await;
    assert_eq!(key, same);
    let follower = signer.follower(&url, &key).knowing(&kept);
    signer.grow(1).await;
    for _ in 0..2 {
        assert!(is_cosigned(&follower.cosigned(&signer.attested()).await));
        assert!(follower.troubles()[0].contains("the witness has forgotten"));
    }
}

#[tokio::test]
async fn a_cosignature_is_as_young_as_its_own_time_says_whenever_it_comes() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let follower = signer.follower("http://127.0.0.1:1", &key);
    let since = |asked, size, seconds| {
        follower.count(size, Millis(asked), seconds);
        follower.told.lock().since.0
    };
    assert_eq!(since(50_000, 5, 100), 50_000);
    // Of the same checkpoint, kept by somebody and brought later: once more, an older, a newer one.
    assert_eq!(since(80_000, 5, 100), 50_000);
    assert_eq!(since(80_000, 5, 99), 50_000);
    assert_eq!(since(80_000, 5, 110), 60_000);
    // None is from the time to come.
    assert_eq!(since(90_000, 5, 900), 90_000);
    assert_eq!(since(91_000, 5, 110), 90_000);
    // Of another checkpoint there was none before.
    assert_eq!(since(95_000, 6, 110), 95_000);
    assert_eq!(follower.cover().newest().unwrap().0, 6);
}

#[tokio::test]
async fn a_cosignature_that_was_held_back_while_the_journal_grew_is_not_young() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.count(5, Millis(50_000), 100);
    // Cosigned ten seconds later, asked for again after forty, and brought then.
    follower.told.lock().hand_over(6, Millis(60_000));
    follower.count(6, Millis(90_000), 110);
    assert_eq!(follower.told.lock().since, Millis(60_000));
    // A young one says so by its own time, also if it was asked for in vain for long.
    follower.told.lock().hand_over(7, Millis(91_000));
    follower.count(7, Millis(150_000), 200);
    assert_eq!(follower.told.lock().since, Millis(150_000));
}

/// Somebody on the path has the witness cosign right after the start, and brings it once the
/// witness was told to hold.
#[tokio::test]
async fn the_first_cosignature_that_was_held_back_is_as_old_as_its_checkpoint() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let seconds = clock::wall().0 / 1_000;
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.told.lock().hand_over(5, Millis(10_000));
    follower.count(5, Millis(90_000), seconds - 1_000);
    assert_eq!(follower.told.lock().since, Millis(10_000));
    // One that says that it is young is, however long it was asked for in vain.
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.told.lock().hand_over(5, Millis(10_000));
    follower.count(5, Millis(90_000), seconds + 1_000);
    assert_eq!(follower.told.lock().since, Millis(90_000));
    // It was asked for just now: whatever the two clocks say, it cannot be older.
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.told.lock().hand_over(5, Millis(90_000));
    follower.count(5, Millis(90_000), seconds - 1_000);
    assert_eq!(follower.told.lock().since, Millis(90_000));
}

#[tokio::test]
async fn an_answer_that_does_not_come_takes_no_doubt_away() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.count(5, clock::boot(), 100);
    follower.cover().contradicted();
    let _nothing = follower.without("it cannot be reached".into());
    assert_eq!(follower.cover().ready(), Err(Unwitnessed::Contradicted));
}

#[tokio::test]
async fn a_cosignature_that_is_brought_again_takes_no_alarm_away() {
    let signer = Signer::on(&genesis()).await;
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    let follower = signer.follower("http://127.0.0.1:1", &key);
    follower.count(5, Millis(50_000), 100);
    follower.told.lock().alarm = Some("there is another journal".into());
    follower.cover().contradicted();
    follower.count(5, Millis(80_000), 100);
    assert!(follower.told.lock().alarm.is_some());
    assert_eq!(follower.cover().ready(), Err(Unwitnessed::Contradicted));
    follower.count(5, Millis(80_000), 120);
    assert!(follower.told.lock().alarm.is_none());
    assert_eq!(follower.cover().ready(), Ok(()));
}

#[test]
fn a_witness_is_named_by_a_plain_url_and_a_key() {
    let key = Witness::new("w", secret().verifying_key().as_bytes()).unwrap().to_string();
    for good in ["http://10.0.0.7:7390", "http://witness/", "http://[::1]:80/one/"] {
        assert!(Remote::new(good, &key).is_some(), "{good}");
    }
    for bad in ["", "witness:80", "https://witness", "http://a@b", "http://a?b", "ftp://a", "/a"] {
        assert!(Remote::new(bad, &key).is_none(), "{bad}");
    }
    assert!(Remote::new("http://witness", "w").is_none());
    for bad in ["portcullis/aa", &"w".repeat(256)] {
        let named = Witness::new(bad, secret().verifying_key().as_bytes()).unwrap().to_string();
        assert!(Remote::new("http://witness", &named).is_none(), "{bad}");
    }
}
