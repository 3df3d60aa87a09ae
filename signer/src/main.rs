//! The signer's command line: `init` makes a vault's journal, `serve` serves it, `rescue` stops
//! keys without it, `witness` watches it from elsewhere, `archive` makes room, `doctor` says what
//! is the matter.

mod archive_verb;
mod consent;
mod doctor_verb;
mod rescue_verb;
mod witness_verb;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis::app::{self, AppError};
use portcullis::config::{Config, ConfigError};
use portcullis::genesis::{self, InitError, Made, Outstanding};
use portcullis::hsm::HsmError;
use portcullis::process;

use self::archive_verb::{ArchiveFault, ArchiveVerb};
use self::doctor_verb::{DoctorFault, DoctorVerb};
use self::rescue_verb::{RescueFault, RescueVerb};
use self::witness_verb::{WitnessFault, WitnessVerb};

/// Portcullis: signs Ethereum transactions with keys that never leave an HSM, under a policy.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 ok; 64 usage; 65 journal; 69 token; 70 token hangs; \
    71 token cannot be reached; 74 I/O; 75 genesis waits for signatures; 78 configuration.
    Start with deploy/quickstart, which sets everything up."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a vault's journal from a genesis proposal: environment, people, what it takes to change
    /// the vault, first book. Everybody in it signs first: run it again when they have.
    Init {
        /// The signer's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The proposal.
        #[arg(long)]
        genesis: PathBuf,
        /// Where the draft, its statement and the signatures (*.sig) are; made if it is missing.
        /// Left out: `ceremony` beside the proposal.
        #[arg(long)]
        ceremony: Option<PathBuf>,
    },
    /// Serve until SIGTERM.
    Serve {
        /// The signer's configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Fence or remove keys straight on the token, when the signer is down or not to be trusted.
    /// Takes the PIN from whoever holds it, and writes notes for a person of security to sign: the
    /// signer takes them in at its next start.
    #[command(subcommand)]
    Rescue(RescueVerb),
    /// Cosign the checkpoints of signers, on another machine and by other people: of two journals
    /// of one name only one is cosigned, and of one that is held none.
    #[command(subcommand)]
    Witness(WitnessVerb),
    /// Move the journal's oldest segments, which no start needs, to the `archive` of the
    /// configuration, and leave links. The signer may run meanwhile, and reads them from there.
    Archive(ArchiveVerb),
    /// Look at configuration, module and token, and say what is the matter and what to do: logs in
    /// once, has every key sign a constant that is no transaction, measures the rate.
    Doctor(DoctorVerb),
    /// Read the configuration and say whether it can be used.
    Check {
        /// The signer's configuration.
        #[arg(long)]
        config: PathBuf,
    },
}

/// Who has still to sign, a line each.
fn listed(missing: &[Outstanding]) -> String {
    missing.iter().map(|one| format!("\n  {} with {}", one.person, one.credential)).collect()
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let chain = chain(&failure);
            tracing::error!("{chain}");
            ExitCode::from(failure.exit_code())
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("no vault was made")]
    Init(#[from] InitError),
    #[error(
        "not made yet: these have still to read {statement:?} and sign it, each on a machine of \
         their own:{}\nHow, with an SSH key: ssh-keygen -Y sign -n genesis.v1@portcullis -f KEY \
         < {} > NAME.sig\nPut the .sig files beside it and run this again",
        listed(missing),
        statement.display()
    )]
    Unsigned { statement: PathBuf, missing: Vec<Outstanding> },
    #[error("the rescue is not done")]
    Rescue(#[from] RescueFault),
    #[error("the witness does not do it")]
    Witness(#[from] WitnessFault),
    #[error("not everything was archived")]
    Archive(#[from] ArchiveFault),
    #[error("the doctor is not content")]
    Doctor(#[from] DoctorFault),
    #[error("the signer stopped")]
    App(#[from] AppError),
    #[error("the asynchronous runtime cannot be started")]
    Runtime(#[from] std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Init(_) => 78,
            Self::Unsigned { .. } => 75,
            Self::Rescue(fault) => fault.exit_code(),
            Self::Witness(fault) => fault.exit_code(),
            Self::Archive(fault) => fault.exit_code(),
            Self::Doctor(fault) => fault.exit_code(),
            Self::Runtime(_) => 74,
            Self::App(error) => match error {
                AppError::Journal(_)
                | AppError::Checkpoints(_)
                | AppError::Start(_)
                | AppError::OtherJournal(_) => 65,
                AppError::Hsm(HsmError::Pin(_)) | AppError::Config(_) | AppError::Trust { .. } => {
                    78
                }
                AppError::Hsm(error) if error.needs_a_person() => 69,
                AppError::Hsm(_) => 71,
                AppError::TokenHung => 70,
                AppError::Process(_)
                | AppError::Listen { .. }
                | AppError::Loopback(_)
                | AppError::Addresses { .. }
                | AppError::Signals(_)
                | AppError::Reflection(_)
                | AppError::Writer(_)
                | AppError::WriterPanicked
                | AppError::PlaneEnded => 74,
            },
        }
    }
}

/// Long enough for what is nearly done.
const LEFT_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Init { config, genesis, ceremony } => {
            match genesis::init(&Config::read(&config)?, &genesis, ceremony.as_deref())? {
                Made::Vault(vault) => {
                    tracing::info!(%vault, "vault made; serve it with `portcullis serve`");
                    Ok(())
                }
                Made::Waits { statement, missing } => Err(Failure::Unsigned { statement, missing }),
            }
        }
        Verb::Check { config } => {
            Config::read(&config)?;
            tracing::info!("the configuration can be used");
            Ok(())
        }
        Verb::Archive(verb) => Ok(verb.run()?),
        Verb::Doctor(verb) => Ok(verb.run()?),
        Verb::Rescue(verb) => Ok(verb.run()?),
        Verb::Witness(verb) => Ok(verb.run()?),
        Verb::Serve { config } => {
            let config = Config::read(&config)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let served = runtime.block_on(app::serve(&config));
            // Whatever still reads the journal for somebody is not waited for.
            runtime.shutdown_timeout(LEFT_AFTER);
            // A thread may still be inside the token's module, however this ended.
            process::end_within(LEFT_AFTER);
            Ok(served?)
        }
    }
}

/// An error and all its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
