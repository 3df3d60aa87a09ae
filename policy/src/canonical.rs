//! The one JSON text of a value: the subset of RFC 8785 in which records are written.
//!
//! No spaces, no null, no floats, integers from 0 to below 2^53. Sorted keys are the types' part:
//! fields are declared in the order of their names and maps are `BTreeMap`s, which a test holds
//! for every kind of record without this code. So one pass writes the bytes, on the path of every
//! signature.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// The bytes of `value`.
///
/// # Errors
///
/// What the form has no place for: null, a float, a negative integer, one of 2^53 or more.
pub(crate) fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = Vec::with_capacity(LINE_BYTES);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Canonical))?;
    Ok(line)
}

struct Canonical;

/// Fits most records without growing.
const LINE_BYTES: usize = 1_024;

/// 2^53: above it JSON readers lose digits.
pub(crate) const INTEGER_MAX: u64 = 1 << 53;

fn refused<T>(what: &'static str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Everything that serde_json can write and that is not said here is refused: the compact form of
/// strings, lists and objects is the default's.
impl Formatter for Canonical {
    fn write_null<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        refused("null in a record")
    }

    fn write_u64<W: io::Write + ?Sized>(&mut self, out: &mut W, value: u64) -> io::Result<()> {
        if value >= INTEGER_MAX {
            return refused("integer of 2^53 or more in a record");
        }
        CompactFormatter.write_u64(out, value)
    }

    fn write_u128<W: io::Write + ?Sized>(&mut self, _: &mut W, _: u128) -> io::Result<()> {
        refused("integer of 128 bits in a record")
    }

    fn write_i8<W: io::Write + ?Sized>(&mut self, _: &mut W, _: i8) -> io::Result<()> {
        refused("signed integer in a record")
    }

    fn write_i16<W: io::Write + ?Sized>(&mut self, _: &mut W, _: i16) -> io::Result<()> {
        refused("signed integer in a record")
    }

    fn write_i32<W: io::Write + ?Sized>(&mut self, _: &mut W, _: i32) -> io::Result<()> {
        refused("signed integer in a record")
    }

    fn write_i64<W: io::Write + ?Sized>(&mut self, _: &mut W, _: i64) -> io::Result<()> {
        refused("signed integer in a record")
    }

    fn write_i128<W: io::Write + ?Sized>(&mut self, _: &mut W, _: i128) -> io::Result<()> {
        refused("signed integer in a record")
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        refused("float in a record")
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        refused("float in a record")
    }

    fn write_number_str<W: io::Write + ?Sized>(&mut self, _: &mut W, _: &str) -> io::Result<()> {
        refused("number of any length in a record")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn text(value: &impl Serialize) -> Result<String, serde_json::Error> {
        to_vec(value).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_value_is_written_without_spaces_and_with_the_fewest_escapes() {
        let map = BTreeMap::from([("b", vec![1_u64, (1 << 53) - 1]), ("a", vec![])]);
        assert_eq!(text(&map).unwrap(), r#"{"a":[],"b":[1,9007199254740991]}"#);
        assert_eq!(text(&"é \u{1}\n\"\\/\u{7f}").unwrap(), "\"é \\u0001\\n\\\"\\\\/\u{7f}\"");
        assert_eq!(text(&(true, 0_u8, 65_535_u16, 7_u32)).unwrap(), "[true,0,65535,7]");
    }

    #[test]
    fn what_the_form_has_no_place_for_is_refused() {
        assert!(text(&None::<u64>).is_err());
        assert!(text(&(1_u64 << 53)).is_err());
        assert!(text(&u64::MAX).is_err());
        assert!(text(&1_u128).is_err());
        assert!(text(&(1_i8,)).is_err() && text(&1_i16).is_err());
        assert!(text(&1_i32).is_err() && text(&-1_i64).is_err() && text(&1_i128).is_err());
        assert!(text(&0.5_f32).is_err() && text(&1.0_f64).is_err() && text(&f64::NAN).is_err());
    }
}
