//! `stop-order make`: signs a stop before there is an emergency, for whoever then holds the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy_primitives::B128;
use clap::{Args, Subcommand};
use portcullis_client::wire::PersonEntry;
use portcullis_client::{CallError, ConnectError, ControlClient, RequestIds};
use portcullis_policy::credential::{Evidence, Purpose};
use portcullis_policy::record::{Actor, Frozen, Order};
use portcullis_policy::request::sha256;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Millis, Span};
use portcullis_policy::utc::rfc3339;
use serde_json::json;

use crate::approvals::ssh::Signer;
use crate::approvals::statement::{framed, vault};
use crate::approvals::vote::{enrolled, person};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::{ScopeArgs, note_unknown, reason};
use crate::output::{Output, fields};
use crate::people::write_new;
use crate::thaw;

#[derive(Debug, Subcommand)]
pub(crate) enum StopOrderVerb {
    /// Sign a stop beforehand. Whoever holds the file can use it once, without a certificate.
    Make(MakeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct MakeArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How long it can be used: 90d, 12h. At most 366d.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = good_for)]
    good_for: Span,
    /// Why: 1 to 500 characters, kept in the journal when it is used.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Your SSH key, public or private half.
    #[arg(id = "ssh_key", long = "key", value_name = "FILE")]
    ssh_key: PathBuf,
    /// Where to write it.
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: PathBuf,
}

/// An order that would stop nothing, or is not to be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopOrderFault {
    /// Not of security.
    #[error(
        "{person} may stop nothing, and so would an order of theirs: it takes the role security"
    )]
    Role { person: String },
    /// Another key.
    #[error(
        "{key} is not enrolled for {person}, so an order that it signs would stop nothing: \
         `portctl people show {person}` lists what is",
        key = key.display()
    )]
    NotEnrolled { person: String, key: PathBuf },
    /// A slip of the hand.
    #[error("no key has the tag {tag}, so the order would stop nothing. There are: {there}")]
    Tag { tag: String, there: String },
    /// There is a file of that name.
    #[error("{file} exists: orders are not written over what is there", file = file.display())]
    Exists { file: PathBuf },
}

pub(crate) async fn run(
    verb: StopOrderVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        StopOrderVerb::Make(args) => make(args, connection, output).await,
    }
}

async fn make(
    args: MakeArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    if args.file.exists() {
        return Err(StopOrderFault::Exists { file: args.file }.into());
    }
    let signer = Signer::at(&args.ssh_key)?;
    let control = connection.control().await?;
    check(&person(&control).await?, &signer, &args.ssh_key)?;
    let status = control.status().await?;
    let vault = vault(&control, connection).await?;
    let by = status.person.parse().map_err(|_| CallError::Incomplete { part: "person" })?;
    let scope = thaw::scope_of(&control, args.scope.scope()).await?;
    check_there(&scope, &control, output).await?;
    // Twelve random bytes are in it: no two orders are one.
    let random = RequestIds::new().map_err(ConnectError::from)?.unique();
    let order = B128::from_slice(sha256(random.as_str().as_bytes()).split_at(16).0);
    let (expires, credential) = (Millis(status.sure_time_ms), signer.credential().id());
    let expires = expires.plus(args.good_for);
    // The text does not hold the signature, which is put in its place below.
    let nothing = Evidence::Ssh(String::new());
    let order = Order { by, credential, evidence: nothing, expires, order };
    let stop = Frozen { by: Actor::Signer, reason: args.reason, scope };
    let text = statement::stop_order(vault.as_str(), &order, &stop);
    output.aside(&framed("what follows is exactly what you sign", &text, output));
    let evidence = signer.sign(Purpose::Stop, &text, output).await?;
    let order = Order { evidence, ..order };
    let told = json!({
        "file": args.file,
        "order": order.order.to_string(),
        "stops": stop.scope.to_string(),
        "good_until": rfc3339(expires.0),
    });
    let human = fields(&[
        ("written", args.file.display().to_string()),
        ("stops", output.alarm(&stop.scope.to_string())),
        ("good until", rfc3339(expires.0)),
        ("order", order.order.to_string()),
    ]);
    let stop = Frozen { by: Actor::Order(Box::new(order)), ..stop };
    write_new(&args.file, &format!("{}\n", serde_json::to_string(&stop)?))?;
    output.result(&human, &told)?;
    output.note(&format!(
        "to use it, once, from any machine: curl --cacert CA --data-binary @{} \
         https://SIGNER:PORT/v1/stop (the port is [stop_orders] in the signer's configuration). \
         Keep it offline: whoever has it can stop things, and nothing else",
        args.file.display()
    ));
    Ok(Exit::Done)
}

/// A slip of the hand would be found out in the emergency.
async fn check_there(
    scope: &Scope,
    control: &ControlClient,
    output: &Output,
) -> Result<(), Failure> {
    match scope {
        Scope::Tag(tag) => {
            let keys = control.list_keys().await?;
            let tags: BTreeSet<&str> =
                keys.iter().flat_map(|key| &key.tags).map(String::as_str).collect();
            if !tags.contains(tag.as_str()) {
                let there = tags.into_iter().collect::<Vec<&str>>().join(", ");
                return Err(StopOrderFault::Tag { tag: tag.to_string(), there }.into());
            }
        }
        Scope::Caller(caller) => note_unknown(caller.as_str(), control, output).await,
        Scope::Key(_) | Scope::All => {}
    }
    Ok(())
}

fn check(person: &PersonEntry, signer: &Signer, key: &Path) -> Result<(), StopOrderFault> {
    let name = person.id.clone();
    if !person.roles.iter().any(|role| role == "security") {
        return Err(StopOrderFault::Role { person: name });
    }
    let held = enrolled(person, signer).is_some();
    if held { Ok(()) } else { Err(StopOrderFault::NotEnrolled { person: name, key: key.into() }) }
}

fn good_for(text: &str) -> Result<Span, String> {
    match Span::parse(text) {
        Some(span) if span > Span(0) && span <= GOOD_FOR_MAX => Ok(span),
        Some(_) | None => Err("a time such as 90d or 12h, and at most 366d".to_owned()),
    }
}

/// A year: by then other people and other keys are there.
const GOOD_FOR_MAX: Span = Span(366 * 86_400_000);
