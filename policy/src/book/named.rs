//! What names in a book stand for, told to whoever agrees to one: a rule that says `@many` says
//! nothing to them, and a list that no rule uses today is one that a rule may use tomorrow.

use std::collections::BTreeSet;

use alloy_primitives::Address;

use super::compare::named_address;
use super::diff::{Difference, all_of};
use super::names::Thing;
use super::registry::{Label, Registry};
use super::{AddressSet, Book, text};
use crate::id::PersonId;
use crate::request::sha256;

/// Names in lines that come, and what each stands for.
pub(super) fn told(book: &Book, lines: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    for name in text::names_in(lines) {
        if let Some(thing) = book.things.get(name) {
            told.extend(thing_told(name, thing, book));
        }
        if let Some(people) = book.groups.get(name) {
            told.push(format!("group {name}: {}", people_told(people)));
        }
    }
    told
}

fn thing_told(name: &str, thing: &Thing, book: &Book) -> Vec<String> {
    let address = |address: &Address| named_address(*address, &book.registry);
    match thing {
        Thing::Address(one) => vec![format!("@{name}: {}", one.to_checksum(None))],
        Thing::Contract(chain, one) | Thing::Token(chain, one) => {
            vec![format!("@{name}: {} on chain {chain}", one.to_checksum(None))]
        }
        Thing::List(list) if list.len() <= MEMBERS_MAX => {
            let lines = all_of(list.iter(), address);
            lines.into_iter().map(|line| format!("@{name}: {line}")).collect()
        }
        // Each of them was told when it came into the list: see `compare`.
        Thing::List(list) => {
            let bytes: Vec<u8> = list.iter().flat_map(|one| one.into_array()).collect();
            vec![format!(
                "@{name}: {} addresses, SHA-256 over them in order {}",
                list.len(),
                hex::encode(sha256(&bytes))
            )]
        }
    }
}

/// Addresses that come into the book and look like one that is in it.
pub(super) fn alike(old: &Book, new: &Book, lines: &[String]) -> Vec<String> {
    let listed = new.things.iter().filter_map(|(name, thing)| match thing {
        Thing::List(list) => Some((name, list)),
        Thing::Address(_) | Thing::Contract(..) | Thing::Token(..) => None,
    });
    let nobody = AddressSet::default();
    let come = listed.flat_map(|(name, list)| {
        let before = old.things.get(name).and_then(|thing| match thing {
            Thing::List(before) => Some(&**before),
            Thing::Address(_) | Thing::Contract(..) | Thing::Token(..) => None,
        });
        list.difference(before.unwrap_or(&nobody)).copied().collect::<Vec<_>>()
    });
    let named = new.registry.labels.keys().filter(|one| old.registry.label(**one).is_none());
    let come = come.chain(named.copied()).chain(text::addresses_in(lines));
    let come: BTreeSet<Address> = come.collect();
    let mut pairs =
        come.into_iter().flat_map(|one| old.alike(one).into_iter().map(move |other| (one, other)));
    let line = |(one, other)| {
        let one = named_address(one, &new.registry);
        format!("{one} LOOKS LIKE {} AND IS NOT", named_address(other, &old.registry))
    };
    let mut lines: Vec<String> = pairs.by_ref().take(ALIKE_MAX).map(line).collect();
    let more = pairs.count();
    if more > 0 {
        lines.push(format!("and {more} more that LOOK LIKE something and ARE NOT"));
    }
    lines
}

fn people_told(people: &BTreeSet<PersonId>) -> String {
    let names: Vec<&str> = people.iter().map(|person| person.as_str()).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Approvers see names. A name that an address did not have could make a stranger look like a
/// supplier, so it needs more than one person. A name less tells them nothing false.
pub(super) fn labels(old: &Registry, new: &Registry, found: &mut Difference) {
    for (address, label) in &new.labels {
        let before = old.labels.get(address).map(Label::names).unwrap_or_default();
        if !label.names().is_subset(&before) {
            found.tell_wider(|| {
                let called = new.label(*address).unwrap_or_default();
                format!("address {}: now called {called}", address.to_checksum(None))
            });
        }
    }
}

/// Owners of a caller never count in its quorums: one less is a voter more, also where no key names
/// it yet, because one may tomorrow, and then only the caller is told.
///
/// A new caller takes a name that somebody who is being enrolled may have: as they can no longer be
/// a person then, one person must not be able to add it.
pub(super) fn owners(old: &Book, new: &Book, found: &mut Difference) {
    for (caller, entry) in new.callers().filter(|(caller, _)| old.caller(caller).is_none()) {
        let owners: Vec<&str> = entry.owners.iter().map(|owner| owner.as_str()).collect();
        found.tell_wider(|| format!("caller {caller}: added, owned by {}", owners.join(", ")));
    }
    for (caller, after) in new.callers() {
        if let Some(before) = old.caller(caller) {
            let mut lines = found.about(format!("caller {caller}"));
            lines.forbidden("owners", (&before.owners, &after.owners), ToString::to_string);
            if !before.owners.is_subset(&after.owners) {
                found.less_owned.insert(caller.clone());
            }
        }
    }
}

/// Members that a name did not stand for. What no rule uses permits nothing; but a rule that comes
/// later would be told by that name, so nobody alone puts anybody behind one. Another name for
/// exactly the same is no change, if all of them are told where it is used. A longer list is told
/// by its hash, to people who were told of each of its members under that name and no other.
pub(super) fn compare(old: &Book, new: &Book, found: &mut Difference) {
    let known = old.things.values().filter_map(|thing| match thing {
        Thing::List(list) => Some(list.as_ref()),
        Thing::Address(_) | Thing::Contract(..) | Thing::Token(..) => None,
    });
    let known: BTreeSet<&[Address]> = known.map(AddressSet::as_slice).collect();
    let nobody = AddressSet::default();
    for (name, thing) in &new.things {
        let Thing::List(list) = thing else { continue };
        let before = old.things.get(name).and_then(|thing| match thing {
            Thing::List(before) => Some(before.as_ref()),
            Thing::Address(_) | Thing::Contract(..) | Thing::Token(..) => None,
        });
        let before = before.unwrap_or(&nobody);
        let renamed = list.len() <= MEMBERS_MAX && known.contains(list.as_slice());
        if renamed || list.is_subset(before) {
            continue;
        }
        let mut lines = found.about(format!("list {name}"));
        lines.members("", (list.difference(before), std::iter::empty()), |address| {
            named_address(*address, &new.registry)
        });
    }
    let known: BTreeSet<&BTreeSet<PersonId>> = old.groups.values().collect();
    for (name, people) in &new.groups {
        let nobody = BTreeSet::new();
        let before = old.groups.get(name).unwrap_or(&nobody);
        if people.is_subset(before) || known.contains(people) {
            continue;
        }
        let mut lines = found.about(format!("group {name}"));
        lines.members("", (people.difference(before), std::iter::empty()), ToString::to_string);
    }
}

/// More are not read; nobody has so many by accident.
const ALIKE_MAX: usize = 40;

/// A list of more is told by its hash.
const MEMBERS_MAX: usize = 40;
