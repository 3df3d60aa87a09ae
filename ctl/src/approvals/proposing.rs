//! What every verb does that takes a quorum: executes what was agreed to, says what is missing of
//! what waits, and proposes what nobody proposed yet.

use portcullis_client::wire::{Approval, ApprovalState, ExecuteResponse, ReadJournalRequest};
use portcullis_client::{CallError, Code, ControlClient};
use portcullis_policy::act::Act;
use portcullis_policy::record::{Entry, Record};
use serde_json::{Value, json};

use crate::approvals::words;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

/// An act, and why.
pub(crate) struct Wanted {
    pub(crate) act: Act,
    pub(crate) reason: String,
}

/// A proposal of an act, and how far it is.
pub(crate) struct Asked {
    pub(crate) approval: Approval,
    /// Whether nobody had proposed it yet.
    is_new: bool,
    /// Whether the same command would find it.
    found_again: bool,
}

impl Wanted {
    /// Done if it can be, and else as far as it can be taken.
    pub(crate) async fn settle(
        self,
        control: &ControlClient,
        output: &Output,
    ) -> Result<Exit, Failure> {
        let asked = self.ask(control, output).await?;
        if !words::is_ready(&asked.approval) {
            return asked.waits(output);
        }
        let live = asked.approval;
        let done = control.execute(&live.id).await?;
        let mut human = vec![("agreed", words::voters(&live))];
        human.extend(self::done(&done));
        output.result(&fields(&human), &done_json(&live.id, &done))?;
        Ok(Exit::Done)
    }

    /// Proposes it if nobody did yet. Nothing is done by that.
    pub(crate) async fn ask(
        &self,
        control: &ControlClient,
        output: &Output,
    ) -> Result<Asked, Failure> {
        let (live, found_again) = self.live(control, output).await?;
        if let Some(approval) = live {
            return Ok(Asked { approval, is_new: false, found_again });
        }
        let act = serde_json::to_string(&self.act)?;
        let approval = control.propose(&act, &self.reason).await?;
        Ok(Asked { approval, is_new: true, found_again })
    }

    /// A proposal of exactly this that waits already: one that is ready, else the newest. The
    /// record that proposed it says what it is, word for word. And whether it could be compared.
    async fn live(
        &self,
        control: &ControlClient,
        output: &Output,
    ) -> Result<(Option<Approval>, bool), Failure> {
        let listed = control.list_approvals().await?.approvals;
        let mut same = Vec::new();
        for approval in listed.into_iter().filter(|one| one.proposal && words::is_live(one)) {
            let act = match proposed_act(control, approval.sequence).await {
                Ok(act) => act,
                Err(CallError::Refused(no)) if no.code() == Code::PermissionDenied => {
                    output.note(
                        "note: your roles do not let you read the journal, so what waits already \
                         cannot be compared: see portctl approvals list",
                    );
                    return Ok((None, false));
                }
                Err(error) => return Err(error.into()),
            };
            if act.is_some_and(|act| is_same(&self.act, &act)) {
                same.push(approval);
            }
        }
        let ready = same.iter().position(|one| one.state() == ApprovalState::Ready);
        let found = match ready {
            Some(place) => Some(same.swap_remove(place)),
            None => same.pop(),
        };
        Ok((found, true))
    }
}

/// Whether somebody proposed it already. How far sure time is behind is read anew each time, by
/// clocks that do not tick alike.
fn is_same(wanted: &Act, proposed: &Act) -> bool {
    if let (Act::AcceptTime(wanted), Act::AcceptTime(proposed)) = (wanted, proposed) {
        return wanted.behind().0.abs_diff(proposed.behind().0) <= CLOCKS_APART_MAX_MS;
    }
    wanted == proposed
}

/// What clocks drift apart while people vote, and then some.
const CLOCKS_APART_MAX_MS: u64 = 60_000;

async fn proposed_act(control: &ControlClient, at: u64) -> Result<Option<Act>, CallError> {
    let request = ReadJournalRequest { from_sequence: at, follow: false, limit: 1 };
    let mut journal = control.read_journal(request).await?;
    while let Some(batch) = journal.next().await? {
        let Some(line) = batch.lines.iter().find(|line| line.sequence == at) else { continue };
        let Ok(entry) = Entry::decode(&line.content) else { return Ok(None) };
        return Ok(if let Record::Proposed(one) = entry.record { Some(one.act) } else { None });
    }
    Ok(None)
}

impl Asked {
    fn waits(&self, output: &Output) -> Result<Exit, Failure> {
        let word = if self.is_new { "proposed" } else { "waits" };
        waits(word, &self.approval, self.found_again, output)
    }
}

/// `again`: whether the same command would find it.
fn waits(
    word: &'static str,
    approval: &Approval,
    again: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let id = &approval.id;
    let mut human = vec![(word, id.clone()), ("what", words::plain(&approval.summary))];
    human.extend(approval.takes.iter().map(|takes| ("takes", words::plain(takes))));
    human.extend(approval.votes.iter().map(|ballot| ("vote", words::vote(ballot))));
    if approval.votes.is_empty() {
        human.push(("votes", "none yet".to_owned()));
    }
    human.push(("votes until", portcullis_policy::utc::rfc3339(approval.votes_until_ms)));
    human.push(("time left", words::left(approval)));
    human.push(("voters type", words::voters_type(approval)));
    let again = if again { ", or this command again" } else { "" };
    human.push(("and then", format!("portctl approvals execute {id}{again}")));
    let json = json!({ "status": "waiting", "approval": words::json(approval) });
    output.result(&fields(&human), &json)?;
    Ok(Exit::Parked)
}

/// What was done.
pub(crate) fn done(done: &ExecuteResponse) -> Vec<(&'static str, String)> {
    vec![("done", words::plain(&done.summary)), ("record", done.sequence.to_string())]
}

pub(crate) fn done_json(id: &str, done: &ExecuteResponse) -> Value {
    json!({
        "status": "done",
        "proposal": id,
        "summary": done.summary,
        "sequence": done.sequence,
    })
}
