//! Calldata, read as strictly as transactions: one encoding for one meaning.
//!
//! The same four bytes mean an amount to an ERC-20 and a token id to an ERC-721. What kind of
//! asset a contract is comes from the book's registry, never from a selector: nothing here may be
//! asked before the registry has said that the contract is a token of that kind.

mod codec;
mod signature;

use alloy_primitives::{Address, U256};

pub use self::codec::{NotCanonical, decode, encode};
pub use self::signature::{
    BadSignature, DEPTH_MAX, Function, SIGNATURE_BYTES_MAX, function, selector_of,
};

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
}
