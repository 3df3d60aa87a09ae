//! Snapshots: whatever happened in a vault, its state that was written down and read back at any
//! record goes on as the fold of all records does.

use portcullis_policy::book::Book;
use portcullis_policy::id::Sequence;
use portcullis_policy::record::{Record, Snapshot};
use portcullis_policy::request::sha256;
use portcullis_policy::state::{IMAGE_FORMAT, ImageFault, State, Unfoldable};
use portcullis_policy::stops::Scope;
use proptest::prelude::*;

use super::books::{chosen, wide};
use super::support::images::hold_every;
use super::support::{Vault, key};
use super::wishes::{KINDS, Wish};
use super::{Event, event, happen};

/// Every kind of request, reports, prices, stops and starts: the same each time.
fn varied() -> Vault {
    let mut vault = Vault::new(&wide().text());
    for round in 0..5_u8 {
        for kind in 0..KINDS {
            let amount = kind.wrapping_mul(7).wrapping_add(round) % 5;
            let (whom, nonce) = (usize::from(kind % 3), (kind + round) % 12);
            let wish = Wish { kind, amount, whom, nonce, by_b: kind % 2 == round % 2 };
            happen(&mut vault, &Event::Asked(wish));
            match kind % 6 {
                0 => happen(&mut vault, &Event::Minutes(u64::from(kind) * 17 + 1)),
                1 => happen(&mut vault, &Event::Priced(1_000 + u128::from(kind))),
                2 => happen(&mut vault, &Event::Mined(round + 1, kind % 4)),
                _ => {}
            }
        }
        let upto = vault.state.head();
        vault.write(Record::Snapshot(Snapshot { code: None, hash: sha256(b"some file"), upto }));
        happen(&mut vault, &Event::Restarted);
    }
    vault.suppress(9);
    vault.freeze("sam", Scope::Key(key(2)));
    vault
}

#[test]
fn a_state_read_back_at_any_record_goes_on_as_the_fold_does() {
    let vault = varied();
    assert!(vault.entries.len() > 100, "{}", vault.entries.len());
    let kinds: std::collections::BTreeSet<_> =
        vault.entries.iter().map(|entry| entry.record.kind()).collect();
    for kind in ["signed", "denied", "parked", "settled", "started", "snapshot"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    hold_every(&vault.entries, 3);
}

/// The fold itself may change in a way that no test of this kind can see otherwise: an image from
/// before would then be used by a version that would have come to another one, and found to be
/// wrong by what reads all records in the background, which stops everything.
#[test]
fn what_a_fixed_journal_comes_to_changes_only_together_with_its_number() {
    let image = varied().state_of_records().image().unwrap();
    let found = format!("{IMAGE_FORMAT} {}\n", sha256(&image));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/image.txt");
    if std::env::var_os("PORTCULLIS_REGENERATE").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = include_str!("../golden/image.txt");
    assert_eq!(
        found, golden,
        "raise IMAGE_FORMAT if this change is meant, and regenerate: PORTCULLIS_REGENERATE=1"
    );
}

#[test]
fn an_image_that_is_cut_lengthened_or_no_image_is_refused() {
    let image = varied().state_of_records().image().unwrap();
    for length in [0, 1, image.len() / 2, image.len() - 1] {
        let cut = State::of_image(&image[..length]);
        assert!(matches!(cut, Err(ImageFault::Read(_))), "{length}");
    }
    let longer = [&image[..], &[0]].concat();
    assert!(matches!(State::of_image(&longer), Err(ImageFault::Longer(1))));
}

#[test]
fn a_snapshot_goes_further_than_the_one_before_and_not_to_its_own_record() {
    let mut vault = varied();
    let (last, head) = (vault.state.snapshot(), vault.state.head());
    for upto in [Sequence(0), last, head.next()] {
        let snapshot = Snapshot { code: None, hash: sha256(b""), upto };
        let refused = vault.try_write(Record::Snapshot(snapshot));
        assert!(matches!(refused, Err(Unfoldable::Snapshot(_))), "{upto}");
    }
    let snapshot = Snapshot { code: None, hash: sha256(b""), upto: last.next() };
    vault.write(Record::Snapshot(snapshot));
    assert_eq!(vault.state.snapshot(), last.next());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_state_read_back_goes_on_as_the_fold_does_whatever_happened(
        book in chosen(),
        history in prop::collection::vec(event(), 0..60),
        step in 1_usize..20,
    ) {
        if Book::parse(&book.text()).is_err() {
            return Ok(());
        }
        let mut vault = Vault::new(&book.text());
        history.iter().for_each(|event| happen(&mut vault, event));
        hold_every(&vault.entries, step);
    }
}
