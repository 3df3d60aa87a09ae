//! `clock show | accept`: how far sure time is behind the clock on the wall, what that means, and
//! the proposal that lets it go forward. Sure time never moves by the wall clock alone: whoever
//! can set that could empty every window.

use clap::{Args, Subcommand};
use portcullis_client::ControlClient;
use portcullis_client::wire::{Approval, GetStatusResponse};
use portcullis_policy::act::{AcceptTime, Act};
use portcullis_policy::book::Book;
use portcullis_policy::time::{GAP_BELIEVED_MAX, Millis, Span};
use portcullis_policy::utc::rfc3339;
use serde_json::json;

use crate::approvals::proposing::Wanted;
use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::{Output, fields};
use crate::written_time::written;

#[derive(Debug, Subcommand)]
pub(crate) enum ClockVerb {
    /// Show what time the signer is sure of, what its machine's clock says, and what is late.
    Show,
    /// Let sure time go forward over an outage that no clock could vouch for. Takes the quorum
    /// that widens, and its delay.
    Accept(AcceptArgs),
}

#[derive(Args, Debug)]
pub(crate) struct AcceptArgs {
    /// What time it is now: "now", as the clock of the signer's machine has it, or a time by a
    /// clock of your own, 2026-12-01T12:00:00Z, which may be earlier and never later.
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = moment)]
    at: Moment,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// By whose clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    Now,
    At(Millis),
}

/// Nothing to accept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClockFault {
    /// The signer does not say what its clock says.
    #[error("the signer is older than this command, and does not say what its clock says")]
    Unsaid,
    /// They agree.
    #[error(
        "sure time is {sure}, and not behind {at}: nothing is there to accept. If it is later \
         than that, look at portctl clock show, and at the clock of the signer's machine"
    )]
    NotBehind {
        /// What the signer is sure of.
        sure: String,
        /// What was named.
        at: String,
    },
    /// Later than the machine says.
    #[error(
        "{at} is later than the clock of the signer's machine says, {possible}: name an earlier \
         time, or have that clock set first, if it is wrong"
    )]
    Beyond {
        /// What was named.
        at: String,
        /// The latest that it can be.
        possible: String,
    },
}

pub(crate) async fn run(
    verb: ClockVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    match verb {
        ClockVerb::Show => show(&control, output).await,
        ClockVerb::Accept(args) => {
            let act = accepted(args.at, &Clocks::of(&control.status().await?)?)?;
            let wanted = Wanted { act: Act::AcceptTime(act), reason: args.reason };
            wanted.settle(&control, output).await
        }
    }
}

/// What the signer says of time.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    sure: Millis,
    possible: Millis,
    wall: Millis,
}

impl Clocks {
    fn of(status: &GetStatusResponse) -> Result<Self, ClockFault> {
        let read = |time: u64| if time == 0 { None } else { Some(Millis(time)) };
        let (possible, wall) = (read(status.possible_time_ms), read(status.wall_time_ms));
        let (Some(possible), Some(wall)) = (possible, wall) else {
            return Err(ClockFault::Unsaid);
        };
        Ok(Self { sure: Millis(status.sure_time_ms), possible, wall })
    }

    fn behind(&self) -> Span {
        Span(self.possible.0.saturating_sub(self.sure.0))
    }
}

/// In whole seconds, so that the text that voters sign says all of it; and a second less, because
/// the wall clock and the boot clock do not tick alike.
fn accepted(at: Moment, clocks: &Clocks) -> Result<AcceptTime, ClockFault> {
    let at = match at {
        Moment::Now => whole(Millis(clocks.possible.0.saturating_sub(SECOND))),
        Moment::At(at) => whole(at),
    };
    let sure = whole(clocks.sure);
    if at > clocks.possible {
        let possible = rfc3339(clocks.possible.0);
        return Err(ClockFault::Beyond { at: rfc3339(at.0), possible });
    }
    if at <= sure {
        let sure = rfc3339(clocks.sure.0);
        return Err(ClockFault::NotBehind { sure, at: rfc3339(at.0) });
    }
    Ok(AcceptTime { at, since: None, sure })
}

fn whole(Millis(time): Millis) -> Millis {
    Millis(time.saturating_sub(time.checked_rem(SECOND).unwrap_or(0)))
}

fn moment(text: &str) -> Result<Moment, String> {
    if text == "now" {
        return Ok(Moment::Now);
    }
    let time = written(text)?;
    if time.begins == time.over {
        Ok(Moment::At(time.begins))
    } else {
        Err("write a time of that day, 2026-12-01T12:00:00Z, or now".to_owned())
    }
}

async fn show(control: &ControlClient, output: &Output) -> Result<Exit, Failure> {
    let clocks = Clocks::of(&control.status().await?)?;
    let late = clocks.behind() >= TOLD_MIN;
    let windows = windows(&control.book().await?.book);
    let waiting = control.list_approvals().await?.approvals;
    let delays: Vec<String> =
        waiting.iter().filter(|one| has_delay(one)).map(|one| one.id.clone()).collect();
    let mut human = vec![
        ("sure", rfc3339(clocks.sure.0)),
        ("possible", rfc3339(clocks.possible.0)),
        ("wall clock", rfc3339(clocks.wall.0)),
        ("apart", clocks.behind().in_words()),
    ];
    if late {
        human.extend(meaning(&clocks, &windows, &delays, output));
    } else {
        human.push(("so", "windows and delays end when people expect it".to_owned()));
    }
    if clocks.wall.0.saturating_add(TOLD_MIN.0) < clocks.sure.0 {
        let back = Span(clocks.sure.0.saturating_sub(clocks.wall.0)).in_words();
        let line = format!("the wall clock is {back} behind what has surely passed: set it");
        human.push(("trouble", output.alarm(&line)));
    }
    let json = json!({
        "sure_time": rfc3339(clocks.sure.0),
        "possible_time": rfc3339(clocks.possible.0),
        "wall_time": rfc3339(clocks.wall.0),
        "behind_ms": clocks.behind().0,
        "late": late,
        "windows": windows,
        "delays_of": delays,
    });
    output.result(&fields(&human), &json)?;
    Ok(Exit::Done)
}

fn meaning(
    clocks: &Clocks,
    windows: &[String],
    delays: &[String],
    output: &Output,
) -> Vec<(&'static str, String)> {
    let late = clocks.behind().in_words();
    let mut lines = Vec::new();
    if !windows.is_empty() {
        let spans = windows.join(", ");
        let line = format!("windows of {spans}: what was signed leaves them {late} late");
        lines.push(("late", output.alarm(&line)));
    }
    if !delays.is_empty() {
        let line = format!("delays of {}: votes count {late} late", delays.join(", "));
        lines.push(("late", output.alarm(&line)));
    }
    let believed = format!(
        "the machine was down for longer than {} or booted often, or its clock was moved: nobody \
         but people can tell",
        GAP_BELIEVED_MAX.in_words()
    );
    lines.push(("why", believed));
    lines.push(("if it is true", "portctl clock accept --reason WORDS".to_owned()));
    lines
}

/// Every length of a window in the book. None if this version does not read the book.
fn windows(book: &str) -> Vec<String> {
    let book = Book::parse(book);
    let spans = book.map(|book| book.spans()).unwrap_or_default();
    let passing = spans.iter().filter(|span| **span != Span::LIFETIME);
    passing.map(ToString::to_string).collect()
}

/// Whether its votes may have to be of an age before they count.
fn has_delay(approval: &Approval) -> bool {
    approval.proposal && words::is_live(approval)
}

const SECOND: u64 = 1_000;

/// Clocks that are so far apart are so because they do not tick alike.
const TOLD_MIN: Span = Span(60_000);

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCKS: Clocks =
        Clocks { sure: Millis(10_700), possible: Millis(90_300), wall: Millis(90_300) };

    #[test]
    fn now_is_a_second_before_what_the_wall_clock_says_in_whole_seconds() {
        let accept = accepted(Moment::Now, &CLOCKS).expect("behind");
        assert_eq!(accept, AcceptTime { at: Millis(89_000), since: None, sure: Millis(10_000) });
    }

    #[test]
    fn a_time_that_sure_time_has_reached_or_that_no_clock_says_is_refused_before_anybody_is_asked()
    {
        let fault = |at| accepted(Moment::At(Millis(at)), &CLOCKS).expect_err("refused");
        assert!(matches!(fault(10_000), ClockFault::NotBehind { .. }));
        assert!(matches!(fault(91_000), ClockFault::Beyond { .. }));
        let level = Clocks { possible: Millis(10_900), ..CLOCKS };
        assert!(matches!(accepted(Moment::Now, &level), Err(ClockFault::NotBehind { .. })));
    }

    #[test]
    fn a_day_is_no_moment() {
        assert_eq!(moment("now"), Ok(Moment::Now));
        assert!(moment("2026-12-01").is_err());
        assert!(moment("noon").is_err());
        assert!(matches!(moment("2026-12-01T12:00:00Z"), Ok(Moment::At(_))));
    }
}
