//! How fast the module signs without us: `C_Sign` on n sessions, in a process of its own.
//!
//! A process of its own, because the signer's must not share its sessions, and because SoftHSM
//! reads its configuration from the environment. It does nothing unless asked.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use serde::{Deserialize, Serialize};

use super::figures::percentile;
use crate::child::Environment;
use crate::raw::{RawError, RawKey, RawSession, RawToken};

/// The meter could not be run, or the token refused.
#[derive(Debug, thiserror::Error)]
pub enum RawRateError {
    /// It could not be run or talked to.
    #[error("the raw meter could not be run or talked to")]
    Process(#[from] io::Error),
    /// It said something else than a figure.
    #[error("the raw meter gave no figure; its own message stands above")]
    Answer(#[from] serde_json::Error),
    /// The PKCS#11 module refused.
    #[error("the token refused")]
    Token(#[from] RawError),
    /// Not called as [`RawMeter::start`] calls it.
    #[error("usage: raw MODULE TOKEN PIN_FILE KEY_LABEL SESSIONS; then lines of QUESTION MS")]
    Usage,
    /// A signing thread panicked.
    #[error("a signing thread panicked")]
    Panicked,
}

/// A token, a key in it, and how many sessions sign.
#[derive(Clone, Debug)]
pub struct RawTarget {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user PIN's file.
    pub pin_file: PathBuf,
    /// The key's label; no other key may have it.
    pub key: String,
    /// Sessions, each with a thread of its own.
    pub sessions: u32,
    /// What the module needs in its environment.
    pub environment: Environment,
}

/// What n threads signed together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct RawRate {
    /// Signatures per second.
    pub per_second: f64,
    /// Processor time of one signature, in microseconds.
    pub cpu_us: f64,
}

/// The process that signs. Dropping it ends it.
#[derive(Debug)]
pub struct RawMeter {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl RawMeter {
    /// Runs `program raw ...`, which must end up in [`serve_raw`].
    pub fn start(program: &Path, target: &RawTarget) -> Result<Self, RawRateError> {
        let mut process = Command::new(program)
            .arg("raw")
            .args([&target.module, Path::new(&target.token), &target.pin_file])
            .args([&target.key, &target.sessions.to_string()])
            .envs(target.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(process.stdout.take().ok_or_else(missing)?);
        Ok(Self { process, input, output })
    }

    /// All sessions at once, each in a closed loop.
    pub fn rate(&mut self, time: Duration) -> Result<RawRate, RawRateError> {
        Ok(serde_json::from_str(&self.ask(RATE, time)?)?)
    }

    /// The median of one session alone, in microseconds.
    pub fn alone_p50(&mut self, time: Duration) -> Result<f64, RawRateError> {
        Ok(serde_json::from_str(&self.ask(ALONE, time)?)?)
    }

    /// Destroys the key, so that nothing stays behind in somebody's token.
    pub fn destroy(&mut self) -> Result<(), RawRateError> {
        Ok(serde_json::from_str(&self.ask(DESTROY, Duration::ZERO)?)?)
    }

    fn ask(&mut self, question: &str, time: Duration) -> Result<String, RawRateError> {
        writeln!(self.input, "{question} {}", time.as_millis())?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for RawMeter {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The process that [`RawMeter`] starts: a question a line, an answer in JSON a line.
pub fn serve_raw(arguments: &[String]) -> Result<(), RawRateError> {
    let [module, token, pin_file, label, sessions] = arguments else {
        return Err(RawRateError::Usage);
    };
    let pin = std::fs::read_to_string(pin_file)?;
    let count: usize = sessions.parse().map_err(|_| RawRateError::Usage)?;
    let token = RawToken::open(Path::new(module), token, pin.trim_end())?;
    let mut sessions = (0..count).map(|_| token.session()).collect::<Result<Vec<_>, _>>()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (question, time) = line.split_once(' ').ok_or(RawRateError::Usage)?;
        let time = Duration::from_millis(time.parse().map_err(|_| RawRateError::Usage)?);
        let first = sessions.first().ok_or(RawRateError::Usage)?;
        let key = first.key(label)?;
        let answer = match question {
            RATE => serde_json::to_string(&rate(&mut sessions, key, time)?)?,
            ALONE => {
                let mut latencies = sign_until(first, key, Instant::now() + time)?;
                serde_json::to_string(&percentile(&mut latencies, 50))?
            }
            DESTROY => serde_json::to_string(&first.destroy(label)?)?,
            _ => return Err(RawRateError::Usage),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn rate(sessions: &mut [RawSession], key: RawKey, time: Duration) -> Result<RawRate, RawRateError> {
    let together = Barrier::new(sessions.len());
    let before = own_cpu_us()?;
    let begun = Instant::now();
    let counts = thread::scope(|scope| {
        let mut threads = Vec::new();
        for session in sessions {
            let together = &together;
            threads.push(scope.spawn(move || {
                together.wait();
                sign_until(session, key, Instant::now() + time).map(|all| all.len())
            }));
        }
        let join = |thread: thread::ScopedJoinHandle<'_, Result<usize, RawError>>| {
            Ok(thread.join().map_err(|_| RawRateError::Panicked)??)
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, RawRateError>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(counts.iter().sum::<usize>()).unwrap_or(u32::MAX));
    Ok(RawRate { per_second: count / seconds, cpu_us: (own_cpu_us()? - before) / count })
}

/// Signs digests that all differ; how long each took, in microseconds.
fn sign_until(session: &RawSession, key: RawKey, end: Instant) -> Result<Vec<f64>, RawError> {
    let mut digest = keccak256(b"raw rate").0;
    let mut latencies = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= end && !latencies.is_empty() {
            return Ok(latencies);
        }
        let signature = session.sign(key, &digest)?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e6);
        digest.copy_from_slice(&signature[..32]);
    }
}

/// Processor time of this whole process, threads that have ended included, in microseconds.
fn own_cpu_us() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything; the fields after it are plain.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks * TICK_US)
}

const RATE: &str = "rate";
const ALONE: &str = "alone";
const DESTROY: &str = "destroy";

/// Linux reports processor time in hundredths of a second to every process.
const TICK_US: f64 = 10_000.0;
