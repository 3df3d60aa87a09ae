//! The fence: what a stopped key's object in the token still does for others, before, while and
//! after, and what whoever has the PIN can do about it.

use alloy_primitives::B256;
use portcullis_client::ControlClient;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_softhsm_tests::probe::{Probe, ProbeError};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, Vault, governed_book, payment, reason};
use serde_json::json;

use crate::markers::pkcs11_tool;
use crate::mission::execute;
use crate::requests::scene;
use crate::support::Scene;

const DIGEST: B256 = B256::repeat_byte(7);

/// Waits until the token has said this of the key.
pub(crate) async fn until(
    control: &ControlClient,
    label: &str,
    state: FenceState,
) -> Result<(), Failure> {
    let told = async {
        while control.key(label).await?.fence() != state {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok::<(), Failure>(())
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, told).await.map_err(|_| format!("never {state:?}"))?
}

fn refusal(answer: Result<Vec<u8>, ProbeError>) -> String {
    match answer {
        Err(ProbeError::Refused { text }) => text,
        other => panic!("not refused by the token: {other:?}"),
    }
}

async fn thaw(scene: &Scene, scope: serde_json::Value) -> Result<(), Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let act = json!({ "thaw": { "scope": scope } }).to_string();
    let proposal = sam.propose(&act, "the drill is over").await?;
    for name in ["sue", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await.map(drop)
}

#[tokio::test]
async fn a_stopped_key_signs_for_no_process_until_a_quorum_thaws_it_or_somebody_has_the_pin()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "signed");
    // Another process with the PIN, as an older signer or a stolen one would be.
    let mut other = Probe::start(&scene.vault.token)?;
    other.ask("hold hot")?;
    let sign = format!("sign-held {}", hex::encode(DIGEST));
    other.ask(&sign)?;

    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.fence(), FenceState::Open);
    sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    assert!(refusal(other.ask(&sign)).contains("KeyFunctionNotPermitted"));
    assert!(refusal(other.ask("copy hot")).contains("ActionProhibited"), "a copy would sign");
    assert!(other.sign("hot", DIGEST).is_err(), "nor by a handle found anew");

    // It stays so over a restart: the start does not heal it.
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.fence(), FenceState::Fenced);
    other.ask("hold hot")?;
    assert!(refusal(other.ask(&sign)).contains("KeyFunctionNotPermitted"));
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "FROZEN");

    // What it does not stop: whoever has the PIN sets it back. The gate stays closed, and the next
    // look at the token finds it out, puts it back, and says so.
    other.ask("let-sign hot yes")?;
    other.ask(&sign)?;
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "FROZEN");
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    other.ask("hold hot")?;
    assert!(refusal(other.ask(&sign)).contains("KeyFunctionNotPermitted"));
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("took its fence away")), "{troubles:?}");

    thaw(&scene, json!({ "key": scene.key.id.to_string() })).await?;
    until(&sam, "hot", FenceState::Open).await?;
    other.ask("hold hot")?;
    other.ask(&sign)?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, 1.try_into()?)).await, "signed");

    let journal = scene.journal().await?;
    let causes: Vec<&str> =
        journal.of("fence_intended").iter().filter_map(|one| one["cause"].as_str()).collect();
    assert_eq!(causes, ["stopped", "undone", "thawed"]);
    let answers = journal.of("fence_answered");
    assert_eq!(answers.len(), 3, "each intent has the token's answer: {answers:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_put_in_the_place_of_a_stopped_one_is_not_used() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    // Whoever has the PIN brings in another pair under its id and its name, and it may sign.
    let id = scene.key.id.to_string();
    let pair = ["--keypairgen", "--key-type", "EC:secp256k1", "--usage-sign", "--label", "hot"];
    pkcs11_tool(&scene.vault, &[&pair[..], &["--id", &id]].concat())?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "FROZEN");
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "FROZEN");
    let hot = sam.key("hot").await?;
    assert_eq!(hot.state(), KeyState::Frozen);
    assert_ne!(hot.trouble, "", "it is said");
    // Nor once people have thawed the key: which of the two it is, nobody knows.
    thaw(&scene, json!({ "key": id })).await?;
    let outcome = scene.outcome(&payouts, &payment(0, 1.try_into()?)).await;
    assert_ne!(outcome, "signed");
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn a_stop_of_everything_fences_each_key_and_a_revoked_one_for_good() -> Result<(), Failure> {
    let scene = scene().await?;
    scene.vault.key(&scene.server, "spare").await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "drill").await?;
    for label in ["hot", "spare"] {
        until(&sam, label, FenceState::Fenced).await?;
    }
    let act = json!({ "revoke": { "key": scene.key.id.to_string() } }).to_string();
    let proposal = sam.propose(&act, "it is old").await?;
    for name in ["sue", "sid"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&sam, &proposal.id).await?;
    thaw(&scene, json!("all")).await?;
    until(&sam, "spare", FenceState::Open).await?;
    let hot = sam.key("hot").await?;
    assert_eq!((hot.state(), hot.fence()), (KeyState::Revoked, FenceState::Fenced));
    let mut other = Probe::start(&scene.vault.token)?;
    assert!(other.sign("hot", DIGEST).is_err());
    other.sign("spare", DIGEST)?;
    // A stop of one caller leaves the key to the others.
    sam.freeze(Scope::Caller("spiffe://test/payouts".into()), "drill").await?;
    assert_eq!(sam.key("spare").await?.fence(), FenceState::Open);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_token_that_refuses_or_hangs_delays_no_stop_and_is_not_passed_over_in_silence()
-> Result<(), Failure> {
    let vault = Vault::governed(Through::Faults, &governed_book().to_string())?;
    let scene = Scene::of(vault).await?;
    let payouts = scene.payouts().await?;
    let faults = scene.vault.token.faults()?;
    let sam = scene.vault.control(&scene.server, "sam").await?;

    scene.vault.key(&scene.server, "spare").await?;

    // It answers that it will not (CKR_ACTION_PROHIBITED).
    faults.set(&["C_SetAttributeValue error 0x1b"])?;
    let stopped = sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    assert!(stopped.recorded);
    until(&sam, "hot", FenceState::Refused).await?;
    let key = sam.key("hot").await?;
    assert!(key.fence_refused.contains("ActionProhibited"), "{}", key.fence_refused);
    let troubles = sam.status().await?.troubles;
    assert!(troubles.iter().any(|line| line.contains("could not be fenced")), "{troubles:?}");
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "FROZEN");

    // It hangs: a stop is acknowledged all the same.
    faults.set(&["C_SetAttributeValue hang"])?;
    let second = sam.freeze(Scope::All(true), "everything, rather").await?;
    assert!(second.recorded && second.sequence > stopped.sequence);
    faults.wait_for_hangs("C_SetAttributeValue", 1)?;
    assert_eq!(sam.key("spare").await?.fence(), FenceState::Closing);
    assert_eq!(scene.outcome(&payouts, &payment(0, 1.try_into()?)).await, "FROZEN");

    // It was mended: what stands is asked again, without another intent, also of a key that had
    // been refused. Only once the process is gone: SoftHSM, killed while it writes, loses the key.
    let scene = scene.while_down(|vault| Ok(vault.token.faults()?.clear()?)).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    for label in ["hot", "spare"] {
        until(&sam, label, FenceState::Fenced).await?;
    }
    let journal = scene.journal().await?;
    let intents = journal.of("fence_intended").len();
    assert_eq!(intents, 2, "one for each stop, however often the token was asked");
    Ok(())
}

/// Whether the token says that it will not, or says nothing: both codes are of one key here.
#[tokio::test]
async fn a_key_that_errs_keeps_no_other_from_being_fenced() -> Result<(), Failure> {
    for errs in ["C_SetAttributeValue error 0x200 next 1", "C_SetAttributeValue error 0x5 next 2"] {
        let vault = Vault::governed(Through::Faults, &governed_book().to_string())?;
        let scene = Scene::of(vault).await?;
        scene.vault.key(&scene.server, "spare").await?;
        let sam = scene.vault.control(&scene.server, "sam").await?;
        scene.vault.token.faults()?.set(&[errs])?;
        assert!(sam.freeze(Scope::All(true), "drill").await?.recorded);
        for label in ["hot", "spare"] {
            until(&sam, label, FenceState::Fenced).await?;
        }
        let journal = scene.journal().await?;
        let answers = journal.of("fence_answered");
        let first = answers.first().ok_or("the token answered nothing")?;
        let done = first["done"].as_array().map(Vec::len);
        let refused = first["refused"].as_object().map(serde_json::Map::len);
        assert_eq!((done, refused), (Some(1), Some(1)), "{errs}: {first}");
    }
    Ok(())
}

#[tokio::test]
async fn a_data_folder_from_before_the_stop_does_not_bring_the_key_back() -> Result<(), Failure> {
    let scene = scene().await?;
    let data = scene.vault.installation.data().to_path_buf();
    let before = data.with_extension("before");
    let Scene { vault, server, key, .. } = scene;
    server.terminate()?;
    copy(&data, &before)?;
    let server = vault.serve()?;
    let sam = vault.control(&server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    server.terminate()?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&before, &data)?;
    let server = vault.serve()?;
    let sam = vault.control(&server, "sam").await?;
    let seen = sam.key("hot").await?;
    assert_eq!(seen.state(), KeyState::Frozen, "{seen:?}");
    let payouts = vault.client(&server, "spiffe://test/payouts").await?;
    assert_eq!(reason(&payouts, &key, &payment(0, 1.try_into()?)).await, "FROZEN");
    Ok(())
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        std::fs::copy(&path, to.join(path.file_name().ok_or("no name")?))?;
    }
    Ok(())
}
