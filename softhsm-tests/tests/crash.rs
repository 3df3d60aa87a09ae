//! Crashes of the shipped signer: what a caller holds is on record, an interrupted batch is cut and
//! the cut recorded, damage stops the start. The long form is `deploy/experiment crash`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_policy::verify::Verifier;
use portcullis_softhsm_tests::crash::{self, Plan};
use portcullis_softhsm_tests::server::Server;
use portcullis_softhsm_tests::stop;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, Vault, ether, payment, reason, sign,
};
use serde_json::Value;

fn vault() -> Vault {
    Vault::new(Through::Real, &BookText::default().to_string()).unwrap()
}

/// The journal's records, after policy's verifier has found nothing wrong with them.
async fn records(vault: &Vault, server: &Server) -> Result<Vec<Value>, Failure> {
    let mut verifier = Verifier::default();
    let mut records = Vec::new();
    for (_, line) in vault.export(server).await? {
        verifier.record(&line);
        records.push(serde_json::from_slice(&line)?);
    }
    let report = verifier.finish();
    assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
    Ok(records)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_under_load_it_keeps_every_promise() -> Result<(), Failure> {
    let plan =
        Plan { cycles: 12, at_most: Duration::from_secs(600), seed: 20_261_123, instant: false };
    let figures = crash::run(plan, |_| {}).await?;
    assert!(figures.violations.is_empty(), "{:#?}", figures.violations);
    assert!(figures.cycles >= 12, "{figures:?}");
    // Not all of them were at random.
    assert!(figures.points.values().sum::<u32>() >= 3, "{figures:?}");
    assert!(figures.signatures > 0 && figures.cut_off > 0 && figures.repeated > 0, "{figures:?}");
    assert!(figures.asked_again > 0 && figures.replacements > 0, "{figures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_the_signer_nothing_is_released_after_a_stop_was_acknowledged()
-> Result<(), Failure> {
    let plan = stop::Plan {
        freezes: 40,
        freezes_each: 40,
        halt: Duration::from_millis(400),
        hang: Duration::from_millis(600),
        at_most: Duration::from_secs(600),
        seed: 20_261_130,
    };
    let figures = stop::run(plan, |_| {}).await?;
    assert!(figures.violations.is_empty(), "{:#?}", figures.violations);
    // And there was something to be found.
    assert!(figures.freezes >= 40 && figures.under_traffic >= 10, "{figures:?}");
    assert!(figures.withheld > 0 && figures.asked_while_stopped > 0, "{figures:?}");
    assert!(figures.thaws > 10 && figures.signatures > 100, "{figures:?}");
    let troubled = &figures.troubled;
    assert!(troubled.kills > 0 && troubled.halts > 0 && troubled.hangs > 0, "{figures:?}");
    Ok(())
}

#[tokio::test]
async fn a_signature_that_was_replied_just_before_a_kill_is_on_record() -> Result<(), Failure> {
    let vault = vault();
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    let signed = sign(&payouts, &key, &payment(0, ether(9))).await?;
    let server = server.crash_and_restart()?;

    let records = records(&vault, &server).await?;
    let place = usize::try_from(signed.sequence)? - 1;
    let record = &records[place]["record"]["signed"];
    assert_eq!(record["asked"]["digest"], signed.digest.to_string());

    // It is charged, too: 9 of 25 are gone, so 9 more fit, and then no more.
    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &key, &payment(1, ether(9))).await?;
    assert_eq!(reason(&payouts, &key, &payment(2, ether(9))).await, "OVER_WINDOW_LIMIT");
    Ok(())
}

/// Sectors of the journal's files, as `signer/src/journal/frame.rs` describes them.
const SECTOR: usize = 512;

/// The newest segment, its bytes, and where in it the batches begin.
fn newest_segment(vault: &Vault) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let files = fs::read_dir(vault.installation.data()).unwrap();
    let segments = files.map(|file| file.unwrap().path());
    let mut segments: Vec<PathBuf> =
        segments.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect();
    segments.sort();
    let path = segments.pop().expect("a segment");
    let bytes = fs::read(&path).unwrap();
    let begins = |at: &usize| bytes[*at..].starts_with(b"PCJF");
    let batches = (0..bytes.len()).step_by(SECTOR).filter(begins).collect();
    (path, bytes, batches)
}

/// Where the sectors end that have something written in them.
fn written_end(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    (last / SECTOR + 1) * SECTOR
}

/// A vault that was killed after a record of something refused, which nobody relies on.
async fn killed_after_a_refusal() -> Result<Vault, Failure> {
    let vault = vault();
    let server = vault.serve()?;
    let key = vault.hot_key(&server).await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    sign(&payouts, &key, &payment(0, ether(1))).await?;
    let refused = reason(&payouts, &key, &payment(1, ether(11))).await;
    assert_eq!(refused, "OVER_TRANSACTION_LIMIT");
    server.kill_9()?;
    Ok(vault)
}

#[tokio::test]
async fn an_incomplete_batch_at_the_end_is_cut_and_the_cut_is_recorded() -> Result<(), Failure> {
    let vault = killed_after_a_refusal().await?;
    let (path, mut bytes, batches) = newest_segment(&vault);
    let (begin, end) = (*batches.last().unwrap(), written_end(&bytes));
    assert!(end - begin >= 2 * SECTOR, "the last batch fills more than one sector");
    bytes[end - SECTOR..end].fill(0);
    fs::write(&path, bytes)?;

    let server = vault.serve()?;
    let records = records(&vault, &server).await?;
    let started = &records.last().unwrap()["record"]["started"];
    assert_eq!(started["cut"], u64::try_from(end - SECTOR - begin)?, "{started}");
    let kept = |kind: &str| records.iter().filter(|entry| !entry["record"][kind].is_null()).count();
    assert_eq!((kept("signed"), kept("denied"), kept("started")), (1, 0, 2));
    Ok(())
}

#[tokio::test]
async fn a_flipped_byte_stops_the_start_with_its_place_and_nothing_is_changed()
-> Result<(), Failure> {
    let vault = killed_after_a_refusal().await?;
    let (path, sound, batches) = newest_segment(&vault);
    // In the middle of the journal, and in the very last batch: that is damage, and no cut.
    let places = [batches[batches.len() / 2] + 100, written_end(&sound) - SECTOR + 3];
    for place in places {
        let mut bytes = sound.clone();
        bytes[place] ^= 0x20;
        fs::write(&path, &bytes)?;
        let before = vault.installation.said()?.len();
        let (status, said) = vault.installation.serve_in_vain()?;
        let said = &said[before..];
        assert_eq!(status.code(), Some(65), "{said}");
        let sector = place / SECTOR * SECTOR;
        assert!(said.contains(&format!("at byte {sector}: ")), "byte {place}: {said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(fs::read(&path)? == bytes, "the damaged journal was changed");
    }
    fs::write(&path, sound)?;
    vault.serve()?.terminate()?;
    Ok(())
}
