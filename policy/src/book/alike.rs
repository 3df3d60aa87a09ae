//! Addresses that look like another at a glance: the same first and last four digits, which is what
//! people compare and what address poisoning imitates.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::Address;

use super::names::Thing;
use super::{AddressSet, Addresses, Book};

impl Book {
    /// Those that the book names or lists, that look like this one and are not.
    pub(crate) fn alike(&self, one: Address) -> BTreeSet<Address> {
        let named = self.registry.labels.range(beginning_like(one)).map(|(address, _)| address);
        let listed = self.listed.iter().flat_map(|list| list.within(&beginning_like(one)));
        named.chain(listed).copied().filter(|other| looks_like(one, *other)).collect()
    }
}

/// Every address that stands in a list, in a few lists: there may be as many of them as of
/// addresses, and each look would cost as much.
pub(super) fn listed<'t>(things: impl Iterator<Item = &'t Thing>) -> Vec<Addresses> {
    let lists = things.filter_map(|thing| match thing {
        Thing::List(list) => Some(list),
        Thing::Address(_) | Thing::Contract(..) | Thing::Token(..) => None,
    });
    let (long, short): (Vec<&Addresses>, Vec<&Addresses>) =
        lists.partition(|list| list.len() > SHORT_MAX);
    let short: BTreeSet<&[Address]> = short.into_iter().map(|list| list.as_slice()).collect();
    let short: AddressSet = short.into_iter().flatten().copied().collect();
    let mut seen: BTreeSet<&[Address]> = BTreeSet::new();
    let long = long.into_iter().filter(|list| seen.insert(list.as_slice()));
    long.cloned().chain([Arc::new(short)]).collect()
}

/// Longer lists are few, and are not copied.
const SHORT_MAX: usize = 10_000;

/// All addresses with the same first four digits.
pub(crate) fn beginning_like(one: Address) -> RangeInclusive<Address> {
    let end = |rest: u8| {
        let mut bytes = [rest; 20];
        for (place, byte) in bytes.iter_mut().zip(one.into_array()).take(2) {
            *place = byte;
        }
        Address::from(bytes)
    };
    end(0)..=end(u8::MAX)
}

/// Whether people could take the one for the other.
pub(crate) fn looks_like(one: Address, other: Address) -> bool {
    let ends = |one: Address| {
        let bytes = one.into_array();
        (bytes.first_chunk::<2>().copied(), bytes.last_chunk::<2>().copied())
    };
    one != other && ends(one) == ends(other)
}
