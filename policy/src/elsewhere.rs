//! Whether an account's transaction count proves that somebody else signs with its key.
//!
//! A nonce is used up by a transaction or an authorization that the key signed; keys are born here,
//! so a count above all that was ever signed here is proof. But for one case: an account that was
//! let run code (EIP-7702) uses up nonces by contracts that this code creates, whoever calls it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{ChainId, KeyId};

/// What is known of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    /// Accounts that were ever let run code.
    delegated: BTreeSet<(KeyId, ChainId)>,
    /// The highest count for which a key was stopped.
    alarmed: BTreeMap<(KeyId, ChainId), u64>,
}

impl Elsewhere {
    /// Notes that an account may run code from now on. Also if that ends: it may have created
    /// contracts before.
    pub(crate) fn delegate(&mut self, key: KeyId, chain: ChainId) {
        self.delegated.insert((key, chain));
    }

    /// Whether a count above all that was signed proves anything.
    pub(crate) fn proves(&self, key: KeyId, chain: ChainId) -> bool {
        !self.delegated.contains(&(key, chain))
    }

    /// Notes that a key was stopped because of this count.
    pub(crate) fn alarmed(&mut self, key: KeyId, chain: ChainId, nonce: u64) {
        let known = self.alarmed.entry((key, chain)).or_default();
        *known = nonce.max(*known);
    }

    /// Notes that a report of the chain could be believed: one before that could not may have been
    /// wrong.
    pub(crate) fn accepted(&mut self, key: KeyId, chain: ChainId) {
        self.alarmed.remove(&(key, chain));
    }

    /// Whether a count tells of more use elsewhere than was known: whoever starts a key again, or
    /// drains it, is not stopped by the same once more.
    pub(crate) fn is_news(&self, key: KeyId, chain: ChainId, nonce: u64) -> bool {
        self.alarmed.get(&(key, chain)).is_none_or(|known| nonce > *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId::from_bytes([1; 16]);

    #[test]
    fn an_account_that_was_let_run_code_proves_nothing_by_its_count_on_that_chain() {
        let mut elsewhere = Elsewhere::default();
        assert!(elsewhere.proves(KEY, ChainId(1)));
        elsewhere.delegate(KEY, ChainId(1));
        assert!(!elsewhere.proves(KEY, ChainId(1)));
        assert!(elsewhere.proves(KEY, ChainId(2)));
    }

    #[test]
    fn the_same_count_is_news_once_and_a_higher_one_again() {
        let mut elsewhere = Elsewhere::default();
        assert!(elsewhere.is_news(KEY, ChainId(1), 5));
        elsewhere.alarmed(KEY, ChainId(1), 5);
        assert!(!elsewhere.is_news(KEY, ChainId(1), 5));
        assert!(elsewhere.is_news(KEY, ChainId(1), 6));
        assert!(elsewhere.is_news(KEY, ChainId(2), 5));
        elsewhere.accepted(KEY, ChainId(1));
        assert!(elsewhere.is_news(KEY, ChainId(1), 5), "the number before was somebody's mistake");
    }
}
