//! What a reconciliation found, for people and for programs. docs/operations.md lists the fields;
//! they are only added to.

use std::collections::BTreeMap;

use portcullis_policy::id::KeyId;
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use super::chain::Read;
use super::judge::{Outside, Verdict};
use super::known::Known;
use super::mined::{Mined, Sign};
use super::{Found, Froze, Unread};
use crate::audit::checked::LEVEL;
use crate::output::{Output, fields, hex0x, table};

pub(super) fn human(found: &Found, output: &Output) -> String {
    let (known, verdict) = (&found.known, &found.verdict);
    let source = if found.live { "the signer's journal" } else { "the export" };
    let last = rfc3339(known.last().0);
    let mut lines = vec![
        ("vault", hex0x(found.checked.vault.0.as_slice())),
        ("records", format!("{} of {source}, the last of {last}", found.checked.size)),
        ("checked", LEVEL.to_owned()),
        ("matched", format!("{}, by what was signed", verdict.matched)),
    ];
    if verdict.matched_by_nonce > 0 {
        let count = verdict.matched_by_nonce;
        lines.push((
            "matched weakly",
            format!("{count}, by nonce alone: what was signed is not told"),
        ));
    }
    if found.others > 0 {
        lines.push(("of other senders", found.others.to_string()));
    }
    lines.push(("signed, not mined", format!("{} nonces", verdict.not_mined)));
    if verdict.unread > 0 {
        let count = verdict.unread;
        lines.push(("not compared", format!("{count} nonces on record, mined in blocks not read")));
    }
    for Unread { name, why, .. } in &found.unread {
        lines.push(("NOT READ", format!("{name}: {why}")));
    }
    for (key, chain, why) in &verdict.uncounted {
        let (key, chain) = (known.label(*key), known.chain_name(*chain));
        lines.push(("not counted", format!("nonces of {key} on {chain}: {why}")));
    }
    lines.extend(verdict.unjudged.iter().map(|mined| {
        let (key, hash) = (known.label(mined.key), mined.hash);
        ("not judged", format!("{hash} of {key}: a type that this program does not know"))
    }));
    for outside in &verdict.outside {
        let said = output.alarm(&outside_words(known, outside));
        lines.push(("OUTSIDE THE SIGNER", said));
    }
    lines.extend(found.froze.iter().map(|(key, froze)| ("frozen", frozen(known, *key, froze))));
    lines.push(("verdict", verdict_words(verdict)));
    let chains = chains(&found.reads);
    if chains.is_empty() { fields(&lines) } else { format!("{chains}\n\n{}", fields(&lines)) }
}

fn verdict_words(verdict: &Verdict) -> String {
    if verdict.outside.is_empty() {
        return "nothing that was read was made outside the signer".to_owned();
    }
    "a key was used outside the signer: docs/runbooks/key-is-out.md".to_owned()
}

fn chains(reads: &[Read]) -> String {
    if reads.is_empty() {
        return String::new();
    }
    let row = |read: &Read| {
        let scanned = read.scanned.map(|(from, last)| format!("{from} to {last}"));
        let scanned = scanned.unwrap_or_else(|| "none, numbers only".to_owned());
        [
            read.name.clone(),
            read.last.words(),
            scanned,
            read.accounts.len().to_string(),
            read.mined.len().to_string(),
        ]
    };
    let heading = ["CHAIN", "READ AS OF", "BLOCKS", "ACCOUNTS", "OURS IN THEM"];
    table(heading, &reads.iter().map(row).collect::<Vec<_>>())
}

fn outside_words(known: &Known, outside: &Outside) -> String {
    match outside {
        Outside::Mined(mined) => {
            let Mined { chain, block, hash, key, nonce, what, .. } = mined;
            let (what, label) = (what.words(), known.label(*key));
            let block = block.map(|block| format!(", block {block}")).unwrap_or_default();
            let chain = known.chain_name(*chain);
            format!(
                "{what} {hash} of key {label} on {chain}, nonce {nonce}{block}; {}",
                proof(mined)
            )
        }
        Outside::Nonces { key, chain, first, last } => {
            let (label, chain) = (known.label(*key), known.chain_name(*chain));
            format!(
                "nonces {first} to {last} of key {label} on {chain}: mined, no record, and in no \
                 block that was read"
            )
        }
    }
}

/// What a claim rests on.
fn proof(mined: &Mined) -> &'static str {
    match mined.sign {
        Sign::Digest { proved: true, .. } => "its signature is the key's",
        Sign::Digest { proved: false, .. } => "by the node's word, its signature is not the key's",
        Sign::Nonce => "by the word of --mined",
        Sign::Strange => "of an unknown type",
    }
}

fn frozen(known: &Known, key: KeyId, froze: &Froze) -> String {
    let label = known.label(key);
    match froze {
        Froze::Done { sequence, recorded: true } => format!("key {label}, record {sequence}"),
        Froze::Done { recorded: false, .. } => {
            format!("key {label}, fenced and NOT RECORDED: make room for the journal, freeze again")
        }
        Froze::Already(state) => format!("key {label} is {state} already: nothing was done"),
        Froze::Refused(failure) => format!("key {label} was NOT FROZEN: {failure}"),
    }
}

pub(super) fn json(found: &Found) -> Value {
    let (known, verdict) = (&found.known, &found.verdict);
    json!({
        "reconcile": FORM,
        "vault_id": hex0x(found.checked.vault.0.as_slice()),
        "live": found.live,
        "checked": {
            "level": "bytes_and_tree",
            "size": found.checked.size,
            "root": hex0x(found.checked.root.as_slice()),
        },
        "last_record_at": rfc3339(known.last().0),
        "chains": found.reads.iter().map(|read| chain_json(known, read)).collect::<Vec<_>>(),
        "not_read": found.unread.iter().map(|unread| json!({
            "chain_id": unread.chain,
            "name": unread.name,
            "why": unread.why,
        })).collect::<Vec<_>>(),
        "matched": verdict.matched,
        "matched_by_nonce": verdict.matched_by_nonce,
        "other_senders": found.others,
        "signed_not_mined": verdict.not_mined,
        "not_compared": verdict.unread,
        "not_counted": verdict.uncounted.iter().map(|(key, chain, why)| json!({
            "key_id": key,
            "label": known.label(*key),
            "chain_id": chain,
            "why": why,
        })).collect::<Vec<_>>(),
        "not_judged": verdict.unjudged.iter().map(|one| mined_json(known, one)).collect::<Vec<_>>(),
        "outside": verdict.outside.iter().map(|one| outside_json(known, one)).collect::<Vec<_>>(),
        "frozen": found.froze.iter().map(|(key, froze)| froze_json(known, *key, froze))
            .collect::<Vec<_>>(),
    })
}

fn chain_json(known: &Known, read: &Read) -> Value {
    let keys: BTreeMap<KeyId, _> = known.keys().map(|(address, key)| (key, address)).collect();
    json!({
        "chain_id": read.chain,
        "name": read.name,
        "read_as_of": { "block": read.last.number, "at": read.last.at() },
        "blocks": read.scanned.map(|(from, to)| json!({ "from": from, "to": to })),
        "accounts": read.accounts.iter().map(|(key, account)| json!({
            "key_id": key,
            "label": known.label(*key),
            "address": keys.get(key).map(|address| address.to_checksum(None)),
            "transactions": account.count,
        })).collect::<Vec<_>>(),
        "ours": read.mined.len(),
    })
}

fn outside_json(known: &Known, outside: &Outside) -> Value {
    match outside {
        Outside::Mined(mined) => mined_json(known, mined),
        Outside::Nonces { key, chain, first, last } => json!({
            "what": "nonces",
            "chain_id": chain,
            "key_id": key,
            "label": known.label(*key),
            "nonce": first,
            "last_nonce": last,
            "hash": null,
            "block": null,
            "proof": "node",
        }),
    }
}

fn mined_json(known: &Known, mined: &Mined) -> Value {
    let Mined { chain, block, hash, key, nonce, what, sign } = mined;
    let (digest, proof) = match sign {
        Sign::Digest { digest, proved: true } => (Some(digest), "signature"),
        Sign::Digest { digest, proved: false } => (Some(digest), "node"),
        Sign::Nonce => (None, "file"),
        Sign::Strange => (None, "node"),
    };
    json!({
        "what": what.name(),
        "chain_id": chain,
        "key_id": key,
        "label": known.label(*key),
        "nonce": nonce,
        "last_nonce": nonce,
        "hash": hash,
        "block": block,
        "digest": digest,
        "proof": proof,
    })
}

fn froze_json(known: &Known, key: KeyId, froze: &Froze) -> Value {
    let (sequence, recorded, already, refused) = match froze {
        Froze::Done { sequence, recorded } => (Some(sequence), *recorded, None, None),
        Froze::Already(state) => (None, false, Some(state), None),
        Froze::Refused(failure) => (None, false, None, Some(failure.to_string())),
    };
    json!({
        "key_id": key,
        "label": known.label(key),
        "sequence": sequence,
        "recorded": recorded,
        "already": already,
        "refused": refused,
    })
}

/// Of the fields above: a field that goes or means something else makes it 2.
const FORM: u64 = 1;
