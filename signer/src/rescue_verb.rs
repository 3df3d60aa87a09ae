//! `portcullis rescue fence | destroy`, as people type it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis::config::{Config, ConfigError};
use portcullis::hsm::HsmError;
use portcullis::pin::PinSource;
use portcullis::process::{self, Unhardened};
use portcullis::rescue::{Chosen, Outcome, Rescue, RescueError, Rescued};
use portcullis_policy::credential::Purpose;
use portcullis_policy::id::PersonId;
use portcullis_policy::record::RescueDeed;

use crate::consent::{self, ConsentError};

#[derive(Subcommand)]
pub(crate) enum RescueVerb {
    /// Tell the token that keys may not sign (CKA_SIGN=false), and read it back. A quorum's thaw
    /// lets them sign again.
    Fence {
        #[command(flatten)]
        wanted: Wanted,
        /// Every key on the token that has an id of ours; it names those that have none.
        #[arg(long, conflicts_with = "keys")]
        all: bool,
    },
    /// Remove keys from the token, for good: what they hold can then not be moved any more.
    Destroy {
        #[command(flatten)]
        wanted: Wanted,
        /// Do not ask for the word again.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(crate) struct Wanted {
    /// The keys: ids, or what the token calls them.
    keys: Vec<String>,
    /// The signer's configuration: it says which token.
    #[arg(long)]
    config: PathBuf,
    /// Who you are, as the vault knows you: you sign the notes. It takes the role security.
    #[arg(long, value_name = "PERSON")]
    by: PersonId,
    /// Why: 1 to 500 characters, kept in the journal.
    #[arg(long)]
    reason: String,
    /// The token's user PIN, in a file that nobody else may read. Left out: it is asked for. Not
    /// the signer's own file.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Where the notes go. Left out: `rescue` in the data folder, where the signer looks for them.
    #[arg(long, value_name = "FOLDER")]
    notes: Option<PathBuf>,
}

/// Not done, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RescueFault {
    #[error("say which keys: ids, or what the token calls them; with `fence`, --all for every key")]
    NoKeys,
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("nobody agreed, and nothing was done")]
    Consent(#[from] ConsentError),
    #[error("the process cannot be hardened")]
    Process(#[from] Unhardened),
    #[error("the operating system does not do its part")]
    System(#[from] std::io::Error),
    #[error("it ended early")]
    Rescue(#[from] RescueError),
    #[error(
        "of {of} keys {refused} are not as they should be and {unnoted} have no note, and {left} \
         others were left alone, for the reasons above. If the token refuses, take it from the \
         machine: a token that nobody reaches signs nothing"
    )]
    NotDone { refused: usize, unnoted: usize, left: usize, of: usize },
}

impl RescueFault {
    /// As `portcullis --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NoKeys | Self::Consent(_) => 64,
            Self::Config(_) => 78,
            Self::Process(_) | Self::System(_) => 74,
            Self::NotDone { .. } => 69,
            Self::Rescue(error) => match error {
                RescueError::Config(_) | RescueError::Hsm(HsmError::Pin(_)) => 78,
                RescueError::Hsm(_) | RescueError::WrongPin | RescueError::Empty(_) => 69,
                RescueError::Note(_) | RescueError::Random => 74,
                RescueError::OwnPin(_)
                | RescueError::Reason
                | RescueError::NoKey { .. }
                | RescueError::Ambiguous { .. } => 64,
            },
        }
    }
}

impl RescueVerb {
    pub(crate) fn run(self) -> Result<(), RescueFault> {
        let (deed, wanted, all, yes) = match self {
            Self::Fence { wanted, all } => (RescueDeed::Fence, wanted, all, true),
            Self::Destroy { wanted, yes } => (RescueDeed::Destroy, wanted, false, yes),
        };
        let Wanted { keys, config, by, reason, pin_file, notes } = wanted;
        let config = Config::read(&config)?;
        if keys.is_empty() && !all {
            return Err(RescueFault::NoKeys);
        }
        Rescue::reason(&reason)?;
        let named = if all { "every key".into() } else { keys.join(", ") };
        if !yes {
            consent::word(&named)?;
        }
        process::harden()?;
        let pin = match pin_file {
            Some(path) => PinSource::File(path),
            None => consent::pin(deed, &named)?,
        };
        let keys = if all { Chosen::All } else { Chosen::Named(keys) };
        let rescue = Rescue { deed, keys, by, reason, notes, pin };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(rescue.perform(&config))?;
        std::io::stdout().lock().write_all(told(&outcome).as_bytes())?;
        let Outcome { rescued, left } = outcome;
        let refused = rescued.iter().filter(|one| !one.done).count();
        let unnoted = rescued.iter().filter(|one| one.statement.is_err()).count();
        let left = if all { left.len() } else { 0 };
        let of = rescued.len();
        if refused == 0 && unnoted == 0 && left == 0 {
            return Ok(());
        }
        Err(RescueFault::NotDone { refused, unnoted, left, of })
    }
}

/// What came of each key, and what is still to be done.
fn told(outcome: &Outcome) -> String {
    let Outcome { rescued, left } = outcome;
    let mut text = String::new();
    for Rescued { key, label, answer, statement, .. } in rescued {
        let _infallible = writeln!(text, "{label:?} ({key}): {answer}");
        if let Err(why) = statement {
            let _infallible = writeln!(text, "  no note of it: {why}");
        }
    }
    for label in left {
        let _infallible = writeln!(text, "{label:?}: left alone: its id is none of ours");
    }
    let statements = || rescued.iter().filter_map(|one| one.statement.as_ref().ok());
    if statements().next().is_none() {
        return text;
    }
    let namespace = Purpose::Rescue.namespace();
    let _infallible = write!(
        text,
        "\nRead and sign what was done, with an SSH key that is enrolled for you:\n  \
         ssh-keygen -Y sign -n {namespace} -f KEY"
    );
    for statement in statements() {
        let _infallible = write!(text, " \\\n    {statement:?}");
    }
    text.push_str(
        "\nThe signature (.sig) belongs beside the statement. The signer takes it in at its next \
         start; unsigned too, a key that is fenced or gone is frozen there.\n",
    );
    text
}
