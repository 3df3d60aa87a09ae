//! What `deploy/bench stop` measures: a freeze from its sending to its acknowledgement, and to the
//! fence in the token, on an idle signer and under full load, in turns.
//!
//! Whoever freezes sits on a thread of their own, as on another machine: what is measured is not
//! how busy the load generator is. The history is judged as in the experiment; a signature that a
//! caller got although a stop forbade it fails the run.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::FenceState;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::callers::{Caller, Pace, Reader};
use super::check;
use super::ground::{Ground, book};
use super::history::{End, Moment, Scope};
use super::people::{Frozen, People, Thawed};
use crate::load::{ReplyFault, percentile};
use crate::server::Server;
use crate::token::Through;
use crate::world::{Failure, PAYOUTS, Vault};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Turns of idle and loaded.
    pub rounds: usize,
    /// Freezes on the idle signer, each turn.
    pub idle: usize,
    /// Freezes under load, each turn.
    pub loaded: usize,
    /// Sessions on the token.
    pub sessions: u32,
    /// Requests under way at any time.
    pub in_flight: usize,
    /// Load without stops at the beginning of each turn, half of which counts.
    pub settling: Duration,
}

impl Options {
    /// For figures.
    pub fn whole() -> Self {
        Self { rounds: 5, idle: 40, loaded: 60, settling: Duration::from_secs(4), ..Self::quick() }
    }

    /// Shows that it runs.
    pub fn quick() -> Self {
        let settling = Duration::from_secs(1);
        Self { rounds: 1, idle: 10, loaded: 15, sessions: 4, in_flight: 48, settling }
    }
}

/// What was measured. Times in milliseconds, in no order.
#[derive(Debug, Default)]
pub struct Measured {
    /// Freezes on the idle signer.
    pub idle: Times,
    /// Freezes under load.
    pub loaded: Times,
    /// Signatures per second while nothing is stopped, by turn.
    pub per_second: Vec<f64>,
    /// Signatures that callers received.
    pub signatures: usize,
    /// Signatures that were ready or under way at a stop, and withheld.
    pub withheld: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
}

/// Of several freezes, from the sending.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Until the acknowledgement.
    pub acknowledged: Vec<f64>,
    /// Until the token had said, read back, that it will not sign.
    pub fenced: Vec<f64>,
}

/// Sets up a vault, and goes through all turns.
pub async fn measure(options: Options, tell: impl Fn(&str)) -> Result<Measured, Failure> {
    let vault = Vault::governed(Through::Real, &book())?;
    let mut settings = vault.settings.clone();
    settings.hsm.sessions = options.sessions;
    settings.segment_bytes = SEGMENT_BYTES;
    vault.installation.configure(&settings)?;
    let server = vault.serve()?;
    let ground = Arc::new(Ground::prepare(&vault, &server).await?);
    let people = People::of(&vault, &server, &ground, StdRng::seed_from_u64(1))?;
    let mut measured = Measured::default();
    for round in 0..options.rounds {
        let idle = turn(&people, options.idle, 0).await?;
        measured.idle.take(idle);
        let load = load(&vault, &server, &ground, options)?;
        measured.per_second.push(rate(&ground, options.settling).await);
        let loaded = turn(&people, options.loaded, options.in_flight).await?;
        ground.set_over();
        all(load).await?;
        ground.set_again();
        let turns = options.rounds;
        let mut times = loaded.acknowledged.clone();
        tell(&format!(
            "round {} of {turns}: {} freezes under load, p50 {:.2} ms",
            round + 1,
            times.len(),
            percentile(&mut times, 50)
        ));
        measured.loaded.take(loaded);
    }
    tell("holding every reply against the journal");
    let exported = vault.export(&server).await?;
    tokio::task::block_in_place(|| server.terminate())?;
    let history = ground.history(&exported)?;
    let signed = history.calls.iter().filter(|call| matches!(call.end, End::Signed { .. }));
    measured.signatures = signed.count();
    let said = history.stops.iter().filter_map(|stop| stop.acknowledged);
    measured.withheld = said.map(|said| said.withheld).sum();
    measured.violations = check::violations(&history).iter().map(ToString::to_string).collect();
    Ok(measured)
}

/// So many freezes of one key, each thawed again, by somebody on a thread of their own. Before each
/// one, `busy` signatures came since the last thaw.
async fn turn(people: &People, freezes: usize, busy: usize) -> Result<Times, Failure> {
    let people = people.again(StdRng::seed_from_u64(rand::random()));
    let thread = std::thread::Builder::new().name("stopper".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(stops(people, freezes, busy))
    })?;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| "the thread that freezes panicked")?
}

async fn stops(mut people: People, freezes: usize, busy: usize) -> Result<Times, Failure> {
    let ground = people.ground.clone();
    let scope = Scope::Key(ground.keys[0].id.to_string());
    let mut times = Times::default();
    for _ in 0..freezes {
        let enough = ground.signed() + u64::try_from(4 * busy)?;
        while ground.signed() < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let jitter = people.chance.random_range(0..20);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
        let frozen = people.freeze(&scope).await?.ok_or("a freeze was not answered")?;
        let Frozen { sent, said } = frozen;
        times.acknowledged.push(ms(said.at, sent));
        times.fenced.push(ms(until(&mut people, FenceState::Fenced).await?, sent));
        if people.thaw(&scope).await? != Thawed::Done {
            return Err("a thaw did not come about".into());
        }
        until(&mut people, FenceState::Open).await?;
    }
    Ok(times)
}

/// When the token had said this of the key; looked for every millisecond.
async fn until(people: &mut People, state: FenceState) -> Result<Moment, Failure> {
    let place = people.ground.place();
    let key = people.ground.keys[0].id.to_string();
    let watcher = people.reach(place, "olga").await.ok_or("the signer is gone")?;
    let begun = people.ground.clock.now();
    loop {
        let fence = watcher.key(&key).await?.fence();
        let now = people.ground.clock.now();
        if fence == state {
            return Ok(now);
        }
        if now.since(begun) > PATIENCE {
            return Err(format!("the fence is {fence:?}, and never came to be {state:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// As many requests under way as the whole bench has, half of them one by one and half on streams,
/// all for the key that is stopped.
fn load(
    vault: &Vault,
    server: &Server,
    ground: &Arc<Ground>,
    options: Options,
) -> Result<JoinSet<Result<(), ReplyFault>>, Failure> {
    let mut callers = JoinSet::new();
    let config = vault.service(server, PAYOUTS)?;
    let pace = Pace { between: 0..0, refused: 1..3 };
    let caller = || {
        let chance = StdRng::seed_from_u64(rand::random());
        let mut caller = Caller::new(ground, (PAYOUTS, &config), &pace, chance);
        caller.keys = 0..1;
        caller
    };
    for _ in 0..options.in_flight / 2 {
        callers.spawn(caller().unary());
    }
    for _ in 0..STREAMS {
        callers.spawn(caller().stream(options.in_flight / 2 / STREAMS, Reader::Quick));
    }
    Ok(callers)
}

async fn all(mut load: JoinSet<Result<(), ReplyFault>>) -> Result<(), Failure> {
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    Ok(())
}

/// Signatures per second, once the load has built up.
async fn rate(ground: &Ground, settling: Duration) -> f64 {
    tokio::time::sleep(settling / 2).await;
    let (begun, before) = (ground.clock.now(), ground.signed());
    tokio::time::sleep(settling / 2).await;
    let made = u32::try_from(ground.signed() - before).unwrap_or(u32::MAX);
    f64::from(made) / ground.clock.now().since(begun).as_secs_f64()
}

fn ms(end: Moment, begin: Moment) -> f64 {
    end.since(begin).as_secs_f64() * 1e3
}

impl Times {
    fn take(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.fenced.extend(other.fenced);
    }

    fn rows(&self) -> [[f64; 3]; 2] {
        let row = |times: &[f64]| [50, 99, 100].map(|of| percentile(&mut times.to_vec(), of));
        [row(&self.acknowledged), row(&self.fenced)]
    }
}

impl Measured {
    /// The table for people, with what was to be reached.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, cells: [String; 3], goal: &str| {
            let [p50, p99, most] = cells;
            let _infallible = writeln!(out, "{name:<44}{p50:>9}{p99:>9}{most:>9}  {goal}");
        };
        line("milliseconds from sending a freeze", ["p50", "p99", "most"].map(Into::into), "goal");
        let [idle, idle_fence] = self.idle.rows();
        let [loaded, loaded_fence] = self.loaded.rows();
        let cells = |row: [f64; 3]| row.map(|ms| format!("{ms:.2}"));
        let ratio = |one: [f64; 3], two: [f64; 3]| cells([0, 1, 2].map(|at| one[at] / two[at]));
        line("acknowledged, idle signer", cells(idle), "");
        let met = said(loaded[0] <= P50_MS_MAX && loaded[1] <= P99_MS_MAX);
        let goal = format!("p50 {P50_MS_MAX} and p99 {P99_MS_MAX}: {met}");
        line("acknowledged, full load", cells(loaded), &goal);
        line("  times the idle one", ratio(loaded, idle), "");
        line("fenced in the token, idle signer", cells(idle_fence), "");
        let met = said(loaded_fence[1] <= FENCE_MS_MAX);
        line(
            "fenced in the token, full load",
            cells(loaded_fence),
            &format!("p99 {FENCE_MS_MAX}: {met}"),
        );
        line("  times the idle one", ratio(loaded_fence, idle_fence), "");
        let (stops, per_second) = (self.loaded.acknowledged.len(), self.rate());
        let (signatures, withheld) = (self.signatures, self.withheld);
        let released = self.violations.len();
        let _infallible = write!(
            out,
            "\n{stops} freezes at {per_second:.0} signatures/s, {} on the idle signer; \
             {signatures} signatures, each verified and on record; {withheld} withheld\n\
             released after an acknowledgement, or otherwise against it: {released} (goal: 0)",
            self.idle.acknowledged.len()
        );
        out
    }

    /// For machines.
    pub fn summary(&self, quick: bool) -> Value {
        let [idle, idle_fence] = self.idle.rows();
        let [loaded, loaded_fence] = self.loaded.rows();
        json!({
            "acknowledged_ms_max": loaded[2],
            "acknowledged_ms_p50": loaded[0],
            "acknowledged_ms_p99": loaded[1],
            "acknowledged_p50_ratio": loaded[0] / idle[0],
            "fenced_ms_p50": loaded_fence[0],
            "fenced_ms_p99": loaded_fence[1],
            "freezes": self.loaded.acknowledged.len(),
            "idle_acknowledged_ms_p50": idle[0],
            "idle_acknowledged_ms_p99": idle[1],
            "idle_fenced_ms_p50": idle_fence[0],
            "idle_fenced_ms_p99": idle_fence[1],
            "idle_freezes": self.idle.acknowledged.len(),
            "quick": quick,
            "signatures": self.signatures,
            "signatures_per_s": self.rate(),
            "violations": self.violations.len(),
            "withheld": self.withheld,
        })
    }

    fn rate(&self) -> f64 {
        percentile(&mut self.per_second.clone(), 50)
    }
}

fn said(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// What a stop should take, in milliseconds: half of them, and all but one of a hundred.
const P50_MS_MAX: f64 = 10.0;
const P99_MS_MAX: f64 = 50.0;

/// What it should take until the token has said that it will not sign, in milliseconds.
const FENCE_MS_MAX: f64 = 250.0;

const STREAMS: usize = 2;

/// The signer's default.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// For a fence.
const PATIENCE: Duration = Duration::from_secs(60);
