//! One record in one line for people. Shows who, what and why, and leaves out inputs and hashes.

use portcullis_policy::book::Registry;
use portcullis_policy::effect;
use portcullis_policy::finding::Reason;
use portcullis_policy::record::{Actor, Asked, Entry, Record};
use portcullis_policy::request::Request;

use crate::utc::rfc3339;

/// Sequence number, time, kind and what matters; below a decision, what its input would do. A record
/// of a newer format is shown as it is.
pub(crate) fn summary(sequence: u64, line: &[u8], registry: &Registry) -> String {
    let Ok(entry) = Entry::decode(line) else {
        return format!("{sequence:>8}  {}", String::from_utf8_lossy(line));
    };
    let (time, kind) = (rfc3339(entry.at.sure.0), entry.record.kind());
    let text = format!("{sequence:>8}  {time}  {kind:<12}  {}", words(&entry.record));
    let effects = entry.record.asked().map(|asked| effects(asked, registry)).unwrap_or_default();
    [text.trim_end().to_owned()].into_iter().chain(effects).collect::<Vec<_>>().join("\n")
}

/// What the input would do, a line each. An input kept beside the record is not at hand here.
fn effects(asked: &Asked, registry: &Registry) -> Vec<String> {
    let Some(input) = asked.input.resolve(|_| None) else {
        return vec![format!("{INDENT}(a large input, kept beside the record)")];
    };
    let Ok(request) = Request::decode(asked.by.clone(), &input) else { return Vec::new() };
    let tx = request.transaction();
    let chain = registry.chain(tx.chain()).map_or_else(
        || format!("chain {}", tx.chain()),
        |chain| chain.name.clone(),
    );
    let head = format!("{INDENT}{} on {chain}, nonce {}", tx.kind(), tx.nonce());
    let effects = effect::effects(tx, registry).into_iter();
    let effects = effects
        .map(|one| format!("{INDENT}  {}", effect::describe(&one, tx.chain(), registry)));
    [head].into_iter().chain(effects).collect()
}

/// As far as the kinds of records stand.
const INDENT: &str = "          ";

fn words(record: &Record) -> String {
    match record {
        Record::Genesis(genesis) => {
            format!("{:?}, {} people", genesis.environment, genesis.people.len())
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
        Record::Adopted(adopted) => {
            format!("a book of {} bytes by {}", adopted.book.len(), adopted.by)
        }
        Record::Frozen(frozen) => {
            let by = match &frozen.by {
                Actor::Person(person) => person.to_string(),
                Actor::Signer => "the signer".to_owned(),
            };
            format!("{} by {by}: {}", frozen.scope, frozen.reason)
        }
        Record::Signed(signed) => match signed.repeats {
            Some(first) => format!("{}, again as record {first}", request(&signed.asked)),
            None => request(&signed.asked),
        },
        Record::Denied(denied) => because(&denied.asked, &denied.reasons),
        Record::Withheld(withheld) => because(&withheld.asked, &withheld.reasons),
        Record::Parked(parked) => {
            let missing = parked.missing.join(", ");
            format!("{} as {}: {missing}", request(&parked.asked), parked.parked)
        }
        Record::Failed(failed) => format!("{}: {}", request(&failed.asked), failed.fault),
        Record::Suppressed(many) => {
            let (count, code, caller) = (many.count, &many.code, &many.caller);
            format!("{count} more {code} for {caller} and key {}", many.key)
        }
    }
}

fn request(asked: &Asked) -> String {
    format!("{} with key {}, request {}", asked.by.caller, asked.by.key, asked.by.request)
}

fn because(asked: &Asked, reasons: &[Reason]) -> String {
    let reasons = reasons.iter().map(|reason| rule(reason));
    format!("{}: {}", request(asked), reasons.collect::<Vec<_>>().join(", "))
}

fn rule(reason: &Reason) -> String {
    let saw = match reason.limit {
        Some(limit) => format!(": {} of at most {limit}", reason.saw),
        None if reason.saw.is_empty() => String::new(),
        None => format!(": {}", reason.saw),
    };
    format!("{} at {}{saw}", reason.code, reason.rule)
}
