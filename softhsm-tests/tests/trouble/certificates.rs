//! Who does not even get to ask: no certificate, a foreign, revoked or expired one.

use portcullis_client::{Client, SignError};
use portcullis_softhsm_tests::pki::{Authority, Issued, Leaf};
use portcullis_softhsm_tests::world::{self, BookText, Failure, PAYOUTS, ether, payment};

use crate::support::{Scene, eventually, outcome, wire};

const CUT: &str = "portcullis_edge_connections_cut{plane=\"data\"}";
const FAILED: &str = "portcullis_edge_handshakes_failed{plane=\"data\"}";
const DISPATCHED: &str = "portcullis_edge_requests_dispatched{plane=\"data\"}";

async fn scene() -> Result<Scene, Failure> {
    Scene::new(BookText::default()).await
}

fn issue(scene: &Scene, leaf: &Leaf) -> Result<Issued, Failure> {
    Ok(scene.vault.services.issue(leaf)?)
}

/// What a caller with this certificate gets to hear: nothing of the signer.
async fn turned_away(scene: &Scene, issued: &Issued) -> Result<(), Failure> {
    let before = (scene.metric(DISPATCHED)?, scene.metric(FAILED)?);
    let endpoint = format!("https://{}", scene.server.addresses().data_plane);
    let config = world::config(&endpoint, &scene.vault.services, issued);
    // TLS 1.3: a client may learn only at its first request that it was refused.
    if let Ok(client) = Client::connect(&config).await {
        let error = scene.sign(&client, &payment(0, ether(1))).await.expect_err("turned away");
        assert!(matches!(error, SignError::Unreachable(_)), "{error:?}");
    }
    assert_eq!(scene.metric(DISPATCHED)?, before.0, "a request got through");
    scene.metric_reaches(FAILED, before.1 + 1).await?;
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_without_a_client_certificate_gets_an_answer() -> Result<(), Failure> {
    let scene = scene().await?;
    let address = scene.server.addresses().data_plane;
    let authority = scene.vault.services.certificate();
    if let Ok(mut client) = wire::signing(address, &authority, None).await {
        let request = wire::request(&scene.key, &payment(0, ether(1)));
        let status = client.sign(request).await.expect_err("no certificate");
        assert!(status.details().is_empty(), "somebody answered: {status:?}");
    }
    scene.metric_reaches(FAILED, 1).await?;
    assert_eq!(scene.metric(DISPATCHED)?, 0);
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn a_certificate_from_an_unknown_authority_gets_no_answer() -> Result<(), Failure> {
    let scene = scene().await?;
    let stranger = Authority::new(&scene.vault.folder.path().join("stranger"), "Strangers CA")?;
    turned_away(&scene, &stranger.issue(&Leaf::client_uri("payouts", PAYOUTS))?).await
}

#[tokio::test]
async fn a_certificate_from_the_peoples_authority_is_worth_nothing_to_a_service()
-> Result<(), Failure> {
    let scene = scene().await?;
    let issued = scene.vault.people.issue(&Leaf::client_uri("payouts", PAYOUTS))?;
    turned_away(&scene, &issued).await
}

#[tokio::test]
async fn an_expired_certificate_gets_no_answer() -> Result<(), Failure> {
    let scene = scene().await?;
    let issued = issue(&scene, &Leaf::client_uri("late", PAYOUTS).expired())?;
    turned_away(&scene, &issued).await
}

#[tokio::test]
async fn a_revoked_certificate_gets_no_answer_on_a_new_connection() -> Result<(), Failure> {
    let scene = scene().await?;
    let issued = issue(&scene, &Leaf::client_uri("revoked", PAYOUTS))?;
    scene.vault.services.revoke(&[&issued])?;
    let scene = scene.restart().await?;
    turned_away(&scene, &issued).await
}

#[tokio::test]
async fn a_live_connection_is_cut_when_its_certificate_is_revoked_without_a_restart()
-> Result<(), Failure> {
    let scene = scene().await?;
    let endpoint = format!("https://{}", scene.server.addresses().data_plane);
    let issued = issue(&scene, &Leaf::client_uri("revoked", PAYOUTS))?;
    let config = world::config(&endpoint, &scene.vault.services, &issued);
    let client = Client::connect(&config).await?;
    let neighbour = scene.payouts().await?;
    let preimage = payment(0, ether(1));
    assert_eq!(scene.outcome(&client, &preimage).await, "signed");
    assert_eq!(scene.outcome(&neighbour, &preimage).await, "signed");

    scene.vault.services.revoke(&[&issued])?;
    // Nothing is asked meanwhile: the connection is cut for itself, not at its next request.
    scene.metric_reaches(CUT, 1).await?;
    for _ in 0..3 {
        let said = outcome(scene.sign(&client, &preimage).await);
        assert!(said != "signed" && said != "parked", "{said}");
    }
    assert_eq!(scene.outcome(&neighbour, &preimage).await, "signed");
    assert_eq!(scene.journal().await?.count("signed"), 3);
    Ok(())
}

#[tokio::test]
async fn a_live_connection_is_cut_when_its_certificate_expires() -> Result<(), Failure> {
    let scene = scene().await?;
    let endpoint = format!("https://{}", scene.server.addresses().data_plane);
    let issued = issue(&scene, &Leaf::client_uri("brief", PAYOUTS).for_seconds(12))?;
    let config = world::config(&endpoint, &scene.vault.services, &issued);
    let client = Client::connect(&config).await?;
    let preimage = payment(0, ether(1));
    assert_eq!(scene.outcome(&client, &preimage).await, "signed");
    scene.metric_reaches(CUT, 1).await?;
    for _ in 0..3 {
        let said = outcome(scene.sign(&client, &preimage).await);
        assert!(said != "signed" && said != "parked", "{said}");
    }
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

#[tokio::test]
async fn a_crl_that_names_nobody_cuts_nobody() -> Result<(), Failure> {
    let scene = scene().await?;
    let client = scene.payouts().await?;
    assert_eq!(scene.outcome(&client, &payment(0, ether(1))).await, "signed");
    let other = issue(&scene, &Leaf::client_uri("other", "spiffe://test/reports"))?;
    let reports = format!("https://{}", scene.server.addresses().data_plane);
    let cut = Client::connect(&world::config(&reports, &scene.vault.services, &other)).await?;
    assert_eq!(scene.outcome(&cut, &payment(0, ether(1))).await, "CALLER_NOT_ALLOWED");
    scene.vault.services.revoke(&[&other])?;
    eventually("the new CRL", async || Ok(scene.metric(CUT)? == 1)).await?;
    assert_eq!(scene.outcome(&client, &payment(1, ether(1))).await, "signed");
    assert_eq!(scene.metric(CUT)?, 1);
    Ok(())
}
