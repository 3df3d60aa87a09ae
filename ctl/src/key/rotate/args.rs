//! What `key rotate` is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_client::wire::{Key, KeyState};
use portcullis_policy::id::CallerId;

use super::RotateFault;
use crate::drain::rpc;
use crate::freeze::reason;
use crate::key::create;

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// The key to be replaced, by id or label.
    pub(super) old: String,
    /// The label of the key that takes its place. It is made like the old one if it is not there.
    #[arg(long = "to", value_name = "NEW")]
    pub(super) new: String,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    pub(super) reason: String,
    /// If it is to be made: the day by which somebody looks whether it is still needed.
    #[arg(long, value_name = "DAY", value_parser = create::day)]
    pub(super) review_by: Option<u64>,
    /// A caller that may ask for the signatures that move everything: the service of [data_plane]
    /// in portctl.toml. More than once for more of them.
    #[arg(long = "caller", value_name = "ID")]
    pub(super) callers: Vec<CallerId>,
    /// The most that moving everything on a chain may cost in fees, once for each coin: "0.05 ETH".
    #[arg(long = "fees", value_name = "AMOUNT")]
    pub(super) fees: Vec<String>,
    /// How long the old key is drained, votes on it included: at most 30d.
    #[arg(long = "for", value_name = "TIME", default_value = "24h")]
    pub(super) lasts: String,
    /// A node of a chain: the chain's name in the book, "=", and an http or https URL.
    #[arg(long = "rpc", value_name = "NAME=URL", value_parser = rpc)]
    pub(super) nodes: Vec<(String, String)>,
    /// Where plan and books are written, and the plan is found again [default: rotate-OLD-to-NEW].
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
    /// Stay until people have agreed, instead of ending with exit code 4.
    #[arg(long)]
    pub(super) wait: bool,
    /// End the old key for good, once everything that the plan names is moved: what it holds
    /// besides, and whatever comes in later, can then never be moved. Look first.
    #[arg(long)]
    pub(super) end_old: bool,
    /// With --end-old: end it although it holds this, which the plan does not name: a token or
    /// a coin as NAME@CHAIN, or a chain that is not looked at. More than once for more of them.
    #[arg(long, value_name = "NAME", requires = "end_old")]
    pub(super) leave_rest: Vec<String>,
    /// What becomes of payments that the old key sent and that wait in a node [default:
    /// let-through, unless the old key is frozen].
    #[arg(long, value_enum)]
    pub(super) waiting: Option<Waiting>,
    /// Leave the old key's rules in the book.
    #[arg(long)]
    pub(super) keep_rules: bool,
    /// Do not read the journal for allowances that may stand.
    #[arg(long)]
    pub(super) no_allowances: bool,
}

/// What becomes of payments that wait in a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Waiting {
    /// They are waited for.
    LetThrough,
    /// They are replaced: for a key that may be out.
    Replace,
}

impl RotateArgs {
    /// Whoever stopped a key had a reason; what it sent may be somebody else's.
    pub(super) fn check_waiting(&self, old: &Key) -> Result<(), RotateFault> {
        if old.state() == KeyState::Frozen && self.waiting.is_none() {
            return Err(RotateFault::Waiting { old: old.label.clone() });
        }
        Ok(())
    }
}
