//! Those who take places, and those who must get in all the same.

use portcullis_client::wire::ReadJournalRequest;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{Client, Code};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::world::{self, BookText, Failure, PAYOUTS, ether, payment};
use tokio::net::TcpStream;

use crate::support::{Scene, call_refused, eventually, said};

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
