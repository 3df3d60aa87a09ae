//! The seeds keep their promise in an ordinary build, and are worth starting from.

#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "test")]

use std::fs;
use std::path::Path;

use portcullis_policy::abi::{self, Erc20};
use portcullis_policy::book::Book;
use portcullis_policy::tx::UnsignedTx;
use portcullis_policy::typed::TypedData;

/// Every seed of a target: its name and its bytes.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

/// Each seed's name says whether it is accepted: the fuzzer starts on both sides.
fn assert_named(target: &str, claim: fn(&[u8]), accepts: fn(&[u8]) -> bool) {
    let seeds = seeds(target);
    let accepted = seeds.iter().filter(|(_, bytes)| accepts(bytes)).count();
    assert!(accepted >= 3 && seeds.len() - accepted >= 2, "{target}: {accepted} accepted");
    for (name, bytes) in seeds {
        claim(&bytes);
        assert_eq!(name.starts_with("good-"), accepts(&bytes), "{target}/{name}");
    }
}

#[test]
fn the_seeds_of_tx_hold_and_are_what_their_names_say() {
    assert_named("tx", portcullis_fuzz::tx, |bytes| UnsignedTx::decode(bytes).is_ok());
}

#[test]
fn the_seeds_of_abi_hold_and_are_what_their_names_say() {
    assert_named("abi", portcullis_fuzz::abi, |bytes| {
        !matches!(abi::erc20(bytes), Erc20::NotErc20 | Erc20::NotCanonical(_))
    });
}

#[test]
fn the_seeds_of_function_hold_and_are_what_their_names_say() {
    assert_named("function", portcullis_fuzz::function, |bytes| {
        std::str::from_utf8(bytes).is_ok_and(|text| abi::selector_of(text).is_ok())
    });
}

#[test]
fn the_seeds_of_arguments_hold_and_are_what_their_names_say() {
    assert_named("arguments", portcullis_fuzz::arguments, |bytes| {
        let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let signature = std::str::from_utf8(&bytes[..at]).unwrap();
        let function = abi::function(signature).unwrap();
        abi::decode(function.parameters(), &bytes[at + 1..]).is_ok()
    });
}

#[test]
fn the_seeds_of_typed_hold_and_are_what_their_names_say() {
    assert_named("typed", portcullis_fuzz::typed, |bytes| {
        std::str::from_utf8(bytes).is_ok_and(|text| TypedData::decode(text).is_ok())
    });
}

#[test]
fn the_seeds_of_book_hold_and_are_what_their_names_say() {
    assert_named("book", portcullis_fuzz::book, |bytes| {
        std::str::from_utf8(bytes).is_ok_and(|text| Book::parse(text).is_ok())
    });
}
