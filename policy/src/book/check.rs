//! The way from a book's text to a [`Book`]: reads the registry, then the keys, and finds all
//! faults. One fault refuses the whole book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;

use super::file::{self, Field, Fields, Word};
use super::limits::{Zero, amount};
use super::names::{LIST_ADDRESSES_MAX, Names, Thing, address};
use super::report::Report;
use super::spelling::{plain_name, symbol};
use super::units::coin_units;
use super::words::{Vocabulary, quoted};
use super::{
    Addresses, Book, CallerEntry, Chain, ContractKind, Fault, Faults, Token, TokenKind,
    environment, rules, shared,
};
use crate::id::{BookHash, CallerId, ChainId, PersonId};

/// Reads a book, or says everything that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Book, Faults> {
    let report = Report::default();
    let document = file::document(text, &report);
    let book = document.as_ref().and_then(|table| {
        let root = Fields::root(table.get_ref(), ROOT, &report);
        read(text, &root)
    });
    match (report.into_faults(text), book) {
        (None, Some(book)) => Ok(book),
        (Some(faults), _) => Err(faults),
        (None, None) => Err(Faults(vec![unreadable()])),
    }
}

/// The book, worth nothing if there were faults. `None` if it is of another version: then no word
/// in it can be trusted to mean what it means here.
fn read(text: &str, root: &Fields<'_>) -> Option<Book> {
    let hint = "write version = 1 on the first line";
    if let Some(version) = root.required("version", hint)
        && version.number(1, u64::MAX)? != VERSION
    {
        version.fault("a book of another version", "this program reads version = 1");
        return None;
    }
    let environment = environment::environment(root);
    let mut names = Names::default();
    read_chains(root, &mut names);
    read_tokens(root, &mut names);
    read_addresses(root, &mut names);
    read_contracts(root, &mut names);
    read_lists(root, &mut names);
    read_groups(root, &mut names);
    read_callers(root, &mut names);
    let keys = rules::keys(root, &names)?;
    let shared = shared::shared(root, &names, |label| keys.get(label))?;
    let owners = |(caller, owners): (CallerId, Option<BTreeSet<PersonId>>)| {
        (caller, CallerEntry { owners: owners.unwrap_or_default() })
    };
    let group =
        |(name, people): (String, Option<BTreeSet<PersonId>>)| (name, people.unwrap_or_default());
    let things = names.things.into_iter().filter_map(|(name, thing)| Some((name, thing?)));
    let things: BTreeMap<String, Thing> = things.collect();
    Some(Book {
        listed: super::alike::listed(things.values()),
        things,
        text: text.to_owned(),
        hash: BookHash::of(text),
        environment,
        registry: names.registry,
        callers: names.callers.into_iter().map(owners).collect(),
        groups: names.groups.into_iter().map(group).collect(),
        keys,
        prices: shared::prices(root, &shared)?,
        shared,
    })
}

/// `[chain.NAME]`.
fn read_chains(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "chain", CHAINS_MAX) {
        let named = plain_name(&field, word);
        let chain = read_chain(&field, names, word.text).filter(|_| named);
        if let Some((id, chain)) = &chain {
            names.registry.chains.insert(*id, chain.clone());
        }
        names.chains.insert(word.text.to_owned(), chain.map(|(id, _)| id));
    }
}

fn read_chain(field: &Field<'_>, names: &mut Names, name: &str) -> Option<(ChainId, Chain)> {
    let fields = field.fields(CHAIN);
    let hint = "write native = \"ETH\", the symbol of its coin";
    let native = fields.as_ref().and_then(|fields| fields.required("native", hint));
    let native = native.and_then(|field| Some((field.word()?, field)));
    names.coins.push(native.as_ref().map(|(word, _)| word.text.to_owned()));
    let native = native.and_then(|(word, field)| {
        let others = names.registry.chains.values().map(|chain| chain.native.as_str());
        symbol(&field, word, others.filter(|other| *other != word.text)).then_some(word.text)
    });
    let fields = fields?;
    let l1_fee = fields.optional("l1_fee").map(|field| {
        let units = coin_units([native?].into_iter());
        amount(&field, field.word()?, &units, Zero::Allowed)
    });
    let id_field = fields.required("id", "write id = 1, the chain id of EIP-155")?;
    let id = ChainId(id_field.number(1, CHAIN_ID_MAX)?);
    if let Some(other) = names.registry.chain(id) {
        let message = format!("chain {id} is already registered as {}", other.name);
        id_field.fault(message, "one chain has one entry: leave one of them out");
        return None;
    }
    let l1_fee = match l1_fee {
        Some(amount) => Some(amount?),
        None => None,
    };
    Some((id, Chain { name: name.to_owned(), native: native?.to_owned(), l1_fee }))
}

/// `[asset.NAME]`.
fn read_tokens(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "asset", NAMES_MAX) {
        let natives = names.registry.chains.values().map(|chain| chain.native.as_str());
        let tokens = names.things.keys().map(String::as_str);
        let named = symbol(&field, word, natives.chain(tokens));
        let token = read_token(&field, names, word.text).filter(|_| named);
        if let Some((chain, contract, token)) = &token {
            names.registry.tokens.insert((*chain, *contract), token.clone());
            label(names, *contract, Some(*chain), word.text);
        }
        let thing = token.map(|(chain, contract, _)| Thing::Token(chain, contract));
        names.things.insert(word.text.to_owned(), thing);
    }
}

fn read_token(field: &Field<'_>, names: &Names, name: &str) -> Option<(ChainId, Address, Token)> {
    let fields = field.fields(ASSET)?;
    let kind = fields.required("kind", "write kind = \"erc20\"");
    let kind = kind.filter(|kind| closed_word(kind, "kind", KINDS));
    let kind = kind.and_then(|field| TokenKind::named(field.word()?.text));
    let apart = matches!(kind, Some(TokenKind::Erc721 | TokenKind::Erc1155));
    let decimals = if apart {
        fields.optional("decimals")
    } else {
        fields.required("decimals", "write how many digits its amounts have")
    };
    let decimals = match decimals {
        Some(field) => field.number(0, if apart { 0 } else { TOKEN_DECIMALS_MAX }),
        None => Some(0),
    };
    let (chain, contract) = place(&fields, names)?;
    if let Some(other) = names.registry.token(chain, contract) {
        let message = format!("the same contract is already registered as {}", other.name);
        field.fault(message, "one token has one entry: leave one of them out");
        return None;
    }
    let decimals = u8::try_from(decimals?).ok()?;
    Some((chain, contract, Token { name: name.to_owned(), kind: kind?, decimals }))
}

/// `[address]`.
fn read_addresses(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "address", NAMES_MAX) {
        let found = field.word().and_then(|text| address(&field, text));
        if let Some(found) = found {
            label(names, found, None, word.text);
        }
        define(names, &field, word, found.map(Thing::Address));
    }
}

/// `[contract.NAME]`.
fn read_contracts(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "contract", NAMES_MAX) {
        let fields = field.fields(CONTRACT);
        let found = fields.as_ref().and_then(|fields| place(fields, names));
        let kind = fields.and_then(|fields| fields.optional("kind"));
        let kind = kind.filter(|field| closed_word(field, "kind", CONTRACT_KINDS));
        let kind = kind.and_then(|field| ContractKind::named(field.word()?.text));
        if let Some(place) = found {
            label(names, place.1, Some(place.0), word.text);
            contract_kind(names, &field, place, kind.unwrap_or_default());
        }
        let thing = found.map(|(chain, contract)| Thing::Contract(chain, contract));
        define(names, &field, word, thing);
    }
}

/// What kind of contract is at a place: one place, one kind.
fn contract_kind(
    names: &mut Names,
    field: &Field<'_>,
    place: (ChainId, Address),
    kind: ContractKind,
) {
    let hint = "a contract is one thing: give it one kind, under one of its names or all";
    if kind != ContractKind::Plain && names.registry.tokens.contains_key(&place) {
        field.fault("is a token too", hint);
    }
    if names.registry.contracts.insert(place, kind).is_some_and(|other| other != kind) {
        field.fault("has another kind under another name", hint);
    }
}

/// `[list]`, after the addresses that it may name.
fn read_lists(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "list", NAMES_MAX) {
        let words = field.words(LIST_ADDRESSES_MAX);
        let list = words.map(|words| members(&field, &words, names));
        define(names, &field, word, list.map(Thing::List));
    }
}

/// The addresses of a list. An address that is there twice is a fault: once by name and once by
/// its digits, it was meant to be two.
fn members(field: &Field<'_>, words: &[Word<'_>], names: &Names) -> Addresses {
    let found = words.iter().filter_map(|word| Some((member(field, *word, names)?, word.at)));
    let mut found: Vec<(Address, usize)> = found.collect();
    found.sort_unstable();
    for (one, other) in found.iter().zip(found.iter().skip(1)).filter(|(a, b)| a.0 == b.0) {
        let message = format!("{} stands here twice", one.0.to_checksum(None));
        field.fault_at(other.1, message, "leave one of them out");
    }
    Arc::new(found.into_iter().map(|(address, _)| address).collect())
}

fn member(field: &Field<'_>, word: Word<'_>, names: &Names) -> Option<Address> {
    if word.text.starts_with("0x") {
        return address(field, word);
    }
    match names.things.get(word.text) {
        Some(Some(Thing::Address(address))) => Some(*address),
        Some(None) => None,
        Some(Some(Thing::Contract(..) | Thing::Token(..) | Thing::List(_))) => {
            let message = format!("{} is not a name under [address]", quoted(word.text));
            field.fault_at(word.at, message, "a list holds single addresses, good on every chain");
            None
        }
        None => {
            let hint = match field.nearest(word.text, names.things.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "define it under [address]".to_owned(),
            };
            field.fault_at(word.at, format!("unknown name {}", quoted(word.text)), hint);
            None
        }
    }
}

/// `[group]`.
fn read_groups(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "group", NAMES_MAX) {
        let named = plain_name(&field, word);
        let people = people(&field).filter(|_| named);
        names.groups.insert(word.text.to_owned(), people);
    }
}

/// `[caller."ID"]`.
fn read_callers(root: &Fields<'_>, names: &mut Names) {
    for (word, field) in entries(root, "caller", NAMES_MAX) {
        let hint = "write owners = [\"alice\"]: the people who never approve its requests";
        let owners = field.fields(CALLER).and_then(|fields| fields.required("owners", hint));
        let people = owners.as_ref().and_then(people);
        if let (Some(field), true) = (&owners, people.as_ref().is_some_and(BTreeSet::is_empty)) {
            field.fault("names nobody", hint);
        }
        match word.text.parse::<CallerId>() {
            Ok(caller) => drop(names.callers.insert(caller, people)),
            Err(invalid) => field.fault_at(word.at, invalid.to_string(), CALLER_HINT),
        }
    }
}

fn people(field: &Field<'_>) -> Option<BTreeSet<PersonId>> {
    let words = field.words(GROUP_PEOPLE_MAX)?;
    super::names::refuse_repeats(field, &words);
    let person = |word: &Word<'_>| match word.text.parse::<PersonId>() {
        Ok(person) => Some(person),
        Err(invalid) => {
            field.fault_at(word.at, invalid.to_string(), "write the person's id");
            None
        }
    };
    // Read to the end, so that every fault is told.
    let people: Vec<Option<PersonId>> = words.iter().map(person).collect();
    people.into_iter().collect()
}

/// `chain` and `address` of a contract.
fn place(fields: &Fields<'_>, names: &Names) -> Option<(ChainId, Address)> {
    let contract = fields.required("address", "write the contract's address");
    let contract = contract.and_then(|field| address(&field, field.word()?));
    let chain = fields.required("chain", "write the name of a [chain.NAME]")?;
    Some((chain_named(&chain, chain.word()?, names)?, contract?))
}

/// The chain of that name.
pub(super) fn chain_named(field: &Field<'_>, word: Word<'_>, names: &Names) -> Option<ChainId> {
    if let Some(chain) = names.chains.get(word.text) {
        return *chain;
    }
    let hint = match field.nearest(word.text, names.chains.keys().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "register it as [chain.NAME]".to_owned(),
    };
    field.fault_at(word.at, format!("unknown chain {}", quoted(word.text)), hint);
    None
}

/// Whether the field holds a word of a closed list; a fault if not.
pub(super) fn closed_word(field: &Field<'_>, kind: &str, words: Vocabulary) -> bool {
    let Some(word) = field.word() else { return false };
    let known = words.known.contains(&word.text);
    if !known {
        field.unknown(word, kind, words);
    }
    known
}

/// Gives `@name` its meaning. All kinds share one name space, so that `@name` has one meaning.
fn define(names: &mut Names, field: &Field<'_>, word: Word<'_>, thing: Option<Thing>) {
    let named = plain_name(field, word);
    if names.things.contains_key(word.text) {
        let message = "the name already stands for something else";
        let hint = "assets, addresses, lists and contracts share their names: choose another";
        field.fault_at(word.at, message, hint);
        return;
    }
    names.things.insert(word.text.to_owned(), thing.filter(|_| named));
}

fn label(names: &mut Names, address: Address, chain: Option<ChainId>, name: &str) {
    names.registry.labels.entry(address).or_default().add(chain, name);
}

fn entries<'a>(root: &Fields<'a>, section: &str, most: usize) -> Vec<(Word<'a>, Field<'a>)> {
    root.optional(section).map(|field| field.entries(most)).unwrap_or_default()
}

/// Said if a reader gave up without saying why, which would be a mistake in this crate.
fn unreadable() -> Fault {
    let message = "the book cannot be read".to_owned();
    Fault { line: 0, column: 0, message, hint: "report this with the book".to_owned() }
}

const ROOT: Vocabulary = Vocabulary {
    known: &[
        "version",
        "environment",
        "chain",
        "asset",
        "address",
        "list",
        "contract",
        "group",
        "caller",
        "key",
        "limit",
        "prices",
    ],
    later: &[],
};
const CHAIN: Vocabulary = Vocabulary { known: &["id", "native", "l1_fee"], later: &[] };
const ASSET: Vocabulary =
    Vocabulary { known: &["kind", "chain", "address", "decimals"], later: &[] };
const KINDS: Vocabulary =
    Vocabulary { known: &["erc20", "erc721", "erc1155", "wrapped-native"], later: &[] };
const CONTRACT: Vocabulary = Vocabulary { known: &["chain", "address", "kind"], later: &[] };
const CONTRACT_KINDS: Vocabulary =
    Vocabulary { known: &["multicall", "multicall3", "safe", "multisend", "permit2"], later: &[] };
const CALLER: Vocabulary = Vocabulary { known: &["owners"], later: &[] };

const CALLER_HINT: &str = "write the SPIFFE URI or DNS name of its certificate";

/// The language described in the guide to the book.
const VERSION: u64 = 1;

/// Every limit over a native coin sums over chains.
const CHAINS_MAX: usize = 1_000;

/// Names are given by people.
const NAMES_MAX: usize = 100_000;

/// A quorum of more is a meeting.
const GROUP_PEOPLE_MAX: usize = 1_000;

/// Larger numbers are not exact in JSON, and records are JSON.
const CHAIN_ID_MAX: u64 = (1 << 53) - 1;

/// 10^77 is the largest power of ten below 2^256.
const TOKEN_DECIMALS_MAX: u64 = 77;
