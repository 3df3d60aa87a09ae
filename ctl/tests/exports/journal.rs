//! A journal as it is exported. Its records have their true form and place; whether the signer
//! would have written them, only `audit verify` asks.

use std::path::Path;
use std::process::Command;

use alloy_primitives::{Address, B256, hex, keccak256};
use portcullis_policy::record::Entry;
use portcullis_policy::tree::{Frontier, leaf_hash};
use serde_json::{Value, json};

use crate::fake::{self, Ran};
use crate::support::transactions::{address, key};

pub const HOT: &str = "00000000000000000000000000000001";
pub const COLD: &str = "00000000000000000000000000000002";
pub const PAY: &str = "spiffe://acme/pay";
pub const SWEEP: &str = "spiffe://acme/sweep";
pub const DAY: u64 = 86_400_000;

/// 2026-11-01T00:00:00.000Z.
pub const NOVEMBER: u64 = 1_793_491_200_000;

/// Coin of chain 1, and one token with two decimals.
pub const BOOK: &str = r#"version = 1
[chain.ethereum]
id = 1
native = "ETH"
[asset.EUR]
kind = "erc20"
chain = "ethereum"
address = "0x2222222222222222222222222222222222222222"
decimals = 2
"#;

pub struct Journal {
    pub lines: Vec<Vec<u8>>,
    /// When the next record is written.
    at: u64,
}

impl Journal {
    /// Genesis on the first of November, a start, and the keys hot and cold.
    pub fn new() -> Self {
        Self::with(BOOK)
    }

    pub fn with(book: &str) -> Self {
        let mut journal = Self { lines: Vec::new(), at: NOVEMBER };
        journal.push(json!({ "genesis": {
            "book": book,
            "environment": "production",
            "format": 1,
            "people": [
                { "control": "ada.example", "credentials": [], "id": "ada", "roles": ["security"] },
                { "control": "bob.example", "credentials": [], "id": "bob", "roles": ["operator"] },
            ],
            "salt": B256::repeat_byte(5),
        }}));
        journal.start(0, &[]);
        journal.key(HOT, "hot", address(&key(1)));
        journal.key(COLD, "cold", address(&key(2)));
        journal
    }

    /// The time of the records that follow.
    pub fn at(&mut self, millis: u64) -> &mut Self {
        self.at = millis;
        self
    }

    pub fn push(&mut self, record: Value) -> u64 {
        let seq = self.lines.len() as u64 + 1;
        let at = json!({ "possible": self.at, "sure": self.at });
        let entry = json!({ "at": at, "record": record, "seq": seq });
        let entry: Entry = serde_json::from_value(entry).expect("a record");
        self.lines.push(entry.encode().expect("encodes"));
        seq
    }

    pub fn start(&mut self, cut: u64, lost: &[u64]) {
        self.push(json!({ "started": {
            "boot": "a-boot",
            "boot_clock": self.at,
            "cut": cut,
            "epoch": self.lines.len(),
            "lost": lost,
            "version": "0.1.0",
            "wall_clock": self.at,
        }}));
    }

    pub fn key(&mut self, id: &str, label: &str, address: Address) {
        self.push(json!({ "key_intended": {
            "by": "bob", "chains": [1], "environment": "production", "key": id, "label": label,
            "owner": "ada", "purpose": "payments", "review_by": NOVEMBER, "tags": ["eu"],
        }}));
        let point = "04".repeat(65);
        self.push(json!({ "key_created": { "address": address, "key": id, "point": point } }));
    }

    /// A decision that was asked for with these bytes.
    pub fn asked(&self, caller: &str, key: &str, preimage: &[u8]) -> Value {
        let number = self.lines.len() + 1;
        json!({
            "at": { "possible": self.at, "sure": self.at },
            "by": {
                "caller": caller, "expected": Address::ZERO, "key": key,
                "request": format!("r-{number}"),
            },
            "digest": keccak256(preimage),
            "input": { "transaction": format!("0x{}", hex::encode(preimage)) },
            "number": number,
            "seen": self.lines.len(),
        })
    }

    /// A signature over these bytes, for a nonce of chain 1, charged so.
    pub fn signed(
        &mut self,
        whose: (&str, &str),
        nonce: u64,
        preimage: &[u8],
        charge: Value,
    ) -> u64 {
        self.signed_with(whose, nonce, preimage, json!({ "charge": charge }))
    }

    pub fn signed_with(
        &mut self,
        (caller, key): (&str, &str),
        nonce: u64,
        preimage: &[u8],
        more: Value,
    ) -> u64 {
        let mut signed = json!({
            "asked": self.asked(caller, key, preimage),
            "book": B256::ZERO,
            "charge": [],
            "signature_sha256": B256::ZERO,
            "slot": { "chain": 1, "nonce": nonce.to_string() },
        });
        for (name, value) in more.as_object().expect("fields") {
            signed[name] = value.clone();
        }
        self.push(json!({ "signed": signed }))
    }

    pub fn denied(&mut self, caller: &str, key: &str, code: &str) {
        let asked = self.asked(caller, key, b"refused");
        let reason = |code: &str| json!({ "code": code, "rule": "r", "saw": "" });
        self.push(json!({ "denied": {
            "asked": asked, "book": B256::ZERO, "counted": [],
            "reasons": [reason(code), reason("LATER")],
        }}));
    }

    pub fn voted(&mut self, by: &str, choice: &str, matter: Value) -> u64 {
        self.push(json!({ "voted": {
            "by": by, "choice": choice, "credential": "SHA256:x", "evidence": { "ssh": "x" },
            "matter": matter, "reason": "",
        }}))
    }

    pub fn frozen(&mut self, scope: Value, reason: &str) -> u64 {
        self.push(json!({
            "frozen": { "by": { "person": "ada" }, "reason": reason, "scope": scope },
        }))
    }

    pub fn proposed(&mut self, act: Value, reason: &str) -> u64 {
        self.push(json!({ "proposed": {
            "act": act, "by": "ada", "execute_until": self.at, "expires": self.at,
            "reason": reason, "statement": "a text\n",
        }}))
    }

    pub fn executed(&mut self, proposal: u64, votes: &[u64]) -> u64 {
        self.push(json!({ "executed": { "by": "ada", "proposal": proposal, "votes": votes } }))
    }

    /// Writes it as `journal` into a folder, with its head.
    pub fn export(&self, folder: &Path) {
        let mut frontier = Frontier::default();
        for line in self.lines.iter().filter(|line| !line.starts_with(b"{\"attachment\"")) {
            frontier.push(leaf_hash(line));
        }
        let text = [self.lines.join(&b'\n'), b"\n".to_vec()].concat();
        std::fs::write(folder.join("journal"), text).expect("write");
        let head = json!({
            "root": format!("0x{}", hex::encode(frontier.root())),
            "size": frontier.size(),
        });
        std::fs::write(folder.join("journal.head"), head.to_string()).expect("write");
    }
}

/// A charge of wei, of which fees.
pub fn eth(wei: u128, fee: u128) -> Value {
    json!([
        { "amount": wei.to_string(), "asset": "native", "chain": 1 },
        { "amount": fee.to_string(), "asset": "fee", "chain": 1 },
    ])
}

/// A charge of the token with two decimals.
pub fn eur(units: &str) -> Value {
    json!([{ "amount": units, "asset": format!("0x{}", "22".repeat(20)), "chain": 1 }])
}

/// Runs portctl where no signer is known.
pub fn portctl(folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portctl"));
    fake::run(command.current_dir(folder).args(args))
}
