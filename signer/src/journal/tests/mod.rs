//! The journal on a simulated disk: whatever such a disk does at whichever call, what was
//! acknowledged is there, what was not is there whole or not at all, and nothing else is.
//!
//! `deploy/experiment disk` runs the same for as long as one likes.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test"
)]

mod dice;
mod helper;
mod judge;
mod medium;
mod model;
mod plan;
mod simulated;

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::Model;
use plan::{Among, Fault, Figures, Plan};

/// How many seeds, and from which on: set by `deploy/experiment disk`.
const SEEDS: &str = "PORTCULLIS_DISK_SEEDS";
const FROM: &str = "PORTCULLIS_DISK_FROM";
const SEEDS_DEFAULT: u64 = 3_000;
/// After so many seeds that fail, more would tell nothing new.
const FAILED_MAX: u64 = 10;
const SEEDS_PER_LINE: u64 = 5_000;

#[test]
fn what_was_acknowledged_survives_whatever_the_disk_does() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seeds, from) = (number(SEEDS), number(FROM).unwrap_or(0));
    let mut figures = Figures::default();
    for seed in from..from + seeds.unwrap_or(SEEDS_DEFAULT) {
        check(&mut figures, Model::new(seed), &format!("seed {seed}"));
        let done = seed - from + 1;
        if seeds.is_some() && done.is_multiple_of(SEEDS_PER_LINE) {
            println!("up to seed {seed}: {}", figures.json());
        }
        if figures.of("violations") >= FAILED_MAX {
            break;
        }
    }
    figures.add("violations", 0);
    println!("{}", figures.json());
    assert_eq!(figures.of("violations"), 0);
}

#[test]
fn it_survives_each_fault_at_each_call_of_one_life() {
    let mut figures = Figures::default();
    for seed in [1, 2, 3, 4, 5, 6] {
        for fault in [Fault::Kill, Fault::Power, Fault::Io, Fault::NoSpace] {
            let mut at = 1;
            loop {
                let plan = Plan { strike: Some((at, fault)), eager: 4, ..Plan::default() };
                let name = format!("seed {seed} with {fault:?} at call {at}");
                let calls = check(&mut figures, Model::scripted(seed, [plan]), &name);
                if calls < at {
                    break;
                }
                at += 1;
            }
        }
    }
    assert_eq!(figures.of("violations"), 0);
    assert!(figures.of("power lost") > 100, "{}", figures.json());
}

/// The power goes while a batch is on its way; then something goes wrong while the next start mends
/// what that left.
#[test]
fn a_start_that_is_interrupted_leaves_nothing_that_the_next_one_cannot_mend() {
    let mut figures = Figures::default();
    for seed in 0..1_000 {
        let sync =
            |at, fault| Plan { strike: Some((at, fault)), among: Among::Syncs, ..Plan::default() };
        let lost = u32::try_from(8 + seed % 12).unwrap();
        let again = if seed % 2 == 0 { Fault::Io } else { Fault::Power };
        let at = if seed % 6 == 0 { 2 } else { 1 };
        let script = [sync(lost, Fault::Power), sync(at, again)];
        check(&mut figures, Model::scripted(seed, script), &format!("seed {seed}"));
    }
    assert_eq!(figures.of("violations"), 0);
}

/// How many calls its first life made.
fn check(figures: &mut Figures, model: Model, name: &str) -> u32 {
    let run = catch_unwind(AssertUnwindSafe(move || model.run()));
    let ended = run.map_or(Err("it panicked".to_owned()), |(found, ended)| {
        figures.include(&found);
        ended
    });
    ended.unwrap_or_else(|violation| {
        println!("VIOLATION: {name}: {violation}");
        figures.count("violations");
        0
    })
}
