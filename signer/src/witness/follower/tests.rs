//! A signer's journal and a witness, between which something is not as it should be.

use std::sync::Arc;

use alloy_primitives::B128;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::id::{BookHash, Epoch, Sequence};
use portcullis_policy::note::{NoteKey, NoteSignature, Verifier, Witness};
use portcullis_policy::record::{Entry, Environment, FORMAT, Genesis, Record};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::journal::{Batch, Memory, Storage as _};
use crate::sequencer::{CheckpointKeyStep, Heard, start};
use crate::witness::{Cosigner, Server, WitnessConfig, init};

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
    /// On a copy of a folder that holds no more than the beginning.
    fn on(genesis: &[u8]) -> Self {
        let mut memory = Memory::default();
        let mut batch = Batch::ordinary();
        batch.push_record(genesis).unwrap();
        let _durable = memory.append_if_owner(Epoch(0), &batch).unwrap();
        let sequencer = start(Box::new(memory.clone()), 0, &Heard::default()).unwrap().sequencer;
        Self { sequencer, memory }
    }

    async fn grow(&self, records: u8) {
        for number in 0..records {
            let size = u8::try_from(self.size()).unwrap();
            let object = B128::from([size, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            self.sequencer.checkpoint_key(CheckpointKeyStep::Intended(object)).await.unwrap();
        }
    }

    fn size(&self) -> u64 {
        self.sequencer.head().borrow().sequence.0
    }

    fn attested(&self) -> Attested {
        let checkpoint = self.sequencer.durable_root().checkpoint();
        let (text, name) = (checkpoint.text(), checkpoint.origin.clone());
        let bytes = secret().sign(text.as_bytes()).to_bytes().to_vec();
        let id = public().id(&name);
        let note = Note { text, signatures: vec![NoteSignature { name, id, bytes }] };
        Attested { checkpoint, note }
    }

    fn follower(&self, url: &str, key: &str) -> Follower {
        let remote = Remote::new(url, key).unwrap();
        Follower::new(remote, self.sequencer.clone(), Proofs::new(&self.memory.reader()))
    }

    /// Whether the journal says that everything was stopped, and why.
    fn stopped(&self) -> Option<String> {
        let records = self.memory.reader().records_from(Sequence(1));
        let entries = records.map(|stored| Entry::decode(&stored.unwrap().record).unwrap());
        let mut reasons = entries.filter_map(|entry| {
            let Record::Frozen(Frozen { by: Actor::Signer, reason, scope: Scope::All }) =
                entry.record
            else {
                return None;
            };
            Some(reason)
        });
        let first = reasons.next();
        assert_eq!(reasons.next(), None, "once is enough");
        first
    }
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
    let key = init(&config).unwrap().witness.to_string();
    let cosigner = Arc::new(Cosigner::open(&config).unwrap());
    let server = Server::bind(config.listen).await.unwrap();
    let url = format!("http://{}", server.address());
    tokio::spawn(server.serve(cosigner, std::future::pending()));
    (url, key)
}

#[tokio::test]
async fn what_is_kept_is_cosigned_as_the_journal_grows_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::on(&genesis());
    let (url, key) = witness(folder.path(), &signer).await;
    let follower = signer.follower(&url, &key);
    for _ in 0..3 {
        let newest = signer.attested();
        let note = follower.cosigned(&newest).await.unwrap();
        assert!(Witness::parse(&key).unwrap().check(&note).unwrap() > 0);
        assert_eq!(
            (&note.text, &note.signatures[0]),
            (&newest.note.text, &newest.note.signatures[0])
        );
        // Once more, with what it has: there is one cosignature still.
        let again = Attested { note, ..newest };
        assert_eq!(follower.cosigned(&again).await.unwrap().signatures.len(), 2);
        signer.grow(3).await;
    }
    // It was not told how far the witness is, and is told by it.
    let follower = signer.follower(&url, &key);
    assert!(follower.cosigned(&signer.attested()).await.is_some());
    assert_eq!((signer.stopped(), follower.troubles()), (None, Vec::new()));
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_what_was_cosigned_stops_everything_once() {
    let (folder, genesis) = (tempfile::tempdir().unwrap(), genesis());
    let signer = Signer::on(&genesis);
    let (url, key) = witness(folder.path(), &signer).await;
    signer.grow(5).await;
    assert!(signer.follower(&url, &key).cosigned(&signer.attested()).await.is_some());
    let older = Signer::on(&genesis);
    let follower = older.follower(&url, &key);
    for _ in 0..2 {
        assert_eq!(follower.cosigned(&older.attested()).await, None);
    }
    let reason = older.stopped().unwrap();
    assert!(reason.contains("rolled back, or another signer runs on a copy"), "{reason}");
    assert_eq!(follower.troubles(), [reason]);
    assert_eq!(signer.stopped(), None);
}

#[tokio::test]
async fn a_second_signer_on_a_copy_stops_itself_also_if_its_journal_is_longer() {
    let (folder, genesis) = (tempfile::tempdir().unwrap(), genesis());
    let signer = Signer::on(&genesis);
    let (url, key) = witness(folder.path(), &signer).await;
    assert!(signer.follower(&url, &key).cosigned(&signer.attested()).await.is_some());
    signer.grow(1).await;
    assert!(signer.follower(&url, &key).cosigned(&signer.attested()).await.is_some());
    for records in [1, 6] {
        let copy = Signer::on(&genesis);
        copy.grow(records).await;
        // The same records at other times are other records.
        if copy.attested().checkpoint.root == signer.attested().checkpoint.root {
            copy.grow(1).await;
        }
        let follower = copy.follower(&url, &key);
        assert_eq!(follower.cosigned(&copy.attested()).await, None);
        assert!(copy.stopped().is_some(), "{records}");
    }
    signer.grow(1).await;
    assert!(signer.follower(&url, &key).cosigned(&signer.attested()).await.is_some());
    assert_eq!(signer.stopped(), None);
}

#[tokio::test]
async fn a_witness_that_is_gone_hangs_or_is_another_one_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::on(&genesis());
    let (url, key) = witness(folder.path(), &signer).await;
    let other = Witness::new("witness.example.com/one", secret().verifying_key().as_bytes());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let gone = "http://127.0.0.1:1".to_owned();
    let theirs = other.unwrap().to_string();
    for (url, key, why) in [
        (&url, &theirs, "witness.example.com/one did not sign it"),
        (&format!("{url}/elsewhere"), &key, "404"),
        (&hangs, &key, "does not answer within"),
        (&gone, &key, "cannot be reached"),
    ] {
        let follower = signer.follower(url, key);
        assert_eq!(follower.cosigned(&signer.attested()).await, None);
        let trouble = follower.told.lock().trouble.clone().unwrap();
        assert!(trouble.contains(why), "{trouble}");
        // It is said when it has lasted for a minute.
        assert_eq!(follower.troubles(), [""; 0]);
        follower.told.lock().since = Millis(clock::boot().0.saturating_sub(61_000));
        assert!(follower.troubles()[0].contains(why));
    }
    assert_eq!(signer.stopped(), None);
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
}
