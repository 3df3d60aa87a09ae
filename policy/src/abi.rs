//! Calldata, read as strictly as transactions: one encoding for one meaning.
//!
//! The same four bytes mean an amount to an ERC-20 and a token id to an ERC-721. What kind of
//! asset a contract is comes from the book's registry, never from a selector: nothing here may be
//! asked before the registry has said that the contract is a token of that kind.

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256, keccak256};

use crate::money::Amount;

/// What calldata says to a contract that the registry knows as an ERC-20.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Erc20 {
    /// `transfer(address,uint256)`: pays from the sender.
    Transfer {
        /// Who is paid.
        to: Address,
        /// How much, in base units.
        amount: Amount,
    },
    /// `transferFrom(address,address,uint256)`: pays from whoever has allowed the sender to.
    TransferFrom {
        /// Who pays.
        from: Address,
        /// Who is paid.
        to: Address,
        /// How much, in base units.
        amount: Amount,
    },
    /// `approve(address,uint256)`: sets what a spender may take.
    Approve {
        /// Who may take.
        spender: Address,
        /// How much, in base units. It replaces what was allowed before.
        amount: Amount,
    },
    /// None of these functions.
    NotErc20,
    /// One of these functions, in an encoding that is not its only one. To be refused: contracts
    /// disagree about what it means.
    NotCanonical(AbiFault),
}

/// Why arguments are not in their one encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AbiFault {
    /// Too short, or with bytes after the last argument.
    #[error("the calldata has {bytes} bytes: this function takes exactly {expected}")]
    Length {
        /// How many there are.
        bytes: usize,
        /// How many there must be.
        expected: usize,
    },
    /// An address word whose upper twelve bytes are not zero.
    #[error("argument {argument} is not an address: its upper twelve bytes are not zero")]
    DirtyAddress {
        /// Which, counted from 1.
        argument: usize,
    },
}

/// `transfer(address,uint256)`.
pub const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `transferFrom(address,address,uint256)`.
pub const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];
/// `approve(address,uint256)`.
pub const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

/// Reads calldata for a contract that the registry knows as an ERC-20.
pub fn erc20(data: &[u8]) -> Erc20 {
    let read = match selector(data) {
        Some(TRANSFER) => words(data).and_then(|[to, amount]| {
            Ok(Erc20::Transfer { to: address(&to, 1)?, amount: uint(&amount) })
        }),
        Some(TRANSFER_FROM) => words(data).and_then(|[from, to, amount]| {
            let from = address(&from, 1)?;
            Ok(Erc20::TransferFrom { from, to: address(&to, 2)?, amount: uint(&amount) })
        }),
        Some(APPROVE) => words(data).and_then(|[spender, amount]| {
            Ok(Erc20::Approve { spender: address(&spender, 1)?, amount: uint(&amount) })
        }),
        Some(_) | None => Ok(Erc20::NotErc20),
    };
    read.unwrap_or_else(Erc20::NotCanonical)
}

/// The first four bytes. `None` if there are fewer, which calls a fallback function.
pub fn selector(data: &[u8]) -> Option<[u8; 4]> {
    data.first_chunk::<4>().copied()
}

/// Exactly `N` words after the selector, and nothing else.
fn words<const N: usize>(data: &[u8]) -> Result<[[u8; 32]; N], AbiFault> {
    let expected = N.saturating_mul(32).saturating_add(4);
    let wrong = AbiFault::Length { bytes: data.len(), expected };
    if data.len() != expected {
        return Err(wrong);
    }
    let (words, _) = data.get(4..).unwrap_or_default().as_chunks::<32>();
    <[[u8; 32]; N]>::try_from(words).map_err(|_| wrong)
}

fn address(word: &[u8; 32], argument: usize) -> Result<Address, AbiFault> {
    match word.split_at(12) {
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], address) => Ok(Address::from_slice(address)),
        _ => Err(AbiFault::DirtyAddress { argument }),
    }
}

fn uint(word: &[u8; 32]) -> Amount {
    Amount::from_units(U256::from_be_bytes(*word))
}

/// A function as a person writes it into a book, and as a contract knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Function {
    canonical: String,
    parameters: Vec<Parameter>,
}

/// One parameter of a [`Function`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    /// The canonical type, such as `uint256` or `(address,bytes)[]`.
    pub kind: String,
    /// The name, if one was written. Two parameters never share one.
    pub name: Option<String>,
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
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

/// A text that is not a full function signature. `at` counts bytes from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSignature {
    /// Longer than [`SIGNATURE_BYTES_MAX`].
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
    /// Tuples in tuples in tuples.
    #[error("at {at}: tuples nest at most {DEPTH_MAX} deep")]
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

/// How deep tuples may nest.
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
    Ok(Function { canonical: format!("{name}{}", tuple(&parameters)), parameters })
}

/// Everything up to the closing parenthesis, which is taken.
fn parameters(text: &mut Text<'_>, depth: usize) -> Result<Vec<Parameter>, BadSignature> {
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
            if elementary(name).is_some() {
                return Err(BadSignature::NameIsType { at });
            }
            if !names.insert(name.clone()) {
                return Err(BadSignature::NameTwice { at });
            }
        }
        found.push(Parameter { kind, name });
        text.spaces();
        if text.take(')') {
            return Ok(found);
        }
        text.expect(',')?;
        text.spaces();
    }
}

/// One type with its array suffixes, canonical.
fn kind(text: &mut Text<'_>, depth: usize) -> Result<String, BadSignature> {
    let at = text.at;
    let word = if text.starts_name() { text.name()? } else { "tuple" };
    let mut kind = if word == "tuple" {
        if depth >= DEPTH_MAX {
            return Err(BadSignature::TooDeep { at });
        }
        if !text.take('(') {
            return Err(BadSignature::Type { at });
        }
        tuple(&parameters(text, depth.saturating_add(1))?)
    } else {
        elementary(word).ok_or(BadSignature::Type { at })?
    };
    while text.take('[') {
        let at = text.at;
        let digits = text.digits();
        let length_fits = digits.parse::<u16>().is_ok_and(|length| length > 0);
        if !digits.is_empty() && (!length_fits || digits.starts_with('0')) {
            return Err(BadSignature::ArrayLength { at });
        }
        text.expect(']')?;
        kind = format!("{kind}[{digits}]");
    }
    Ok(kind)
}

fn tuple(parameters: &[Parameter]) -> String {
    let kinds: Vec<_> = parameters.iter().map(|parameter| parameter.kind.as_str()).collect();
    format!("({})", kinds.join(","))
}

/// The canonical name of an elementary type. Fixed-point types are not among them: no compiler
/// implements them.
fn elementary(word: &str) -> Option<String> {
    let bits = |digits: &str| plain(digits).filter(|bits| bits % 8 == 0 && *bits <= 256);
    let known = match word {
        "address" | "bool" | "string" | "bytes" | "function" => true,
        "uint" | "int" => return Some(format!("{word}256")),
        _ => {
            if let Some(digits) = word.strip_prefix("uint").or_else(|| word.strip_prefix("int")) {
                bits(digits).is_some()
            } else if let Some(digits) = word.strip_prefix("bytes") {
                plain(digits).is_some_and(|bytes| bytes <= 32)
            } else {
                false
            }
        }
    };
    known.then(|| word.to_owned())
}

/// A number above zero, without sign or leading zeros.
fn plain(digits: &str) -> Option<u16> {
    let starts_well = digits.bytes().next().is_some_and(|digit| matches!(digit, b'1'..=b'9'));
    digits.parse().ok().filter(|_| starts_well)
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
    use super::*;

    const TO: Address = Address::repeat_byte(0x11);
    const FROM: Address = Address::repeat_byte(0x22);

    fn call(selector: [u8; 4], words: &[[u8; 32]]) -> Vec<u8> {
        [&selector[..], &words.concat()].concat()
    }

    fn word(address: Address) -> [u8; 32] {
        address.into_word().0
    }

    const AMOUNT: [u8; 32] = [0xff; 32];

    #[test]
    fn the_three_functions_are_read_in_full_up_to_the_largest_amount() {
        let amount = Amount::MAX;
        assert_eq!(erc20(&call(TRANSFER, &[word(TO), AMOUNT])), Erc20::Transfer { to: TO, amount });
        assert_eq!(
            erc20(&call(TRANSFER_FROM, &[word(FROM), word(TO), AMOUNT])),
            Erc20::TransferFrom { from: FROM, to: TO, amount }
        );
        assert_eq!(
            erc20(&call(APPROVE, &[word(TO), AMOUNT])),
            Erc20::Approve { spender: TO, amount }
        );
    }

    #[test]
    fn every_other_length_is_refused_although_contracts_would_take_it() {
        for (selector, count) in [(TRANSFER, 2), (TRANSFER_FROM, 3), (APPROVE, 2)] {
            let whole = call(selector, &vec![word(TO); count]);
            let expected = whole.len();
            let longer = [&whole[..], &[0; 40]].concat();
            for bytes in (4..expected).chain(expected + 1..longer.len()) {
                let fault = AbiFault::Length { bytes, expected };
                assert_eq!(erc20(&longer[..bytes]), Erc20::NotCanonical(fault));
            }
        }
    }

    #[test]
    fn an_address_with_any_upper_byte_set_is_refused() {
        for (selector, words, argument) in
            [(TRANSFER, 2, 1), (TRANSFER_FROM, 3, 2), (APPROVE, 2, 1)]
        {
            for byte in 0..12 {
                let mut data = call(selector, &vec![word(TO); words]);
                data[4 + (argument - 1) * 32 + byte] = 1;
                let fault = AbiFault::DirtyAddress { argument };
                assert_eq!(erc20(&data), Erc20::NotCanonical(fault));
            }
        }
    }

    #[test]
    fn other_functions_and_short_data_are_not_erc20() {
        for data in [&[][..], &[0xa9, 0x05, 0x9c], &[0xa9, 0x05, 0x9c, 0xbc], &[0; 68]] {
            assert_eq!(erc20(data), Erc20::NotErc20);
        }
        assert_eq!(selector(&[1, 2, 3]), None);
        assert_eq!(selector(&[1, 2, 3, 4, 5]), Some([1, 2, 3, 4]));
    }

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
        let text = " f_1$( uint a,(int,bytes1 [2][] x)[3] pair , function,string) ";
        let wrong_space = BadSignature::Expected { at: 26, expected: ',' };
        assert_eq!(function(text), Err(wrong_space));
        let found = function(&text.replace("1 [", "1[")).unwrap();
        assert_eq!(found.canonical(), "f_1$(uint256,(int256,bytes1[2][])[3],function,string)");
        let names: Vec<_> = found.parameters().iter().map(|each| each.name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("pair"), None, None]);
        assert_eq!(found.parameters()[1].kind, "(int256,bytes1[2][])[3]");
    }

    #[test]
    fn a_text_that_is_no_signature_is_refused_with_its_place() {
        use BadSignature::{
            ArrayLength, Expected, Name, NameIsType, NameTwice, TooDeep, TooLong, Trailing, Type,
        };
        let deep = format!("f{}{}", "(".repeat(10), ")".repeat(10));
        let long = format!("f({})", "address,".repeat(200));
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
        ] {
            assert_eq!(function(text), Err(expected), "{text}");
        }
    }
}
