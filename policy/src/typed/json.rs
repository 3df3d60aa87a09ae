//! JSON with one reading: no key twice, no number that is not whole, and no more of it than typed
//! data can have.

use std::fmt;

use alloy_primitives::U256;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::TypedFault;
use super::read::VALUES_MAX;
use super::types::MEMBERS_MAX;

/// A JSON value. Nesting is bounded by the parser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Json {
    Bool(bool),
    Number(U256),
    Negative(U256),
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

/// Fields in order of their names: a map of one costs as much memory as one of ten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Object(Vec<(String, Json)>);

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let at = self.0.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Json)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, TypedFault> {
        let mut left = NODES_MAX;
        let mut input = serde_json::Deserializer::from_str(text);
        let read = Reader { left: &mut left }.deserialize(&mut input);
        let read = read.and_then(|json| input.end().map(|()| json));
        read.map_err(|error| TypedFault::Json(error.to_string()))
    }
}

/// Reads one value, and counts it before anything of it is kept.
struct Reader<'l> {
    left: &'l mut usize,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Json, D::Error> {
        let left = self.left.checked_sub(1);
        *self.left = left.ok_or_else(|| D::Error::custom("more values than are read"))?;
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
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
        while let Some(element) = input.next_element_seed(Reader { left: &mut *self.left })? {
            list.push(element);
        }
        list.shrink_to_fit();
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        while let Some(key) = input.next_key::<String>()? {
            object.push((key, input.next_value_seed(Reader { left: &mut *self.left })?));
        }
        object.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if object.iter().zip(object.iter().skip(1)).any(|((one, _), (other, _))| one == other) {
            return Err(A::Error::custom("an object has a key twice"));
        }
        object.shrink_to_fit();
        Ok(Json::Object(Object(object)))
    }
}

/// What a message may hold, and more than its types may: each of their fields is an object of two
/// texts.
const NODES_MAX: usize = VALUES_MAX + 8 * MEMBERS_MAX;
