//! `people add | add-credential | drop-credential | remove | set-roles | reinstate | govern`: each
//! makes an act, and proposes it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_policy::act::{
    Act, AddCredential, DropCredential, Enrol, Govern, Reinstate, Remove, SetRoles,
};
use portcullis_policy::governance::GovernanceFile;
use portcullis_policy::id::{CredentialId, PersonId};
use portcullis_policy::people::{Person, Role};

use crate::approvals::proposing::Wanted;
use crate::approvals::statement;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::Output;
use crate::people::enrolment::Enrolment;
use crate::people::{PeopleFault, read_toml};

/// Every proposal says why.
#[derive(Args, Debug)]
pub(crate) struct Because {
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Their id. Not a name: journals are handed to auditors.
    id: PersonId,
    /// The one name in their control certificate: a SPIFFE URI or a DNS name.
    #[arg(long, value_name = "NAME")]
    control: String,
    /// What they may do; may be given more than once.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<Role>,
    /// What they signed with `portctl people enrolment`, a file a key; programs have none.
    #[arg(long = "enrolment", value_name = "FILE")]
    enrolments: Vec<PathBuf>,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct AddCredentialArgs {
    /// Whom.
    id: PersonId,
    /// What they signed with `portctl people enrolment`.
    #[arg(long, value_name = "FILE")]
    enrolment: PathBuf,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct DropCredentialArgs {
    /// Whose.
    id: PersonId,
    /// The credential's id, as `portctl people list` prints it.
    credential: CredentialId,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Whom.
    id: PersonId,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct SetRolesArgs {
    /// Who.
    id: PersonId,
    /// All that they may do from then on; may be given more than once.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<Role>,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct ReinstateArgs {
    /// Whose.
    id: PersonId,
    /// Only this credential [default: their vote].
    #[arg(long, value_name = "CREDENTIAL")]
    credential: Option<CredentialId>,
    #[command(flatten)]
    because: Because,
}

#[derive(Args, Debug)]
pub(crate) struct GovernArgs {
    /// All that deeds take from then on: a TOML file with [quorum.DEED] and [recovery].
    file: PathBuf,
    #[command(flatten)]
    because: Because,
}

pub(crate) async fn add(
    args: AddArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let AddArgs { id, control, roles, enrolments, because } = args;
    let signer = connection.control().await?;
    let vault = statement::vault(&signer, connection).await?;
    let (mut credentials, mut possession) = (Vec::new(), Vec::new());
    for path in &enrolments {
        let enrolment = Enrolment::read(path, &id, &vault)?;
        credentials.push(enrolment.credential);
        possession.push(enrolment.possession);
    }
    let person = Person { control, credentials, id, roles: set(roles) };
    propose(Act::Enrol(Enrol { person, possession }), because, &signer, output).await
}

pub(crate) async fn add_credential(
    args: AddCredentialArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let AddCredentialArgs { id: person, enrolment, because } = args;
    let signer = connection.control().await?;
    let vault = statement::vault(&signer, connection).await?;
    let Enrolment { credential, possession } = Enrolment::read(&enrolment, &person, &vault)?;
    let act = Act::AddCredential(AddCredential { credential, person, possession });
    propose(act, because, &signer, output).await
}

pub(crate) async fn drop_credential(
    args: DropCredentialArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let DropCredentialArgs { id: person, credential, because } = args;
    let act = Act::DropCredential(DropCredential { credential, person });
    propose(act, because, &connection.control().await?, output).await
}

pub(crate) async fn remove(
    args: RemoveArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let act = Act::Remove(Remove { person: args.id });
    propose(act, args.because, &connection.control().await?, output).await
}

pub(crate) async fn set_roles(
    args: SetRolesArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let act = Act::SetRoles(SetRoles { person: args.id, roles: set(args.roles) });
    propose(act, args.because, &connection.control().await?, output).await
}

pub(crate) async fn reinstate(
    args: ReinstateArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let act = Act::Reinstate(Reinstate { credential: args.credential, person: args.id });
    propose(act, args.because, &connection.control().await?, output).await
}

pub(crate) async fn govern(
    args: GovernArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let file: GovernanceFile = read_toml(&args.file)?;
    let faulty = |faults| PeopleFault::Faults { path: args.file.clone(), faults };
    let governance = file.governance().map_err(faulty)?;
    let act = Act::Govern(Govern { governance });
    propose(act, args.because, &connection.control().await?, output).await
}

async fn propose(
    act: Act,
    because: Because,
    signer: &ControlClient,
    output: &Output,
) -> Result<Exit, Failure> {
    Wanted { act, reason: because.reason }.settle(signer, output).await
}

fn set(roles: Vec<Role>) -> BTreeSet<Role> {
    roles.into_iter().collect()
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|(_, name)| *name == text).map(|(role, _)| role);
    found.ok_or_else(|| {
        let names = Role::ALL.map(|(_, name)| name);
        format!("a role is one of {}", names.join(", "))
    })
}
