//! What people did together, told from an export alone: for each proposal that was executed, what
//! it was, who voted over which text, and what the key had signed last before it was stopped.
//!
//! Tells; verifies nothing. Whether the votes are signatures, and were enough, the policy crate has
//! said before this is printed.

use std::collections::BTreeMap;

use portcullis_policy::act::Act;
use portcullis_policy::id::{KeyId, KeyLabel, Sequence};
use portcullis_policy::record::{Actor, Entry, Executed, Frozen, Proposed, Record, Voted};
use portcullis_policy::request;
use portcullis_policy::stops::Scope;
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use crate::approvals::words::plain;
use crate::audit::people;
use crate::output::fields;

/// Takes the records of an export, in their order.
#[derive(Debug, Default)]
pub(super) struct Together {
    labels: BTreeMap<KeyId, KeyLabel>,
    last_signed: BTreeMap<KeyId, Place>,
    proposed: BTreeMap<Sequence, (Place, Box<Proposed>)>,
    voted: BTreeMap<Sequence, (Place, Box<Voted>)>,
    deeds: Vec<Deed>,
}

/// A record's place and time.
#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: Sequence,
    at_ms: u64,
}

/// Something that stopped or changed the vault.
#[derive(Debug)]
struct Deed {
    place: Place,
    what: What,
    /// Of a key that is stopped or ended by it: what it had signed last, if anything.
    last_signed: Option<Option<Place>>,
}

#[derive(Debug)]
enum What {
    /// One person, at once.
    Frozen(Frozen),
    /// A quorum.
    Executed {
        done: Executed,
        /// Where it was proposed.
        at: Place,
        proposed: Box<Proposed>,
        votes: Vec<(Place, Box<Voted>)>,
    },
}

impl Together {
    pub(super) fn take(&mut self, entry: &Entry) {
        let place = Place { sequence: entry.seq, at_ms: entry.at.sure.0 };
        #[expect(clippy::wildcard_enum_match_arm, reason = "tells of a few kinds among all")]
        match &entry.record {
            Record::KeyIntended(key) => drop(self.labels.insert(key.key, key.label.clone())),
            Record::Signed(signed) => drop(self.last_signed.insert(signed.asked.by.key, place)),
            Record::Proposed(one) => drop(self.proposed.insert(entry.seq, (place, one.clone()))),
            Record::Voted(one) => drop(self.voted.insert(entry.seq, (place, one.clone()))),
            Record::Frozen(frozen) => {
                let last_signed = self.last_signature(&frozen.scope);
                let what = What::Frozen(frozen.clone());
                self.deeds.push(Deed { place, what, last_signed });
            }
            Record::Executed(done) => self.executed(place, done.clone()),
            _ => {}
        }
    }

    fn executed(&mut self, place: Place, done: Executed) {
        let Some((at, proposed)) = self.proposed.remove(&done.proposal) else { return };
        let last_signed = if let Act::Revoke(revoke) = &proposed.act {
            self.last_signature(&Scope::Key(revoke.key))
        } else {
            None
        };
        let votes = done.votes.iter().filter_map(|at| self.voted.remove(at)).collect();
        let what = What::Executed { done, at, proposed, votes };
        self.deeds.push(Deed { place, what, last_signed });
    }

    fn last_signature(&self, scope: &Scope) -> Option<Option<Place>> {
        match scope {
            Scope::Key(key) => Some(self.last_signed.get(key).copied()),
            Scope::All | Scope::Caller(_) | Scope::Tag(_) => None,
        }
    }

    fn scope(&self, scope: &Scope) -> String {
        match scope {
            Scope::Key(key) => match self.labels.get(key) {
                Some(label) => format!("key {label} ({key})"),
                None => scope.to_string(),
            },
            Scope::All | Scope::Caller(_) | Scope::Tag(_) => scope.to_string(),
        }
    }

    /// A paragraph a deed; empty if there were none.
    pub(super) fn human(&self, statements: bool) -> String {
        let deeds = self.deeds.iter().map(|deed| {
            let (title, mut lines) = self.lines(deed);
            if let Some(last) = deed.last_signed {
                let last = last.map_or_else(|| "nothing".to_owned(), Place::words);
                lines.push(("last signed", last));
            }
            let lines = fields(&lines).replace('\n', "\n  ");
            let mut text = format!("record {}: {title}\n  {lines}\n", deed.place.sequence);
            if let (true, What::Executed { proposed, .. }) = (statements, &deed.what) {
                text.push_str(&format!("\n{}", proposed.statement));
            }
            text
        });
        deeds.collect::<Vec<_>>().join("\n")
    }

    fn lines(&self, deed: &Deed) -> (String, Vec<(&'static str, String)>) {
        match &deed.what {
            What::Frozen(Frozen { by, reason, scope }) => {
                let by = match by {
                    Actor::Person(person) => person.to_string(),
                    Actor::Order(order) => format!("an order that {} had signed", order.by),
                    Actor::Rescue(signed) => format!("{}, straight on the token", signed.note.by),
                    Actor::Signer | Actor::Trigger(_) => "the signer itself".to_owned(),
                };
                let at = rfc3339(deed.place.at_ms);
                let lines = vec![("stopped by", format!("{by} at {at}: {}", plain(reason)))];
                (format!("freeze {}", self.scope(scope)), lines)
            }
            What::Executed { done, at, proposed, votes } => {
                let (by, reason) = (&proposed.by, plain(&proposed.reason));
                let mut lines = vec![("proposed by", format!("{by}, {}: {reason}", at.words()))];
                for (place, vote) in votes {
                    let why = match vote.reason.as_str() {
                        "" => String::new(),
                        reason => format!(": {}", plain(reason)),
                    };
                    let (by, credential) = (&vote.by, &vote.credential);
                    let said = format!("{by} with {credential}, {}{why}", place.words());
                    lines.push(("approved by", said));
                }
                lines.push(("executed by", format!("{}, {}", done.by, deed.place.words())));
                lines.push(("statement", format!("SHA-256 {}", sha256(&proposed.statement))));
                (people::act(&proposed.act, |scope| self.scope(scope)), lines)
            }
        }
    }

    pub(super) fn json(&self, statements: bool) -> Value {
        self.deeds.iter().map(|deed| self.deed_json(deed, statements)).collect()
    }

    fn deed_json(&self, deed: &Deed, statements: bool) -> Value {
        let mut json = match &deed.what {
            What::Frozen(frozen) => json!({
                "what": format!("freeze {}", self.scope(&frozen.scope)),
                "by": frozen.by,
                "reason": frozen.reason,
            }),
            What::Executed { done, at, proposed, votes } => json!({
                "what": people::act(&proposed.act, |scope| self.scope(scope)),
                "by": done.by,
                "reason": proposed.reason,
                "proposed": { "by": proposed.by, "sequence": at.sequence, "at": rfc3339(at.at_ms) },
                "votes": votes.iter().map(|(place, vote)| json!({
                    "by": vote.by,
                    "vote": people::choice(vote.choice),
                    "credential_id": vote.credential,
                    "reason": vote.reason,
                    "sequence": place.sequence,
                    "at": rfc3339(place.at_ms),
                })).collect::<Vec<_>>(),
                "statement_sha256": sha256(&proposed.statement),
            }),
        };
        let Some(all) = json.as_object_mut() else { return json };
        all.insert("sequence".to_owned(), json!(deed.place.sequence));
        all.insert("at".to_owned(), json!(rfc3339(deed.place.at_ms)));
        if let Some(last) = deed.last_signed {
            let last = last.map(|at| json!({ "sequence": at.sequence, "at": rfc3339(at.at_ms) }));
            all.insert("last_signed_before".to_owned(), json!(last));
        }
        if let (true, What::Executed { proposed, .. }) = (statements, &deed.what) {
            all.insert("statement".to_owned(), json!(proposed.statement));
        }
        json
    }
}

impl Place {
    fn words(self) -> String {
        format!("record {} at {}", self.sequence, rfc3339(self.at_ms))
    }
}

fn sha256(statement: &str) -> String {
    hex::encode(request::sha256(statement.as_bytes()))
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::{BookHash, ChainId, DecisionNumber};
    use portcullis_policy::money::Charges;
    use portcullis_policy::record::{Asked, RecordedInput, RecordedSlot, SignedRecord};
    use portcullis_policy::request::Asker;
    use portcullis_policy::time::{Interval, Millis};

    use super::*;

    fn entry(seq: u64, record: Record) -> Entry {
        let at = Millis(1_763_924_007_042);
        Entry { at: Interval { possible: at, sure: at }, record, seq: Sequence(seq) }
    }

    fn signed(seq: u64, key: KeyId) -> Entry {
        let at = Interval::default();
        let by = Asker {
            caller: "pay".parse().expect("caller"),
            expected: Default::default(),
            key,
            request: "pay-1".parse().expect("id"),
        };
        let input = RecordedInput::Transaction("0x".into());
        let (number, seen) = (DecisionNumber(seq), Sequence(seq));
        let asked = Asked { at, by, digest: Default::default(), input, number, seen };
        let record = SignedRecord {
            asked,
            book: BookHash(Default::default()),
            charge: Charges::default(),
            first_payments: Vec::new(),
            repeats: None,
            signature_sha256: Default::default(),
            slot: RecordedSlot {
                as_safe: false,
                chain: ChainId(1),
                ends: None,
                nonce: Some("0".into()),
            },
            votes: Vec::new(),
        };
        entry(seq, Record::Signed(Box::new(record)))
    }

    #[test]
    fn a_freeze_tells_what_that_key_signed_last_before_it_and_no_other() {
        let (mine, other) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let stop = |seq, scope| {
            let frozen = Frozen { by: Actor::Signer, reason: "alarm".into(), scope };
            entry(seq, Record::Frozen(frozen))
        };
        let mut together = Together::default();
        for entry in [
            signed(2, mine),
            signed(3, mine),
            signed(4, other),
            stop(5, Scope::Key(mine)),
            signed(6, mine),
            stop(7, Scope::All),
        ] {
            together.take(&entry);
        }
        let told = together.human(false);
        let last = "  last signed  record 3 at 2025-11-23T18:53:27.042Z\n";
        assert_eq!(told.matches("last signed").count(), 1, "{told}");
        assert!(told.contains(last), "{told}");
        let json = together.json(false);
        assert_eq!(json[0]["last_signed_before"]["sequence"], 3);
        assert_eq!(json[1].get("last_signed_before"), None);
    }
}
