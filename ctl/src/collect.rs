//! `sign --wait`: stays until people have decided, and says what happens meanwhile.

use portcullis_client::wire::ParkedState;
use portcullis_client::{Answer, Change, Client, Patience, Progress, SignError};
use portcullis_policy::utc::rfc3339;

use crate::approvals::words::plain;
use crate::failure::Failure;
use crate::output::Output;

/// How an answer is collected.
pub(crate) struct Collect<'a> {
    pub(crate) client: &'a Client,
    pub(crate) wait: bool,
    pub(crate) output: &'a Output,
}

impl Collect<'_> {
    /// Asks once; or again and again, until it is signed or cannot be any more.
    pub(crate) async fn answer<S, A>(
        &self,
        mut ask: impl FnMut() -> A,
    ) -> Result<Answer<S>, Failure>
    where
        A: Future<Output = Result<Answer<S>, SignError>>,
    {
        if !self.wait {
            return Ok(ask().await?);
        }
        let mut last = String::new();
        let on_change = |change: Change<'_>| {
            let said = words(change);
            if said != last {
                self.output.note(&said);
                last = said;
            }
        };
        let signed = self.client.when_approved(Patience::default(), ask, on_change).await?;
        Ok(Answer::Signed(signed))
    }
}

fn words(change: Change<'_>) -> String {
    match change {
        Change::Parked(parked) => {
            let (id, missing) = (plain(&parked.parked_id), plain(&parked.missing.join(" and ")));
            format!("parked: waits for {missing}; voters see it with: portctl approvals show {id}")
        }
        Change::Progress(progress) => progress_words(progress),
        Change::Lost(error) => format!("lost sight of it, looking again: {error}"),
    }
}

fn progress_words(progress: &Progress) -> String {
    let Progress { state, missing, approvals, votes_until_ms, signed_until_ms } = progress;
    let missing = plain(&missing.join(" and "));
    let until = rfc3339(*votes_until_ms);
    match state {
        ParkedState::Waiting => {
            format!("waiting: {approvals} in favour, missing {missing}, votes until {until}")
        }
        ParkedState::Expiring => {
            format!("EXPIRING: {approvals} in favour, missing {missing}, votes until {until}")
        }
        ParkedState::Ready => {
            format!(
                "ready: {approvals} in favour, to be signed until {}",
                rfc3339(*signed_until_ms)
            )
        }
        ParkedState::Signed => "signed".to_owned(),
        ParkedState::Rejected => "rejected".to_owned(),
        ParkedState::Ended => "ended".to_owned(),
        ParkedState::Refused => "agreed to, and something else forbids it now".to_owned(),
        ParkedState::Unspecified => "in a state that this portctl does not know".to_owned(),
    }
}
