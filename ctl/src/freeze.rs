//! `freeze KEY | --caller C | --tag T | --all`: stops signing in a scope.

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_policy::book::Book;
use serde_json::{Value, json};

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::fence::{self, Fenced};
use crate::output::{Output, fields};
use crate::unsettled;

#[derive(Args, Debug)]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why: 1 to 500 characters, kept in the journal.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeArgs {
    /// One key, by id or label.
    key: Option<String>,
    /// Whatever this caller asks for.
    #[arg(long)]
    caller: Option<String>,
    /// Every key with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

impl ScopeArgs {
    /// The parser has seen to it that exactly one is given.
    pub(crate) fn scope(self) -> Scope {
        let one = self.key.map(Scope::Key);
        let one = one.or_else(|| self.caller.map(Scope::Caller));
        one.or_else(|| self.tag.map(Scope::Tag)).unwrap_or(Scope::All(self.all))
    }
}

pub(crate) async fn run(
    args: FreezeArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let scope = args.scope.scope();
    let control = connection.control().await?;
    let stopped = control.freeze(scope.clone(), &args.reason).await?;
    let name = name(&scope);
    let acknowledged = fields(&[
        ("stopped", output.alarm(&name)),
        ("record", stopped.sequence.to_string()),
        (
            "last released before",
            match stopped.last_released_sequence {
                0 => "none".to_owned(),
                sequence => format!("record {sequence}"),
            },
        ),
        ("withheld", stopped.withheld.to_string()),
    ]);
    let json = |fence: Value| {
        json!({
        "scope": name,
        "recorded": stopped.recorded,
        "sequence": stopped.sequence,
        "last_released_sequence": stopped.last_released_sequence,
        "withheld": stopped.withheld,
        "unsettled": stopped.unsettled.iter().map(unsettled::json).collect::<Vec<_>>(),
        "unsettled_more": stopped.unsettled_more,
        "unsettled_incomplete": stopped.unsettled_incomplete,
        "fence": fence,
        })
    };
    // Whoever reads wants the acknowledgement at once, a program everything in one.
    output.human(&acknowledged)?;
    let fenced = fence::follow(&control, &scope).await;
    output.json(&json(fenced.as_ref().map(Fenced::json).unwrap_or_default()))?;
    if let Some(fenced) = &fenced {
        output.human(&fenced.done())?;
        fenced.warnings().iter().for_each(|line| output.note(line));
    }
    output.human(&unsettled::human(&stopped))?;
    if let Scope::Caller(caller) = &scope {
        note_unknown(caller, &control, output).await;
    }
    if stopped.recorded {
        return Ok(Exit::Done);
    }
    output.note(
        "warning: fenced, not recorded. Signing is stopped in this process, but the journal could \
         not take the record, so a restart would forget it. Make room for the journal, then freeze \
         again.",
    );
    Ok(Exit::Failure)
}

/// A caller that the book does not know can be stopped, and in a hurry is a slip of the hand.
pub(crate) async fn note_unknown(caller: &str, control: &ControlClient, output: &Output) {
    let Ok(force) = control.book().await else { return };
    let Ok(book) = Book::parse(&force.book) else { return };
    if caller.parse().is_ok_and(|caller| book.caller(&caller).is_none()) {
        let callers: Vec<&str> = book.callers().map(|(caller, _)| caller.as_str()).collect();
        output.note(&format!(
            "warning: the book in force has no caller {caller}, so nothing that signs now was \
             stopped. It has {}",
            callers.join(", ")
        ));
    }
}

/// A scope in words; also used by `status`.
pub(crate) fn name(scope: &Scope) -> String {
    match scope {
        Scope::Key(key) => format!("key {key}"),
        Scope::Caller(caller) => format!("caller {caller}"),
        Scope::Tag(tag) => format!("tag {tag}"),
        Scope::All(_) => "everything".to_owned(),
    }
}

/// Why something is done, as every record wants it.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    match text.trim().chars().count() {
        1..=500 => Ok(text.to_owned()),
        0 => Err("say why: the reason is kept in the journal".to_owned()),
        length => Err(format!("{length} characters, and at most 500 fit into the record")),
    }
}
