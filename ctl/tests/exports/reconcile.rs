//! What `portctl audit reconcile` finds on a chain that no record has signed, and whom it does not
//! accuse.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use portcullis_policy::tree::leaf_hash;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{Ran, Script};
use crate::journal::{HOT, Journal, NOVEMBER, PAY, portctl};
use crate::support::transactions::{Transaction, address, each_type, key, sign};

fn hot() -> Address {
    address(&key(1))
}

/// The raw transaction of key hot.
fn raw(one: &Transaction) -> Vec<u8> {
    one.raw(&sign(&key(1), one.digest()))
}

/// A journal in which key hot signed these, each for the nonce of its place.
fn signed(transactions: &[Transaction]) -> Journal {
    let mut journal = Journal::new();
    for (one, nonce) in transactions.iter().zip(0..) {
        journal.signed((PAY, HOT), nonce, &one.preimage, json!([]));
    }
    journal
}

fn reconcile(journal: &Journal, mined: &str, more: &[&str]) -> (TempDir, Ran) {
    let folder = tempfile::tempdir().expect("folder");
    journal.export(folder.path());
    std::fs::write(folder.path().join("mined"), mined).expect("write");
    let run = ["audit", "reconcile", "journal", "--mined", "mined", "--output", "json"];
    let ran = portctl(folder.path(), &[&run[..], more].concat());
    (folder, ran)
}

fn line(from: Address, nonce: u64) -> String {
    let hash = B256::with_last_byte(9);
    json!({ "chain": 1, "hash": hash, "from": from, "nonce": nonce }).to_string()
}

#[test]
fn every_type_of_raw_transaction_is_matched_by_what_was_signed() {
    let all = each_type();
    let mined: Vec<String> = all.iter().map(|one| format!("0x{}", hex::encode(raw(one)))).collect();
    let (_folder, ran) = reconcile(&signed(&all), &mined.join("\n"), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = ran.json();
    assert_eq!((&told["matched"], &told["outside"]), (&json!(all.len()), &json!([])));
}

#[test]
fn a_transaction_that_no_record_has_signed_was_made_outside_the_signer() {
    let all = each_type();
    let mined: Vec<String> = all.iter().map(|one| format!("0x{}", hex::encode(raw(one)))).collect();
    let (_folder, ran) = reconcile(&signed(&all[1..]), &mined.join("\n"), &[]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let told = ran.json();
    assert_eq!(told["matched"], all.len() - 1);
    let found = &told["outside"][0];
    assert_eq!(found["hash"], json!(keccak256(raw(&all[0]))));
    assert_eq!((&found["label"], &found["proof"]), (&json!("hot"), &json!("signature")));
    assert!(ran.err.contains("portctl freeze"), "{}", ran.err);
}

#[test]
fn a_line_without_what_was_signed_is_compared_by_nonce_and_called_so() {
    let journal = signed(&each_type());
    let mined = [line(hot(), 0), line(Address::repeat_byte(0xee), 7), String::new()].join("\n");
    let (_folder, ran) = reconcile(&journal, &mined, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = ran.json();
    assert_eq!((&told["matched"], &told["matched_by_nonce"]), (&json!(0), &json!(1)));
    assert_eq!(told["other_senders"], 1);
    assert_eq!(told["signed_not_mined"], each_type().len() - 1);
    let (_folder, ran) = reconcile(&journal, &line(hot(), 99), &[]);
    assert_eq!((ran.code, &ran.json()["outside"][0]["nonce"]), (8, &json!(99)), "{ran:?}");
}

#[test]
fn freezing_stops_the_key_once_and_names_the_hash_and_without_a_signer_it_is_a_slip() {
    let journal = signed(&each_type());
    let mined = [line(hot(), 98), line(hot(), 99)].join("\n");
    let (_folder, ran) = reconcile(&journal, &mined, &["--freeze"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("--freeze needs the signer"), "{}", ran.err);

    let run = ["audit", "reconcile", "journal", "--mined", "mined", "--freeze"];
    let vault = leaf_hash(&journal.lines[0]).to_vec();
    let rig = Script { vault, ..Default::default() }.run();
    journal.export(rig.folder.path());
    rig.file("mined", &mined);
    let ran = rig.portctl(&[&run[..], &["--output", "json"]].concat());
    assert_eq!((ran.code, &ran.json()["frozen"][0]["sequence"]), (8, &json!(42)), "{ran:?}");
    let stops: Vec<_> =
        rig.seen().into_iter().filter(|call| call.contains("used outside")).collect();
    let hash = B256::with_last_byte(9).to_string();
    assert!(stops.len() == 1 && stops[0].contains(&hash) && stops[0].contains(HOT), "{stops:?}");

    // Another vault's signer is told nothing.
    let other = Script::default().run();
    journal.export(other.folder.path());
    other.file("mined", &mined);
    let ran = other.portctl(&run);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing was done"), "{}", ran.err);
    assert!(!other.seen().iter().any(|call| call.contains("used outside")));
}

#[test]
fn what_cannot_be_reconciled_says_what_to_change() {
    let journal = signed(&each_type());
    let dead = ["--rpc", "ethereum=http://127.0.0.1:1/secret"];
    for (code, words, mined, more) in [
        (1, "line 1 of mined is no mined transaction", "{}", &[][..]),
        (1, "no signed transaction of type 0 to 4", "0x02c0", &[]),
        (6, "the node of ethereum at http://127.0.0.1:1 could not be read", "", &dead),
        (2, "the book names no chain base", "", &["--rpc", "base=http://x"]),
        (2, "has two nodes", "", &["--rpc", "1=http://x", "--rpc", "ethereum=http://y"]),
        (2, "begins with http", "", &["--rpc", "ethereum=ws://x"]),
        (2, "write a block's number", "", &[dead[0], dead[1], "--from-block", "latest"]),
    ] {
        let (_folder, ran) = reconcile(&journal, mined, more);
        assert_eq!(ran.code, code, "{words}: {ran:?}");
        // A node that is away is told beside what the file has.
        assert_eq!(ran.out.is_empty(), code != 6, "{words}: {ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
    let folder = tempfile::tempdir().expect("folder");
    journal.export(folder.path());
    let ran = portctl(folder.path(), &["audit", "reconcile", "journal"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let text = std::fs::read_to_string(folder.path().join("journal")).expect("export");
    std::fs::write(folder.path().join("journal"), text.replace("acme", "evil")).expect("write");
    std::fs::write(folder.path().join("mined"), "").expect("write");
    let ran = portctl(folder.path(), &["audit", "reconcile", "journal", "--mined", "mined"]);
    assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{ran:?}");
}

/// A node of chain 1 with a block a second since the first of November.
#[derive(Clone)]
struct Chain {
    blocks: u64,
    /// A transaction of key hot, of which no record tells, in this block.
    outside: u64,
    /// How many transactions of key hot are mined.
    count: u64,
    /// The block whose parent is another one.
    torn: Option<u64>,
    code: &'static str,
}

impl Default for Chain {
    fn default() -> Self {
        Self { blocks: 100, outside: 50, count: 1, torn: None, code: "0x" }
    }
}

impl Chain {
    /// Answers until the test is over.
    fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let rpc = format!("ethereum=http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (mut asked, mut part) = (Vec::new(), [0; 4_096]);
                let question: Value = loop {
                    let count = stream.read(&mut part).expect("read");
                    asked.extend_from_slice(&part[..count]);
                    let text = String::from_utf8_lossy(&asked);
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                    if let Some(Ok(question)) = body.map(serde_json::from_str) {
                        break question;
                    }
                };
                let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": self.answer(&question) });
                let answer = answer.to_string();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                stream.write_all(text.as_bytes()).expect("write");
            }
        });
        rpc
    }

    fn answer(&self, question: &Value) -> Value {
        let number = |text: &Value| {
            let digits = text.as_str().expect("text").trim_start_matches("0x");
            u64::from_str_radix(digits, 16).expect("a number")
        };
        let params = &question["params"];
        match question["method"].as_str().expect("a method") {
            "eth_chainId" => json!("0x1"),
            "eth_blockNumber" => json!(format!("{:#x}", self.blocks)),
            "eth_getCode" => json!(self.code),
            "eth_getTransactionCount" => {
                let ours = params[0].as_str().expect("text").to_lowercase();
                let count = if ours == format!("{:#x}", hot()) { self.count } else { 0 };
                json!(format!("{count:#x}"))
            }
            "eth_getBlockByNumber" => self.block(number(&params[0])),
            other => panic!("{other}"),
        }
    }

    fn block(&self, number: u64) -> Value {
        if number > self.blocks {
            return Value::Null;
        }
        let hash = |number: u64| B256::from(U256::from(number));
        let own = hash(number + 1);
        let parent = hash(if self.torn == Some(number) { 7_777 } else { number });
        let mut transactions = vec![json!({ "from": Address::ZERO, "hash": hash(7), "odd": 1 })];
        if number == self.outside {
            transactions.push(json!({
                "type": "0x2", "chainId": "0x1", "nonce": "0x0", "gas": "0x5208", "to": null,
                "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x1", "value": "0x0",
                "input": "0x", "accessList": [], "yParity": "0x0", "v": "0x0", "r": "0x1",
                "s": "0x1", "from": hot(), "hash": B256::with_last_byte(9),
            }));
        }
        json!({
            "number": format!("{number:#x}"),
            "hash": own,
            "parentHash": parent,
            "timestamp": format!("{:#x}", NOVEMBER / 1_000 + number),
            "transactions": transactions,
        })
    }
}

/// Over an export that was made when all of these blocks were there.
fn read(chain: Chain, more: &[&str]) -> Ran {
    let mut journal = Journal::new();
    journal.at(NOVEMBER + 1_000_000).start(0, &[]);
    reconcile_chain(&journal, chain, more)
}

fn reconcile_chain(journal: &Journal, chain: Chain, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("folder");
    journal.export(folder.path());
    let rpc = chain.serve();
    let run = ["audit", "reconcile", "journal", "--rpc", &rpc, "--output", "json"];
    portctl(folder.path(), &[&run[..], more].concat())
}

#[test]
fn a_transaction_in_a_block_that_no_record_has_signed_is_found() {
    let ran = read(Chain::default(), &["--from-block", "40", "--to-block", "ethereum=60"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let told = ran.json();
    let found = &told["outside"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "told once: {told:#}");
    assert_eq!((&found[0]["block"], &found[0]["proof"]), (&json!(50), &json!("node")));
    let as_of = json!({ "block": 60, "at": "2026-11-01T00:01:00.000Z" });
    assert_eq!(told["chains"][0]["read_as_of"], as_of);
}

#[test]
fn numbers_of_transactions_tell_even_where_no_block_was_read() {
    let ran = read(Chain { count: 3, ..Chain::default() }, &[]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let found = &ran.json()["outside"][0];
    assert_eq!((&found["nonce"], &found["last_nonce"]), (&json!(0), &json!(2)));
    // What an account's code creates uses up nonces too.
    let ran = read(Chain { count: 3, code: "0xef0100", ..Chain::default() }, &[]);
    assert_eq!((ran.code, &ran.json()["not_counted"][0]["label"]), (0, &json!("hot")), "{ran:?}");
}

#[test]
fn nobody_is_accused_of_a_block_that_is_not_deep_enough_or_younger_than_the_export() {
    let none =
        |ran: &Ran| assert_eq!((ran.code, &ran.json()["outside"]), (0, &json!([])), "{ran:?}");
    let shallow = Chain { outside: 95, count: 0, ..Chain::default() };
    none(&read(shallow.clone(), &["--from-block", "0"]));
    let ran = read(shallow, &["--from-block", "0", "--confirmations", "5"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let ran = read(Chain::default(), &["--confirmations", "101"]);
    none(&ran);
    assert_eq!(ran.json()["not_read"][0]["name"], "ethereum");

    // Its last record is of the beginning of November; what was mined since may be on record.
    let early = Journal::new();
    let chain = Chain { count: 0, ..Chain::default() };
    let ran = reconcile_chain(&early, chain.clone(), &["--from-block", "0"]);
    none(&ran);
    assert_eq!(ran.json()["chains"][0]["read_as_of"]["block"], 0);
    let until = ["--from-block", "0", "--exported", "2026-11-01T00:01:00Z"];
    let ran = reconcile_chain(&early, chain, &until);
    assert_eq!((ran.code, &ran.json()["chains"][0]["blocks"]["to"]), (8, &json!(60)), "{ran:?}");
}

#[test]
fn a_chain_that_is_reorganised_or_behind_is_not_read_further() {
    let torn = Chain { torn: Some(60), ..Chain::default() };
    let ran = read(torn, &["--from-block", "50"]);
    assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{ran:?}");
    assert!(ran.err.contains("block 60 of ethereum"), "{}", ran.err);
    let ran = read(Chain::default(), &["--from-block", "200"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("the last block that is deep enough"), "{}", ran.err);
}

#[test]
fn a_node_that_is_away_hides_nothing_that_another_tells() {
    let away = ["--from-block", "ethereum=0", "--rpc", "5=http://127.0.0.1:1"];
    let ran = read(Chain::default(), &away);
    assert_eq!((ran.code, &ran.json()["not_read"][0]["chain_id"]), (8, &json!(5)), "{ran:?}");
    let ran = read(Chain { outside: 1_000, count: 0, ..Chain::default() }, &away);
    assert_eq!((ran.code, &ran.json()["outside"]), (6, &json!([])), "{ran:?}");
}

#[test]
fn the_live_journal_is_read_as_an_export_is() {
    let journal = Journal::new();
    let rig = live(&journal);
    rig.file("mined", &line(hot(), 5));
    let ran = rig.portctl(&["audit", "reconcile", "--mined", "mined", "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["live"]), (8, &json!(true)), "{ran:?}");
    assert_eq!(ran.json()["checked"]["size"], journal.lines.len());
}

fn live(journal: &Journal) -> crate::fake::Rig {
    let mut frontier = portcullis_policy::tree::Frontier::default();
    journal.lines.iter().for_each(|line| frontier.push(leaf_hash(line)));
    let (size, root) = (frontier.size(), frontier.root().to_vec());
    let lines = (1..).zip(&journal.lines).map(|(sequence, content)| {
        portcullis_proto::v1::JournalLine { sequence, content: content.clone() }
    });
    let head = Some(portcullis_proto::v1::JournalHead { size, root });
    let batch = portcullis_proto::v1::ReadJournalResponse { lines: lines.collect(), head };
    let vault = leaf_hash(&journal.lines[0]).to_vec();
    Script { vault, journal: vec![batch], ..Default::default() }.run()
}
