//! Damage to an export below a checkpoint: all of it is found. The long form is
//! `deploy/experiment damage`.

use portcullis_softhsm_tests::damage::{self, Kinds, Plan};
use portcullis_softhsm_tests::world::Failure;

/// All that can be done to a file.
const KINDS: [&str; 11] = [
    "byte_added",
    "byte_changed",
    "byte_removed",
    "cut_between_lines",
    "cut_within_line",
    "line_removed",
    "line_repeated",
    "line_split",
    "lines_joined",
    "neighbours_swapped",
    "pair_swapped",
];

fn all_found(kinds: &Kinds) -> bool {
    KINDS.iter().all(|kind| kinds.get(kind).is_some_and(|one| one.of > 0 && one.found == one.of))
        && kinds.len() == KINDS.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_an_export_below_a_checkpoint_is_found() -> Result<(), Failure> {
    let plan = Plan { records: 40, whole: 96, seed: 20_261_130 };
    let figures = damage::run(plan, |_| {}).await?;
    assert!(figures.missed.is_empty(), "{:#?}", figures.missed);
    assert!(all_found(&figures.newest) && all_found(&figures.earlier), "{figures:?}");
    // And as much was done as there is to do.
    assert!(figures.records >= 40 && figures.attachments > 0, "{figures:?}");
    assert!(figures.records_earlier > 20, "{figures:?}");
    let bytes = u64::try_from(figures.bytes)?;
    let taken = ["byte_removed", "lines_joined"].map(|kind| figures.newest[kind].of);
    assert!(taken.iter().sum::<u64>() > bytes, "{figures:?}");
    let given = figures.given();
    assert!(given.of > 200 && given.found == given.of, "{figures:?}");
    Ok(())
}
