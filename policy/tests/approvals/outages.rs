//! Sure time after an outage that no clock can vouch for: it goes forward when a quorum and the
//! wall clock say so, and by neither alone.

use portcullis_policy::act::{AcceptTime, Act};
use portcullis_policy::record::{Matter, Record, RecoveryBegun, Started};
use portcullis_policy::state::{ExecutionFault, ProposalFault, Unfoldable};
use portcullis_policy::time::{Interval, Millis, Span};
use portcullis_policy::verify::Level;

use crate::acts::{begun, pass, renewal};
use crate::requests::ask;
use crate::rig::{BOOK, HOUR, approve, execute, propose, vault};
use crate::support::Vault;

pub(crate) const DAY: u64 = 24 * HOUR;

/// Who widens.
pub(crate) const WIDENERS: &[&str] = &["alice", "bob"];

/// The machine was away for so long, and its boot clock began anew: sure time stands.
pub(crate) fn outage(vault: &mut Vault, millis: u64) {
    vault.now.possible = vault.now.possible.plus(Span(millis));
    let name = format!("after {}", vault.now.possible.0);
    boot(vault, &name, 5_000);
}

pub(crate) fn boot(vault: &mut Vault, boot: &str, boot_clock: u64) {
    start(vault, boot, boot_clock, None);
}

fn start(vault: &mut Vault, boot: &str, boot_clock: u64, believed: Option<Span>) {
    let (epoch, lost) = (vault.state.epoch().next(), Vec::new());
    vault.write(Record::Started(Started {
        believed,
        boot: boot.into(),
        boot_clock: Millis(boot_clock),
        cut: 0,
        epoch,
        lost,
        version: "0.1.0".into(),
        wall_clock: vault.now.possible,
    }));
}

/// Both clocks tick.
pub(crate) fn tick(vault: &mut Vault, millis: u64) {
    let Interval { possible, sure } = vault.now;
    vault.now = Interval { possible: possible.plus(Span(millis)), sure: sure.plus(Span(millis)) };
}

pub(crate) fn accept(at: Millis, sure: Millis) -> Act {
    Act::AcceptTime(AcceptTime { at, since: None, sure })
}

/// That it is now what the wall clock says.
pub(crate) fn as_the_wall_says(vault: &Vault) -> Act {
    accept(vault.now.possible, vault.now.sure)
}

/// Proposed, agreed to by those who widen, and old enough, in which the clocks tick.
pub(crate) fn agreed(vault: &mut Vault, act: Act) -> Matter {
    let matter = propose(vault, "olga", act).unwrap();
    for name in WIDENERS {
        approve(vault, &matter, name);
    }
    tick(vault, 60_000);
    matter
}

/// As the writer's clock does.
pub(crate) fn go_on(vault: &mut Vault) {
    let sure = vault.state.at().sure;
    vault.now = Interval { possible: vault.now.possible.max(sure), sure };
}

pub(crate) fn code(result: Result<impl std::fmt::Debug, ExecutionFault>) -> &'static str {
    result.unwrap_err().code()
}

pub(crate) fn no_proposal(result: Result<Matter, ProposalFault>) -> &'static str {
    result.unwrap_err().code()
}

fn full() -> Vault {
    let mut vault = vault();
    assert!(vault.adopt(&BOOK.replace("100 ETH / 24h", "1 ETH / 24h")));
    vault.sign(&ask(0, 900)).unwrap();
    vault.sign(&ask(1, 900)).unwrap_err();
    vault
}

#[test]
fn an_outage_that_a_quorum_accepts_empties_the_window_and_one_that_only_the_wall_says_does_not() {
    let mut vault = full();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(2, 900)).unwrap_err();

    let before = vault.now;
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    vault.sign(&ask(3, 900)).unwrap_err();
    execute(&mut vault, "olga", &matter).unwrap();
    // The minute in which people voted is not lost.
    let sure = before.possible.plus(Span(60_000));
    assert_eq!(vault.state.at().sure, sure);
    go_on(&mut vault);
    vault.sign(&ask(4, 900)).unwrap();
    let report = vault.verify();
    assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);

    // Within this boot the boot clock counts on from there.
    let (_, started) = vault.state.started().unwrap();
    assert_eq!(started.sure, before.sure.plus(Span(3 * DAY)));
}

#[test]
fn nothing_comes_before_the_time_that_was_accepted() {
    let mut vault = full();
    outage(&mut vault, 3 * DAY);
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    execute(&mut vault, "olga", &matter).unwrap();
    let back = vault.try_write(Record::Withdrawn(portcullis_policy::record::Withdrawn {
        by: portcullis_policy::record::Party::Person("olga".parse().unwrap()),
        matter,
    }));
    assert!(matches!(back, Err(Unfoldable::Time(_))), "{back:?}");
}

#[test]
fn it_takes_others_than_the_proposer_and_their_delay() {
    let mut vault = full();
    outage(&mut vault, 3 * DAY);
    let act = as_the_wall_says(&vault);
    let matter = propose(&mut vault, "alice", act).unwrap();
    let votes =
        crate::rig::vote(&vault, &matter, "bob", portcullis_policy::record::Choice::Approve);
    crate::rig::cast(&mut vault, votes).unwrap();
    tick(&mut vault, HOUR / 2);
    assert_eq!(code(execute(&mut vault, "alice", &matter)), "QUORUM_NOT_MET");
    approve(&mut vault, &matter, "carol");
    assert_eq!(code(execute(&mut vault, "alice", &matter)), "QUORUM_NOT_MET");
    tick(&mut vault, 60_000);
    execute(&mut vault, "alice", &matter).unwrap();
}

#[test]
fn no_more_is_proposed_than_the_wall_clock_says_and_nothing_where_it_says_nothing() {
    let mut vault = full();
    let Interval { possible, sure } = vault.now;
    assert_eq!(possible, sure);
    let beyond = accept(possible.plus(Span(DAY)), sure);
    assert_eq!(no_proposal(propose(&mut vault, "olga", beyond)), "TIME_NOT_BEHIND");
    outage(&mut vault, 3 * DAY);
    let Interval { possible, sure } = vault.now;
    for (at, sure, code) in [
        (possible.plus(Span(1)), sure, "TIME_BEYOND_POSSIBLE"),
        (possible, sure.minus(Span(1)).unwrap(), "TIME_BEYOND_POSSIBLE"),
        (sure, sure, "TIME_NOT_BEHIND"),
        (Millis(0), sure, "TIME_NOT_BEHIND"),
        (possible, sure.plus(Span(1)), "TIME_MOVED"),
    ] {
        let act = accept(at, sure);
        assert_eq!(no_proposal(propose(&mut vault, "olga", act)), code, "{at:?} {sure:?}");
    }
}

/// What was agreed to while the clock lied is bounded by the clock that was set right.
#[test]
fn a_wall_clock_that_lied_and_was_set_back_moves_no_more_than_it_says_then() {
    let mut vault = full();
    let real = vault.now.possible;
    outage(&mut vault, 365 * DAY);
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act.clone());
    vault.now.possible = vault.now.sure;
    assert_eq!(code(execute(&mut vault, "olga", &matter)), "TIME_NOT_BEHIND");
    // It says two hours more than is sure.
    vault.now.possible = vault.now.sure.plus(Span(2 * HOUR));
    execute(&mut vault, "olga", &matter).unwrap();
    go_on(&mut vault);
    assert_eq!(vault.now.sure, real.plus(Span(60_000 + 2 * HOUR)));
    vault.sign(&ask(2, 900)).unwrap_err();
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn one_outage_is_made_good_once_however_often_it_was_agreed_to() {
    let mut vault = full();
    outage(&mut vault, 10 * DAY);
    let Interval { possible, sure } = vault.now;
    // Of ten days, three; twice.
    let three = accept(sure.plus(Span(3 * DAY)), sure);
    let one = agreed(&mut vault, three.clone());
    let two = agreed(&mut vault, three);
    execute(&mut vault, "olga", &one).unwrap();
    go_on(&mut vault);
    assert_eq!(code(execute(&mut vault, "olga", &two)), "TIME_MOVED");
    // What is still behind is proposed anew.
    let act = as_the_wall_says(&vault);
    pass(&mut vault, "olga", act, WIDENERS).unwrap();
    assert!(vault.state.at().sure >= possible);
    assert!(vault.verify().discrepancies.is_empty());
}

/// The delay of a recovery is there so that everybody sees it coming.
#[test]
fn nobody_shortens_the_delay_of_a_recovery() {
    let mut vault = full();
    outage(&mut vault, 10 * DAY);
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act.clone());
    let (renewal, pens) = renewal(&vault);
    let whole: RecoveryBegun = begun(&vault, renewal, &pens, 2);
    vault.write(Record::RecoveryBegun(Box::new(whole)));
    assert_eq!(code(execute(&mut vault, "olga", &matter)), "RECOVERY_ANNOUNCED");
    assert_eq!(no_proposal(propose(&mut vault, "olga", act)), "RECOVERY_ANNOUNCED");
}

#[test]
fn votes_for_it_end_with_the_book_whose_windows_it_would_empty() {
    let mut vault = full();
    outage(&mut vault, 3 * DAY);
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    assert!(vault.adopt(&BOOK.replace("100 ETH / 24h", "0.9 ETH / 24h")));
    assert_eq!(code(execute(&mut vault, "olga", &matter)), "APPROVAL_GONE");
}

/// Whether the verifier finds it.
fn leaps(vault: &Vault) -> bool {
    let found = vault.verify().discrepancies;
    assert!(found.iter().all(|one| one.level == Level::Replay), "{found:#?}");
    found.iter().any(|one| one.what.contains("sure time went forward by"))
}

#[test]
fn a_journal_whose_sure_time_leaps_by_itself_is_found_out_at_the_next_start() {
    // Within one boot the boot clock bounds it, whichever record it leapt at.
    for (slept, leapt, found) in [(HOUR, 0, false), (HOUR, HOUR, true), (0, 2 * 60_000, true)] {
        let mut vault = vault();
        boot(&mut vault, "one", 1_000);
        vault.wait(slept + leapt);
        vault.suppress(1);
        boot(&mut vault, "one", 1_000 + slept);
        assert_eq!(leaps(&vault), found, "{slept} {leapt}");
    }
    // Across a boot, minutes are believed and no more.
    for (gap, found) in [(15 * 60_000, false), (17 * 60_000, true), (3 * DAY, true)] {
        let mut vault = vault();
        vault.wait(gap);
        boot(&mut vault, "two", 1_000);
        assert_eq!(leaps(&vault), found, "{gap}");
    }
    // A machine that names no boot has never the same.
    let mut vault = vault();
    boot(&mut vault, "", 1_000);
    vault.wait(HOUR);
    boot(&mut vault, "", 1_000 + HOUR);
    assert!(leaps(&vault));
}

/// A boot of the machine between two records, in which the wall clock went on for so long.
fn believing(vault: &mut Vault, gap: u64) {
    vault.wait(gap);
    let name = format!("after {}", vault.state.head());
    start(vault, &name, 1_000, Some(Span(gap)));
}

const MINUTE: u64 = 60_000;

#[test]
fn of_all_boots_together_a_quarter_of_an_hour_is_believed_and_what_running_makes_good() {
    // The wall clock went on for so many minutes in each boot, and between them it ran for hours.
    for (gaps, hours, found) in [
        ([10, 4].as_slice(), 0, false),
        (&[10, 7], 0, true),
        (&[3, 3, 3, 3, 3], 0, false),
        (&[3, 3, 3, 3, 3, 3], 0, true),
        (&[15, 15], 16, false),
        (&[15, 15], 14, true),
        (&[15, 15, 15], 16, false),
        // What was not used is not saved up.
        (&[1, 16], 1_000, true),
    ] {
        let mut vault = vault();
        for gap in gaps {
            believing(&mut vault, gap * MINUTE);
            tick(&mut vault, hours * HOUR);
            vault.suppress(1);
        }
        let found_again = vault.verify().discrepancies;
        assert_eq!(!found_again.is_empty(), found, "{gaps:?} {hours} {found_again:#?}");
        assert!(found_again.iter().all(|one| one.level == Level::Replay), "{found_again:#?}");
    }
}

#[test]
fn a_start_that_does_not_say_how_far_it_believed_is_not_believed_after_one_that_did() {
    for (before, found) in [(None, false), (Some(Span(0)), true)] {
        let mut vault = vault();
        start(&mut vault, "one", 1_000, before);
        vault.wait(10 * MINUTE);
        boot(&mut vault, "two", 1_000);
        assert_eq!(leaps(&vault), found, "{before:?}");
    }
}

#[test]
fn what_was_believed_comes_back_when_people_say_what_time_it_is_and_not_by_what_they_add() {
    let mut vault = vault();
    believing(&mut vault, 15 * MINUTE);
    assert_eq!(vault.state.believable(), Span(0));
    vault.now.possible = vault.now.possible.plus(Span(10 * DAY));
    start(&mut vault, "after days", 1_000, Some(Span(0)));
    let Interval { sure, .. } = vault.now;
    pass(&mut vault, "olga", accept(sure.plus(Span(3 * DAY)), sure), WIDENERS).unwrap();
    go_on(&mut vault);
    // The minute of the vote was measured; the days were not.
    assert_eq!(vault.state.believable(), Span(MINUTE / 64));
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    execute(&mut vault, "olga", &matter).unwrap();
    assert_eq!(vault.state.believable(), Span(15 * MINUTE));
}

#[test]
fn a_proposal_that_names_no_record_is_none_once_starts_say_how_far_they_believed() {
    let mut vault = full();
    outage(&mut vault, 3 * DAY);
    let act = as_the_wall_says(&vault);
    let mut proposed =
        vault.state.propose((&crate::rig::id("olga"), act, "because".into()), vault.now).unwrap();
    let Act::AcceptTime(accept) = &mut proposed.act else { panic!() };
    accept.since = None;
    vault.state.clone().check_act(&proposed.act).unwrap();
    start(&mut vault, "another", 1_000, Some(Span(0)));
    let written = vault.try_write(Record::Proposed(Box::new(proposed)));
    assert!(matches!(written, Err(Unfoldable::Proposed(_))), "{written:?}");
}
