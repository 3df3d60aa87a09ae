//! The end of a key on a real token: removed after its delay, proved to be gone, and not brought
//! back by a copy of the token or of the data folder.

use std::path::Path;

use alloy_primitives::B256;
use portcullis_client::ControlClient;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyRemoval, KeyState, RemovalGrade};
use portcullis_softhsm_tests::folder::copy;
use portcullis_softhsm_tests::probe::Probe;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, PAYOUTS, Vault, governed_book, payment, reason};
use serde_json::json;

use crate::fence::until;
use crate::mission::execute;
use crate::support::{Scene, call_refused, eventually};

/// A vault whose operator says that there is a copy of its token.
async fn scene(through: Through) -> Result<Scene, Failure> {
    let mut vault = Vault::governed(through, &governed_book().to_string())?;
    vault.settings.hsm.backups = vec!["tape 7, in the safe".into()];
    vault.installation.configure(&vault.settings)?;
    Scene::of(vault).await
}

/// Proposes, lets security and an approver vote, and executes.
async fn pass(scene: &Scene, act: serde_json::Value) -> Result<u64, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let proposal = sam.propose(&act.to_string(), "it has done its work").await?;
    for name in ["sue", "sid", "alan"] {
        let control = scene.vault.control(&scene.server, name).await?;
        let asked = control.approval(&proposal.id).await?.asks_you;
        if asked {
            scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
        }
    }
    execute(&sam, &proposal.id).await
}

async fn revoked(scene: &Scene) -> Result<(), Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "it has done its work").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    pass(scene, json!({ "revoke": { "key": scene.key.id.to_string() } })).await.map(drop)
}

fn destroy(scene: &Scene) -> serde_json::Value {
    json!({ "destroy": { "key": scene.key.id.to_string() } })
}

async fn removal(sam: &ControlClient) -> Result<KeyRemoval, Failure> {
    Ok(sam.key("hot").await?.removal.ok_or("no removal")?)
}

/// What needs attention and is about keys: not how the machine is set up.
async fn of_keys(sam: &ControlClient) -> Result<Vec<String>, Failure> {
    let troubles = sam.status().await?.troubles;
    Ok(troubles.into_iter().filter(|line| line.contains("key")).collect())
}

async fn gone(sam: &ControlClient) -> Result<KeyRemoval, Failure> {
    eventually("the key to be gone", async || Ok(removal(sam).await?.gone)).await?;
    removal(sam).await
}

#[tokio::test]
async fn a_revoked_key_is_destroyed_after_its_delay_and_proved_to_be_gone() -> Result<(), Failure> {
    let scene = scene(Through::Real).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let refused = call_refused(sam.propose(&destroy(&scene).to_string(), "too early").await);
    assert_eq!(refused.reason(), Some("KEY_NOT_REVOKED"), "{refused:?}");
    revoked(&scene).await?;

    let proposal = sam.propose(&destroy(&scene).to_string(), "it has done its work").await?;
    let early = call_refused(sam.execute(&proposal.id).await);
    assert_eq!(early.reason(), Some("QUORUM_NOT_MET"), "{early:?}");
    pass(&scene, destroy(&scene)).await?;
    let removal = gone(&sam).await?;
    assert_eq!((removal.objects, removal.proves()), (2, RemovalGrade::Unlinked));
    assert!(removal.token.contains("SoftHSM"), "{removal:?}");
    assert_eq!(removal.backups, ["tape 7, in the safe"]);
    assert_eq!(sam.key("hot").await?.state(), KeyState::Destroyed);

    let mut other = Probe::start(&scene.vault.token)?;
    assert!(other.ask("hold hot").is_err(), "another process finds nothing either");
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "KEY_REVOKED");
    assert_eq!(of_keys(&sam).await?, [""; 0], "what is to be gone is missed by nobody");

    // Its tombstone stays over a restart, and its label is nobody's.
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Destroyed);
    assert_eq!(of_keys(&sam).await?, [""; 0]);
    assert!(scene.vault.key(&scene.server, "hot").await.is_err(), "a label for a second key");
    let journal = scene.journal().await?;
    let answers = journal.of("destroy_answered");
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["answer"]["gone"]["grade"], "unlinked");
    Ok(())
}

#[tokio::test]
async fn a_copy_of_the_token_does_not_bring_a_destroyed_key_back_into_use() -> Result<(), Failure> {
    let scene = scene(Through::Real).await?;
    let tokens = scene.vault.token.objects();
    let before = tokens.with_extension("before");
    // From a time when the key could sign.
    copy(&tokens, &before)?;
    revoked(&scene).await?;
    pass(&scene, destroy(&scene)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    gone(&sam).await?;

    let Scene { vault, server, key, .. } = scene;
    server.terminate()?;
    restore(&before, &tokens)?;
    let mut other = Probe::start(&vault.token)?;
    other.sign("hot", B256::repeat_byte(7))?;
    let server = vault.serve()?;
    let sam = vault.control(&server, "sam").await?;
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("somebody restored a copy")), "{troubles:?}");
    until(&sam, "hot", FenceState::Fenced).await?;
    assert!(other.sign("hot", B256::repeat_byte(7)).is_err(), "it was fenced again");
    assert_eq!(sam.key("hot").await?.state(), KeyState::Destroyed);
    let payouts = vault.client(&server, PAYOUTS).await?;
    assert_eq!(reason(&payouts, &key, &payment(0, 1.try_into()?)).await, "KEY_REVOKED");
    Ok(())
}

#[tokio::test]
async fn a_token_that_would_not_is_reported_and_asked_again() -> Result<(), Failure> {
    let scene = scene(Through::Faults).await?;
    revoked(&scene).await?;
    scene.vault.token.faults()?.set(&["C_DestroyObject error 0x1b"])?;
    pass(&scene, destroy(&scene)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    eventually("a refusal", async || Ok(!removal(&sam).await?.refused.is_empty())).await?;
    let refused = removal(&sam).await?;
    assert!(!refused.gone && refused.refused.contains("ActionProhibited"), "{refused:?}");
    assert_eq!(sam.key("hot").await?.state(), KeyState::Revoked);
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("could not be removed")), "{troubles:?}");

    // Killed while it is asked for: the start after completes it.
    let scene = scene.while_down(|vault| Ok(vault.token.faults()?.clear()?)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(gone(&sam).await?.objects, 2);
    assert_eq!(of_keys(&sam).await?, [""; 0]);
    scene.journal().await.map(drop)
}

pub(crate) fn restore(before: &Path, tokens: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(tokens)?;
    std::fs::rename(before, tokens)?;
    Ok(())
}
