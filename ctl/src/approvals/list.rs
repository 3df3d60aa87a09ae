//! `approvals list`: what waits, and whom it asks.

use std::collections::BTreeMap;

use portcullis_client::wire::Approval;
use serde_json::json;

use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, table};

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let listed = connection.control().await?.list_approvals().await?;
    let json = json!({
        "approvals": listed.approvals.iter().map(words::json).collect::<Vec<_>>(),
        "more": listed.more,
    });
    let human = if listed.approvals.is_empty() {
        "nothing waits for people".to_owned()
    } else {
        human(&listed.approvals)
    };
    output.result(&human, &json)?;
    if listed.more > 0 {
        output.note(&format!("and {} more that are not listed", listed.more));
    }
    let asked = listed.approvals.iter().filter(|one| one.asks_you).count();
    if asked > 0 {
        output.note(&format!("{asked} ask you: portctl approvals show ID"));
    }
    Ok(Exit::Done)
}

fn human(approvals: &[Approval]) -> String {
    let rows: Vec<[String; 8]> = grouped(approvals).into_iter().flat_map(rows).collect();
    let heading = ["ASKS", "ID", "STATE", "LEFT", "ASKED BY", "VOTES", "TAKES", "WHAT"];
    table(heading, &rows)
}

/// Those that would do the same stand under the first of them.
fn grouped(approvals: &[Approval]) -> Vec<Vec<&Approval>> {
    let mut groups: Vec<Vec<&Approval>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for approval in approvals {
        let likeness = approval.likeness.as_str();
        let place = if likeness.is_empty() { None } else { places.get(likeness).copied() };
        match place.and_then(|place| groups.get_mut(place)) {
            Some(group) => group.push(approval),
            None => {
                if !likeness.is_empty() {
                    places.insert(likeness, groups.len());
                }
                groups.push(vec![approval]);
            }
        }
    }
    groups
}

fn rows(group: Vec<&Approval>) -> Vec<[String; 8]> {
    let others = group.len().saturating_sub(1);
    let row = |(place, approval): (usize, &&Approval)| {
        let summary = words::plain(&approval.summary);
        let (indent, what) = match (place, others) {
            (0, 0) => ("", summary),
            (0, others) => ("", format!("{summary} + {others} like it")),
            _ => ("  ", summary),
        };
        [
            if approval.asks_you { "you" } else { "" }.to_owned(),
            format!("{indent}{}", words::plain(&approval.id)),
            words::state(approval).to_owned(),
            words::left(approval),
            words::plain(&approval.asked_by),
            words::voters(approval),
            words::plain(&needs(approval)),
            what,
        ]
    };
    group.iter().enumerate().map(row).collect()
}

/// Who must agree. How, and for how long, is for `show`.
fn needs(approval: &Approval) -> String {
    let need = |takes: &String| match takes.split_once(", within") {
        Some((need, _)) => need.to_owned(),
        None => takes.clone(),
    };
    approval.takes.iter().map(need).collect::<Vec<_>>().join(" and ")
}
