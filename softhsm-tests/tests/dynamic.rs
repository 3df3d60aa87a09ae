//! Calldata and typed data against independent implementations, on generated input: alloy's dyn-abi
//! for both, and viem for the digests of typed data. Accepted and refused are both compared.
//!
//! `PORTCULLIS_ORACLE_CASES` sets how many of each kind are tried.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, B256, I256, U256, keccak256};
use portcullis_policy::abi;
use portcullis_policy::typed::{StructType, TypedData};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

struct Dice(StdRng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(bytes.as_mut_slice());
        bytes
    }

    fn number(&mut self, bits: usize) -> U256 {
        let width = self.below(bits + 1);
        let number = U256::from_be_slice(&self.bytes(32));
        if width == 0 { U256::ZERO } else { number >> (256 - width) }
    }

    fn text(&mut self) -> String {
        let length = self.below(40);
        (0..length).map(|_| char::from(b' ' + u8::try_from(self.below(94)).unwrap())).collect()
    }
}

fn cases(default: usize) -> usize {
    let asked = std::env::var("PORTCULLIS_ORACLE_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

// Calldata.

fn any_type(dice: &mut Dice, depth: usize) -> DynSolType {
    match dice.below(if depth == 0 { 8 } else { 11 }) {
        0 => DynSolType::Address,
        1 => DynSolType::Bool,
        2 => DynSolType::Uint(8 * (1 + dice.below(32))),
        3 => DynSolType::Int(8 * (1 + dice.below(32))),
        4 => DynSolType::FixedBytes(1 + dice.below(32)),
        5 => DynSolType::Bytes,
        6 => DynSolType::String,
        7 => DynSolType::Uint(256),
        8 => DynSolType::Array(Box::new(any_type(dice, depth - 1))),
        9 => DynSolType::FixedArray(Box::new(any_type(dice, depth - 1)), 1 + dice.below(3)),
        _ => {
            let members = 1 + dice.below(3);
            DynSolType::Tuple((0..members).map(|_| any_type(dice, depth - 1)).collect())
        }
    }
}

fn any_value(dice: &mut Dice, kind: &DynSolType) -> DynSolValue {
    let many = |dice: &mut Dice, kind: &DynSolType, count: usize| -> Vec<DynSolValue> {
        (0..count).map(|_| any_value(dice, kind)).collect()
    };
    match kind {
        DynSolType::Address => DynSolValue::Address(Address::from_slice(&dice.bytes(20))),
        DynSolType::Bool => DynSolValue::Bool(dice.below(2) == 1),
        DynSolType::Uint(bits) => DynSolValue::Uint(dice.number(*bits), *bits),
        DynSolType::Int(bits) => {
            let size = I256::from_raw(dice.number(*bits - 1));
            DynSolValue::Int(if dice.below(2) == 1 { -size } else { size }, *bits)
        }
        DynSolType::FixedBytes(size) => {
            let bytes = dice.bytes(*size);
            DynSolValue::FixedBytes(B256::right_padding_from(&bytes), *size)
        }
        DynSolType::Bytes => {
            let length = dice.below(70);
            DynSolValue::Bytes(dice.bytes(length))
        }
        DynSolType::String => DynSolValue::String(dice.text()),
        DynSolType::Array(kind) => {
            let count = dice.below(4);
            DynSolValue::Array(many(dice, kind, count))
        }
        DynSolType::FixedArray(kind, count) => DynSolValue::FixedArray(many(dice, kind, *count)),
        DynSolType::Tuple(kinds) => {
            DynSolValue::Tuple(kinds.iter().map(|kind| any_value(dice, kind)).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// The same bytes with something else in them.
fn spoilt(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let words = bytes.len() / 32;
    match dice.below(6) {
        0 => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        1 => bytes.truncate(dice.below(bytes.len())),
        2 => bytes.extend(vec![0; 32]),
        3 if words > 1 => {
            let (one, other) = (dice.below(words), dice.below(words));
            let word = bytes[one * 32..one * 32 + 32].to_vec();
            bytes.copy_within(other * 32..other * 32 + 32, one * 32);
            bytes[other * 32..other * 32 + 32].copy_from_slice(&word);
        }
        4 => {
            let at = dice.below(words) * 32;
            bytes[at..at + 12].copy_from_slice(&dice.bytes(12));
        }
        _ => {
            // Offsets and lengths are small numbers in the last bytes of a word.
            let at = dice.below(words) * 32 + 31;
            bytes[at] = bytes[at].wrapping_add(32);
        }
    }
    bytes
}

#[test]
fn calldata_is_read_as_alloy_reads_it_and_refused_where_its_encoding_is_not_the_only_one() {
    let mut dice = Dice(StdRng::seed_from_u64(0xab1));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..cases(25_000) {
        let members = 1 + dice.below(4);
        let kinds: Vec<DynSolType> = (0..members).map(|_| any_type(&mut dice, 3)).collect();
        let tuple = DynSolType::Tuple(kinds.clone());
        let value = any_value(&mut dice, &tuple);
        let names: Vec<String> =
            kinds.iter().map(|kind| kind.sol_type_name().replace(",)", ")")).collect();
        // alloy writes a tuple of one with a comma behind it.
        let signature = format!("f({})", names.join(","));
        let Ok(function) = abi::function(&signature) else { panic!("{signature}") };
        let selector = keccak256(&signature);
        assert_eq!(function.selector(), selector[..4], "{signature}");
        let sound = value.abi_encode_params();
        let bytes = if dice.below(5) < 2 { sound } else { spoilt(&mut dice, &sound) };
        let theirs = tuple.abi_decode_params(&bytes);
        let canonical = theirs.as_ref().is_ok_and(|value| value.abi_encode_params() == bytes);
        match abi::decode(function.parameters(), &bytes) {
            Ok(values) => {
                assert!(canonical, "{signature} 0x{}", alloy_primitives::hex::encode(&bytes));
                assert_eq!(abi::encode(function.parameters(), &values), bytes);
                *counts.entry("accepted by both").or_default() += 1;
            }
            // Where we are stricter on purpose: alloy replaces what is not UTF-8, has no bound on
            // the number of values, and takes values beyond their type, at which contracts revert.
            Err(abi::NotCanonical::Text | abi::NotCanonical::TooMany) => {
                *counts.entry("stricter here").or_default() += 1;
            }
            Err(_) if theirs.as_ref().is_ok_and(|value| !fits(value)) => {
                *counts.entry("a value beyond its type").or_default() += 1;
            }
            Err(fault) => {
                let shown = alloy_primitives::hex::encode(&bytes);
                assert!(!canonical, "{signature} 0x{shown}: {fault}");
                *counts.entry("refused by both").or_default() += 1;
            }
        }
    }
    println!("calldata: {counts:?}");
    let all: usize = counts.values().sum();
    assert!(counts["accepted by both"] * 3 >= all && counts["refused by both"] * 3 >= all);
}

/// Whether every value is one of its type: alloy keeps what lies beyond it.
fn fits(value: &DynSolValue) -> bool {
    match value {
        DynSolValue::Uint(number, bits) => number.bit_len() <= *bits,
        DynSolValue::FixedBytes(word, size) => word[*size..].iter().all(|byte| *byte == 0),
        DynSolValue::Int(number, bits) => {
            let rest = 256 - bits;
            let sign_extended = (*number << rest).asr(rest);
            sign_extended == *number
        }
        DynSolValue::Array(values)
        | DynSolValue::FixedArray(values)
        | DynSolValue::Tuple(values) => values.iter().all(fits),
        _ => true,
    }
}

// Typed data.

/// A field's type in words, and a value of it.
fn field(dice: &mut Dice, structs: &mut Structs, depth: usize) -> (String, Value) {
    match dice.below(if depth == 0 { 8 } else { 11 }) {
        0 => ("address".into(), json!(Address::from_slice(&dice.bytes(20)).to_checksum(None))),
        1 => ("bool".into(), json!(dice.below(2) == 1)),
        2 | 3 => {
            let bits = 8 * (1 + dice.below(32));
            (format!("uint{bits}"), json!(dice.number(bits).to_string()))
        }
        4 => {
            let bits = 8 * (1 + dice.below(32));
            let size = I256::from_raw(dice.number(bits - 1));
            let value = if dice.below(2) == 1 { -size } else { size };
            (format!("int{bits}"), json!(value.to_string()))
        }
        5 => {
            let size = 1 + dice.below(32);
            let bytes = alloy_primitives::hex::encode_prefixed(dice.bytes(size));
            (format!("bytes{size}"), json!(bytes))
        }
        6 => {
            let length = dice.below(50);
            ("bytes".into(), json!(alloy_primitives::hex::encode_prefixed(dice.bytes(length))))
        }
        7 => ("string".into(), json!(dice.text())),
        8 | 9 => {
            // All elements are of one type: the first one's, with other values where that is easy.
            let (kind, value) = field(dice, structs, depth - 1);
            let count = dice.below(3);
            let list: Vec<Value> = (0..count).map(|_| value.clone()).collect();
            let kind = if dice.below(3) == 0 && count > 0 {
                format!("{kind}[{count}]")
            } else {
                format!("{kind}[]")
            };
            (kind, Value::Array(list))
        }
        _ => structs.make(dice, depth - 1),
    }
}

#[derive(Default)]
struct Structs(Map<String, Value>);

impl Structs {
    fn make(&mut self, dice: &mut Dice, depth: usize) -> (String, Value) {
        let name = format!("S{}", self.0.len());
        self.0.insert(name.clone(), Value::Null);
        let count = 1 + dice.below(4);
        let mut fields = Vec::new();
        let mut value = Map::new();
        for at in 0..count {
            let (kind, one) = field(dice, self, depth);
            fields.push(json!({"name": format!("f{at}"), "type": kind}));
            value.insert(format!("f{at}"), one);
        }
        self.0.insert(name.clone(), Value::Array(fields));
        (name, Value::Object(value))
    }
}

fn domain(dice: &mut Dice) -> (Value, Value) {
    let all = [
        ("name", "string", json!(dice.text())),
        ("version", "string", json!("1")),
        ("chainId", "uint256", json!(1 + dice.below(1 << 40))),
        ("verifyingContract", "address", {
            json!(Address::from_slice(&dice.bytes(20)).to_checksum(None))
        }),
        ("salt", "bytes32", json!(B256::from_slice(&dice.bytes(32)).to_string())),
    ];
    let chosen = 1 + dice.below(31);
    let present = all.into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
    let (mut types, mut values) = (Vec::new(), Map::new());
    for (_, (name, kind, value)) in present {
        types.push(json!({"name": name, "type": kind}));
        values.insert(name.into(), value);
    }
    (Value::Array(types), Value::Object(values))
}

fn typed(dice: &mut Dice) -> Value {
    let mut structs = Structs::default();
    let (primary, message) = structs.make(dice, 3);
    let (types, domain) = domain(dice);
    structs.0.insert("EIP712Domain".into(), types);
    json!({
        "types": structs.0, "primaryType": primary, "domain": domain, "message": message,
    })
}

/// Something a reader may not pass over, and viem and alloy partly do.
fn spoil(dice: &mut Dice, data: &mut Value) -> &'static str {
    match dice.below(6) {
        0 => {
            data["message"]["more"] = json!(1);
            "a field that is in no type"
        }
        1 => {
            data["message"].as_object_mut().unwrap().remove("f0");
            "a field missing"
        }
        2 => {
            data["types"]["Unused"] = json!([{"name": "x", "type": "uint8"}]);
            "a type that is not used"
        }
        3 => {
            data["types"]["S0"][0]["type"] = json!("uint");
            "a type with a second name"
        }
        4 => {
            data["primaryType"] = json!("Nothing");
            "no such type"
        }
        _ => {
            data["extra"] = json!(true);
            "something beside the four parts"
        }
    }
}

#[test]
fn typed_data_has_the_digest_that_alloy_and_viem_compute() {
    let mut dice = Dice(StdRng::seed_from_u64(0x712));
    let (mut accepted, mut refused): (Vec<(Value, B256)>, BTreeMap<&str, usize>) =
        Default::default();
    for _ in 0..cases(30_000) {
        let mut data = typed(&mut dice);
        if dice.below(5) < 2 {
            let why = spoil(&mut dice, &mut data);
            assert!(TypedData::decode(&data.to_string()).is_err(), "{why}: {data}");
            *refused.entry(why).or_default() += 1;
            continue;
        }
        let ours = TypedData::decode(&data.to_string());
        let ours = ours.unwrap_or_else(|fault| panic!("{fault}: {data}"));
        let theirs: alloy_dyn_abi::TypedData = serde_json::from_value(data.clone()).unwrap();
        assert_eq!(ours.digest(), theirs.eip712_signing_hash().unwrap(), "{data}");
        assert_eq!(ours.primary().text(), theirs.encode_type().unwrap(), "{data}");
        let again = StructType::parse(ours.primary().text()).unwrap();
        assert_eq!(again.hash(), ours.primary().hash());
        accepted.push((data, ours.digest()));
    }
    println!("typed data: {} accepted by both, refused here: {refused:?}", accepted.len());
    let all = accepted.len() + refused.values().sum::<usize>();
    assert!(accepted.len() * 3 >= all && (all - accepted.len()) * 3 >= all);
    assert_eq!(viem(&accepted), accepted.len());
}

/// How many digests viem computes as we do: all, or it says which not.
fn viem(cases: &[(Value, B256)]) -> usize {
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/node");
    let script = r#"
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
const require = createRequire(process.argv[2] + "/");
const { hashTypedData } = require("viem");
let count = 0;
for await (const line of createInterface({ input: process.stdin })) {
    const [data, digest] = JSON.parse(line);
    if (hashTypedData(data) !== digest) { console.log("differs: " + line); process.exit(1); }
    count += 1;
}
console.log(count);
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("viem.mjs");
    std::fs::write(&path, script).unwrap();
    let mut node = Command::new("node");
    node.arg(&path).arg(modules).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = node.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> =
        cases.iter().map(|(data, digest)| json!([data, digest.to_string()]).to_string()).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            if writeln!(input, "{line}").is_err() {
                return;
            }
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "viem disagrees, or is not installed (deploy/test): {said}");
    said.trim().parse().unwrap()
}
