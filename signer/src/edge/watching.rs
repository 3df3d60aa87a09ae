//! Follows everything that waits, for one person who looks. Holds no rule.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_policy::id::PersonId;
use portcullis_policy::record::Matter;
use portcullis_proto::v1::{Approval, ApprovalState, WatchApprovalsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::approvals::{Detail, READERS, approval};
use super::places::Place;
use crate::refusal::Refusal;
use crate::roster;
use crate::sequencer::{Sequencer, Standing};

/// Everything that waits, and then each thing whose looks have changed.
pub(super) type Changes = ReceiverStream<Result<WatchApprovalsResponse, Status>>;

/// Begins to tell whoever has a certificate of this name: as long as that is a person who may look.
pub(super) fn begin(sequencer: Sequencer, name: String, place: Place) -> Changes {
    let (changes, stream) = mpsc::channel(CHANGES_AHEAD_MAX);
    tokio::spawn(watch(sequencer, name, changes, place));
    ReceiverStream::new(stream)
}

/// Ends when nobody listens any more, and the writer has answered what it was asked: until then the
/// place is taken.
async fn watch(
    sequencer: Sequencer,
    name: String,
    changes: mpsc::Sender<Result<WatchApprovalsResponse, Status>>,
    _place: Place,
) {
    let mut moved = sequencer.matter_changes();
    let (mut told, mut caught_up) = (Told::default(), false);
    loop {
        moved.borrow_and_update();
        let fresh = match look(&sequencer, &name, &mut told).await {
            Ok(fresh) => fresh,
            Err(refusal) => return drop(changes.send(Err(refusal.into())).await),
        };
        for approval in fresh {
            let change = WatchApprovalsResponse { approval: Some(approval), caught_up: false };
            if changes.send(Ok(change)).await.is_err() {
                return;
            }
        }
        if !std::mem::replace(&mut caught_up, true) {
            let all = WatchApprovalsResponse { approval: None, caught_up: true };
            if changes.send(Ok(all)).await.is_err() {
                return;
            }
        }
        // Things also expire, and votes ripen, while nobody does anything.
        tokio::select! {
            ended = moved.changed() => if ended.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = changes.closed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AT_MOST_EVERY) => {}
            () = changes.closed() => return,
        }
    }
}

/// Looks at everything that waits, and says what has changed since the last look.
async fn look(
    sequencer: &Sequencer,
    name: &str,
    told: &mut Told,
) -> Result<Vec<Approval>, Refusal> {
    let present = roster::person(&sequencer.view(), name, READERS)?;
    let (standings, more) = sequencer.matters(Some(present.person().clone())).await?;
    let listed = standings.iter().map(|one| (one.matter.clone(), approval(one, Detail::InList)));
    let mut now: BTreeMap<Matter, Approval> = listed.collect();
    let mut changed = Vec::new();
    for matter in told.unlisted(&now, more) {
        // The list is of bounded length: what is not in a full one may wait all the same.
        let waits =
            if more == 0 { None } else { one(sequencer, &matter, present.person()).await? };
        match waits {
            Some(standing) => drop(now.insert(matter, approval(&standing, Detail::InList))),
            None => changed.extend(told.end(&matter)),
        }
    }
    changed.extend(told.update(now));
    Ok(changed)
}

/// One thing, if it waits.
async fn one(
    sequencer: &Sequencer,
    matter: &Matter,
    person: &PersonId,
) -> Result<Option<Standing>, Refusal> {
    match sequencer.matter(matter.clone(), Some(person.clone())).await {
        Ok(standing) => Ok(Some(standing)),
        Err(Refusal::NotFound { .. }) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// What was told and has not ended, as it was told last.
#[derive(Default)]
struct Told {
    known: BTreeMap<Matter, Approval>,
    /// Where the last look at what was not listed stopped.
    looked_to: Option<Matter>,
}

impl Told {
    /// What is known and not listed. If there is more than a list holds, only so much of it, and
    /// the rest in the looks after this one.
    fn unlisted(&mut self, listed: &BTreeMap<Matter, Approval>, more: usize) -> Vec<Matter> {
        // Each is then a question to the writer.
        let most = if more == 0 { usize::MAX } else { UNLISTED_PER_LOOK_MAX };
        let last = self.looked_to.as_ref();
        let after = self.known.keys().filter(|matter| Some(*matter) > last);
        let before = self.known.keys().filter(|matter| Some(*matter) <= last);
        let unlisted = after.chain(before).filter(|matter| !listed.contains_key(*matter));
        let unlisted: Vec<Matter> = unlisted.take(most).cloned().collect();
        self.looked_to = unlisted.last().cloned();
        unlisted
    }

    /// It waits no more: what is told of it, once.
    fn end(&mut self, matter: &Matter) -> Option<Approval> {
        let approval = self.known.remove(matter)?;
        Some(Approval { state: ApprovalState::Ended.into(), asks_you: false, ..approval })
    }

    /// What of this is told: what is new, and what looks otherwise than before.
    fn update(&mut self, now: BTreeMap<Matter, Approval>) -> Vec<Approval> {
        let mut fresh = Vec::new();
        for (matter, approval) in now {
            if self.known.get(&matter) != Some(&approval) {
                fresh.push(approval.clone());
                self.known.insert(matter, approval);
            }
        }
        fresh
    }
}

/// Changes sent before the watcher has taken the one before.
const CHANGES_AHEAD_MAX: usize = 16;

/// Things that are known and not listed: so many are asked for in one look.
const UNLISTED_PER_LOOK_MAX: usize = 64;

/// Without any record, things are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// However many records come, things are not looked at more often: the writer makes the list.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Range;

    use portcullis_policy::id::Sequence;

    use super::*;

    fn matter(number: u64) -> Matter {
        Matter::Proposal(Sequence(number))
    }

    fn list(numbers: Range<u64>) -> BTreeMap<Matter, Approval> {
        let looks = |id: &Matter| Approval { id: id.to_string(), ..Approval::default() };
        let matters = numbers.map(matter);
        matters.map(|matter| (matter.clone(), looks(&matter))).collect()
    }

    #[test]
    fn what_falls_out_of_a_full_list_is_known_until_it_ends_and_ends_once() {
        let mut told = Told::default();
        assert_eq!(told.update(list(0..3)).len(), 3);
        for _ in 0..2 {
            assert_eq!(told.unlisted(&list(2..4), 2), [matter(0), matter(1)]);
            told.update(list(2..4));
        }
        let ended = told.end(&matter(0)).unwrap();
        assert_eq!((ended.id.as_str(), ended.state()), ("p0", ApprovalState::Ended));
        assert!(told.end(&matter(0)).is_none());
        assert_eq!(told.unlisted(&list(2..4), 2), [matter(1)]);
        assert!(told.update(list(1..4)).is_empty(), "nothing is told twice");
    }

    #[test]
    fn however_much_is_known_and_not_listed_each_gets_its_look() {
        let mut told = Told::default();
        told.update(list(0..100));
        let (first, second) = (told.unlisted(&list(0..1), 9), told.unlisted(&list(0..1), 9));
        assert_eq!(first.len(), UNLISTED_PER_LOOK_MAX);
        let seen: BTreeSet<Matter> = first.into_iter().chain(second).collect();
        assert_eq!(seen.len(), 99);
        assert_eq!(told.unlisted(&list(0..1), 0).len(), 99, "nobody is asked about these");
    }
}
