//! Goes on with a key's successor: a key that is drained signs for nobody else any more, and says
//! which key takes its place. Once it is ended, the listing of keys says so.

use std::time::Duration;

use alloy_primitives::Address;

use crate::client::{Answer, Client, ListedKey};
use crate::error::{Refusal, SignError};

impl Refusal {
    /// The label of the key that takes the place of one that is drained, if that is why the service
    /// said no, and if there is one.
    pub fn successor(&self) -> Option<&str> {
        let drained = self.reason() == Some(KEY_DRAINING);
        let label = self.metadata().get("saw").filter(|label| !label.is_empty());
        label.filter(|_| drained).map(String::as_str)
    }
}

impl SignError {
    /// As [`Refusal::successor`].
    pub fn successor(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.successor(),
            Self::Unreachable(_) | Self::Untrusted(_) => None,
        }
    }
}

impl Client {
    /// The key of this label, if the book in force lets us use it; or the one that takes its place,
    /// once it is drained or ended.
    ///
    /// # Errors
    ///
    /// As [`Client::list_keys`].
    pub async fn key_labelled(&self, label: &str) -> Result<Option<ListedKey>, SignError> {
        Ok(labelled(self.list_keys().await?, label))
    }

    /// Asks for a signature over a transaction by `key`, and by the key that takes its place once
    /// it is drained or ended: then `key` is that one from then on.
    ///
    /// `build` makes the unsigned EIP-2718 preimage for an account: a successor has nonces and
    /// balances of its own, so nothing of the old account's transaction can be kept. Each account
    /// is asked under a fresh request id. (No `AsyncFnMut`: a task that calls this with one that
    /// borrows anything could not be spawned.)
    ///
    /// The successor's address is the service's word. Whoever keeps a list of addresses to believe
    /// in checks it in `build`, and refuses there.
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction`]; whatever `build` fails with.
    pub async fn sign_transaction_following<E, F>(
        &self,
        key: &mut ListedKey,
        mut build: impl FnMut(Address) -> F,
    ) -> Result<Answer, E>
    where
        E: From<SignError>,
        F: Future<Output = Result<Vec<u8>, E>>,
    {
        for _ in 0..SUCCESSORS_MAX {
            let preimage = build(key.key.address).await?;
            let id = self.new_request_id();
            let refused = match self.sign_transaction(&key.key, &id, &preimage).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // One that the book does not let us use is none of ours: the refusal stands.
            let Some(next) = self.next(key, &refused).await? else { return Err(refused.into()) };
            *key = next;
        }
        let preimage = build(key.key.address).await?;
        let id = self.new_request_id();
        Ok(self.sign_transaction(&key.key, &id, &preimage).await?)
    }

    /// The key that takes the place of one, if that is why it was refused.
    async fn next(
        &self,
        key: &ListedKey,
        refused: &SignError,
    ) -> Result<Option<ListedKey>, SignError> {
        if !refused.reason().is_some_and(|reason| ENDED.contains(&reason)) {
            return Ok(None);
        }
        for _ in 0..LOOKS_MAX {
            let listed = self.list_keys().await?;
            let own = listed.iter().find(|one| one.key.id == key.key.id);
            // A stop holds before it is on record, and so does the beginning of a drain: while the
            // listing does not know of the one that refused us, it is older than the refusal.
            let is_older = refused.reason() == Some(FROZEN) && own.is_some_and(|own| !own.frozen);
            let next = successor(listed, key, refused);
            if next.is_some() || !is_older {
                return Ok(next);
            }
            tokio::time::sleep(LOOKED_AFTER).await;
        }
        Ok(None)
    }
}

fn labelled(mut listed: Vec<ListedKey>, label: &str) -> Option<ListedKey> {
    let place = listed.iter().position(|one| one.label == label).or_else(|| {
        let replaces = |one: &ListedKey| one.replaces.iter().any(|old| old == label);
        listed.iter().position(replaces)
    });
    place.map(|place| listed.swap_remove(place))
}

/// The one that the refusal names, or the one that takes the place of the key.
fn successor(listed: Vec<ListedKey>, key: &ListedKey, refused: &SignError) -> Option<ListedKey> {
    let label = refused.successor();
    let is_it = |one: &ListedKey| match label {
        Some(label) => one.label == label || one.replaces.iter().any(|old| *old == label),
        None => one.replaces.contains(&key.label),
    };
    listed.into_iter().find(|one| one.key.id != key.key.id && is_it(one))
}

/// `ErrorInfo.reason` of a key that is drained.
const KEY_DRAINING: &str = "KEY_DRAINING";

/// The same of all that a key can be refused for once another takes its place: its drain keeps back
/// what was signed before it, ends in a stop, and then the key is ended.
const ENDED: [&str; 3] = [KEY_DRAINING, FROZEN, "KEY_REVOKED"];
const FROZEN: &str = "FROZEN";

/// Keys followed in one call: nobody rotates that often between two payments.
const SUCCESSORS_MAX: usize = 4;

/// How often a listing that is older than a refusal is asked for again, and after what time: a stop
/// is on record within one write to the disk.
const LOOKS_MAX: usize = 20;
const LOOKED_AFTER: Duration = Duration::from_millis(50);
