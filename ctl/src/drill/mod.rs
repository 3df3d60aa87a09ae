//! `drill run | report | history | verify | tabletop | plan`: tries the stop on a key that exists
//! for it, under real load, from its making to its destruction, and keeps the evidence.
//!
//! A drill asks nothing of the signer that an emergency would not ask. When a step fails, the
//! canary is stopped, or it is said that it could not be.

mod book_lines;
mod claims;
mod council;
mod evidence;
mod excerpt;
mod held;
mod history;
mod load;
mod page;
mod plan;
mod ready;
mod report;
mod rotation;
mod run;
mod stage;
mod steps;
mod stopwatch;
mod tabletop;
mod verify;
mod votes;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum DrillVerb {
    /// Make a canary, stop it under load, prove that it is silent, end it, and keep the evidence.
    /// People are asked to vote three times.
    Run(run::RunArgs),
    /// Show the drills of the journal, how long they took, and whether one is overdue.
    History(history::HistoryArgs),
    /// Check the evidence of a drill: its signature, its records, and what the journal says of it.
    Verify(verify::VerifyArgs),
    /// Tell the journal of a drill whose report was lost, and sign its evidence if nobody has.
    Report(report::ReportArgs),
    /// Say what stopping and ending a key would do now, and what a drill still needs. Changes
    /// nothing.
    Tabletop(tabletop::TabletopArgs),
    /// Print a plan for `drill run`, with what each line means.
    Plan,
}

/// A drill that could not begin, or a step that did not find what it must.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrillFault {
    /// A file that cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Evidence that cannot be written.
    #[error("{path} cannot be written: choose another folder with --out", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    /// No plan.
    #[error(
        "{path} cannot be read as a plan: portctl drill plan prints one",
        path = path.display()
    )]
    Toml { path: PathBuf, source: toml::de::Error },
    /// A plan that says nothing that could be done.
    #[error("{path}: {what}", path = path.display())]
    Plan { path: PathBuf, what: &'static str },
    /// The book in force cannot be read: another version made it.
    #[error("the signer's book cannot be understood by this version of portctl")]
    Book,
    /// Ten thousand drills.
    #[error("every label canary-1, canary-2, .. was used: name another in the plan")]
    NoLabel,
    /// Something is not as a drill needs it. Nothing was made.
    #[error("the drill did not begin, and nothing was made:\n- {}", .0.join("\n- "))]
    NotReady(Vec<String>),
    /// Nobody signs the evidence.
    #[error(
        "no key of yours signs the evidence: give --key FILE, a key that `portctl people show \
         {person}` lists"
    )]
    NoSigner { person: String },
    /// It is somebody else's to report.
    #[error("{person} ran this drill, and you are {mine}: whoever ran it reports it")]
    Anothers { person: String, mine: String },
    /// Signed with another key it would not verify.
    #[error("the evidence names the credential {0} of whoever ran it: give that key with --key")]
    OtherKey(String),
    /// An operator was asked, and made nothing.
    #[error("nobody has made the key {0} in the time that --timeout gives")]
    NobodyMade(String),
    /// The certificate is another service's.
    #[error(
        "the certificate of [data_plane] may not use {0}: name its caller in the rules of the \
         canary, or use the certificate of a caller that is there"
    )]
    NotOurs(String),
    /// A payment of nothing that waits for people.
    #[error("a payment of nothing waits for {0}: the canary's rules must let it be signed at once")]
    Parked(String),
    /// The load is none.
    #[error(
        "the live callers have {signed} signatures of {enough}: look at portctl audit tail for \
         what refuses them"
    )]
    Idle { signed: u64, enough: u64 },
    /// A step before has not done its part.
    #[error("a step that this one needs was not taken")]
    Order,
    /// Something is not as it must be.
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
    /// Too few have voted in time.
    #[error(
        "too few people have voted on {deed} ({id}) in the time that --timeout gives; it is taken \
         back"
    )]
    NotAgreed { deed: String, id: String },
    /// Somebody voted against it.
    #[error("{deed} was not agreed to: {state}, votes: {votes}")]
    Rejected { deed: String, state: &'static str, votes: String },
    /// The journal does not fit together.
    #[error("the signer's journal: {0}; portctl audit export and audit verify say more")]
    Journal(&'static str),
    /// No bundle.
    #[error("{path} is not the evidence of a drill that this version wrote", path = path.display())]
    Evidence { path: PathBuf, source: serde_json::Error },
}

pub(crate) async fn run(
    verb: DrillVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        DrillVerb::Run(args) => run::run(args, connection, output).await,
        DrillVerb::History(args) => history::run(&args, connection, output).await,
        DrillVerb::Verify(args) => verify::run(&args, output),
        DrillVerb::Report(args) => report::run(&args, connection, output).await,
        DrillVerb::Tabletop(args) => tabletop::run(&args, connection, output).await,
        DrillVerb::Plan => {
            output.exact(plan::TEXT, &json!({ "plan": plan::TEXT }))?;
            Ok(Exit::Done)
        }
    }
}

/// Looks again and again, ever less often, until there is something or it has taken too long.
async fn until<T>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let (began, mut pause) = (stopwatch::Moment::now(), PAUSE_FIRST);
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if began.ago() >= patience {
            return Ok(None);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// A fence takes a millisecond or two.
const PAUSE_FIRST: Duration = Duration::from_millis(2);

/// People notice nothing of it.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// What is measured over all steps.
const WHOLE: &str = "whole";
