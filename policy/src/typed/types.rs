//! Struct types of EIP-712: `encodeType`, from a caller's `types` or from a book's text. Both come
//! out in the one form that is hashed.

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};

use crate::abi::DEPTH_MAX;
use crate::value::{Kind, Member};

/// A struct type with everything it refers to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StructType {
    kind: Kind,
    text: String,
}

/// Why there is no such type.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadType {
    /// Too long to be read by people.
    #[error("a type has at most {TYPE_BYTES_MAX} bytes")]
    TooLong,
    /// Not a name.
    #[error("{0:?} is not a name: letters, digits, _ and $, not starting with a digit")]
    Name(String),
    /// Neither elementary nor defined.
    #[error("{0:?} is no type: is it spelt in full (uint256) and defined?")]
    Unknown(String),
    /// A struct called like an elementary type.
    #[error("{0:?} is the name of an elementary type")]
    Elementary(String),
    /// Two fields of one name, or two structs.
    #[error("{0:?} is defined twice")]
    Twice(String),
    /// Defined and not used.
    #[error("{0:?} is not part of the type that is signed: leave it out")]
    Unused(String),
    /// Structs that hold themselves, or nest too deep.
    #[error("{0:?} nests more than {DEPTH_MAX} deep, or holds itself")]
    TooDeep(String),
    /// Too many fields.
    #[error("has more than {MEMBERS_MAX} fields, with those of the structs in it")]
    TooMany,
    /// Not the form of a type string.
    #[error("write it as Name(type name,type name)Other(type name), without spaces elsewhere")]
    Form,
    /// A type string in another order or spelling than is hashed.
    #[error("is hashed as {0}: write it so")]
    NotCanonical(String),
}

/// Fields by struct: each its type and its name.
pub(super) type Definitions = BTreeMap<String, Vec<(String, String)>>;

impl StructType {
    /// Reads a full type string, in its canonical form only.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, BadType> {
        if text.len() > TYPE_BYTES_MAX {
            return Err(BadType::TooLong);
        }
        let (definitions, primary) = definitions(text)?;
        let found = Self::resolve(&definitions, &primary)?;
        if found.text == text { Ok(found) } else { Err(BadType::NotCanonical(found.text)) }
    }

    /// The struct of this name, with all that it refers to and nothing else defined.
    pub(super) fn resolve(definitions: &Definitions, primary: &str) -> Result<Self, BadType> {
        let mut left = MEMBERS_MAX;
        let kind = structure(definitions, primary, 0, &mut left)?;
        let mut structs = BTreeMap::new();
        collect(&kind, &mut structs);
        let unused = definitions.keys().find(|name| !structs.contains_key(name.as_str()));
        if let Some(unused) = unused {
            return Err(BadType::Unused(unused.clone()));
        }
        let text = encode_type(&kind);
        if text.len() > TYPE_BYTES_MAX { Err(BadType::TooLong) } else { Ok(Self { kind, text }) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }

    /// As `types` of typed data has it.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let (definitions, _) = definitions(&self.text).unwrap_or_default();
        let field =
            |(kind, name): &(String, String)| serde_json::json!({"name": name, "type": kind});
        let structs = definitions.iter().map(|(name, fields)| {
            (name.clone(), fields.iter().map(field).collect::<serde_json::Value>())
        });
        serde_json::Value::Object(structs.collect())
    }

    /// Its fields: a tuple.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Its fields.
    pub fn members(&self) -> &[Member] {
        if let Kind::Tuple(_, members) = &self.kind { members } else { &[] }
    }

    /// `encodeType` (EIP-712): what is hashed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `typeHash` (EIP-712).
    pub fn hash(&self) -> B256 {
        keccak256(&self.text)
    }
}

/// `encodeType` of a struct: itself first, then what it refers to, by name.
pub(super) fn encode_type(kind: &Kind) -> String {
    let mut structs = BTreeMap::new();
    collect(kind, &mut structs);
    let mut text = String::new();
    if let Kind::Tuple(Some(name), _) = kind
        && let Some(own) = structs.remove(name.as_str())
    {
        text.push_str(&own);
    }
    text.extend(structs.into_values());
    text
}

/// Every struct in a type, written by itself.
fn collect<'k>(kind: &'k Kind, out: &mut BTreeMap<&'k str, String>) {
    match kind {
        Kind::Array(element, _) => collect(element, out),
        Kind::Tuple(name, members) => {
            let name = name.as_deref().unwrap_or_default();
            if out.contains_key(name) {
                return;
            }
            let fields = members.iter().map(|member| {
                format!("{} {}", written(&member.kind), member.name.as_deref().unwrap_or_default())
            });
            let fields: Vec<String> = fields.collect();
            out.insert(name, format!("{name}({})", fields.join(",")));
            for member in members {
                collect(&member.kind, out);
            }
        }
        Kind::Uint(_)
        | Kind::Int(_)
        | Kind::Bool
        | Kind::Address
        | Kind::FixedBytes(_)
        | Kind::Bytes
        | Kind::String => {}
    }
}

/// A type as a field names it: structs by name.
fn written(kind: &Kind) -> String {
    match kind {
        Kind::Tuple(name, _) => name.clone().unwrap_or_default(),
        Kind::Array(element, length) => {
            let length = length.map(|length| length.to_string()).unwrap_or_default();
            format!("{}[{length}]", written(element))
        }
        Kind::Uint(_)
        | Kind::Int(_)
        | Kind::Bool
        | Kind::Address
        | Kind::FixedBytes(_)
        | Kind::Bytes
        | Kind::String => kind.to_string(),
    }
}

fn structure(
    definitions: &Definitions,
    name: &str,
    depth: usize,
    left: &mut usize,
) -> Result<Kind, BadType> {
    let fields = definitions.get(name).ok_or_else(|| BadType::Unknown(name.to_owned()))?;
    if depth >= DEPTH_MAX {
        return Err(BadType::TooDeep(name.to_owned()));
    }
    identifier(name)?;
    if Kind::elementary(name).is_some() {
        return Err(BadType::Elementary(name.to_owned()));
    }
    let mut members: Vec<Member> = Vec::with_capacity(fields.len());
    for (kind, field) in fields {
        *left = left.checked_sub(1).ok_or(BadType::TooMany)?;
        identifier(field)?;
        if members.iter().any(|member| member.name.as_deref() == Some(field)) {
            return Err(BadType::Twice(field.clone()));
        }
        let kind = field_kind(definitions, kind, depth.saturating_add(1), left)?;
        members.push(Member { kind, name: Some(field.clone()) });
    }
    Ok(Kind::Tuple(Some(name.to_owned()), members))
}

fn field_kind(
    definitions: &Definitions,
    text: &str,
    depth: usize,
    left: &mut usize,
) -> Result<Kind, BadType> {
    let unknown = || BadType::Unknown(text.to_owned());
    if let Some(rest) = text.strip_suffix(']') {
        if depth >= DEPTH_MAX {
            return Err(BadType::TooDeep(text.to_owned()));
        }
        let (element, digits) = rest.rsplit_once('[').ok_or_else(unknown)?;
        let length = match digits {
            "" => None,
            digits => {
                let length = digits.parse::<u16>().ok().filter(|length| *length > 0);
                let canonical = length.filter(|length| length.to_string() == digits);
                Some(canonical.ok_or_else(unknown)?)
            }
        };
        let element = field_kind(definitions, element, depth.saturating_add(1), left)?;
        return Ok(Kind::Array(Box::new(element), length));
    }
    match Kind::elementary(text) {
        // `uint` is no type of EIP-712: libraries hash it in different ways.
        Some(kind) if kind.to_string() == text => Ok(kind),
        Some(_) => Err(unknown()),
        None => structure(definitions, text, depth, left),
    }
}

fn identifier(name: &str) -> Result<(), BadType> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let starts = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let sound = starts && name.bytes().all(plain) && name.len() <= NAME_BYTES_MAX;
    if sound { Ok(()) } else { Err(BadType::Name(name.chars().take(80).collect())) }
}

/// The structs of a type string, and the name of the first.
fn definitions(text: &str) -> Result<(Definitions, String), BadType> {
    let mut found = Definitions::new();
    let mut primary = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('(').ok_or(BadType::Form)?;
        let (body, after) = after.split_once(')').ok_or(BadType::Form)?;
        let mut fields = Vec::new();
        for field in body.split(',').filter(|_| !body.is_empty()) {
            let (kind, name) = field.split_once(' ').ok_or(BadType::Form)?;
            fields.push((kind.to_owned(), name.to_owned()));
        }
        if found.insert(name.to_owned(), fields).is_some() {
            return Err(BadType::Twice(name.to_owned()));
        }
        primary.get_or_insert_with(|| name.to_owned());
        rest = after;
    }
    Ok((found, primary.ok_or(BadType::Form)?))
}

/// Longest type string that people can review.
pub(super) const TYPE_BYTES_MAX: usize = 4_096;

/// Fields of a type, all structs in it counted as often as they stand there.
pub(super) const MEMBERS_MAX: usize = 256;

const NAME_BYTES_MAX: usize = 64;
