//! A vault to put under load: the shipped binary, configured as the quickstart configures it, with
//! windows that count everything and are too wide to bind.

use std::path::{Path, PathBuf};

use portcullis_client::KeyRef;
use portcullis_client::wire::ReadJournalRequest;
use portcullis_policy::verify::Verifier;

use super::audit::{Tally, check_counter};
use super::cpu::CpuTimes;
use super::drive::{Load, Reply, Target};
use super::judge::Judge;
use super::raw_rate::RawTarget;
use crate::child::Environment;
use crate::http;
use crate::server::Server;
use crate::token::Through;
use crate::world::{CHAIN, Failure, PAYOUTS, SUPPLIER, Vault};

/// A token of the reader's own.
#[derive(Clone, Debug)]
pub struct OwnToken {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user PIN's file.
    pub pin_file: PathBuf,
}

/// What to set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How a SoftHSM token of our own is reached.
    pub through: Through,
    /// A token of the reader's, instead of SoftHSM.
    pub own: Option<OwnToken>,
    /// Sessions on the token.
    pub sessions: u32,
    /// Connections of the load generator.
    pub connections: usize,
}

/// A running vault, and the generator pointed at it.
pub struct Site {
    /// The generator.
    pub load: Load,
    vault: Vault,
    server: Server,
    key: String,
    replies: Vec<Reply>,
}

impl Site {
    /// Token, certificates, journal, signer, key, connections.
    pub async fn open(plan: &Plan) -> Result<Self, Failure> {
        let key = format!("bench-{:016x}", rand::random::<u64>());
        let mut vault = Vault::with(plan.through, &book(&key), |settings| {
            settings.segment_bytes = SEGMENT_BYTES;
            settings.hsm.sessions = plan.sessions;
            if let Some(OwnToken { module, token, pin_file }) = &plan.own {
                settings.hsm.module.clone_from(module);
                settings.hsm.token.clone_from(token);
                settings.hsm.pin_file.clone_from(pin_file);
            }
        })?;
        if plan.own.is_some() {
            // Theirs may be SoftHSM too: it must not be sent to our throw-away folder.
            vault.installation = vault.installation.clone().in_environment(Environment::new());
        }
        let server = vault.serve()?;
        let KeyRef { id, address } = vault.key(&server, &key).await?;
        let config = vault.service(&server, PAYOUTS)?;
        let mut channels = Vec::new();
        for _ in 0..plan.connections {
            channels.push(portcullis_client::channel(&config).await?);
        }
        let target = Target { channels, key_id: id.to_string(), judge: Judge::new(address) };
        Ok(Self { load: Load::new(target), vault, server, key, replies: Vec::new() })
    }

    /// The folder with the journal's disk.
    pub fn folder(&self) -> &Path {
        self.vault.folder.path()
    }

    /// The same token, key and number of sessions, for signing without the service.
    pub fn raw_target(&self, plan: &Plan) -> RawTarget {
        let hsm = &self.vault.settings.hsm;
        RawTarget {
            module: hsm.module.clone(),
            token: hsm.token.clone(),
            pin_file: hsm.pin_file.clone(),
            key: self.key.clone(),
            sessions: plan.sessions,
            environment: match plan.own {
                Some(_) => Environment::new(),
                None => self.vault.token.environment(),
            },
        }
    }

    /// Processor time of the signer's threads up to now.
    pub fn cpu(&self) -> Result<CpuTimes, Failure> {
        Ok(CpuTimes::of(self.server.pid())?)
    }

    /// Keeps replies for the audit.
    pub fn keep(&mut self, replies: Vec<Reply>) {
        self.replies.extend(replies);
    }

    /// Holds every reply against the journal, repeats every decision, and ends the signer; how
    /// many signatures there were.
    pub async fn close(self) -> Result<usize, Failure> {
        let metrics = http::get(self.server.addresses().loopback, "/metrics")?;
        check_counter(&String::from_utf8_lossy(&metrics.body), self.replies.len())?;
        let control = self.vault.control(&self.server, "ada").await?;
        let mut journal = control.read_journal(ReadJournalRequest::default()).await?;
        let (mut tally, mut verifier) = (Tally::default(), Verifier::default());
        while let Some(page) = journal.next().await? {
            for line in page.lines {
                if line.sequence == 0 {
                    verifier.attachment(line.content);
                } else {
                    tally.record(line.sequence, &line.content)?;
                    verifier.record(&line.content);
                }
            }
        }
        let settled = tally.settle(&self.replies)?;
        let report = verifier.finish();
        if let Some(first) = report.discrepancies.first() {
            return Err(format!("the journal does not verify: {first:?}").into());
        }
        let ended = self.server.terminate()?;
        if !ended.success() {
            return Err(format!("the signer ended with {ended}").into());
        }
        Ok(settled)
    }
}

/// The quickstart's book, but for amounts that no run reaches.
fn book(key: &str) -> String {
    let supplier = SUPPLIER.to_checksum(None);
    format!(
        r#"version = 1
[chain.anvil]
id = {CHAIN}
native = "ETH"
[list]
suppliers = ["{supplier}"]
[caller."{PAYOUTS}"]
owners = ["olga"]
[key.{key}]
callers = ["{PAYOUTS}"]
chains = ["anvil"]
native = {{ to = "@suppliers", per_tx = "2 ETH", window = ["1_000_000 ETH / 1h", "1_000_000 ETH / 24h"] }}
fees = {{ per_tx = "0.05 ETH", window = "1_000_000 ETH / 24h", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
"#
    )
}

/// The signer's default.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
