//! `portcullis archive`, as people type it.

use std::path::PathBuf;

use clap::Args;
use portcullis::config::{Config, ConfigError};
use portcullis::journal::{Archive, ArchiveError, Moved};
use portcullis::snapshot::Folder;

#[derive(Args)]
pub(crate) struct ArchiveVerb {
    /// The signer's configuration: `archive` in it says where to.
    #[arg(long)]
    config: PathBuf,
}

/// Nothing, or not everything, was moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveFault {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the configuration names no archive: add archive = \"/where/there/is/room\"")]
    NotNamed,
    #[error("the snapshots in {folder:?} cannot be listed")]
    Snapshots {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a segment stays where it was")]
    Archive(#[from] ArchiveError),
}

impl ArchiveFault {
    /// As `portcullis --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NotNamed => 78,
            Self::Archive(ArchiveError::Journal(_)) => 65,
            Self::Snapshots { .. } | Self::Archive(_) => 74,
        }
    }
}

impl ArchiveVerb {
    pub(crate) fn run(self) -> Result<(), ArchiveFault> {
        let config = Config::read(&self.config)?;
        let archive = config.archive.as_ref().ok_or(ArchiveFault::NotNamed)?;
        let snapshots = Folder::of(&config.data).list();
        let failed = |source| ArchiveFault::Snapshots { folder: config.data.clone(), source };
        // The older one: a start uses it until a checkpoint covers the newer.
        let Some(upto) = snapshots.map_err(failed)?.pop() else {
            tracing::info!(
                "nothing to do: no snapshot was written yet, and without one a start reads the \
                 whole journal"
            );
            return Ok(());
        };
        let Moved { segments, bytes, led_here, archived, stay } =
            Archive::open(&config.data, archive)?
                .move_below(upto, |path| tracing::info!("moving {}", path.display()))?;
        if led_here > 0 {
            tracing::info!("{led_here} segments are now looked for in {}", archive.display());
        }
        tracing::info!(
            "{segments} segments ({} MiB) were moved to {}, {archived} are there now; {stay} stay: \
             the first, and those that a start reads",
            bytes >> 20,
            archive.display()
        );
        Ok(())
    }
}
