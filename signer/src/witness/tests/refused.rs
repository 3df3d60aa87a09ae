//! What does not fit, and what is kept of it; and what the specification wants taken.

use super::*;
use crate::witness::exhibits::EVIDENCE;

/// What is kept of one kind: the note that was known, and the one that was refused.
fn evidence(config: &WitnessConfig, kind: &str) -> Option<(Note, Note)> {
    let name = place(config, ORIGIN).file_name().unwrap().to_str().unwrap().to_owned();
    let note = |which: &str| {
        let path = config.folder.join(EVIDENCE).join(format!("{name}-{kind}-{which}.note"));
        Some(Note::parse(&std::fs::read_to_string(path).ok()?).unwrap())
    };
    Some((note("known")?, note("refused")?))
}

#[tokio::test]
async fn two_signed_notes_over_one_size_are_kept_as_proof_and_the_first_stays() {
    let (_folder, config, witness) = running().await;
    let fork = Journal { fork: 5, mark: 1 };
    witness.cosigned(&HONEST.submission(0, 10)).await;
    assert_eq!(evidence(&config, "fork"), None);
    // Whoever does not know how far we are shows it all the same.
    let told = (409, "text/x.tlog.size".to_owned(), "10\n".to_owned());
    assert_eq!(witness.post(&fork.submission(0, 10).to_string()).await, told);
    let (known, refused) = evidence(&config, "fork").unwrap();
    let journal = Verifier { name: ORIGIN.into(), key: public(&key()) };
    for (note, of) in [(&known, HONEST), (&refused, fork)] {
        assert_eq!(note.check(&journal), Ok(()));
        assert_eq!(Checkpoint::parse(&note.text), Ok(of.checkpoint(10)));
    }
    assert_eq!(evidence(&config, "suspicion"), None);
    let other = Journal { fork: 6, mark: 2 };
    assert_eq!(witness.status(&other.submission(10, 10)).await, 409);
    witness.cosigned(&HONEST.submission(10, 11)).await;
    assert_eq!(witness.status(&fork.submission(11, 11)).await, 409);
    assert_eq!(evidence(&config, "fork"), Some((known, refused)));
    witness.end().await;
}

/// A good note with a bad proof, as anybody can send it, takes the place of no proof.
#[tokio::test]
async fn what_is_no_continuation_is_kept_as_a_suspicion_apart_from_proof() {
    let (_folder, config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    let bent = Submission { path: Vec::new(), ..HONEST.submission(10, 12) };
    assert_eq!(witness.status(&bent).await, 422);
    let (known, refused) = evidence(&config, "suspicion").unwrap();
    assert_eq!((known, refused), (HONEST.submission(0, 10).note, bent.note));
    assert_eq!(evidence(&config, "fork"), None);
    assert_eq!(witness.status(&Journal { fork: 5, mark: 1 }.submission(10, 10)).await, 409);
    assert!(evidence(&config, "fork").is_some());
    // What nobody signed is no evidence of anything.
    witness.end().await;
}

/// A change of keys: both sign for a while, and each counts alone.
#[tokio::test]
async fn a_journal_with_two_keys_is_cosigned_by_either_and_spoilt_by_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config_in(folder.path());
    let other = SigningKey::from_bytes(&[6; 32]);
    config.journals.push(Verifier { name: ORIGIN.into(), key: public(&other) });
    assert_eq!(config.origins(), [ORIGIN]);
    init(&config).unwrap();
    let witness = Running::start(&config).await;
    witness.cosigned(&HONEST.submission(0, 5)).await;
    let theirs = |size| signed(&HONEST.checkpoint(size), &other);
    witness.cosigned(&Submission { note: theirs(6), ..HONEST.submission(5, 6) }).await;
    let mut both = HONEST.submission(6, 7);
    both.note.signatures.extend(theirs(7).signatures);
    witness.cosigned(&both).await;
    let mut spoilt = HONEST.submission(7, 8);
    spoilt.note.signatures.extend(theirs(9).signatures);
    assert_eq!(witness.status(&spoilt).await, 403);
    let third = SigningKey::from_bytes(&[7; 32]);
    let stranger = signed(&HONEST.checkpoint(8), &third);
    let stranger = Submission { note: stranger, ..HONEST.submission(7, 8) };
    assert_eq!(witness.status(&stranger).await, 403);
    witness.end().await;
}

#[test]
fn a_key_that_stands_there_twice_and_more_than_a_change_takes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let read = |seeds: &[u8]| {
        let vkeys = seeds.iter().map(|seed| {
            let key = public(&SigningKey::from_bytes(&[*seed; 32]));
            format!("\"{}\"", Verifier { name: ORIGIN.into(), key })
        });
        let vkeys = vkeys.collect::<Vec<_>>().join(", ");
        let file = folder.path().join("witness.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\nfolder = \"state\"\nname = \"w\"\njournals = [{vkeys}]\n"
        );
        std::fs::write(&file, text).unwrap();
        WitnessConfig::read(&file).map(|config| config.journals.len())
    };
    assert_eq!(read(&[1, 2, 3, 4]).unwrap(), 4);
    assert!(matches!(read(&[1, 2, 1]), Err(WitnessConfigError::Twice { .. })));
    assert!(matches!(read(&[1, 2, 3, 4, 5]), Err(WitnessConfigError::TooManyKeys { .. })));
}

/// c2sp.org/tlog-checkpoint: they are a part of what is signed and cosigned.
#[tokio::test]
async fn extension_lines_are_cosigned_with_the_checkpoint_as_long_as_there_is_room() {
    let (_folder, config, witness) = running().await;
    let extended = |old, new, extension: &str| {
        let mut submission = HONEST.submission(old, new);
        let text = format!("{}{extension}\n", submission.note.text);
        submission.note.signatures[0].bytes = key().sign(text.as_bytes()).to_bytes().to_vec();
        submission.note.text = text;
        submission
    };
    witness.cosigned(&extended(0, 5, "a line")).await;
    witness.cosigned(&extended(5, 5, "another")).await;
    assert_eq!(witness.status(&extended(5, 6, &"x".repeat(8_000))).await, 413);
    witness.end().await;
    let witness = Running::start(&config).await;
    witness.cosigned(&HONEST.submission(5, 6)).await;
    witness.end().await;
}
