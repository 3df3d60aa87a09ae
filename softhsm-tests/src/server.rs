//! The real signer as a child: its configuration file, its journal's birth, its life and death.
//!
//! Runs the shipped binary and reads only what an operator could read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde::{Deserialize, Serialize};

use crate::child::{Child, ChildError, Environment};
use crate::http;
use crate::pki::Issued;
use crate::place::{self, PlaceError};
use crate::token::{LABEL, Token};
use crate::wait::{self, TimedOut};

/// The signer could not be brought up or down.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It is not built.
    #[error("the signer is not there")]
    Place(#[from] PlaceError),
    /// Its files could not be written.
    #[error("{path} could not be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings are no TOML.
    #[error("the settings cannot be written as TOML")]
    Settings(#[from] toml::ser::Error),
    /// It could not be run.
    #[error("the signer could not be run")]
    Child(#[from] ChildError),
    /// It ended instead of doing what it was asked to.
    #[error("the signer ended with {status}:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// All it said.
        log: String,
    },
    /// It lives and never became ready.
    #[error("the signer did not become ready:\n{log}")]
    NotReady {
        /// All it said.
        log: String,
        /// How long it was waited for.
        #[source]
        source: TimedOut,
    },
}

/// The signer's configuration file.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Journal folder.
    pub data: PathBuf,
    /// Where old segments may be moved; none: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// Requests per second over all callers; none: no bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second_max: Option<u32>,
    /// The token.
    pub hsm: Hsm,
    /// Where callers come in.
    pub data_plane: Plane,
    /// Where people come in.
    pub control_plane: Plane,
    /// Stop orders.
    pub stop_orders: Loopback,
    /// Health and metrics.
    pub loopback: Loopback,
    /// What the signer stops by itself; none: what it always does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Triggers>,
    /// Who cosigns; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// How the signer reaches its witness.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// Where it is.
    pub url: String,
    /// Its key.
    pub key: String,
    /// Whether signatures wait for it.
    pub mode: &'static str,
    /// The journal that is meant; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// In lag: how old a cosignature may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<&'static str>,
}

/// How many refusals of one caller stop it.
#[derive(Clone, Debug, Serialize)]
pub struct Triggers {
    /// So many,
    pub denials: u32,
    /// within so long: "1m".
    pub within: String,
}

/// How the signer reaches its token.
#[derive(Clone, Debug, Serialize)]
pub struct Hsm {
    /// PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user PIN's file.
    pub pin_file: PathBuf,
    /// Sessions open at once.
    pub sessions: u32,
    /// Deadline of one call, in milliseconds.
    pub call_timeout_ms: u64,
    /// How long calls that hang may keep everybody from signing, in milliseconds; none: as shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hung_exit_ms: Option<u64>,
    /// Copies of the token that there are.
    pub backups: Vec<String>,
}

/// A TLS listener.
#[derive(Clone, Debug, Serialize)]
pub struct Plane {
    /// Address and port; port 0: any.
    pub listen: String,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub private_key: PathBuf,
    /// Who issues its clients' certificates, PEM.
    pub client_ca: PathBuf,
    /// Revocation lists of its clients, PEM.
    pub crl: Vec<PathBuf>,
}

/// The plaintext listener.
#[derive(Clone, Debug, Serialize)]
pub struct Loopback {
    /// Address and port; port 0: any.
    pub listen: String,
}

impl Settings {
    /// Segments of 4 MiB, no rate, two sessions, five seconds a call, every listener on a loopback
    /// port of its own choosing.
    pub fn new(data: &Path, token: &Token, planes: [Plane; 2]) -> Self {
        let [data_plane, control_plane] = planes;
        let hsm = Hsm {
            module: token.module().to_owned(),
            token: LABEL.to_owned(),
            pin_file: token.pin_file(),
            sessions: 2,
            call_timeout_ms: 5_000,
            hung_exit_ms: None,
            backups: Vec::new(),
        };
        let loopback = Loopback { listen: "127.0.0.1:0".to_owned() };
        let stop_orders = loopback.clone();
        Self {
            data: data.to_owned(),
            archive: None,
            segment_bytes: 4 * 1024 * 1024,
            rate_per_second_max: None,
            hsm,
            data_plane,
            control_plane,
            stop_orders,
            loopback,
            triggers: None,
            witness: None,
        }
    }
}

impl Plane {
    /// A listener on a loopback port of its own choosing, without revocation lists.
    pub fn new(identity: &Issued, client_ca: &Path) -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            certificate: identity.certificate.clone(),
            private_key: identity.private_key.clone(),
            client_ca: client_ca.to_owned(),
            crl: Vec::new(),
        }
    }
}

/// Where the signer listens, as it writes once it does: `<data>/addresses.json`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub struct Addresses {
    /// For callers.
    pub data_plane: SocketAddr,
    /// For people.
    pub control_plane: SocketAddr,
    /// For stop orders.
    pub stop_orders: SocketAddr,
    /// For health and metrics.
    pub loopback: SocketAddr,
}

/// A signer at rest: its files, and what its processes need.
#[derive(Clone, Debug)]
pub struct Installation {
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    environment: Environment,
}

impl Installation {
    /// Writes the configuration file into `folder`. Nothing runs yet.
    pub fn new(folder: &Path, settings: &Settings, token: &Token) -> Result<Self, ServerError> {
        let installation = Self {
            config: folder.join("portcullis.toml"),
            data: settings.data.clone(),
            log: folder.join("portcullis.log"),
            environment: token.environment(),
        };
        installation.configure(settings)?;
        Ok(installation)
    }

    /// Writes the configuration file anew.
    pub fn configure(&self, settings: &Settings) -> Result<(), ServerError> {
        let text = toml::to_string(settings)?;
        fs::write(&self.config, text)
            .map_err(|source| ServerError::File { path: self.config.clone(), source })
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The journal folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file with all that its processes said.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The same, with these variables for its processes instead of its token's.
    pub fn in_environment(self, environment: Environment) -> Self {
        Self { environment, ..self }
    }

    /// Makes the journal from a genesis file.
    pub fn init(&self, genesis: &Path) -> Result<(), ServerError> {
        let mut command = self.command("init")?;
        command.arg("--genesis").arg(genesis);
        let child = Child::start(command, &self.log)?;
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(self.ended(status)?) }
    }

    /// Starts the signer and waits until it is ready.
    pub fn serve(&self) -> Result<Server, ServerError> {
        self.launch()?.wait_until(|status| status == 200)
    }

    /// Starts the signer and waits until it answers, ready or not: it may have to come up where no
    /// signature can be made.
    pub fn serve_unready(&self) -> Result<Server, ServerError> {
        self.launch()?.wait_until(|_| true)
    }

    /// Starts the signer and waits for nothing.
    pub fn start(&self) -> Result<Child, ServerError> {
        Ok(self.launch()?.child)
    }

    /// Starts the signer where it is expected not to come up, and gives how it ended.
    pub fn serve_in_vain(&self) -> Result<(ExitStatus, String), ServerError> {
        let status = self.launch()?.child.wait()?;
        Ok((status, self.said()?))
    }

    /// All that its processes said.
    pub fn said(&self) -> Result<String, ServerError> {
        fs::read_to_string(&self.log)
            .map_err(|source| ServerError::File { path: self.log.clone(), source })
    }

    fn launch(&self) -> Result<Launched, ServerError> {
        let path = self.addresses();
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ServerError::File { path, source }),
        }
        let child = Child::start(self.command("serve")?, &self.log)?;
        Ok(Launched { installation: self.clone(), child })
    }

    fn command(&self, verb: &str) -> Result<Command, ServerError> {
        let mut command = Command::new(place::binary("portcullis")?);
        command.arg(verb).arg("--config").arg(&self.config);
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }

    fn addresses(&self) -> PathBuf {
        self.data.join("addresses.json")
    }

    fn ended(&self, status: ExitStatus) -> Result<ServerError, ServerError> {
        Ok(ServerError::Ended { status, log: self.said()? })
    }
}

/// A running signer. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    installation: Installation,
    child: Child,
    addresses: Addresses,
}

/// A signer that was started and may not be ready.
struct Launched {
    installation: Installation,
    child: Child,
}

impl Server {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its process, for signals.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// All that it and its predecessors said.
    pub fn said(&self) -> Result<String, ServerError> {
        self.installation.said()
    }

    /// Ends it at any instruction. Start it again with [`Installation::serve`].
    pub fn kill_9(self) -> Result<ExitStatus, ServerError> {
        Ok(self.child.kill_9()?)
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(self) -> Result<ExitStatus, ServerError> {
        Ok(self.child.terminate()?)
    }

    /// `kill -9`, then up again on the same data.
    pub fn crash_and_restart(self) -> Result<Self, ServerError> {
        let installation = self.installation.clone();
        self.kill_9()?;
        installation.serve()
    }
}

impl Launched {
    fn wait_until(mut self, enough: impl Fn(u16) -> bool) -> Result<Server, ServerError> {
        let path = self.installation.addresses();
        let child = &mut self.child;
        let outcome = wait::until("the signer's /readyz", || match child.ended() {
            Ok(None) => answering_at(&path, &enough).map(Outcome::Ready),
            Ok(Some(status)) => Some(Outcome::Ended(status)),
            Err(error) => Some(Outcome::Lost(error)),
        });
        match outcome {
            Ok(Outcome::Ready(addresses)) => {
                Ok(Server { installation: self.installation, child: self.child, addresses })
            }
            Ok(Outcome::Ended(status)) => Err(self.installation.ended(status)?),
            Ok(Outcome::Lost(error)) => Err(error.into()),
            Err(source) => Err(ServerError::NotReady { log: self.installation.said()?, source }),
        }
    }
}

/// What came of waiting.
enum Outcome {
    Ready(Addresses),
    Ended(ExitStatus),
    Lost(ChildError),
}

/// The addresses, once they are written and the status of `/readyz` is enough.
fn answering_at(path: &Path, enough: impl Fn(u16) -> bool) -> Option<Addresses> {
    let addresses: Addresses = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let answer = http::get(addresses.loopback, "/readyz").ok()?;
    enough(answer.status).then_some(addresses)
}
