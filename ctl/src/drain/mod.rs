//! `drain plan | propose | run`: brings what a key holds to safety. The plan is a file that people
//! read before they vote; the signer holds the key to it, and this program does what it permits.

mod drainer;
mod file;
mod node;
mod nodes;
mod priced;
mod run;
mod steps;
mod survey;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_client::ControlClient;
use portcullis_client::wire::KeyState;
use portcullis_policy::act::{Act, Drain};
use portcullis_policy::book::Book;
use portcullis_policy::drain::DrainPlan;
use portcullis_policy::id::CallerId;

pub(crate) use self::nodes::rpc;
pub(crate) use self::run::{RunArgs, agreed, carry_out};
pub(crate) use self::survey::Rest;
use crate::approvals::proposing::Wanted;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::Output;
use crate::thaw::{already, id_of};
pub(crate) use node::{Node, NodeFault};

#[derive(Debug, Subcommand)]
pub(crate) enum DrainVerb {
    /// Write a plan for a key, from the book in force: everything on every chain that its rules
    /// name. Read it, change it, then propose it.
    Plan(PlanArgs),
    /// Propose a plan. Takes a quorum; the same again, once people have agreed, begins it.
    Propose(ProposeArgs),
    /// Sign and send what the plan permits: tokens first, then allowances, nonces that wait in a
    /// node, the coin, and at last nonces that nobody used.
    /// Run it again to go on after an interruption.
    Run(RunArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The key, by id or label.
    pub(crate) key: String,
    /// Where everything goes: the label of its successor, or an address that the book names, as
    /// "@name" or "0x..".
    #[arg(long, value_name = "WHERE")]
    pub(crate) to: String,
    /// A caller that may ask for the signatures. More than once for more of them.
    #[arg(long = "caller", value_name = "ID", required = true)]
    pub(crate) callers: Vec<CallerId>,
    /// The most that all transactions on a chain may cost in fees, once for each coin: "0.05 ETH".
    #[arg(long = "fees", value_name = "AMOUNT", required = true)]
    pub(crate) fees: Vec<String>,
    /// How long it lasts: at most 30d.
    #[arg(long = "for", value_name = "TIME", default_value = "2h")]
    pub(crate) lasts: String,
}

#[derive(Args, Debug)]
pub(crate) struct ProposeArgs {
    /// The key, by id or label.
    key: String,
    /// The plan.
    plan: PathBuf,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Nothing was drained, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrainFault {
    /// A plan that says nothing that could be done.
    #[error("{path} is faulty: {}", .faults.join("; "), path = path.display())]
    Faults { path: PathBuf, faults: Vec<String> },
    /// No TOML, or not such a file.
    #[error("{path} cannot be read as a drain plan", path = path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    /// The command line asks for a plan that cannot be.
    #[error("{0}")]
    Asked(String),
    /// The book in force cannot be read: another version made it.
    #[error("the signer's book cannot be understood by this version of portctl")]
    Book,
    /// A node failed.
    #[error("the node of {chain} ({url})")]
    Node { chain: String, url: String, source: NodeFault },
    /// A node of another chain.
    #[error("the node of {chain} ({url}) is of chain {found}, not {wanted}")]
    Chain { chain: String, url: String, found: u64, wanted: u64 },
    /// Chains of the plan that nobody gave a node for.
    #[error("no node for {0}: give --rpc NAME=URL for each chain of the plan")]
    NoNode(String),
    /// It is not being drained.
    #[error("the key is {0}, not draining: portctl drain propose begins a drain")]
    NotDraining(&'static str),
    /// Another quorum agreed to another one.
    #[error(
        "people have agreed to another plan for the key, which brings everything elsewhere: look \
         at portctl key show"
    )]
    OtherPlan,
    /// What was sent before is not mined.
    #[error(
        "transactions of the key wait in the node of {0}, and are not mined: run it again later, \
         or take their place (drain run without --let-through, key rotate with --waiting replace)"
    )]
    Waiting(String),
    /// Nothing leaves it any more.
    #[error("{0} is {1}: what it holds can never be moved")]
    Ended(String, &'static str),
    /// Whoever asks is not whom people agreed on.
    #[error(
        "the signer does not count this for the plan, which lets {0} ask: if the certificate of \
         [data_plane] in portctl.toml is none of theirs, use one of theirs; else the book has \
         changed since people agreed: propose a plan by the one in force"
    )]
    NotACaller(String),
    /// A transaction that waits for people, which none of a drain does.
    #[error("a transaction of the drain was parked: the key is not draining any more")]
    Parked,
    /// Something is still there.
    #[error("not everything was moved: {}; run it again", .0.join("; "))]
    Left(Vec<String>),
}

pub(crate) async fn run(
    verb: DrainVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        DrainVerb::Plan(args) => plan(args, connection, output).await,
        DrainVerb::Propose(args) => propose(args, connection, output).await,
        DrainVerb::Run(args) => run::run(args, connection, output).await,
    }
}

async fn plan(
    args: PlanArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let key = control.key(&args.key).await?;
    if matches!(key.state(), KeyState::Revoked | KeyState::Destroyed) {
        return Err(DrainFault::Ended(key.label.clone(), crate::key::state(&key)).into());
    }
    let text = draft(&args, &key.label, &control).await?;
    output.exact(&text, &serde_json::json!({ "plan": text }))?;
    output.note(&format!("read it, then: portctl drain propose {} FILE --reason TEXT", key.label));
    Ok(Exit::Done)
}

/// A plan for a key, by the book in force: everything on every chain that its rules name.
pub(crate) async fn draft(
    args: &PlanArgs,
    label: &str,
    control: &ControlClient,
) -> Result<String, Failure> {
    let book = book(control).await?;
    let now = control.status().await?.sure_time_ms;
    let wanted = file::Draft {
        label,
        to: &args.to,
        callers: &args.callers,
        fees: &args.fees,
        lasts: &args.lasts,
        now,
    };
    Ok(wanted.write(&book)?)
}

async fn propose(
    args: ProposeArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let there = control.key(&args.key).await?;
    let (key, plan) = (id_of(&there)?, read(&control, &args.plan).await?);
    if there.state() == KeyState::Draining && agreed(&there)? == plan {
        let how = "is being drained by this plan: portctl drain run moves what is left";
        return already(&there, how, output);
    }
    let wanted = Wanted { act: Act::Drain(Drain { key, plan }), reason: args.reason };
    wanted.settle(&control, output).await
}

/// A plan from its file, with the names that the book in force and the keys give to things.
pub(crate) async fn read(control: &ControlClient, path: &Path) -> Result<DrainPlan, Failure> {
    let (book, keys) = (book(control).await?, control.list_keys().await?);
    file::read(path, &book, &keys)
}

/// Whether there is a node for each chain of a plan, of that chain.
pub(crate) async fn check_nodes(
    given: &[(String, String)],
    plan: &DrainPlan,
    control: &ControlClient,
) -> Result<(), Failure> {
    let nodes = nodes::nodes(given, plan, &book(control).await?).await;
    Ok(nodes.into_iter().collect::<Result<Vec<_>, _>>().map(drop)?)
}

/// The book in force.
async fn book(control: &ControlClient) -> Result<Book, Failure> {
    let text = control.book().await?.book;
    Ok(Book::parse(&text).map_err(|_| DrainFault::Book)?)
}
