//! `people list | show ID`: who there is, and what each deed takes.

use portcullis_client::wire::{CredentialEntry, ListPeopleResponse, PersonEntry};
use portcullis_policy::governance::Governance;
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use crate::approvals::words::plain;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x, table};
use crate::people::PeopleFault;

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let listed = connection.control().await?.list_people().await?;
    let governance: Governance =
        serde_json::from_str(&listed.governance_json).map_err(PeopleFault::Governance)?;
    let heading = ["ID", "ROLES", "CERTIFICATE", "VOTE", "SIGNS WITH"];
    let rows: Vec<[String; 5]> = listed.people.iter().flat_map(rows).collect();
    let mut human = table(heading, &rows);
    human.push_str("\n\n");
    human.push_str(&takes(&governance));
    if listed.recovery_sequence != 0 {
        human.push_str("\n\n");
        human.push_str(&output.alarm(&recovery(&listed)));
    }
    let json = json!({
        "people": listed.people.iter().map(json).collect::<Vec<_>>(),
        "governance": governance,
        "vault_id": hex0x(&listed.vault_id),
        "recovery": (listed.recovery_sequence != 0).then(|| json!({
            "sequence": listed.recovery_sequence,
            "from": rfc3339(listed.recovery_from_ms),
        })),
    });
    output.result(&human, &json)?;
    Ok(Exit::Done)
}

pub(crate) async fn show(
    id: &str,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let listed = connection.control().await?.list_people().await?;
    let Some(person) = listed.people.iter().find(|one| one.id == id) else {
        let known: Vec<&str> = listed.people.iter().map(|one| one.id.as_str()).collect();
        let known = known.join(", ");
        return Err(PeopleFault::NoPerson { id: id.to_owned(), known }.into());
    };
    let vote = vote(person);
    let mut lines = vec![
        ("id", plain(&person.id)),
        ("roles", person.roles.join(", ")),
        ("certificate", plain(&person.control)),
        ("vote", if person.suspended { output.alarm(vote) } else { vote.to_owned() }),
    ];
    lines.extend(person.credentials.iter().map(|one| ("signs with", credential(one))));
    output.result(&fields(&lines), &json(person))?;
    Ok(Exit::Done)
}

/// The person in the first line, one credential in each.
fn rows(person: &PersonEntry) -> Vec<[String; 5]> {
    let mut signs: Vec<String> = person.credentials.iter().map(credential).collect();
    if signs.is_empty() {
        signs.push("nothing".to_owned());
    }
    let row = |(place, signs): (usize, String)| {
        if place > 0 {
            return ["", "", "", "", &signs].map(str::to_owned);
        }
        let roles = person.roles.join(",");
        [plain(&person.id), roles, plain(&person.control), vote(person).to_owned(), signs]
    };
    signs.into_iter().enumerate().map(row).collect()
}

fn vote(person: &PersonEntry) -> &'static str {
    match (person.suspended, person.credentials.iter().any(|one| !one.suspended)) {
        (true, _) => "SUSPENDED",
        (false, true) => "counts",
        (false, false) => "none",
    }
}

fn credential(one: &CredentialEntry) -> String {
    let suspended = if one.suspended { ", SUSPENDED" } else { "" };
    format!("{} ({}{suspended})", plain(&one.id), plain(&one.strength))
}

/// What each deed takes, a line each.
fn takes(governance: &Governance) -> String {
    let mut lines: Vec<[String; 2]> = Vec::new();
    for (deed, rule) in &governance.quorums {
        lines.push([deed.to_string(), format!("{}, {}", rule.need, rule.manner())]);
    }
    if let Some(recovery) = &governance.recovery {
        let (need, of, delay) = (recovery.need, recovery.credentials.len(), recovery.delay);
        let what = format!("{need} of {of} offline credentials, after {delay}");
        lines.push(["recovery".to_owned(), what]);
    }
    if lines.is_empty() {
        return "no deed has a quorum: nothing can be thawed, revoked, widened or changed"
            .to_owned();
    }
    table(["DEED", "TAKES"], &lines)
}

fn recovery(listed: &ListPeopleResponse) -> String {
    let (at, from) = (listed.recovery_sequence, rfc3339(listed.recovery_from_ms));
    format!("record {at} announced that all people will be replaced, from {from} on")
}

fn json(person: &PersonEntry) -> Value {
    let credential = |one: &CredentialEntry| {
        let key: Value = serde_json::from_str(&one.credential_json).unwrap_or_default();
        json!({
            "id": one.id,
            "credential": key,
            "strength": one.strength,
            "suspended": one.suspended,
        })
    };
    json!({
        "id": person.id,
        "roles": person.roles,
        "control": person.control,
        "suspended": person.suspended,
        "credentials": person.credentials.iter().map(credential).collect::<Vec<_>>(),
    })
}
