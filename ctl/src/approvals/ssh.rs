//! Signs a text with an SSH key, by OpenSSH's own `ssh-keygen`: in a file, on a security key, or in
//! an agent. Private keys never pass through this program.
//!
//! Prompts for a touch, a PIN or a passphrase are ssh-keygen's, and go to the terminal: it gets our
//! standard input and error, and the text as a file in a folder that only we can read.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use portcullis_policy::credential::{
    BadCredential, BadEvidence, Credential, Evidence, Purpose, SshKey, Strength,
};

use crate::failure::Exit;
use crate::output::Output;

/// A key that ssh-keygen can sign with, and its public half.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    path: PathBuf,
    credential: Credential,
}

/// No signature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshFault {
    /// No file, or none that may be read.
    #[error("the key file {path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file without a public key that can be enrolled.
    #[error(
        "{path} is no key that votes are signed with",
        path = path.display()
    )]
    Key { path: PathBuf, source: BadCredential },
    /// ssh-keygen does not know it either.
    #[error(
        "{path} is no SSH key, and there is no {path}.pub beside it",
        path = path.display()
    )]
    NoPublic { path: PathBuf },
    /// It could not be started.
    #[error("ssh-keygen cannot be started: install OpenSSH 8.2 or newer, and see to your PATH")]
    Start(#[source] io::Error),
    /// The text could not be put where ssh-keygen reads it.
    #[error("a private file for the text could not be made")]
    File(#[source] io::Error),
    /// It signed nothing.
    #[error(
        "ssh-keygen did not sign with {path} ({status}): its own message is above. A security key \
         must be plugged in, and touched when it blinks; a key in an agent must be loaded there",
        path = path.display()
    )]
    Refused { path: PathBuf, status: ExitStatus },
    /// What it signed does not verify. Nothing was sent.
    #[error("the signature by {path} does not verify, and was not sent", path = path.display())]
    Unverified { path: PathBuf, source: BadEvidence },
    /// The task was cut off.
    #[error("signing was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl SshFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unverified { .. } => Exit::Unverified,
            Self::Read { .. }
            | Self::Key { .. }
            | Self::NoPublic { .. }
            | Self::Start(_)
            | Self::File(_)
            | Self::Refused { .. }
            | Self::Interrupted(_) => Exit::Failure,
        }
    }
}

impl Signer {
    /// The key in a file: the public one, or the private one.
    pub(crate) fn at(path: &Path) -> Result<Self, SshFault> {
        let line = public_line(path)?;
        let key = SshKey::from_authorized_line(line.trim_end());
        let key = key.map_err(|source| SshFault::Key { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), credential: Credential::Ssh(key) })
    }

    /// Keys where OpenSSH puts them, those on a security key first, as far as they can be read.
    pub(crate) fn usual() -> Vec<Self> {
        let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return Vec::new() };
        let folder = home.join(".ssh");
        USUAL.iter().filter_map(|name| Self::at(&folder.join(name)).ok()).collect()
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Signs a text, looks at the signature, and gives it only if it is one.
    pub(crate) async fn sign(
        &self,
        purpose: Purpose,
        text: &str,
        output: &Output,
    ) -> Result<Evidence, SshFault> {
        if self.credential.could_be() > Strength::File {
            output.note("touch the security key when it blinks");
        }
        let (signer, copy) = (self.clone(), text.to_owned());
        // A person may take their time; the connection must be kept alive meanwhile.
        let signed = tokio::task::spawn_blocking(move || signer.armored(purpose, &copy)).await;
        let evidence = Evidence::Ssh(signed.map_err(SshFault::Interrupted)??);
        let proof = self.credential.verify(purpose, text.as_bytes(), &evidence);
        let wrong = |source| SshFault::Unverified { path: self.path.clone(), source };
        proof.map(|_| evidence).map_err(wrong)
    }

    fn armored(&self, purpose: Purpose, text: &str) -> Result<String, SshFault> {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("portctl-").permissions(private).tempdir();
        let folder = folder.map_err(SshFault::File)?;
        let (file, signature) = (folder.path().join("text"), folder.path().join("text.sig"));
        let written = std::fs::File::create_new(&file);
        written.and_then(|mut out| out.write_all(text.as_bytes())).map_err(SshFault::File)?;
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", purpose.namespace(), "-f"]);
        command.arg(&self.path).arg(&file);
        // Standard input is not the text: without a terminal there, no PIN can be asked for.
        let status = command.stdout(Stdio::null()).status().map_err(SshFault::Start)?;
        if !status.success() {
            return Err(SshFault::Refused { path: self.path.clone(), status });
        }
        std::fs::read_to_string(&signature).map_err(SshFault::File)
    }
}

/// The line of the public key: of this file, of the one beside it, or as ssh-keygen derives it.
fn public_line(path: &Path) -> Result<String, SshFault> {
    let read = |path: &Path| std::fs::read_to_string(path);
    let text = read(path).map_err(|source| SshFault::Read { path: path.to_owned(), source })?;
    if !text.contains(PRIVATE) {
        return Ok(text);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    if let Ok(text) = read(Path::new(&beside)) {
        return Ok(text);
    }
    let mut derive = Command::new("ssh-keygen");
    derive.arg("-y").arg("-f").arg(path).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    let derived = derive.output().map_err(SshFault::Start)?;
    let line = String::from_utf8(derived.stdout).ok().filter(|_| derived.status.success());
    line.ok_or_else(|| SshFault::NoPublic { path: path.to_owned() })
}

const PRIVATE: &str = "PRIVATE KEY-----";

const USUAL: [&str; 2] = ["id_ed25519_sk", "id_ed25519"];
