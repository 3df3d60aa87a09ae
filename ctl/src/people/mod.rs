//! `people ..`: who there is, what they sign with, and what it takes to change that.
//!
//! One person can take somebody's vote away at once (`suspend`); everything else is proposed, and
//! takes the quorum of the deed `people`.

mod acts;
mod enrolment;
mod list;
mod recover;
mod renewal_file;
mod suspend;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_policy::credential::BadEvidence;
use serde::de::DeserializeOwned;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum PeopleVerb {
    /// List everybody, with what they sign with, and what each deed takes.
    List,
    /// Show one person.
    Show(ShowArgs),
    /// On a new person's own machine: sign that they hold a key, for `add` or `add-credential`.
    Enrolment(enrolment::EnrolmentArgs),
    /// Add a person.
    Add(acts::AddArgs),
    /// Give a person one more key to sign with.
    AddCredential(acts::AddCredentialArgs),
    /// Take a key from a person.
    DropCredential(acts::DropCredentialArgs),
    /// Remove a person.
    Remove(acts::RemoveArgs),
    /// Set all that a person may do.
    SetRoles(acts::SetRolesArgs),
    /// Let a suspended vote, or credential, count again.
    Reinstate(acts::ReinstateArgs),
    /// Let a vote, or a credential, no longer count: at once, by one person.
    Suspend(suspend::SuspendArgs),
    /// Change what deeds take.
    Govern(acts::GovernArgs),
    /// Replace the people with offline recovery credentials, after a long public delay.
    #[command(subcommand)]
    Recover(recover::RecoverVerb),
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The person's id.
    id: String,
}

pub(crate) async fn run(
    verb: PeopleVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        PeopleVerb::List => list::run(connection, output).await,
        PeopleVerb::Show(args) => list::show(&args.id, connection, output).await,
        PeopleVerb::Enrolment(args) => enrolment::run(&args, connection, output).await,
        PeopleVerb::Add(args) => acts::add(args, connection, output).await,
        PeopleVerb::AddCredential(args) => acts::add_credential(args, connection, output).await,
        PeopleVerb::DropCredential(args) => acts::drop_credential(args, connection, output).await,
        PeopleVerb::Remove(args) => acts::remove(args, connection, output).await,
        PeopleVerb::SetRoles(args) => acts::set_roles(args, connection, output).await,
        PeopleVerb::Reinstate(args) => acts::reinstate(args, connection, output).await,
        PeopleVerb::Suspend(args) => suspend::run(args, connection, output).await,
        PeopleVerb::Govern(args) => acts::govern(args, connection, output).await,
        PeopleVerb::Recover(verb) => recover::run(verb, connection, output).await,
    }
}

/// Nothing that could be done to people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeopleFault {
    /// Nobody of that id.
    #[error("there is no person {id}; there are: {known}")]
    NoPerson { id: String, known: String },
    /// The signer's answer is not what the contract promises.
    #[error("the signer's governance cannot be read: is this portctl older than it?")]
    Governance(#[source] serde_json::Error),
    /// A file that is not the JSON that this program writes.
    #[error(
        "{path} is not what portctl wrote: hand it over unchanged",
        path = path.display()
    )]
    Json { path: PathBuf, source: serde_json::Error },
    /// A file that is no TOML of the right shape.
    #[error("{path} is faulty", path = path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    /// A file whose content cannot be.
    #[error("{path} is faulty: {}", .faults.join("; "), path = path.display())]
    Faults { path: PathBuf, faults: Vec<String> },
    /// The holder of the credential did not sign this.
    #[error(
        "{path} does not prove that {person} holds {credential} in this vault: have them run \
         `portctl people enrolment --person {person} --key FILE` again, with --vault as `portctl \
         status` prints it",
        path = path.display()
    )]
    Possession { path: PathBuf, person: String, credential: String, source: BadEvidence },
    /// A signature for a recovery that is none.
    #[error(
        "{path} is no signature by {credential} over this renewal: the file it was made of must be \
         the same, byte for byte in what it says",
        path = path.display()
    )]
    Signature { path: PathBuf, credential: String, source: BadEvidence },
    /// A signature by somebody who is not asked.
    #[error(
        "{path} is signed with {credential}, which is neither a recovery credential of the vault \
         nor one of the new people",
        path = path.display()
    )]
    Stranger { path: PathBuf, credential: String },
    /// A result could not be written.
    #[error("{path} cannot be written", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl PeopleFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Possession { .. } | Self::Signature { .. } | Self::Stranger { .. } => {
                Exit::Unverified
            }
            Self::NoPerson { .. }
            | Self::Governance(_)
            | Self::Json { .. }
            | Self::Toml { .. }
            | Self::Faults { .. }
            | Self::Write { .. } => Exit::Failure,
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let fault = |source| PeopleFault::Json { path: path.to_owned(), source };
    Ok(serde_json::from_str(&read(path)?).map_err(fault)?)
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let fault = |source| PeopleFault::Toml { path: path.to_owned(), source };
    Ok(toml::from_str(&read(path)?).map_err(fault)?)
}

/// Writes a result that is handed to somebody else: never over a file that is there.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), PeopleFault> {
    let fault = |source| PeopleFault::Write { path: path.to_owned(), source };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(fault)?;
    file.write_all(text.as_bytes()).map_err(fault)
}
