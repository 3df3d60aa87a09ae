//! What an example asks for, as the bytes that a caller would send.

use alloy_primitives::Address;
use serde::Deserialize;
use serde_json::Value as Json;

use super::vault::Vault;
use super::{Problem, Step};
use crate::abi;
use crate::id::ChainId;
use crate::money::{Amount, parse_decimal};
use crate::request::{Asker, Input};
use crate::time::Span;
use crate::tx::{Delegation, Destination, Draft};
use crate::typed::{Domain, StructType, TypedData};
use crate::value::{Kind, Value};

/// A transaction of type 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionStep {
    /// The chain's name.
    pub chain: String,
    /// `"@name"` or an address. Absent: it creates a contract.
    pub to: Option<String>,
    /// Coin sent along: `"1 ETH"`.
    pub value: Option<String>,
    /// Absent: one that was not used.
    pub nonce: Option<u64>,
    /// Absent: 21,000, or 100,000 with data.
    pub gas: Option<u64>,
    /// Absent: 10 gwei.
    pub max_fee: Option<String>,
    /// Absent: 1 gwei.
    pub priority_fee: Option<String>,
    /// A function as in its source.
    pub function: Option<String>,
    /// What it is called with.
    #[serde(default)]
    pub arguments: Vec<toml::Value>,
    /// Calls of the same contract, for `multicall(bytes[])`.
    #[serde(default)]
    pub calls: Vec<CallStep>,
    /// Calldata or init code as 0x-hex, instead of a function.
    pub data: Option<String>,
}

/// A call inside another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallStep {
    /// Whom it calls; left out for `multicall(bytes[])`.
    pub to: Option<String>,
    /// Coin that it carries.
    pub value: Option<String>,
    /// Whether the rest of the batch goes on if it fails, in a batch that says so of each call.
    pub may_fail: Option<bool>,
    /// A function as in its source.
    pub function: Option<String>,
    /// What it is called with.
    #[serde(default)]
    pub arguments: Vec<toml::Value>,
}

/// Typed data.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedStep {
    /// The domain: name, version, chain, contract, salt.
    pub domain: DomainStep,
    /// The full type string.
    #[serde(rename = "type")]
    pub kind: String,
    /// Every field.
    pub message: toml::Table,
}

/// A domain of EIP-712.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainStep {
    /// What the contract calls itself.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The chain's name in the book.
    pub chain: Option<String>,
    /// `"@name"` or an address.
    pub contract: Option<String>,
}

/// A message of EIP-4361.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInStep {
    /// The site.
    pub domain: String,
    /// The chain's name.
    pub chain: String,
    /// How long it is good: "10m". Absent: for ever.
    pub expires: Option<String>,
    /// As whom. Absent: the key.
    pub address: Option<String>,
}

/// An EIP-7702 authorization.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationStep {
    /// The chain's name.
    pub chain: String,
    /// Whose code.
    pub to: String,
    /// Absent: one that was not used.
    pub nonce: Option<u64>,
}

/// The bytes that a caller would send.
pub(super) fn input(vault: &Vault, step: &Step, asker: &Asker) -> Result<Input, Problem> {
    let words = Words { vault, own: asker.expected };
    let mut inputs = Vec::new();
    if let Some(transaction) = &step.transaction {
        inputs.push(words.transaction(transaction)?);
    }
    if let Some(typed) = &step.typed {
        inputs.push(words.typed(typed)?);
    }
    if let Some(sign_in) = &step.sign_in {
        inputs.push(words.sign_in(sign_in)?);
    }
    if let Some(authorization) = &step.authorization {
        let (chain, to) = (words.chain(&authorization.chain)?, words.address(&authorization.to)?);
        let nonce = authorization.nonce.unwrap_or_else(|| vault.next_nonce());
        inputs.push(Input::Delegation(Delegation::draft(chain, to, nonce)));
    }
    if let Some(text) = &step.preimage {
        inputs.push(Input::Transaction(bytes(text)?));
    }
    let one = inputs.pop().filter(|_| inputs.is_empty());
    one.ok_or(Problem::Input)
}

/// The words of a book, for one key.
struct Words<'v> {
    vault: &'v Vault,
    own: Address,
}

impl Words<'_> {
    fn transaction(&self, step: &TransactionStep) -> Result<Input, Problem> {
        let data = match (&step.function, &step.data) {
            (Some(_), Some(_)) => return Err(Problem::Input),
            (Some(function), None) => self.call(function, &step.arguments, &step.calls)?,
            (None, Some(text)) => bytes(text)?,
            (None, None) => Vec::new(),
        };
        let amount = |text: &Option<String>, default: u128| match text {
            Some(text) => self.amount(text),
            None => Ok(Amount::from(default)),
        };
        let to = match &step.to {
            Some(to) => Destination::Call(self.address(to)?),
            None => Destination::Create,
        };
        let draft = Draft {
            chain: self.chain(&step.chain)?,
            nonce: step.nonce.unwrap_or_else(|| self.vault.next_nonce()),
            gas_limit: step.gas.unwrap_or(if data.is_empty() { 21_000 } else { 100_000 }),
            max_fee: amount(&step.max_fee, 10_000_000_000)?,
            priority: amount(&step.priority_fee, 1_000_000_000)?,
            to,
            value: amount(&step.value, 0)?,
            data,
        };
        Ok(Input::Transaction(draft.preimage()))
    }

    fn call(
        &self,
        function: &str,
        arguments: &[toml::Value],
        calls: &[CallStep],
    ) -> Result<Vec<u8>, Problem> {
        let function =
            abi::function(function).map_err(|bad| Problem::Signature(bad.to_string()))?;
        let mut values: Vec<Json> = arguments.iter().map(|one| self.json(one)).collect();
        if !calls.is_empty() {
            let inner = calls.iter().map(|one| self.inner(one)).collect::<Result<Vec<_>, _>>()?;
            values.push(Json::Array(inner));
        }
        let kind = Kind::Tuple(None, function.parameters().to_vec());
        let read: Result<Vec<Value>, Problem> = if values.len() == function.parameters().len() {
            let pairs = function.parameters().iter().zip(&values);
            pairs.map(|(member, value)| read(&member.kind, value)).collect()
        } else {
            Err(Problem::Signature(format!("{kind} takes another number of arguments")))
        };
        let arguments = abi::encode(function.parameters(), &read?);
        Ok([&function.selector()[..], &arguments].concat())
    }

    /// A call inside a batch: its bytes, or a tuple with whom it calls and what it carries.
    fn inner(&self, call: &CallStep) -> Result<Json, Problem> {
        let data = match &call.function {
            Some(function) => self.call(function, &call.arguments, &[])?,
            None => Vec::new(),
        };
        let data = Json::from(format!("0x{}", hex::encode(data)));
        let Some(to) = &call.to else { return Ok(data) };
        let to = Json::from(self.address(to)?.to_checksum(None));
        let may_fail = call.may_fail.unwrap_or_default().into();
        Ok(Json::Array(match &call.value {
            None if call.may_fail.is_none() => vec![to, data],
            None => vec![to, may_fail, data],
            Some(value) => vec![to, may_fail, self.amount(value)?.to_string().into(), data],
        }))
    }

    fn typed(&self, step: &TypedStep) -> Result<Input, Problem> {
        let kind = StructType::parse(&step.kind);
        let kind = kind.map_err(|bad| Problem::Signature(bad.to_string()))?;
        let domain = Domain {
            name: step.domain.name.clone(),
            version: step.domain.version.clone(),
            chain: step.domain.chain.as_ref().map(|chain| self.chain(chain)).transpose()?,
            contract: step.domain.contract.as_ref().map(|one| self.address(one)).transpose()?,
            salt: None,
        };
        let message = self.json(&toml::Value::Table(step.message.clone()));
        Ok(Input::Typed(TypedData::assemble(&domain, &kind, &message)))
    }

    fn sign_in(&self, step: &SignInStep) -> Result<Input, Problem> {
        let chain = self.chain(&step.chain)?;
        let address = match &step.address {
            Some(address) => self.address(address)?,
            None => self.own,
        };
        let domain = &step.domain;
        let now = self.vault.now();
        let mut text = format!(
            "{domain} wants you to sign in with your Ethereum account:\n{}\n\n\nURI: \
             https://{domain}\nVersion: 1\nChain ID: {chain}\nNonce: 12345678\nIssued At: {}",
            address.to_checksum(None),
            crate::message::format_time(now),
        );
        if let Some(expires) = &step.expires {
            let span = Span::parse(expires).ok_or_else(|| unreadable("time", expires))?;
            let time = crate::message::format_time(now.plus(span));
            text.push_str(&format!("\nExpiration Time: {time}"));
        }
        Ok(Input::Message(text.into_bytes()))
    }

    /// A value as JSON, with names, amounts and times of the book in their place.
    fn json(&self, value: &toml::Value) -> Json {
        match value {
            toml::Value::String(text) => Json::from(self.word(text)),
            toml::Value::Integer(number) => Json::from(*number),
            toml::Value::Boolean(value) => Json::from(*value),
            toml::Value::Array(values) => values.iter().map(|one| self.json(one)).collect(),
            toml::Value::Table(table) => {
                let fields = table.iter().map(|(name, one)| (name.clone(), self.json(one)));
                Json::Object(fields.collect())
            }
            // No type has such values: they are refused where they are read.
            toml::Value::Float(number) => Json::from(*number),
            toml::Value::Datetime(time) => Json::from(time.to_string()),
        }
    }

    fn word(&self, text: &str) -> String {
        if text == "self" || text.starts_with('@') {
            return self.address(text).map_or(text.to_owned(), |one| one.to_checksum(None));
        }
        if let Some(span) = text.strip_prefix("now + ").and_then(Span::parse) {
            return (self.vault.now().plus(span).0 / 1_000).to_string();
        }
        let amount = text.contains(' ').then(|| self.amount(text).ok()).flatten();
        amount.map_or(text.to_owned(), |amount| amount.to_string())
    }

    fn address(&self, text: &str) -> Result<Address, Problem> {
        if text == "self" {
            return Ok(self.own);
        }
        if let Some(name) = text.strip_prefix('@') {
            let found = self.vault.book().registry().address_named(name);
            let word = text.to_owned();
            return found.ok_or(Problem::Unknown { what: "name", word });
        }
        text.parse().map_err(|_| unreadable("address", text))
    }

    fn amount(&self, text: &str) -> Result<Amount, Problem> {
        let plain = parse_decimal(&text.replace('_', ""));
        let amount = plain.or_else(|| self.vault.book().registry().parse_amount(text));
        amount.ok_or_else(|| unreadable("amount", text))
    }

    fn chain(&self, name: &str) -> Result<ChainId, Problem> {
        let found = self.vault.book().registry().chain_named(name);
        // A chain beside the book can be named by its number.
        let number = || name.parse().ok().map(ChainId);
        found
            .or_else(number)
            .ok_or_else(|| Problem::Unknown { what: "chain", word: name.to_owned() })
    }
}

fn read(kind: &Kind, json: &Json) -> Result<Value, Problem> {
    crate::typed::read_value(kind, json).map_err(|fault| Problem::Signature(fault.to_string()))
}

fn bytes(text: &str) -> Result<Vec<u8>, Problem> {
    let digits = text.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
    digits.ok_or_else(|| unreadable("hex", text))
}

fn unreadable(what: &'static str, word: &str) -> Problem {
    Problem::Value { what, word: word.to_owned() }
}
