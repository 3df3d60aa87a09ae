//! Checkpoints: every record comes under one, whoever asked gets the receipt of their own, and a
//! journal that is shorter than its checkpoint, or another one, is not started from.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Answer, Checkpoint, Client, ReceiptError, Verifier};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::wait;
use portcullis_softhsm_tests::world::{BookText, Failure, ether, payment};

use crate::support::{REPORTS, Scene};

/// Who signs this journal, as a person would read it.
async fn journal_of(scene: &Scene) -> Result<Verifier, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let journal = sam.checkpoint(0).await?.verifier_key;
    assert!(journal.starts_with("portcullis/"), "{journal}");
    Ok(Verifier::parse(&journal)?)
}

async fn pay(scene: &Scene, client: &Client, nonce: u64) -> Result<(u64, [u8; 32]), Failure> {
    let id = client.new_request_id();
    let preimage = payment(nonce, ether(1));
    match client.sign_transaction(&scene.key, &id, &preimage).await? {
        Answer::Signed(signed) => Ok((signed.sequence, signed.leaf_hash.0)),
        Answer::Parked(parked) => panic!("{parked:?}"),
    }
}

/// How many records are under the newest checkpoint.
async fn attested(scene: &Scene) -> Result<u64, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    Ok(sam.checkpoint(0).await?.size)
}

#[tokio::test]
async fn a_caller_gets_the_receipt_of_its_own_records_and_of_no_others() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let (payouts, reports) =
        (scene.payouts().await?, scene.vault.client(&scene.server, REPORTS).await?);
    let (sequence, leaf) = pay(&scene, &payouts, 0).await?;
    let journal = journal_of(&scene).await?;
    let proved = payouts.receipt(sequence, leaf.into(), &journal).await?;
    assert!(proved.checkpoint.size >= sequence);
    let record = String::from_utf8(proved.record)?;
    assert!(record.contains("\"signed\"") && record.contains(&format!("\"seq\":{sequence}")));
    assert!(proved.receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{}", proved.receipt);

    // Nobody else's, none of the vault's own, none that is not there.
    for (client, at) in [(&reports, sequence), (&payouts, 1), (&payouts, 0), (&payouts, 10_000)] {
        let refused = client.receipt(at, leaf.into(), &journal).await;
        let Err(ReceiptError::Call(refused)) = refused else { panic!("{at}: {refused:?}") };
        assert!(refused.to_string().contains("no record is called"), "{refused}");
    }
    // A reply that lied about its record, and a key that is not the journal's.
    let lied = payouts.receipt(sequence, [9; 32].into(), &journal).await;
    assert!(matches!(lied, Err(ReceiptError::Leaf { .. })), "{lied:?}");
    let last = if journal.name.ends_with('0') { '1' } else { '0' };
    let name = format!("{}{last}", &journal.name[..journal.name.len() - 1]);
    let other = Verifier { name, ..journal };
    let other = payouts.receipt(sequence, leaf.into(), &other).await;
    assert!(matches!(other, Err(ReceiptError::Receipt(_))), "{other:?}");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn every_record_comes_under_a_checkpoint_that_continues_the_last() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let first = sam.checkpoint(0).await?;
    for nonce in 0..5 {
        pay(&scene, &payouts, nonce).await?;
    }
    let stop = sam.freeze(Scope::All(true), "drill").await?.sequence;
    let newest = wait::until_async("the stop is under a checkpoint", async || {
        let newest = sam.checkpoint(first.size).await.ok()?;
        (newest.size >= stop).then_some(newest)
    })
    .await?;
    assert!(!newest.consistency_proof.is_empty());
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let after = sam.checkpoint(newest.size).await?;
    assert!(after.size > newest.size, "the start is under one, too");
    assert_eq!(after.verifier_key, first.verifier_key);
    let troubles = sam.status().await?.troubles;
    assert!(!troubles.iter().any(|trouble| trouble.contains("checkpoint")), "{troubles:?}");
    scene.journal().await?;
    Ok(())
}

/// The journal's only segment.
fn segment(scene: &Scene) -> PathBuf {
    scene.vault.installation.data().join(format!("{:020}.journal", 1))
}

/// Sets the last batch of the journal to zero: as if its sync had been a lie.
fn lose_the_last_batch(path: &PathBuf) {
    let bytes = fs::read(path).unwrap();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let sectors = end.div_ceil(512);
    // A batch begins with a sector that says so; this is the last of those.
    let start = (0..sectors).rev().map(|sector| sector * 512);
    let magic = &bytes[..4];
    let start = start.clone().find(|at| bytes[*at..].starts_with(magic)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; sectors * 512 - start], u64::try_from(start).unwrap()).unwrap();
    file.sync_all().unwrap();
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_its_checkpoint_is_not_started_from() -> Result<(), Failure>
{
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let (sequence, _) = pay(&scene, &payouts, 0).await?;
    wait::until_async("the signature is under a checkpoint", async || {
        (attested(&scene).await.ok()? >= sequence).then_some(())
    })
    .await?;
    let path = segment(&scene);
    let data = scene.vault.installation.data().to_owned();
    let Scene { vault, server, .. } = scene;
    server.kill_9()?;
    lose_the_last_batch(&path);
    let (status, said) = vault.installation.serve_in_vain()?;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("records are lost"), "{said}");
    // Nothing was changed by the attempt: it ends the same way again.
    assert_eq!(vault.installation.serve_in_vain()?.0.code(), Some(65));

    // Whoever has no other copy takes the file away, and looks at it before anything is signed.
    fs::remove_file(data.join("checkpoints"))?;
    let server = vault.serve()?;
    let sam = vault.control(&server, "sam").await?;
    let status = sam.status().await?;
    assert_eq!(status.frozen.len(), 1, "{status:?}");
    assert!(matches!(status.frozen[0].scope, Some(Scope::All(true))), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_of_another_journal_or_a_spoiled_one_is_not_started_from()
-> Result<(), Failure> {
    let (scene, other) =
        (Scene::new(BookText::default()).await?, Scene::new(BookText::default()).await?);
    let file = |scene: &Scene| scene.vault.installation.data().join("checkpoints");
    let (path, others) = (file(&scene), file(&other));
    attested(&scene).await?;
    attested(&other).await?;
    let Scene { vault, server, .. } = scene;
    server.kill_9()?;
    other.server.kill_9()?;
    let own = fs::read(&path)?;
    fs::write(&path, fs::read(&others)?)?;
    let (status, said) = vault.installation.serve_in_vain()?;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("holds other records than its checkpoint"), "{said}");
    let mut spoiled = own.clone();
    for place in [100, 8 * 1024 + 100] {
        spoiled[place] ^= 1;
    }
    fs::write(&path, &spoiled)?;
    let (status, said) = vault.installation.serve_in_vain()?;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("is damaged"), "{said}");
    fs::write(&path, &own)?;
    let server = vault.serve()?;
    let sam = vault.control(&server, "sam").await?;
    assert!(sam.status().await?.frozen.is_empty());
    let checkpoint = sam.checkpoint(0).await?.checkpoint;
    let text = checkpoint.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
    assert!(Checkpoint::parse(&text.unwrap())?.size > 2);
    Ok(())
}

async fn a_token_signs_no_checkpoints(fault: &str) -> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let covers = async |at: u64| {
        let newest = sam.checkpoint(0).await.ok()?;
        (newest.size >= at).then_some(())
    };
    let before = sam.status().await?.sequence;
    wait::until_async("all until now is under a checkpoint", async || covers(before).await).await?;

    let faults = scene.vault.token.faults()?;
    let hung = faults.calls("C_Sign:EdDSA")?;
    faults.set(&[&format!("C_Sign:EdDSA {fault}")])?;
    let (signed, _) = pay(&scene, &payouts, 0).await?;
    wait::until("the token is asked for a checkpoint", || {
        faults.calls("C_Sign:EdDSA").ok().filter(|calls| *calls > hung)
    })?;
    // Requests go on, a stop is acknowledged, and nothing above the last checkpoint has a receipt.
    pay(&scene, &payouts, 1).await?;
    let frozen = sam.freeze(Scope::All(true), "drill").await?;
    assert!(frozen.recorded);
    let refused = sam.prove_record(signed).await.unwrap_err();
    assert!(refused.to_string().contains("not under a signed checkpoint yet"), "{refused}");
    assert!(sam.status().await?.serving);

    faults.clear()?;
    wait::until_async("it is signed after all", async || covers(frozen.sequence).await).await?;
    scene.journal().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_refuses_checkpoints_keeps_nobody_from_signing_or_stopping()
-> Result<(), Failure> {
    a_token_signs_no_checkpoints("error 0x30").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_hangs_in_a_checkpoint_keeps_nobody_from_signing_or_stopping()
-> Result<(), Failure> {
    a_token_signs_no_checkpoints("hang").await
}
