//! From JSON to values, against the types that came with it.

use alloy_primitives::{Address, B256, U256};

use super::json::Json;
use super::types::{Definitions, StructType};
use super::{Domain, Problem, TypedFault};
use crate::id::ChainId;
use crate::value::{Kind, Value};

/// Everything in the text.
pub(super) struct Document {
    pub(super) domain: Domain,
    pub(super) primary: StructType,
    pub(super) message: Value,
}

/// Reads `types`, `primaryType`, `domain` and `message`, and nothing else.
pub(super) fn document(json: &Json) -> Result<Document, TypedFault> {
    let root = Place::ROOT;
    let [domain, message, primary, types] =
        root.fields(json, ["domain", "message", "primaryType", "types"])?;
    let mut definitions = read_types(types)?;
    let domain = read_domain(domain, definitions.remove(DOMAIN))?;
    let Json::Text(name) = primary else { return Err(fault("primaryType", Problem::Text)) };
    let primary = StructType::resolve(&definitions, name)?;
    let mut left = VALUES_MAX;
    let message = value(primary.kind(), message, &Place::named("message"), &mut left)?;
    Ok(Document { domain, primary, message })
}

/// One value by itself. A tuple may be an array of its members.
pub(super) fn single(kind: &Kind, json: &Json) -> Result<Value, TypedFault> {
    value(kind, json, &Place::named("value"), &mut { VALUES_MAX })
}

/// Where in the text. Put into words only where there is a fault.
#[derive(Clone, Copy)]
struct Place<'p> {
    before: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Name(&'p str),
    Number(usize),
}

impl<'p> Place<'p> {
    const ROOT: Self = Self { before: None, step: Step::Root };

    fn named(name: &'p str) -> Self {
        Self { before: None, step: Step::Name(name) }
    }

    fn step<'q>(&'q self, name: &'q str) -> Place<'q> {
        Place { before: Some(self), step: Step::Name(name) }
    }

    fn number(&self, number: usize) -> Place<'_> {
        Place { before: Some(self), step: Step::Number(number) }
    }

    fn words(&self) -> String {
        let before = self.before.map(Place::words).unwrap_or_default();
        let own = match self.step {
            Step::Root => String::new(),
            Step::Name(name) => name.chars().take(64).collect(),
            Step::Number(number) => number.to_string(),
        };
        if before.is_empty() { own } else { format!("{before}.{own}") }
    }

    fn fault(&self, problem: Problem) -> TypedFault {
        TypedFault::Field { at: self.words(), problem }
    }

    /// Exactly these fields of an object.
    fn fields<'j, const N: usize>(
        &self,
        json: &'j Json,
        names: [&str; N],
    ) -> Result<[&'j Json; N], TypedFault> {
        let Json::Object(object) = json else { return Err(self.fault(Problem::Object)) };
        if let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) {
            return Err(self.step(unknown).fault(Problem::Unknown));
        }
        let mut found = [json; N];
        for (slot, name) in found.iter_mut().zip(names) {
            *slot = object.get(name).ok_or_else(|| self.step(name).fault(Problem::Missing))?;
        }
        Ok(found)
    }
}

fn fault(at: &str, problem: Problem) -> TypedFault {
    Place::named(at).fault(problem)
}

fn read_types(json: &Json) -> Result<Definitions, TypedFault> {
    let place = Place::named("types");
    let Json::Object(object) = json else { return Err(place.fault(Problem::Object)) };
    let mut definitions = Definitions::new();
    for (name, fields) in object.iter() {
        let place = place.step(name);
        let Json::List(fields) = fields else { return Err(place.fault(Problem::Array)) };
        let field = |json| {
            let [name, kind] = place.fields(json, ["name", "type"])?;
            match (kind, name) {
                (Json::Text(kind), Json::Text(name)) => Ok((kind.clone(), name.clone())),
                _ => Err(place.fault(Problem::Text)),
            }
        };
        let fields = fields.iter().map(field).collect::<Result<_, TypedFault>>()?;
        definitions.insert(name.clone(), fields);
    }
    Ok(definitions)
}

/// The domain. Libraries leave its type out or write it; written, it must be that of its fields.
fn read_domain(json: &Json, written: Option<Vec<(String, String)>>) -> Result<Domain, TypedFault> {
    let place = Place::named("domain");
    let Json::Object(object) = json else { return Err(place.fault(Problem::Object)) };
    let known = |key: &String| DOMAIN_FIELDS.iter().any(|(_, name)| name == key);
    if let Some(unknown) = object.keys().find(|key| !known(key)) {
        return Err(place.step(unknown).fault(Problem::Unknown));
    }
    if object.len() == 0 {
        return Err(place.fault(Problem::EmptyDomain));
    }
    let present = DOMAIN_FIELDS.iter().filter(|(_, name)| object.get(name).is_some());
    let present: Vec<(&str, &str)> = present.copied().collect();
    if let Some(written) = written {
        let pairs = written.iter().map(|(kind, name)| (kind.as_str(), name.as_str()));
        if !pairs.eq(present.iter().copied()) {
            return Err(fault("types.EIP712Domain", Problem::DomainType));
        }
    }
    let read = |name: &str, kind: &Kind| {
        let field = object.get(name);
        field.map(|json| value(kind, json, &place.step(name), &mut 1)).transpose()
    };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let chain = read("chainId", &Kind::Uint(256))?.and_then(|value| value.as_uint());
    let in_range = |id: &u64| (1..CHAIN_ID_END).contains(id);
    let chain = chain.map(|id| {
        let id = u64::try_from(id).ok().filter(in_range);
        id.map(ChainId).ok_or_else(|| place.step("chainId").fault(Problem::Chain))
    });
    let salt = read("salt", &Kind::FixedBytes(32))?;
    Ok(Domain {
        name: text(read("name", &Kind::String)?),
        version: text(read("version", &Kind::String)?),
        chain: chain.transpose()?,
        contract: read("verifyingContract", &Kind::Address)?.and_then(|value| value.as_address()),
        salt: salt
            .and_then(|value| if let Value::FixedBytes(word) = value { Some(word) } else { None }),
    })
}

fn value(
    kind: &Kind,
    json: &Json,
    place: &Place<'_>,
    left: &mut usize,
) -> Result<Value, TypedFault> {
    *left = left.checked_sub(1).ok_or_else(|| place.fault(Problem::TooMany))?;
    let wrong = |problem| Err(place.fault(problem));
    match (kind, json) {
        (Kind::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Kind::Bool, _) => wrong(Problem::Bool),
        (Kind::String, Json::Text(text)) => Ok(Value::String(text.clone())),
        (Kind::Address, Json::Text(text)) => {
            address(text).map(Value::Address).ok_or_else(|| place.fault(Problem::Address))
        }
        (Kind::Bytes, Json::Text(text)) => {
            bytes(text).map(Value::Bytes).ok_or_else(|| place.fault(Problem::Bytes))
        }
        (Kind::FixedBytes(size), Json::Text(text)) => {
            let bytes = bytes(text).filter(|bytes| bytes.len() == usize::from(*size));
            let word = bytes.map(|bytes| B256::right_padding_from(&bytes));
            word.map(Value::FixedBytes).ok_or_else(|| place.fault(Problem::Bytes))
        }
        (Kind::String | Kind::Address | Kind::Bytes | Kind::FixedBytes(_), _) => {
            wrong(Problem::Text)
        }
        (Kind::Uint(bits), json) => match number(json) {
            Some((number, false)) if fits(number, *bits) => Ok(Value::Uint(number)),
            Some(_) => wrong(Problem::Range),
            None => wrong(Problem::Number),
        },
        (Kind::Int(bits), json) => {
            let (size, negative) = number(json).ok_or_else(|| place.fault(Problem::Number))?;
            let number = signed(size, negative, *bits).ok_or_else(|| place.fault(Problem::Range));
            number.map(Value::Int)
        }
        (Kind::Array(element, length), Json::List(list)) => {
            if length.is_some_and(|length| usize::from(length) != list.len()) {
                return wrong(Problem::Length);
            }
            let numbered = list.iter().enumerate();
            let read = numbered.map(|(at, json)| value(element, json, &place.number(at), left));
            read.collect::<Result<_, _>>().map(Value::List)
        }
        (Kind::Array(..), _) => wrong(Problem::Array),
        (Kind::Tuple(_, members), Json::Object(object)) => {
            let named =
                |key: &String| members.iter().any(|member| member.name.as_ref() == Some(key));
            let unknown = || object.keys().find(|key| !named(key));
            // As many fields as the type has, and each of those found: then there is no other.
            if object.len() > members.len()
                && let Some(unknown) = unknown()
            {
                return Err(place.step(unknown).fault(Problem::Unknown));
            }
            let read = members.iter().map(|member| {
                let name = member.name.as_deref().unwrap_or_default();
                let step = place.step(name);
                let json = object.get(name).ok_or_else(|| match unknown() {
                    Some(unknown) => place.step(unknown).fault(Problem::Unknown),
                    None => step.fault(Problem::Missing),
                })?;
                value(&member.kind, json, &step, left)
            });
            read.collect::<Result<_, _>>().map(Value::List)
        }
        // Arguments of a function have no struct to name their members.
        (Kind::Tuple(None, members), Json::List(list)) if members.len() == list.len() => {
            let read = members
                .iter()
                .zip(list)
                .enumerate()
                .map(|(at, (member, json))| value(&member.kind, json, &place.number(at), left));
            read.collect::<Result<_, _>>().map(Value::List)
        }
        (Kind::Tuple(..), _) => wrong(Problem::Object),
    }
}

/// A whole number and whether it is below zero.
fn number(json: &Json) -> Option<(U256, bool)> {
    match json {
        Json::Number(number) => Some((*number, false)),
        Json::Negative(size) => Some((*size, true)),
        Json::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => {
                let plain = (1..=64).contains(&digits.len())
                    && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let number = plain.then(|| U256::from_str_radix(digits, 16).ok());
                number.flatten().map(|number| (number, false))
            }
            None => {
                let (digits, negative) = match text.strip_prefix('-') {
                    Some(digits) => (digits, true),
                    None => (text.as_str(), false),
                };
                let number = crate::money::parse_decimal(digits)?.units();
                (!negative || !number.is_zero()).then_some((number, negative))
            }
        },
        Json::Bool(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn fits(number: U256, bits: u16) -> bool {
    number.bit_len() <= usize::from(bits)
}

/// Two's complement in 256 bits.
fn signed(size: U256, negative: bool, bits: u16) -> Option<U256> {
    let below = usize::from(bits).saturating_sub(1);
    let limit = U256::ONE.wrapping_shl(below);
    match negative {
        false => (size < limit).then_some(size),
        true => (size <= limit).then(|| size.wrapping_neg()),
    }
}

/// 0x and 40 digits, in lower case or with a valid EIP-55 checksum.
fn address(text: &str) -> Option<Address> {
    let bytes = bytes(text).filter(|bytes| bytes.len() == 20)?;
    let address = Address::from_slice(&bytes);
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    (!upper || address.to_checksum(None) == text).then_some(address)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

const DOMAIN: &str = "EIP712Domain";

/// In the order in which they are hashed.
pub(super) const DOMAIN_FIELDS: [(&str, &str); 5] = [
    ("string", "name"),
    ("string", "version"),
    ("uint256", "chainId"),
    ("address", "verifyingContract"),
    ("bytes32", "salt"),
];

/// Values in one message.
pub(super) const VALUES_MAX: usize = 8_192;

/// Above it chain ids are not exact in JSON.
const CHAIN_ID_END: u64 = 1 << 53;
