//! Notes, checkpoints, cosignatures and receipts beside implementations that are not ours:
//! `signed_note` and `tlog_tiles` (ports of Go's `sumdb/note` and `sumdb/tlog`), and `sigsum`,
//! which checks what witnesses cosigned. What one accepts the other does, and what is wrong is
//! wrong with both.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use alloy_primitives::B256;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_tlog::note::{Checkpoint, Note, NoteKey, NoteSignature, Verifier, Witness, origin};
use portcullis_tlog::receipt::Receipt;
use portcullis_tlog::tree::{Tree, leaf_hash};
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

const RECORDS: u64 = 37;

fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    secret(seed).verifying_key().to_bytes()
}

/// Who signs the journal, with one key or another.
fn journal(seed: u8) -> Verifier {
    let key = NoteKey::ed25519(&public(seed)).unwrap();
    Verifier { name: origin(B256::repeat_byte(9)), key }
}

fn record(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn tree() -> Tree {
    Tree::new((0..RECORDS).map(|number| leaf_hash(&record(number))).collect())
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: journal(1).name, size: RECORDS, root: tree().root() }
}

fn signed(text: String, seed: u8) -> Note {
    let Verifier { name, key } = journal(seed);
    let raw = secret(seed).sign(text.as_bytes()).to_bytes();
    let (id, bytes) = (key.id(&name), key.encoded(&raw).unwrap());
    Note { text, signatures: vec![NoteSignature { name, id, bytes }] }
}

/// Whether each of the two says that this key signed the note: ours first.
fn judged(note: &str, by: &Verifier) -> [bool; 2] {
    let ours = Note::parse(note).is_ok_and(|note| note.check(by).is_ok());
    let verifier = StandardVerifier::new(&by.to_string()).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let theirs = signed_note::Note::from_bytes(note.as_bytes());
    [ours, theirs.is_ok_and(|note| note.verify(&known).is_ok())]
}

#[test]
fn a_note_of_ours_counts_with_another_implementation_and_a_wrong_one_with_neither() {
    let good = signed(checkpoint().text(), 1).to_string();
    assert_eq!(judged(&good, &journal(1)), [true; 2]);
    assert_eq!(judged(&good, &journal(2)), [false; 2], "another key");
    let elsewhere = Verifier { name: origin(B256::ZERO), ..journal(1) };
    assert_eq!(judged(&good, &elsewhere), [false; 2], "another name");
    let forged = signed(checkpoint().text(), 2);
    let mut taken = forged.clone();
    taken.signatures[0].id = journal(1).key.id(&journal(1).name);
    assert_eq!(judged(&taken.to_string(), &journal(1)), [false; 2], "somebody else's signature");
    let other_root = Checkpoint { root: B256::repeat_byte(1), ..checkpoint() }.text();
    let bent = good.replace(&checkpoint().text(), &other_root);
    assert_ne!(bent, good);
    assert_eq!(judged(&bent, &journal(1)), [false; 2], "another root");
}

#[test]
fn whatever_byte_of_a_note_is_changed_neither_implementation_takes_it() {
    let good = signed(checkpoint().text(), 1).to_string();
    for at in 0..good.len() {
        for mask in [1, 0x20, 0x80] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= mask;
            // What is no text is no note: neither is asked.
            let Ok(bent) = String::from_utf8(bytes) else { continue };
            assert_eq!(judged(&bent, &journal(1)), [false; 2], "byte {at} with {mask}: {bent}");
        }
    }
}

#[test]
fn a_note_of_another_implementation_counts_with_ours() {
    // Of the same secret, in the form that Go has for it.
    let Verifier { name, key } = journal(1);
    let vkey = journal(1).to_string();
    assert_eq!(vkey, signed_note::new_ed25519_verifier_key(&name, &secret(1).verifying_key()));
    let id = hex::encode(key.id(&name));
    let encoded = base64([&[1][..], &[1; 32]].concat());
    let signer = StandardSigner::new(&format!("PRIVATE+KEY+{name}+{id}+{encoded}")).unwrap();
    let text = checkpoint().text();
    let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let written = String::from_utf8(theirs.to_bytes()).unwrap();
    assert_eq!(written, signed(text, 1).to_string(), "Ed25519 gives one signature for one text");
    assert_eq!(Note::parse(&written).unwrap().check(&journal(1)), Ok(()));
    assert!(Note::parse(&written).unwrap().check(&journal(2)).is_err());
}

fn base64(bytes: Vec<u8>) -> String {
    use base64ct::{Base64, Encoding as _};
    Base64::encode_string(&bytes)
}

#[test]
fn a_checkpoint_of_ours_reads_the_same_elsewhere_and_the_other_way_round() {
    for size in [0, 1, RECORDS, u64::MAX] {
        let ours = Checkpoint { size, ..checkpoint() };
        let theirs = tlog_tiles::Checkpoint::from_bytes(ours.text().as_bytes()).unwrap();
        assert_eq!((theirs.origin(), theirs.size()), (ours.origin.as_str(), size));
        assert_eq!((theirs.hash().0, theirs.extension()), (ours.root.0, ""));
        let hash = tlog_tiles::Hash(ours.root.0);
        let written = tlog_tiles::Checkpoint::new(&ours.origin, size, hash, "").unwrap();
        assert_eq!(Checkpoint::parse(std::str::from_utf8(&written.to_bytes()).unwrap()), Ok(ours));
    }
    let good = checkpoint().text();
    for (bad, why) in [
        (good.replace("\n37\n", "\n037\n"), "a leading zero"),
        (good.replace("\n37\n", "\n+37\n"), "a sign"),
        (good.replace("\n37\n", "\n18446744073709551616\n"), "too many"),
        (good.replace('=', ""), "no padding"),
        (good.replacen("portcullis", "\nportcullis", 1), "no origin"),
        (good.trim_end().to_owned(), "no end"),
    ] {
        let theirs = tlog_tiles::Checkpoint::from_bytes(bad.as_bytes());
        assert_eq!((Checkpoint::parse(&bad).is_ok(), theirs.is_ok()), (false, false), "{why}");
    }
}

/// Takes a receipt apart line by line, and asks other implementations of everything in it.
fn receipt_counts_elsewhere(receipt: &str, record: &[u8], by: &Verifier) -> bool {
    let Some((proof, note)) = receipt.split_once("\n\n") else { return false };
    let lines: Vec<&str> = proof.split('\n').collect();
    let ["c2sp.org/tlog-proof@v1", index, path @ ..] = lines.as_slice() else { return false };
    let index: Option<u64> = index.strip_prefix("index ").and_then(|index| index.parse().ok());
    let path: Result<Vec<_>, _> =
        path.iter().map(|hash| tlog_tiles::Hash::parse_hash(hash)).collect();
    let known = StandardVerifier::new(&by.to_string()).unwrap();
    let known = VerifierList::new(vec![Box::new(known)]);
    let Ok(note) = signed_note::Note::from_bytes(note.as_bytes()) else { return false };
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text());
    let (Some(index), Ok(path), Ok(checkpoint)) = (index, path, checkpoint) else { return false };
    let leaf = tlog_tiles::record_hash(record);
    note.verify(&known).is_ok()
        && checkpoint.origin() == by.name
        && tlog_tiles::check_record(&path, checkpoint.size(), *checkpoint.hash(), index, leaf)
            .is_ok()
}

#[test]
fn a_receipt_of_ours_counts_elsewhere_and_a_wrong_one_nowhere() {
    let judged = |receipt: &str, record: &[u8], by: &Verifier| {
        let ours = Receipt::parse(receipt).is_ok_and(|one| one.check(record, by).is_ok());
        [ours, receipt_counts_elsewhere(receipt, record, by)]
    };
    let make = |index: u64, note: Note| {
        let path = tree().prove(index).unwrap().path;
        Receipt { index, path, checkpoint: note }.to_string()
    };
    for index in 0..RECORDS {
        let good = make(index, signed(checkpoint().text(), 1));
        assert_eq!(judged(&good, &record(index), &journal(1)), [true; 2]);
        assert_eq!(judged(&good, &record(index + 1), &journal(1)), [false; 2], "another record");
        assert_eq!(judged(&good, &record(index), &journal(2)), [false; 2], "another key");
        let other = Checkpoint { root: B256::repeat_byte(1), ..checkpoint() };
        let wrong = make(index, signed(other.text(), 1));
        assert_eq!(judged(&wrong, &record(index), &journal(1)), [false; 2], "another root");
        let smaller = Checkpoint { size: RECORDS - 1, ..checkpoint() };
        let wrong = make(index, signed(smaller.text(), 1));
        // The last one is then outside, and of the others one may have a proof of another length.
        let [ours, theirs] = judged(&wrong, &record(index), &journal(1));
        assert_eq!(ours, theirs, "another size, record {index}");
        let moved = good.replacen(&format!("index {index}"), &format!("index {}", index ^ 1), 1);
        assert_eq!(judged(&moved, &record(index), &journal(1)), [false; 2], "another place");
    }
}

/// What the witness called `witness` of seed 4 made of a checkpoint.
fn cosigned(text: &str, seconds: u64, seed: u8) -> (u64, [u8; 64]) {
    let witness = Witness::new("witness", &public(seed)).unwrap();
    let sign = |message: &[u8]| secret(seed).sign(message).to_bytes();
    let line = witness.cosign(text, seconds, sign);
    let (time, signature) = line.bytes.split_first_chunk::<8>().unwrap();
    (u64::from_be_bytes(*time), signature.try_into().unwrap())
}

/// A proof of Sigsum, in which the text that is signed, the tree and the cosignature are ours.
struct Proof {
    root: B256,
    seconds: u64,
    witness: u8,
    checkpoint: u8,
    said_seconds: u64,
}

impl Proof {
    fn good() -> Self {
        let root = sigsum_tree().root();
        Self {
            root,
            seconds: 1_764_000_000,
            witness: 4,
            checkpoint: 1,
            said_seconds: 1_764_000_000,
        }
    }

    /// Whether `sigsum` takes it, from whoever has key 1 and witness 4.
    fn counts(&self) -> bool {
        let log = sigsum::Hash::new(public(1));
        let name = format!("sigsum.org/v1/tree/{log:x}");
        let text = Checkpoint { origin: name, size: RECORDS, root: self.root }.text();
        let signature = secret(self.checkpoint).sign(text.as_bytes()).to_bytes();
        let (_, cosignature) = cosigned(&text, self.seconds, self.witness);
        let path = sigsum_tree().prove(5).unwrap().path;
        let path: Vec<String> =
            path.iter().map(|hash| format!("node_hash={}\n", hex(hash))).collect();
        let leaf = sigsum_leaf();
        let proof = format!(
            "version=2\nlog={log:x}\nleaf={:x} {}\n\nsize={RECORDS}\nroot_hash={}\nsignature={}\n\
             cosignature={:x} {} {}\n\nleaf_index=5\n{}",
            sigsum::Hash::new(public(2)),
            hex(&leaf[32..96]),
            hex(self.root),
            hex(signature),
            sigsum::Hash::new(public(4)),
            self.said_seconds,
            hex(cosignature),
            path.concat(),
        );
        let proof = sigsum::SigsumSignature::from_ascii(&proof).unwrap();
        let mut policy = sigsum::PolicyBuilder::new();
        policy.add_log(public(1).into(), None).unwrap();
        policy.add_witness("witness".into(), public(4).into(), None).unwrap();
        policy.set_quorum("witness".into()).unwrap();
        let message = sigsum::Hash::new(b"what was done");
        sigsum::verify(&message, &proof, &[public(2).into()], &policy.build()).is_ok()
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

/// A leaf of Sigsum: checksum, signature of whoever submitted it, and the hash of their key.
fn sigsum_leaf() -> Vec<u8> {
    let checksum = sigsum::Hash::new(sigsum::Hash::new(b"what was done"));
    let said = [&b"sigsum.org/v1/tree-leaf\0"[..], checksum.as_ref()].concat();
    let signature = secret(2).sign(&said).to_bytes();
    [checksum.as_ref(), &signature, sigsum::Hash::new(public(2)).as_ref()].concat()
}

fn sigsum_tree() -> Tree {
    let leaf = |number| leaf_hash(&if number == 5 { sigsum_leaf() } else { record(number) });
    Tree::new((0..RECORDS).map(leaf).collect())
}

#[test]
fn a_checkpoint_tree_and_cosignature_of_ours_are_a_proof_elsewhere_and_wrong_ones_are_none() {
    assert!(Proof::good().counts());
    assert!(!Proof { witness: 5, ..Proof::good() }.counts(), "another witness's key");
    assert!(!Proof { checkpoint: 3, ..Proof::good() }.counts(), "another journal's key");
    assert!(!Proof { said_seconds: 1_764_000_001, ..Proof::good() }.counts(), "another time");
    assert!(!Proof { root: B256::repeat_byte(1), ..Proof::good() }.counts(), "another root");
}

/// Of a log and eight witnesses that run: the example in Sigsum's own documentation, and the keys
/// of the witnesses as its policy `sigsum-test-2025-3` names them.
const PUBLISHED: (&str, u64, &str) = (
    "sigsum.org/v1/tree/1643169b32bef33a3f54f8a353b87c475d19b6223cbb106390d10a29978e1cba",
    381_382,
    "901fefc6f1d978d2c2bedb82d448755bcdc7e8626e67ac7ee80873771be9b667",
);

/// By the hash of the witness's key.
const COSIGNED_AT: u64 = 1_770_193_051;
const COSIGNATURES: [(&str, &str); 2] = [
    (
        "1c997261f16e6e81d13f420900a2542a4b6a049c2d996324ee5d82a90ca3360c",
        "a1ee1182b265204499cbef3ae59f3ea228b928b3cbda8817a4ed5a12776823e9\
         ad8ef1ce986b9b98d9954f1798ec4315c1820704600a231c69038ccc9726d202",
    ),
    (
        "70b861a010f25030de6ff6a5267e0b951e70c04b20ba4a3ce41e7fba7b9b7dfc",
        "f5953f406f5fd97d9c9d1328b00b07bf434a5eb76d8da359aeda98c414de29ca\
         1ced1872971ea0f137508a7bb05c7d322548409425677af96433706319bc0801",
    ),
];

#[test]
fn what_witnesses_elsewhere_cosigned_counts_with_ours_and_nothing_else_does() {
    let (origin, size, root) = PUBLISHED;
    let root = B256::from_slice(&hex::decode(root).unwrap());
    let text = Checkpoint { origin: origin.into(), size, root }.text();
    for (keyhash, cosignature) in COSIGNATURES {
        let hash = <[u8; 32]>::try_from(hex::decode(keyhash).unwrap()).unwrap();
        let known = sigsum::policy::SIGSUM_TEST_2025_3.get_witness_by_keyhash(&hash.into());
        let key = <[u8; 32]>::from(known.unwrap().pubkey);
        let witness = Witness::new("witness", &key).unwrap();
        // The line's id says which key; the cosignature itself is theirs.
        let id = witness.cosign(&text, 0, |_| [0; 64]).id;
        let line = |seconds: u64| {
            let signature = hex::decode(cosignature).unwrap();
            let bytes = [&seconds.to_be_bytes()[..], &signature].concat();
            NoteSignature { name: "witness".into(), id, bytes }
        };
        let note =
            |text: &str, seconds| Note { text: text.into(), signatures: vec![line(seconds)] };
        assert_eq!(witness.check(&note(&text, COSIGNED_AT)), Ok(COSIGNED_AT));
        assert!(witness.check(&note(&text, COSIGNED_AT + 1)).is_err(), "another time");
        let bigger = text.replace("381382", "381383");
        assert!(witness.check(&note(&bigger, COSIGNED_AT)).is_err(), "another size");
    }
}
