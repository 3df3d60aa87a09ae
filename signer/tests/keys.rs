//! A journal's keys held against those of a real token: what is not the key that was made is
//! frozen, and what is only being made is neither absent nor a stranger.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

#[path = "../src/hsm/testing.rs"]
mod testing;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use alloy_primitives::B128;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis::attestor::Attestor;
use portcullis::clock::Clock;
use portcullis::fencer::Fencer;
use portcullis::hsm::{
    CheckpointFault, CheckpointKind, Hsm, HsmConfig, HsmError, TokenSelector, checkpoint_id,
};
use portcullis::journal::{Batch, Kept, Memory, Reader, Segments, Storage};
use portcullis::keys::{KeyOrder, Keys};
use portcullis::pin::PinSource;
use portcullis::proofs::Proofs;
use portcullis::sequencer::{self, CheckpointKeyStep, Sequencer, Started};
use portcullis::snapshot::{Claims, Folder, Pace, Shadow, seal};
use portcullis::witness::{self, Cosigner, Follower, Holds, Mode, Remote, Server, WitnessConfig};
use portcullis_policy::id::{BookHash, ChainId, Epoch, KeyId, PersonId, Sequence};
use portcullis_policy::note::{Checkpoint, Note, Verifier, origin};
use portcullis_policy::record::{
    Actor, Entry, Environment, FORMAT, Frozen, Genesis, KeyIntended, Person, Record, Role,
};
use portcullis_policy::state::CheckpointKey;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Span;
use portcullis_proto::v1::CreateKeyRequest;
use testing::{PIN, SOFTHSM, Tokens, in_own_process, raw_session, sessions};

struct Vault {
    sequencer: Sequencer,
    hsm: Arc<Hsm>,
    keys: Keys,
    reader: Reader,
    started: Started,
}

/// A vault on a token of its own, without keys.
fn opened(test: &str, body: impl AsyncFnOnce(&Vault)) {
    in_own_process(module_path!(), test, |tokens| {
        tokens.make("vault");
        let vault = Vault::new(tokens);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            body(&vault).await;
            vault.hsm.close().await;
        });
    });
}

fn olga() -> PersonId {
    "olga".parse().unwrap()
}

impl Vault {
    fn new(tokens: &Tokens) -> Self {
        let control = "spiffe://test/olga".to_owned();
        let roles = BTreeSet::from([Role::Operator]);
        let genesis = Genesis {
            book: "version = 1\n".into(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: vec![Person { control, credentials: Vec::new(), id: olga(), roles }],
            salt: BookHash::of("salt").0,
            signatures: Vec::new(),
        };
        let record = Record::Genesis(genesis);
        let entry = Entry { at: Clock::genesis().now(), record, seq: Sequence(1) };
        let mut batch = Batch::ordinary();
        batch.push_record(&entry.encode().unwrap()).unwrap();
        let mut memory = Memory::default();
        let _durable = memory.append_if_owner(Epoch(0), &batch).unwrap();
        let reader = memory.reader();
        let heard = sequencer::Heard::default();
        let started = sequencer::start(Box::new(memory), 0, &heard).unwrap();
        let sequencer = started.sequencer.clone();

        let pin = PinSource::File(tokens.pin_file(PIN));
        let token = TokenSelector::Label("vault".to_owned());
        let config = HsmConfig::new(SOFTHSM.into(), token, pin);
        let hsm = Hsm::open(&HsmConfig { sessions: sessions(2), ..config }).unwrap();
        let hsm = Arc::new(hsm);
        let fencer = Arc::new(Fencer::new(sequencer.clone(), hsm.clone()));
        let keys = Keys::new(sequencer.clone(), hsm.clone(), fencer);
        Self { sequencer, hsm, keys, reader, started }
    }

    async fn make(&self, label: &str) -> KeyId {
        self.keys.create(order(label)).await.unwrap()
    }

    async fn check(&self) {
        self.keys.check(&BTreeSet::new()).await.unwrap();
    }

    fn is_frozen(&self, key: KeyId) -> bool {
        self.sequencer.view().stops.iter().any(|stop| *stop == Scope::Key(key))
    }
}

fn order(label: &str) -> KeyOrder {
    let review_by_ms = Clock::genesis().now().sure.plus(Span(86_400_000)).0;
    let request = CreateKeyRequest {
        label: label.into(),
        purpose: "payments".into(),
        environment: "development".into(),
        chains: vec![1],
        review_by_ms,
        ..CreateKeyRequest::default()
    };
    KeyOrder::parse(request, &olga()).unwrap()
}

fn raw() -> Session {
    raw_session(&Pkcs11::new(SOFTHSM).unwrap(), "vault")
}

fn object(session: &Session, class: ObjectClass, id: KeyId) -> ObjectHandle {
    let id = Attribute::Id(id.bytes().to_vec());
    session.find_objects(&[Attribute::Class(class), id]).unwrap()[0]
}

/// A pair on the right curve; its private key is as we make them.
fn generate(session: &Session, id: KeyId, public_id: Option<KeyId>) {
    let secp256k1 = vec![0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
    let mut public = vec![Attribute::Token(true), Attribute::EcParams(secp256k1)];
    public.extend(public_id.map(|id| Attribute::Id(id.bytes().to_vec())));
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Id(id.bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
}

fn is_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[test]
fn a_replaced_key_is_frozen_also_where_no_public_object_gives_it_away() {
    opened("a_replaced_key_is_frozen_also_where_no_public_object_gives_it_away", async |vault| {
        let (bare, two) = (vault.make("bare").await, vault.make("two").await);
        vault.check().await;
        let session = raw();
        for (key, second_point) in [(bare, None), (two, Some(two))] {
            let private = object(&session, ObjectClass::PRIVATE_KEY, key);
            session.destroy_object(private).unwrap();
            if second_point.is_none() {
                let public = object(&session, ObjectClass::PUBLIC_KEY, key);
                session.destroy_object(public).unwrap();
            }
            generate(&session, key, second_point);
        }
        vault.check().await;
        for key in [bare, two] {
            assert!(vault.is_frozen(key));
            let trouble = vault.keys.trouble(key).unwrap();
            assert!(trouble.contains("not that of the pinned point"), "{trouble}");
        }

        // Nothing is healed by looking again, and the frozen key is left in peace.
        let bad = vault.hsm.counters().bad_signatures;
        vault.check().await;
        assert!(vault.keys.trouble(bare).is_some());
        assert_eq!(vault.hsm.counters().bad_signatures, bad);
    });
}

#[test]
fn a_key_whose_public_object_is_missing_or_doubled_stays_usable_if_its_private_key_is_right() {
    opened(
        "a_key_whose_public_object_is_missing_or_doubled_stays_usable_if_its_private_key_is_right",
        async |vault| {
            let (bare, two) = (vault.make("bare").await, vault.make("two").await);
            let session = raw();
            session.destroy_object(object(&session, ObjectClass::PUBLIC_KEY, bare)).unwrap();
            // Somebody else's public key under this id.
            generate(&session, KeyId::from_bytes([1; 16]), Some(two));
            for _ in 0..2 {
                vault.check().await;
                for key in [bare, two] {
                    assert!(!vault.is_frozen(key));
                    assert_eq!(vault.keys.trouble(key), None);
                }
            }
        },
    );
}

#[test]
fn a_key_that_is_made_while_the_token_is_read_is_not_absent() {
    opened("a_key_that_is_made_while_the_token_is_read_is_not_absent", async |vault| {
        let nothing = BTreeSet::new();
        // A token that is read before anybody has looked twice says nothing: then once more.
        let mut begun = None;
        for _ in 0..1_000 {
            let mut check = Box::pin(vault.keys.check(&nothing));
            if is_pending(check.as_mut()) {
                begun = Some(check);
                break;
            }
        }
        // One thread reads the token and makes keys: the reading is over when this is.
        let key = vault.make("born-now").await;
        begun.expect("never caught while it is read").await.unwrap();
        assert!(!vault.is_frozen(key));
        assert_eq!(vault.keys.troubles(), Vec::<String>::new());
    });
}

#[test]
fn a_key_that_is_being_made_is_no_stranger_and_one_that_was_given_up_is_half_made() {
    opened(
        "a_key_that_is_being_made_is_no_stranger_and_one_that_was_given_up_is_half_made",
        async |vault| {
            let on_token = async || vault.hsm.inspect().await.unwrap().len();
            let mut making = pin!(vault.keys.create(order("slow")));
            while on_token().await == 0 {
                assert!(is_pending(making.as_mut()));
            }
            vault.check().await;
            assert_eq!(vault.keys.troubles(), Vec::<String>::new());
            making.await.unwrap();
            vault.check().await;
            assert_eq!(vault.keys.troubles(), Vec::<String>::new());

            let mut making = Box::pin(vault.keys.create(order("given-up")));
            while on_token().await == 1 {
                assert!(is_pending(making.as_mut()));
            }
            drop(making);
            vault.check().await;
            let troubles = vault.keys.troubles().join("\n");
            assert!(troubles.contains("creation that did not end"), "{troubles}");
            assert!(troubles.contains("given-up"), "{troubles}");

            generate(&raw(), KeyId::from_bytes([1; 16]), None);
            vault.check().await;
            assert_eq!(vault.keys.troubles().len(), 2);
            assert!(vault.keys.troubles().join("\n").contains("unknown"));
        },
    );
}

#[test]
fn what_a_creation_left_that_did_not_end_is_told_and_is_no_key() {
    opened("what_a_creation_left_that_did_not_end_is_told_and_is_no_key", async |vault| {
        let session = raw();
        let kept = vault.make("kept").await;
        let lost = KeyId::from_bytes([7; 16]);
        let nothing = KeyId::from_bytes([8; 16]);
        for (key, label) in [(lost, "lost"), (nothing, "nothing")] {
            vault.sequencer.intend_key(intended(key, label)).await.unwrap();
        }
        // The process died between the token's work and the record; of the other, before both.
        generate(&session, lost, Some(lost));
        vault.keys.check(&BTreeSet::from([lost, nothing])).await.unwrap();
        let troubles = vault.keys.troubles();
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].contains("left by a creation that did not end"), "{troubles:?}");
        let view = vault.sequencer.view();
        assert_eq!(view.keys.keys().collect::<Vec<_>>(), [&kept], "none of them came to be");
        assert!(!vault.is_frozen(kept));
        // Its label is free: nobody is kept from making the key that was meant.
        let again = vault.make("lost").await;
        assert_ne!(again, lost);
    });
}

fn intended(key: KeyId, label: &str) -> KeyIntended {
    KeyIntended {
        by: olga(),
        chains: BTreeSet::from([ChainId(1)]),
        environment: Environment::Development,
        key,
        label: label.parse().unwrap(),
        owner: olga(),
        purpose: "payments".into(),
        review_by: Clock::genesis().now().sure.plus(Span(86_400_000)),
        tags: BTreeSet::new(),
    }
}

#[test]
fn what_is_kept_gets_its_cosignature_and_goes_without_while_the_witness_holds() {
    let test = "what_is_kept_gets_its_cosignature_and_goes_without_while_the_witness_holds";
    opened(test, async |vault| {
        let made = make_checkpoint_key(vault, CheckpointKind::Ed25519).await;
        let (elsewhere, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = WitnessConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            folder: elsewhere.path().to_owned(),
            name: "witness.example.com/one".to_owned(),
            journals: vec![Verifier {
                name: origin(vault.sequencer.view().vault.0),
                key: made.key.clone(),
            }],
        };
        let public = witness::init(&config).unwrap().witness;
        let server = Server::bind(config.listen).await.unwrap();
        let url = format!("http://{}", server.address());
        let cosigner = Arc::new(Cosigner::open(&config).unwrap());
        tokio::spawn(server.serve(cosigner, std::future::pending()));

        let segments = Segments::create(beside.path(), 8_192).unwrap();
        let remote = Remote::new(&url, &public.to_string()).unwrap();
        let proofs = Proofs::new(&vault.reader);
        let follower = Follower::new(remote, Mode::Off, vault.sequencer.clone(), proofs);
        let (sequencer, hsm) = (vault.sequencer.clone(), vault.hsm.clone());
        let places = segments.places().unwrap().0;
        let attestor = Arc::new(Attestor::new(sequencer, hsm, places, Some(follower)));
        let running = tokio::spawn(attestor.clone().run());
        let is_so = |cosigned: bool| {
            let head = vault.sequencer.head().borrow().sequence.0;
            attestor.newest().is_some_and(|newest| {
                let is_cosigned = public.check(&newest.note).is_ok();
                newest.checkpoint.size == head && is_cosigned == cosigned
            })
        };
        let until = async |cosigned: bool| {
            for _ in 0..1_000 {
                if is_so(cosigned) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            panic!("it did not come to be cosigned: {cosigned}; {:?}", attestor.troubles());
        };
        until(true).await;
        vault.sequencer.freeze(frozen("one")).await;
        until(true).await;
        let Kept::Text(kept) = segments.places().unwrap().1 else { panic!("nothing is kept") };
        assert!(public.check(&Note::parse(&kept).unwrap()).is_ok());
        // The signer's own checkpoints and stops go on.
        Holds::new(&config.folder).hold(witness::Scope::All, "held").unwrap();
        assert!(vault.sequencer.freeze(frozen("two")).await.sequence.is_some());
        until(false).await;
        assert_eq!(attestor.troubles(), [""; 0]);
        running.abort();
    });
}

fn frozen(caller: &str) -> Frozen {
    let scope = Scope::Caller(format!("spiffe://test/{caller}").parse().unwrap());
    Frozen { by: Actor::Signer, reason: "test".to_owned(), scope }
}

/// A checkpoint key of this kind, on record and in the token.
async fn make_checkpoint_key(vault: &Vault, kind: CheckpointKind) -> CheckpointKey {
    let object = B128::repeat_byte(7);
    let step = |step| vault.sequencer.checkpoint_key(step);
    step(CheckpointKeyStep::Intended(object)).await.unwrap();
    let key = vault.hsm.create_checkpoint_key(object, kind).await.unwrap();
    step(CheckpointKeyStep::Made(object, key)).await.unwrap();
    vault.sequencer.view().checkpoints.made.clone().unwrap()
}

fn checkpoint_object(session: &Session, class: ObjectClass, object: &B128) -> ObjectHandle {
    let id = Attribute::Id(checkpoint_id(object));
    session.find_objects(&[Attribute::Class(class), id]).unwrap()[0]
}

#[expect(clippy::disallowed_methods, reason = "somebody who has the PIN changes the key")]
fn signs_checkpoints(test: &str, kind: CheckpointKind) {
    opened(test, async |vault| {
        let made = make_checkpoint_key(vault, kind).await;
        vault.check().await;
        assert_eq!(vault.keys.troubles(), Vec::<String>::new());
        let root = vault.sequencer.durable_root();
        let note = vault.hsm.sign_checkpoint(root, made.clone()).await.unwrap();
        let name = origin(vault.sequencer.view().vault.0);
        let verifier = Verifier { name, key: made.key.clone() };
        assert_eq!(Note::parse(&note.to_string()).unwrap().check(&verifier), Ok(()));
        let signed = Checkpoint::parse(&note.text).unwrap();
        let head = *vault.sequencer.head().borrow();
        assert_eq!((signed.size, signed.root), (head.sequence.0, head.root));

        // Not twice, and not another.
        let again = vault.sequencer.checkpoint_key(CheckpointKeyStep::Intended(B128::ZERO)).await;
        assert!(again.is_err());
        let session = raw();
        let private = checkpoint_object(&session, ObjectClass::PRIVATE_KEY, &made.object);
        let extractable = session.get_attributes(private, &[AttributeType::Extractable]).unwrap();
        assert_eq!(extractable, [Attribute::Extractable(false)]);

        session.update_attributes(private, &[Attribute::Derive(true)]).unwrap();
        vault.check().await;
        let [trouble] = &vault.keys.troubles()[..] else { panic!("one trouble") };
        assert!(trouble.contains("checkpoints") && trouble.contains("may derive"), "{trouble}");

        session.destroy_object(private).unwrap();
        let gone = vault.hsm.sign_checkpoint(root, made).await;
        let missing = CheckpointFault::Objects(0);
        assert!(
            matches!(gone, Err(HsmError::Checkpoint(why)) if why.to_string() == missing.to_string())
        );
        vault.check().await;
        let [trouble] = &vault.keys.troubles()[..] else { panic!("one trouble") };
        assert!(trouble.contains("checkpoints") && trouble.contains("absent"), "{trouble}");
    });
}

#[test]
fn an_ed25519_key_signs_checkpoints_and_is_no_stranger() {
    signs_checkpoints(
        "an_ed25519_key_signs_checkpoints_and_is_no_stranger",
        CheckpointKind::Ed25519,
    );
}

#[test]
fn a_p256_key_signs_checkpoints_and_is_no_stranger() {
    signs_checkpoints("a_p256_key_signs_checkpoints_and_is_no_stranger", CheckpointKind::P256);
}

fn signs_snapshots(test: &str, kind: CheckpointKind) {
    opened(test, async |vault| {
        let made = make_checkpoint_key(vault, kind).await;
        let folder = tempfile::tempdir().unwrap();
        let place = (folder.path(), seal(vault.hsm.clone()));
        let soon = Duration::from_millis(5);
        let pace = Pace { every: 2, step: 1, look: soon, again_after: soon };
        let shadow = Shadow::of(&vault.started, &vault.reader, place, Claims::default());
        let (progress, _) = shadow.paced(pace).spawn().unwrap();
        while progress.snapshot() == Sequence(0) {
            assert_eq!(progress.troubles(), Vec::<String>::new());
            tokio::time::sleep(soon).await;
        }
        let files = Folder::of(folder.path());
        let upto = files.list().unwrap()[0];
        let snapshot = files.read(upto).unwrap().unwrap();
        let [id, hash] = [vault.sequencer.view().vault.0, snapshot.hash].map(hex::encode);
        let said = format!("portcullis snapshot v1\n{id}\n{upto}\n{hash}\n");
        assert!(made.key.verifies(said.as_bytes(), &snapshot.signature));
        assert!(Checkpoint::parse(&said).is_err());
    });
}

#[test]
fn an_ed25519_key_signs_snapshots() {
    signs_snapshots("an_ed25519_key_signs_snapshots", CheckpointKind::Ed25519);
}

#[test]
fn a_p256_key_signs_snapshots() {
    signs_snapshots("a_p256_key_signs_snapshots", CheckpointKind::P256);
}

#[test]
fn another_key_in_the_place_of_the_checkpoint_key_attests_nothing() {
    let test = "another_key_in_the_place_of_the_checkpoint_key_attests_nothing";
    opened(test, async |vault| {
        let made = make_checkpoint_key(vault, CheckpointKind::Ed25519).await;
        let session = raw();
        let private = checkpoint_object(&session, ObjectClass::PRIVATE_KEY, &made.object);
        session.destroy_object(private).unwrap();
        let other = vault.hsm.create_checkpoint_key(made.object, CheckpointKind::Ed25519).await;
        assert_ne!(other.unwrap(), made.key);
        let signed = vault.hsm.sign_checkpoint(vault.sequencer.durable_root(), made).await;
        assert!(matches!(signed, Err(HsmError::Checkpoint(CheckpointFault::Signature))));
    });
}

#[test]
fn a_checkpoint_key_whose_making_did_not_end_is_told() {
    opened("a_checkpoint_key_whose_making_did_not_end_is_told", async |vault| {
        let object = B128::repeat_byte(7);
        let intended = CheckpointKeyStep::Intended(object);
        vault.sequencer.checkpoint_key(intended).await.unwrap();
        vault.hsm.create_checkpoint_key(object, CheckpointKind::Ed25519).await.unwrap();
        vault.check().await;
        let [trouble] = &vault.keys.troubles()[..] else { panic!("one trouble") };
        assert!(trouble.contains("left by a creation that did not end"), "{trouble}");
        // One that nobody intended is unknown.
        let other = B128::repeat_byte(8);
        vault.hsm.create_checkpoint_key(other, CheckpointKind::P256).await.unwrap();
        vault.check().await;
        assert!(vault.keys.troubles().iter().any(|trouble| trouble.contains("unknown")));
    });
}
