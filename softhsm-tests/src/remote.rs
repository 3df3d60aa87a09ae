//! A networked HSM: the token behind p11-kit's server, reached through p11-kit's client module, which
//! is somebody else's PKCS#11 module and speaks over a socket.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::child::Environment;
use crate::place::{self, PlaceError};
use crate::token::{LABEL, Token};

/// A token behind a socket. Dropping it ends the server.
#[derive(Debug)]
pub struct Remote {
    folder: TempDir,
    module: PathBuf,
    environment: Environment,
    server: Child,
}

/// It could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A module is missing.
    #[error("a PKCS#11 module is missing")]
    Place(#[from] PlaceError),
    /// The server could not be run.
    #[error("p11-kit's server could not be run: install the Debian package p11-kit")]
    Server(#[from] io::Error),
    /// It said where it listens in no way that we know.
    #[error("p11-kit's server did not say where it listens")]
    Silent,
}

impl Remote {
    /// Starts a server for this token.
    pub fn start(token: &Token) -> Result<Self, RemoteError> {
        let folder = tempfile::Builder::new().prefix("portcullis-remote-").tempdir()?;
        let server = Self::serve(token, folder.path())?;
        let environment = vec![("P11_KIT_SERVER_ADDRESS", address(folder.path()).into())];
        Ok(Self { module: place::p11_kit_client()?, folder, environment, server })
    }

    /// The client module, which a process loads.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// What that process must have in its environment.
    pub fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// Ends the server, and whatever was open on it.
    pub fn kill(&mut self) -> Result<(), RemoteError> {
        self.server.kill()?;
        self.server.wait()?;
        Ok(())
    }

    /// Starts it again at the same place.
    pub fn start_again(&mut self, token: &Token) -> Result<(), RemoteError> {
        std::fs::remove_file(self.folder.path().join(SOCKET)).or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
        self.server = Self::serve(token, self.folder.path())?;
        Ok(())
    }

    fn serve(token: &Token, folder: &Path) -> Result<Child, RemoteError> {
        let mut server = Command::new("p11-kit")
            .args(["server", "--foreground", "--sh", "--name"])
            .arg(folder.join(SOCKET))
            .arg("--provider")
            .arg(token.module())
            .arg(format!("pkcs11:token={LABEL}"))
            .envs(token.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        // It says so once it listens.
        let told = server.stdout.take().ok_or(RemoteError::Silent)?;
        let first = BufReader::new(told).lines().next().transpose()?;
        if first.is_some_and(|line| line.contains("P11_KIT_SERVER_ADDRESS")) {
            return Ok(server);
        }
        server.kill()?;
        server.wait()?;
        Err(RemoteError::Silent)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _it_may_have_ended = self.kill();
    }
}

fn address(folder: &Path) -> String {
    format!("unix:path={}", folder.join(SOCKET).display())
}

const SOCKET: &str = "socket";
