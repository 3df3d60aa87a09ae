//! A strict reader and a writer of RLP, on borrowed bytes.
//!
//! Ours, although alloy-rlp is strict too: the oracle that checks this decoder is built on
//! alloy-rlp, and a fault that both share would show in no comparison. It never allocates for a
//! length that somebody claims: an item is a slice of the input, or it is refused.

use super::Malformed;

/// One item: bytes, or a list of items.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Item<'a> {
    /// A byte string's payload.
    Bytes(&'a [u8]),
    /// A list's items.
    List(Items<'a>),
}

/// Items one after the other: the payload of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// The items of the one list that `input` must be. Nothing may follow it.
    pub(super) fn of_list(input: &'a [u8]) -> Result<Self, Malformed> {
        let (item, rest) = split(input)?;
        if !rest.is_empty() {
            return Err(Malformed::TrailingBytes { bytes: rest.len() });
        }
        match item {
            Item::List(items) => Ok(items),
            Item::Bytes(_) => Err(Malformed::NotAList),
        }
    }

    /// The next item, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (item, rest) = split(self.rest)?;
        self.rest = rest;
        Ok(Some(item))
    }

    /// How many items are left. Lists among them are not opened.
    pub(super) fn count(mut self) -> Result<usize, Malformed> {
        let mut count: usize = 0;
        while self.next()?.is_some() {
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Whether no item is left.
    pub(super) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }
}

/// Takes one item off the front. Every length has exactly one form: the shortest.
fn split(input: &[u8]) -> Result<(Item<'_>, &[u8]), Malformed> {
    let (first, after) = input.split_first().ok_or(Malformed::Truncated)?;
    match *first {
        0x00..=0x7f => {
            let (byte, rest) = input.split_at_checked(1).ok_or(Malformed::Truncated)?;
            Ok((Item::Bytes(byte), rest))
        }
        short @ 0x80..=0xb7 => {
            let (bytes, rest) = take(after, usize::from(short.saturating_sub(0x80)))?;
            match bytes {
                [alone] if *alone < 0x80 => Err(Malformed::NonCanonical),
                _ => Ok((Item::Bytes(bytes), rest)),
            }
        }
        long @ 0xb8..=0xbf => {
            let (bytes, rest) = take_long(after, usize::from(long.saturating_sub(0xb7)))?;
            Ok((Item::Bytes(bytes), rest))
        }
        short @ 0xc0..=0xf7 => {
            let (items, rest) = take(after, usize::from(short.saturating_sub(0xc0)))?;
            Ok((Item::List(Items { rest: items }), rest))
        }
        long @ 0xf8..=0xff => {
            let (items, rest) = take_long(after, usize::from(long.saturating_sub(0xf7)))?;
            Ok((Item::List(Items { rest: items }), rest))
        }
    }
}

fn take(input: &[u8], length: usize) -> Result<(&[u8], &[u8]), Malformed> {
    input.split_at_checked(length).ok_or(Malformed::Truncated)
}

/// A payload whose length is itself written in `width` bytes: 56 at least, no leading zero.
fn take_long(input: &[u8], width: usize) -> Result<(&[u8], &[u8]), Malformed> {
    let (digits, after) = take(input, width)?;
    if digits.first() == Some(&0) {
        return Err(Malformed::NonCanonical);
    }
    let mut wide = [0; 8];
    let start = wide.len().saturating_sub(width);
    wide.get_mut(start..).ok_or(Malformed::NonCanonical)?.copy_from_slice(digits);
    let length = u64::from_be_bytes(wide);
    if length < 56 {
        return Err(Malformed::NonCanonical);
    }
    // More than fits into memory is more than is there.
    take(after, usize::try_from(length).map_err(|_| Malformed::Truncated)?)
}

/// Writes items of one list.
#[derive(Debug, Default)]
pub(super) struct Writer {
    payload: Vec<u8>,
}

impl Writer {
    /// A byte string.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match bytes {
            [alone] if *alone < 0x80 => {}
            _ => header(&mut self.payload, 0x80, bytes.len()),
        }
        self.payload.extend_from_slice(bytes);
    }

    /// A number: big-endian bytes without leading zeros, so that zero is empty.
    pub(super) fn number(&mut self, big_endian: &[u8]) {
        let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
        self.bytes(big_endian.get(zeros..).unwrap_or_default());
    }

    /// A list.
    pub(super) fn list(&mut self, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        header(&mut self.payload, 0xc0, inner.payload.len());
        self.payload.extend_from_slice(&inner.payload);
    }

    /// Everything written, as one list behind `prefix`.
    pub(super) fn finish(self, prefix: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len().saturating_add(10));
        out.extend_from_slice(prefix);
        header(&mut out, 0xc0, self.payload.len());
        out.extend_from_slice(&self.payload);
        out
    }
}

/// The length of a payload, in its shortest form. `base` is 0x80 for bytes, 0xc0 for a list.
fn header(out: &mut Vec<u8>, base: u8, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..=55) => out.push(base.saturating_add(short)),
        _ => {
            let wide = length.to_be_bytes();
            let zeros = wide.iter().take_while(|byte| **byte == 0).count();
            let digits = wide.get(zeros..).unwrap_or_default();
            let width = u8::try_from(digits.len()).unwrap_or(8);
            out.push(base.saturating_add(55).saturating_add(width));
            out.extend_from_slice(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(input: &[u8]) -> Result<Item<'_>, Malformed> {
        split(input).map(|(item, _)| item)
    }

    #[test]
    fn every_length_is_written_in_its_one_form_and_read_back() {
        for length in [0, 1, 2, 55, 56, 255, 256, 65_535, 65_536] {
            let bytes = vec![0xab; length];
            let mut writer = Writer::default();
            writer.bytes(&bytes);
            writer.list(|inner| inner.bytes(&bytes));
            let whole = writer.finish(&[]);
            let mut items = Items::of_list(&whole).unwrap();
            assert_eq!(items.next(), Ok(Some(Item::Bytes(&bytes))));
            let Some(Item::List(mut inner)) = items.next().unwrap() else { panic!("{length}") };
            assert_eq!(inner.next(), Ok(Some(Item::Bytes(&bytes))));
            assert!(inner.is_empty() && items.is_empty(), "{length}");
        }
    }

    #[test]
    fn a_second_form_of_the_same_item_is_refused() {
        let long_form_of_a_short_string = [&[0xb8, 55][..], &[0; 55]].concat();
        let long_form_of_a_short_list = [&[0xf8, 55][..], &[0; 55]].concat();
        let zero_in_front_of_the_length = [&[0xb9, 0, 56][..], &[0; 56]].concat();
        for bad in [
            &[0x81, 0x00][..],
            &[0x81, 0x7f],
            &long_form_of_a_short_string,
            &long_form_of_a_short_list,
            &zero_in_front_of_the_length,
        ] {
            assert_eq!(first(bad), Err(Malformed::NonCanonical), "{bad:02x?}");
        }
        assert_eq!(first(&[0x81, 0x80]), Ok(Item::Bytes(&[0x80])));
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_and_never_allocated() {
        for bad in [
            &[][..],
            &[0x81],
            &[0xb7, 1],
            &[0xb8],
            &[0xc1],
            &[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(first(bad), Err(Malformed::Truncated), "{bad:02x?}");
        }
    }

    #[test]
    fn an_item_cannot_reach_beyond_its_list() {
        let mut items = Items::of_list(&[0xc2, 0x82, 0x01]).unwrap();
        assert_eq!(items.next(), Err(Malformed::Truncated));
    }
}
