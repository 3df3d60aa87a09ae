//! What a browser says it signed, and where: `CollectedClientData` of WebAuthn Level 3, 5.8.1.
//!
//! Read as JSON with one reading. A key twice, at any depth, is refused: one reader could take the
//! first and another the last. Keys we do not know are let be, as the standard asks.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::BadEvidence;

/// The members that count.
pub(super) struct ClientData(BTreeMap<String, Json>);

impl ClientData {
    pub(super) fn parse(text: &str) -> Result<Self, BadEvidence> {
        match serde_json::from_str(text) {
            Ok(Json::Object(members)) => Ok(Self(members)),
            Ok(Json::Bool(_) | Json::Text(_) | Json::Other) => Err(BadEvidence::ClientData),
            // The only fault of the reader's own: it takes any type anywhere.
            Err(error) if error.is_data() => Err(BadEvidence::KeyTwice),
            Err(_) => Err(BadEvidence::ClientData),
        }
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Json::Text(text) => Some(text),
            Json::Bool(_) | Json::Object(_) | Json::Other => None,
        }
    }

    /// Whether a member is there, whatever it says.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a member is absent, or `false` and nothing like it.
    pub(super) fn is_false(&self, name: &str) -> bool {
        matches!(self.0.get(name), None | Some(Json::Bool(false)))
    }
}

/// A JSON value, as far as it counts. Nesting is bounded by the parser.
enum Json {
    Bool(bool),
    Text(String),
    Object(BTreeMap<String, Self>),
    /// Null, a number or a list.
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        while input.next_element::<Json>()?.is_some() {}
        Ok(Json::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = input.next_entry::<String, Json>()? {
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("an object has a key twice"));
            }
        }
        Ok(Json::Object(members))
    }
}
