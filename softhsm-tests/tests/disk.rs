//! A full disk, met by the shipped signer: no signature, a typed refusal, stops all the same, and
//! nothing lost.
//!
//! Needs root: the disk is a small tmpfs in a mount namespace of the test's own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Client, KeyRef, SignError, SignedTransaction};
use portcullis_policy::verify::Verifier;
use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::server::Server;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::wait;
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, SUPPLIER, Vault, payment, reason, sign,
};
use serde_json::Value;

/// Says to a child of this test where to mount its small disk.
const TINY_DISK: &str = "PORTCULLIS_TEST_TINY_DISK";

/// Of one journal segment: some forty signatures.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// More requests than the small disk has room for.
const REQUESTS_MAX: u64 = 2_000;

/// Runs itself again in a mount namespace of its own, with a disk that is soon full.
#[test]
fn a_full_disk_refuses_signatures_and_takes_stops_and_forgets_nothing() {
    const NAME: &str = "a_full_disk_refuses_signatures_and_takes_stops_and_forgets_nothing";
    if let Some(place) = std::env::var_os(TINY_DISK) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(on_a_tiny_disk(&PathBuf::from(place))).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    let child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(TINY_DISK, place.path())
        .output()
        .expect("this test needs `unshare` (util-linux)");
    let said = String::from_utf8([child.stdout, child.stderr].concat()).unwrap();
    assert!(child.status.success(), "this test mounts a tmpfs, which takes root:\n{said}");
    assert!(said.contains("1 passed"), "the child ran something else:\n{said}");
}

fn mount(place: &Path, options: &str) {
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "tmpfs", "-o", options, "tiny"]).arg(place);
    assert!(mount.status().expect("this test needs `mount`").success(), "mounting takes root");
}

/// A book in which the key `cold`, too, may pay, and nothing ever runs out but the disk.
fn book() -> String {
    let supplier = SUPPLIER.to_checksum(None);
    let more = format!(
        r#"[key.cold]
callers = ["{PAYOUTS}"]
chains = ["anvil"]
native = {{ to = "{supplier}", per_tx = "10 ETH", window = "unlimited" }}
fees = {{ per_tx = "1 ETH", window = "unlimited", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
"#
    );
    BookText { more, ..BookText::default() }.to_string()
}

async fn on_a_tiny_disk(place: &Path) -> Result<(), Failure> {
    // Room for a few segments: the present one, two free ones, and few more.
    mount(place, "size=1600k");
    let vault = Vault::with(Through::Real, &book(), |settings| {
        settings.data = place.join("data");
        settings.segment_bytes = SEGMENT_BYTES;
    })?;
    let server = vault.serve()?;
    let hot = vault.key(&server, "hot").await?;
    let cold = vault.key(&server, "cold").await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    let mut held = Vec::new();
    let (nonce, full) = sign_until_refused(&payouts, &hot, &mut held).await;
    assert!(held.len() > 50, "the disk was full after {} signatures", held.len());
    says_full(&full);
    not_ready(&server)?;

    // A stop is taken, acknowledged and on record.
    let sam = vault.control(&server, "sam").await?;
    let frozen = sam.freeze(Scope::Key("hot".into()), "the disk is full, and more").await?;
    assert!(frozen.recorded);
    assert_eq!(frozen.last_released_sequence, held.last().unwrap().sequence);
    assert!(!sam.status().await?.serving);
    let refused = reason(&payouts, &cold, &payment(nonce, U256::from(1))).await;
    assert_eq!(refused, "JOURNAL_FULL");

    // A crash in this state loses nothing either, and the signer comes up without being ready.
    server.kill_9()?;
    let server = vault.installation.serve_unready()?;
    not_ready(&server)?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    let refused = sign(&payouts, &cold, &payment(nonce, U256::from(1))).await.unwrap_err();
    says_full(&refused);
    assert!(is_frozen(&vault, &server, &hot).await?);
    let reports = Scope::Caller("spiffe://test/reports".into());
    let stop = vault.control(&server, "sam").await?.freeze(reports, "one more").await?;
    assert!(stop.recorded, "a stop is taken after the restart, too");

    // With space it goes on by itself; what was stopped stays so.
    mount(place, "remount,size=16m");
    wait::until("the signer to be ready again", || {
        let answer = http::get(server.addresses().loopback, "/readyz").ok()?;
        (answer.status == 200).then_some(())
    })?;
    assert_eq!(reason(&payouts, &hot, &payment(nonce, U256::from(1))).await, "FROZEN");
    for nonce in 0..50 {
        held.push(sign(&payouts, &cold, &payment(nonce, U256::from(1))).await?);
    }
    let server = server.crash_and_restart()?;
    assert!(is_frozen(&vault, &server, &hot).await?);
    explains_all(&vault, &server, &held).await?;
    Ok(())
}

/// Signs until the first refusal; gives the next nonce and the refusal.
async fn sign_until_refused(
    client: &Client,
    key: &KeyRef,
    held: &mut Vec<SignedTransaction>,
) -> (u64, SignError) {
    for nonce in 0..REQUESTS_MAX {
        match sign(client, key, &payment(nonce, U256::from(1))).await {
            Ok(signed) => held.push(signed),
            Err(error) => return (nonce, error),
        }
    }
    panic!("the disk took {REQUESTS_MAX} signatures");
}

fn says_full(error: &SignError) {
    assert_eq!(error.reason(), Some("JOURNAL_FULL"), "{error:?}");
    assert!(error.retry_after().is_some(), "a hint when to ask again: {error:?}");
    assert!(error.is_retryable());
}

fn not_ready(server: &Server) -> Result<(), Failure> {
    let ready = http::get(server.addresses().loopback, "/readyz")?;
    let said = String::from_utf8(ready.body)?;
    assert_eq!(ready.status, 503, "{said}");
    assert!(said.contains("out of space"), "{said}");
    Ok(())
}

async fn is_frozen(vault: &Vault, server: &Server, key: &KeyRef) -> Result<bool, Failure> {
    let status = vault.control(server, "ada").await?.status().await?;
    let stopped = status.frozen.into_iter().filter_map(|scope| scope.scope);
    let wanted = Scope::Key(key.id.to_string());
    Ok(stopped.into_iter().any(|scope| scope == wanted))
}

/// The journal replays, and has a record of every signature that was handed out.
async fn explains_all(
    vault: &Vault,
    server: &Server,
    held: &[SignedTransaction],
) -> Result<(), Failure> {
    let mut verifier = Verifier::default();
    let mut recorded = BTreeSet::new();
    for (sequence, bytes) in vault.export(server).await? {
        if sequence == 0 {
            verifier.attachment(bytes);
            continue;
        }
        let entry: Value = serde_json::from_slice(&bytes)?;
        let digest = entry["record"]["signed"]["asked"]["digest"].as_str().map(str::to_owned);
        recorded.extend(digest.map(|digest| (sequence, digest)));
        verifier.record(&bytes);
    }
    let report = verifier.finish();
    assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
    for signed in held {
        let wanted = (signed.sequence, signed.digest.to_string());
        assert!(recorded.contains(&wanted), "no record of {wanted:?}");
    }
    assert_eq!(recorded.len(), held.len(), "nothing was recorded that was refused");
    Ok(())
}
