//! `status`: state, health and figures.

use portcullis_client::wire::GetStatusResponse;
use serde_json::{Value, json};

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze;
use crate::output::{Output, fields, hex0x};
use portcullis_policy::utc::rfc3339;

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let status = connection.control().await?.status().await?;
    output.result(&human(&status, output), &json(&status))?;
    Ok(Exit::Done)
}

fn human(status: &GetStatusResponse, output: &Output) -> String {
    let serving = if status.serving { "yes".to_owned() } else { output.alarm("no") };
    let free = match status.journal_free_bytes {
        0 => "unknown".to_owned(),
        bytes => format!("{} MiB until admission stops", bytes / 1_048_576),
    };
    let mut lines = vec![
        ("serving", serving),
        ("vault", hex0x(&status.vault_id)),
        ("environment", status.environment.clone()),
        ("version", status.version.clone()),
        ("book", hex0x(&status.book_hash)),
        ("records", status.sequence.to_string()),
        ("root", hex0x(&status.root)),
        ("journal room", free),
        ("sure time", rfc3339(status.sure_time_ms)),
        ("good drill", status.last_good_drill_ms.map_or_else(|| "none".to_owned(), rfc3339)),
        ("keys", status.keys.to_string()),
        ("under way", status.open_reservations.to_string()),
        ("you are", status.person.clone()),
    ];
    let frozen = scopes(status);
    if frozen.is_empty() {
        lines.push(("stopped", "nothing".to_owned()));
    }
    lines.extend(frozen.iter().map(|scope| ("stopped", output.alarm(scope))));
    lines.extend(status.troubles.iter().map(|trouble| ("trouble", output.alarm(trouble))));
    fields(&lines)
}

fn json(status: &GetStatusResponse) -> Value {
    json!({
        "serving": status.serving,
        "vault_id": hex0x(&status.vault_id),
        "environment": status.environment,
        "version": status.version,
        "book_hash": hex0x(&status.book_hash),
        "sequence": status.sequence,
        "root": hex0x(&status.root),
        "journal_free_bytes": status.journal_free_bytes,
        "sure_time": rfc3339(status.sure_time_ms),
        "last_good_drill": status.last_good_drill_ms.map(rfc3339),
        "keys": status.keys,
        "open_reservations": status.open_reservations,
        "person": status.person,
        "frozen": scopes(status),
        "troubles": status.troubles,
    })
}

fn scopes(status: &GetStatusResponse) -> Vec<String> {
    let scopes = status.frozen.iter().filter_map(|frozen| frozen.scope.as_ref());
    scopes.map(freeze::name).collect()
}
