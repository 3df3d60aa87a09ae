//! `key list`.

use serde_json::Value;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::fence;
use crate::key;
use crate::output::{Output, address, table};
use portcullis_policy::utc::rfc3339;

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let keys = connection.control().await?.list_keys().await?;
    let rows: Vec<[String; 10]> = keys
        .iter()
        .map(|one| {
            [
                one.label.clone(),
                one.key_id.clone(),
                address(&one.address),
                if one.trouble.is_empty() { key::state(one) } else { "trouble" }.to_owned(),
                fence::words(one).to_owned(),
                key::days(one.age_ms),
                key::last_use(one).map_or_else(|| "never".to_owned(), |at| rfc3339(at.at_ms)),
                one.callers.join(","),
                one.purpose.clone(),
                one.tags.join(","),
            ]
        })
        .collect();
    let heading = [
        "LABEL",
        "ID",
        "ADDRESS",
        "STATE",
        "TOKEN",
        "AGE",
        "LAST USED",
        "CALLERS",
        "PURPOSE",
        "TAGS",
    ];
    output.result(&table(heading, &rows), &Value::from_iter(keys.iter().map(key::json)))?;
    for one in keys.iter().filter(|one| !one.trouble.is_empty()) {
        output.note(&format!("key {} may not sign: {}", one.label, one.trouble));
    }
    for one in keys.iter().filter(|one| one.review_overdue) {
        let due = rfc3339(one.review_by_ms);
        let (label, owner) = (&one.label, &one.owner);
        output.note(&format!("key {label}: its review was due {due}; {owner} answers for it"));
    }
    Ok(Exit::Done)
}
