//! The run: interleaved rounds, so that a noisy machine is noisy for all alike.

use std::path::PathBuf;
use std::time::Duration;

use super::cpu::{CpuTimes, Spent};
use super::disk::CommitProbe;
use super::drive::Measured;
use super::figures::{Round, add, percentile};
use super::raw_rate::RawMeter;
use super::site::{OwnToken, Plan, Site};
use crate::token::Through;
use crate::world::Failure;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds.
    pub rounds: usize,
    /// Each stretch of load; the others take a third of it.
    pub time: Duration,
    /// Sessions on the token.
    pub sessions: u32,
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections they are spread over.
    pub connections: usize,
    /// A token of the reader's, instead of SoftHSM.
    pub own: Option<OwnToken>,
    /// This program, which also is the raw meter.
    pub program: PathBuf,
}

/// What a run gave.
#[derive(Debug)]
pub struct Measurement {
    /// Its rounds.
    pub rounds: Vec<Round>,
    /// Signatures, each checked and found in a journal.
    pub signatures: usize,
    /// Processor time of one raw signature, in microseconds, median of the rounds.
    pub raw_cpu_us: f64,
    /// Processor time by load.
    pub cpu: [Profile; 3],
}

/// Where processor time went under one kind of load, in microseconds over all rounds.
#[derive(Debug, Default)]
pub struct Profile {
    /// The load.
    pub name: &'static str,
    /// The signer's threads.
    pub signer: Spent,
    /// The load generator's threads.
    pub generator: Spent,
    /// Replies.
    pub replies: u64,
}

/// Measures; says on the way how far it is.
pub async fn measure(options: &Options, say: impl Fn(&str)) -> Result<Measurement, Failure> {
    let real = options.plan(Through::Real, options.own.clone());
    let instant = options.plan(Through::Instant, None);
    say("setting up a vault with the token, and one with an instant token");
    let site = Site::open(&real).await?;
    let mut run = Run {
        raw: None,
        disk: CommitProbe::new(site.folder())?,
        site,
        ceiling: Site::open(&instant).await?,
        options,
        cpu: ["unary", "stream", "instant token"]
            .map(|name| Profile { name, ..Profile::default() }),
        raw_cpu_us: Vec::new(),
    };
    let target = run.site.raw_target(&real);
    let raw = run.raw.insert(RawMeter::start(&options.program, &target)?);
    // Sessions, caches and the processor's clock settle before anything counts.
    raw.rate(options.time / 3)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let round = run.round().await?;
        say(&format!(
            "round {number} of {}: raw {:.0}/s, unary {:.0}/s ({:.2}), stream {:.0}/s ({:.2}), \
             ceiling {:.0}/s, alone {:.0} us",
            options.rounds,
            round.raw_per_s,
            round.unary_per_s,
            round.unary_per_s / round.raw_per_s,
            round.stream_per_s,
            round.stream_per_s / round.raw_per_s,
            round.ceiling_per_s,
            round.unary_p50_us,
        ));
        rounds.push(round);
    }
    say("holding every reply against the journals, and repeating every decision");
    run.finish(rounds).await
}

impl Options {
    fn plan(&self, through: Through, own: Option<OwnToken>) -> Plan {
        Plan { through, own, sessions: self.sessions, connections: self.connections }
    }
}

/// Everything that is up while rounds are made.
struct Run<'a> {
    options: &'a Options,
    site: Site,
    ceiling: Site,
    raw: Option<RawMeter>,
    disk: CommitProbe,
    cpu: [Profile; 3],
    raw_cpu_us: Vec<f64>,
}

impl Run<'_> {
    async fn round(&mut self) -> Result<Round, Failure> {
        let (time, short) = (self.options.time, self.options.time / 3);
        let in_flight = self.options.in_flight;
        let raw = self.raw()?.rate(time)?;
        self.raw_cpu_us.push(raw.cpu_us);
        let [unary, stream, _] = &mut self.cpu;

        let look = Look::at(&self.site)?;
        let loaded = self.site.load.unary(in_flight, time).await?;
        let unary_per_s = look.take(&mut self.site, unary, loaded)?;

        let look = Look::at(&self.site)?;
        let loaded = self.site.load.stream(in_flight, time).await?;
        let stream_per_s = look.take(&mut self.site, stream, loaded)?;

        let raw_p50_us = self.raw()?.alone_p50(short)?;
        let commit_p50_us = self.disk.p50(short)?;
        let mut alone = self.site.load.unary(1, short).await?;
        let unary_p50_us = percentile(&mut alone.latencies_us, 50);
        let unary_p99_us = percentile(&mut alone.latencies_us, 99);
        self.site.keep(alone.replies);

        let [_, _, instant] = &mut self.cpu;
        let look = Look::at(&self.ceiling)?;
        let loaded = self.ceiling.load.unary(in_flight, short).await?;
        let ceiling_per_s = look.take(&mut self.ceiling, instant, loaded)?;
        Ok(Round {
            raw_per_s: raw.per_second,
            unary_per_s,
            stream_per_s,
            ceiling_per_s,
            raw_p50_us,
            commit_p50_us,
            unary_p50_us,
            unary_p99_us,
        })
    }

    fn raw(&mut self) -> Result<&mut RawMeter, Failure> {
        self.raw.as_mut().ok_or_else(|| "the raw meter is not running".into())
    }

    async fn finish(mut self, rounds: Vec<Round>) -> Result<Measurement, Failure> {
        let signatures = self.site.close().await? + self.ceiling.close().await?;
        if let (Some(raw), Some(_)) = (&mut self.raw, &self.options.own) {
            raw.destroy()?;
        }
        let raw_cpu_us = percentile(&mut self.raw_cpu_us, 50);
        Ok(Measurement { rounds, signatures, raw_cpu_us, cpu: self.cpu })
    }
}

/// Processor times before a stretch of load.
struct Look {
    signer: CpuTimes,
    generator: CpuTimes,
}

impl Look {
    fn at(site: &Site) -> Result<Self, Failure> {
        Ok(Self { signer: site.cpu()?, generator: CpuTimes::of(std::process::id())? })
    }

    /// Books what came of it; replies per second.
    fn take(
        self,
        site: &mut Site,
        profile: &mut Profile,
        loaded: Measured,
    ) -> Result<f64, Failure> {
        let now = Self::at(site)?;
        add(&mut profile.signer, now.signer.since(&self.signer));
        add(&mut profile.generator, now.generator.since(&self.generator));
        profile.replies += u64::try_from(loaded.replies.len())?;
        let per_second = loaded.per_second();
        site.keep(loaded.replies);
        Ok(per_second)
    }
}
