//! Notes and keys that other programs made, and whatever is none.

use ed25519_dalek::Signer as _;

use super::*;

/// A secret of these tests.
pub(crate) struct Secret([u8; 32]);

pub(crate) const KEY: Secret = Secret([9; 32]);

impl Secret {
    fn key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0)
    }

    pub(crate) fn public(&self) -> NoteKey {
        NoteKey::ed25519(self.key().verifying_key().as_bytes()).unwrap()
    }
}

fn signature(name: &str, key: &NoteKey, raw: &[u8]) -> NoteSignature {
    NoteSignature { name: name.into(), id: key.id(name), bytes: key.encoded(raw).unwrap() }
}

pub(crate) fn signed(checkpoint: &Checkpoint) -> Note {
    let text = checkpoint.text();
    let raw = KEY.key().sign(text.as_bytes()).to_bytes();
    let signatures = vec![signature(&checkpoint.origin, &KEY.public(), &raw)];
    Note { text, signatures }
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: origin(B256::ZERO), size: 20, root: B256::repeat_byte(3) }
}

/// Of the C2SP pages, where the key was not told: the form, byte for byte.
const PUBLISHED: &str = "example.com/behind-the-sofa\n20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7\
    u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

#[test]
fn the_published_checkpoint_is_read_and_written_as_it_stands() {
    let note = Note::parse(PUBLISHED).unwrap();
    assert_eq!(note.to_string(), PUBLISHED);
    assert_eq!(Checkpoint::parse(&note.text).unwrap().size, 20_852_163);
    assert_eq!(note.signatures[0].bytes.len(), 64);
}

/// golang.org/x/mod/sumdb/note: its example's key and signature.
#[test]
fn a_note_that_another_program_signed_is_verified() {
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let (name, verifier) = ("PeterNeumann", Verifier::parse(vkey).unwrap());
    assert_eq!((verifier.name.as_str(), verifier.to_string().as_str()), (name, vkey));
    for bad in [
        vkey.replace("c74f", "c74e"),
        vkey.replace("+A", "+B"),
        vkey.replace("PeterNeumann", "Peter Neumann"),
        vkey.replace("PeterNeumann", ""),
        vkey.replace('+', "-"),
        format!("{vkey}\n"),
        format!("{vkey}AAAA"),
    ] {
        let fault = Verifier::parse(&bad).unwrap_err();
        assert!(matches!(fault, NoteFault::Vkey | NoteFault::Key), "{bad}");
    }
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv\
        qfqdngotpRZb6KE6RyyBwJnAM=\n";
    let note = Note::parse(note).unwrap();
    assert_eq!(note.check(&verifier), Ok(()));
    assert_eq!(
        note.check(&Verifier { name: "Somebody".into(), ..verifier.clone() }),
        Err(NoteFault::Unsigned("Somebody".into()))
    );
    let changed = Note { text: note.text.replace("answer", "amswer"), ..note };
    assert_eq!(changed.check(&verifier), Err(NoteFault::Signature(name.into())));
}

#[test]
fn either_kind_of_key_signs_and_whatever_is_changed_is_noticed() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let point = secret.verifying_key().to_encoded_point(false);
    let other = NoteKey::p256(point.as_bytes()).unwrap();
    let text = checkpoint().text();
    let raw: p256::ecdsa::Signature = secret.sign(text.as_bytes());
    let name = checkpoint().origin;
    let note =
        Note { text: text.clone(), signatures: vec![signature(&name, &other, &raw.to_bytes())] };
    for (key, note) in [(KEY.public(), signed(&checkpoint())), (other, note)] {
        let read = Note::parse(&note.to_string()).unwrap();
        let key: NoteKey = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        let verifier = Verifier { name: name.clone(), key };
        assert_eq!(Verifier::parse(&verifier.to_string()).as_ref(), Ok(&verifier));
        assert_eq!((&read, read.check(&verifier)), (&note, Ok(())));
        let longer = Note { text: format!("{text}more\n"), ..note.clone() };
        assert_eq!(longer.check(&verifier), Err(NoteFault::Signature(name.clone())));
        let mut bent = note.clone();
        bent.signatures[0].bytes[8] ^= 1;
        assert_eq!(bent.check(&verifier), Err(NoteFault::Signature(name.clone())));
        // One that is good does not make up for one that is none.
        bent.signatures.extend(note.signatures.clone());
        assert!(bent.check(&verifier).is_err());
        let mut strange = note.clone();
        strange.signatures[0].id = [0; 4];
        assert_eq!(strange.check(&verifier), Err(NoteFault::Unsigned(name.clone())));
        // A stranger's signature beside it says nothing.
        strange.signatures.extend(note.signatures);
        assert_eq!(strange.check(&verifier), Ok(()));
    }
}

#[test]
fn what_is_no_note_no_checkpoint_and_no_key_is_refused() {
    let good = signed(&checkpoint()).to_string();
    assert!(Note::parse(&good).is_ok());
    for bad in [
        "",
        "\n\n",
        "a\n",
        good.strip_suffix('\n').unwrap(),
        &good.replace('\u{2014}', "-"),
        &good.replace("portcullis/", "portcullis\t"),
        &good.replace('=', ""),
        &format!("{good}\n"),
        &good.replace("\u{2014} portcullis", "\u{2014} port+cullis"),
        &format!("{}{good}", "x\n".repeat(NOTE_BYTES_MAX)),
    ] {
        assert_eq!(Note::parse(bad), Err(NoteFault::Note), "{bad:.300}");
    }
    let text = checkpoint().text();
    for bad in [
        text.replace("\n20\n", "\n020\n"),
        text.replace("\n20\n", "\n+20\n"),
        text.replace("\n20\n", "\n-1\n"),
        text.replace('=', ""),
        format!("{text}extension"),
        format!("{text}\n"),
        format!("{text}\nextension\n"),
        format!("{text}extension\n\n"),
        format!("\n{}", text.split_once('\n').unwrap().1),
        text.trim_end().to_owned(),
    ] {
        assert_eq!(Checkpoint::parse(&bad), Err(NoteFault::Text), "{bad}");
    }
    for bytes in [&[0_u8; 32][..], &[1; 31], &[4; 65], &[]] {
        assert_eq!(NoteKey::p256(bytes), Err(NoteFault::Key));
    }
    for bytes in [&[0_u8; 31][..], &[0; 33], &[0; 32], &[]] {
        assert_eq!(NoteKey::ed25519(bytes), Err(NoteFault::Key));
    }
    let upper = format!("{{\"ed25519\":\"{}\"}}", "AB".repeat(32));
    assert!(serde_json::from_str::<NoteKey>(&upper).is_err());
}

/// c2sp.org/tlog-checkpoint: they are opaque, and as much signed as the rest.
#[test]
fn extension_lines_are_signed_with_the_checkpoint_and_say_nothing_of_it() {
    let text = format!("{}one thing\nanother\n", checkpoint().text());
    assert_eq!(Checkpoint::parse(&text), Ok(checkpoint()));
    let raw = KEY.key().sign(text.as_bytes()).to_bytes();
    let name = checkpoint().origin;
    let note = Note { text, signatures: vec![signature(&name, &KEY.public(), &raw)] };
    let read = Note::parse(&note.to_string()).unwrap();
    let verifier = Verifier { name: name.clone(), key: KEY.public() };
    assert_eq!((&read, read.check(&verifier)), (&note, Ok(())));
    let cut = Note { text: checkpoint().text(), ..read };
    assert_eq!(cut.check(&verifier), Err(NoteFault::Signature(name)));
}

/// Anybody can add lines, and each that names a known key costs a verification.
#[test]
fn a_note_with_more_signatures_than_anybody_needs_is_refused_before_they_are_verified() {
    let mut note = signed(&checkpoint());
    let verifier = Verifier { name: checkpoint().origin, key: KEY.public() };
    let stranger = NoteSignature { name: "stranger".into(), id: [1; 4], bytes: vec![1; 64] };
    note.signatures.resize(SIGNATURES_MAX, stranger.clone());
    let full = Note::parse(&note.to_string()).unwrap();
    assert_eq!(full.check(&verifier), Ok(()));
    note.signatures.push(stranger);
    assert_eq!(Note::parse(&note.to_string()), Err(NoteFault::TooMany));

    let one = signed(&checkpoint()).signatures[0].clone();
    let of = |count| Note { text: checkpoint().text(), signatures: vec![one.clone(); count] };
    assert_eq!(of(2).check(&verifier), Ok(()));
    assert_eq!(of(3).check(&verifier), Err(NoteFault::Repeated(verifier.name.clone())));
}
