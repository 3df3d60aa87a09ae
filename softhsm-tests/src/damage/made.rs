//! The export that is damaged: what the shipped signer wrote on a real token, exported with the
//! shipped tool, with a checkpoint kept on the way and the one that it ends with.

use std::path::{Path, PathBuf};
use std::process::Command;

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Client, ControlClient, KeyRef};

use crate::pki::Leaf;
use crate::place;
use crate::server::Server;
use crate::token::Through;
use crate::tx::{self, Kind, Payment};
use crate::wait;
use crate::world::{
    BookText, CHAIN, Failure, PAYOUTS, SUPPLIER, Vault, ether, payment, reason, sign,
};

/// What was made.
pub(super) struct Made {
    vault: Vault,
    /// The export; it ends at a checkpoint.
    pub(super) export: PathBuf,
    /// That checkpoint.
    pub(super) newest: PathBuf,
    /// One kept earlier.
    pub(super) earlier: PathBuf,
}

impl Made {
    /// Where it is, and where there is room for more.
    pub(super) fn folder(&self) -> PathBuf {
        self.vault.folder.path().to_owned()
    }
}

/// Runs a signer until it has so many records.
pub(super) async fn make(records: u64) -> Result<Made, Failure> {
    let vault = Vault::new(Through::Real, &BookText::default().to_string())?;
    let folder = vault.folder.path();
    let (export, earlier) = (folder.join("export.jsonl"), folder.join("earlier"));
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let asker = Asker {
        client: vault.client(&server, PAYOUTS).await?,
        control: vault.control(&server, "sam").await?,
        key,
    };
    let mut nonce = asker.ask(0, records.saturating_mul(2) / 3).await?;
    asker.attested().await?;
    portctl(&vault, &server, &["audit", "checkpoint", "-o"], &earlier)?;
    nonce = asker.ask(nonce, records).await?;
    let narrower = BookText { per_tx: "9 ETH".into(), ..BookText::default() };
    asker.control.adopt_book(narrower.to_string()).await?;
    sign(&asker.client, &key, &payment(nonce, U256::from(1))).await?;
    asker.control.freeze(Scope::Key("hot".into()), "drill").await?;
    reason(&asker.client, &key, &payment(nonce + 1, U256::from(1))).await;
    asker.attested().await?;
    portctl(&vault, &server, &["audit", "export", "-o"], &export)?;
    drop(asker);
    tokio::task::spawn_blocking(move || server.kill_9()).await??;
    let newest = export.with_extension("jsonl.checkpoint");
    Ok(Made { vault, export, newest, earlier })
}

struct Asker {
    client: Client,
    control: ControlClient,
    key: KeyRef,
}

impl Asker {
    /// Asks for something of everything, from a nonce on, until there are so many records; gives
    /// the next nonce.
    async fn ask(&self, from: u64, records: u64) -> Result<u64, Failure> {
        for nonce in from.. {
            let one = payment(nonce, U256::from(1));
            let signed = sign(&self.client, &self.key, &one).await?;
            if signed.sequence >= records {
                return Ok(nonce + 1);
            }
            match nonce % EVERY {
                // Again, and refused: for its amount, and for a contract that nobody knows, with
                // an input that does not fit into its record.
                1 => drop(sign(&self.client, &self.key, &one).await?),
                4 => drop(reason(&self.client, &self.key, &payment(nonce, ether(11))).await),
                7 => drop(reason(&self.client, &self.key, &large(nonce)).await),
                _ => {}
            }
        }
        Ok(from)
    }

    /// Waits until all that there is is under a checkpoint.
    async fn attested(&self) -> Result<(), Failure> {
        let head = self.control.status().await?.sequence;
        let covered = wait::until_async("everything to be under a checkpoint", async || {
            (self.control.checkpoint(0).await.ok()?.size >= head).then_some(())
        });
        Ok(covered.await?)
    }
}

/// A transaction too large to stand in its record.
fn large(nonce: u64) -> Vec<u8> {
    let mut payment = Payment::new(CHAIN, nonce, SUPPLIER, U256::from(1));
    payment.data = vec![0x5a; LARGE_BYTES].into();
    tx::preimage(&payment.unsigned(Kind::Eip1559))
}

/// Runs `portctl` as the auditor, who writes to a file.
fn portctl(vault: &Vault, server: &Server, verb: &[&str], file: &Path) -> Result<(), Failure> {
    let ada = vault.people.issue(&Leaf::client_uri("ada", "spiffe://test/people/ada"))?;
    let endpoint = format!("https://{}", server.addresses().control_plane);
    let said = Command::new(place::binary("portctl")?)
        .args(verb)
        .arg(file)
        .args(["--endpoint", &endpoint, "--ca"])
        .arg(vault.people.certificate())
        .arg("--certificate")
        .arg(&ada.certificate)
        .arg("--private-key")
        .arg(&ada.private_key)
        .current_dir(vault.folder.path())
        .output()?;
    if said.status.success() {
        return Ok(());
    }
    Err(format!("portctl {verb:?}: {}", String::from_utf8_lossy(&said.stderr)).into())
}

/// One round of everything that is asked.
const EVERY: u64 = 40;

/// More than 8 KiB, which is the most that stands in a record.
const LARGE_BYTES: usize = 8_500;
