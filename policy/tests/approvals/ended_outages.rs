//! What was recorded since an outage ended grows no older when people let sure time go forward
//! over it: the outage came before.

use portcullis_policy::act::{AcceptTime, Act, AdoptBook, Thaw};
use portcullis_policy::id::Sequence;
use portcullis_policy::record::{Actor, Frozen, Matter, Proposed, Record};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis, Span};

use crate::acts::pass;
use crate::outages::{
    DAY, WIDENERS, accept, agreed, as_the_wall_says, boot, code, go_on, no_proposal, outage, tick,
};
use crate::requests::ask;
use crate::rig::{BOOK, HOUR, approve, execute, id, propose, vault};
use crate::support::Vault;

/// One whose window of a day holds 1 ETH.
fn narrow() -> Vault {
    let mut vault = vault();
    assert!(vault.adopt(&BOOK.replace("100 ETH / 24h", "1 ETH / 24h")));
    vault
}

fn accepted(vault: &mut Vault, act: Act) {
    let matter = agreed(vault, act);
    execute(vault, "olga", &matter).unwrap();
    go_on(vault);
}

fn accepted_as_the_wall_says(vault: &mut Vault) {
    let act = as_the_wall_says(vault);
    accepted(vault, act);
}

fn explains_itself(vault: &Vault) {
    let report = vault.verify();
    assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);
    crate::support::images::hold(&vault.entries);
}

#[test]
fn what_was_charged_since_the_outage_ended_leaves_its_window_a_day_after_it_was_charged() {
    let mut vault = narrow();
    vault.sign(&ask(0, 500)).unwrap();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(1, 400)).unwrap();
    accepted_as_the_wall_says(&mut vault);
    // The first has left, and the second has not.
    vault.sign(&ask(2, 700)).unwrap_err();
    vault.sign(&ask(3, 500)).unwrap();
    // A minute of its day went by while people voted.
    tick(&mut vault, DAY - 60_000 - 1);
    vault.sign(&ask(4, 400)).unwrap_err();
    tick(&mut vault, 1);
    vault.sign(&ask(5, 400)).unwrap();
    explains_itself(&vault);
}

#[test]
fn an_alternative_for_a_nonce_that_was_charged_since_adds_only_what_it_costs_more() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(0, 600)).unwrap();
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(0, 900)).unwrap();
    vault.sign(&ask(1, 200)).unwrap_err();
    explains_itself(&vault);
}

#[test]
fn a_delay_that_began_since_the_outage_ended_is_not_over_by_it() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    let reason = "drill".into();
    vault.write(Record::Frozen(Frozen { by: Actor::Signer, reason, scope: Scope::All }));
    let act = as_the_wall_says(&vault);
    let forward = agreed(&mut vault, act);
    let thaw = propose(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All })).unwrap();
    for name in ["sam", "sid"] {
        approve(&mut vault, &thaw, name);
    }
    execute(&mut vault, "olga", &forward).unwrap();
    go_on(&mut vault);
    tick(&mut vault, 59_999);
    assert_eq!(code(execute(&mut vault, "olga", &thaw)), "QUORUM_NOT_MET");
    tick(&mut vault, 1);
    execute(&mut vault, "olga", &thaw).unwrap();
    explains_itself(&vault);
}

#[test]
fn who_was_added_since_the_outage_ended_stays_as_new() {
    let mut vault = vault();
    let cooling = BOOK.replace("rate = {", "cooling = \"24h\"\nrate = {");
    let without = cooling.replace(", \"@lookalike\"", "");
    assert!(vault.adopt(&cooling) && vault.adopt(&without));
    outage(&mut vault, 3 * DAY);
    pass(&mut vault, "olga", Act::Adopt(AdoptBook { book: cooling }), WIDENERS).unwrap();
    accepted_as_the_wall_says(&mut vault);
    let who = "0x2000000000000000000000000000000000990002".parse().unwrap();
    let account = portcullis_policy::money::Account {
        chain: portcullis_policy::id::ChainId(1),
        asset: portcullis_policy::money::Asset::Native,
    };
    let day = Span(DAY);
    let is_new = |vault: &Vault| {
        let label = "hot".parse().unwrap();
        vault.state.payees().is_cooling(&label, (account, who), day, vault.now.sure)
    };
    assert!(is_new(&vault));
    tick(&mut vault, DAY);
    assert!(!is_new(&vault));
}

/// How long each was, nobody knows: what came between them may not grow older by all of them.
#[test]
fn after_two_outages_nothing_grows_older_that_came_after_the_first() {
    let mut vault = narrow();
    vault.sign(&ask(0, 300)).unwrap();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(1, 400)).unwrap();
    outage(&mut vault, 2 * DAY);
    vault.sign(&ask(2, 100)).unwrap();
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(3, 600)).unwrap_err();
    vault.sign(&ask(4, 400)).unwrap();
    explains_itself(&vault);
}

#[test]
fn a_wall_clock_that_is_set_back_for_a_while_makes_no_outage_end_later() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(0, 600)).unwrap();
    let late = vault.now.possible;
    vault.now.possible = vault.now.sure;
    boot(&mut vault, "with the clock set back", 5_000);
    vault.suppress(1);
    vault.now.possible = late;
    boot(&mut vault, "with the clock put right", 5_000);
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(1, 600)).unwrap_err();
    explains_itself(&vault);
}

#[test]
fn what_is_accepted_in_two_parts_empties_nothing_that_was_charged_since() {
    let mut vault = narrow();
    outage(&mut vault, 10 * DAY);
    vault.sign(&ask(0, 600)).unwrap();
    let Interval { sure, .. } = vault.now;
    accepted(&mut vault, accept(sure.plus(Span(3 * DAY)), sure));
    // Not even if the machine is started once more.
    boot(&mut vault, "once more", 5_000);
    vault.sign(&ask(1, 600)).unwrap_err();
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(2, 600)).unwrap_err();
    explains_itself(&vault);
}

#[test]
fn a_wall_clock_that_is_set_back_while_it_is_done_leaves_the_rest_of_the_outage_where_it_was() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(0, 600)).unwrap();
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    let late = vault.now.possible;
    vault.now.possible = vault.now.sure.plus(Span(2 * HOUR));
    execute(&mut vault, "olga", &matter).unwrap();
    go_on(&mut vault);
    vault.now.possible = late;
    boot(&mut vault, "with the clock put right", 5_000);
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(1, 600)).unwrap_err();
    explains_itself(&vault);
}

#[test]
fn once_all_of_an_outage_is_made_good_the_next_one_begins_by_itself() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(0, 600)).unwrap();
    outage(&mut vault, 3 * DAY);
    accepted_as_the_wall_says(&mut vault);
    vault.sign(&ask(1, 900)).unwrap();
    explains_itself(&vault);
}

#[test]
fn voters_read_from_which_record_on_nothing_grows_older_and_it_is_that_one_when_it_is_done() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    let start = vault.state.head();
    let act = as_the_wall_says(&vault);
    let matter = propose(&mut vault, "olga", act).unwrap();
    let statement = vault.state.pending().get(&matter).unwrap().statement.clone();
    let line = format!("nothing of that for record {start} and later ones: the outage was over\n");
    assert!(statement.contains(&line), "{statement}");
    let Interval { possible: at, sure } = vault.now;
    let other = AcceptTime { at, since: Some(Sequence(1)), sure };
    assert_eq!(no_proposal(propose(&mut vault, "olga", Act::AcceptTime(other))), "TIME_MOVED");
}

/// Of a level clock it is not known which boot it is about until it is done.
#[test]
fn what_was_agreed_within_one_boot_is_not_done_within_the_next() {
    let mut vault = narrow();
    boot(&mut vault, "one", 5_000);
    vault.now.possible = vault.now.possible.plus(Span(50_000));
    let act = as_the_wall_says(&vault);
    let matter = agreed(&mut vault, act);
    boot(&mut vault, "two", 5_000);
    assert_eq!(code(execute(&mut vault, "olga", &matter)), "TIME_MOVED");
}

/// As 0.1.0 proposed it: what it decided then must come out the same.
#[test]
fn a_proposal_that_names_no_record_lets_everything_grow_older() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    vault.sign(&ask(0, 600)).unwrap();
    let act = as_the_wall_says(&vault);
    let Act::AcceptTime(reading) = act else { panic!() };
    let proposed = vault.state.propose((&id("olga"), act, "because".into()), vault.now).unwrap();
    let lines = proposed.statement.lines().filter(|line| !line.starts_with("nothing of that"));
    let statement = lines.map(|line| format!("{line}\n")).collect();
    assert_ne!(proposed.statement, statement);
    let act = Act::AcceptTime(AcceptTime { since: None, ..reading });
    let old = Record::Proposed(Box::new(Proposed { act, statement, ..proposed }));
    let matter = Matter::Proposal(vault.write(old));
    WIDENERS.iter().for_each(|name| {
        approve(&mut vault, &matter, name);
    });
    tick(&mut vault, 60_000);
    execute(&mut vault, "olga", &matter).unwrap();
    go_on(&mut vault);
    vault.sign(&ask(1, 900)).unwrap();
    explains_itself(&vault);
}

/// The times of the records in between are those that they were written with.
#[test]
fn sure_time_goes_on_from_the_time_that_was_accepted() {
    let mut vault = narrow();
    outage(&mut vault, 3 * DAY);
    let before = vault.now;
    accepted_as_the_wall_says(&mut vault);
    let Millis(sure) = vault.now.sure;
    assert_eq!(sure, before.possible.0 + 60_000);
    tick(&mut vault, HOUR);
    let name = vault.state.started().unwrap().0.boot.clone();
    boot(&mut vault, &name, 5_000 + 60_000 + HOUR);
    explains_itself(&vault);
}
