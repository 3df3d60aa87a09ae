//! `portcullis witness init | serve | hold | release`, as people type it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use portcullis::process::{self, Unhardened};
use portcullis::witness::{
    self, Cosigner, Holds, Made, Scope, Server, WitnessConfig, WitnessConfigError, WitnessError,
};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Subcommand)]
pub(crate) enum WitnessVerb {
    /// Make the witness's key, and what it keeps of each journal in the configuration. Prints the
    /// key, as signers and verifiers have to know it. If there is a key, only journals that are
    /// named by --new are made known: a witness that begins anew cosigns what it must not.
    Init {
        /// The witness's configuration.
        #[arg(long)]
        config: PathBuf,
        /// A journal, by its origin, of which nothing was ever cosigned under this key, here or
        /// elsewhere. May be given more than once.
        #[arg(long, value_name = "ORIGIN")]
        new: Vec<String>,
    },
    /// Cosign checkpoints until SIGTERM (c2sp.org/tlog-witness).
    Serve {
        /// The witness's configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Cosign nothing of a journal until it is released. A witness that runs heeds it at once.
    Hold {
        #[command(flatten)]
        wanted: Wanted,
        /// Why: 1 to 500 characters. Whoever asks for a cosignature is told.
        #[arg(long, default_value = "no reason given")]
        reason: String,
    },
    /// Let go of what was held.
    Release {
        #[command(flatten)]
        wanted: Wanted,
    },
}

#[derive(Args)]
pub(crate) struct Wanted {
    /// The journal, by its origin: portcullis/HEX.
    #[arg(required_unless_present = "all")]
    origin: Option<String>,
    /// Every journal, those that are yet to come too.
    #[arg(long, conflicts_with = "origin")]
    all: bool,
    /// The witness's configuration.
    #[arg(long, required_unless_present = "folder")]
    config: Option<PathBuf>,
    /// In place of --config, with --all: the witness's folder. It is enough if the configuration
    /// cannot be read.
    #[arg(long, requires = "all", conflicts_with_all = ["config", "origin"])]
    folder: Option<PathBuf>,
}

/// Not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessFault {
    #[error("the configuration cannot be used")]
    Config(#[from] WitnessConfigError),
    #[error("{origin} is no journal that is witnessed here. There are: {known}")]
    Unknown { origin: String, known: String },
    #[error("--config says which witness; with --all, --folder does too")]
    NoConfig,
    #[error("a reason has 1 to 500 characters, in one line")]
    Reason,
    #[error("the process cannot be hardened")]
    Process(#[from] Unhardened),
    #[error("the operating system does not do its part")]
    System(#[from] std::io::Error),
    #[error("it is not certain whether it is held: look whether the file is in {folder:?}")]
    Hold {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the witness ended")]
    Witness(#[from] WitnessError),
}

impl WitnessFault {
    /// As `portcullis --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown { .. } | Self::NoConfig | Self::Reason => 64,
            Self::Config(_) => 78,
            Self::Process(_) | Self::System(_) | Self::Hold { .. } => 74,
            Self::Witness(error) => match error {
                WitnessError::NotConfigured { .. } => 64,
                WitnessError::Config(_)
                | WitnessError::Secret(_)
                | WitnessError::NotOurs { .. }
                | WitnessError::Open { .. } => 78,
                WitnessError::KeyLost { .. }
                | WitnessError::State { .. }
                | WitnessError::Lost { .. }
                | WitnessError::Unlisted { .. }
                | WitnessError::HoldsLost { .. }
                | WitnessError::Forgotten { .. }
                | WitnessError::Kept { .. } => 65,
                WitnessError::Folder { .. } | WitnessError::Listen { .. } | WitnessError::Disk => {
                    74
                }
            },
        }
    }
}

impl WitnessVerb {
    pub(crate) fn run(self) -> Result<(), WitnessFault> {
        match self {
            Self::Init { config, new } => {
                process::harden()?;
                let config = WitnessConfig::read(&config)?;
                let Made { witness, journals } = witness::init_with(&config, &new)?;
                for origin in journals {
                    tracing::info!(%origin, "nothing was cosigned of it so far");
                }
                say(&witness.to_string())
            }
            Self::Serve { config } => {
                process::harden()?;
                let config = WitnessConfig::read(&config)?;
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
                runtime.block_on(serve(&config))
            }
            Self::Hold { wanted, reason } => {
                let is_line = !reason.chars().any(char::is_control);
                if !is_line || !(1..=500).contains(&reason.chars().count()) {
                    return Err(WitnessFault::Reason);
                }
                let (folder, holds) = wanted.holds()?;
                let fault = |source| WitnessFault::Hold { folder: folder.clone(), source };
                holds.hold(wanted.scope(), &reason).map_err(fault)?;
                say(&format!("held: {}", wanted.named()))
            }
            Self::Release { wanted } => {
                let (folder, holds) = wanted.holds()?;
                let fault = |source| WitnessFault::Hold { folder: folder.clone(), source };
                let was = holds.release(wanted.scope()).map_err(fault)?;
                let said = if was { "released" } else { "was not held" };
                say(&format!("{said}: {}", wanted.named()))?;
                match holds.reason(Scope::All).map_err(fault)? {
                    Some(reason) => say(&format!("every journal is held still (--all): {reason}")),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Wanted {
    /// Where the holds are. A name that nobody knows is a mistake, and would stop nothing.
    fn holds(&self) -> Result<(PathBuf, Holds), WitnessFault> {
        if let Some(folder) = &self.folder {
            return Ok((folder.clone(), Holds::new(folder)));
        }
        let config = self.config.as_deref().ok_or(WitnessFault::NoConfig)?;
        let config = WitnessConfig::read(config)?;
        let known = config.origins();
        if let Some(origin) = &self.origin
            && !known.contains(&origin.as_str())
        {
            let (origin, known) = (origin.clone(), known.join(", "));
            return Err(WitnessFault::Unknown { origin, known });
        }
        let holds = Holds::new(&config.folder);
        Ok((config.folder, holds))
    }

    fn scope(&self) -> Scope<'_> {
        self.origin.as_deref().map_or(Scope::All, Scope::One)
    }

    fn named(&self) -> &str {
        self.origin.as_deref().unwrap_or("every journal")
    }
}

fn say(line: &str) -> Result<(), WitnessFault> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

async fn serve(config: &WitnessConfig) -> Result<(), WitnessFault> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cosigner = Arc::new(Cosigner::open(config)?);
    let server = Server::bind(config.listen).await?;
    let (address, witness) = (server.address(), cosigner.witness().to_string());
    tracing::info!(%address, %witness, "serving");
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(server.serve(cosigner, shutdown).await?)
}
