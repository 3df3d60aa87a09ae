//! A vault without disk, token or clock: what the signer's one writer does, in the plainest way.
//! Its journal is what the tests replay, damage and count.

// Allowed and not expected: compiled anew into each test, and which lints bite depends on the test.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses its own part")]

pub mod images;
pub mod parts;
pub mod people;
pub mod tx;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use portcullis_policy::book::Book;
use portcullis_policy::decide::{Allowed, Decision, decide, still_allows};
use portcullis_policy::finding::Reason;
use portcullis_policy::id::{BookHash, ChainId, DecisionNumber, Epoch, KeyId, Sequence};
use portcullis_policy::money::Charges;
use portcullis_policy::record::{
    Actor, Adopted, Asked, Denied, Entry, Environment, FORMAT, Failed, Frozen, Genesis, KeyCreated,
    KeyIntended, Person, Record, RecordedInput, RecordedSlot, Role, SignedRecord, Started,
    Suppressed, Withheld,
};
use portcullis_policy::request::{Asker, Input, Request};
use portcullis_policy::state::{State, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::verify::{Report, Verifier};

pub const CALLER: &str = "spiffe://acme/payouts";

/// The writer of a vault, its journal, and what is under way.
#[derive(Clone)]
pub struct Vault {
    pub state: State,
    pub entries: Vec<Entry>,
    pub attachments: Vec<Vec<u8>>,
    pub now: Interval,
    pending: BTreeMap<DecisionNumber, Pending>,
    next: DecisionNumber,
}

#[derive(Clone)]
struct Pending {
    request: Request,
    asked: Asked,
    book: BookHash,
    charge: Charges,
    first_payments: Vec<Address>,
    repeats: Option<Sequence>,
    votes: Vec<Sequence>,
    slot: RecordedSlot,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    Reserved(DecisionNumber),
    Denied(Vec<String>),
    Parked,
}

/// A request: by whom, under which name, with which key, and for what.
#[derive(Clone, Debug)]
pub struct Ask {
    pub caller: String,
    pub name: String,
    pub key: KeyId,
    /// What the caller takes for the key's address; `None`: what it is.
    pub expected: Option<Address>,
    pub input: Input,
}

impl Ask {
    pub fn of(tx: &tx::Tx) -> Self {
        let preimage = tx.bytes();
        let name = hex::encode(&keccak256(&preimage)[..8]);
        Self::input(&name, Input::Transaction(preimage))
    }

    pub fn input(name: &str, input: Input) -> Self {
        Self { caller: CALLER.into(), name: name.into(), key: key(1), expected: None, input }
    }

    pub fn request(&self) -> Request {
        let asker = Asker {
            caller: self.caller.parse().unwrap(),
            expected: self.expected.unwrap_or_else(|| address(self.key)),
            key: self.key,
            request: self.name.parse().unwrap(),
        };
        Request::decode(asker, &self.input).unwrap()
    }
}

/// A key's id by a number.
pub fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 16])
}

/// A key's public point: no point of the curve, which policy leaves to those who verify with it.
fn point(key: KeyId) -> [u8; 65] {
    let mut point = [key.bytes()[0]; 65];
    point[0] = 4;
    point
}

/// A key's address.
pub fn address(key: KeyId) -> Address {
    Address::from_slice(&keccak256(&point(key)[1..])[12..])
}

/// An instant known exactly.
pub fn at(millis: u64) -> Interval {
    Interval { possible: Millis(millis), sure: Millis(millis) }
}

/// What every key is made for: whatever chain a test has.
const CHAINS: [u64; 10] = [0, 1, 2, 3, 10, 137, 4_444, 8_453, 31_337, 7_777_777];

/// When every vault begins.
pub const DAWN: u64 = 1_700_000_000_000;

impl Vault {
    /// A vault with a book, two keys (`hot` is 1, `cold` is 2), and one person of each role.
    pub fn new(book: &str) -> Self {
        let person = |id: &str, role| Person {
            control: format!("spiffe://acme/people/{id}"),
            id: id.parse().unwrap(),
            roles: BTreeSet::from([role]),
            credentials: Vec::new(),
        };
        let people = vec![
            person("ada", Role::Auditor),
            person("alan", Role::Approver),
            person("olga", Role::Operator),
            person("petra", Role::Pricer),
            person("sam", Role::Security),
            person("wanda", Role::Watcher),
        ];
        let (book, salt) = (book.to_owned(), B256::repeat_byte(7));
        let environment = Environment::Development;
        let (governance, signatures) = (None, Vec::new());
        let genesis =
            Genesis { book, environment, format: FORMAT, governance, people, salt, signatures };
        Self::begin(genesis)
    }

    /// A vault that begins with this record, and has two keys (`hot` is 1, `cold` is 2).
    pub fn begin(genesis: Genesis) -> Self {
        let record = Record::Genesis(genesis);
        let genesis = Entry { at: at(DAWN), record, seq: Sequence(1) };
        let mut vault = Self {
            state: State::genesis(&genesis).unwrap(),
            entries: vec![genesis],
            attachments: Vec::new(),
            now: at(DAWN),
            pending: BTreeMap::new(),
            next: DecisionNumber(1),
        };
        vault.start();
        vault.make_key(key(1), "hot");
        vault.make_key(key(2), "cold");
        vault
    }

    pub fn make_key(&mut self, key: KeyId, label: &str) {
        self.make_key_for(key, label, "payouts");
    }

    pub fn make_key_for(&mut self, key: KeyId, label: &str, purpose: &str) {
        self.write(Record::KeyIntended(KeyIntended {
            by: "olga".parse().unwrap(),
            chains: CHAINS.iter().map(|chain| ChainId(*chain)).collect(),
            environment: self.state.environment(),
            key,
            label: label.parse().unwrap(),
            owner: "alan".parse().unwrap(),
            purpose: purpose.into(),
            review_by: Millis(DAWN + 365 * 86_400_000),
            tags: BTreeSet::from([format!("tag-{label}").parse().unwrap()]),
        }));
        let point = hex::encode(point(key));
        self.write(Record::KeyCreated(KeyCreated { address: address(key), key, point }));
    }

    /// Lets time pass, for sure.
    pub fn wait(&mut self, millis: u64) {
        let sure = self.now.sure.0 + millis;
        self.now = Interval { possible: Millis(sure.max(self.now.possible.0)), sure: Millis(sure) };
    }

    /// Decides a request and charges it, or records why not.
    pub fn ask(&mut self, ask: &Ask) -> Said {
        match self.decide(ask) {
            Decision::Allow(allowed) => Said::Reserved(self.reserve(*allowed)),
            Decision::Deny(denial) => {
                let counted = self.state.counted(denial.request.asker(), None);
                let reasons = denial.findings.reasons();
                let codes = reasons.iter().map(|reason| reason.code.clone()).collect();
                let asked = self.asked(&denial.request);
                let book = self.state.book().hash();
                let denied = Denied { asked, book, counted, reasons };
                self.write(Record::Denied(Box::new(denied)));
                Said::Denied(codes)
            }
            Decision::Park(parked) => {
                if self.state.waiting(&parked.request, self.now).is_none() {
                    let asked = self.asked(&parked.request);
                    let record = self.state.parking(&parked, asked);
                    self.write(Record::Parked(Box::new(record)));
                }
                Said::Parked
            }
        }
    }

    /// Decides a request; whatever comes out is recorded nowhere.
    pub fn decide(&mut self, ask: &Ask) -> Decision {
        let request = ask.request();
        self.state.advance(ask.key, self.now);
        let book = self.state.book().clone();
        decide(&book, &self.state.facts(&request, self.now, None), request)
    }

    fn reserve(&mut self, allowed: Allowed) -> DecisionNumber {
        let asked = self.asked(allowed.request());
        let number = asked.number;
        self.state.reserve(number, &allowed);
        let (book, repeats) = (allowed.revision(), allowed.repeat());
        let charge = allowed.charge().clone();
        let first_payments = allowed.first_payments().to_vec();
        let (votes, slot) = (allowed.votes().to_vec(), allowed.slot());
        let request = allowed.into_request();
        let pending =
            Pending { request, asked, book, charge, first_payments, repeats, votes, slot };
        self.pending.insert(number, pending);
        number
    }

    fn asked(&mut self, request: &Request) -> Asked {
        let (input, attachment) = RecordedInput::of(&request.input());
        self.attachments.extend(attachment);
        let number = self.next;
        self.next = number.next();
        Asked {
            at: self.now,
            by: request.asker().clone(),
            digest: request.digest(),
            input,
            number,
            seen: self.state.head(),
        }
    }

    /// The signature came: the last look and the record. Why it is withheld, if it is.
    pub fn record(&mut self, number: DecisionNumber) -> Result<Sequence, Vec<Reason>> {
        let Pending { request, asked, book, charge, first_payments, repeats, votes, slot } =
            self.pending.remove(&number).unwrap();
        if self.state.must_look_again(&asked, &votes, self.now) {
            self.state.advance(asked.by.key, self.now);
            let book = self.state.book().clone();
            let facts = self.state.facts(&request, self.now, Some(number));
            if let Err(findings) = still_allows(&book, &facts, &request) {
                let reasons = findings.reasons();
                let counted = self.state.counted(&asked.by, Some(number));
                let withheld = Withheld { asked, counted, reasons: reasons.clone() };
                self.write(Record::Withheld(Box::new(withheld)));
                return Err(reasons);
            }
        }
        let signature_sha256 = keccak256(number.0.to_be_bytes());
        let record = SignedRecord {
            asked,
            book,
            charge,
            first_payments,
            repeats,
            signature_sha256,
            slot,
            votes,
        };
        Ok(self.write(Record::Signed(Box::new(record))))
    }

    /// Asks, and records at once what is allowed.
    pub fn sign(&mut self, ask: &Ask) -> Result<Sequence, Vec<String>> {
        match self.ask(ask) {
            Said::Reserved(number) => Ok(self.record(number).unwrap()),
            Said::Denied(codes) => Err(codes),
            Said::Parked => Err(vec!["PARKED".into()]),
        }
    }

    /// The token had a fault.
    pub fn fail(&mut self, number: DecisionNumber) {
        let Pending { asked, .. } = self.pending.remove(&number).unwrap();
        let failed = Failed { asked, fault: "TOKEN_TIMED_OUT".into() };
        self.write(Record::Failed(Box::new(failed)));
    }

    pub fn freeze(&mut self, by: &str, scope: Scope) {
        let by = Actor::Person(by.parse().unwrap());
        self.write(Record::Frozen(Frozen { by, reason: "drill".into(), scope }));
    }

    pub fn suppress(&mut self, count: u64) {
        let (caller, code) = (CALLER.parse().unwrap(), "FROZEN".into());
        self.write(Record::Suppressed(Suppressed { caller, code, count, key: key(1) }));
    }

    /// Puts a book in force if it narrows, as the writer does.
    pub fn adopt(&mut self, text: &str) -> bool {
        let new = Book::parse(text).unwrap_or_else(|faults| panic!("{faults:?}"));
        let narrows = self.state.book().difference(&new).is_narrowing();
        if narrows {
            let by = "olga".parse().unwrap();
            self.write(Record::Adopted(Adopted { book: text.into(), by }));
        }
        narrows
    }

    /// The process dies with whatever is under way, and another one folds the journal.
    pub fn restart(&mut self) {
        images::hold(&self.entries);
        let state = self.state_of_records();
        self.next = state.last_number().next();
        self.state = state;
        self.pending.clear();
        self.start();
    }

    /// What the records come to, without what is under way.
    pub fn state_of_records(&self) -> State {
        let (first, rest) = self.entries.split_first().unwrap();
        let mut state = State::genesis(first).unwrap();
        rest.iter().for_each(|entry| state.apply(entry).unwrap());
        state
    }

    fn start(&mut self) {
        let epoch = Epoch(self.state.epoch().0 + 1);
        let lost = self.state.unreported().iter().copied().collect();
        self.write(Record::Started(Started {
            believed: None,
            boot: "b1".into(),
            boot_clock: Millis(self.now.sure.0 - DAWN),
            cut: 0,
            epoch,
            lost,
            version: "0.1.0".into(),
            wall_clock: self.now.possible,
        }));
    }

    /// Writes a record down if it can follow from those before.
    pub fn try_write(&mut self, record: Record) -> Result<Sequence, Unfoldable> {
        let seq = self.state.head().next();
        let entry = Entry { at: self.now, record, seq };
        // A record that does not fold leaves a state that is no longer one.
        self.state.clone().apply(&entry)?;
        Ok(self.write(entry.record))
    }

    /// Writes a record down, through its bytes.
    pub fn write(&mut self, record: Record) -> Sequence {
        let seq = self.state.head().next();
        let line = Entry { at: self.now, record, seq }.encode().unwrap();
        let entry = Entry::decode(&line).unwrap();
        self.state.apply(&entry).unwrap();
        let worth = images::is_worth(&entry.record);
        self.entries.push(entry);
        if worth {
            images::hold(&self.entries);
        }
        seq
    }

    /// What is under way.
    pub fn open(&self) -> Vec<DecisionNumber> {
        self.pending.keys().copied().collect()
    }

    /// What an offline verifier makes of the journal.
    pub fn verify(&self) -> Report {
        images::hold(&self.entries);
        verify(&self.entries, &self.attachments)
    }
}

/// What an offline verifier makes of these records.
pub fn verify(entries: &[Entry], attachments: &[Vec<u8>]) -> Report {
    let mut verifier = Verifier::default();
    attachments.iter().for_each(|bytes| verifier.attachment(bytes.clone()));
    entries.iter().for_each(|entry| verifier.record(&entry.encode().unwrap()));
    verifier.finish()
}
