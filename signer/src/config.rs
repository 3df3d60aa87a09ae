//! What an operator writes: one TOML file, every field named or refused. Secrets are only ever
//! named here, by file.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_policy::record::DenialBurst;
use portcullis_policy::time::Span;
use serde::Deserialize;

use crate::edge::TrustFiles;
use crate::hsm::{HsmConfig, TokenSelector};
use crate::pin::PinSource;
use crate::witness::{Mode, Pinned, Remote};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of journal and addresses.
    pub data: PathBuf,
    /// Where `portcullis archive` moves segments that no start needs. Absent: nowhere.
    pub archive: Option<PathBuf>,
    /// Bytes of a journal segment; the default is 64 MiB. Only `init` and new segments look at it.
    pub segment_bytes: Option<u64>,
    /// Requests per second over all callers. Absent: no bound besides the book's.
    pub rate_per_second_max: Option<NonZeroU32>,
    /// The token.
    pub hsm: Hsm,
    /// Where callers connect.
    pub data_plane: Listener,
    /// Where people connect.
    pub control_plane: Listener,
    /// Where stop orders are taken, without a client certificate. Absent: nowhere.
    pub stop_orders: Option<StopOrders>,
    /// Health and metrics, on loopback only.
    pub loopback: Loopback,
    /// What the signer stops by itself, besides what it always does.
    #[serde(default)]
    pub triggers: Triggers,
    /// Who cosigns the checkpoints. Absent: nobody.
    witness: Option<Witness>,
}

/// Who cosigns the checkpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Witness {
    url: String,
    key: String,
    mode: Option<WitnessMode>,
    max_lag: Option<String>,
    journal: Option<String>,
}

/// Whether signatures wait for the witness.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WitnessMode {
    Off,
    Lag,
    Fence,
}

impl Witness {
    /// There is no default: somebody has said it.
    fn mode(&self) -> Result<Mode, ConfigError> {
        match (self.mode, &self.max_lag) {
            (Some(WitnessMode::Off), None) => Ok(Mode::Off),
            (Some(WitnessMode::Fence), None) => Ok(Mode::Fence),
            (Some(WitnessMode::Lag), Some(max)) => {
                let max = Span::parse(max).filter(|max| (LAG_MIN..=LAG_MAX).contains(max));
                max.map(Mode::Lag).ok_or(ConfigError::WitnessMode)
            }
            (None, _) | (Some(WitnessMode::Lag), None) => Err(ConfigError::WitnessMode),
            (Some(WitnessMode::Off | WitnessMode::Fence), Some(_)) => Err(ConfigError::WitnessMode),
        }
    }
}

/// As long as the witness may take for one answer.
const LAG_MIN: Span = Span(5_000);

/// What is signed in an hour is more than anybody wants to lose.
const LAG_MAX: Span = Span(3_600_000);

/// What the signer stops by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    /// So many refusals of one caller. Absent: however many.
    denials: Option<NonZeroU32>,
    /// Within so long: "1m".
    within: Option<String>,
}

impl Triggers {
    /// How many refusals of one caller are too many. `None`: none ever are.
    ///
    /// # Errors
    ///
    /// One of the two is missing, or the time is none.
    pub fn denials(&self) -> Result<Option<DenialBurst>, ConfigError> {
        match (self.denials, &self.within) {
            (None, None) => Ok(None),
            (Some(denials), Some(within)) => {
                let within = Span::parse(within).ok_or(ConfigError::Triggers)?;
                Ok(Some(DenialBurst { denials: denials.get().into(), within }))
            }
            (Some(_), None) | (None, Some(_)) => Err(ConfigError::Triggers),
        }
    }
}

/// The token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    module: PathBuf,
    /// The token's label.
    token: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    pin_file: Option<PathBuf>,
    pin_credential: Option<String>,
    sessions: Option<NonZeroUsize>,
    call_timeout_ms: Option<u64>,
    hung_exit_ms: Option<u64>,
    /// Copies of the token that there are, each in a few words: named wherever a key is destroyed.
    #[serde(default)]
    backups: Vec<String>,
}

impl Hsm {
    /// Copies of the token that the operator says there are.
    pub fn backups(&self) -> &[String] {
        &self.backups
    }
}

/// Copies of a token that are named.
const BACKUPS_MAX: usize = 32;

/// Length of each name.
const BACKUP_CHARS_MAX: usize = 200;

/// A listener with mTLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port; port 0 takes any, and `addresses.json` says which.
    pub listen: SocketAddr,
    certificate: PathBuf,
    private_key: PathBuf,
    client_ca: PathBuf,
    #[serde(default)]
    crl: Vec<PathBuf>,
}

/// The listener for stop orders, which shows the control plane's certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopOrders {
    /// Address and port.
    pub listen: SocketAddr,
}

/// The plaintext listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loopback {
    /// A loopback address and port.
    pub listen: SocketAddr,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not say what it must, or says something else too.
    #[error("{path:?} is not a configuration: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what, as the parser says it.
        message: String,
    },
    /// The token is not named, or named twice.
    #[error("[hsm] must name the token in exactly one way: token (label), serial, or slot")]
    Token,
    /// Copies of the token that nobody could find by what is written.
    #[error(
        "[hsm] backups: up to {BACKUPS_MAX} copies of the token, each in 1 to {BACKUP_CHARS_MAX} \
         characters"
    )]
    Backups,
    /// A time in which no token answers, or for which nobody waits.
    #[error(
        "[hsm] call_timeout_ms is 100 to 600000 (ten minutes), and hung_exit_ms 1000 to 3600000 \
         (an hour); left out, they are 5000 and 20000"
    )]
    TokenTimes,
    /// The PIN's source is not named, or named twice.
    #[error("[hsm] must name the PIN's source in exactly one way: pin_file or pin_credential")]
    Pin,
    /// Half of a trigger.
    #[error(
        "[triggers] has denials and within together, or neither: denials = 200, within = \"1m\""
    )]
    Triggers,
    /// A witness that cannot be asked.
    #[error(
        "[witness] has url = \"http://host:port\", and key = \"NAME+ID+KEY\" as `portcullis \
         witness init` printed it; it is named like no journal, in at most 255 bytes"
    )]
    Witness,
    /// A journal that is none.
    #[error(
        "[witness] has journal = \"portcullis/HEX+ID+KEY\", as `portctl audit checkpoint` says it, \
         or none"
    )]
    WitnessJournal,
    /// Nobody said whether signatures wait.
    #[error(
        "[witness] has mode = \"fence\" (each signature waits for its cosignature), mode = \
         \"lag\" with max_lag = \"30s\" (5s to 1h: nothing is signed while the newest one is \
         older), or mode = \"off\" (none waits)"
    )]
    WitnessMode,
}

impl Config {
    /// Reads a file. Relative paths in it are relative to the file's folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let parse = |error: toml::de::Error| ConfigError::Parse {
            path: path.into(),
            message: error.to_string(),
        };
        let mut config: Self = toml::from_str(&text).map_err(parse)?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        config.hsm()?;
        let clear = |words: &&String| (1..=BACKUP_CHARS_MAX).contains(&words.chars().count());
        let backups = &config.hsm.backups;
        if backups.len() > BACKUPS_MAX || !backups.iter().all(|words| clear(&words)) {
            return Err(ConfigError::Backups);
        }
        config.triggers.denials()?;
        config.witness()?;
        config.pinned()?;
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let mut paths = vec![&mut self.data, &mut self.hsm.module];
        paths.extend(self.hsm.pin_file.as_mut());
        for listener in [&mut self.data_plane, &mut self.control_plane] {
            let Listener { listen: _, certificate, private_key, client_ca, crl } = listener;
            paths.extend([certificate, private_key, client_ca]);
            paths.extend(crl);
        }
        for path in paths {
            *path = folder.join(&*path);
        }
        // What leads there must do so from everywhere.
        let archive = self.archive.take().map(|path| folder.join(path));
        self.archive = archive.map(|path| std::path::absolute(&path).unwrap_or(path));
    }

    /// The witness, if there is one, and whether signatures wait for it.
    ///
    /// # Errors
    ///
    /// It cannot be asked, or that is not said.
    pub fn witness(&self) -> Result<Option<(Remote, Mode)>, ConfigError> {
        let Some(witness) = &self.witness else { return Ok(None) };
        let remote = Remote::new(&witness.url, &witness.key).ok_or(ConfigError::Witness)?;
        Ok(Some((remote, witness.mode()?)))
    }

    /// The journal that this signer is to have, if that is written down.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn pinned(&self) -> Result<Option<Pinned>, ConfigError> {
        let journal = self.witness.as_ref().and_then(|witness| witness.journal.as_ref());
        let pinned = journal.map(|vkey| Pinned::parse(vkey).ok_or(ConfigError::WitnessJournal));
        pinned.transpose()
    }

    /// The token's part, checked.
    pub fn hsm(&self) -> Result<HsmConfig, ConfigError> {
        let Hsm { module, token, serial, slot, pin_file, pin_credential, .. } = self.hsm.clone();
        let selector = match (token, serial, slot) {
            (Some(label), None, None) => TokenSelector::Label(label),
            (None, Some(serial), None) => TokenSelector::Serial(serial),
            (None, None, Some(slot)) => TokenSelector::Slot(slot),
            _ => return Err(ConfigError::Token),
        };
        let pin = match (pin_file, pin_credential) {
            (Some(path), None) => PinSource::File(path),
            (None, Some(name)) => PinSource::Credential(name),
            _ => return Err(ConfigError::Pin),
        };
        let mut config = HsmConfig::new(module, selector, pin);
        config.sessions = self.hsm.sessions.unwrap_or(config.sessions);
        let Hsm { call_timeout_ms, hung_exit_ms, .. } = self.hsm;
        config.deadline = bounded(call_timeout_ms, CALL_TIMEOUT, config.deadline)?;
        config.hung_max = bounded(hung_exit_ms, HUNG_EXIT, config.hung_max)?;
        Ok(config)
    }
}

/// A time of the token's, or what it is if nobody says.
fn bounded(
    given: Option<u64>,
    (least, most): (u64, u64),
    absent: Duration,
) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(absent),
        Some(given) if (least..=most).contains(&given) => Ok(Duration::from_millis(given)),
        Some(_) => Err(ConfigError::TokenTimes),
    }
}

/// With less, a token that is well counts as stuck; with more, callers have long gone.
const CALL_TIMEOUT: (u64, u64) = (100, 600_000);

/// Looked at once a second; after an hour somebody has restarted it by hand.
const HUNG_EXIT: (u64, u64) = (1_000, 3_600_000);

impl Listener {
    /// Certificates and keys.
    pub fn trust(&self) -> TrustFiles {
        TrustFiles {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
            client_ca: self.client_ca.clone(),
            crl: self.crl.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(words: &str) -> Result<Mode, ConfigError> {
        let text = format!("url = \"http://w\"\nkey = \"k\"\n{words}");
        toml::from_str::<Witness>(&text).unwrap().mode()
    }

    #[test]
    fn times_in_which_no_token_answers_or_for_which_nobody_waits_are_refused() {
        let absent = Duration::from_secs(7);
        for (given, bounds) in [(99, CALL_TIMEOUT), (600_001, CALL_TIMEOUT), (999, HUNG_EXIT)] {
            let refused = bounded(Some(given), bounds, absent);
            assert!(matches!(refused, Err(ConfigError::TokenTimes)), "{given}");
        }
        assert_eq!(bounded(Some(100), CALL_TIMEOUT, absent).unwrap().as_millis(), 100);
        assert_eq!(bounded(None, CALL_TIMEOUT, absent).unwrap(), absent);
        let hsm = |words: &str| {
            let listener = "listen = \"127.0.0.1:0\"\ncertificate = \"c\"\nprivate_key = \"k\"\n\
                            client_ca = \"a\"\n";
            let text = format!(
                "data = \"d\"\n[hsm]\nmodule = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n{words}\n\
                 [data_plane]\n{listener}[control_plane]\n{listener}\
                 [loopback]\nlisten = \"127.0.0.1:0\"\n"
            );
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("signer.toml");
            std::fs::write(&path, text).unwrap();
            Config::read(&path).map(drop)
        };
        assert!(hsm("").is_ok(), "{:?}", hsm(""));
        for zero in ["call_timeout_ms = 0", "hung_exit_ms = 0"] {
            assert!(matches!(hsm(zero), Err(ConfigError::TokenTimes)), "{zero}");
        }
    }

    #[test]
    fn whether_signatures_wait_for_the_witness_is_said_by_somebody_and_in_full() {
        assert_eq!(mode("mode = \"off\"").unwrap(), Mode::Off);
        assert_eq!(mode("mode = \"fence\"").unwrap(), Mode::Fence);
        let lag = mode("mode = \"lag\"\nmax_lag = \"30s\"").unwrap();
        assert_eq!(lag, Mode::Lag(Span(30_000)));
        for bad in [
            "",
            "max_lag = \"30s\"",
            "mode = \"lag\"",
            "mode = \"lag\"\nmax_lag = \"4s\"",
            "mode = \"lag\"\nmax_lag = \"2h\"",
            "mode = \"lag\"\nmax_lag = \"30\"",
            "mode = \"fence\"\nmax_lag = \"30s\"",
            "mode = \"off\"\nmax_lag = \"30s\"",
        ] {
            assert!(matches!(mode(bad), Err(ConfigError::WitnessMode)), "{bad}");
        }
    }
}
