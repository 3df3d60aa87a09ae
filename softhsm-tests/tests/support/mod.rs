//! A running vault with one key, and what every suite holds its end against: the journal explains
//! itself, and neither log nor journal has a secret in it.

// Allowed and not expected: compiled anew into each suite, of which some use all of it.
#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod wire;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_client::wire::{CreateKeyRequest, GetStatusResponse};
use portcullis_client::{
    Answer, CallError, Client, Code, KeyRef, Parked, Refusal, RequestId, SignError,
    SignedTransaction,
};
use portcullis_policy::verify::Verifier;
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::ledger::Holding;
use portcullis_softhsm_tests::server::Server;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::wait::PATIENCE;
use portcullis_softhsm_tests::world::{CHAIN, Failure, PAYOUTS, Vault, in_a_year};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A service that the book knows and that no key's rules name, unless a test says so.
pub(crate) const REPORTS: &str = "spiffe://test/reports";

/// A running signer with the key `hot`.
pub(crate) struct Scene {
    pub(crate) vault: Vault,
    pub(crate) server: Server,
    pub(crate) key: KeyRef,
    held: Arc<Mutex<Vec<SignedTransaction>>>,
}

impl Scene {
    /// On SoftHSM itself.
    pub(crate) async fn new(book: impl ToString) -> Result<Self, Failure> {
        Self::through(Through::Real, book).await
    }

    /// On a token reached this way; the token has all the time in the world.
    pub(crate) async fn through(through: Through, book: impl ToString) -> Result<Self, Failure> {
        Self::with_timeout(through, book, 60_000).await
    }

    /// The same, with this deadline of a call of the token, in milliseconds.
    pub(crate) async fn with_timeout(
        through: Through,
        book: impl ToString,
        call_timeout_ms: u64,
    ) -> Result<Self, Failure> {
        let vault = Vault::new(through, &book.to_string())?;
        let mut settings = vault.settings.clone();
        settings.hsm.call_timeout_ms = call_timeout_ms;
        vault.installation.configure(&settings)?;
        let server = vault.serve()?;
        let key = vault.hot_key(&server).await?;
        Ok(Self { vault, server, key, held: Arc::default() })
    }

    /// Of a vault that was made, with the key `hot`.
    pub(crate) async fn of(vault: Vault) -> Result<Self, Failure> {
        let server = vault.serve()?;
        let key = vault.hot_key(&server).await?;
        Ok(Self { vault, server, key, held: Arc::default() })
    }

    /// The same signer, started anew with all that it can log.
    pub(crate) async fn talkative(self) -> Result<Self, Failure> {
        let Self { mut vault, server, key, held } = self;
        end(server).await?;
        let mut environment = vault.token.environment();
        environment.push(("RUST_LOG", "trace".into()));
        vault.installation = vault.installation.in_environment(environment);
        let server = vault.serve()?;
        Ok(Self { vault, server, key, held })
    }

    /// Kills the signer and starts it again on the same data.
    pub(crate) async fn restart(self) -> Result<Self, Failure> {
        let Self { vault, server, key, held } = self;
        let server = server.crash_and_restart()?;
        Ok(Self { vault, server, key, held })
    }

    /// Kills the signer, lets this be done meanwhile, and starts it again on the same data.
    pub(crate) async fn while_down(
        self,
        meanwhile: impl FnOnce(&Vault) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let Self { vault, server, key, held } = self;
        server.kill_9()?;
        meanwhile(&vault)?;
        let server = vault.serve()?;
        Ok(Self { vault, server, key, held })
    }

    /// The same, where it must come up and cannot sign.
    pub(crate) async fn while_down_for_good(
        self,
        meanwhile: impl FnOnce(&Vault) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let Self { vault, server, key, held } = self;
        server.kill_9()?;
        meanwhile(&vault)?;
        let server = vault.installation.serve_unready()?;
        Ok(Self { vault, server, key, held })
    }

    /// Asks the signer to end; starts it again once it has.
    pub(crate) async fn stop_and_start(self) -> Result<Self, Failure> {
        let Self { vault, server, key, held } = self;
        end(server).await?;
        let server = vault.serve()?;
        Ok(Self { vault, server, key, held })
    }

    /// The service that may sign.
    pub(crate) async fn payouts(&self) -> Result<Client, Failure> {
        self.vault.client(&self.server, PAYOUTS).await
    }

    /// Makes a second key, `cold`, with the tag `vault`.
    pub(crate) async fn cold_key(&self) -> Result<KeyRef, Failure> {
        let request = CreateKeyRequest {
            label: "cold".into(),
            tags: vec!["vault".into()],
            purpose: "payments".into(),
            owner: String::new(),
            environment: "development".into(),
            chains: vec![CHAIN],
            review_by_ms: in_a_year(),
        };
        let olga = self.vault.control(&self.server, "olga").await?;
        let key = olga.create_key(request).await?;
        let address = alloy_primitives::Address::try_from(&key.address[..])?;
        Ok(KeyRef { id: key.key_id.parse()?, address })
    }

    /// Asks under a fresh id, with the key `hot`.
    pub(crate) async fn sign(&self, by: &Client, preimage: &[u8]) -> Result<Answer, SignError> {
        self.sign_as(by, &self.key, &by.new_request_id(), preimage).await
    }

    /// Asks, and remembers what was given: it must be in no log and in no journal.
    pub(crate) async fn sign_as(
        &self,
        by: &Client,
        key: &KeyRef,
        id: &RequestId,
        preimage: &[u8],
    ) -> Result<Answer, SignError> {
        let answer = by.sign_transaction(key, id, preimage).await;
        if let Ok(Answer::Signed(signed)) = &answer {
            self.hold(signed.clone());
        }
        answer
    }

    /// Remembers a signature.
    pub(crate) fn hold(&self, signed: SignedTransaction) {
        self.held.lock().unwrap().push(signed);
    }

    /// All signatures remembered.
    pub(crate) fn held(&self) -> Vec<SignedTransaction> {
        self.held.lock().unwrap().clone()
    }

    /// "signed", "parked", or the stable reason of the refusal.
    pub(crate) async fn outcome(&self, by: &Client, preimage: &[u8]) -> String {
        outcome(self.sign(by, preimage).await)
    }

    /// State and figures, as the security person sees them.
    pub(crate) async fn status(&self) -> Result<GetStatusResponse, Failure> {
        Ok(self.vault.control(&self.server, "sam").await?.status().await?)
    }

    /// The value of a metric by its whole name, labels included.
    pub(crate) fn metric(&self, name: &str) -> Result<u64, Failure> {
        let answer = http::get(self.server.addresses().loopback, "/metrics")?;
        let text = String::from_utf8(answer.body)?;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.map_or_else(|| Err(format!("no metric {name} in\n{text}").into()), |n| Ok(n.parse()?))
    }

    /// Waits until a metric is at least `least`, bounded.
    pub(crate) async fn metric_reaches(&self, name: &str, least: u64) -> Result<(), Failure> {
        // A loop of its own and no closure: a future with one in it cannot be spawned.
        let start = Instant::now();
        while self.metric(name)? < least {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {name} to be {least}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until no reservation is open, bounded.
    pub(crate) async fn settled(&self) -> Result<(), Failure> {
        let open = "portcullis_reservations_open";
        eventually(open, async || Ok(self.metric(open)? == 0)).await
    }

    /// Exports the journal and holds it against everything that must be true of any journal: every
    /// decision comes out the same again, and no secret is in it or in the log.
    pub(crate) async fn journal(&self) -> Result<Journal, Failure> {
        let mut verifier = Verifier::default();
        let mut records = Vec::new();
        let mut text = String::new();
        for (sequence, bytes) in self.vault.export(&self.server).await? {
            if sequence == 0 {
                verifier.attachment(bytes);
                continue;
            }
            verifier.record(&bytes);
            text.push_str(&String::from_utf8(bytes.clone())?);
            text.push('\n');
            records.push(serde_json::from_slice(&bytes)?);
        }
        let report = verifier.finish();
        assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);
        self.assert_no_secret_in("journal", &text)?;
        self.assert_no_secret_in("log", &self.server.said()?)?;
        Ok(Journal(records))
    }

    fn assert_no_secret_in(&self, what: &str, text: &str) -> Result<(), Failure> {
        assert!(!text.contains(self.vault.token.pin()), "the PIN is in the {what}");
        for folder in ["services", "people"] {
            for secret in private_keys(&self.vault.folder.path().join(folder))? {
                assert!(!text.contains(&secret), "a private key's file is in the {what}");
            }
        }
        let text = text.to_ascii_lowercase();
        for signed in self.held() {
            let signature = signed.signature;
            for half in [signature.r(), signature.s()] {
                let hex = format!("{half:064x}");
                assert!(!text.contains(&hex), "half of a signature is in the {what}");
                assert!(!text.contains(&half.to_string()), "half a signature is in the {what}");
            }
        }
        Ok(())
    }
}

/// Asks a signer to end, and waits on another thread: whoever is connected must be able to hang up.
async fn end(server: Server) -> Result<(), Failure> {
    let status = tokio::task::spawn_blocking(move || server.terminate()).await??;
    assert!(status.success(), "{status}");
    Ok(())
}

/// What lies in the `.key` files of a folder: each line of Base64.
fn private_keys(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            let text = fs::read_to_string(path)?;
            let body = text.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
            lines.extend(body.map(str::to_owned));
        }
    }
    assert!(!lines.is_empty(), "no canaries");
    Ok(lines)
}

/// A journal that explained itself.
pub(crate) struct Journal(Vec<Value>);

impl Journal {
    /// What all records of a kind say, in order.
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter_map(|entry| entry["record"].get(kind)).collect()
    }

    /// How many records of a kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.of(kind).len()
    }

    /// Where the last signature stands; 0 if there is none.
    pub(crate) fn last_signed(&self) -> u64 {
        let signed = self.0.iter().filter(|entry| entry["record"].get("signed").is_some());
        signed.filter_map(|entry| entry["seq"].as_u64()).max().unwrap_or(0)
    }

    /// Whether a record says that this signature was given.
    pub(crate) fn knows(&self, signed: &SignedTransaction) -> bool {
        let hash = signature_sha256(signed);
        let named = |record: &&Value| record["signature_sha256"] == hash.as_str();
        let at = |entry: &Value| entry["seq"].as_u64() == Some(signed.sequence);
        let entry = self.0.iter().find(|entry| at(entry));
        entry.and_then(|entry| entry["record"].get("signed")).filter(named).is_some()
    }
}

/// As a record names it: over r, s and the parity byte.
fn signature_sha256(signed: &SignedTransaction) -> String {
    let signature = signed.signature;
    let mut hash = Sha256::new();
    hash.update(signature.r().to_be_bytes::<32>());
    hash.update(signature.s().to_be_bytes::<32>());
    hash.update([u8::from(signature.v())]);
    format!("0x{}", hex::encode(hash.finalize()))
}

/// "signed", "parked", or the stable reason of the refusal.
pub(crate) fn outcome(result: Result<Answer, SignError>) -> String {
    match result {
        Ok(Answer::Signed(_)) => "signed".into(),
        Ok(Answer::Parked(_)) => "parked".into(),
        Err(error) => error.reason().map_or_else(|| format!("{error:?}"), str::to_owned),
    }
}

/// The signature, where there must be one.
pub(crate) fn signed(result: Result<Answer, SignError>) -> SignedTransaction {
    match result {
        Ok(Answer::Signed(signed)) => signed,
        other => panic!("not signed: {other:?}"),
    }
}

/// The parked request, where it must be parked.
pub(crate) fn parked(result: Result<Answer, SignError>) -> Parked {
    match result {
        Ok(Answer::Parked(parked)) => parked,
        other => panic!("not parked: {other:?}"),
    }
}

/// What the signer said, where it must have said no; with what every refusal must have.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, SignError>) -> Refusal {
    match result {
        Err(SignError::Refused(refusal)) => {
            assert!(refusal.reason().is_some(), "no ErrorInfo of our domain: {refusal:?}");
            assert!(!refusal.message().is_empty(), "{refusal:?}");
            *refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// The same for calls of the control plane.
pub(crate) fn call_refused<T: std::fmt::Debug>(result: Result<T, CallError>) -> Refusal {
    refused(result.map_err(SignError::from))
}

/// Code and stable reason, to be compared at once.
pub(crate) fn said(refusal: &Refusal) -> (Code, &str) {
    (refusal.code(), refusal.reason().unwrap_or_default())
}

/// Looks until something is so, bounded.
pub(crate) async fn eventually(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let start = Instant::now();
    while !look().await? {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What a caller holds, for the independent checker. Times are those of one clock.
pub(crate) fn holding(signed: &SignedTransaction, sent: Instant, zero: Instant) -> Holding {
    let millis = |at: Instant| u64::try_from((at - zero).as_millis()).unwrap();
    let raw = signed.raw_transaction.to_vec();
    Holding { sent_ms: millis(sent), received_ms: millis(Instant::now()), raw }
}
