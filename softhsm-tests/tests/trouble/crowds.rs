//! Those who take places, and those who must get in all the same.

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{ReadJournalRequest, SignStreamRequest};
use portcullis_client::{Client, Code};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{self, BookText, Failure, PAYOUTS, ether, payment};
use tokio::net::TcpStream;

use crate::support::{REPORTS, Scene, call_refused, eventually, outcome, refused, said, wire};

const CROWDED_OUT: &str = "portcullis_edge_handshakes_crowded_out{plane=\"control\"}";
const CUT: &str = "portcullis_edge_connections_cut{plane=\"data\"}";

/// More than the control plane lets begin a handshake at once, from one address and in all.
const SILENT: usize = 300;

#[tokio::test]
async fn a_person_freezes_a_key_while_silent_sockets_hold_every_place_at_the_door()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(scene.server.addresses().control_plane).await?);
    }
    scene.metric_reaches(CROWDED_OUT, 1).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Key("hot".into()), "drill").await?;
    assert!(frozen.recorded);
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(1))).await, "FROZEN");
    drop(silent);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn followers_of_the_journal_are_bounded_and_keep_no_revocation_out() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let follow = ReadJournalRequest { from_sequence: 1, limit: 0, follow: true };
    let mut following = Vec::new();
    for _ in 0..8 {
        let mut journal = sam.read_journal(follow).await?;
        assert!(journal.next().await?.is_some());
        following.push(journal);
    }
    let refusal = call_refused(sam.read_journal(follow).await.map(drop));
    assert_eq!(said(&refusal), (Code::ResourceExhausted, "TOO_MANY_READERS"));
    assert!(refusal.retry_after().is_some(), "{refusal:?}");
    // Another person reads all the same.
    assert!(scene.vault.export(&scene.server).await?.len() > 1);

    let revoked = scene.vault.services.issue(&Leaf::client_uri("revoked", PAYOUTS))?;
    let endpoint = format!("https://{}", scene.server.addresses().data_plane);
    let config = world::config(&endpoint, &scene.vault.services, &revoked);
    let client = Client::connect(&config).await?;
    assert_eq!(scene.outcome(&client, &payment(1, ether(1))).await, "signed");
    scene.vault.services.revoke(&[&revoked])?;
    scene.metric_reaches(CUT, 1).await?;

    drop(following);
    eventually("a hung-up follower's place", async || Ok(sam.read_journal(follow).await.is_ok()))
        .await?;
    scene.journal().await?;
    Ok(())
}

/// What one caller may have under way: see `signer/src/edge/signing.rs`.
const UNDER_WAY: u64 = 512;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_has_only_so_much_under_way_over_all_its_streams_and_gets_all_of_it_in_the_end()
-> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, BookText::default()).await?;
    let payouts = scene.payouts().await?;
    scene.vault.token.faults()?.set(&["C_Sign hang"])?;
    let mut receivers = Vec::new();
    for number in 0..4u64 {
        let (sender, receiver) = payouts.sign_stream(200).await?.split();
        for nonce in 0..200 {
            let id = payouts.new_request_id();
            let preimage = payment(number * 200 + nonce, U256::from(1));
            sender.send(&scene.key, &id, &preimage).await?;
        }
        receivers.push((sender, receiver));
    }
    scene.metric_reaches(OPEN, UNDER_WAY).await?;
    let refusal = refused(scene.sign(&payouts, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(refusal.retry_after().is_some(), "{refusal:?}");
    // Its places, not everybody's.
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    assert_eq!(scene.outcome(&reports, &payment(0, ether(1))).await, "CALLER_NOT_ALLOWED");
    assert_eq!(scene.metric(OPEN)?, UNDER_WAY);

    scene.vault.token.faults()?.clear()?;
    for (_sender, receiver) in &mut receivers {
        for _ in 0..200 {
            let answer = receiver.receive().await?.unwrap();
            assert_eq!(outcome(answer.result), "signed");
        }
    }
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    assert_eq!(scene.journal().await?.count("signed"), 801);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_caller_does_not_read_keep_its_places_until_it_hangs_up()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let issued = scene.vault.services.issue(&Leaf::client_uri("deaf", PAYOUTS))?;
    let authority = scene.vault.services.certificate();
    let mut deaf =
        wire::signing(scene.server.addresses().data_plane, &authority, Some(&issued)).await?;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let request = wire::request(&scene.key, &[2]);
        let requests = (0..).map(move |correlation_id| SignStreamRequest {
            correlation_id,
            request: Some(request.clone()),
        });
        unread.push(deaf.sign_stream(tokio_stream::iter(requests)).await?);
    }
    let payouts = scene.payouts().await?;
    let ask = async || outcome(scene.sign(&payouts, &payment(0, ether(1))).await);
    eventually("all places to be taken", async || Ok(ask().await == "OVERLOADED")).await?;
    drop((unread, deaf));
    eventually("a place to be free", async || Ok(ask().await == "signed")).await?;
    scene.journal().await?;
    Ok(())
}

const OPEN: &str = "portcullis_reservations_open";
