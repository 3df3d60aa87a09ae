//! Asking again, a bounded number of times. Safe because the request id stays the same: the
//! service charges it once.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tonic::Code;

use crate::error::SignError;

/// How often to ask again when the service is unavailable or the connection is lost, and how long
/// to pause. Throttling and refusals are handed back at once: more load would make them worse.
///
/// ```no_run
/// # use portcullis_client::{Answer, Client, KeyRef, Retry, SignError};
/// # async fn example(client: Client, key: KeyRef, preimage: &[u8]) -> Result<Answer, SignError> {
/// let id = client.new_request_id();
/// Retry::default().run(|| client.sign_transaction(&key, &id, preimage)).await
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Calls at most, the first included; zero counts as one.
    pub calls_max: u32,
    /// Pause before the second call; it doubles from there.
    pub pause_first: Duration,
    /// Longest pause. If the service asks for a longer one, its error is handed back instead.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// Four calls within about a second: long enough for a reconnect, short enough for a caller.
    fn default() -> Self {
        Self {
            calls_max: 4,
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(2),
        }
    }
}

impl Retry {
    /// Calls until it succeeds, fails for good, or the calls are used up.
    ///
    /// # Errors
    ///
    /// That of the last call.
    pub async fn run<T, F, Fut>(&self, mut call: F) -> Result<T, SignError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, SignError>>,
    {
        let mut pause = self.pause_first;
        for _ in 1..self.calls_max {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wanted = error.retry_after().unwrap_or_default().max(pause);
            if !is_outage(&error) || error.retry_after() > Some(self.pause_max) {
                return Err(error);
            }
            tokio::time::sleep(spread(wanted.min(self.pause_max))).await;
            pause = pause.saturating_mul(2);
        }
        call().await
    }
}

/// Whether the service was away, rather than unwilling.
fn is_outage(error: &SignError) -> bool {
    match error {
        SignError::Refused(refusal) => refusal.code() == Code::Unavailable,
        SignError::Unreachable(error) => error.is_retryable(),
        SignError::Untrusted(_) => false,
    }
}

/// Up to a quarter longer, so that callers that failed together do not return together.
pub(crate) fn spread(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(pause);
    let [low, ..] = random.to_le_bytes();
    let extra = pause.saturating_mul(u32::from(low)).checked_div(4 * 256).unwrap_or_default();
    pause.saturating_add(extra)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "test")]
mod tests {
    use std::cell::Cell;

    use tonic::Status;

    use super::*;
    use crate::error::Refusal;

    const QUICK: Retry = Retry {
        calls_max: 3,
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(4),
    };

    fn refused(status: Status) -> SignError {
        SignError::Refused(Box::new(Refusal::from(&status)))
    }

    async fn calls_made(make: impl Fn() -> SignError) -> u32 {
        let calls = Cell::new(0);
        let result: Result<(), _> = QUICK
            .run(|| {
                calls.set(calls.get() + 1);
                std::future::ready(Err(make()))
            })
            .await;
        assert!(result.is_err());
        calls.get()
    }

    #[tokio::test]
    async fn an_outage_is_retried_as_often_as_allowed_and_no_more() {
        assert_eq!(calls_made(|| refused(Status::unavailable("starting"))).await, 3);
    }

    #[tokio::test]
    async fn a_refusal_throttling_and_a_lie_are_not_retried() {
        assert_eq!(calls_made(|| refused(Status::permission_denied("no"))).await, 1);
        assert_eq!(calls_made(|| refused(Status::resource_exhausted("slow"))).await, 1);
        assert_eq!(calls_made(|| crate::UntrustedReply::HighS.into()).await, 1);
    }

    #[tokio::test]
    async fn a_wait_longer_than_we_are_ready_for_is_handed_back() {
        use tonic_types::{ErrorDetails, StatusExt as _};
        let long = || {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(60)));
            refused(Status::with_error_details(Code::Unavailable, "down", details))
        };
        assert_eq!(calls_made(long).await, 1);
    }

    #[tokio::test]
    async fn success_after_an_outage_is_handed_on() {
        let calls = Cell::new(0);
        let result = QUICK
            .run(|| {
                calls.set(calls.get() + 1);
                std::future::ready(match calls.get() {
                    1 => Err(refused(Status::unavailable("starting"))),
                    n => Ok(n),
                })
            })
            .await;
        assert_eq!(result.expect("success"), 2);
    }
}
