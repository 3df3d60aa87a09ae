//! A vault that is put back from copies on another machine: what starts, what is stopped, and what
//! is refused. The runbook is `docs/runbooks/restore.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{GetStatusResponse, KeyState};
use portcullis_client::{Client, ControlClient, KeyRef};
use portcullis_softhsm_tests::folder::copy;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::server::{Installation, Server};
use portcullis_softhsm_tests::token::{Through, Token};
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, Vault, ether, governed_book, payment, reason, sign as signed_by,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mission::execute;
use crate::requests::scene;
use crate::support::{Scene, eventually};

/// What an operator takes: in this order, so that nothing speaks of records that are not in it.
struct Backup {
    folder: TempDir,
}

impl Backup {
    /// The token first, then what says how far the journal had come, then the journal.
    fn take(vault: &Vault) -> Result<Self, Failure> {
        let backup = Self { folder: tempfile::tempdir()? };
        let data = vault.installation.data();
        fs::create_dir(backup.data())?;
        copied(&[vault.token.objects()], &backup.token())?;
        copied(&[data.join("checkpoints")], &backup.data())?;
        copied(&segments(data)?, &backup.data())?;
        copied(&[vault.installation.config().to_owned()], backup.folder.path())?;
        Ok(backup)
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// On another machine: a folder, a token and a configuration of its own.
    fn restore(&self, vault: &Vault) -> Result<Elsewhere, Failure> {
        self.restore_with(vault, &self.token())
    }

    /// The same with the token of another time.
    fn restore_with(&self, vault: &Vault, objects: &Path) -> Result<Elsewhere, Failure> {
        let (folder, token) = (tempfile::tempdir()?, Token::fresh(Through::Real)?);
        fs::remove_dir_all(token.objects())?;
        copy(objects, &token.objects())?;
        copy(&self.data(), &folder.path().join("data"))?;
        // The same settings but for where things are now.
        let mut settings = vault.settings.clone();
        settings.data = folder.path().join("data");
        settings.hsm.pin_file = token.pin_file();
        let installation = Installation::new(folder.path(), &settings, &token)?;
        Ok(Elsewhere { installation, folder, token })
    }
}

/// As the runbook says.
fn copied(from: &[PathBuf], to: &Path) -> Result<(), Failure> {
    let done = Command::new("cp").arg("-a").args(from).arg(to).output()?;
    assert!(done.status.success(), "{}", said(&done));
    Ok(())
}

fn segments(data: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A machine with what was put back.
struct Elsewhere {
    installation: Installation,
    folder: TempDir,
    token: Token,
}

impl Elsewhere {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn serve(&self) -> Result<Server, Failure> {
        assert!(self.token.objects().exists());
        Ok(self.installation.serve()?)
    }

    /// How a start ends that must not come up, and what it says.
    fn fails(&self) -> Result<(Option<i32>, String), Failure> {
        let (status, said) = self.installation.serve_in_vain()?;
        Ok((status.code(), said))
    }
}

async fn control(vault: &Vault, server: &Server, who: &str) -> Result<ControlClient, Failure> {
    vault.control(server, who).await
}

async fn status(vault: &Vault, server: &Server) -> Result<GetStatusResponse, Failure> {
    Ok(control(vault, server, "sam").await?.status().await?)
}

/// What the shipped tool says of an export of this signer, and where that is.
fn verified(vault: &Vault, server: &Server, folder: &Path) -> Result<(Value, PathBuf), Failure> {
    let ada = vault.person(server, "ada")?;
    let file = folder.join("export.jsonl");
    let exported = Command::new(place::binary("portctl")?)
        .args(["audit", "export", "-o"])
        .arg(&file)
        .args(["--endpoint", &ada.endpoint, "--ca"])
        .arg(&ada.ca)
        .arg("--certificate")
        .arg(&ada.certificate)
        .arg("--private-key")
        .arg(&ada.private_key)
        .current_dir(folder)
        .output()?;
    assert!(exported.status.success(), "{}", said(&exported));
    let judged = Command::new(place::binary("portctl")?)
        .args(["--output", "json", "audit", "verify"])
        .arg(&file)
        .output()?;
    // 9: nothing is wrong, and the last records are not under a checkpoint yet.
    assert!(matches!(judged.status.code(), Some(0 | 9)), "{}", said(&judged));
    Ok((serde_json::from_slice(&judged.stdout)?, file))
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(err), String::from_utf8_lossy(out))
}

/// Puts a little of the window to use.
async fn pay(client: &Client, key: &KeyRef, nonces: std::ops::Range<u64>) -> Result<(), Failure> {
    for nonce in nonces {
        signed_by(client, key, &payment(nonce, ether(1) / U256_TEN)).await?;
    }
    Ok(())
}

const U256_TEN: alloy_primitives::U256 = alloy_primitives::U256::from_limbs([10, 0, 0, 0]);

async fn stopped(scene: Scene) -> Result<(Vault, KeyRef), Failure> {
    let Scene { vault, server, key, .. } = scene;
    let ended = tokio::task::spawn_blocking(move || server.terminate()).await??;
    assert!(ended.success(), "{ended}");
    Ok((vault, key))
}

#[tokio::test]
async fn what_was_copied_while_it_was_stopped_goes_on_elsewhere_as_if_nothing_was()
-> Result<(), Failure> {
    let book = BookText { window: "\"0.5 ETH / 1h\"".into(), ..governed_book() };
    let scene = Scene::of(Vault::governed(Through::Real, &book.to_string())?).await?;
    let payouts = scene.payouts().await?;
    pay(&payouts, &scene.key, 0..3).await?;
    let vault_id = scene.status().await?.vault_id;
    let (vault, key) = stopped(scene).await?;
    let backup = Backup::take(&vault)?;
    // The first machine burns down.
    fs::remove_dir_all(vault.installation.data())?;
    fs::remove_dir_all(vault.token.objects())?;

    let elsewhere = backup.restore(&vault)?;
    let server = elsewhere.serve()?;
    let now = status(&vault, &server).await?;
    assert_eq!(now.vault_id, vault_id);
    assert_eq!((now.serving, now.frozen.len()), (true, 0), "{now:?}");
    let payouts = vault.client(&server, PAYOUTS).await?;
    pay(&payouts, &key, 3..4).await?;
    // What was signed before still counts.
    let more = payment(4, ether(2) / U256_TEN);
    assert_eq!(reason(&payouts, &key, &more).await, "OVER_WINDOW_LIMIT");
    let (report, _) = verified(&vault, &server, elsewhere.folder.path())?;
    assert_eq!(report["verified"], true, "{report}");
    Ok(())
}

/// A copy that is taken while the signer writes is worth an older journal, or nothing: it never
/// says anything else than what was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_while_it_ran_is_an_older_part_of_the_same_journal_or_is_refused()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let busy = Arc::new(AtomicBool::new(true));
    let load = tokio::spawn({
        let (payouts, key, busy) = (payouts, scene.key, busy.clone());
        async move {
            let mut nonce = 0;
            while busy.load(Ordering::Relaxed) {
                let small = payment(nonce, alloy_primitives::U256::from(1));
                signed_by(&payouts, &key, &small).await.unwrap();
                nonce += 1;
            }
            nonce
        }
    });
    let mut backups = Vec::new();
    for least in [5, 15, 25] {
        eventually("some to be signed", async || {
            Ok(scene.metric("portcullis_signed_total")? >= least)
        })
        .await?;
        backups.push(Backup::take(&scene.vault)?);
    }
    busy.store(false, Ordering::Relaxed);
    assert!(load.await? >= 25);
    scene.settled().await?;
    // And one of a signer that runs, and has nothing to do.
    let last = scene.status().await?.sequence;
    backups.push(Backup::take(&scene.vault)?);
    let (report, whole) = verified(&scene.vault, &scene.server, scene.vault.folder.path())?;
    assert_eq!(report["verified"], true, "{report}");
    let whole = fs::read_to_string(whole)?;
    let (vault, _) = stopped(scene).await?;

    let mut came_to = Vec::new();
    for backup in backups {
        let elsewhere = backup.restore(&vault)?;
        match elsewhere.installation.serve() {
            Ok(server) => came_to.push(older_part(&vault, &server, &elsewhere, &whole).await?),
            Err(error) => {
                let (code, said) = elsewhere.fails()?;
                assert_eq!(code, Some(65), "{error}: {said}");
                came_to.push(0);
            }
        }
    }
    assert!(came_to.is_sorted_by(|one, next| *one == 0 || *next == 0 || one <= next));
    assert!(came_to[3] >= last, "nothing was being written: {came_to:?} of {last}");
    Ok(())
}

/// How many records of the whole journal it goes on from.
async fn older_part(
    vault: &Vault,
    server: &Server,
    elsewhere: &Elsewhere,
    whole: &str,
) -> Result<u64, Failure> {
    let (report, file) = verified(vault, server, elsewhere.folder.path())?;
    assert_eq!(report.get("verified"), Some(&true.into()), "{report}");
    let text = fs::read_to_string(file)?;
    let same = whole.lines().zip(text.lines()).take_while(|(one, other)| one == other).count();
    let own = text.lines().nth(same).ok_or("it holds nothing of its own")?;
    assert!(own.contains("\"started\""), "it goes on with its own start: {own}");
    assert_eq!(status(vault, server).await?.frozen.len(), 0, "the token had heard of no more");
    Ok(u64::try_from(same)?)
}

#[tokio::test]
async fn an_older_journal_on_the_token_of_today_starts_with_everything_stopped()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    pay(&payouts, &scene.key, 0..1).await?;
    let (vault, key) = stopped(scene).await?;
    let backup = Backup::take(&vault)?;
    let server = vault.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    pay(&payouts, &key, 1..3).await?;
    tokio::task::spawn_blocking(move || server.terminate()).await??;

    let elsewhere = backup.restore_with(&vault, &vault.token.objects())?;
    let server = elsewhere.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    assert_eq!(reason(&payouts, &key, &payment(3, ether(1) / U256_TEN)).await, "FROZEN");
    let now = status(&vault, &server).await?;
    assert!(matches!(now.frozen[0].scope, Some(Scope::All(true))), "{now:?}");
    let told = now.troubles.iter().any(|line| line.contains("the data folder is from before"));
    assert!(told, "{:?}", now.troubles);
    let (report, _) = verified(&vault, &server, elsewhere.folder.path())?;
    assert_eq!(report["verified"], true, "{report}");

    // People compare it with the chain, and start it again.
    let sam = control(&vault, &server, "sam").await?;
    let thaw = json!({ "thaw": { "scope": "all" } }).to_string();
    let proposal = sam.propose(&thaw, "compared with the chain").await?;
    for name in ["sue", "sid"] {
        let voter = control(&vault, &server, name).await?;
        vault.pens.vote(&voter, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await?;
    eventually("it to sign again", async || {
        let again = reason(&payouts, &key, &payment(3, ether(1) / U256_TEN)).await;
        Ok(again == "signed")
    })
    .await
}

#[tokio::test]
async fn without_its_checkpoints_everything_is_stopped_and_without_its_journal_nothing_starts()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    pay(&payouts, &scene.key, 0..1).await?;
    let (vault, key) = stopped(scene).await?;
    let backup = Backup::take(&vault)?;

    let without = backup.restore(&vault)?;
    fs::remove_file(without.data().join("checkpoints"))?;
    let server = without.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    assert_eq!(reason(&payouts, &key, &payment(1, ether(1) / U256_TEN)).await, "FROZEN");
    let (report, _) = verified(&vault, &server, without.folder.path())?;
    assert_eq!(report["verified"], true, "{report}");

    let empty = backup.restore(&vault)?;
    for path in segments(&empty.data())? {
        fs::remove_file(path)?;
    }
    let (code, said) = empty.fails()?;
    assert_eq!(code, Some(65), "{said}");
    assert!(segments(&empty.data())?.is_empty(), "a fresh one was made: {said}");
    Ok(())
}

#[tokio::test]
async fn on_a_token_from_before_a_key_was_made_that_key_is_stopped_and_others_sign()
-> Result<(), Failure> {
    let book = governed_book().to_string();
    let cold = book[book.find("[key.hot]").ok_or("no rules")?..].replace("[key.hot]", "[key.cold]");
    let vault = Vault::governed(Through::Real, &format!("{book}\n{cold}"))?;
    let scene = Scene::of(vault).await?;
    let (vault, hot) = stopped(scene).await?;
    let before = vault.folder.path().join("objects-before");
    copy(&vault.token.objects(), &before)?;
    let server = vault.serve()?;
    let cold = vault.key(&server, "cold").await?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    pay(&payouts, &cold, 0..1).await?;
    tokio::task::spawn_blocking(move || server.terminate()).await??;

    let elsewhere = Backup::take(&vault)?.restore_with(&vault, &before)?;
    let server = elsewhere.serve()?;
    let payouts = vault.client(&server, PAYOUTS).await?;
    assert_eq!(reason(&payouts, &cold, &payment(1, ether(1) / U256_TEN)).await, "FROZEN");
    let shown = control(&vault, &server, "sam").await?.key("cold").await?;
    assert_eq!(shown.state(), KeyState::Frozen);
    assert!(shown.trouble.contains("absent from the token"), "{shown:?}");
    pay(&payouts, &hot, 0..1).await?;
    let (report, _) = verified(&vault, &server, elsewhere.folder.path())?;
    assert_eq!(report["verified"], true, "{report}");
    Ok(())
}
