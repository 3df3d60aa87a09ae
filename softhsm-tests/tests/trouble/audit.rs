//! `portctl audit verify`: an export says verified, and a spoilt one does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::world::{BookText, Failure, ether, payment};
use serde_json::Value;

use crate::support::Scene;

/// A journal with something of everything, exported by the auditor with the shipped tool.
async fn export() -> Result<(Scene, PathBuf), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..3 {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1))).await, "signed");
    }
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(3, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let narrower = BookText { per_tx: "9 ETH".into(), ..BookText::default() };
    sam.adopt_book(narrower.to_string()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(4, ether(8))).await, "signed");
    sam.freeze(Scope::Key("hot".into()), "drill").await?;
    assert_eq!(scene.outcome(&payouts, &payment(5, ether(1))).await, "FROZEN");
    scene.journal().await?;

    let file = scene.vault.folder.path().join("export.jsonl");
    let ada = Leaf::client_uri("ada", "spiffe://test/people/ada");
    let ada = scene.vault.people.issue(&ada)?;
    let endpoint = format!("https://{}", scene.server.addresses().control_plane);
    let said = Command::new(place::binary("portctl")?)
        .args(["audit", "export", "-o"])
        .arg(&file)
        .args(["--endpoint", &endpoint, "--ca"])
        .arg(scene.vault.people.certificate())
        .arg("--certificate")
        .arg(&ada.certificate)
        .arg("--private-key")
        .arg(&ada.private_key)
        .current_dir(scene.vault.folder.path())
        .output()?;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Ok((scene, file))
}

/// The exit code of `audit verify`, and whether it says verified.
fn verify(file: &Path) -> Result<(i32, bool), Failure> {
    let said = Command::new(place::binary("portctl")?)
        .args(["--output", "json", "audit", "verify"])
        .arg(file)
        .output()?;
    let code = said.status.code().unwrap();
    // Damage beyond reading has no report; the exit code says it all the same.
    let verdict: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    Ok((code, verdict["verified"] == true))
}

const VERIFIED: (i32, bool) = (0, true);

/// Says so, and why it says so at the level that is wrong: form or tree, whatever else is.
fn is_not_verified((code, verified): (i32, bool)) -> bool {
    !verified && (code == 11 || code == 12)
}

#[tokio::test]
async fn an_export_of_everything_that_happened_is_verified() -> Result<(), Failure> {
    let (_scene, file) = export().await?;
    assert_eq!(verify(&file)?, VERIFIED);
    // And without its head, which is another copy of what the file itself says.
    fs::remove_file(file.with_extension("jsonl.head"))?;
    assert_eq!(verify(&file)?, VERIFIED);
    // Without the signed checkpoint it explains itself, and that is all.
    fs::remove_file(file.with_extension("jsonl.checkpoint"))?;
    assert_eq!(verify(&file)?, (9, true));
    Ok(())
}

#[tokio::test]
async fn one_changed_byte_in_any_line_is_found() -> Result<(), Failure> {
    let (_scene, file) = export().await?;
    let whole = fs::read(&file)?;
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let mut start = 0;
    for end in ends.collect::<Vec<_>>() {
        let middle = (start + end) / 2;
        let mut spoilt = whole.clone();
        spoilt[middle] = if spoilt[middle] == b'1' { b'2' } else { b'1' };
        fs::write(&file, &spoilt)?;
        assert!(is_not_verified(verify(&file)?), "byte {middle}");
        start = end + 1;
    }
    fs::write(&file, &whole)?;
    assert_eq!(verify(&file)?, VERIFIED);
    Ok(())
}

#[tokio::test]
async fn one_removed_line_is_found_wherever_it_was() -> Result<(), Failure> {
    let (_scene, file) = export().await?;
    let whole = fs::read_to_string(&file)?;
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        fs::write(&file, fewer.concat())?;
        assert!(is_not_verified(verify(&file)?), "line {at}");
    }
    Ok(())
}

#[tokio::test]
async fn two_swapped_lines_are_found() -> Result<(), Failure> {
    let (_scene, file) = export().await?;
    let whole = fs::read_to_string(&file)?;
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for at in 1..lines.len() {
        let mut swapped = lines.clone();
        swapped.swap(at - 1, at);
        fs::write(&file, swapped.concat())?;
        assert!(is_not_verified(verify(&file)?), "lines {} and {at}", at - 1);
    }
    Ok(())
}
