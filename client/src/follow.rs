//! Goes on with a key's successor: a key that is drained signs for nobody else any more, and says
//! which key takes its place.

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
    /// The key of this label, if the book in force lets us use it.
    ///
    /// # Errors
    ///
    /// As [`Client::list_keys`].
    pub async fn key_labelled(&self, label: &str) -> Result<Option<ListedKey>, SignError> {
        let listed = self.list_keys().await?;
        Ok(listed.into_iter().find(|listed| listed.label == label))
    }

    /// Asks for a signature over a transaction by `key`, and by the key that takes its place once
    /// it is drained: then `key` is that one from then on.
    ///
    /// `build` makes the unsigned EIP-2718 preimage for an account: a successor has nonces and
    /// balances of its own, so nothing of the old account's transaction can be kept. Each account
    /// is asked under a fresh request id.
    ///
    /// The successor's address is the service's word. Whoever keeps a list of addresses to believe
    /// in checks it in `build`, and refuses there.
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction`]; whatever `build` fails with.
    pub async fn sign_transaction_following<E: From<SignError>>(
        &self,
        key: &mut ListedKey,
        mut build: impl AsyncFnMut(Address) -> Result<Vec<u8>, E>,
    ) -> Result<Answer, E> {
        for _ in 0..SUCCESSORS_MAX {
            let preimage = build(key.key.address).await?;
            let id = self.new_request_id();
            let refused = match self.sign_transaction(&key.key, &id, &preimage).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(label) = refused.successor() else { return Err(refused.into()) };
            // One that the book does not let us use is none of ours: the refusal stands.
            let Some(next) = self.key_labelled(label).await? else { return Err(refused.into()) };
            *key = next;
        }
        let preimage = build(key.key.address).await?;
        let id = self.new_request_id();
        Ok(self.sign_transaction(&key.key, &id, &preimage).await?)
    }
}

/// `ErrorInfo.reason` of a key that is drained.
const KEY_DRAINING: &str = "KEY_DRAINING";

/// Keys followed in one call: nobody rotates that often between two payments.
const SUCCESSORS_MAX: usize = 4;
