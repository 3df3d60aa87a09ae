//! Whether a state that was written down and read back goes on as the fold does.

use portcullis_policy::record::{Entry, Record};
use portcullis_policy::state::State;

/// Places in a journal at which the state is taken apart and put together again.
const PLACES: usize = 4;

/// Folds a journal, and beside it what comes back from an image at some places: all of them must
/// come to the same, in every field and in every byte.
pub fn hold(entries: &[Entry]) {
    let step = entries.len().div_ceil(PLACES).max(1);
    hold_every(entries, step);
}

/// The same at every so many records.
pub fn hold_every(entries: &[Entry], step: usize) {
    let (first, rest) = entries.split_first().unwrap();
    let mut plain = State::genesis(first).unwrap();
    let mut others = Vec::new();
    for (at, entry) in rest.iter().enumerate() {
        if at % step == 0 {
            others.push((plain.head(), again(&plain)));
        }
        if let Err(fault) = plain.apply(entry) {
            // What does not fold does not fold from an image either, and for the same reason.
            for (from, other) in &mut others {
                let same = other.apply(entry).unwrap_err().to_string() == fault.to_string();
                assert!(same, "from the image at record {from}");
            }
            return;
        }
        others.iter_mut().for_each(|(_, other)| other.apply(entry).unwrap());
    }
    let image = plain.image().unwrap();
    plain.parse_proposed_books();
    let said = format!("{plain:?}");
    for (from, mut other) in others {
        assert!(other.image().unwrap() == image, "from the image at record {from}");
        other.parse_proposed_books();
        assert!(format!("{other:?}") == said, "from the image at record {from}");
    }
}

/// The state, written down and read back.
fn again(state: &State) -> State {
    let image = state.image().unwrap();
    let again = State::of_image(&image).unwrap();
    assert!(again.image().unwrap() == image, "at record {}", state.head());
    again
}

/// Whether much of what a state holds may have changed: worth a look.
pub fn is_worth(record: &Record) -> bool {
    matches!(
        record,
        Record::Executed(_)
            | Record::Recovered(_)
            | Record::Suspended(_)
            | Record::DrainEnded(_)
            | Record::DestroyAnswered(_)
            | Record::Drilled(_)
    )
}
