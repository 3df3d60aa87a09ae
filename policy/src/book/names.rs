//! What names in a book stand for, and how an address is read. Every `@name` is resolved here.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;

use super::file::{Field, Word};
use super::units::{UnitDef, coin_units};
use super::words::quoted;
use super::{Addresses, Registry};
use crate::id::{CallerId, ChainId, PersonId};

/// Everything that the registry part of a book names.
///
/// A name whose entry has a fault is kept with nothing behind it: that the entry is faulty is told
/// once, where it stands, and not again wherever it is used.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Chains, tokens and labels, resolved.
    pub(super) registry: Registry,
    /// Chains by name.
    pub(super) chains: BTreeMap<String, Option<ChainId>>,
    /// The symbol that each chain's entry gives its coin, whatever else is wrong with the entry.
    pub(super) coins: Vec<Option<String>>,
    /// What `@name` may stand for.
    pub(super) things: BTreeMap<String, Option<Thing>>,
    /// Groups of people by name.
    pub(super) groups: BTreeMap<String, Option<BTreeSet<PersonId>>>,
    /// Owners by caller.
    pub(super) callers: BTreeMap<CallerId, Option<BTreeSet<PersonId>>>,
    /// Addresses copied so far into rules that join several lists.
    copied: Cell<usize>,
}

/// What an `@name` stands for.
#[derive(Clone, Debug)]
pub(super) enum Thing {
    /// One address, on every chain.
    Address(Address),
    /// Several, on every chain.
    List(Addresses),
    /// A contract on one chain.
    Contract(ChainId, Address),
    /// A token on one chain.
    Token(ChainId, Address),
}

impl Names {
    /// Every unit that an amount of some chain's coin can have. `None` if a coin cannot be read, so
    /// that an amount in it is not blamed.
    pub(super) fn coin_units(&self) -> Option<Vec<UnitDef<'_>>> {
        let coins = self.coins.iter().map(Option::as_deref).collect::<Option<BTreeSet<&str>>>()?;
        Some(coin_units(coins.into_iter()))
    }

    /// The addresses that a rule over these chains names: `"@name"`, or an array of `"@name"` and
    /// `"0x.."`. Empty after a fault.
    pub(super) fn addresses(&self, field: &Field<'_>, chains: &BTreeSet<ChainId>) -> Addresses {
        let words = field.one_or_more(LIST_ADDRESSES_MAX).unwrap_or_default();
        if field.is_array() && words.is_empty() {
            field.fault("names nobody", "leave the rule out: what is absent permits nothing");
        }
        refuse_repeats(field, &words);
        if let [word] = words.as_slice() {
            return self.set(field, *word, chains).unwrap_or_default();
        }
        let sets: Vec<_> = words.iter().filter_map(|word| self.set(field, *word, chains)).collect();
        let count = sets.iter().map(|set| set.len()).fold(self.copied.get(), usize::saturating_add);
        self.copied.set(count);
        if count > COPIED_ADDRESSES_MAX {
            field.fault("rules that join lists hold too many addresses", "join them in [list]");
            return Addresses::default();
        }
        Arc::new(sets.iter().flat_map(|set| set.iter().copied()).collect())
    }

    /// The contract that `"@name"` stands for, on one of these chains (none: they are not known).
    pub(super) fn contract(
        &self,
        field: &Field<'_>,
        chains: &BTreeSet<ChainId>,
    ) -> Option<(ChainId, Address)> {
        self.contract_named(field, field.word()?, chains)
    }

    fn contract_named(
        &self,
        field: &Field<'_>,
        word: Word<'_>,
        chains: &BTreeSet<ChainId>,
    ) -> Option<(ChainId, Address)> {
        let (chain, address) = match self.thing(field, word)? {
            Thing::Contract(chain, address) | Thing::Token(chain, address) => (*chain, *address),
            Thing::Address(_) | Thing::List(_) => {
                let hint = "name it under [contract.NAME] with its chain";
                field.fault(format!("{} is not a contract", quoted(word.text)), hint);
                return None;
            }
        };
        if !chains.is_empty() && !chains.contains(&chain) {
            let message = format!("{} is on a chain this key may not use", quoted(word.text));
            field.fault(message, "add the chain to the key's chains, or leave the call out");
            return None;
        }
        Some((chain, address))
    }

    /// The addresses that an argument's bound names: on one chain, a token is an address too.
    pub(super) fn argument(
        &self,
        field: &Field<'_>,
        word: Word<'_>,
        chain: ChainId,
    ) -> Option<Addresses> {
        if let Some(name) = word.text.strip_prefix('@')
            && let Some(Some(Thing::Token(on, contract))) = self.things.get(name)
            && *on == chain
        {
            return Some(single(*contract));
        }
        self.set(field, word, &BTreeSet::from([chain]))
    }

    /// The contracts that an array of `"@name"` stands for, each on its chain.
    pub(super) fn contracts(
        &self,
        field: &Field<'_>,
        chains: &BTreeSet<ChainId>,
    ) -> BTreeSet<(ChainId, Address)> {
        let words = field.one_or_more(CONTRACTS_MAX).unwrap_or_default();
        refuse_repeats(field, &words);
        words.iter().filter_map(|word| self.contract_named(field, *word, chains)).collect()
    }

    fn set(
        &self,
        field: &Field<'_>,
        word: Word<'_>,
        chains: &BTreeSet<ChainId>,
    ) -> Option<Addresses> {
        if self.things.contains_key(word.text) {
            let hint = format!("write \"@{}\"", word.text);
            field.fault_at(word.at, format!("{} lacks an @", quoted(word.text)), hint);
            return None;
        }
        if !word.text.starts_with('@') {
            return address(field, word).map(single);
        }
        match self.thing(field, word)? {
            Thing::Address(address) => Some(single(*address)),
            Thing::List(list) => Some(Arc::clone(list)),
            Thing::Contract(chain, address) => {
                // An address on another chain may belong to somebody else, or to nobody yet.
                let elsewhere = chains.iter().any(|rule_chain| rule_chain != chain);
                if elsewhere {
                    let message = format!("{} is a contract on one chain only", quoted(word.text));
                    let hint = "the rule covers others too: if the address is right on all of \
                                them, name it under [address]";
                    field.fault_at(word.at, message, hint);
                }
                (!elsewhere).then(|| single(*address))
            }
            Thing::Token(..) => {
                let message = format!("{} is a token, not somebody who is paid", quoted(word.text));
                field.fault_at(word.at, message, "name a list, an address or a contract");
                None
            }
        }
    }

    fn thing(&self, field: &Field<'_>, word: Word<'_>) -> Option<&Thing> {
        let Some(name) = word.text.strip_prefix('@') else {
            let message = format!("expected a name, found {}", quoted(word.text));
            field.fault_at(word.at, message, "write \"@name\" with a name from this book");
            return None;
        };
        match self.things.get(name) {
            Some(thing) => thing.as_ref(),
            None => {
                let known = self.things.keys().map(String::as_str);
                let hint = match field.nearest(name, known) {
                    Some(near) => format!("did you mean \"@{near}\"?"),
                    None => "define it under [address], [list] or [contract.NAME]".to_owned(),
                };
                field.fault_at(word.at, format!("unknown name {}", quoted(word.text)), hint);
                None
            }
        }
    }
}

/// An address in lower case or with a valid EIP-55 checksum.
pub(super) fn address(field: &Field<'_>, word: Word<'_>) -> Option<Address> {
    match parse_address(word.text) {
        Ok(address) => Some(address),
        Err(invalid) => {
            let message = format!("{} {invalid}", quoted(word.text));
            field.fault_at(word.at, message, invalid.hint());
            None
        }
    }
}

/// Each string that stands there twice is a fault: one of them was meant to be something else.
pub(super) fn refuse_repeats(field: &Field<'_>, words: &[Word<'_>]) {
    let mut sorted: Vec<&Word<'_>> = words.iter().collect();
    sorted.sort_by_key(|word| word.text);
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    for (_, again) in pairs.filter(|(one, other)| one.text == other.text) {
        let message = format!("{} stands here twice", quoted(again.text));
        field.fault_at(again.at, message, "leave one of them out");
    }
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum InvalidAddress {
    #[error("is not an address")]
    Form,
    #[error("has a wrong EIP-55 checksum")]
    Checksum,
    #[error("is the zero address")]
    Zero,
}

impl InvalidAddress {
    /// Never the "right" spelling: that would bless a mistyped address.
    fn hint(self) -> &'static str {
        match self {
            Self::Form => "write 0x and 40 hexadecimal digits, or \"@name\" in a rule",
            Self::Checksum => "it is mistyped: copy it again from where it came from",
            Self::Zero => "what is sent there is lost; nothing may name it",
        }
    }
}

fn parse_address(text: &str) -> Result<Address, InvalidAddress> {
    let digits = text.strip_prefix("0x").ok_or(InvalidAddress::Form)?;
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidAddress::Form)?;
    let address = Address::from(bytes);
    if address == Address::ZERO {
        return Err(InvalidAddress::Zero);
    }
    let upper = digits.bytes().any(|byte| byte.is_ascii_uppercase());
    if upper && address.to_checksum(None) != text {
        return Err(InvalidAddress::Checksum);
    }
    Ok(address)
}

fn single(address: Address) -> Addresses {
    Arc::new([address].into_iter().collect())
}

/// The largest list. An exchange pays that many addresses; a longer list is "anyone".
pub(super) const LIST_ADDRESSES_MAX: usize = 1_000_000;

/// Contracts that people have read.
const CONTRACTS_MAX: usize = 1_000;

/// A rule that names one list shares it; one that joins several holds a copy, at some 40 bytes an
/// address. Together they may take 160 MB.
const COPIED_ADDRESSES_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lower_case_or_has_a_valid_checksum() {
        let sound = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";
        assert!(parse_address(sound).is_ok());
        assert!(parse_address(&sound.to_lowercase()).is_ok());
        let shouted = format!("0x{}", sound[2..].to_uppercase());
        assert_eq!(parse_address(&shouted), Err(InvalidAddress::Checksum));
        let flipped = sound.replace("0xA0b", "0xa0b");
        assert_eq!(parse_address(&flipped), Err(InvalidAddress::Checksum));
        assert_eq!(parse_address(&format!("0x{}", "0".repeat(40))), Err(InvalidAddress::Zero));
        for bad in ["", "0x", &sound[2..], &sound[..41], &format!("{sound}0"), "vitalik.eth"] {
            assert_eq!(parse_address(bad), Err(InvalidAddress::Form), "{bad}");
        }
        let prefix = sound.replace("0x", "0X");
        assert_eq!(parse_address(&prefix), Err(InvalidAddress::Form));
    }
}
