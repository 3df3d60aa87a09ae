//! A journal as the signer's writer makes it: a vault, a key, and plain transfers, each decided,
//! charged and recorded.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B128, B256, keccak256};
use ed25519_dalek::SigningKey;
use portcullis_policy::decide::{Decision, decide};
use portcullis_policy::id::{ChainId, DecisionNumber, Epoch, KeyId, Sequence};
use portcullis_policy::money::Amount;
use portcullis_policy::note::NoteKey;
use portcullis_policy::record::{
    Asked, CheckpointKeyIntended, CheckpointKeyMade, Entry, Environment, FORMAT, Genesis,
    KeyCreated, KeyIntended, Person, Record, RecordedInput, Role, SignedRecord, Started,
};
use portcullis_policy::request::{Asker, Input, Request};
use portcullis_policy::state::State;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::tx::{Destination, Draft};

const BOOK: &str = r#"version = 1
[chain.ethereum]
id = 1
native = "ETH"
[address]
supplier = "0x1111111111111111111111111111111111111111"
[caller."spiffe://acme/payouts"]
owners = ["carol"]
[key.hot]
callers = ["spiffe://acme/payouts"]
chains = ["ethereum"]
native = { to = "@supplier", per_tx = "10 ETH", window = ["250000 ETH / 1h", "1000000 ETH / 24h"] }
fees = { per_tx = "0.05 ETH", window = "1000000 ETH / 24h", max_priority_fee = "5 gwei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 2 }
"#;

const DAWN: u64 = 1_700_000_000_000;
/// Between two transfers.
const STEP_MS: u64 = 100;

struct Vault {
    state: State,
    lines: Vec<Vec<u8>>,
    now: Interval,
    address: Address,
}

/// So many records, as they are stored.
pub(crate) fn lines(records: usize) -> Vec<Vec<u8>> {
    let mut vault = Vault::begin();
    for number in 1.. {
        if vault.lines.len() >= records {
            break;
        }
        vault.transfer(number);
    }
    vault.lines
}

/// What signs checkpoints here.
pub(crate) fn checkpoint_secret() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// As the journal pins it.
pub(crate) fn checkpoint_public() -> NoteKey {
    NoteKey::ed25519(checkpoint_secret().verifying_key().as_bytes()).unwrap()
}

fn at(millis: u64) -> Interval {
    Interval { possible: Millis(millis), sure: Millis(millis) }
}

fn person(id: &str, role: Role) -> Person {
    Person {
        control: format!("spiffe://acme/people/{id}"),
        id: id.parse().unwrap(),
        roles: BTreeSet::from([role]),
        credentials: Vec::new(),
    }
}

fn key() -> KeyId {
    KeyId::from_bytes([1; 16])
}

fn point() -> [u8; 65] {
    let secret = k256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let point = secret.verifying_key().to_encoded_point(false);
    point.as_bytes().try_into().unwrap()
}

fn address() -> Address {
    Address::from_slice(&keccak256(&point()[1..])[12..])
}

impl Vault {
    fn begin() -> Self {
        let genesis = Record::Genesis(Genesis {
            book: BOOK.to_owned(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: vec![person("alan", Role::Approver), person("olga", Role::Operator)],
            salt: B256::repeat_byte(7),
            signatures: Vec::new(),
        });
        let genesis = Entry { at: at(DAWN), record: genesis, seq: Sequence(1) };
        let (state, line) = (State::genesis(&genesis).unwrap(), genesis.encode().unwrap());
        let mut vault = Self { state, lines: vec![line], now: at(DAWN), address: address() };
        vault.write(Record::Started(Started {
            believed: None,
            boot: "b1".into(),
            boot_clock: Millis(0),
            cut: 0,
            epoch: Epoch(1),
            lost: Vec::new(),
            version: "0.1.0".into(),
            wall_clock: Millis(DAWN),
        }));
        vault.write(Record::KeyIntended(KeyIntended {
            by: "olga".parse().unwrap(),
            chains: BTreeSet::from([ChainId(1)]),
            environment: vault.state.environment(),
            key: key(),
            label: "hot".parse().unwrap(),
            owner: "alan".parse().unwrap(),
            purpose: "payouts".into(),
            review_by: Millis(DAWN + 365 * 86_400_000),
            tags: BTreeSet::new(),
        }));
        let (object, pinned) = (B128::repeat_byte(3), checkpoint_public());
        vault.write(Record::CheckpointKeyIntended(CheckpointKeyIntended { object }));
        vault.write(Record::CheckpointKeyMade(CheckpointKeyMade { key: pinned, object }));
        let point = hex::encode(point());
        vault.write(Record::KeyCreated(KeyCreated { address: address(), key: key(), point }));
        vault
    }

    fn transfer(&mut self, number: u64) {
        self.now = at(self.now.sure.0 + STEP_MS);
        let preimage = Draft {
            chain: ChainId(1),
            nonce: number - 1,
            gas_limit: 21_000,
            max_fee: Amount::from(30_000_000_000),
            priority: Amount::from(1_000_000_000),
            to: Destination::Call(Address::repeat_byte(0x11)),
            value: Amount::from(1_000_000_000_000_000),
            data: Vec::new(),
        }
        .preimage();
        let asker = Asker {
            caller: "spiffe://acme/payouts".parse().unwrap(),
            expected: self.address,
            key: key(),
            request: format!("payout-{number:08}").parse().unwrap(),
        };
        let request = Request::decode(asker, &Input::Transaction(preimage)).unwrap();
        self.state.advance(key(), self.now);
        let facts = self.state.facts(&request, self.now, None);
        let Decision::Allow(allowed) = decide(self.state.book(), &facts, request) else {
            unreachable_transfer(number)
        };
        let request = allowed.request();
        let (input, attachment) = RecordedInput::of(&request.input());
        assert!(attachment.is_none(), "a plain transfer is within its record");
        let asked = Asked {
            at: self.now,
            by: request.asker().clone(),
            digest: request.digest(),
            input,
            number: DecisionNumber(number),
            seen: self.state.head(),
        };
        self.state.reserve(asked.number, &allowed);
        let record = SignedRecord {
            asked,
            book: allowed.revision(),
            charge: allowed.charge().clone(),
            first_payments: allowed.first_payments().to_vec(),
            repeats: allowed.repeat(),
            signature_sha256: keccak256(number.to_be_bytes()),
            slot: allowed.slot(),
            votes: allowed.votes().to_vec(),
        };
        self.write(Record::Signed(Box::new(record)));
    }

    fn write(&mut self, record: Record) {
        let entry = Entry { at: self.now, record, seq: self.state.head().next() };
        self.lines.push(entry.encode().unwrap());
        self.state.apply(&entry).unwrap();
    }
}

#[expect(clippy::panic, reason = "the book above allows every transfer made here")]
fn unreachable_transfer(number: u64) -> ! {
    panic!("transfer {number} was not allowed")
}
