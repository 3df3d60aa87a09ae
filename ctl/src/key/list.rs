//! `key list`.

use serde_json::Value;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::fence;
use crate::key;
use crate::output::{Output, address, table};

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let keys = connection.control().await?.list_keys().await?;
    let rows: Vec<[String; 7]> = keys
        .iter()
        .map(|one| {
            [
                one.label.clone(),
                one.key_id.clone(),
                address(&one.address),
                if one.trouble.is_empty() { key::state(one) } else { "trouble" }.to_owned(),
                fence::words(one).to_owned(),
                one.purpose.clone(),
                one.tags.join(","),
            ]
        })
        .collect();
    let heading = ["LABEL", "ID", "ADDRESS", "STATE", "TOKEN", "PURPOSE", "TAGS"];
    output.result(&table(heading, &rows), &Value::from_iter(keys.iter().map(key::json)))?;
    for one in keys.iter().filter(|one| !one.trouble.is_empty()) {
        output.note(&format!("key {} may not sign: {}", one.label, one.trouble));
    }
    Ok(Exit::Done)
}
