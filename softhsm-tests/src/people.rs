//! People with SSH keys, who sign as people do: with `ssh-keygen`, which is not ours.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis_client::wire::{Approval, CastVoteRequest};
use portcullis_client::{CallError, ControlClient};
use serde_json::json;

use crate::world::Failure;

/// A folder with one key a person.
#[derive(Clone, Debug)]
pub struct Pens {
    folder: PathBuf,
}

/// What an SSH signature is for, as `portcullis` names it.
pub const VOTE: &str = "vote.v1@portcullis";
/// The same of genesis.
pub const GENESIS: &str = "genesis.v1@portcullis";
/// The same of an enrolment.
pub const ENROLMENT: &str = "enrolment.v1@portcullis";
/// The same of a rescue.
pub const RESCUE: &str = "rescue.v1@portcullis";
/// The same of a recovery.
pub const RECOVERY: &str = "recovery.v1@portcullis";

impl Pens {
    /// In this folder, which is made.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.into() })
    }

    /// Where a person's private key is. Made when it is first asked for.
    pub fn key(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        if !path.exists() {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
            run(&mut command)?;
        }
        Ok(path)
    }

    /// The line of a person's public key.
    pub fn line(&self, name: &str) -> Result<String, Failure> {
        let path = self.key(name)?.with_extension("pub");
        Ok(fs::read_to_string(path)?.trim().to_owned())
    }

    /// The fingerprint, as OpenSSH prints it.
    pub fn fingerprint(&self, name: &str) -> Result<String, Failure> {
        let mut command = Command::new("ssh-keygen");
        command.arg("-lf").arg(self.key(name)?.with_extension("pub"));
        let said = run(&mut command)?;
        let print = said.split_whitespace().nth(1).ok_or("no fingerprint")?;
        Ok(print.to_owned())
    }

    /// What `ssh-keygen -Y sign` makes of a text.
    pub fn sign(&self, name: &str, namespace: &str, text: &str) -> Result<String, Failure> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(self.key(name)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(text.as_bytes())?;
        let done = child.wait_with_output()?;
        if !done.status.success() {
            return Err(format!("ssh-keygen: {}", String::from_utf8_lossy(&done.stderr)).into());
        }
        Ok(String::from_utf8(done.stdout)?)
    }

    /// The text of a vote: written here once more, and not with policy's own function.
    pub fn ballot(statement: &str, name: &str, approve: bool) -> String {
        let vote = if approve { "approve" } else { "reject" };
        format!("{statement}vote: {vote}\nvoter: {name}\n")
    }

    /// Reads a statement, signs it, and casts the vote.
    pub async fn vote(
        &self,
        control: &ControlClient,
        id: &str,
        name: &str,
        approve: bool,
    ) -> Result<(u64, Approval), Failure> {
        let approval = control.approval(id).await?;
        Ok(self.cast(control, &approval, name, approve).await??)
    }

    /// Signs what was read: the vote as it is sent.
    pub fn vote_on(
        &self,
        approval: &Approval,
        name: &str,
        approve: bool,
    ) -> Result<CastVoteRequest, Failure> {
        let text = Self::ballot(&approval.statement, name, approve);
        let evidence = json!({ "ssh": self.sign(name, VOTE, &text)? });
        Ok(CastVoteRequest {
            id: approval.id.clone(),
            voter: name.into(),
            credential_id: self.fingerprint(name)?,
            approve,
            reason: String::new(),
            evidence_json: evidence.to_string(),
        })
    }

    /// Signs what was read, and casts the vote; what the signer says of it.
    pub async fn cast(
        &self,
        control: &ControlClient,
        approval: &Approval,
        name: &str,
        approve: bool,
    ) -> Result<Result<(u64, Approval), CallError>, Failure> {
        let request = self.vote_on(approval, name, approve)?;
        Ok(control.cast_vote(request).await)
    }
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let done = command.stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(String::from_utf8(done.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
}
