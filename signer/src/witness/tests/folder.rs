//! A folder that is not whole, not ours, or older than what was cosigned from it.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::witness::exhibits::EVIDENCE;
use crate::witness::holds::HOLDS;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A witness in a new folder, of which only the key was restored.
fn restored(key: &Path) -> (tempfile::TempDir, WitnessConfig) {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    std::fs::create_dir(&config.folder).unwrap();
    chmod(&config.folder, 0o700);
    std::fs::copy(key, config.key()).unwrap();
    (folder, config)
}

#[tokio::test]
async fn under_a_key_that_was_restored_no_journal_begins_anew_unless_somebody_says_so() {
    let (_old, old, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    let public = witness.cosigner.witness().clone();
    witness.end().await;
    let (_folder, config) = restored(&old.key());
    for _ in 0..2 {
        let refused = init(&config).unwrap_err();
        assert!(matches!(refused, WitnessError::State { .. }), "{refused}");
        assert!(refused.to_string().contains("init --new portcullis/aa"), "{refused}");
        assert_eq!(names(&config.folder), ["key"], "it made something");
        assert!(Cosigner::open(&config).is_err());
    }
    let new = [ORIGIN.to_owned()];
    let refused = init_with(&config, &new).unwrap_err();
    assert!(matches!(refused, WitnessError::HoldsLost { .. }), "{refused}");
    assert_eq!(names(&config.folder), ["key"], "it made something");
    std::fs::create_dir(config.folder.join(HOLDS)).unwrap();
    let made = init_with(&config, &new).unwrap();
    assert_eq!((made.witness, made.journals), (public, new.to_vec()));
    Cosigner::open(&config).unwrap();
}

#[tokio::test]
async fn what_was_known_once_is_never_made_known_again() {
    let (_folder, config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    witness.end().await;
    std::fs::remove_dir_all(place(&config, ORIGIN)).unwrap();
    for new in [&[][..], &[ORIGIN.to_owned()]] {
        let refused = init_with(&config, new).unwrap_err();
        assert!(matches!(refused, WitnessError::Lost { .. }), "{refused}");
    }
    assert!(matches!(Cosigner::open(&config), Err(WitnessError::Lost { .. })));
    assert!(names(&config.kept()).is_empty(), "it made something");
}

#[test]
fn a_journal_that_is_added_is_made_known_by_name_alone_and_before_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    init(&config).unwrap();
    let both = with_another(&config);
    assert!(matches!(init(&both), Err(WitnessError::State { .. })));
    let new = ["portcullis/bb".to_owned()];
    assert!(matches!(init_with(&config, &new), Err(WitnessError::NotConfigured { .. })));
    assert_eq!(init_with(&both, &new).unwrap().journals, new);
    // Said once more, nothing is left to be made.
    assert!(init_with(&both, &new).unwrap().journals.is_empty());
    Cosigner::open(&both).unwrap();
    // A list that is gone is made again from what is there, and never by a start.
    std::fs::remove_file(config.folder.join("origins")).unwrap();
    assert!(matches!(Cosigner::open(&both), Err(WitnessError::Unlisted { .. })));
    assert!(init(&both).unwrap().journals.is_empty());
    Cosigner::open(&both).unwrap();
}

/// Whoever puts an older folder back cannot have it sign a second time what it signed otherwise.
#[tokio::test]
async fn a_witness_that_is_shown_what_it_forgot_ends_and_holds_the_journal() {
    let (_old, old, witness) = running().await;
    let first = HONEST.submission(0, 10);
    let (_, _, line) = witness.post(&first.to_string()).await;
    let mut cosigned = first.clone();
    cosigned.note.signatures.push(NoteSignature::parse(line.trim_end()).unwrap());
    // Where it is known, it says nothing new.
    let again = Submission { old: 10, ..cosigned.clone() };
    witness.cosigned(&again).await;
    witness.end().await;
    let (_folder, config) = restored(&old.key());
    std::fs::create_dir(config.folder.join(HOLDS)).unwrap();
    init_with(&config, &[ORIGIN.to_owned()]).unwrap();
    let witness = Running::start(&config).await;
    let fork = Journal { fork: 5, mark: 1 };
    witness.cosigned(&fork.submission(0, 7)).await;
    // One that somebody made up, or that a stranger made, is none.
    let mut made_up = cosigned.clone();
    made_up.note.signatures[1].bytes[20] ^= 1;
    assert_eq!(witness.status(&made_up).await, 409);
    // Over HTTP it may end before it has answered.
    let refused = witness.cosigner.add(&cosigned.to_string());
    assert!(matches!(refused, Err(Refused::Forgotten { size: 10 })), "{refused:?}");
    // Whoever comes between that and the end gets nothing.
    let refused = witness.cosigner.add(&fork.submission(7, 8).to_string());
    assert!(matches!(refused, Err(Refused::Forgotten { size: 10 })), "{refused:?}");
    let ended = witness.served.await.unwrap();
    assert!(matches!(ended, Err(WitnessError::Forgotten { size: 10, .. })), "{ended:?}");
    drop(witness.cosigner);
    let kept = names(&config.folder.join(EVIDENCE));
    assert!(kept.iter().any(|name| name.ends_with("-forgotten-refused.note")), "{kept:?}");
    let witness = Running::start(&config).await;
    let (status, _, body) = witness.post(&fork.submission(7, 8).to_string()).await;
    assert!(status == 403 && body.contains("held"), "{status} {body}");
    witness.end().await;
}

/// As many records as it knows, and others, with its own cosignature: it was two at once.
#[tokio::test]
async fn a_cosignature_of_its_own_over_as_many_and_other_records_ends_it_too() {
    let (_folder, _config, witness) = running().await;
    witness.cosigned(&HONEST.submission(0, 10)).await;
    let mut other = Journal { fork: 5, mark: 1 }.submission(10, 10);
    let sign = |message: &[u8]| witness.cosigner.secret.sign(message);
    let line = witness.cosigner.witness().cosign(&other.note.text, 1_000, sign);
    other.note.signatures.push(line);
    let refused = witness.cosigner.add(&other.to_string());
    assert!(matches!(refused, Err(Refused::Forgotten { size: 10 })), "{refused:?}");
    let ended = witness.served.await.unwrap();
    assert!(matches!(ended, Err(WitnessError::Forgotten { size: 10, .. })), "{ended:?}");
}

/// An empty folder of holds releases everything.
#[test]
fn holds_that_are_gone_are_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    init(&config).unwrap();
    let holds = config.folder.join(HOLDS);
    std::fs::remove_dir(&holds).unwrap();
    let refused = init(&config).unwrap_err();
    assert!(matches!(refused, WitnessError::HoldsLost { .. }), "{refused}");
    assert!(refused.to_string().contains("mkdir -m 700"), "{refused}");
    assert!(matches!(Cosigner::open(&config), Err(WitnessError::HoldsLost { .. })));
    assert!(!holds.exists());
}

#[test]
fn no_folder_that_others_can_write_in_is_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    init(&config).unwrap();
    let evidence = config.folder.join(EVIDENCE);
    std::fs::create_dir(&evidence).unwrap();
    let holds = config.folder.join(HOLDS);
    let place = place(&config, ORIGIN);
    for path in [config.folder.clone(), config.kept(), place, holds, evidence] {
        chmod(&path, 0o770);
        let refused = Cosigner::open(&config).map(|_| ());
        let Err(WitnessError::Open { path: named, .. }) = refused else { panic!("{path:?}") };
        assert_eq!(named, path);
        chmod(&path, 0o750);
        Cosigner::open(&config).unwrap();
    }
}

/// The time is kept with the checkpoint, and so it is never taken back.
#[tokio::test]
async fn a_clock_that_goes_back_or_stands_at_nothing_makes_no_cosignature_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    init(&config).unwrap();
    let at = |wall: fn() -> Millis, submission: Submission| {
        let mut cosigner = Cosigner::open(&config).unwrap();
        cosigner.wall = wall;
        let line = cosigner.add(&submission.to_string())?;
        let note = Note { text: submission.note.text, signatures: vec![line] };
        Ok::<_, Refused>(cosigner.witness().check(&note).unwrap())
    };
    assert_eq!(at(|| Millis(5_000_000), HONEST.submission(0, 5)).unwrap(), 5_000);
    assert_eq!(at(|| Millis(4_000_000), HONEST.submission(5, 6)).unwrap(), 5_000);
    assert_eq!(at(|| Millis(6_000_000), HONEST.submission(6, 6)).unwrap(), 6_000);
    assert_eq!(at(|| Millis(5_000_000), HONEST.submission(6, 6)).unwrap(), 6_000);
    let refused = at(|| Millis(0), HONEST.submission(6, 7));
    assert!(matches!(refused, Err(Refused::Clock)), "{refused:?}");
    assert_eq!(at(|| Millis(7_000_000), HONEST.submission(6, 7)).unwrap(), 7_000);
}
