//! A token behind a network: SoftHSM served over a socket by p11-kit, and reached through p11-kit's
//! client module, which is somebody else's.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::child::Environment;
use crate::place::{self, PlaceError};
use crate::token::Token;
use crate::wait::{self, TimedOut};

/// The server, and those it forks for each connection. Dropping it ends them all.
#[derive(Debug)]
pub struct Remote {
    module: PathBuf,
    socket: PathBuf,
    environment: Environment,
    process: Option<Child>,
}

/// It could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A module is missing.
    #[error("a PKCS#11 module is missing")]
    Place(#[from] PlaceError),
    /// The server could not be run.
    #[error("p11-kit could not be run: install the Debian package p11-kit")]
    Server(#[from] io::Error),
    /// It does not listen.
    #[error("p11-kit's server does not listen")]
    Silent(#[from] TimedOut),
}

impl Remote {
    /// Serves this token.
    pub fn start(token: &Token) -> Result<Self, RemoteError> {
        let mut remote = Self {
            module: place::p11_kit_client()?,
            socket: token.pin_file().with_file_name("p11-kit"),
            environment: token.environment(),
            process: None,
        };
        remote.restart()?;
        Ok(remote)
    }

    /// The client module, which a process loads.
    pub fn module(&self) -> PathBuf {
        self.module.clone()
    }

    /// What that process must have in its environment.
    pub fn environment(&self) -> Environment {
        let address = format!("unix:path={}", self.socket.display());
        vec![("P11_KIT_SERVER_ADDRESS", address.into())]
    }

    /// Ends what runs and starts it again at the same place.
    pub fn restart(&mut self) -> Result<(), RemoteError> {
        self.kill();
        // What a killed server leaves behind keeps the next one from starting.
        drop(std::fs::remove_file(&self.socket));
        let process = Command::new("p11-kit")
            .args(["server", "--foreground", "--name"])
            .arg(&self.socket)
            .arg("--provider")
            .arg(place::softhsm_module()?)
            .arg("pkcs11:")
            .envs(self.environment.clone())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        self.process = Some(process);
        let socket = &self.socket;
        Ok(wait::until("p11-kit's socket", || socket.exists().then_some(()))?)
    }

    /// With all that it forked: those would go on serving.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let group = format!("-{}", process.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(process.wait());
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.kill();
    }
}
