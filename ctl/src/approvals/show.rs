//! `approvals show ID`: the text that voters sign, byte for byte, and outside of it how far it is.

use serde_json::json;

use crate::approvals::id::whole;
use crate::approvals::statement::{self, Statement};
use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

pub(crate) async fn run(
    id: &str,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let id = whole(id, &control).await?;
    let id = id.as_str();
    let approval = control.approval(id).await?;
    let vault = statement::vault(&control, connection).await?;
    let statement = Statement::check(&approval.statement, id, &vault)?;
    let title = "what follows is exactly what you sign, but for the lines of your vote";
    let mut human = statement::framed(title, statement.text(), output);
    human.push_str(&fields(&words::standing(&approval)));
    human.push('\n');
    let mut json = words::json(&approval);
    if let Some(all) = json.as_object_mut() {
        all.insert("statement".to_owned(), json!(statement.text()));
    }
    output.exact(&human, &json)?;
    if approval.asks_you {
        output.note(&format!("it asks you: portctl approvals approve {id}, or reject {id}"));
    }
    Ok(Exit::Done)
}
