//! What a record says of itself that follows from its place, and who may do what.

use alloy_primitives::{Address, keccak256};

use super::Level;
use super::replay::Replay;
use crate::book::Book;
use crate::record::{Actor, Entry, Frozen, Proposed, Record, Role, Trigger};

impl Replay<'_> {
    /// What a record says of itself that follows from its place.
    pub(super) fn place(&mut self, entry: &Entry) {
        if entry.at.possible < entry.at.sure {
            self.report.wrong(entry.seq, "possible time lies before sure time");
        }
        let at_once = matches!(entry.record, Record::Denied(_) | Record::Parked(_));
        let place = entry.record.asked().map(|asked| (asked.seen.next(), asked.at));
        if at_once && place != Some((entry.seq, entry.at)) {
            self.report.wrong(entry.seq, "not recorded when it was decided");
        }
        if let Record::Started(started) = &entry.record
            && !self.state.unreported().iter().eq(&started.lost)
        {
            self.report.wrong(entry.seq, "names other decisions as lost than are missing");
        }
        if let Record::Proposed(proposed) = &entry.record {
            let Proposed { act, by, reason, .. } = &**proposed;
            let new = (by, act.clone(), reason.clone());
            let again = self.state.propose_as_it_is(new, entry.at);
            if again.ok().as_ref() != Some(&**proposed) {
                self.report.found(
                    Level::People,
                    entry.seq,
                    "this could not be proposed, or not in these words",
                );
            }
        }
        if let Record::KeyCreated(created) = &entry.record
            && address_of(&created.point) != Some(created.address)
        {
            self.report.wrong(entry.seq, "the key's address is not that of its public point");
        }
    }

    /// People may do only what their roles allow, and books may only narrow.
    pub(super) fn authority(&mut self, entry: &Entry) {
        let may = |person, roles: &[Role]| self.state.people().may(person, roles);
        // Whoever is suspended still stops, and does nothing else.
        let acts = |person, roles: &[Role]| {
            may(person, roles)
                && self.state.people().member(person).is_some_and(|one| !one.suspended)
        };
        let wrong = if let Record::KeyIntended(key) = &entry.record {
            let wrong = !acts(&key.by, &[Role::Operator]);
            wrong.then(|| "a key made by somebody who may not".to_owned())
        } else if let Record::Frozen(Frozen { by: Actor::Person(person), .. }) = &entry.record {
            let wrong = !may(person, &[Role::Security]);
            wrong.then(|| "a stop by somebody who may not".to_owned())
        } else if let Record::Frozen(Frozen {
            by: Actor::Trigger(Trigger::UsedElsewhere(told)),
            ..
        }) = &entry.record
        {
            let wrong = !may(&told.by, &[Role::Watcher]);
            wrong.then(|| "a stop on the report of somebody who may not".to_owned())
        } else if let Record::Settled(settled) = &entry.record {
            let wrong = !may(&settled.by, &[Role::Watcher]);
            wrong.then(|| "a settlement reported by somebody who may not".to_owned())
        } else if let Record::Priced(priced) = &entry.record {
            let wrong = !may(&priced.by, &[Role::Pricer]);
            wrong.then(|| "prices reported by somebody who may not".to_owned())
        } else if let Record::Proposed(proposed) = &entry.record {
            let wrong = !may(&proposed.by, &Role::VOTERS);
            wrong.then(|| "a proposal by somebody who may not".to_owned())
        } else if let Record::Executed(executed) = &entry.record {
            let wrong = !may(&executed.by, &Role::VOTERS);
            wrong.then(|| "something done at the word of somebody who may not".to_owned())
        } else if let Record::Adopted(adopted) = &entry.record {
            let allowed = acts(&adopted.by, &[Role::Operator, Role::Security]);
            let wider = Book::parse(&adopted.book).map(|new| self.state.book().difference(&new));
            let wider = wider.map(|difference| difference.wider).unwrap_or_default();
            if !allowed {
                Some("a book adopted by somebody who may not".to_owned())
            } else if wider.is_empty() {
                None
            } else {
                Some(format!("a book that widens without a quorum: {}", wider.join("; ")))
            }
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.report.found(Level::People, entry.seq, wrong);
        }
    }
}

/// The address of a public point in uncompressed SEC1 form, as hex. That it lies on the curve was
/// checked by whoever verified a signature with it.
fn address_of(point: &str) -> Option<Address> {
    let bytes = hex::decode(point).ok().filter(|bytes| bytes.len() == 65)?;
    let hash = keccak256(bytes.strip_prefix(&[4])?);
    hash.last_chunk::<20>().map(Address::from)
}
