//! One record in one line for people. Shows who, what and why, and leaves out inputs and hashes.

use portcullis_policy::book::{Registry, format_amount};
use portcullis_policy::effect;
use portcullis_policy::finding::Reason;
use portcullis_policy::id::ChainId;
use portcullis_policy::money::{Account, Asset, parse_decimal};
use portcullis_policy::record::{
    Absence, Actor, Asked, DestroyAnswered, Destruction, Entry, FenceAnswered, FenceCause,
    FenceIntended, Grade, Priced, Record, Settled, SignedRecord,
};
use portcullis_policy::request::{Request, Signable};
use portcullis_policy::tx::{Destination, UnsignedTx};
use portcullis_policy::utc::rfc3339;

use crate::audit::people;
use crate::output::one_line;

/// Sequence number, time, kind and what matters; below a decision, what its input would do. A
/// record of a newer format is shown as it is.
pub(crate) fn summary(sequence: u64, line: &[u8], registry: &Registry) -> String {
    let Ok(entry) = Entry::decode(line) else {
        return one_line(&format!("{sequence:>8}  {}", String::from_utf8_lossy(line)));
    };
    let (time, kind) = (rfc3339(entry.at.sure.0), entry.record.kind());
    let words = one_line(&words(&entry.record, registry));
    let text = format!("{sequence:>8}  {time}  {kind:<14}  {words}");
    let effects = entry.record.asked().map(|asked| effects(asked, registry)).unwrap_or_default();
    [text.trim_end().to_owned()].into_iter().chain(effects).collect::<Vec<_>>().join("\n")
}

/// What matters of a record, where no book is at hand.
pub(crate) fn what(record: &Record) -> String {
    one_line(&words(record, &Registry::default()))
}

/// What the input would do, a line each. An input kept beside the record is not at hand here.
fn effects(asked: &Asked, registry: &Registry) -> Vec<String> {
    let Some(input) = asked.input.resolve(|_| None) else {
        return vec![format!("{INDENT}(a large input, kept beside the record)")];
    };
    let Ok(request) = Request::decode(asked.by.clone(), &input) else { return Vec::new() };
    let id = request.chain();
    let chain =
        registry.chain(id).map_or_else(|| format!("chain {id}"), |chain| chain.name.clone());
    let what = match request.signable() {
        Signable::Transaction(tx) => format!("{} on {chain}, nonce {}", tx.kind(), tx.nonce()),
        Signable::Typed(data) => format!("typed data {} on {chain}", data.primary().name()),
        Signable::Message(_) => format!("message on {chain}"),
        Signable::Delegation(one) => format!("authorization on {chain}, nonce {}", one.nonce()),
    };
    let head = format!("{INDENT}{what}");
    let effects = effect::effects(&request, asked.by.expected, registry).into_iter();
    let effects = effects.map(|one| format!("{INDENT}  {}", effect::describe(&one, id, registry)));
    [head].into_iter().chain(effects).collect()
}

/// As far as the kinds of records stand.
const INDENT: &str = "          ";

fn words(record: &Record, registry: &Registry) -> String {
    match record {
        Record::Genesis(genesis) => {
            let (environment, people) = (genesis.environment.name(), genesis.people.len());
            format!("{environment}, {people} people, {} signatures", genesis.signatures.len())
        }
        Record::Started(started) => {
            format!("start {}, version {}", started.epoch, started.version)
        }
        Record::KeyIntended(key) => {
            format!("key {} ({}) asked for by {}", key.label, key.key, key.by)
        }
        Record::KeyCreated(key) => {
            format!("key {} has address {}", key.key, key.address.to_checksum(None))
        }
        Record::CheckpointKeyIntended(key) => {
            format!("a key for checkpoints ({}) is about to be made", key.object)
        }
        Record::CheckpointKeyMade(made) => {
            format!("checkpoints are signed from here on, with {} of the token", made.object)
        }
        Record::Snapshot(snapshot) => format!("of everything up to record {}", snapshot.upto),
        Record::Adopted(adopted) => {
            format!("a book of {} bytes by {}", adopted.book.len(), adopted.by)
        }
        Record::Settled(settled) => settlement(settled),
        Record::Priced(priced) => prices(priced, registry),
        Record::Frozen(frozen) => {
            let by = match &frozen.by {
                Actor::Person(person) => person.to_string(),
                Actor::Order(order) => {
                    format!("an order that {} signed ({})", order.by, order.order)
                }
                Actor::Rescue(signed) => {
                    let note = &signed.note;
                    format!("{} ({} straight on the token)", note.by, note.deed.name())
                }
                Actor::Signer => "the signer".to_owned(),
                Actor::Trigger(_) => "the signer, by itself".to_owned(),
            };
            format!("{} by {by}: {}", frozen.scope, frozen.reason)
        }
        Record::FenceIntended(intended) => fence_intended(intended),
        Record::FenceAnswered(answered) => fence_answered(answered),
        Record::DestroyAnswered(answered) => destroy_answered(answered),
        Record::DrainEnded(ended) => {
            format!("the drain of key {} is over: it is stopped", ended.key)
        }
        Record::Drilled(drilled) => people::drilled(drilled),
        Record::Signed(signed) => signature(signed),
        Record::Denied(denied) => because(&denied.asked, &denied.reasons, registry),
        Record::Withheld(withheld) => because(&withheld.asked, &withheld.reasons, registry),
        Record::Parked(parked) => {
            let missing = parked.missing.join(", ");
            format!("{} as {}: {missing}", request(&parked.asked), parked.parked)
        }
        Record::Failed(failed) => format!("{}: {}", request(&failed.asked), failed.fault),
        Record::Suppressed(many) => {
            let (count, code, caller) = (many.count, &many.code, &many.caller);
            format!("{count} more {code} for {caller} and key {}", many.key)
        }
        Record::Voted(voted) => people::voted(voted),
        Record::Proposed(proposed) => people::proposed(proposed),
        Record::Executed(executed) => people::executed(executed),
        Record::Withdrawn(withdrawn) => people::withdrawn(withdrawn),
        Record::Suspended(suspended) => people::suspended(suspended),
        Record::RecoveryBegun(begun) => people::recovery_begun(begun),
        Record::Recovered(recovered) => {
            format!("the people were replaced, as record {} announced", recovered.begun)
        }
    }
}

fn fence_intended(intended: &FenceIntended) -> String {
    let keys = list(intended.keys.iter());
    match intended.cause {
        FenceCause::Stopped => format!("the token is told not to sign with key {keys}"),
        FenceCause::Undone => {
            format!("key {keys} was found to sign although fenced; the token is told again")
        }
        FenceCause::Thawed => format!("the token is told to sign with key {keys} again"),
    }
}

fn fence_answered(answered: &FenceAnswered) -> String {
    let mut said = Vec::new();
    if !answered.done.is_empty() {
        said.push(format!("read back of key {}", list(answered.done.iter())));
    }
    let refused = answered.refused.iter();
    said.extend(refused.map(|(key, why)| format!("refused for key {key}: {why}")));
    format!("as record {} intended: {}", answered.intent, said.join("; "))
}

fn destroy_answered(answered: &DestroyAnswered) -> String {
    let DestroyAnswered { answer, intent, key } = answered;
    match answer {
        Destruction::Refused(why) => {
            format!("the token did not remove key {key}, as record {intent} intended: {why}")
        }
        Destruction::Gone(absence) => {
            let Absence { backups, grade, objects, token } = absence;
            let proves = match grade {
                Grade::Told => "the token says so",
                Grade::Unlinked => "its files were unlinked, which proves nothing about copies",
            };
            let backups = match backups.as_slice() {
                [] => String::new(),
                [..] => format!("; it may be in {}", backups.join(", ")),
            };
            format!(
                "key {key} is gone from {token}, as record {intent} intended: {objects} objects \
                 removed; {proves}{backups}"
            )
        }
    }
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn settlement(settled: &Settled) -> String {
    let (key, chain, nonce) = (settled.key, settled.chain, &settled.nonce);
    let (allowances, by) = (settled.allowances.len(), &settled.by);
    let read = settled.read_at.map(|at| format!(", read at {}", rfc3339(at.0))).unwrap_or_default();
    format!("key {key} on chain {chain} up to nonce {nonce}, {allowances} allowances{read} by {by}")
}

fn prices(priced: &Priced, registry: &Registry) -> String {
    let price = |(asset, micro): (&String, &_)| {
        let account = Account { chain: ChainId(0), asset: Asset::Usd };
        format!("{asset} {}", format_amount(registry, account, *micro))
    };
    let prices: Vec<String> = priced.prices.iter().map(price).collect();
    format!("{} by {}", prices.join(", "), priced.by)
}

fn signature(signed: &SignedRecord) -> String {
    let mut text = request(&signed.asked);
    if let Some(first) = signed.repeats {
        text.push_str(&format!(", again as record {first}"));
    }
    if !signed.votes.is_empty() {
        text.push_str(&format!(", on the votes of {}", people::records(&signed.votes)));
    }
    text
}

fn request(asked: &Asked) -> String {
    format!("{} with key {}, request {}", asked.by.caller, asked.by.key, asked.by.request)
}

fn because(asked: &Asked, reasons: &[Reason], registry: &Registry) -> String {
    let transaction = asked.input.resolve(|_| None);
    let transaction = transaction.and_then(|input| Request::decode(asked.by.clone(), &input).ok());
    let reasons = reasons.iter().map(|reason| why(reason, transaction.as_ref(), registry));
    format!("{}: {}", request(asked), reasons.collect::<Vec<_>>().join(", "))
}

/// A reason with its amounts in units: a rule's name says which asset it counts.
fn why(reason: &Reason, request: Option<&Request>, registry: &Registry) -> String {
    let account = request.and_then(|request| account(reason, request));
    let units = |amount| match account {
        Some(account) => format_amount(registry, account, amount),
        None => amount.to_string(),
    };
    let saw = match (reason.limit, parse_decimal(&reason.saw)) {
        (Some(limit), Some(saw)) => format!(": {} of at most {}", units(saw), units(limit)),
        _ if reason.saw.is_empty() => String::new(),
        _ => format!(": {}", reason.saw),
    };
    format!("{} at {}{saw}", reason.code, reason.rule)
}

fn account(reason: &Reason, request: &Request) -> Option<Account> {
    let (asset, _) = reason.rule.split_once('.')?;
    let destination = request.transaction().map(UnsignedTx::destination);
    let asset = match (asset, destination) {
        ("native" | "fees", _) => Asset::Native,
        ("token", Some(Destination::Call(contract))) => Asset::Token(contract),
        _ => return None,
    };
    Some(Account { chain: request.chain(), asset })
}
