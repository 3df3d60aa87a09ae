//! JSON with one reading: no key twice, no number that is not whole.

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::U256;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::TypedFault;

/// A JSON value. Nesting is bounded by the parser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Json {
    Bool(bool),
    Number(U256),
    Negative(U256),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, TypedFault> {
        serde_json::from_str(text).map_err(|error| TypedFault::Json(error.to_string()))
    }
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
        out.write_str("an object, an array, a string, a whole number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(U256::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        let size = U256::from(value.unsigned_abs());
        Ok(if value < 0 { Json::Negative(size) } else { Json::Number(size) })
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Err(E::custom("a number with a fraction, or beyond 64 bits: write it as a string"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = input.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((key, value)) = input.next_entry::<String, Json>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom("an object has a key twice"));
            }
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}
