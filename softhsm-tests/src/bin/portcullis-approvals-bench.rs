//! Measures what people cost the signer: one vote, and decisions while many requests wait.
//!
//! No token, no journal, no network: the same code that the writer runs, over keys and signatures
//! that OpenSSH made. Nothing here asserts a duration.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark stops at what it did not expect"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::PathBuf;

use alloy_primitives::{Address, B256};
use clap::Parser;
use portcullis_policy::book::Book;
use portcullis_policy::credential::{Credential, Evidence, SshKey};
use portcullis_policy::decide::{Decision, decide};
use portcullis_policy::examples;
use portcullis_policy::id::{ChainId, DecisionNumber, Sequence};
use portcullis_policy::money::Amount;
use portcullis_policy::people::{Person, Role};
use portcullis_policy::record::{
    Asked, Choice, Entry, Environment, FORMAT, Genesis, KeyCreated, KeyIntended, Matter, Record,
    RecordedInput, Signature, Voted,
};
use portcullis_policy::request::{Asker, Input, Request};
use portcullis_policy::state::State;
use portcullis_policy::statement;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::tx::{Destination, Draft};
use portcullis_softhsm_tests::measure::sample;
use portcullis_softhsm_tests::people::{GENESIS, Pens, VOTE};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// Where the figures go, as JSON.
    #[arg(long)]
    summary: Option<PathBuf>,
    /// Two short rounds: shows that it runs.
    #[arg(long)]
    quick: bool,
}

const BOOK: &str = r#"version = 1
[chain.ethereum]
id = 1
native = "ETH"
[group]
treasury = ["alan", "amy", "art"]
[caller."spiffe://acme/payouts"]
owners = ["olga"]
[caller."spiffe://acme/refunds"]
owners = ["olga"]
[key.hot]
callers = ["spiffe://acme/payouts", "spiffe://acme/refunds"]
chains = ["ethereum"]
native = { to = "anyone", per_tx = "10 ETH", window = "unlimited" }
fees = { per_tx = "0.05 ETH", window = "unlimited", max_priority_fee = "5 gwei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 10000 }
approve = [{ above = "1 ETH", need = "2 of treasury", expires = "30d", credentials = "file" }]
"#;

fn main() {
    let args = Args::parse();
    let (rounds, each) = if args.quick { (3, 500) } else { (15, 5_000) };
    let waiting = if args.quick { 1_000 } else { 10_000 };
    let mut rows = Vec::new();
    let mut row = |what: &str, (median, least, most): (f64, f64, f64)| {
        println!("{what:<66} {:>9.2} us  ({:.2} to {:.2})", median / 1e3, least / 1e3, most / 1e3);
        rows.push(json!({ "what": what, "median_ns": median, "least_ns": least, "most_ns": most }));
        median
    };
    let folder = tempfile::tempdir().unwrap();
    let mut vault = Vault::new(Pens::new(folder.path()).unwrap());
    let small = vault.request(1_000_000, 1);
    let large = vault.request(1_000_001, 2_000_000_000_000_000_000);
    let none = row("decide: small payment, nothing waits", vault.decide(&small, rounds, each));
    let parks =
        row("decide: payment that parks, nothing waits", vault.decide(&large, rounds, each));
    let matter = vault.park(&vault.request(0, 2_000_000_000_000_000_000));
    let votes = ["alan", "amy"].map(|name| vault.vote(&matter, name));
    let mut check = each / 10;
    check = check.max(100);
    let checked = sample(rounds, check, || {
        drop(black_box(vault.state.check_vote(black_box(&votes[0]), vault.now)));
    });
    let checked = row("vote: signature, voter and statement checked once", checked);
    let entry = vault.entry(Record::Voted(Box::new(votes[0].clone())));
    let applied = sample(rounds, check, || {
        let mut state = vault.state.clone();
        state.apply(black_box(&entry)).unwrap();
        black_box(entry.encode().unwrap());
    });
    let copied = sample(rounds, check, || drop(black_box(vault.state.clone())));
    let fold = row(
        "vote: written down and folded",
        (applied.0 - copied.0, applied.1 - copied.0, applied.2 - copied.0),
    );
    // Once by the edge, once by the writer before it writes, once in the fold.
    let whole = 2.0 * checked + fold;
    row("vote: all that the signer does for one", (whole, whole, whole));
    for vote in votes {
        vault.write(Record::Voted(Box::new(vote)));
    }
    let approved = vault.request(0, 2_000_000_000_000_000_000);
    row(
        "decide: a request with two votes, signatures checked again",
        vault.decide(&approved, rounds, check),
    );
    for nonce in 1..waiting {
        let request = vault.request(nonce, 2_000_000_000_000_000_000);
        vault.park(&request);
    }
    let many =
        row(&format!("decide: small payment, {waiting} wait"), vault.decide(&small, rounds, each));
    let more = row(
        &format!("decide: payment that parks, {waiting} wait"),
        vault.decide(&large, rounds, each),
    );
    println!(
        "\na vote costs {:.3} ms; with {waiting} waiting a decision takes {:.2} and {:.2} times as \
         long",
        whole / 1e6,
        many / none,
        more / parks
    );
    if let Some(path) = args.summary {
        let summary = json!({
            "rows": rows, "waiting": waiting, "vote_ms": whole / 1e6,
            "small_ratio": many / none, "parking_ratio": more / parks, "quick": args.quick,
        });
        std::fs::write(path, format!("{summary:#}\n")).unwrap();
    }
}

struct Vault {
    state: State,
    pens: Pens,
    now: Interval,
    next: u64,
}

impl Vault {
    fn new(pens: Pens) -> Self {
        let now = Interval { possible: Millis(1_800_000_000_000), sure: Millis(1_800_000_000_000) };
        let people = ["alan", "amy", "art"].map(|name| Person {
            control: format!("spiffe://acme/{name}"),
            credentials: vec![credential(&pens, name)],
            id: name.parse().unwrap(),
            roles: BTreeSet::from([Role::Approver]),
        });
        let mut genesis = Genesis {
            book: BOOK.into(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: people.to_vec(),
            salt: B256::ZERO,
            signatures: Vec::new(),
        };
        let text = statement::genesis(&genesis);
        genesis.signatures = ["alan", "amy", "art"]
            .map(|name| Signature {
                credential: credential(&pens, name).id(),
                evidence: Evidence::Ssh(pens.sign(name, GENESIS, &text).unwrap()),
            })
            .to_vec();
        let entry = Entry { at: now, record: Record::Genesis(genesis), seq: Sequence(1) };
        let state = State::genesis(&entry).unwrap();
        let mut vault = Self { state, pens, now, next: 1 };
        // The rest of a fresh vault, as examples have it.
        let fresh = examples::fresh_state(&Book::parse(BOOK).unwrap()).unwrap();
        let (key, made) = fresh.key_named("hot").unwrap();
        let point = made.made.clone().unwrap();
        vault.start();
        vault.write(Record::KeyIntended(KeyIntended {
            by: "olga".parse().unwrap(),
            chains: BTreeSet::from([ChainId(1)]),
            environment: Environment::Development,
            key,
            label: "hot".parse().unwrap(),
            owner: "olga".parse().unwrap(),
            purpose: "bench".into(),
            review_by: Millis(1 << 50),
            tags: BTreeSet::new(),
        }));
        let (address, point) = (point.address, point.point);
        vault.write(Record::KeyCreated(KeyCreated { address, key, point }));
        vault
    }

    fn start(&mut self) {
        self.write(Record::Started(portcullis_policy::record::Started {
            believed: None,
            boot: "bench".into(),
            boot_clock: Millis(0),
            cut: 0,
            epoch: portcullis_policy::id::Epoch(1),
            lost: Vec::new(),
            version: "bench".into(),
            wall_clock: self.now.possible,
        }));
    }

    fn entry(&self, record: Record) -> Entry {
        Entry { at: self.now, record, seq: self.state.head().next() }
    }

    fn write(&mut self, record: Record) {
        let entry = self.entry(record);
        self.state.apply(&entry).unwrap();
    }

    fn request(&self, nonce: u64, wei: u128) -> Request {
        let (key, found) = self.state.key_named("hot").unwrap();
        // Those that wait are of another caller: each may have 10,000.
        let caller =
            if nonce < 1_000_000 { "spiffe://acme/refunds" } else { "spiffe://acme/payouts" };
        let asker = Asker {
            caller: caller.parse().unwrap(),
            expected: found.made.as_ref().unwrap().address,
            key,
            request: format!("bench-{nonce}").parse().unwrap(),
        };
        let preimage = Draft {
            chain: ChainId(1),
            nonce,
            gas_limit: 21_000,
            max_fee: Amount::from(10_000_000_000),
            priority: Amount::from(1_000_000_000),
            to: Destination::Call(Address::repeat_byte(3)),
            value: Amount::from(wei),
            data: Vec::new(),
        }
        .preimage();
        Request::decode(asker, &Input::Transaction(preimage)).unwrap()
    }

    fn decide(&self, request: &Request, rounds: usize, each: usize) -> (f64, f64, f64) {
        let decided = sample(rounds, each, || {
            let facts = self.state.facts(request, self.now, None);
            drop(black_box(decide(self.state.book(), &facts, request.clone())));
        });
        let copied = sample(rounds, each, || drop(black_box(request.clone())));
        (decided.0 - copied.0, decided.1 - copied.0, decided.2 - copied.0)
    }

    fn park(&mut self, request: &Request) -> Matter {
        let facts = self.state.facts(request, self.now, None);
        let Decision::Park(parked) = decide(self.state.book(), &facts, request.clone()) else {
            panic!("not parked");
        };
        let asked = Asked {
            at: self.now,
            by: request.asker().clone(),
            digest: request.digest(),
            input: RecordedInput::of(&request.input()).0,
            number: DecisionNumber(self.next),
            seen: self.state.head(),
        };
        self.next += 1;
        let record = self.state.parking(&parked, asked);
        let matter = Matter::Parked(record.parked.clone());
        self.write(Record::Parked(Box::new(record)));
        matter
    }

    fn vote(&self, matter: &Matter, name: &str) -> Voted {
        let statement = &self.state.pending().get(matter).unwrap().statement;
        let by = name.parse().unwrap();
        let text = statement::ballot(statement, Choice::Approve, &by, "");
        Voted {
            by,
            choice: Choice::Approve,
            credential: credential(&self.pens, name).id(),
            evidence: Evidence::Ssh(self.pens.sign(name, VOTE, &text).unwrap()),
            matter: matter.clone(),
            reason: String::new(),
        }
    }
}

fn credential(pens: &Pens, name: &str) -> Credential {
    Credential::Ssh(SshKey::from_authorized_line(&pens.line(name).unwrap()).unwrap())
}
