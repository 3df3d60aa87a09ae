//! One life of a vault with nearly everything that can happen to one, by the built signer. A
//! release keeps its journal, so that every later version is held to it: `softhsm-tests/released`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{
    DrillStep, FenceState, KeyState, ReferencePrice, ReportDrillRequest, ReportPricesRequest,
    ReportSettlementRequest, SuspendRequest,
};
use portcullis_policy::credential::Evidence;
use portcullis_policy::record::{Entry, Record, RecoveryBegun, Renewal, Signature};
use portcullis_policy::statement;
use portcullis_policy::time::Millis;
use portcullis_softhsm_tests::people::{GENESIS, RECOVERY};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, DECIDERS, Failure, QUORUMS, Vault, ether, governed_book, payment,
};
use serde_json::{Value, json};

use crate::fence::until;
use crate::mission::execute;
use crate::support::{REPORTS, Scene, eventually, parked};

/// What a whole life has at least one of.
const KINDS: [&str; 28] = [
    "adopted",
    "checkpoint_key_intended",
    "checkpoint_key_made",
    "denied",
    "destroy_answered",
    "drain_ended",
    "drilled",
    "executed",
    "failed",
    "fence_answered",
    "fence_intended",
    "frozen",
    "genesis",
    "key_created",
    "key_intended",
    "parked",
    "priced",
    "proposed",
    "recovered",
    "recovery_begun",
    "settled",
    "signed",
    "started",
    "suppressed",
    "suspended",
    "voted",
    "withdrawn",
    "withheld",
];

/// The smallest there is.
const SEGMENT_BYTES: u64 = 256 * 1024;

fn book() -> BookText {
    let usual = governed_book();
    let tables = format!("{}[prices]\nstale = \"1h\"\npercent_a_day = 20\n", usual.tables);
    BookText { tables, ..usual }
}

/// As [`Vault::governed`], with offline credentials, in a small segment.
fn vault() -> Result<Vault, Failure> {
    let draft = Vault::unsigned(Through::Faults, &book().to_string(), QUORUMS)?;
    let genesis = draft.folder.path().join("genesis.toml");
    let (one, two) = (draft.pens.line("safe-one")?, draft.pens.line("safe-two")?);
    let text = fs::read_to_string(&genesis)?;
    let recovery =
        format!("[recovery]\nneed = 1\ndelay = \"1s\"\ncredentials = [{one:?}, {two:?}]\n");
    fs::write(&genesis, format!("{text}{recovery}"))?;
    let mut vault = draft;
    vault.settings.segment_bytes = SEGMENT_BYTES;
    vault.settings.hsm.call_timeout_ms = 60_000;
    vault.installation.configure(&vault.settings)?;
    let refused = vault.installation.init(&genesis).err().ok_or("made without signatures")?;
    assert!(refused.to_string().contains("75"), "{refused}");
    let ceremony = vault.folder.path().join("ceremony");
    let statement = fs::read_to_string(ceremony.join("statement.txt"))?;
    for (person, _) in DECIDERS {
        let signature = vault.pens.sign(person, GENESIS, &statement)?;
        fs::write(ceremony.join(format!("{person}.sig")), signature)?;
    }
    vault.installation.init(&genesis)?;
    Ok(vault)
}

/// Proposed by somebody of security, agreed to by whoever is asked, and done.
async fn pass(scene: &Scene, by: &str, act: Value, voters: &[&str]) -> Result<u64, Failure> {
    let proposer = scene.vault.control(&scene.server, by).await?;
    let proposal = proposer.propose(&act.to_string(), "part of a life").await?;
    for name in voters {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    execute(&proposer, &proposal.id).await
}

const GUARDS: &[&str] = &["sid", "sue"];
const GUARDS_AND_ONE: &[&str] = &["alan", "sid", "sue"];

fn small(nonce: u64) -> Vec<u8> {
    payment(nonce, alloy_primitives::U256::from(1_000 + nonce))
}

/// Signed, denied, parked and approved, withdrawn, rejected by the token, withheld, in a flood.
async fn requests(scene: &Arc<Scene>) -> Result<(), Failure> {
    let (payouts, reports) =
        (scene.payouts().await?, scene.vault.client(&scene.server, REPORTS).await?);
    for nonce in 0..4 {
        assert_eq!(scene.outcome(&payouts, &small(nonce)).await, "signed");
    }
    assert_eq!(scene.outcome(&payouts, &small(0)).await, "signed", "once more");
    assert_eq!(scene.outcome(&payouts, &payment(4, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    let waiting = parked(scene.sign(&payouts, &payment(4, ether(5))).await);
    for name in ["alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &waiting.parked_id, name, true).await?;
    }
    assert_eq!(scene.outcome(&payouts, &payment(4, ether(5))).await, "signed");
    let unwanted = parked(scene.sign(&payouts, &payment(5, ether(6))).await);
    payouts.withdraw_request(&unwanted.parked_id).await?;

    let faults = scene.vault.token.faults()?;
    // Once would be mended within the request.
    faults.set(&["C_Sign error 0x30"])?;
    assert_ne!(scene.outcome(&payouts, &small(5)).await, "signed");
    let before = faults.hangs("C_Sign")?;
    faults.set(&["C_Sign hang"])?;
    let asked = tokio::spawn({
        let (scene, payouts) = (scene.clone(), scene.payouts().await?);
        async move { scene.outcome(&payouts, &small(6)).await }
    });
    tokio::task::block_in_place(|| faults.wait_for_hangs("C_Sign", before + 1))?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Tag("web".into()), "something is odd").await?;
    faults.clear()?;
    assert_eq!(asked.await?, "FROZEN");
    pass(scene, "sam", json!({ "thaw": { "scope": { "tag": "web" } } }), GUARDS).await?;
    until(&sam, "hot", FenceState::Open).await?;

    // Over and over: a few are recorded, the rest are counted.
    for _ in 0..24 {
        assert_ne!(scene.outcome(&reports, &small(7)).await, "signed");
    }
    Ok(())
}

/// Books, prices, what is mined, people.
async fn changes(scene: &Scene) -> Result<(), Failure> {
    let of = |name: &'static str| scene.vault.control(&scene.server, name);
    let prices = vec![ReferencePrice { asset: "ETH".into(), micro_usd: "3000000000".into() }];
    of("petra").await?.report_prices(ReportPricesRequest { prices }).await?;
    let mined = ReportSettlementRequest {
        key: "hot".into(),
        chain_id: CHAIN,
        nonce: 2,
        allowances: Vec::new(),
        read_at_ms: None,
    };
    of("wanda").await?.report_settlement(mined).await?;
    let narrower = BookText { per_tx: "9 ETH".into(), ..book() };
    of("olga").await?.adopt_book(narrower.to_string()).await?;
    let wider = BookText { per_tx: "12 ETH".into(), ..book() };
    let adopt = json!({ "adopt": { "book": wider.to_string() } });
    pass(scene, "olga", adopt, &["alan", "amy"]).await?;

    let suspend = SuspendRequest {
        person: "art".into(),
        reason: "laptop lost".into(),
        ..SuspendRequest::default()
    };
    of("sam").await?.suspend(suspend).await?;
    let back = json!({ "reinstate": { "person": "art" } });
    pass(scene, "sam", back, GUARDS_AND_ONE).await?;
    let unwanted = of("sam")
        .await?
        .propose(&json!({ "remove": { "person": "art" } }).to_string(), "a mistake")
        .await?;
    of("sam").await?.withdraw_proposal(&unwanted.id).await?;
    Ok(())
}

/// A canary that is drilled on, and the ends of a key.
async fn ends(scene: &Scene) -> Result<(), Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    scene.vault.key_for(&scene.server, "canary-1", "canary").await?;
    let steps = vec![DrillStep { name: "freeze".into(), took_ms: 3, missed: true }];
    let (drill, key, evidence) = ("first".into(), "canary-1".into(), vec![7; 32]);
    sam.report_drill(ReportDrillRequest { drill, key, good: false, evidence, steps }).await?;

    let cold = scene.cold_key().await?;
    let until_ms = sam.status().await?.possible_time_ms + 10_000;
    let plan = json!({
        "callers": [REPORTS],
        "chains": [{ "chain": CHAIN, "fees": ether(1).to_string(), "native": true, "tokens": [] }],
        "expires": until_ms,
        "to": { "key": cold.id.to_string() },
    });
    let hot = scene.key.id.to_string();
    let drain = json!({ "drain": { "key": hot, "plan": plan } });
    pass(scene, "sam", drain, GUARDS_AND_ONE).await?;
    let sweeper = scene.vault.client(&scene.server, REPORTS).await?;
    let sweep = Payment::new(CHAIN, 7, cold.address, ether(1)).unsigned(Kind::Eip1559);
    assert_eq!(scene.outcome(&sweeper, &tx::preimage(&sweep)).await, "signed");
    // Refused at once when its time is over; written down at the fencer's next look.
    let over = async {
        while sam.key("hot").await?.state() != KeyState::Frozen {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(Duration::from_secs(180), over).await??;
    pass(scene, "sam", json!({ "revoke": { "key": hot } }), GUARDS).await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    pass(scene, "sam", json!({ "destroy": { "key": hot } }), GUARDS_AND_ONE).await?;
    eventually("the key to be gone", async || {
        Ok(sam.key("hot").await?.removal.is_some_and(|removal| removal.gone))
    })
    .await
}

/// The people are replaced, by the same.
async fn recovery(scene: &Scene) -> Result<(), Failure> {
    let (_, first) = scene.vault.export(&scene.server).await?.swap_remove(0);
    let Record::Genesis(genesis) = Entry::decode(&first)?.record else { panic!("no genesis") };
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let status = sam.status().await?;
    let renewal = Renewal {
        expires: Millis(status.possible_time_ms + 3_600_000),
        governance: genesis.governance.ok_or("no governance")?,
        people: genesis.people,
        reason: "a rehearsal".into(),
    };
    let text = statement::recovery(&hex::encode(&status.vault_id), &renewal);
    let mut signatures = Vec::new();
    for name in DECIDERS.iter().map(|(name, _)| *name).chain(["safe-one"]) {
        signatures.push(Signature {
            credential: scene.vault.pens.fingerprint(name)?.parse()?,
            evidence: Evidence::Ssh(scene.vault.pens.sign(name, RECOVERY, &text)?),
        });
    }
    let begun = serde_json::to_string(&RecoveryBegun { renewal, signatures })?;
    let begun = sam.begin_recovery(&begun).await?.sequence;
    eventually("its delay to be over", async || Ok(sam.finish_recovery(begun).await.is_ok())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_life_of_a_vault_has_every_kind_of_record_and_can_be_kept() -> Result<(), Failure> {
    let scene = Arc::new(Scene::of(vault()?).await?);
    requests(&scene).await?;
    changes(&scene).await?;
    eventually("the flood to be counted", async || {
        Ok(scene
            .vault
            .export(&scene.server)
            .await?
            .iter()
            .any(|(_, line)| String::from_utf8_lossy(line).contains("\"suppressed\"")))
    })
    .await?;
    ends(&scene).await?;
    recovery(&scene).await?;
    let scene = Arc::into_inner(scene).ok_or("somebody still asks")?;
    let scene = scene.restart().await?.stop_and_start().await?;
    let journal = scene.journal().await?;
    let missing: BTreeSet<&str> =
        KINDS.into_iter().filter(|kind| journal.count(kind) == 0).collect();
    assert_eq!(missing, BTreeSet::new());

    let Scene { vault, server, .. } = scene;
    tokio::task::spawn_blocking(move || server.terminate()).await??;
    if let Some(folder) = std::env::var_os("PORTCULLIS_KEEP_JOURNAL") {
        keep(vault.installation.data(), Path::new(&folder))?;
    }
    Ok(())
}

/// Segments without the zeros behind their records, which take more room than those, and the
/// checkpoint.
fn keep(data: &Path, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().ok_or("no name")?;
        if path.extension().is_some_and(|extension| extension == "journal") {
            let mut bytes = fs::read(&path)?;
            assert_eq!(u64::try_from(bytes.len())?, SEGMENT_BYTES);
            let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
            bytes.truncate(bytes.len() - zeros);
            fs::write(folder.join(name), bytes)?;
        }
    }
    fs::copy(data.join("checkpoints"), folder.join("checkpoints"))?;
    Ok(())
}
