//! `drain run`: carries out the plan that people agreed to, which the signer tells. It keeps no
//! notes: the chain says what was done, so it goes on after any interruption.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use clap::Args;
use portcullis_client::wire::{Key, KeyState};
use portcullis_client::{CallError, KeyRef};
use portcullis_policy::book::Book;
use portcullis_policy::drain::{DrainPlan, DrainTo};
use portcullis_policy::id::{ChainId, KeyId};
use serde_json::{Value, json};

use super::drainer::Drainer;
use super::nodes::{chain_name, nodes, rpc};
use super::survey::Rest;
use super::{DrainFault, book};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key::standing_allowances;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The key, by id or label. It must be draining.
    pub(crate) key: String,
    /// A node of a chain: the chain's name in the book, "=", and an http or https URL.
    #[arg(long = "rpc", value_name = "NAME=URL", required = true, value_parser = rpc)]
    pub(crate) nodes: Vec<(String, String)>,
    /// On a chain, cancel every nonce below this one too: whatever was signed for it and not sent
    /// is then void. The chain's name in the book, "=", and the nonce.
    #[arg(long, value_name = "NAME=NONCE", value_parser = below)]
    pub(crate) cancel_below: Vec<(String, u64)>,
    /// Do not read the journal for allowances that may stand.
    #[arg(long)]
    pub(crate) no_allowances: bool,
    /// Wait until what the key sent before is mined, instead of taking its place.
    #[arg(long)]
    pub(crate) let_through: bool,
    /// Say what would be done, and sign nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The key that everything must go to.
    #[arg(skip)]
    pub(crate) to: Option<KeyId>,
}

pub(crate) async fn run(
    args: RunArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let dry = args.dry_run;
    let moved = carry_out(&args, connection, output).await?;
    let (word, count) = (if dry { "to be sent" } else { "sent" }, moved.sent.len());
    let mut human = format!("{count} transactions {word}");
    for rest in &moved.besides {
        human.push_str(&format!("\nnot in the plan, and not moved: {}", rest.what));
    }
    let besides = moved.besides.iter().map(|rest| rest.what.as_str());
    let json = json!({
        "transactions": moved.sent,
        "left": moved.left,
        "not_in_the_plan": besides.collect::<Vec<&str>>(),
        "dry_run": dry,
    });
    output.result(&human, &json)?;
    moved.all().map(|_sent| Exit::Done)
}

/// What became of it.
pub(crate) struct Moved {
    /// Each transaction that was sent, or would be.
    sent: Vec<Value>,
    /// What is still there, in words.
    left: Vec<String>,
    /// What is there that the plan does not name.
    pub(crate) besides: Vec<Rest>,
}

impl Moved {
    /// Each transaction that was sent, signed.
    pub(crate) fn sent(&self) -> &[Value] {
        &self.sent
    }

    /// What was sent, if nothing is left.
    pub(crate) fn all(self) -> Result<Vec<Value>, Failure> {
        if self.left.is_empty() { Ok(self.sent) } else { Err(DrainFault::Left(self.left).into()) }
    }
}

/// Goes over all chains of the plan.
pub(crate) async fn carry_out(
    args: &RunArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Moved, Failure> {
    let control = connection.control().await?;
    let (book, keys) = (book(&control).await?, control.list_keys().await?);
    let key = control.key(&args.key).await?;
    let plan = agreed(&key)?;
    if args.to.is_some_and(|to| plan.to != DrainTo::Key(to)) {
        return Err(DrainFault::OtherPlan.into());
    }
    let id = crate::thaw::key_id(&control, &args.key).await?;
    let wire_id = key.key_id.parse().map_err(|_| CallError::Incomplete { part: "key id" })?;
    let own = Address::try_from(key.address.as_slice()).unwrap_or_default();
    let to = match plan.to {
        DrainTo::Address(address) => address,
        DrainTo::Key(id) => {
            let text = id.to_string();
            let found = keys.iter().find(|key| key.key_id == text);
            let address = found.and_then(|key| Address::try_from(key.address.as_slice()).ok());
            address.ok_or_else(|| DrainFault::Asked("the successor is gone".into()))?
        }
    };
    check_names(args, &plan, &book)?;
    let nodes = nodes(&args.nodes, &plan, &book).await;
    let mut left = Vec::new();
    let allowances = match args.no_allowances {
        true => Ok(Vec::new()),
        false => standing_allowances(connection, output, id).await,
    };
    // What nobody can say of it keeps the rest nowhere.
    let allowances = allowances.unwrap_or_else(|failure| {
        output.failure(&failure);
        left.push("allowances that the journal knows of: it could not be read".to_owned());
        Vec::new()
    });
    let client = connection.data().await?;
    let mut all = Drainer {
        client,
        key: KeyRef { id: wire_id, address: own },
        book,
        to,
        callers: plan.callers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        allowances,
        cancel_below: args.cancel_below.iter().cloned().collect(),
        lets_through: args.let_through,
        output,
        sent: Vec::new(),
        left,
        refused: Vec::new(),
        besides: Vec::new(),
    };
    for (part, node) in plan.chains.iter().zip(nodes) {
        let done = match node {
            Err(fault) => Err(fault.into()),
            Ok(node) if args.dry_run => all.tell(part, &node).await,
            Ok(node) => all.chain(part, &node).await,
        };
        // What one chain or its node does must not keep the others' coin where it is.
        if let Err(failure) = done {
            let name = chain_name(&all.book, part.chain);
            output.failure(&failure);
            all.left.push(format!("{name}: it ended early, for the reason above"));
        }
    }
    let named = |id: &ChainId| plan.chains.iter().any(|part| part.chain == *id);
    let others = key.chains.iter().map(|id| ChainId(*id)).filter(|id| !named(id));
    let others = others.map(|id| {
        let name = chain_name(&all.book, id);
        let what = format!("whatever it holds on {name}, which was not looked at");
        Rest { name, what }
    });
    let besides = all.besides.into_iter().chain(others).collect();
    Ok(Moved { sent: all.sent, left: all.left, besides })
}

/// A slip of the hand in a chain's name would leave something undone and unsaid.
fn check_names(args: &RunArgs, plan: &DrainPlan, book: &Book) -> Result<(), DrainFault> {
    let chains: Vec<String> = plan.chains.iter().map(|part| chain_name(book, part.chain)).collect();
    let rpc = args.nodes.iter().map(|(name, _)| ("--rpc", name));
    let below = args.cancel_below.iter().map(|(name, _)| ("--cancel-below", name));
    let mut seen = BTreeSet::new();
    for (option, name) in rpc.chain(below) {
        if !chains.contains(name) {
            let there = chains.join(", ");
            let fault = format!("{option} {name}: the plan has no such chain. It has {there}");
            return Err(DrainFault::Asked(fault));
        }
        if !seen.insert((option, name)) {
            return Err(DrainFault::Asked(format!("{option} {name}: it was given twice")));
        }
    }
    Ok(())
}

/// A chain's name in the book, and a nonce.
fn below(text: &str) -> Result<(String, u64), String> {
    let (name, nonce) = text.split_once('=').ok_or("write NAME=NONCE: ethereum=17")?;
    let nonce = nonce.parse().map_err(|_| format!("{nonce} is no nonce: write ethereum=17"))?;
    Ok((name.to_owned(), nonce))
}

/// The plan that people agreed to for a key.
///
/// # Errors
///
/// If it is not being drained.
pub(crate) fn agreed(key: &Key) -> Result<DrainPlan, Failure> {
    if key.state() != KeyState::Draining {
        return Err(DrainFault::NotDraining(crate::key::state(key)).into());
    }
    let plan = serde_json::from_str(&key.drain_plan);
    Ok(plan.map_err(|_| CallError::Incomplete { part: "plan of a drain" })?)
}
