//! `portcullis-hsm [--seconds S] [--callers N]`: how soon the signer is back to its rate after a
//! fault of its token has ended. The last line is one JSON object; it fails if a fault took longer
//! than two seconds, or if the process was restarted.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use clap::Parser;
use portcullis_client::{Client, KeyRef};
use portcullis_softhsm_tests::fault::Faults;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::wait::PATIENCE;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, Vault, payment, sign};
use serde_json::json;
use tokio::task::JoinSet;

/// Breaks the token under load in each of its ways, mends it, and measures how soon the rate is
/// back.
#[derive(Parser)]
struct Arguments {
    /// How long the rate is measured before each fault, and how long each fault lasts.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Who asks, one request after another.
    #[arg(long, default_value_t = 8)]
    callers: u64,
}

/// A name, and what the fault module is told (softhsm-tests/fault-module/README.md).
const FAULTS: [(&str, &str); 7] = [
    ("every C_SignInit answers DEVICE_ERROR", "C_SignInit error 0x30"),
    ("every C_Sign loses its session", "C_Sign lose-session 0xB3"),
    ("no session can be opened", "C_Sign error 0xB3\nC_OpenSession error 0x05"),
    ("the token is taken out", "TOKEN removed"),
    ("the module must be loaded again", "MODULE broken 0x32"),
    ("every C_Sign hangs", "C_Sign hang"),
    ("one C_Sign holds the module", "C_Sign hold"),
];

/// "Back" is this part of the rate before, over this stretch.
const BACK: f64 = 0.9;
const STRETCH: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_millis(25);

/// Back within this.
const TARGET_MS: u64 = 2_000;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let Arguments { seconds, callers } = Arguments::parse();
    let each = Duration::from_secs(seconds.max(1));
    let book = BookText { window: "\"1_000_000 ETH / 1h\"".into(), ..BookText::default() };
    let vault = Vault::with(Through::Faults, &book.to_string(), |settings| {
        settings.hsm.call_timeout_ms = 1_000;
    })?;
    let mut server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let load = Arc::new(Load::default());
    let mut asking = JoinSet::new();
    for _ in 0..callers.max(1) {
        let client = vault.client(&server, PAYOUTS).await?;
        asking.spawn(ask(load.clone(), client, key));
    }
    let mut worst = 0;
    for (name, lines) in FAULTS {
        let faults = vault.token.faults()?;
        let (before, back) = tokio::task::block_in_place(|| measure(&load, faults, lines, each))?;
        say(&format!("{name}: {before:.0}/s before, back after {back} ms"))?;
        worst = worst.max(back);
    }
    load.over.store(true, Ordering::Relaxed);
    while asking.join_next().await.is_some() {}
    let restarted = server.child().ended()?.is_some();
    let last = json!({
        "faults": FAULTS.len(), "signed": load.signed.load(Ordering::Relaxed),
        "back_ms_worst": worst, "restarted": restarted,
    });
    say(&last.to_string())?;
    let good = worst <= TARGET_MS && !restarted;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Load {
    nonce: AtomicU64,
    signed: AtomicU64,
    over: AtomicBool,
}

async fn ask(load: Arc<Load>, client: Client, key: KeyRef) {
    while !load.over.load(Ordering::Relaxed) {
        let nonce = load.nonce.fetch_add(1, Ordering::Relaxed);
        match sign(&client, &key, &payment(nonce, U256::ZERO)).await {
            Ok(_) => drop(load.signed.fetch_add(1, Ordering::Relaxed)),
            // As a caller should: not at once.
            Err(_) => tokio::time::sleep(SAMPLE).await,
        }
    }
}

/// The rate before, and milliseconds from the fault's end until the rate was back.
fn measure(
    load: &Load,
    faults: &Faults,
    lines: &str,
    each: Duration,
) -> Result<(f64, u64), Failure> {
    let rate_over = |time: Duration| {
        let (from, at) = (load.signed.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(time);
        per_second(load.signed.load(Ordering::Relaxed).saturating_sub(from), at.elapsed())
    };
    let before = rate_over(each);
    faults.set(&[lines])?;
    std::thread::sleep(each);
    faults.clear()?;
    let ended = Instant::now();
    // Every moment is the beginning of a stretch: the first that is good enough counts.
    let mut counts = vec![(Duration::ZERO, load.signed.load(Ordering::Relaxed))];
    loop {
        std::thread::sleep(SAMPLE);
        let now = (ended.elapsed(), load.signed.load(Ordering::Relaxed));
        counts.push(now);
        let is_whole = |at: &Duration| now.0.saturating_sub(*at) >= STRETCH;
        let whole = counts.iter().find(|(at, _)| is_whole(at));
        let good = whole.filter(|(at, signed)| {
            let rate = per_second(now.1.saturating_sub(*signed), now.0.saturating_sub(*at));
            rate >= BACK * before
        });
        if let Some((at, _)) = good {
            return Ok((before, u64::try_from(at.as_millis())?));
        }
        // Those that are older than a stretch had their chance.
        counts.retain(|(at, _)| !is_whole(at));
        if ended.elapsed() > PATIENCE {
            return Err(format!("not back {PATIENCE:?} after {lines:?} ended").into());
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
