//! EIP-712 typed data, as the whole structure: what it says is read here, and its digest is
//! computed here, never taken from the caller.
//!
//! One meaning for one text: a field or type too many, a key twice, a number that is not whole, a
//! domain that does not say what its type says are all refused. Rules compare the full type string
//! and every field of the domain, the absent ones too; a name like `Permit` proves nothing.

mod fault;
mod hash;
mod json;
mod read;
#[cfg(test)]
mod tests;
mod types;

use alloy_primitives::{Address, B256};

pub use self::fault::{Problem, TypedFault};
pub use self::types::{BadType, StructType};
use crate::id::{ChainId, Digest};
use crate::value::{Kind, Value};

/// Typed data that was understood in full.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TypedData {
    text: String,
    domain: Domain,
    primary: StructType,
    message: Value,
    digest: Digest,
}

/// The domain, field by field. What is absent is not hashed, and so must be absent in a rule too.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Domain {
    /// What the contract calls itself.
    pub name: Option<String>,
    /// Which version of itself.
    pub version: Option<String>,
    /// The chain it is on.
    pub chain: Option<ChainId>,
    /// The contract that will read the signature.
    pub contract: Option<Address>,
    /// Anything else that sets it apart.
    pub salt: Option<B256>,
}

impl TypedData {
    /// Reads the JSON of `eth_signTypedData_v4`: `types`, `primaryType`, `domain`, `message`.
    ///
    /// # Errors
    ///
    /// Everything that is not one structure of exactly its own types.
    pub fn decode(text: &str) -> Result<Self, TypedFault> {
        if text.len() > TYPED_BYTES_MAX {
            return Err(TypedFault::TooLarge);
        }
        let document = json::Json::parse(text)?;
        let read::Document { domain, primary, message } = read::document(&document)?;
        let digest = hash::digest(&domain, &primary, &message);
        Ok(Self { text: text.to_owned(), domain, primary, message, digest })
    }

    /// The JSON of a message of this type, for examples: whether it is one, decoding says.
    pub(crate) fn assemble(
        domain: &Domain,
        kind: &StructType,
        message: &serde_json::Value,
    ) -> String {
        let mut fields = serde_json::Map::new();
        let mut put = |name: &str, value: Option<serde_json::Value>| {
            value.map(|value| fields.insert(name.to_owned(), value));
        };
        put("name", domain.name.clone().map(Into::into));
        put("version", domain.version.clone().map(Into::into));
        put("chainId", domain.chain.map(|chain| chain.0.into()));
        put("verifyingContract", domain.contract.map(|one| one.to_checksum(None).into()));
        put("salt", domain.salt.map(|salt| salt.to_string().into()));
        let document = serde_json::json!({
            "domain": fields,
            "message": message,
            "primaryType": kind.name(),
            "types": kind.to_json(),
        });
        document.to_string()
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the signature is good.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What is signed: its full type.
    pub fn primary(&self) -> &StructType {
        &self.primary
    }

    /// The fields of the message, in the order of its type.
    pub fn fields(&self) -> &[Value] {
        self.message.as_list().unwrap_or_default()
    }

    /// A field of the message, by its name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let Kind::Tuple(_, members) = self.primary.kind() else { return None };
        let at = members.iter().position(|member| member.name.as_deref() == Some(name))?;
        self.fields().get(at)
    }

    /// Keccak-256 of 0x1901, the domain separator and the message's hash (EIP-712).
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A value of this type out of JSON, as strictly as in typed data. For examples.
pub(crate) fn read_value(kind: &Kind, json: &serde_json::Value) -> Result<Value, TypedFault> {
    read::single(kind, &json::Json::parse(&json.to_string())?)
}

/// Largest text: what a transaction may have.
pub const TYPED_BYTES_MAX: usize = 131_072;
