//! Each kind of broken promise, put into a history in which nothing is wrong, is found; and what
//! cannot be known to be one is not.

use std::collections::BTreeSet;

use super::*;
use crate::stop::history::Line;

fn subject(caller: &str, key: &str) -> Subject {
    Subject { caller: caller.into(), key: key.into() }
}

fn request(number: u8) -> Request {
    Request(number.into())
}

fn digest(number: u8) -> B256 {
    B256::repeat_byte(number)
}

/// A call of `ann` with the key `k`, sent and answered at these moments.
fn call(number: u8, sent: u64, end: End) -> Call {
    let subject = subject("ann", "k");
    let (request, digest) = (request(number), digest(number));
    Call { subject, life: 0, request, digest, sent: Moment(sent), end }
}

/// The caller gave up.
const CUT: End = End::Cut { at: None };

fn signed(at: u64, sequence: u64) -> End {
    End::Signed { at: Moment(at), sequence }
}

fn refused(at: u64) -> End {
    End::Refused { at: Moment(at) }
}

fn line(sequence: u64, what: What) -> Line {
    Line { sequence, what }
}

/// The record of a signature for `ann` with the key `k`.
fn record(sequence: u64, number: u8, seen: u64) -> Line {
    let subject = subject("ann", "k");
    let (request, digest) = (request(number), digest(number));
    line(sequence, What::Signed { subject, request, digest, seen })
}

fn withheld(sequence: u64, number: u8, seen: u64) -> Line {
    let subject = subject("ann", "k");
    line(sequence, What::Unsigned { subject, request: request(number), seen })
}

fn key() -> Scope {
    Scope::Key("k".into())
}

/// Ten moments a record. Signed: 2, 3 (released), 4 (recorded, and withheld by the stop); under way
/// at the stop: the call that is closed by 6. Frozen at 5, thawed at 8, signed again: 9.
fn sound() -> History {
    let journal = vec![
        line(1, What::Started),
        record(2, 2, 1),
        record(3, 3, 1),
        record(4, 4, 2),
        line(5, What::Frozen { scope: key(), mark: Some(7) }),
        withheld(6, 6, 3),
        line(8, What::Thawed { scope: key(), proposal: 7 }),
        record(9, 9, 8),
    ];
    let calls = vec![
        call(2, 10, signed(25, 2)),
        // Handed over before the stop, it arrives after the acknowledgement.
        call(3, 11, signed(60, 3)),
        call(4, 12, refused(55)),
        call(6, 30, refused(65)),
        // Sent after the acknowledgement, and refused.
        call(7, 59, refused(61)),
        call(9, 85, signed(95, 9)),
    ];
    let said =
        Acknowledged { at: Moment(58), sequence: 5, last_released: 3, withheld: 2, recorded: true };
    let stop = Stop { mark: 7, scope: key(), life: 0, sent: Moment(45), acknowledged: Some(said) };
    let thaw = Thaw {
        proposal: 7,
        scope: key(),
        life: 0,
        sent: Moment(75),
        acknowledged: Some((Moment(82), 8)),
    };
    let tags = [("k".into(), BTreeSet::from(["web".to_owned()]))].into();
    History { tags, calls, stops: vec![stop], thaws: vec![thaw], ends: Vec::new(), journal }
}

fn with(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = sound();
    change(&mut history);
    violations(&history)
}

fn said(history: &mut History) -> &mut Acknowledged {
    history.stops[0].acknowledged.as_mut().expect("acknowledged")
}

#[test]
fn a_history_in_which_the_stop_was_total_has_no_violation() {
    assert_eq!(violations(&sound()), []);
}

#[test]
fn a_request_sent_after_the_acknowledgement_and_signed_before_any_thaw_is_found() {
    // Whatever record it names: here one that was released before, by its number.
    let found = with(|history| history.calls.push(call(3, 59, signed(70, 3))));
    let late = Violation::AfterAcknowledgement { mark: 7, signed: 3, sent_after_us: 0 };
    assert_eq!(found, [late]);
}

#[test]
fn a_request_sent_after_the_acknowledgement_may_be_signed_once_a_thaw_was_sent() {
    let found = with(|history| {
        // Sent while the stop held, and answered after the thaw, whose record is before its own.
        history.calls[5].sent = Moment(60);
        history.calls[5].end = signed(81, 9);
    });
    assert_eq!(found, []);
}

#[test]
fn a_thaw_that_was_over_before_the_freeze_was_sent_excuses_nothing() {
    let found = with(|history| {
        let mut before = history.thaws[0].clone();
        (before.sent, before.acknowledged) = (Moment(20), None);
        history.ends.push(Moment(40));
        history.thaws.push(before);
        history.calls.push(call(3, 59, signed(70, 3)));
    });
    assert!(matches!(found[..], [Violation::AfterAcknowledgement { .. }]), "{found:?}");
}

#[test]
fn a_thaw_that_nobody_heard_of_may_have_opened_until_its_process_was_gone() {
    let found = with(|history| {
        let mut unheard = history.thaws[0].clone();
        (unheard.sent, unheard.acknowledged) = (Moment(50), None);
        history.thaws.push(unheard);
        history.calls.push(call(3, 59, signed(70, 3)));
    });
    assert_eq!(found, [], "the clock alone cannot tell");
}

#[test]
fn a_signature_that_was_ready_and_arrives_is_found_also_after_the_thaw() {
    for (at, after_us) in [(57, 0), (9_058, 9)] {
        let found = with(|history| history.calls[2].end = signed(at, 4));
        let above = Violation::AboveLastReleased {
            mark: 7,
            signed: 4,
            last_released: 3,
            thawed: 8,
            after_us,
        };
        let counted = Violation::WithheldTooMany { mark: 7, said: 2, at_most: 1 };
        assert_eq!(found, [above, counted], "at {at}");
    }
}

#[test]
fn one_that_was_counted_as_withheld_and_arrives_is_found_by_the_count_alone() {
    // The record of the last one released is later than that of one that waited.
    let found = with(|history| {
        history.calls[1].end = signed(60, 3);
        said(history).last_released = 4;
        history.calls[2].end = signed(50, 4);
        // So 2 and 4 arrived before, and 3 after: nothing that waited is left.
    });
    assert_eq!(found, [Violation::WithheldTooMany { mark: 7, said: 2, at_most: 1 }]);
}

#[test]
fn a_signature_on_record_between_freeze_and_thaw_is_found_whoever_has_it() {
    let found = with(|history| {
        history.journal.insert(6, record(7, 30, 6));
    });
    assert_eq!(found, [Violation::SignedWhileStopped { frozen: 5, signed: 7 }]);
    // Also under a freeze that nobody was told of, or that the signer made itself.
    let found = with(|history| {
        history.stops.clear();
        history.journal[4] = line(5, What::Frozen { scope: Scope::All, mark: None });
        history.journal.pop();
        history.calls.pop();
        history.journal.push(record(9, 30, 8));
    });
    assert_eq!(found, [Violation::SignedWhileStopped { frozen: 5, signed: 9 }]);
}

#[test]
fn a_thaw_of_another_scope_ends_nothing() {
    let all = |history: &mut History| {
        history.journal[6] = line(8, What::Thawed { scope: Scope::All, proposal: 7 });
        history.thaws[0].scope = Scope::All;
    };
    let found = with(all);
    assert!(found.contains(&Violation::SignedWhileStopped { frozen: 5, signed: 9 }), "{found:?}");
    let late = |found: &Violation| matches!(found, Violation::AfterAcknowledgement { .. });
    assert!(found.iter().any(late), "{found:?}");
}

#[test]
fn scopes_cover_by_key_caller_tag_and_everything_and_nothing_else() {
    let history = sound();
    let (ours, other) = (subject("ann", "k"), subject("bob", "l"));
    for scope in [key(), Scope::Caller("ann".into()), Scope::Tag("web".into())] {
        assert!(history.covers(&scope, &ours) && !history.covers(&scope, &other), "{scope:?}");
    }
    assert!(history.covers(&Scope::All, &other));
    // And a stop of one caller says nothing about another's.
    let found = with(|history| {
        history.stops[0].scope = Scope::Caller("bob".into());
        history.stops[0].acknowledged.as_mut().expect("said").last_released = 0;
        history.stops[0].acknowledged.as_mut().expect("said").withheld = 0;
        let scope = Scope::Caller("bob".into());
        history.journal[4] = line(5, What::Frozen { scope, mark: Some(7) });
        history.journal.push(record(10, 40, 9));
        history.calls.push(call(40, 59, signed(70, 10)));
    });
    assert_eq!(found, []);
}

#[test]
fn a_freeze_that_was_acknowledged_and_is_not_on_record_is_found() {
    let gone = Violation::StopNotOnRecord { mark: 7, said: 5 };
    for what in [
        What::Started,
        What::Frozen { scope: Scope::All, mark: Some(7) },
        What::Frozen { scope: key(), mark: Some(8) },
    ] {
        let found = with(|history| history.journal[4] = line(5, what));
        assert!(found.contains(&gone), "{found:?}");
    }
    let found = with(|history| drop(history.journal.remove(4)));
    assert!(found.contains(&gone), "{found:?}");
    let found = with(|history| said(history).recorded = false);
    assert_eq!(found, [gone]);
}

#[test]
fn a_freeze_without_an_acknowledgement_may_hold_or_not() {
    let found = with(|history| {
        history.stops[0].acknowledged = None;
        history.journal.remove(4);
        history.calls.push(call(30, 59, signed(70, 7)));
        history.journal.insert(5, record(7, 30, 6));
    });
    assert_eq!(found, []);
}

#[test]
fn a_thaw_that_was_acknowledged_and_is_not_on_record_is_found() {
    let found = with(|history| history.thaws[0].acknowledged = Some((Moment(82), 6)));
    assert_eq!(found, [Violation::ThawNotOnRecord { proposal: 7, said: 6 }]);
}

#[test]
fn a_signature_whose_record_is_another_or_none_is_found() {
    let found = with(|history| history.calls[0].end = signed(25, 3));
    let digest = digest(2);
    assert_eq!(found, [Violation::SignatureNotOnRecord { said: 3, digest }]);
    let found = with(|history| history.calls[0].subject.caller = "bob".into());
    assert_eq!(found, [Violation::SignatureNotOnRecord { said: 2, digest }]);
}

#[test]
fn a_last_release_that_is_none_out_of_scope_or_after_the_freeze_is_found() {
    let none = |said| Violation::LastReleasedIsNone { mark: 7, said };
    let found = with(|history| said(history).last_released = 6);
    assert!(found.contains(&none(6)), "{found:?}");
    let found = with(|history| said(history).last_released = 9);
    assert!(found.contains(&none(9)), "{found:?}");
    let found = with(|history| {
        let of_bob = subject("bob", "l");
        history.journal[2] = line(
            3,
            What::Signed {
                subject: of_bob.clone(),
                request: request(3),
                digest: digest(3),
                seen: 1,
            },
        );
        history.calls[1].subject = of_bob;
    });
    assert!(found.contains(&none(3)), "{found:?}");
}

#[test]
fn a_last_release_that_its_caller_was_refused_is_found_unless_nobody_can_know() {
    let refusing = |history: &mut History| {
        history.calls[1].end = refused(60);
        said(history).withheld = 1;
    };
    assert_eq!(with(refusing), [Violation::LastReleasedWasRefused { mark: 7, said: 3 }]);
    // The connection was lost; or an earlier process had recorded it.
    let found = with(|history| history.calls[1].end = CUT);
    assert_eq!(found, []);
    let found = with(|history| {
        refusing(history);
        history.journal[3] = line(4, What::Started);
        history.calls.remove(2);
    });
    assert_eq!(found, []);
}

#[test]
fn an_acknowledgement_that_counts_fewer_than_were_under_way_is_found() {
    let found = with(|history| said(history).withheld = 0);
    assert_eq!(found, [Violation::WithheldTooFew { mark: 7, said: 0, at_least: 1 }]);
    // One recorded between the closing of the gate and the freeze's record is in neither count.
    assert_eq!(with(|history| said(history).withheld = 1), []);
}

#[test]
fn an_acknowledgement_that_counts_more_than_there_were_is_found() {
    let found = with(|history| said(history).withheld = 3);
    assert_eq!(found, [Violation::WithheldTooMany { mark: 7, said: 3, at_most: 2 }]);
    // What was refused, or let go of, before the freeze was sent waits no more.
    for over in [refused(44), End::Cut { at: Some(Moment(44)) }] {
        let found = with(|history| history.calls[2].end = over);
        assert_eq!(found, [Violation::WithheldTooMany { mark: 7, said: 2, at_most: 1 }]);
    }
    // A request that nobody answered may have been under way, if a kill took it without a record.
    let lost = |killed: bool, recorded: bool| {
        with(|history| {
            said(history).withheld = 3;
            history.calls.push(call(50, 40, CUT));
            if killed {
                history.ends.push(Moment(97));
            }
            if recorded {
                history.journal.push(withheld(10, 50, 9));
            }
        })
    };
    assert_eq!(lost(true, false), []);
    for known in [lost(false, false), lost(true, true)] {
        assert_eq!(known, [Violation::WithheldTooMany { mark: 7, said: 3, at_most: 2 }]);
    }
}
