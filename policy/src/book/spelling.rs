//! How names and symbols may be spelt, so that nobody takes one for another.

use super::file::{Field, Word};
use super::words::quoted;

/// Whether it is a name for anything but assets; a fault if not.
pub(super) fn plain_name(field: &Field<'_>, word: Word<'_>) -> bool {
    let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let fits = (1..=64).contains(&word.text.len()) && word.text.bytes().all(plain);
    // A name that looks like an address would be read as one in a list.
    let sound = fits && !word.text.starts_with("0x");
    if !sound {
        let hint = "write 1 to 64 of a-z, 0-9 and -, not beginning with 0x";
        field.fault_at(word.at, format!("{} is not a name", quoted(word.text)), hint);
    }
    sound
}

/// Whether it can name an asset and so be a unit; a fault if not. What differs from another only in
/// case is one too: people read amounts aloud.
pub(super) fn symbol<'n>(
    field: &Field<'_>,
    word: Word<'_>,
    mut others: impl Iterator<Item = &'n str>,
) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fits = (1..=32).contains(&word.text.len()) && word.text.bytes().all(plain);
    if !fits || word.text.starts_with("0x") {
        let hint = "write 1 to 32 of A-Z, a-z, 0-9, ., - and _";
        field.fault_at(word.at, format!("{} is not a symbol", quoted(word.text)), hint);
        return false;
    }
    let reserved = ["wei", "gwei"].into_iter();
    let taken = reserved.chain(&mut others).find(|other| other.eq_ignore_ascii_case(word.text));
    if let Some(other) = taken {
        let message = match other == word.text {
            true => format!("the symbol {other} already stands for something else"),
            false => format!("the symbol {} reads like {other}, another unit", word.text),
        };
        field.fault_at(word.at, message, "choose one that nobody can take for it");
    }
    taken.is_none()
}
