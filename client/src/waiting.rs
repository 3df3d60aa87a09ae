//! Waiting for people: follows a parked request, and asks again once they have agreed.
//!
//! A stream only says when asking may help; what is handed on is what the service answers to the
//! request itself, checked like any other reply.

use std::time::Duration;

use portcullis_proto::v1;
use tonic::{Code, Streaming};

use crate::client::{Answer, Client, Parked, SignedTransaction};
use crate::error::{CallError, SignError, TransportError};
use crate::key::KeyRef;
use crate::request_id::RequestId;
use crate::retry::spread;
use crate::transport::Transport;

/// How long to bear with a service that is away, or that says "ask" and then parks again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Failures at most, one after another and without a word in between.
    pub failures_max: u32,
    /// Pause after the first; it doubles from there.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Patience {
    /// About ten minutes: longer than a restart or a fail-over, shorter than people notice.
    fn default() -> Self {
        Self {
            failures_max: 64,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
        }
    }
}

/// How far a parked request is, as the service says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// How far.
    pub state: v1::ParkedState,
    /// What is still missing, in the words of the book.
    pub missing: Vec<String>,
    /// Votes in favour that count.
    pub approvals: u32,
    /// When votes are no longer taken, milliseconds since 1970-01-01 UTC.
    pub votes_until_ms: u64,
    /// When it can no longer be signed, milliseconds since 1970-01-01 UTC.
    pub signed_until_ms: u64,
}

/// What happens while a request waits.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// It was parked: as the service answered when it was asked.
    Parked(&'a Parked),
    /// It came further.
    Progress(&'a Progress),
    /// The stream was lost, and is opened again.
    Lost(&'a CallError),
}

/// Why waiting ended without a signature.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Somebody said no. It cannot be signed on these votes any more.
    #[error("{parked_id} was rejected: see who and why before asking for it again")]
    Rejected {
        /// Its name.
        parked_id: String,
    },
    /// It waits no more.
    #[error(
        "{parked_id} waits no more: it expired, was withdrawn, or a new book came. Ask again to \
         begin anew"
    )]
    Ended {
        /// Its name.
        parked_id: String,
    },
    /// The service refused when it was asked, or could not be reached for too long.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Client {
    /// Follows a parked request: how far it is now, and then each change, without deadline.
    ///
    /// # Errors
    ///
    /// The service refused, or could not be reached.
    pub async fn watch_request(&self, parked_id: &str) -> Result<RequestChanges, CallError> {
        let mut service = self.service.clone();
        let request = v1::WatchRequestRequest { parked_id: parked_id.to_owned() };
        let opened = self.transport.within_deadline(service.watch_request(request)).await?;
        Ok(RequestChanges { changes: opened.into_inner(), transport: self.transport.clone() })
    }

    /// Takes back a parked request of our own, and gives the record's sequence number. What people
    /// agreed to is void.
    ///
    /// # Errors
    ///
    /// The service refused, or could not be reached.
    pub async fn withdraw_request(&self, parked_id: &str) -> Result<u64, CallError> {
        let request = v1::WithdrawRequestRequest { parked_id: parked_id.to_owned() };
        let reply = self.service.clone().withdraw_request(self.transport.request(request)).await;
        let reply = reply.map_err(|status| self.transport.error(&status))?;
        Ok(reply.into_inner().sequence)
    }

    /// Asks for a signature over a transaction and, if it is parked, waits until people have
    /// decided. May take days; dropping the future stops waiting and withdraws nothing.
    ///
    /// # Errors
    ///
    /// It was rejected, waits no more, was refused, or the service was away for too long.
    pub async fn sign_transaction_when_approved(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        preimage: &[u8],
        on_change: impl FnMut(Change<'_>),
    ) -> Result<SignedTransaction, WaitError> {
        let ask = || self.sign_transaction(key, request_id, preimage);
        self.when_approved(Patience::default(), ask, on_change).await
    }

    /// The same for anything that can be asked for: `ask` makes the same request each time.
    ///
    /// ```no_run
    /// # use portcullis_client::{Client, KeyRef, Patience, SignedDigest, WaitError};
    /// # async fn example(client: Client, key: KeyRef) -> Result<SignedDigest, WaitError> {
    /// let id = client.new_request_id();
    /// let ask = || client.sign_message(&key, &id, b"example.com wants you to sign in ..");
    /// client.when_approved(Patience::default(), ask, |change| eprintln!("{change:?}")).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction_when_approved`].
    pub async fn when_approved<S, A>(
        &self,
        patience: Patience,
        mut ask: impl FnMut() -> A,
        mut on_change: impl FnMut(Change<'_>),
    ) -> Result<S, WaitError>
    where
        A: Future<Output = Result<Answer<S>, SignError>>,
    {
        let mut calm = Calm::new(patience);
        loop {
            let parked = match ask().await {
                Ok(Answer::Signed(signed)) => return Ok(signed),
                Ok(Answer::Parked(parked)) => parked,
                Err(error) if is_away(&error) => {
                    calm.pause(error).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            on_change(Change::Parked(&parked));
            self.until_asking_helps(&parked.parked_id, &mut calm, &mut on_change).await?;
            // Ready and parked again can follow each other: a vote that is not old enough, a state
            // that moved on. Never without a pause.
            calm.rest().await;
        }
    }

    async fn until_asking_helps(
        &self,
        parked_id: &str,
        calm: &mut Calm,
        on_change: &mut impl FnMut(Change<'_>),
    ) -> Result<(), WaitError> {
        let ended = || WaitError::Ended { parked_id: parked_id.to_owned() };
        loop {
            let mut changes = match self.watch_request(parked_id).await {
                Ok(changes) => changes,
                Err(CallError::Refused(no)) if no.code() == Code::NotFound => return Err(ended()),
                Err(error) => {
                    calm.lost(error, on_change).await?;
                    continue;
                }
            };
            loop {
                let progress = match changes.next().await {
                    Ok(Some(progress)) => progress,
                    Ok(None) => {
                        let ended = CallError::Unreachable(self.transport.ended());
                        calm.lost(ended, on_change).await?;
                        break;
                    }
                    Err(error) => {
                        calm.lost(error, on_change).await?;
                        break;
                    }
                };
                on_change(Change::Progress(&progress));
                match progress.state {
                    v1::ParkedState::Ready | v1::ParkedState::Signed | v1::ParkedState::Refused => {
                        return Ok(());
                    }
                    v1::ParkedState::Rejected => {
                        return Err(WaitError::Rejected { parked_id: parked_id.to_owned() });
                    }
                    v1::ParkedState::Ended => return Err(ended()),
                    v1::ParkedState::Waiting
                    | v1::ParkedState::Expiring
                    | v1::ParkedState::Unspecified => calm.heard(),
                }
            }
        }
    }
}

/// A parked request as it changes.
#[derive(Debug)]
pub struct RequestChanges {
    changes: Streaming<v1::WatchRequestResponse>,
    transport: Transport,
}

impl RequestChanges {
    /// The next change, or `None` at the end.
    ///
    /// # Errors
    ///
    /// The service refused, or the stream was lost.
    pub async fn next(&mut self) -> Result<Option<Progress>, CallError> {
        let next = self.changes.message().await;
        let next = next.map_err(|status| self.transport.error(&status))?;
        Ok(next.map(|change| Progress {
            state: change.state(),
            missing: change.missing,
            approvals: change.approvals,
            votes_until_ms: change.votes_until_ms,
            signed_until_ms: change.signed_until_ms,
        }))
    }
}

/// Patience as it is used up.
struct Calm {
    patience: Patience,
    failures: u32,
    next: Duration,
    /// The next pause between asking and asking again.
    rest: Duration,
}

impl Calm {
    fn new(patience: Patience) -> Self {
        let first = patience.pause_first;
        Self { patience, failures: 0, next: first, rest: first }
    }

    fn heard(&mut self) {
        (self.failures, self.next) = (0, self.patience.pause_first);
    }

    async fn lost(
        &mut self,
        error: CallError,
        on_change: &mut impl FnMut(Change<'_>),
    ) -> Result<(), WaitError> {
        on_change(Change::Lost(&error));
        self.pause(error.into()).await
    }

    /// Waits, or gives the error back if there was enough of it or waiting cannot help.
    async fn pause(&mut self, error: SignError) -> Result<(), WaitError> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.patience.failures_max || !is_away(&error) {
            return Err(error.into());
        }
        let wanted = error.retry_after().unwrap_or_default().max(self.next);
        tokio::time::sleep(spread(wanted.min(self.patience.pause_max))).await;
        self.next = self.next.saturating_mul(2);
        Ok(())
    }

    async fn rest(&mut self) {
        tokio::time::sleep(spread(self.rest.min(self.patience.pause_max))).await;
        self.rest = self.rest.saturating_mul(2).min(self.patience.pause_max);
    }
}

/// Whether waiting can help: throttled, starting, or not there.
fn is_away(error: &SignError) -> bool {
    match error {
        SignError::Refused(refusal) => {
            matches!(refusal.code(), Code::Unavailable | Code::ResourceExhausted)
        }
        SignError::Unreachable(error) => TransportError::is_retryable(error),
        SignError::Untrusted(_) => false,
    }
}
