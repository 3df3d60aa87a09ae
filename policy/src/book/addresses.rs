//! Lists of addresses, looked up in the same time however long they are.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize, Serializer};

/// A set of addresses that never changes: sorted, with an index over their first bits, so that a
/// look-up in a million of them touches two places of memory instead of twenty. Addresses are
/// hashes, and so spread evenly; where somebody made many that begin alike, those few are searched
/// by halves.
#[derive(Clone, Eq, PartialEq, Deserialize)]
#[serde(from = "Vec<Address>")]
pub struct AddressSet {
    sorted: Box<[Address]>,
    /// Where each group of addresses with the same first bits starts in `sorted`, and the end.
    starts: Box<[u32]>,
    /// How many of the first 32 bits do not choose a group.
    shift: u32,
}

impl AddressSet {
    /// Whether it is among them.
    pub fn contains(&self, address: &Address) -> bool {
        let group = group(address, self.shift);
        let range = group.checked_add(1).and_then(|next| {
            let start = usize::try_from(*self.starts.get(group)?).ok()?;
            let end = usize::try_from(*self.starts.get(next)?).ok()?;
            self.sorted.get(start..end)
        });
        range.is_some_and(|range| range.binary_search(address).is_ok())
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Address> {
        self.sorted.iter()
    }

    /// Those between two, both included, in order.
    pub(super) fn within(&self, range: &std::ops::RangeInclusive<Address>) -> &[Address] {
        let start = self.sorted.partition_point(|one| one < range.start());
        let end = self.sorted.partition_point(|one| one <= range.end());
        self.sorted.get(start..end).unwrap_or_default()
    }

    /// All of them as a slice, to be looked up by.
    pub(super) fn as_slice(&self) -> &[Address] {
        &self.sorted
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether it is nobody.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Those that are not in the other set, in order.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Address> {
        self.iter().filter(|address| !other.contains(address))
    }

    /// Whether all of them are in the other set.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).next().is_none()
    }
}

/// The group of an address: its first 32 bits without the last `shift` of them.
fn group(address: &Address, shift: u32) -> usize {
    let [a, b, c, d, ..] = address.into_array();
    let first = u32::from_be_bytes([a, b, c, d]);
    usize::try_from(first.checked_shr(shift).unwrap_or(0)).unwrap_or(usize::MAX)
}

impl FromIterator<Address> for AddressSet {
    fn from_iter<I: IntoIterator<Item = Address>>(these: I) -> Self {
        let mut sorted: Vec<Address> = these.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let groups = sorted.len().div_ceil(PER_GROUP).next_power_of_two();
        let shift = u32::BITS.saturating_sub(groups.ilog2());
        let mut starts = Vec::with_capacity(groups.saturating_add(1));
        for (at, address) in (0_u32..).zip(&sorted) {
            let group = group(address, shift);
            while starts.len() <= group {
                starts.push(at);
            }
        }
        // A book holds far fewer than 2^32 addresses: its text is bounded.
        starts.resize(groups.saturating_add(1), u32::try_from(sorted.len()).unwrap_or(u32::MAX));
        Self { sorted: sorted.into(), starts: starts.into(), shift }
    }
}

impl From<Vec<Address>> for AddressSet {
    fn from(these: Vec<Address>) -> Self {
        these.into_iter().collect()
    }
}

impl Serialize for AddressSet {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.sorted.serialize(out)
    }
}

impl Default for AddressSet {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl std::fmt::Debug for AddressSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

/// Addresses in a group, about.
const PER_GROUP: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Addresses that begin alike, and some that do not.
    fn address() -> impl Strategy<Value = Address> {
        prop_oneof![
            any::<u8>().prop_map(Address::with_last_byte),
            any::<[u8; 20]>().prop_map(Address::from),
            (any::<u8>(), any::<u8>()).prop_map(|(first, last)| {
                let mut bytes = [0xff; 20];
                (bytes[0], bytes[19]) = (first, last);
                Address::from(bytes)
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_list_holds_what_an_ordinary_set_of_the_same_addresses_holds(
            these in prop::collection::vec(address(), 0..300),
            others in prop::collection::vec(address(), 0..300),
        ) {
            let (set, other): (AddressSet, AddressSet) =
                (these.iter().copied().collect(), others.iter().copied().collect());
            let (plain, plain_other): (BTreeSet<_>, BTreeSet<_>) =
                (these.iter().copied().collect(), others.iter().copied().collect());
            prop_assert!(set.iter().eq(&plain));
            prop_assert_eq!((set.len(), set.is_empty()), (plain.len(), plain.is_empty()));
            for one in these.iter().chain(&others) {
                prop_assert_eq!(set.contains(one), plain.contains(one), "{}", one);
            }
            prop_assert!(set.difference(&other).eq(plain.difference(&plain_other)));
            prop_assert_eq!(set.is_subset(&other), plain.is_subset(&plain_other));
            let half: AddressSet = set.iter().copied().step_by(2).collect();
            prop_assert!(half.is_subset(&set));
        }
    }
}
