//! A vault that exists only while an example is asked about: no token, no journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};

use super::{Problem, Step};
use crate::book::Book;
use crate::decide::{Allowed, Decision, decide};
use crate::id::{DecisionNumber, Epoch, KeyId, KeyLabel, Sequence};
use crate::record::{
    Asked, Entry, Environment, FORMAT, Genesis, KeyCreated, KeyIntended, Record, RecordedInput,
    SignedRecord, Started,
};
use crate::request::{Asker, Request};
use crate::state::State;
use crate::time::{Interval, Millis, Span};

/// A state with a key for every label of the book.
pub(super) struct Vault {
    state: Option<State>,
    book: Arc<Book>,
    now: Millis,
    next: DecisionNumber,
    names: u64,
}

impl Vault {
    pub(super) fn new(book: &Book) -> Self {
        let genesis = Genesis {
            book: book.text().to_owned(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: Vec::new(),
            salt: B256::ZERO,
            signatures: Vec::new(),
        };
        let (now, seq) = (Millis(DAWN), Sequence(1));
        let entry = Entry { at: exactly(now), record: Record::Genesis(genesis), seq };
        // The text was parsed before, so it is a book.
        let state = State::genesis(&entry).ok();
        let next = DecisionNumber(0).next();
        let mut vault = Self { state, book: Arc::new(book.clone()), now, next, names: 0 };
        vault.write(Record::Started(Started {
            believed: None,
            boot: "example".to_owned(),
            boot_clock: now,
            cut: 0,
            epoch: Epoch(1),
            lost: Vec::new(),
            version: "example".to_owned(),
            wall_clock: now,
        }));
        let labels: Vec<KeyLabel> = book.keys().map(|(label, _)| label.clone()).collect();
        for label in labels {
            vault.make(&label);
        }
        vault
    }

    fn make(&mut self, label: &KeyLabel) {
        let Ok(owner) = "example".parse() else { return };
        let key = key_id(label);
        self.write(Record::KeyIntended(KeyIntended {
            by: owner,
            chains: self.book.rules(label).map(|rules| rules.chains.clone()).unwrap_or_default(),
            environment: self.book.environment(),
            key,
            label: label.clone(),
            owner: match "example".parse() {
                Ok(owner) => owner,
                Err(_) => return,
            },
            purpose: "example".to_owned(),
            review_by: Millis(u64::MAX >> 11),
            tags: BTreeSet::new(),
        }));
        let point = String::new();
        self.write(Record::KeyCreated(KeyCreated { address: address_of(label), key, point }));
    }

    pub(super) fn into_state(self) -> Option<State> {
        self.state
    }

    pub(super) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book)
    }

    pub(super) fn now(&self) -> Millis {
        self.now
    }

    pub(super) fn wait(&mut self, after: Option<&str>) -> Result<(), Problem> {
        let Some(text) = after else { return Ok(()) };
        let span = Span::parse(text);
        let span = span.ok_or_else(|| Problem::Value { what: "time", word: text.to_owned() })?;
        self.now = self.now.plus(span);
        Ok(())
    }

    /// Who asks with which key: the first of each, if the step does not say.
    pub(super) fn asker(&mut self, step: &Step) -> Result<Asker, Problem> {
        let mut keys = self.book.keys();
        let key = match &step.key {
            None => keys.next(),
            Some(name) => keys.find(|(label, _)| label.as_str() == name),
        };
        let word = step.key.clone().unwrap_or_default();
        let (label, rules) = key.ok_or(Problem::Unknown { what: "key", word })?;
        let caller = match &step.caller {
            None => rules.callers.first().cloned(),
            Some(name) => name.parse().ok(),
        };
        let word = step.caller.clone().unwrap_or_default();
        let caller = caller.ok_or(Problem::Value { what: "caller", word })?;
        let label = label.clone();
        self.names = self.names.saturating_add(1);
        let name = format!("example-{}", self.names);
        let request = name.parse().map_err(|_| Problem::Value { what: "id", word: name })?;
        Ok(Asker { caller, expected: address_of(&label), key: key_id(&label), request })
    }

    /// The nonce after all that were signed on a chain.
    pub(super) fn next_nonce(&self) -> u64 {
        self.names.saturating_sub(1)
    }

    pub(super) fn decide(&mut self, request: Request) -> Decision {
        let now = exactly(self.now);
        let key = request.asker().key;
        // Without a state there would be no rules; then nothing is allowed.
        let Some(state) = &mut self.state else {
            let findings = crate::finding::Findings::default();
            return Decision::Deny(crate::decide::Denial { request, findings });
        };
        state.advance(key, now);
        let facts = state.facts(&request, now, None);
        decide(&self.book, &facts, request)
    }

    /// Records what was allowed, as if it had been signed at once.
    pub(super) fn sign(&mut self, allowed: Allowed) {
        let number = self.next;
        self.next = number.next();
        let Some(state) = &mut self.state else { return };
        state.reserve(number, &allowed);
        let seen = state.head();
        let request = allowed.request();
        let asked = Asked {
            at: exactly(self.now),
            by: request.asker().clone(),
            digest: request.digest(),
            input: RecordedInput::of(&request.input()).0,
            number,
            seen,
        };
        let record = SignedRecord {
            asked,
            book: allowed.revision(),
            charge: allowed.charge().clone(),
            first_payments: allowed.first_payments().to_vec(),
            repeats: allowed.repeat(),
            signature_sha256: B256::ZERO,
            slot: allowed.slot(),
            votes: allowed.votes().to_vec(),
        };
        self.write(Record::Signed(Box::new(record)));
    }

    fn write(&mut self, record: Record) {
        let Some(state) = &mut self.state else { return };
        let entry = Entry { at: exactly(self.now), record, seq: state.head().next() };
        if state.apply(&entry).is_err() {
            // What cannot be folded leaves no state to decide on.
            self.state = None;
        }
    }
}

/// The address that stands for a key's in examples.
pub(super) fn address_of(label: &KeyLabel) -> Address {
    Address::from_word(keccak256(format!("example key {label}")))
}

fn key_id(label: &KeyLabel) -> KeyId {
    let hash = keccak256(format!("example id {label}"));
    KeyId::from_bytes(hash.first_chunk().copied().unwrap_or_default())
}

fn exactly(now: Millis) -> Interval {
    Interval { possible: now, sure: now }
}

/// 2026-01-01: when every example begins.
const DAWN: u64 = 1_767_225_600_000;
