//! One record in one line for people. Shows who, what and why, and leaves out inputs and hashes.

use portcullis_policy::finding::Reason;
use portcullis_policy::record::{Actor, Asked, Entry, Record};

use crate::utc::rfc3339;

/// Sequence number, time, kind and what matters. A record of a newer format is shown as it is.
pub(crate) fn summary(sequence: u64, line: &[u8]) -> String {
    let Ok(entry) = Entry::decode(line) else {
        return format!("{sequence:>8}  {}", String::from_utf8_lossy(line));
    };
    let (time, kind) = (rfc3339(entry.at.sure.0), entry.record.kind());
    let text = format!("{sequence:>8}  {time}  {kind:<12}  {}", words(&entry.record));
    text.trim_end().to_owned()
}

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
    let reasons = reasons.iter().map(|reason| format!("{} at {}", reason.code, reason.rule));
    format!("{}: {}", request(asked), reasons.collect::<Vec<_>>().join(", "))
}
