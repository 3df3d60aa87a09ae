//! Arguments, decoded against pinned types: decode, encode again, compare.
//!
//! The comparison is the rule: offsets that overlap or point elsewhere, dirty upper bytes, booleans
//! of 2, unused bytes anywhere are all another encoding of what they seem to say, and refused.
//! What is below only has to find the values; it is bounded, and cannot be made to loop.

use alloy_primitives::{Address, B256, U256};

use crate::value::{Kind, Member, Value};

/// Why arguments are not in their one encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotCanonical {
    /// Something in them lies beyond their end.
    #[error("the arguments end too early for their types")]
    TooShort,
    /// More values than anybody would read.
    #[error("the arguments hold more than {VALUES_MAX} values")]
    TooMany,
    /// A text that is not UTF-8.
    #[error("a string is not UTF-8")]
    Text,
    /// They decode, but not to what encodes to the same bytes.
    #[error("the arguments are not in their one canonical encoding")]
    Form,
}

/// The values of these types, out of exactly these bytes (without a selector).
///
/// # Errors
///
/// Any bytes that are not the one canonical encoding of values of these types.
pub fn decode(types: &[Member], data: &[u8]) -> Result<Vec<Value>, NotCanonical> {
    let mut reader = Reader { values: 0, bytes: data.len() };
    let values = reader.members(types, data)?;
    // The proof, whatever the reader does.
    if encode(types, &values) == data { Ok(values) } else { Err(NotCanonical::Form) }
}

/// The canonical encoding (without a selector). Values that are not of the types encode to
/// something that is of no use.
pub fn encode(types: &[Member], values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_sequence(&types.iter().map(|member| &member.kind).collect::<Vec<_>>(), values, &mut out);
    out
}

/// Counts what it has read, so that nested empty arrays cost an attacker as much as us, and that a
/// long text is not copied once for each of many offsets to it.
struct Reader {
    values: usize,
    /// What texts and bytes may still take: no two of them share any.
    bytes: usize,
}

impl Reader {
    fn members(&mut self, types: &[Member], block: &[u8]) -> Result<Vec<Value>, NotCanonical> {
        let mut at = 0;
        let mut values = Vec::with_capacity(types.len());
        for member in types {
            values.push(self.next(&member.kind, block, &mut at)?);
        }
        Ok(values)
    }

    /// The next value of a block whose heads have been read up to `at`.
    fn next(&mut self, kind: &Kind, block: &[u8], at: &mut usize) -> Result<Value, NotCanonical> {
        if is_dynamic(kind) {
            let offset = length(block, *at)?;
            *at = at.saturating_add(WORD);
            return self.value(kind, block.get(offset..).ok_or(NotCanonical::TooShort)?);
        }
        let start = *at;
        *at = at.saturating_add(head_bytes(kind));
        self.value(kind, block.get(start..*at).ok_or(NotCanonical::TooShort)?)
    }

    /// A value that begins where `data` does.
    fn value(&mut self, kind: &Kind, data: &[u8]) -> Result<Value, NotCanonical> {
        self.values = self.values.saturating_add(1);
        if self.values > VALUES_MAX {
            return Err(NotCanonical::TooMany);
        }
        Ok(match kind {
            Kind::Uint(_) => Value::Uint(U256::from_be_bytes(word(data, 0)?)),
            Kind::Int(_) => Value::Int(U256::from_be_bytes(word(data, 0)?)),
            Kind::Bool => Value::Bool(word(data, 0)? != [0; WORD]),
            Kind::Address => Value::Address(Address::from_word(B256::from(word(data, 0)?))),
            Kind::FixedBytes(_) => Value::FixedBytes(B256::from(word(data, 0)?)),
            Kind::Bytes => Value::Bytes(self.own(counted(data)?)?.to_vec()),
            Kind::String => {
                let text = std::str::from_utf8(self.own(counted(data)?)?);
                Value::String(text.map_err(|_| NotCanonical::Text)?.to_owned())
            }
            Kind::Array(element, Some(count)) => {
                self.elements(element, usize::from(*count), data)?
            }
            Kind::Array(element, None) => {
                let count = length(data, 0)?;
                let rest = data.get(WORD..).ok_or(NotCanonical::TooShort)?;
                self.elements(element, count, rest)?
            }
            Kind::Tuple(_, members) => Value::List(self.members(members, data)?),
        })
    }

    /// Bytes that nothing else was read from, as far as their number tells.
    fn own<'d>(&mut self, bytes: &'d [u8]) -> Result<&'d [u8], NotCanonical> {
        self.bytes = self.bytes.checked_sub(bytes.len()).ok_or(NotCanonical::Form)?;
        Ok(bytes)
    }

    fn elements(&mut self, kind: &Kind, count: usize, block: &[u8]) -> Result<Value, NotCanonical> {
        if count > VALUES_MAX {
            return Err(NotCanonical::TooMany);
        }
        let mut at = 0;
        let mut values = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            values.push(self.next(kind, block, &mut at)?);
        }
        Ok(Value::List(values))
    }
}

fn encode_sequence(types: &[&Kind], values: &[Value], out: &mut Vec<u8>) {
    let start = out.len();
    let heads = types.iter().map(|kind| head_bytes(kind)).fold(0, usize::saturating_add);
    let mut tails = Vec::new();
    for (kind, value) in types.iter().zip(values) {
        if is_dynamic(kind) {
            out.extend(size_word(heads.saturating_add(tails.len())));
            encode_value(kind, value, &mut tails);
        } else {
            encode_value(kind, value, out);
        }
    }
    debug_assert_eq!(out.len(), start.saturating_add(heads), "a value of another type");
    out.append(&mut tails);
}

fn encode_value(kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Uint(bits), Value::Uint(number)) => {
            out.extend(keep_low(*number, *bits).to_be_bytes::<WORD>());
        }
        (Kind::Int(bits), Value::Int(number)) => {
            out.extend(sign_extended(*number, *bits).to_be_bytes::<WORD>());
        }
        (Kind::Bool, Value::Bool(value)) => out.extend(size_word(usize::from(*value))),
        (Kind::Address, Value::Address(address)) => out.extend(address.into_word().0),
        (Kind::FixedBytes(size), Value::FixedBytes(bytes)) => {
            let kept = bytes.get(..usize::from(*size)).unwrap_or_default();
            extend_padded(kept, out);
        }
        (Kind::Bytes, Value::Bytes(bytes)) => {
            out.extend(size_word(bytes.len()));
            extend_padded(bytes, out);
        }
        (Kind::String, Value::String(text)) => {
            out.extend(size_word(text.len()));
            extend_padded(text.as_bytes(), out);
        }
        (Kind::Array(element, fixed), Value::List(values)) => {
            if fixed.is_none() {
                out.extend(size_word(values.len()));
            }
            encode_sequence(&vec![element.as_ref(); values.len()], values, out);
        }
        (Kind::Tuple(_, members), Value::List(values)) => {
            let types: Vec<&Kind> = members.iter().map(|member| &member.kind).collect();
            encode_sequence(&types, values, out);
        }
        // No value of this type: what is written has another length, or is all zeros.
        (_, _) => {}
    }
}

fn is_dynamic(kind: &Kind) -> bool {
    match kind {
        Kind::Bytes | Kind::String | Kind::Array(_, None) => true,
        Kind::Array(element, Some(_)) => is_dynamic(element),
        Kind::Tuple(_, members) => members.iter().any(|member| is_dynamic(&member.kind)),
        Kind::Uint(_) | Kind::Int(_) | Kind::Bool | Kind::Address | Kind::FixedBytes(_) => false,
    }
}

/// What a value takes among the heads: a word if it is dynamic.
fn head_bytes(kind: &Kind) -> usize {
    if is_dynamic(kind) {
        return WORD;
    }
    match kind {
        Kind::Array(element, Some(count)) => {
            head_bytes(element).saturating_mul(usize::from(*count))
        }
        Kind::Tuple(_, members) => {
            let sizes = members.iter().map(|member| head_bytes(&member.kind));
            sizes.fold(0, usize::saturating_add)
        }
        Kind::Uint(_)
        | Kind::Int(_)
        | Kind::Bool
        | Kind::Address
        | Kind::FixedBytes(_)
        | Kind::Bytes
        | Kind::String
        | Kind::Array(_, None) => WORD,
    }
}

fn word(data: &[u8], at: usize) -> Result<[u8; WORD], NotCanonical> {
    let rest = data.get(at..).and_then(|rest| rest.first_chunk());
    rest.copied().ok_or(NotCanonical::TooShort)
}

/// A length or an offset: never more than there are bytes.
fn length(data: &[u8], at: usize) -> Result<usize, NotCanonical> {
    let number = U256::from_be_bytes(word(data, at)?);
    let number = usize::try_from(number).ok().filter(|number| *number <= data.len());
    number.ok_or(NotCanonical::TooShort)
}

/// The bytes after their length.
fn counted(data: &[u8]) -> Result<&[u8], NotCanonical> {
    let length = length(data, 0)?;
    let end = length.saturating_add(WORD);
    data.get(WORD..end).ok_or(NotCanonical::TooShort)
}

fn extend_padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes);
    let over = bytes.len() % WORD;
    if over > 0 {
        out.extend(std::iter::repeat_n(0, WORD.saturating_sub(over)));
    }
}

fn size_word(number: usize) -> [u8; WORD] {
    U256::from(number).to_be_bytes()
}

fn keep_low(number: U256, bits: u16) -> U256 {
    let rest = 256_usize.saturating_sub(usize::from(bits));
    number.wrapping_shl(rest).wrapping_shr(rest)
}

fn sign_extended(number: U256, bits: u16) -> U256 {
    let rest = 256_usize.saturating_sub(usize::from(bits));
    number.wrapping_shl(rest).arithmetic_shr(rest)
}

const WORD: usize = 32;

/// Values in one call. A batch of a thousand payments has three thousand.
pub(super) const VALUES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::super::function;
    use super::*;

    fn types(signature: &str) -> Vec<Member> {
        function(signature).unwrap().parameters().to_vec()
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|one| U256::from(*one).to_be_bytes::<WORD>()).collect()
    }

    #[test]
    fn the_example_of_the_abi_specification_decodes_to_its_values() {
        // f(uint256,uint32[],bytes10,bytes) with (0x123, [0x456, 0x789], "1234567890", "Hello,
        // world!"), from the Solidity documentation, "Use of Dynamic Types".
        let data = hex::decode(
            "0000000000000000000000000000000000000000000000000000000000000123\
             0000000000000000000000000000000000000000000000000000000000000080\
             3132333435363738393000000000000000000000000000000000000000000000\
             00000000000000000000000000000000000000000000000000000000000000e0\
             0000000000000000000000000000000000000000000000000000000000000002\
             0000000000000000000000000000000000000000000000000000000000000456\
             0000000000000000000000000000000000000000000000000000000000000789\
             000000000000000000000000000000000000000000000000000000000000000d\
             48656c6c6f2c20776f726c642100000000000000000000000000000000000000",
        )
        .unwrap();
        let types = types("f(uint256,uint32[],bytes10,bytes)");
        let values = decode(&types, &data).unwrap();
        let numbers = [0x456, 0x789].map(|number| Value::Uint(U256::from(number)));
        assert_eq!(values[1], Value::List(numbers.to_vec()));
        assert_eq!(values[3], Value::Bytes(b"Hello, world!".to_vec()));
        // Every other encoding of the same is refused.
        for at in 0..data.len() {
            let mut changed = data.clone();
            changed[at] ^= 0x80;
            if let Ok(other) = decode(&types, &changed) {
                assert_ne!(other, values, "byte {at}");
            }
            assert!(decode(&types, &data[..at]).is_err(), "cut at {at}");
        }
        assert!(decode(&types, &[&data[..], &[0; 32]].concat()).is_err());
        assert!(decode(&types, &[&data[..], &[0]].concat()).is_err());
    }

    #[test]
    fn dirty_words_are_refused() {
        let full = [[0xff; 32]].concat();
        for signature in ["f(address)", "f(bool)", "f(uint8)", "f(bytes4)", "f(uint248)"] {
            assert_eq!(decode(&types(signature), &full), Err(NotCanonical::Form), "{signature}");
        }
        for signature in ["f(uint256)", "f(int8)", "f(int256)", "f(bytes32)"] {
            assert!(decode(&types(signature), &full).is_ok(), "{signature}");
        }
        assert_eq!(decode(&types("f(bool)"), &words(&[2])), Err(NotCanonical::Form));
        assert_eq!(decode(&types("f(int8)"), &words(&[0x80])), Err(NotCanonical::Form));
    }

    #[test]
    fn two_arguments_cannot_share_their_bytes() {
        let shared = words(&[0x40, 0x40, 1, 7]);
        let kinds = types("f(uint256[],uint256[])");
        assert_eq!(decode(&kinds, &shared), Err(NotCanonical::Form));
        let apart = words(&[0x40, 0x80, 1, 7, 1, 7]);
        assert!(decode(&kinds, &apart).is_ok());
        let swapped = words(&[0x80, 0x40, 1, 7, 1, 7]);
        assert_eq!(decode(&kinds, &swapped), Err(NotCanonical::Form));
    }

    #[test]
    fn one_text_is_not_copied_for_every_offset_to_it() {
        // 1,000 offsets to one text of 60,000 bytes: 60 MB, if each were read.
        let count = 1_000_u64;
        let mut data = words(&[0x20, count]);
        data.extend(words(&vec![count * 32; 1_000]));
        data.extend(words(&[60_000]));
        data.extend(vec![b'a'; 60_000]);
        let mut reader = Reader { values: 0, bytes: data.len() };
        assert_eq!(reader.members(&types("f(bytes[])"), &data), Err(NotCanonical::Form));
        assert!(reader.values < 5, "it stops at the second");
    }

    #[test]
    fn an_array_of_nothing_cannot_be_made_long_for_free() {
        let mut data = words(&[0x20]);
        data.extend([0xff; 32]);
        assert_eq!(decode(&types("f(()[])"), &data), Err(NotCanonical::TooShort));
        // Each array points back at itself: a small input that means a lot.
        let looped = words(&[0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20]);
        assert!(decode(&types("f(uint256[][][][][][][])"), &looped).is_err());
    }
}
