//! `key create | rotate | list | show | impact`.

mod create;
mod impact;
mod list;
mod removal;
mod rotate;
mod show;

pub(crate) use self::rotate::{BookEditFault, RotateFault};
pub(crate) use impact::{Fold, ImpactFault, standing_allowances};

use clap::Subcommand;
use portcullis_client::wire::{Key, KeyState, KeyUse};
use serde_json::{Value, json};

use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::fence;
use crate::output::{Output, address, fields, hex0x};
use portcullis_policy::utc::rfc3339;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a key in the token. It may sign nothing until the book has rules for its label.
    Create(create::CreateArgs),
    /// Put another key in its place: make it, give it the rules, move what the old one holds, and
    /// end that. Give the same command again to go on after an interruption.
    Rotate(rotate::RotateArgs),
    /// List all keys.
    List,
    /// Show one key.
    Show(show::ShowArgs),
    /// Who uses it and for what, and what stops or stands if it is frozen: from the journal alone.
    Impact(impact::ImpactArgs),
}

pub(crate) async fn run(
    verb: KeyVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        KeyVerb::Create(args) => create::run(args, connection, output).await,
        KeyVerb::Rotate(args) => rotate::run(args, connection, output).await,
        KeyVerb::List => list::run(connection, output).await,
        KeyVerb::Show(args) => show::run(&args, connection, output).await,
        KeyVerb::Impact(args) => impact::run(&args, connection, output).await,
    }
}

pub(crate) fn state(key: &Key) -> &'static str {
    match key.state() {
        KeyState::Active => "active",
        KeyState::Frozen => "frozen",
        KeyState::Revoked => "revoked",
        KeyState::Draining => "draining",
        KeyState::Destroyed => "destroyed",
        KeyState::Unspecified => "unknown",
    }
}

fn human(key: &Key) -> String {
    let chains: Vec<String> = key.chains.iter().map(ToString::to_string).collect();
    let due = rfc3339(key.review_by_ms);
    let mut lines = vec![
        ("label", key.label.clone()),
        ("id", key.key_id.clone()),
        ("address", address(&key.address)),
        ("state", state(key).to_owned()),
        ("in the token", fence::words(key).to_owned()),
        ("purpose", key.purpose.clone()),
        ("owner", key.owner.clone()),
        ("environment", key.environment.clone()),
        ("chains", chains.join(", ")),
        ("tags", key.tags.join(", ")),
        ("created", format!("{}, {} ago", rfc3339(key.created_at_ms), days(key.age_ms))),
        ("review by", if key.review_overdue { format!("{due}: OVERDUE") } else { due }),
        ("callers", key.callers.join(", ")),
        ("public point", hex0x(&key.public_point)),
    ];
    if !key.fence_refused.is_empty() {
        lines.push(("token refused", key.fence_refused.clone()));
    }
    if key.state() == KeyState::Draining {
        lines.push(("drained until", rfc3339(key.drained_until_ms)));
    }
    if !key.successor.is_empty() {
        lines.push(("successor", key.successor.clone()));
    }
    if let Some(removal) = &key.removal {
        lines.push(("removal", removal::words(removal)));
        lines.extend(removal.backups.iter().map(|copy| ("may be in", words::plain(copy))));
    }
    if !key.trouble.is_empty() {
        lines.push(("trouble", key.trouble.clone()));
    }
    for one in &key.used_by {
        let (caller, at) = (&one.caller, rfc3339(one.at_ms));
        lines.push(("last signed", format!("{at} for {caller}, record {}", one.sequence)));
    }
    fields(&lines)
}

/// The last signature, for whomever.
fn last_use(key: &Key) -> Option<&KeyUse> {
    key.used_by.iter().max_by_key(|one| one.sequence)
}

fn days(millis: u64) -> String {
    format!("{}d", millis / 86_400_000)
}

fn json(key: &Key) -> Value {
    let used_by = key.used_by.iter().map(|one| {
        json!({
            "caller": one.caller,
            "sequence": one.sequence,
            "at": rfc3339(one.at_ms),
        })
    });
    json!({
        "key_id": key.key_id,
        "label": key.label,
        "address": address(&key.address),
        "public_point": hex0x(&key.public_point),
        "state": state(key),
        "fence": fence::words(key),
        "fence_refused": key.fence_refused,
        "tags": key.tags,
        "purpose": key.purpose,
        "owner": key.owner,
        "environment": key.environment,
        "chains": key.chains,
        "review_by": rfc3339(key.review_by_ms),
        "review_overdue": key.review_overdue,
        "age_days": key.age_ms / 86_400_000,
        "callers": key.callers,
        "last_used_at": last_use(key).map(|one| rfc3339(one.at_ms)),
        "used_by": used_by.collect::<Vec<_>>(),
        "created_at": rfc3339(key.created_at_ms),
        "trouble": key.trouble,
        "successor": key.successor,
        "drained_until": (key.drained_until_ms > 0).then(|| rfc3339(key.drained_until_ms)),
        "removal": key.removal.as_ref().map(removal::json),
    })
}
