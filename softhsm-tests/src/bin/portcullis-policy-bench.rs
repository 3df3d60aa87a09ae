//! Measures policy by itself: decisions over long books, decoding, reading a book of a million
//! addresses. No token, no journal, no network.
//!
//! Every figure is a median over rounds, and stands beside a unit measured in the same rounds: one
//! Keccak-256 over 1 KiB. Nothing here asserts a duration.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use alloy_primitives::{Address, U256, keccak256};
use clap::Parser;
use portcullis_policy::abi;
use portcullis_policy::book::{Book, Recipients};
use portcullis_policy::decide::{Decision, decide};
use portcullis_policy::examples;
use portcullis_policy::request::{Asker, Input, Request};
use portcullis_policy::state::State;
use portcullis_policy::tx::{Destination, Draft, UnsignedTx};
use portcullis_policy::value::Value;
use portcullis_softhsm_tests::measure::sample;
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

/// One row: a name, and nanoseconds (or what the name says).
struct Row {
    name: String,
    median: f64,
    least: f64,
    most: f64,
    units: f64,
}

fn main() {
    let args = Args::parse();
    let (rounds, each) = if args.quick { (3, 2_000) } else { (15, 20_000) };
    let data = vec![0xa5_u8; 1_024];
    let unit = |rounds| {
        sample(rounds, each, || {
            black_box(keccak256(black_box(&data)));
        })
    };
    let (unit_ns, ..) = unit(rounds);
    let mut rows = Vec::new();
    let mut row = |name: String, (median, least, most): (f64, f64, f64)| {
        println!(
            "{name:<58} {median:>10.0} ns  ({least:.0} to {most:.0})  {:>7.2}",
            median / unit_ns
        );
        rows.push(Row { name, median, least, most, units: median / unit_ns });
    };
    println!("{:<58} {:>10}     (least to most)  in Keccak-256 of 1 KiB", "what", "median");
    row("Keccak-256 of 1 KiB".into(), unit(rounds));

    let listed: &[usize] =
        if args.quick { &[100, 10_000] } else { &[100, 10_000, 100_000, 1_000_000] };
    for addresses in listed {
        let bench = Bench::new(*addresses);
        for (what, requests) in bench.requests(*addresses) {
            let (book, now) = (bench.state.book(), bench.state.at());
            // Another address each time, so that no list sits in the processor's cache. A request
            // is taken by value: what its copy takes is left out.
            let mut at = 0;
            let mut next = || {
                at = (at + 1) % requests.len();
                &requests[at]
            };
            let decided = sample(rounds, each, || {
                let request = next();
                let facts = bench.state.facts(request, now, None);
                drop(black_box(decide(book, &facts, request.clone())));
            });
            let copied = sample(rounds, each, || drop(black_box(next().clone())));
            let (median, least, most) = decided;
            let net = (median - copied.0, least - copied.0, most - copied.0);
            row(format!("decide: {what}, {addresses} addresses"), net);
        }
    }

    decoding(rounds, each / 4, &mut row);
    let million = if args.quick { 50_000 } else { 1_000_000 };
    let text = book_text(million);
    let begun = Instant::now();
    let book = Book::parse(&text).unwrap();
    let parsed = begun.elapsed().as_secs_f64();
    let per_address = bytes_per_address(&book);
    println!("read a book of {million} addresses: {parsed:.2} s");
    println!("memory for each listed address: {per_address:.0} bytes");
    if let Some(path) = args.summary {
        let figures: Vec<serde_json::Value> = rows.iter().map(Row::json).collect();
        let summary = json!({
            "rows": figures,
            "book_addresses": million,
            "book_seconds": parsed,
            "bytes_per_address": per_address,
            "quick": args.quick,
        });
        std::fs::write(path, format!("{summary:#}\n")).unwrap();
    }
}

/// Reading what callers send.
fn decoding(rounds: usize, each: usize, row: &mut impl FnMut(String, (f64, f64, f64))) {
    let call = call_of(1_024);
    row(
        "decode: transaction with a call of 1 KiB".into(),
        sample(rounds, each, || drop(black_box(UnsignedTx::decode(black_box(&call)).unwrap()))),
    );
    let function = abi::function("payAll((address to, uint256 amount)[] orders)").unwrap();
    let order = Value::List(vec![
        Value::Address(Address::repeat_byte(3)),
        Value::Uint(U256::from(1_000_000)),
    ]);
    let arguments = abi::encode(function.parameters(), &[Value::List(vec![order; 15])]);
    assert_eq!(arguments.len(), 1_024);
    row(
        "decode: arguments of 1 KiB, against their types".into(),
        sample(rounds, each, || {
            drop(black_box(abi::decode(function.parameters(), black_box(&arguments)).unwrap()));
        }),
    );
}

/// What the list takes: copies of it, by what the process holds more afterwards.
fn bytes_per_address(book: &Book) -> f64 {
    let rules = book.rules(&"hot".parse().unwrap()).unwrap();
    let Recipients::Only(list) = &rules.native.as_ref().unwrap().to else { return f64::NAN };
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4_096.0
    };
    // The first copies take what reading the book has freed.
    let first: Vec<_> = (0..32).map(|_| (**list).clone()).collect();
    let before = resident();
    let copies: Vec<_> = (0..16).map(|_| (**list).clone()).collect();
    let taken = resident() - before;
    black_box((&first, &copies));
    taken / 16.0 / list.len() as f64
}

impl Row {
    fn json(&self) -> serde_json::Value {
        json!({
            "what": self.name,
            "median_ns": self.median,
            "least_ns": self.least,
            "most_ns": self.most,
            "in_keccak_1kib": self.units,
        })
    }
}

/// A vault whose book has a thousand rules and so many addresses.
struct Bench {
    state: State,
}

impl Bench {
    fn new(addresses: usize) -> Self {
        let book = Book::parse(&book_text(addresses)).unwrap();
        Self { state: examples::fresh_state(&book).unwrap() }
    }

    fn asker(&self) -> Asker {
        let (key, found) = self.state.key_named("hot").unwrap();
        Asker {
            caller: "spiffe://acme/payouts".parse().unwrap(),
            expected: found.made.as_ref().unwrap().address,
            key,
            request: "bench".parse().unwrap(),
        }
    }

    /// Kinds of requests, each over a few thousand of the listed addresses.
    fn requests(&self, addresses: usize) -> Vec<(&'static str, Vec<Request>)> {
        let asked = |to: Address, value: u128, data: Vec<u8>| {
            let preimage = draft(to, value, data);
            Request::decode(self.asker(), &Input::Transaction(preimage)).unwrap()
        };
        let transfer = |to: Address| {
            let amount = U256::from(1_000_000).to_be_bytes::<32>();
            [&[0xa9, 0x05, 0x9c, 0xbb][..], to.into_word().as_slice(), &amount].concat()
        };
        let token = Address::with_last_byte(7);
        let some = || (0..4_096).map(|n| listed(n * 7_919 % addresses));
        let payments = some().map(|to| asked(to, 1_000_000, Vec::new()));
        let transfers = some().map(|to| asked(token, 0, transfer(to)));
        let strangers = (0..4_096_usize).map(|n| asked(listed(usize::MAX - n), 1, Vec::new()));
        let requests = vec![
            ("native payment, allowed", payments.collect::<Vec<_>>()),
            ("token transfer, allowed", transfers.collect()),
            ("payment to a stranger, refused", strangers.collect()),
        ];
        for (what, requests) in &requests {
            for request in requests {
                let facts = self.state.facts(request, self.state.at(), None);
                let decision = decide(self.state.book(), &facts, request.clone());
                let allowed = matches!(decision, Decision::Allow(_));
                assert_eq!(allowed, what.ends_with("allowed"), "{what}: {decision:?}");
            }
        }
        requests
    }
}

fn draft(to: Address, value: u128, data: Vec<u8>) -> Vec<u8> {
    Draft {
        chain: portcullis_policy::id::ChainId(1),
        nonce: 0,
        gas_limit: 100_000,
        max_fee: portcullis_policy::money::Amount::from(10_000_000_000),
        priority: portcullis_policy::money::Amount::from(1_000_000_000),
        to: Destination::Call(to),
        value: portcullis_policy::money::Amount::from(value),
        data,
    }
    .preimage()
}

fn call_of(bytes: usize) -> Vec<u8> {
    draft(Address::repeat_byte(3), 0, vec![0x5a; bytes])
}

/// The nth address of the list. Spread as addresses are.
fn listed(n: usize) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

/// A thousand rules: 200 tokens and 200 calls of one key, and 600 keys beside it.
fn book_text(addresses: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("version = 1\n[chain.ethereum]\nid = 1\nnative = \"ETH\"\n");
    for n in 0..200_u8 {
        let token = Address::with_last_byte(n).to_checksum(None);
        let token = if n == 0 { Address::repeat_byte(0xcc).to_checksum(None) } else { token };
        writeln!(
            text,
            "[asset.T{n}]\nkind = \"erc20\"\nchain = \"ethereum\"\naddress = \"{token}\"\n\
             decimals = 6"
        )
        .unwrap();
        let contract = Address::from(
            [0xc0_u8.wrapping_add(n % 16), n].repeat(10).as_slice().try_into().unwrap_or([1; 20]),
        )
        .to_checksum(None);
        writeln!(text, "[contract.c{n}]\nchain = \"ethereum\"\naddress = \"{contract}\"").unwrap();
    }
    text.push_str("[list]\nmany = [\n");
    for n in 0..addresses {
        writeln!(text, "  \"{:#x}\",", listed(n)).unwrap();
    }
    text.push_str("]\n[caller.\"spiffe://acme/payouts\"]\nowners = [\"carol\"]\n");
    let key = "callers = [\"spiffe://acme/payouts\"]\nchains = [\"ethereum\"]\n\
         native = { to = \"@many\", per_tx = \"10 ETH\", \
         window = [\"25 ETH / 1h\", \"100 ETH / 24h\"] }\n\
         fees = { per_tx = \"0.05 ETH\", window = \"1 ETH / 24h\", max_priority_fee = \"5 gwei\", \
         counts_as = \"native\" }\n\
         rate = { per_caller = \"20/s\", per_key = \"50/s\", parked = 25 }\n";
    writeln!(text, "[key.hot]\n{key}").unwrap();
    for n in 0..200 {
        writeln!(
            text,
            "token.T{n} = {{ to = \"@many\", per_tx = \"5 T{n}\", window = \"9 T{n} / 24h\" }}"
        )
        .unwrap();
    }
    for n in 0..200 {
        writeln!(
            text,
            "[[key.hot.call]]\ncontract = \"@c{n}\"\n\
             function = \"f{n}(address to, uint256 amount)\"\n\
             where = {{ to = \"self\", amount = \"<= 5\" }}"
        )
        .unwrap();
    }
    for n in 0..600 {
        writeln!(text, "[key.k{n}]\n{key}").unwrap();
    }
    text
}
