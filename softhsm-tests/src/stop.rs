//! The stop experiment: callers at work, people who freeze and thaw in every scope, and meanwhile a
//! signer that is killed, halted and given a slow, hanging or refusing token. At the end a checker
//! that knows nothing but the [`history`] says whether every stop was total.
//!
//! What is judged, and why no more can be known from outside, is said in `check.rs`.

pub mod bench;
mod callers;
pub mod check;
mod ground;
pub mod history;
mod people;
mod read;
mod tally;
mod troubles;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_policy::verify::Verifier;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::server::Server;
use crate::token::Through;
use crate::world::{Failure, PAYOUTS, Vault};

pub use callers::{Caller, Pace, Reader};
pub use ground::{Ground, KEYS, REPORTS, book};
use history::Scope;
pub use people::{Frozen, People, Thawed};
pub use tally::Figures;
use troubles::Troubles;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Freezes that are to be acknowledged, in all.
    pub freezes: u64,
    /// Freezes on one vault: then its history is judged, and another begins.
    pub freezes_each: u64,
    /// How long the process is halted (SIGSTOP) at a time.
    pub halt: Duration,
    /// The longest that the token hangs.
    pub hang: Duration,
    /// Begins no further vault after so long.
    pub at_most: Duration,
    /// Of everything that is left to chance here. The signer's own timing is not.
    pub seed: u64,
}

/// Goes on until the plan is done. `tell` gets a line from time to time.
pub async fn run(plan: Plan, tell: impl Fn(&str)) -> Result<Figures, Failure> {
    let begun = Instant::now();
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let mut all = Figures::default();
    while all.freezes < plan.freezes && begun.elapsed() < plan.at_most {
        let freezes = plan.freezes_each.min(plan.freezes - all.freezes);
        let round = one_vault(Plan { freezes, ..plan }, StdRng::from_rng(&mut chance)).await?;
        all.add(round);
        let seconds = begun.elapsed().as_secs();
        tell(&format!("{seconds:>4} s  {}", all.line()));
    }
    Ok(all)
}

/// A vault, its history, and the judgement.
async fn one_vault(plan: Plan, mut chance: StdRng) -> Result<Figures, Failure> {
    let vault = Vault::governed(Through::Faults, &book())?;
    let server = vault.serve()?;
    let ground = Arc::new(Ground::prepare(&vault, &server).await?);
    let mut callers = callers_of(&vault, &server, &ground, &mut chance)?;
    let people = People::of(&vault, &server, &ground, StdRng::from_rng(&mut chance))?;
    let mut stoppers = JoinSet::new();
    for (scope, manner) in manners(&ground) {
        let stopper = people.again(StdRng::from_rng(&mut chance));
        stoppers.spawn(stop_and_start(stopper, scope, manner));
    }

    let mut troubles = Troubles::begin(&vault, plan, server, chance)?;
    while !troubles.is_enough() || ground.acknowledged() < plan.freezes {
        if let Some(ended) = stoppers.try_join_next() {
            ended??;
            return Err("somebody stopped stopping".into());
        }
        troubles.next(&ground).await?;
    }
    let (server, counted) = troubles.end()?;
    ground.set_enough();
    while let Some(ended) = stoppers.join_next().await {
        ended??;
    }
    ground.set_over();
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let exported = vault.export(&server).await?;
    tokio::task::block_in_place(|| server.terminate())?;
    let history = ground.history(&exported)?;
    let mut figures = Figures::of(&history, counted);
    figures.violations = check::violations(&history).iter().map(ToString::to_string).collect();
    figures.repeat(&verified(exported))?;
    Ok(figures)
}

/// Policy's own opinion of the journal, which comes last.
fn verified(exported: Vec<(u64, Vec<u8>)>) -> portcullis_policy::verify::Report {
    let mut verifier = Verifier::default();
    for (sequence, bytes) in exported {
        if sequence == 0 {
            verifier.attachment(bytes);
        } else {
            verifier.record(&bytes);
        }
    }
    verifier.finish()
}

/// Two services; each asks one by one, on streams, and on a stream that it reads slowly.
fn callers_of(
    vault: &Vault,
    server: &Server,
    ground: &Arc<Ground>,
    chance: &mut StdRng,
) -> Result<JoinSet<Result<(), crate::load::ReplyFault>>, Failure> {
    let mut callers = JoinSet::new();
    let pace = Pace { between: 1..6, refused: 4..25 };
    for name in [PAYOUTS, REPORTS] {
        let config = vault.service(server, name)?;
        let mut caller = || {
            let chance = StdRng::from_rng(chance);
            Caller::new(ground, (name, &config), &pace, chance)
        };
        for _ in 0..3 {
            callers.spawn(caller().unary());
        }
        callers.spawn(caller().stream(12, Reader::Quick));
        callers.spawn(caller().stream(8, Reader::Slow));
    }
    Ok(callers)
}

/// How long somebody leaves a scope alone, and how long stopped, in milliseconds.
#[derive(Clone, Debug)]
struct Manner {
    open: Range<u64>,
    closed: Range<u64>,
}

/// Every kind of scope. What stops much, or takes long to thaw, is done less often.
fn manners(ground: &Ground) -> Vec<(Scope, Manner)> {
    let often = Manner { open: 20..400, closed: 0..60 };
    let seldom = Manner { open: 1_500..5_000, closed: 0..300 };
    let rarely = Manner { open: 3_000..9_000, closed: 0..100 };
    let mut all: Vec<(Scope, Manner)> =
        ground.keys.iter().map(|key| (Scope::Key(key.id.to_string()), often.clone())).collect();
    all.push((Scope::Caller(PAYOUTS.into()), seldom.clone()));
    all.push((Scope::Caller(REPORTS.into()), seldom));
    all.push((Scope::Tag("web".into()), rarely.clone()));
    all.push((Scope::All, rarely));
    all
}

/// Freezes a scope and has it thawed, again and again, whatever becomes of the signer meanwhile.
async fn stop_and_start(mut people: People, scope: Scope, manner: Manner) -> Result<(), Failure> {
    while !people.ground.is_enough() {
        rest(&mut people, &manner.open).await;
        people.freeze(&scope).await?;
        // Once more, while it holds: or while the first, of which nobody heard, may hold.
        if people.chance.random_ratio(1, 6) {
            people.freeze(&scope).await?;
        }
        rest(&mut people, &manner.closed).await;
        while !people.ground.is_enough() && people.thaw(&scope).await? == Thawed::Lost {}
    }
    Ok(())
}

async fn rest(people: &mut People, time: &Range<u64>) {
    let pause = people.chance.random_range(time.clone());
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
