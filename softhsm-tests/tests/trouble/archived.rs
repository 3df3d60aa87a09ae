//! `portcullis archive` beside a signer that runs: what was moved is exported and proved as before;
//! while it is away everything else goes on, and what needs it says so.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use portcullis_client::wire::ReadJournalRequest;
use portcullis_client::{CallError, Code, Verifier};
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, Vault, ether, payment};

use crate::support::Scene;

/// Small, so that a few books fill one.
const SEGMENT_BYTES: u64 = 256 * 1024;

impl Scene {
    /// With a folder for old segments, and a journal of several.
    async fn of_segments() -> Result<(Self, PathBuf), Failure> {
        let vault = Vault::with(Through::Real, &BookText::default().to_string(), |settings| {
            settings.segment_bytes = SEGMENT_BYTES;
            settings.archive = settings.data.parent().map(|folder| folder.join("archive"));
        })?;
        let archive = vault.folder.path().join("archive");
        let scene = Self::of(vault).await?;
        let payouts = scene.payouts().await?;
        assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
        let sam = scene.vault.control(&scene.server, "sam").await?;
        for number in 0..24 {
            let padding = format!("# {number:0>100}\n").repeat(400);
            sam.adopt_book(format!("{}{padding}", BookText::default())).await?;
        }
        assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "signed");
        Ok((scene, archive))
    }

    fn archive(&self) -> Result<Output, Failure> {
        let mut command = Command::new(place::binary("portcullis")?);
        let config = self.vault.installation.config();
        Ok(command.arg("archive").arg("--config").arg(config).output()?)
    }

    /// As if one had been written that goes so far: it only has to be there by name.
    fn with_snapshot(&self, upto: u64) -> Result<(), Failure> {
        let folder = self.vault.installation.data().join("snapshots");
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("{upto:020}")), "")?)
    }

    /// How many segments lead elsewhere.
    fn links(&self) -> Result<usize, Failure> {
        let mut links = 0;
        for entry in fs::read_dir(self.vault.installation.data())? {
            links += usize::from(entry?.file_type()?.is_symlink());
        }
        Ok(links)
    }

    /// Why the journal cannot be read from here on.
    async fn unread(&self, from_sequence: u64) -> Result<Option<CallError>, Failure> {
        let ada = self.vault.control(&self.server, "ada").await?;
        let request = ReadJournalRequest { from_sequence, ..ReadJournalRequest::default() };
        let mut journal = ada.read_journal(request).await?;
        loop {
            match journal.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn segments_are_archived_beside_a_signer_that_runs_and_nothing_of_them_is_missed()
-> Result<(), Failure> {
    let (scene, archive) = Scene::of_segments().await?;
    let (code, text) = said(&scene.archive()?);
    assert!(code == Some(0) && text.contains("no snapshot was written yet"), "{text}");
    let head = scene.metric("portcullis_journal_sequence")?;
    scene.with_snapshot(head)?;
    let (code, text) = said(&scene.archive()?);
    assert!(code == Some(74) && text.contains("mount the archive, or make the folder"), "{text}");
    assert_eq!(scene.links()?, 0);
    fs::create_dir(&archive)?;
    let (code, text) = said(&scene.archive()?);
    assert!(code == Some(0) && text.contains("segments (") && text.contains(" stay"), "{text}");
    let links = scene.links()?;
    assert!(links >= 2, "{text}");

    // It is read, proved and verified as before, and by a signer that starts anew.
    scene.journal().await?;
    let scene = scene.stop_and_start().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, ether(1))).await, "signed");
    scene.journal().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let journal = Verifier::parse(&sam.checkpoint(0).await?.verifier_key)?;
    let oldest = scene.held().remove(0);
    let proved = payouts.receipt(oldest.sequence, oldest.leaf_hash, &journal).await?;
    assert!(proved.checkpoint.size > oldest.sequence);
    Ok(())
}

#[tokio::test]
async fn while_the_archive_is_away_signing_goes_on_and_whatever_needs_it_says_what_to_do()
-> Result<(), Failure> {
    let (scene, archive) = Scene::of_segments().await?;
    fs::create_dir(&archive)?;
    let head = scene.metric("portcullis_journal_sequence")?;
    scene.with_snapshot(head)?;
    assert_eq!(said(&scene.archive()?).0, Some(0));
    let aside = archive.with_extension("aside");
    fs::rename(&archive, &aside)?;

    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, ether(1))).await, "signed");
    let newest = scene.held().last().map(|signed| signed.sequence).ok_or("nothing is held")?;
    assert!(scene.unread(newest).await?.is_none());
    let Some(CallError::Refused(refusal)) = scene.unread(1).await? else { panic!() };
    assert_eq!(
        (refusal.code(), refusal.reason()),
        (Code::FailedPrecondition, Some("JOURNAL_ARCHIVED"))
    );
    let (code, text) = said(&scene.archive()?);
    assert!(code == Some(74) && text.contains("mount the archive"), "{text}");

    // No snapshot here is one that counts: as after an upgrade the whole journal is read.
    let Scene { vault, server, .. } = scene;
    server.terminate()?;
    let (status, text) = vault.installation.serve_in_vain()?;
    assert!(status.code() == Some(65) && text.contains("mount the archive"), "{text}");
    fs::rename(&aside, &archive)?;
    let server = vault.serve()?;
    assert!(!vault.export(&server).await?.is_empty());
    let sam = vault.control(&server, "sam").await?;
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().all(|line| !line.contains("archive")), "{troubles:?}");
    Ok(())
}
