//! What the journal knows of signatures that a chain can mine: transactions and authorizations.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use portcullis_client::ControlClient;
use portcullis_policy::book::Registry;
use portcullis_policy::id::{ChainId, KeyId, Sequence};
use portcullis_policy::record::{Entry, Record, RecordedInput, SignedRecord};
use portcullis_policy::time::Millis;

use crate::audit::in_force::InForce;
use crate::failure::Failure;

/// Takes the records of a journal, in their order.
#[derive(Debug, Default)]
pub(super) struct Known {
    in_force: InForce,
    labels: BTreeMap<KeyId, String>,
    keys: BTreeMap<Address, KeyId>,
    digests: BTreeMap<(KeyId, B256), Sequence>,
    nonces: BTreeMap<(KeyId, ChainId), BTreeSet<u64>>,
    delegated: BTreeSet<(KeyId, ChainId)>,
    last: Millis,
}

impl Known {
    pub(super) fn take(&mut self, entry: &Entry) {
        self.last = entry.at.possible;
        self.in_force.take(entry);
        #[expect(clippy::wildcard_enum_match_arm, reason = "looks for keys and signatures")]
        match &entry.record {
            Record::KeyIntended(key) => drop(self.labels.insert(key.key, key.label.to_string())),
            Record::KeyCreated(key) => drop(self.keys.insert(key.address, key.key)),
            Record::Signed(signed) => self.signed(entry.seq, signed),
            _ => {}
        }
    }

    fn signed(&mut self, at: Sequence, signed: &SignedRecord) {
        let (asked, slot) = (&signed.asked, &signed.slot);
        let key = asked.by.key;
        match asked.input {
            RecordedInput::Transaction(_) | RecordedInput::TransactionSha256(_) => {}
            RecordedInput::Delegation(_) => drop(self.delegated.insert((key, slot.chain))),
            // What others bring to the chain is in no transaction of ours.
            RecordedInput::Message(_) | RecordedInput::Typed(_) | RecordedInput::TypedSha256(_) => {
                return;
            }
        }
        self.digests.entry((key, asked.digest)).or_insert(at);
        if let Some(nonce) = slot.nonce.as_ref().and_then(|text| text.parse().ok()) {
            self.nonces.entry((key, slot.chain)).or_default().insert(nonce);
        }
    }

    /// Nothing but the names of the book in force, before the journal is read.
    pub(super) async fn names(control: &ControlClient) -> Result<Self, Failure> {
        let in_force = InForce::of(&control.book().await?.book);
        Ok(Self { in_force, ..Self::default() })
    }

    /// When its last record was written, at the latest.
    pub(super) fn last(&self) -> Millis {
        self.last
    }

    fn registry(&self) -> &Registry {
        self.in_force.registry()
    }

    /// Every key that was ever made, by address.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Address, KeyId)> {
        self.keys.iter().map(|(address, key)| (*address, *key))
    }

    pub(super) fn key_of(&self, address: Address) -> Option<KeyId> {
        self.keys.get(&address).copied()
    }

    pub(super) fn label(&self, key: KeyId) -> String {
        self.labels.get(&key).cloned().unwrap_or_else(|| key.to_string())
    }

    /// The record in which a key signed exactly this.
    pub(super) fn record_of(&self, key: KeyId, digest: B256) -> Option<Sequence> {
        self.digests.get(&(key, digest)).copied()
    }

    /// The nonces for which a key signed something on a chain.
    pub(super) fn nonces(&self, key: KeyId, chain: ChainId) -> impl Iterator<Item = u64> {
        self.nonces.get(&(key, chain)).into_iter().flatten().copied()
    }

    pub(super) fn has_nonce(&self, key: KeyId, chain: ChainId, nonce: u64) -> bool {
        self.nonces.get(&(key, chain)).is_some_and(|all| all.contains(&nonce))
    }

    /// Whether the account was let run code: what that creates uses up nonces, too.
    pub(super) fn is_delegated(&self, key: KeyId, chain: ChainId) -> bool {
        self.delegated.contains(&(key, chain))
    }

    /// The chain of a name in the book, or of a number.
    pub(super) fn chain(&self, name: &str) -> Option<ChainId> {
        let named = self.registry().chain_named(name);
        named.or_else(|| name.parse().ok().map(ChainId))
    }

    pub(super) fn chain_name(&self, chain: ChainId) -> String {
        let named = self.registry().chain(chain).map(|chain| chain.name.clone());
        named.unwrap_or_else(|| format!("chain {chain}"))
    }
}
