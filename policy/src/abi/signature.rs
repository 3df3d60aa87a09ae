//! A full function signature, as people pin it in the book.

use std::collections::BTreeSet;

use alloy_primitives::keccak256;

use crate::value::{Kind, Member};

/// A function as a person writes it into a book, and as a contract knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Function {
    canonical: String,
    parameters: Vec<Member>,
}

impl Function {
    /// The canonical form, which is what is hashed: `transfer(address,uint256)`.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The first four bytes of the canonical form's Keccak-256.
    pub fn selector(&self) -> [u8; 4] {
        let [first, second, third, fourth, ..] = keccak256(&self.canonical).0;
        [first, second, third, fourth]
    }

    /// The parameters in order.
    pub fn parameters(&self) -> &[Member] {
        &self.parameters
    }
}

/// A text that is not a full function signature. `at` counts bytes from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSignature {
    /// Longer than [`SIGNATURE_BYTES_MAX`], as written or in its canonical form.
    #[error("a function signature has at most {SIGNATURE_BYTES_MAX} bytes")]
    TooLong,
    /// Something else than a name.
    #[error("at {at}: expected a name (letters, digits, _ and $, not starting with a digit)")]
    Name {
        /// Where.
        at: usize,
    },
    /// Something else than a type.
    #[error("at {at}: expected a type such as address, uint256, bytes32, T[], T[3] or (T,U)")]
    Type {
        /// Where.
        at: usize,
    },
    /// Another character was expected.
    #[error("at {at}: expected {expected:?}; write name(type name, type name) and no more")]
    Expected {
        /// Where.
        at: usize,
        /// What.
        expected: char,
    },
    /// Something after the closing parenthesis.
    #[error("at {at}: the signature ends with its parameters; leave out what follows them")]
    Trailing {
        /// Where.
        at: usize,
    },
    /// Tuples in arrays in tuples.
    #[error("at {at}: tuples and arrays nest at most {DEPTH_MAX} deep")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// An array length that is zero, has leading zeros, or is beyond 65,535.
    #[error("at {at}: an array's length is 1 to 65535, without leading zeros")]
    ArrayLength {
        /// Where.
        at: usize,
    },
    /// A name that is a type: mostly a comma is missing.
    #[error("at {at}: a parameter cannot be named like a type: is a comma missing?")]
    NameIsType {
        /// Where.
        at: usize,
    },
    /// Two parameters of one name: a bound on it would bind only one.
    #[error("at {at}: another parameter has this name")]
    NameTwice {
        /// Where.
        at: usize,
    },
}

/// Longest function signature, in bytes. The longest in use (routers with nested orders) have
/// about 300.
pub const SIGNATURE_BYTES_MAX: usize = 1_024;

/// How deep tuples and arrays may nest.
pub const DEPTH_MAX: usize = 8;

/// The selector of a full signature, names of parameters or not.
///
/// # Errors
///
/// Where the text is not a signature.
pub fn selector_of(signature: &str) -> Result<[u8; 4], BadSignature> {
    function(signature).map(|function| function.selector())
}

/// Parses `supply(address asset, uint256 amount)`: strips names and spaces, and writes `uint` and
/// `int` in full.
///
/// # Errors
///
/// Where the text is not a signature.
pub fn function(signature: &str) -> Result<Function, BadSignature> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(BadSignature::TooLong);
    }
    let mut text = Text { whole: signature, at: 0 };
    text.spaces();
    let name = text.name()?;
    text.spaces();
    text.expect('(')?;
    let parameters = parameters(&mut text, 0)?;
    text.spaces();
    if text.at < signature.len() {
        return Err(BadSignature::Trailing { at: text.at });
    }
    let canonical = format!("{name}{}", Kind::Tuple(None, parameters.clone()));
    // `int` is written shorter than what is hashed.
    if canonical.len() > SIGNATURE_BYTES_MAX {
        return Err(BadSignature::TooLong);
    }
    Ok(Function { canonical, parameters })
}

/// Everything up to the closing parenthesis, which is taken.
fn parameters(text: &mut Text<'_>, depth: usize) -> Result<Vec<Member>, BadSignature> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    text.spaces();
    if text.take(')') {
        return Ok(found);
    }
    loop {
        let kind = kind(text, depth)?;
        text.spaces();
        let at = text.at;
        let name = if text.starts_name() { Some(text.name()?.to_owned()) } else { None };
        if let Some(name) = &name {
            if Kind::elementary(name).is_some() {
                return Err(BadSignature::NameIsType { at });
            }
            if !names.insert(name.clone()) {
                return Err(BadSignature::NameTwice { at });
            }
        }
        found.push(Member { kind, name });
        text.spaces();
        if text.take(')') {
            return Ok(found);
        }
        text.expect(',')?;
        text.spaces();
    }
}

/// One type with its array suffixes.
fn kind(text: &mut Text<'_>, depth: usize) -> Result<Kind, BadSignature> {
    let at = text.at;
    let word = if text.starts_name() { text.name()? } else { "tuple" };
    let mut kind = if word == "tuple" {
        if depth >= DEPTH_MAX {
            return Err(BadSignature::TooDeep { at });
        }
        if !text.take('(') {
            return Err(BadSignature::Type { at });
        }
        Kind::Tuple(None, parameters(text, depth.saturating_add(1))?)
    } else {
        Kind::elementary(word).ok_or(BadSignature::Type { at })?
    };
    let mut arrays = depth;
    while text.take('[') {
        let at = text.at;
        let digits = text.digits();
        let length = digits.parse::<u16>().ok().filter(|length| *length > 0);
        if !digits.is_empty() && (length.is_none() || digits.starts_with('0')) {
            return Err(BadSignature::ArrayLength { at });
        }
        text.expect(']')?;
        arrays = arrays.saturating_add(1);
        if arrays > DEPTH_MAX {
            return Err(BadSignature::TooDeep { at });
        }
        kind = Kind::Array(Box::new(kind), length);
    }
    Ok(kind)
}

/// A text and how much of it has been read.
struct Text<'a> {
    whole: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    fn rest(&self) -> &'a str {
        self.whole.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        self.run(|byte| byte == b' ');
    }

    fn digits(&mut self) -> &'a str {
        self.run(|byte| byte.is_ascii_digit())
    }

    fn starts_name(&self) -> bool {
        self.rest().bytes().next().is_some_and(|b| name_byte(b) && !b.is_ascii_digit())
    }

    fn name(&mut self) -> Result<&'a str, BadSignature> {
        if self.starts_name() {
            Ok(self.run(name_byte))
        } else {
            Err(BadSignature::Name { at: self.at })
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at = self.at.saturating_add(wanted.len_utf8());
        }
        found
    }

    fn expect(&mut self, expected: char) -> Result<(), BadSignature> {
        if self.take(expected) {
            Ok(())
        } else {
            Err(BadSignature::Expected { at: self.at, expected })
        }
    }

    /// Reads as long as `wanted`, which must accept ASCII only.
    fn run(&mut self, wanted: fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| wanted(*byte)).count();
        self.at = self.at.saturating_add(length);
        rest.get(..length).unwrap_or_default()
    }
}

fn name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

#[cfg(test)]
mod tests {
    use super::super::{APPROVE, TRANSFER, TRANSFER_FROM};
    use super::*;

    #[test]
    fn the_selectors_here_are_those_of_their_signatures() {
        for (text, expected) in [
            ("transfer(address,uint256)", TRANSFER),
            ("transferFrom(address from, address to, uint amount)", TRANSFER_FROM),
            ("approve( address spender,uint256 )", APPROVE),
            ("deposit()", [0xd0, 0xe3, 0x0d, 0xb0]),
            (
                "supply(address asset, uint256 amount, address onBehalfOf, uint16 referralCode)",
                [0x61, 0x7b, 0xa0, 0x37],
            ),
            ("multicall(bytes[])", [0xac, 0x96, 0x50, 0xd8]),
            // Uniswap v3's SwapRouter.
            (
                "exactInputSingle((address tokenIn,address,uint24,address,uint256,uint256,uint256,\
                 uint160) params)",
                [0x41, 0x4b, 0xf3, 0x89],
            ),
            // Multicall3.
            (
                "aggregate3(tuple(address target, bool allowFailure, bytes callData)[] calls)",
                [0x82, 0xad, 0x56, 0xcb],
            ),
        ] {
            assert_eq!(selector_of(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_signature_has_one_canonical_form_and_keeps_its_names() {
        let text = " f_1$( uint a,(int,bytes1 [2][] x)[3] pair , bytes24,string) ";
        let wrong_space = BadSignature::Expected { at: 26, expected: ',' };
        assert_eq!(function(text), Err(wrong_space));
        let found = function(&text.replace("1 [", "1[")).unwrap();
        assert_eq!(found.canonical(), "f_1$(uint256,(int256,bytes1[2][])[3],bytes24,string)");
        let names: Vec<_> = found.parameters().iter().map(|each| each.name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("pair"), None, None]);
        assert_eq!(found.parameters()[1].kind.to_string(), "(int256,bytes1[2][])[3]");
    }

    #[test]
    fn a_text_that_is_no_signature_is_refused_with_its_place() {
        use BadSignature::{
            ArrayLength, Expected, Name, NameIsType, NameTwice, TooDeep, TooLong, Trailing, Type,
        };
        let deep = format!("f{}{}", "(".repeat(10), ")".repeat(10));
        let long = format!("f({})", "address,".repeat(200));
        let long_in_full = format!("f({}int)", "int,".repeat(200));
        for (text, expected) in [
            ("", Name { at: 0 }),
            ("1f()", Name { at: 0 }),
            ("transfer", Expected { at: 8, expected: '(' }),
            ("function f(address)", Expected { at: 9, expected: '(' }),
            ("f(address) external", Trailing { at: 11 }),
            ("f(address", Expected { at: 9, expected: ',' }),
            ("f(address,)", Type { at: 10 }),
            ("f(,address)", Type { at: 2 }),
            ("f(Address)", Type { at: 2 }),
            ("f(uint7)", Type { at: 2 }),
            ("f(uint264)", Type { at: 2 }),
            ("f(uint08)", Type { at: 2 }),
            ("f(int0)", Type { at: 2 }),
            ("f(uint+8)", Expected { at: 6, expected: ',' }),
            ("f(bytes0)", Type { at: 2 }),
            ("f(bytes33)", Type { at: 2 }),
            ("f(fixed128x18)", Type { at: 2 }),
            ("f(uint8[0])", ArrayLength { at: 8 }),
            ("f(uint8[01])", ArrayLength { at: 8 }),
            ("f(uint8[65536])", ArrayLength { at: 8 }),
            ("f(uint8[2)", Expected { at: 9, expected: ']' }),
            ("f(address uint256)", NameIsType { at: 10 }),
            ("f(address a, uint256 a)", NameTwice { at: 21 }),
            ("f(bytes calldata x)", Expected { at: 17, expected: ',' }),
            ("f(address\t)", Expected { at: 9, expected: ',' }),
            ("f(addressé)", Expected { at: 9, expected: ',' }),
            (&deep, TooDeep { at: 10 }),
            (&long, TooLong),
            (&long_in_full, TooLong),
        ] {
            assert_eq!(function(text), Err(expected), "{text}");
        }
    }
}
