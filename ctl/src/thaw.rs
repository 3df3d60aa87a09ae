//! `thaw KEY | --caller C | --tag T | --all`: starts again what one freeze stopped. `revoke KEY`
//! and `destroy KEY`: end it. Each takes a quorum.

use clap::Args;
use portcullis_client::wire::{Key, KeyState, freeze_scope};
use portcullis_client::{CallError, ControlClient};
use portcullis_policy::act::{Act, Destroy, Revoke, Thaw};
use portcullis_policy::id::{InvalidName, KeyId};
use portcullis_policy::stops::Scope;
use serde_json::json;

use crate::approvals::proposing::Wanted;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::{ScopeArgs, reason};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct ThawArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The key, by id or label. It must be stopped.
    key: String,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct DestroyArgs {
    /// The key, by id or label. It must be revoked.
    key: String,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Nothing that could be stopped, or thawed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThawFault {
    /// Agreed to, and not done.
    #[error(
        "its removal is agreed to, and the token has not done it yet ({0}): it is asked again, and \
         portctl key show says how far it is"
    )]
    Removing(String),
    /// No caller or tag has such a name.
    #[error("nothing can be stopped under that name")]
    Name(#[from] InvalidName),
}

pub(crate) async fn run(
    args: ThawArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let scope = scope_of(&control, args.scope.scope()).await?;
    let wanted = Wanted { act: Act::Thaw(Thaw { scope }), reason: args.reason };
    wanted.settle(&control, output).await
}

/// A scope by the names that the journal has: a key by its id.
pub(crate) async fn scope_of(
    control: &ControlClient,
    scope: freeze_scope::Scope,
) -> Result<Scope, Failure> {
    Ok(match scope {
        freeze_scope::Scope::Key(key) => Scope::Key(key_id(control, &key).await?),
        freeze_scope::Scope::Caller(caller) => {
            Scope::Caller(caller.parse().map_err(ThawFault::Name)?)
        }
        freeze_scope::Scope::Tag(tag) => Scope::Tag(tag.parse().map_err(ThawFault::Name)?),
        freeze_scope::Scope::All(_) => Scope::All,
    })
}

/// `revoke KEY`: ends a key for good. Takes a quorum.
pub(crate) async fn revoke(
    args: RevokeArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let there = control.key(&args.key).await?;
    if matches!(there.state(), KeyState::Revoked | KeyState::Destroyed) {
        return already(&there, "is ended", output);
    }
    let key = id_of(&there)?;
    let wanted = Wanted { act: Act::Revoke(Revoke { key }), reason: args.reason };
    wanted.settle(&control, output).await
}

/// `destroy KEY`: removes a revoked key from the token. Takes a quorum.
pub(crate) async fn destroy(
    args: DestroyArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let there = control.key(&args.key).await?;
    match &there.removal {
        Some(removal) if removal.gone => return already(&there, "is removed", output),
        Some(removal) => return Err(ThawFault::Removing(removal.refused.clone()).into()),
        None => {}
    }
    let key = id_of(&there)?;
    let wanted = Wanted { act: Act::Destroy(Destroy { key }), reason: args.reason };
    wanted.settle(&control, output).await
}

/// What is asked for was done before.
pub(crate) fn already(key: &Key, how: &str, output: &Output) -> Result<Exit, Failure> {
    let human = format!("{} {how}: nothing is left to do", key.label);
    output.result(&human, &json!({ "key": key.label, "already": true, "how": how }))?;
    Ok(Exit::Done)
}

pub(crate) async fn key_id(control: &ControlClient, id_or_label: &str) -> Result<KeyId, Failure> {
    id_of(&control.key(id_or_label).await?)
}

/// A key's id, as the journal has it.
pub(crate) fn id_of(key: &Key) -> Result<KeyId, Failure> {
    let id = key.key_id.parse().map_err(|_| CallError::Incomplete { part: "key id" });
    Ok(id?)
}
