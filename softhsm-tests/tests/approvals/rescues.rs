//! `portcullis rescue`: straight on a real token while the signer is down or not trusted, and what
//! the signer makes of it afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alloy_primitives::B256;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_softhsm_tests::people::RESCUE;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::probe::Probe;
use portcullis_softhsm_tests::token::{Through, write_secret};
use portcullis_softhsm_tests::world::{Failure, Vault, governed_book, payment};
use serde_json::{Value, json};

use crate::fence::until;
use crate::mission::execute;
use crate::support::{Scene, eventually};

const WHY: &str = "the host is not ours any more";

/// Runs it with the PIN from this file.
fn rescue_with(vault: &Vault, pin: &Path, arguments: &[&str]) -> Result<Output, Failure> {
    let done = Command::new(place::binary("portcullis")?)
        .arg("rescue")
        .args(arguments)
        .args([Path::new("--config"), vault.installation.config(), Path::new("--pin-file"), pin])
        .args(["--reason", WHY])
        .envs(vault.token.environment())
        .output()?;
    Ok(done)
}

/// The same PIN as the signer's, in a file of its holder.
fn holders_pin(vault: &Vault) -> Result<PathBuf, Failure> {
    let path = vault.folder.path().join("holders-pin");
    write_secret(&path, vault.token.pin())?;
    Ok(path)
}

fn rescue(vault: &Vault, arguments: &[&str]) -> Result<Output, Failure> {
    rescue_with(vault, &holders_pin(vault)?, arguments)
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn notes(vault: &Vault) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(vault.installation.data().join("rescue"))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    paths
}

/// As the rescue says to.
fn sign(vault: &Vault, place: &Path, person: &str) -> Result<(), Failure> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", RESCUE, "-f"]).arg(vault.pens.key(person)?);
    let done = command.arg(place.join("statement.txt")).output()?;
    assert!(done.status.success(), "{}", text(&done));
    Ok(())
}

async fn scene() -> Result<Scene, Failure> {
    Scene::of(Vault::governed(Through::Real, &governed_book().to_string())?).await
}

async fn attention(scene: &Scene) -> Result<Vec<String>, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let troubles = sam.status().await?.troubles;
    Ok(troubles.into_iter().filter(|line| line.contains("key") || line.contains("note")).collect())
}

#[tokio::test]
async fn a_key_that_was_fenced_on_the_token_is_frozen_by_the_signed_note_once()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    let mut other = Probe::start(&scene.vault.token)?;
    other.ask("hold hot")?;
    let scene = scene.while_down(|vault| {
        let done = rescue(vault, &["fence", "hot", "--by", "sam"])?;
        assert!(done.status.success(), "{}", text(&done));
        let said = text(&done);
        assert!(said.contains("it may not sign: read back"), "{said}");
        assert!(said.contains("ssh-keygen -Y sign -n rescue.v1@portcullis -f KEY"), "{said}");
        let places = notes(vault)?;
        assert_eq!(places.len(), 1);
        sign(vault, &places[0], "sam")
    });
    let scene = scene.await?;
    let refused = other.ask(&format!("sign-held {}", hex::encode(B256::ZERO)));
    assert!(refused.unwrap_err().to_string().contains("KeyFunctionNotPermitted"));

    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    until(&sam, "hot", FenceState::Fenced).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "FROZEN");
    assert_eq!(attention(&scene).await?, [""; 0], "what was done is known, and no drift");
    let journal = scene.journal().await?;
    let frozen = journal.of("frozen");
    assert_eq!(frozen.len(), 1, "{frozen:?}");
    assert_eq!(frozen[0]["by"]["rescue"]["note"]["by"], "sam");
    assert_eq!(frozen[0]["reason"], WHY);

    // A quorum lets it sign again; the note, which still lies there, does not stop it once more.
    let thaw = json!({ "thaw": { "scope": { "key": scene.key.id.to_string() } } });
    let proposal = sam.propose(&thaw.to_string(), "the host is ours again").await?;
    for name in ["sue", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await?;
    until(&sam, "hot", FenceState::Open).await?;
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(2, 1.try_into()?)).await, "signed");
    assert_eq!(scene.journal().await?.count("frozen"), 1);
    Ok(())
}

#[tokio::test]
async fn an_unsigned_or_foreign_note_is_said_and_the_fenced_key_is_frozen_all_the_same()
-> Result<(), Failure> {
    let scene = scene().await?;
    let scene = scene.while_down(|vault| {
        let done = rescue(vault, &["fence", "--all", "--by", "sam"])?;
        assert!(done.status.success(), "{}", text(&done));
        let places = notes(vault)?;
        // By somebody who may not; and beside it what is no note, and one of another vault's key.
        sign(vault, &places[0], "alan")?;
        let folder = vault.installation.data().join("rescue");
        fs::create_dir_all(folder.join("junk"))?;
        fs::write(folder.join("junk/note.json"), "{}")?;
        fs::create_dir_all(folder.join("other"))?;
        let note = fs::read_to_string(places[0].join("note.json"))?;
        let mut note: Value = serde_json::from_str(&note)?;
        note["key"] = json!("ab".repeat(16));
        fs::write(folder.join("other/note.json"), note.to_string())?;
        // Whatever could hang, be endless, or have the PIN told.
        for (name, target) in [("endless", "/dev/zero"), ("pin", "../../pin")] {
            fs::create_dir_all(folder.join(name))?;
            symlink(target, folder.join(name).join("note.json"))?;
        }
        fs::create_dir_all(folder.join("pipe"))?;
        let made = Command::new("mkfifo").arg(folder.join("pipe/note.json")).status()?;
        assert!(made.success());
        symlink(&places[0], folder.join("linked"))?;
        fs::create_dir_all(folder.join("number"))?;
        fs::write(folder.join("number/note.json"), vault.token.pin())?;
        Ok(())
    });
    let scene = scene.await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    let said = attention(&scene).await?.join("\n");
    assert!(said.contains("sam has not signed it: ssh-keygen -Y sign"), "{said}");
    assert!(said.contains("is no note of a rescue"), "{said}");
    assert!(said.contains("which this vault does not have"), "{said}");
    assert!(said.contains("it is not a regular file") && said.contains("cannot be read"), "{said}");
    assert!(!said.contains(scene.vault.token.pin()) && !said.contains("linked"), "{said}");
    let journal = scene.journal().await?;
    let frozen = journal.of("frozen");
    assert_eq!((frozen.len(), &frozen[0]["by"]), (1, &json!("signer")), "{frozen:?}");

    // Signed later, it is taken in by the next start.
    let scene = scene.while_down(|vault| {
        let own = notes(vault)?.into_iter().find(|path| path.join("statement.txt").exists());
        let own = own.ok_or("a note")?;
        fs::remove_file(own.join("statement.txt.sig"))?;
        sign(vault, &own, "sam")
    });
    let journal = scene.await?.journal().await?;
    assert_eq!(journal.of("frozen")[1]["by"]["rescue"]["note"]["deed"], "fence");
    Ok(())
}

#[tokio::test]
async fn a_key_that_was_removed_from_the_token_is_frozen_and_can_be_ended_in_the_journal()
-> Result<(), Failure> {
    let scene = scene().await?;
    let scene = scene.while_down(|vault| {
        let asked = rescue(vault, &["destroy", "hot", "--by", "sam"])?;
        assert_eq!(asked.status.code(), Some(64), "without --yes: {}", text(&asked));
        let done = rescue(vault, &["destroy", "hot", "--by", "sam", "--yes"])?;
        assert!(done.status.success(), "{}", text(&done));
        assert!(text(&done).contains("gone: 2 objects removed, none found"), "{}", text(&done));
        let again = rescue(vault, &["destroy", "hot", "--by", "sam", "--yes"])?;
        assert_eq!(again.status.code(), Some(64), "{}", text(&again));
        assert!(text(&again).contains("the token has no key \"hot\". It has: none"));
        sign(vault, &notes(vault)?[0], "sam")
    });
    let scene = scene.await?;
    let mut other = Probe::start(&scene.vault.token)?;
    assert!(other.ask("hold hot").is_err(), "another process finds nothing either");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    let journal = scene.journal().await?;
    let frozen = journal.of("frozen");
    assert_eq!(frozen.len(), 1, "its absence is explained: {frozen:?}");
    assert_eq!(frozen[0]["by"]["rescue"]["note"]["deed"], "destroy");
    assert!(attention(&scene).await?.iter().any(|line| line.contains("absent from the token")));

    // The journal gets its tombstone by the same two quorums as always.
    for act in ["revoke", "destroy"] {
        let act = json!({ act: { "key": scene.key.id.to_string() } });
        let proposal = sam.propose(&act.to_string(), "it is gone").await?;
        for name in ["sue", "sid", "alan"] {
            let control = scene.vault.control(&scene.server, name).await?;
            if control.approval(&proposal.id).await?.asks_you {
                scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
            }
        }
        execute(&sam, &proposal.id).await?;
    }
    eventually("the tombstone", async || Ok(sam.key("hot").await?.state() == KeyState::Destroyed))
        .await?;
    assert_eq!(attention(&scene).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_rescue_takes_the_pin_of_its_holder_and_names_what_is_wrong() -> Result<(), Failure> {
    let scene = scene().await?;
    let vault = &scene.vault;
    let own = rescue_with(vault, &vault.token.pin_file(), &["fence", "hot", "--by", "sam"])?;
    assert_eq!(own.status.code(), Some(64), "{}", text(&own));
    assert!(text(&own).contains("is the signer's own PIN file"), "{}", text(&own));
    let wrong = vault.folder.path().join("wrong-pin");
    write_secret(&wrong, "0000000")?;
    let refused = rescue_with(vault, &wrong, &["fence", "hot", "--by", "sam"])?;
    assert_eq!(refused.status.code(), Some(69), "{}", text(&refused));
    for (arguments, code, says) in [
        (vec!["fence", "--by", "sam"], 64, "say which keys"),
        (vec!["fence", "hto", "--by", "sam"], 64, "the token has no key \"hto\". It has: \"hot\""),
        (vec!["fence", "hot", "--all", "--by", "sam"], 64, "cannot be used with"),
        (vec!["fence", "hot", "--by", "Sam!"], 64, "1 to 64 of a-z, 0-9 and -"),
        (
            vec!["fence", "hot", "--by", "sam", "--notes", "/proc/nowhere"],
            74,
            "name another folder",
        ),
    ] {
        let done = rescue(vault, &arguments)?;
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", text(&done));
        assert!(text(&done).contains(says), "{arguments:?}: {}", text(&done));
    }
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed", "untouched");

    // While the signer runs, and is not trusted: the token refuses it, and it stops by itself.
    let folder = vault.folder.path().join("elsewhere");
    let fenced =
        rescue(vault, &["fence", "hot", "--by", "sam", "--notes", &folder.to_string_lossy()])?;
    assert!(fenced.status.success(), "{}", text(&fenced));
    assert_ne!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "signed");
    assert_eq!(fs::read_dir(&folder)?.count(), 1, "the note is where it was told to be");
    Ok(())
}
