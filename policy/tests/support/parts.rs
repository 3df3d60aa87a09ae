//! Parts of books, calls and typed data that several tests put together.

use alloy_primitives::{Address, U256};
use portcullis_policy::abi;
use portcullis_policy::book::Book;
use portcullis_policy::decide::Decision;
use portcullis_policy::request::Input;
use portcullis_policy::value::Value;

use super::{Ask, CALLER, Vault};

pub const HEAD: &str = "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n";

pub const FEES: &str = "fees = { per_tx = \"1 ETH\", window = \"unlimited\", \
                        max_priority_fee = \"unlimited\", counts_as = \"native\" }\n";

/// The callers and the head of `[key.hot]`, after which its fields go.
pub fn key_head() -> String {
    format!(
        "[caller.\"{CALLER}\"]\nowners = [\"alan\"]\n[caller.other]\nowners = [\"alan\"]\n\
         [key.hot]\ncallers = [\"{CALLER}\", \"other\"]\nchains = [\"main\"]\n\
         rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 9 }}\n"
    )
}

pub fn contract(name: &str, at: Address, kind: &str) -> String {
    let kind = if kind.is_empty() { String::new() } else { format!("kind = \"{kind}\"\n") };
    format!("[contract.{name}]\nchain = \"main\"\naddress = \"{at:#x}\"\n{kind}")
}

pub fn token(name: &str, at: Address, kind: &str) -> String {
    let decimals = match kind {
        "erc20" => "decimals = 6\n",
        "wrapped-native" => "decimals = 18\n",
        _ => "",
    };
    format!(
        "[asset.{name}]\nkind = \"{kind}\"\nchain = \"main\"\naddress = \"{at:#x}\"\n{decimals}"
    )
}

pub fn eth(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

pub fn uint(number: u64) -> Value {
    Value::Uint(U256::from(number))
}

/// A call, with its arguments.
pub fn encoded(signature: &str, values: &[Value]) -> Vec<u8> {
    let function = abi::function(signature).unwrap();
    [&function.selector()[..], &abi::encode(function.parameters(), values)].concat()
}

/// Typed data of one flat struct.
pub fn typed(kind: &str, domain: &str, message: &str) -> Input {
    let (name, members) = kind.split_once('(').unwrap();
    let members = members.trim_end_matches(')').split(',').map(|member| {
        let (kind, name) = member.split_once(' ').unwrap();
        format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}")
    });
    let members: Vec<String> = members.collect();
    Input::Typed(format!(
        "{{\"types\":{{\"{name}\":[{}]}},\"primaryType\":\"{name}\",\"domain\":{{{domain}}},\
         \"message\":{{{message}}}}}",
        members.join(",")
    ))
}

/// What a request is refused for. Empty: it is not.
pub fn codes(vault: &mut Vault, ask: &Ask) -> Vec<String> {
    match vault.decide(ask) {
        Decision::Allow(_) => Vec::new(),
        Decision::Park(_) => vec!["PARKED".into()],
        Decision::Deny(denial) => {
            denial.findings.reasons().into_iter().map(|reason| reason.code).collect()
        }
    }
}

/// Whether one person may put the second book in the place of the first.
pub fn narrows(old: &str, new: &str) -> bool {
    let read = |text: &str| Book::parse(text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    read(old).difference(&read(new)).is_narrowing()
}
