//! What a stop cannot call back: signatures that somebody holds, and that may still take effect.

use portcullis_client::wire::{FreezeResponse, SignedForm, UnsettledSignature};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use crate::output::{address, hex0x, table};

/// For people: what to race, and how.
pub(crate) fn human(stopped: &FreezeResponse) -> String {
    let listed = &stopped.unsettled;
    if !stopped.recorded {
        return String::new();
    }
    if listed.is_empty() && stopped.unsettled_more == 0 {
        let known = if stopped.unsettled_incomplete { " that is remembered" } else { "" };
        return format!("\nNothing in scope{known} may still take effect.");
    }
    let rows: Vec<[String; 8]> = listed.iter().map(row).collect();
    let heading = ["RECORD", "KEY", "CALLER", "CHAIN", "NONCE", "WHAT", "SIGNED", "DIGEST"];
    let mut lines = vec![
        "\nSigned before, released or perhaps released, and not known to be settled. The stop does \
         not\ncall these back. Of one nonce, whatever is mined first makes the others void:\n"
            .to_owned(),
        table(heading, &rows),
    ];
    if stopped.unsettled_more > 0 {
        lines.push(format!("and {} older ones in scope", stopped.unsettled_more));
    }
    if stopped.unsettled_incomplete {
        lines.push(
            "and perhaps even older ones, which the signer does not remember: see `portctl audit \
             show`"
                .to_owned(),
        );
    }
    let mut senders: Vec<String> = listed
        .iter()
        .map(|one| format!("sender of {}: {}", one.label, address(&one.address)))
        .collect();
    senders.sort_unstable();
    senders.dedup();
    lines.extend(senders);
    lines.join("\n")
}

fn row(one: &UnsettledSignature) -> [String; 8] {
    let what = match one.ends_at_ms {
        Some(ends) => format!("{} until {}", form(one), rfc3339(ends)),
        None => form(one).to_owned(),
    };
    [
        one.sequence.to_string(),
        one.label.clone(),
        one.callers.join(","),
        one.chain_id.to_string(),
        one.nonce.map_or_else(|| "-".to_owned(), |nonce| nonce.to_string()),
        what,
        rfc3339(one.signed_at_ms),
        hex0x(&one.digest),
    ]
}

/// For programs: fields as the answer to a stop order has them.
pub(crate) fn json(one: &UnsettledSignature) -> Value {
    json!({
        "key_id": one.key_id,
        "label": one.label,
        "address": address(&one.address),
        "callers": one.callers,
        "chain_id": one.chain_id,
        "nonce": one.nonce.map(|nonce| nonce.to_string()),
        "digest": hex0x(&one.digest),
        "form": form(one).replace(' ', "_"),
        "sequence": one.sequence,
        "signed_at_ms": one.signed_at_ms,
        "ends_at_ms": one.ends_at_ms,
    })
}

fn form(one: &UnsettledSignature) -> &'static str {
    match one.form() {
        SignedForm::Transaction => "transaction",
        SignedForm::Authorization => "authorization",
        SignedForm::TypedData => "typed data",
        SignedForm::Message => "message",
        SignedForm::Unspecified => "unknown",
    }
}
