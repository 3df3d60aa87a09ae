//! The crash experiment: the shipped signer under load, killed at random moments and at named ones,
//! brought up again on the same journal, and judged after every cycle.
//!
//! The judge must not use the policy crate: it holds what callers have in their hands, reads the
//! journal as JSON, and adds up with [`crate::ledger`]. Only after everything else is policy's own
//! verifier asked about the whole journal.
//!
//! The book has two budgets. Native coin may go within ten seconds, so that the budget is used up
//! again and again and a window spans several crashes. USDC may go within a day, so that a single
//! unit counted too little or too much in any cycle still shows at the end.

mod ends;
mod figures;
mod judge;
mod load;
mod points;
mod rounds;
pub(crate) mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{U256, keccak256};
use portcullis_client::wire::ReadJournalRequest;
use portcullis_client::{Answer, Client, ControlClient, KeyRef, SignError};
use portcullis_policy::verify::Verifier;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

pub use self::figures::Figures;
pub use self::rounds::{KeptError, in_rounds};
use crate::server::Server;
use crate::token::Through;
use crate::world::{CHAIN, Failure, PAYOUTS, SUPPLIER, USDC, Vault};
use judge::Judge;
use load::{Caller, Load};
use points::Point;
use token::TokenCopy;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often to kill it.
    pub cycles: u32,
    /// Begins no further cycle after so long.
    pub at_most: Duration,
    /// Of everything that is left to chance here. The signer's own timing is not.
    pub seed: u64,
    /// Whether signatures cost nothing (the fault module's instant mode): more of them are under
    /// way at each kill, and more records in each batch.
    pub instant: bool,
}

/// Native coin, fees included, that may go within [`NATIVE_WINDOW`].
const NATIVE_BUDGET_ETH: u64 = 12;

/// Spans several cycles.
const NATIVE_WINDOW: Duration = Duration::from_secs(10);

/// USDC that may go within a day, longer than any experiment.
const USDC_BUDGET: u64 = 1_000_000;

/// Small, so that the next one is taken into use again and again.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// When it is killed while it starts, in milliseconds after that began.
const KILL_STARTING_MS: std::ops::RangeInclusive<u64> = 0..=150;

/// A start is hit, too, once in so many cycles.
const KILL_STARTING_ONE_IN: u32 = 4;

/// Kills and judges until the plan is done. `tell` gets a line from time to time.
pub async fn run(plan: Plan, tell: impl Fn(&str)) -> Result<Figures, Failure> {
    let through = if plan.instant { Through::Instant } else { Through::Real };
    let vault = Vault::with(through, &book(), |settings| settings.segment_bytes = SEGMENT_BYTES)?;
    let begun = Instant::now();
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let mut server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let load = Arc::new(Load::new(key, begun));
    let mut experiment = Experiment::new(&vault, key, &server)?;
    while experiment.figures.cycles < plan.cycles && begun.elapsed() < plan.at_most {
        server = experiment.cycle(&load, server, &mut chance).await?;
        experiment.judge(&load, &server).await?;
        let Figures { cycles, signatures, over_budget, violations, .. } = &experiment.figures;
        let broken = violations.len();
        let seconds = begun.elapsed().as_secs();
        tell(&format!(
            "{seconds:>4} s  cycle {cycles}: {signatures} signatures held, {over_budget} over \
             budget, {broken} violations"
        ));
    }
    experiment.judge_exactly(&load, &server).await?;
    experiment.judge_whole(&server).await?;
    server.terminate()?;
    Ok(experiment.figures)
}

/// See the module's comment.
fn book() -> String {
    let supplier = SUPPLIER.to_checksum(None);
    let usdc = USDC.to_checksum(None);
    let window = NATIVE_WINDOW.as_secs();
    format!(
        r#"version = 1
[chain.anvil]
id = {CHAIN}
native = "ETH"
[asset.USDC]
kind = "erc20"
chain = "anvil"
address = "{usdc}"
decimals = 6
[caller."{PAYOUTS}"]
owners = ["olga"]
[caller."{REPORTS}"]
owners = ["olga"]
[key.hot]
callers = ["{PAYOUTS}", "{REPORTS}"]
chains = ["anvil"]
native = {{ to = "{supplier}", per_tx = "1 ETH", window = "{NATIVE_BUDGET_ETH} ETH / {window}s" }}
fees = {{ per_tx = "1 ETH", window = "unlimited", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
token.USDC = {{ to = "{supplier}", per_tx = "unlimited", window = "{USDC_BUDGET} USDC / 1d" }}
"#
    )
}

/// A second service with the same rights.
const REPORTS: &str = "spiffe://test/reports";

/// Callers at work at the same time, per service.
const CALLERS_EACH: usize = 3;

struct Experiment<'a> {
    vault: &'a Vault,
    key: KeyRef,
    services: [portcullis_client::ClientConfig; 2],
    auditor: portcullis_client::ClientConfig,
    token: TokenCopy,
    judge: Judge,
    /// Where the running process ends by itself, and how long that may take.
    point: Option<(Point, Duration)>,
    figures: Figures,
}

impl<'a> Experiment<'a> {
    fn new(vault: &'a Vault, key: KeyRef, server: &Server) -> Result<Self, Failure> {
        let services = [vault.service(server, PAYOUTS)?, vault.service(server, REPORTS)?];
        let auditor = vault.person(server, "ada")?;
        let judge = Judge::new(key);
        let token = TokenCopy::of(&vault.token)?;
        let figures = Figures { points: points::none(), ..Figures::default() };
        Ok(Self { vault, key, services, auditor, token, judge, point: None, figures })
    }

    /// Load, a kill in the middle of it, and up again on the same journal.
    async fn cycle(
        &mut self,
        load: &Arc<Load>,
        server: Server,
        chance: &mut StdRng,
    ) -> Result<Server, Failure> {
        let server = self.armed(server, chance)?;
        let mut callers = tokio::task::JoinSet::new();
        for service in 0..self.services.len() {
            // One that is to end by itself may have done so.
            let client = match self.client(&server, service).await {
                Err(_) if self.point.is_some() => continue,
                client => client?,
            };
            for _ in 0..CALLERS_EACH {
                let caller = Caller::new(load, service, &client, chance.random());
                callers.spawn(caller.work());
            }
        }
        self.end(server, chance).await?;
        while let Some(ended) = callers.join_next().await {
            ended?;
        }
        self.figures.cycles += 1;
        if chance.random_ratio(1, KILL_STARTING_ONE_IN) {
            let starting = self.vault.installation.start()?;
            let kill_in = Duration::from_millis(chance.random_range(KILL_STARTING_MS));
            tokio::time::sleep(kill_in).await;
            starting.kill_9()?;
            self.figures.killed_while_starting += 1;
        }
        Ok(self.serve_again()?)
    }

    async fn client(&self, server: &Server, service: usize) -> Result<Client, Failure> {
        let mut config = self.services[service].clone();
        config.endpoint = format!("https://{}", server.addresses().data_plane);
        Ok(Client::connect(&config).await?)
    }

    async fn control(&self, server: &Server) -> Result<ControlClient, Failure> {
        let mut config = self.auditor.clone();
        config.endpoint = format!("https://{}", server.addresses().control_plane);
        Ok(ControlClient::connect(&config).await?)
    }

    /// Everything that holds between two cycles, when nothing is under way.
    async fn judge(&mut self, load: &Load, server: &Server) -> Result<(), Failure> {
        let fresh = self.read_on(server).await?;
        self.judge.read(&fresh);
        self.judge.holdings(load);
        let one_too_many = U256::from(self.judge.usdc_left() + 1);
        let against = self.ask_usdc(load, server, one_too_many).await?;
        if !against.iter().any(|reason| reason == "TOKEN_OVER_WINDOW_LIMIT") {
            self.judge.accuse(format!(
                "one unit of USDC more than the day's budget was not refused: {against:?}"
            ));
        }
        let figures = &mut self.figures;
        figures.violations = [load.violations(), self.judge.violations()].concat();
        figures.signatures = load.held();
        let counted = load.counted();
        figures.cut_off = counted.cut_off;
        figures.asked_again = counted.asked_again;
        figures.replacements = counted.replacements;
        figures.over_budget = counted.over_budget;
        figures.records = self.judge.records();
        figures.unseen = self.judge.unseen();
        (figures.cuts, figures.lost) = self.judge.losses();
        Ok(())
    }

    /// At the end exactly what is left of the day's budget still fits: nothing was ever counted
    /// twice, and nothing that was lost in a crash is still counted.
    async fn judge_exactly(&mut self, load: &Load, server: &Server) -> Result<(), Failure> {
        let left = U256::from(self.judge.usdc_left());
        // The fee is native, and that budget may be used up for as long as its window.
        let patience = Instant::now() + 6 * NATIVE_WINDOW;
        let against = loop {
            let against = self.ask_usdc(load, server, left).await?;
            if against != ["OVER_WINDOW_LIMIT"] || Instant::now() > patience {
                break against;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        if !against.is_empty() {
            self.judge.accuse(format!("the {left} units of USDC that are left: {against:?}"));
        }
        self.judge(load, server).await
    }

    /// Asks for a transfer under a new nonce; everything that was said against it.
    async fn ask_usdc(
        &self,
        load: &Load,
        server: &Server,
        units: U256,
    ) -> Result<Vec<String>, Failure> {
        let client = self.client(server, 0).await?;
        let preimage = load::usdc_transfer(load.next_nonce(), units);
        let digest = keccak256(&preimage);
        let (id, sent_ms) = (client.new_request_id(), load.send(digest));
        match client.sign_transaction(&self.key, &id, &preimage).await {
            Ok(Answer::Signed(signed)) => {
                load.hold(sent_ms, &signed);
                Ok(Vec::new())
            }
            Ok(Answer::Parked(parked)) => Ok(vec![format!("{parked:?}")]),
            Err(SignError::Refused(refusal)) => {
                load.refused(digest, sent_ms);
                let violations = refusal.violations().iter();
                Ok(violations.map(|violation| violation.kind.clone()).collect())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The records that came since the last reading, and the last one of then.
    async fn read_on(&self, server: &Server) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let from_sequence = self.judge.records().max(1);
        self.lines(server, from_sequence).await
    }

    async fn lines(
        &self,
        server: &Server,
        from_sequence: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let request = ReadJournalRequest { from_sequence, ..ReadJournalRequest::default() };
        let mut journal = self.control(server).await?.read_journal(request).await?;
        let mut lines = Vec::new();
        while let Some(page) = journal.next().await? {
            lines.extend(page.lines.into_iter().map(|line| (line.sequence, line.content)));
        }
        Ok(lines)
    }

    /// Policy's own opinion of all of it, which comes last.
    async fn judge_whole(&mut self, server: &Server) -> Result<(), Failure> {
        let mut verifier = Verifier::default();
        for (sequence, bytes) in self.lines(server, 1).await? {
            if sequence == 0 {
                verifier.attachment(bytes);
            } else {
                self.judge.compare(sequence, &bytes);
                verifier.record(&bytes);
            }
        }
        let report = verifier.finish();
        self.figures.repeated = report.repeated;
        let found = report.discrepancies.iter();
        let found = found.map(|found| format!("verifier, record {}: {}", found.at, found.what));
        self.figures.violations.extend(found);
        self.figures.violations.extend(self.judge.take_new_violations());
        Ok(())
    }
}
