//! Races, staged: one request is stopped between two steps, and something else happens there.

use std::time::Duration;

use alloy_primitives::{Address, address};
use k256::ecdsa::SigningKey;
use portcullis_policy::act::{Act, AdoptBook};
use portcullis_policy::id::{BookHash, ChainId, Epoch, KeyId, PersonId, Sequence};
use portcullis_policy::record::{
    Actor, Adopted, Entry, Environment, FORMAT, Frozen, Genesis, KeyIntended, Person, Record, Role,
    Suspended,
};
use portcullis_policy::request::{Asker, Input, Request};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Span;

use super::command::Command;
use super::people::NewProposal;
use super::{Charged, Heard, Recorded, Reserved, Sequencer, Signed, prepare, start};
use crate::clock::{self, Clock, Deadline};
use crate::journal::{Batch, Memory, Space, Storage, Stored};
use crate::refusal::Refusal;
use crate::roster;
use crate::signature::{PublicPoint, RawSignature};
use crate::witness::{Cover, Mode, Unwitnessed};

mod outages;

const SUPPLIER: Address = address!("00000000000000000000000000000000000a11ce");

const BOOK: &str = r#"
version = 1
[chain.test]
id = 1
native = "ETH"
[list]
suppliers = ["0x00000000000000000000000000000000000a11ce"]
[caller."spiffe://test/a"]
owners = ["olga"]
[key.hot]
callers = ["spiffe://test/a"]
chains = ["test"]
native = { to = "@suppliers", per_tx = "2.5 ETH", window = "3 ETH / 1h" }
fees = { per_tx = "1 ETH", window = "1 ETH / 1h", max_priority_fee = "1 gwei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 1 }
"#;

fn olga() -> PersonId {
    "olga".parse().unwrap()
}

/// The certificate of the only person there is.
const OLGA: &str = "spiffe://test/people/olga";

fn narrower() -> Adopted {
    let book = BOOK.replace("per_tx = \"2.5 ETH\"", "per_tx = \"1 ETH\"");
    Adopted { book, by: olga() }
}

struct World {
    sequencer: Sequencer,
    memory: Memory,
    secret: SigningKey,
    key: KeyId,
}

impl World {
    async fn new() -> Self {
        let mut memory = Memory::default();
        let olga = Person {
            control: OLGA.into(),
            credentials: Vec::new(),
            id: olga(),
            roles: [Role::Operator].into(),
        };
        let genesis = Genesis {
            book: BOOK.into(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: vec![olga],
            salt: BookHash::of("salt").0,
            signatures: Vec::new(),
        };
        let record = Record::Genesis(genesis);
        let entry = Entry { at: Clock::genesis().now(), record, seq: Sequence(1) };
        let mut batch = Batch::ordinary();
        batch.push_record(&entry.encode().unwrap()).unwrap();
        let _durable = memory.append_if_owner(Epoch(0), &batch).unwrap();
        let sequencer = start(Box::new(memory.clone()), 0, &Heard::default()).unwrap().sequencer;
        let secret = SigningKey::from_slice(&[9; 32]).unwrap();
        let key = KeyId::from_bytes([3; 16]);
        let world = Self { sequencer, memory, secret, key };
        world.make_key().await;
        world
    }

    async fn make_key(&self) {
        self.intend_key(self.key, "hot").await.unwrap();
        self.sequencer.key_created(self.key, self.point()).await.unwrap();
    }

    async fn intend_key(&self, key: KeyId, label: &str) -> Result<(), Refusal> {
        let intended = KeyIntended {
            by: olga(),
            chains: [ChainId(1)].into(),
            environment: Environment::Development,
            key,
            label: label.parse().unwrap(),
            owner: olga(),
            purpose: String::new(),
            review_by: Clock::genesis().now().sure.plus(Span(86_400_000)),
            tags: ["web".parse().unwrap()].into(),
        };
        self.sequencer.intend_key(intended).await
    }

    fn point(&self) -> PublicPoint {
        let encoded = self.secret.verifying_key().to_encoded_point(false);
        PublicPoint::try_from(encoded.as_bytes()).unwrap()
    }

    fn request(&self, nonce: u8, eth: u8) -> Request {
        let asker = Asker {
            caller: "spiffe://test/a".parse().unwrap(),
            expected: self.point().address(),
            key: self.key,
            request: format!("r{nonce}-{eth}").parse().unwrap(),
        };
        Request::decode(asker, &Input::Transaction(preimage(nonce, eth))).unwrap()
    }

    async fn charge(&self, nonce: u8, eth: u8) -> Result<Reserved, Refusal> {
        match self.sequencer.charge(self.request(nonce, eth), None).await? {
            Charged::Reserved(reserved) => Ok(*reserved),
            Charged::Parked(parked) => panic!("parked: {parked:?}"),
        }
    }

    /// What the token would do.
    fn sign(&self, reserved: Reserved) -> Signed {
        let digest = *reserved.digest();
        let (signature, _) = self.secret.sign_prehash_recoverable(digest.as_slice()).unwrap();
        reserved.attach(RawSignature::from_slice(&signature.to_bytes()).unwrap()).unwrap()
    }

    async fn pay(&self, nonce: u8, eth: u8) -> Result<Recorded, Refusal> {
        self.sequencer.record(self.sign(self.charge(nonce, eth).await?)).await
    }

    async fn freeze(&self, scope: Scope) -> super::FrozenAnswer {
        let frozen = Frozen { by: Actor::Signer, reason: "test".into(), scope };
        self.sequencer.freeze(frozen).await
    }

    async fn suspend_olga(&self) {
        let (by, person) = (olga(), olga());
        let suspended = Suspended { by, credential: None, person, reason: "test".into() };
        self.sequencer.suspend(suspended).await.unwrap();
    }

    fn last_record(&self) -> Record {
        let head = self.memory.head().sequence;
        let Stored { record, .. } =
            self.memory.reader().records_from(head).next().unwrap().unwrap();
        Entry::decode(&record).unwrap().record
    }
}

/// An unsigned payment of type 2: whole ether to the supplier, 21,000 gas at 1 gwei.
fn preimage(nonce: u8, eth: u8) -> Vec<u8> {
    let number = |value: u128| {
        let bytes = value.to_be_bytes();
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        match &bytes[first..] {
            [one] if *one < 0x80 => vec![*one],
            short => [&[0x80 + u8::try_from(short.len()).unwrap()], short].concat(),
        }
    };
    let to = [&[0x94], SUPPLIER.as_slice()].concat();
    let value = number(u128::from(eth) * 10u128.pow(18));
    let gwei = number(10u128.pow(9));
    let fields = [
        number(1),
        number(nonce.into()),
        gwei.clone(),
        gwei,
        number(21_000),
        to,
        value,
        vec![0x80],
        vec![0xc0],
    ];
    let payload = fields.concat();
    let head = [0x02, 0xc0 + u8::try_from(payload.len()).unwrap()];
    [&head[..], &payload].concat()
}

#[tokio::test]
async fn a_signature_whose_commit_fails_is_never_seen() {
    let world = World::new().await;
    let signed = world.sign(world.charge(0, 1).await.unwrap());
    world.memory.break_disk();
    let answer = world.sequencer.record(signed).await;
    assert!(matches!(answer, Err(Refusal::ShuttingDown)), "{answer:?}");
}

#[tokio::test]
async fn a_stop_between_charge_and_record_withholds_the_signature() {
    for scope in [
        Scope::All,
        Scope::Key(KeyId::from_bytes([3; 16])),
        Scope::Caller("spiffe://test/a".parse().unwrap()),
        Scope::Tag("web".parse().unwrap()),
    ] {
        let world = World::new().await;
        let signed = world.sign(world.charge(0, 1).await.unwrap());
        let frozen = world.freeze(scope.clone()).await;
        assert_eq!(frozen.withheld, 1, "{scope}");
        let answer = world.sequencer.record(signed).await;
        assert!(matches!(answer, Err(Refusal::Withheld { .. })), "{scope}: {answer:?}");
        assert_eq!(world.last_record().kind(), "withheld", "{scope}");
    }
}

#[tokio::test]
async fn a_book_narrowed_between_charge_and_record_withholds_the_signature() {
    let world = World::new().await;
    let signed = world.sign(world.charge(0, 2).await.unwrap());
    world.sequencer.adopt(narrower()).await.unwrap();
    let answer = world.sequencer.record(signed).await;
    assert!(matches!(answer, Err(Refusal::Withheld { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_book_narrowed_while_a_signature_waits_for_the_witness_keeps_it_back() {
    let world = World::new().await;
    let cover = Cover::new(Mode::Fence);
    let release = |recorded| {
        cover.cosigned(1_000, clock::boot());
        cover.covered(recorded, None, || world.sequencer.view())
    };
    let _covered = release(world.pay(0, 1).await.unwrap()).await.unwrap();
    let waiting = world.pay(1, 1).await.unwrap();
    world.sequencer.adopt(narrower()).await.unwrap();
    assert_eq!(release(waiting).await.err(), Some(Unwitnessed::Narrowed));
    // Asked again it is decided under the book in force, which has no place for it.
    assert!(matches!(world.pay(1, 1).await, Err(Refusal::Denied { .. })));
    let _covered = release(world.pay(2, 0).await.unwrap()).await.unwrap();
    // A stop is the gate's to name.
    let waiting = world.pay(3, 0).await.unwrap();
    world.freeze(Scope::All).await;
    let _covered = release(waiting).await.unwrap();
}

#[tokio::test]
async fn what_is_in_flight_counts_and_what_failed_does_not() {
    let world = World::new().await;
    let first = world.charge(0, 1).await.unwrap();
    let _second = world.charge(1, 1).await.unwrap();
    assert!(matches!(world.charge(2, 1).await, Err(Refusal::Denied { .. })), "3 ETH and fees");
    world.sequencer.fail(first.number(), "TOKEN_TIMED_OUT").await.unwrap();
    assert!(world.charge(3, 1).await.is_ok(), "the budget came back");
}

#[tokio::test]
async fn a_signature_that_comes_after_its_reservation_was_closed_is_never_recorded() {
    let world = World::new().await;
    let reserved = world.charge(0, 1).await.unwrap();
    let number = reserved.number();
    let signed = world.sign(reserved);
    world.sequencer.fail(number, "TOKEN_TIMED_OUT").await.unwrap();
    let answer = world.sequencer.record(signed).await;
    assert!(matches!(answer, Err(Refusal::Token { .. })), "{answer:?}");
    assert_eq!(world.last_record().kind(), "failed");
}

#[tokio::test]
async fn a_stop_on_a_broken_disk_still_closes_the_gate_and_says_it_is_not_recorded() {
    let world = World::new().await;
    let recorded = world.pay(0, 1).await.unwrap();
    world.memory.break_disk();
    let frozen = world.freeze(Scope::All).await;
    assert!(frozen.sequence.is_none());
    let ticket = recorded.into_ticket();
    let passed = crate::gate::UntilEndOfPoll::new(async move { ticket.pass() }).await;
    assert!(passed.unwrap().is_err(), "a recorded signature left after the stop");
}

#[tokio::test]
async fn without_room_nothing_is_admitted_and_a_stop_is_still_recorded() {
    let world = World::new().await;
    let reserved = world.charge(0, 1).await.unwrap();
    world.memory.set_space(Space::Low);
    assert!(matches!(world.charge(1, 1).await, Err(Refusal::JournalFull)));
    let answer = world.sequencer.record(world.sign(reserved)).await;
    assert!(matches!(answer, Err(Refusal::JournalFull)), "{answer:?}");
    assert!(world.freeze(Scope::All).await.sequence.is_some());
}

#[tokio::test]
async fn the_same_digest_is_charged_once_however_often_it_is_signed() {
    let world = World::new().await;
    for _ in 0..5 {
        assert!(world.pay(0, 2).await.is_ok());
    }
    assert!(world.pay(1, 1).await.is_err(), "2 ETH of 3 are used, and fees");
}

#[tokio::test]
async fn what_is_past_its_deadline_when_its_turn_comes_is_not_charged() {
    let world = World::new().await;
    let passed = Some(Deadline::after(Duration::ZERO));
    let late = world.sequencer.charge(world.request(0, 2), passed).await;
    assert!(matches!(late, Err(Refusal::PastDeadline)), "{late:?}");
    let ample = Some(Deadline::after(Duration::from_secs(3_600)));
    let timely = world.sequencer.charge(world.request(1, 2), ample).await;
    assert!(matches!(timely, Ok(Charged::Reserved(_))), "the budget was all there: {timely:?}");
}

#[tokio::test]
async fn a_proposed_book_that_was_compared_with_another_one_is_refused_unread() {
    let world = World::new().await;
    let book = BOOK.replace("3 ETH / 1h", "30 ETH / 1h");
    let prepared = prepare(&book, &world.sequencer.view()).unwrap();
    world.sequencer.adopt(narrower()).await.unwrap();
    let new = NewProposal {
        by: olga(),
        act: Act::Adopt(AdoptBook { book }),
        reason: "test".into(),
        prepared: Some(prepared),
    };
    let answer = world.sequencer.ask(|answer| Command::Propose(Box::new(new), answer)).await;
    assert!(matches!(answer, Err(Refusal::BookChanged)), "{answer:?}");
}

#[tokio::test]
async fn a_book_that_is_checked_delays_none_that_is_adopted() {
    let world = World::new().await;
    let _checking = world.sequencer.checking.take(|| ()).await.unwrap();
    let adopted = world.sequencer.adopt(narrower());
    let adopted = tokio::time::timeout(Duration::from_secs(30), adopted).await;
    assert!(matches!(adopted, Ok(Ok(_))), "{adopted:?}");
}

#[tokio::test]
async fn whoever_is_suspended_adopts_no_book_and_makes_no_key_and_still_stops() {
    let world = World::new().await;
    world.suspend_olga().await;
    let answer = world.sequencer.adopt(narrower()).await;
    assert!(matches!(answer, Err(Refusal::PersonSuspended(_))), "{answer:?}");
    let answer = world.intend_key(KeyId::from_bytes([4; 16]), "other").await;
    assert!(matches!(answer, Err(Refusal::PersonSuspended(_))), "{answer:?}");
    let frozen = Frozen { by: Actor::Person(olga()), reason: "test".into(), scope: Scope::All };
    assert!(world.sequencer.freeze(frozen).await.sequence.is_some());
}

#[tokio::test]
async fn the_edge_lets_whoever_is_suspended_look_and_nothing_that_takes_an_active_person() {
    let world = World::new().await;
    let roles = &[Role::Operator];
    assert!(roster::active(&world.sequencer.view(), OLGA, roles).is_ok());
    world.suspend_olga().await;
    let view = world.sequencer.view();
    assert!(roster::person(&view, OLGA, roles).is_ok());
    let answer = roster::active(&view, OLGA, roles);
    assert!(matches!(answer, Err(Refusal::PersonSuspended(_))), "{answer:?}");
}
