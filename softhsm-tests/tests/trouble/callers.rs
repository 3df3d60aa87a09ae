//! Who gets to ask, and may not.

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{CreateKeyRequest, ReadJournalRequest};
use portcullis_client::{Code, ControlClient, KeyRef};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::world::{self, BookText, Failure, PAYOUTS, STRANGER, ether, payment};

use crate::support::{REPORTS, Scene, call_refused, refused, said};

async fn scene() -> Result<Scene, Failure> {
    Scene::new(BookText::default()).await
}

fn any_key() -> CreateKeyRequest {
    CreateKeyRequest {
        label: "other".into(),
        tags: Vec::new(),
        purpose: "payments".into(),
        owner: String::new(),
    }
}

#[tokio::test]
async fn a_known_certificate_of_a_caller_the_book_does_not_know_is_told_so() -> Result<(), Failure>
{
    let scene = scene().await?;
    let nobody = scene.vault.client(&scene.server, "spiffe://test/nobody").await?;
    let refusal = refused(scene.sign(&nobody, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::Unauthenticated, "UNKNOWN_CALLER"));
    assert_eq!(refusal.metadata()["name"], "spiffe://test/nobody");
    let refusal = refused(nobody.list_keys().await);
    assert_eq!(said(&refusal), (Code::Unauthenticated, "UNKNOWN_CALLER"));
    assert_eq!(scene.journal().await?.count("denied"), 0);
    Ok(())
}

#[tokio::test]
async fn a_caller_that_the_book_knows_gets_nothing_of_a_key_whose_rules_do_not_name_it()
-> Result<(), Failure> {
    let scene = scene().await?;
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    let refusal = refused(scene.sign(&reports, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    assert_eq!(refusal.metadata()["rule"], "callers");
    assert!(reports.list_keys().await?.is_empty());
    assert_eq!(scene.journal().await?.of("denied")[0]["reasons"][0]["code"], "CALLER_NOT_ALLOWED");
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_book_has_no_rules_for_signs_nothing() -> Result<(), Failure> {
    let scene = scene().await?;
    let cold = scene.cold_key().await?;
    let payouts = scene.payouts().await?;
    let id = payouts.new_request_id();
    let refusal = refused(scene.sign_as(&payouts, &cold, &id, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "NO_RULE"));
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_service_gets_no_control_verb_even_with_a_certificate_of_the_peoples_authority()
-> Result<(), Failure> {
    let scene = scene().await?;
    let issued = scene.vault.people.issue(&Leaf::client_uri("payouts", PAYOUTS))?;
    let endpoint = format!("https://{}", scene.server.addresses().control_plane);
    let config = world::config(&endpoint, &scene.vault.people, &issued);
    let service = ControlClient::connect(&config).await?;
    let unknown = (Code::Unauthenticated, "UNKNOWN_CALLER");
    assert_eq!(said(&call_refused(service.freeze(Scope::All(true), "x").await)), unknown);
    assert_eq!(said(&call_refused(service.adopt_book("x".into()).await)), unknown);
    assert_eq!(said(&call_refused(service.check_book("x".into()).await)), unknown);
    assert_eq!(said(&call_refused(service.book().await)), unknown);
    assert_eq!(said(&call_refused(service.status().await)), unknown);
    assert_eq!(said(&call_refused(service.create_key(any_key()).await)), unknown);
    assert_eq!(said(&call_refused(service.list_keys().await)), unknown);
    assert_eq!(said(&call_refused(service.key("hot").await)), unknown);
    let journal = service.read_journal(ReadJournalRequest::default()).await;
    assert_eq!(said(&call_refused(journal)), unknown);
    assert_eq!(scene.journal().await?.count("frozen"), 0);
    Ok(())
}

#[tokio::test]
async fn a_services_own_certificate_does_not_pass_the_control_planes_tls() -> Result<(), Failure> {
    let scene = scene().await?;
    let issued = scene.vault.services.issue(&Leaf::client_uri("payouts", PAYOUTS))?;
    let endpoint = format!("https://{}", scene.server.addresses().control_plane);
    let mut config = world::config(&endpoint, &scene.vault.services, &issued);
    config.ca = scene.vault.people.certificate();
    if let Ok(service) = ControlClient::connect(&config).await {
        let error = service.freeze(Scope::All(true), "x").await.expect_err("no TLS");
        assert!(matches!(error, portcullis_client::CallError::Unreachable(_)), "{error:?}");
    }
    assert_eq!(scene.journal().await?.count("frozen"), 0);
    Ok(())
}

#[tokio::test]
async fn a_person_is_no_caller_on_the_data_plane() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.client(&scene.server, "spiffe://test/people/sam").await?;
    let refusal = refused(scene.sign(&sam, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::Unauthenticated, "UNKNOWN_CALLER"));
    Ok(())
}

#[tokio::test]
async fn a_person_without_the_role_is_told_which_one_it_takes() -> Result<(), Failure> {
    let scene = scene().await?;
    let missing = (Code::PermissionDenied, "ROLE_MISSING");
    for person in ["ada", "alan", "olga"] {
        let control = scene.vault.control(&scene.server, person).await?;
        let refusal = call_refused(control.freeze(Scope::All(true), "drill").await);
        assert_eq!(said(&refusal), missing, "{person}");
        assert_eq!(refusal.metadata()["role"], "security");
        assert_eq!(refusal.metadata()["person"], person);
    }
    for person in ["ada", "alan", "sam"] {
        let control = scene.vault.control(&scene.server, person).await?;
        let refusal = call_refused(control.create_key(any_key()).await);
        assert_eq!(said(&refusal), missing, "{person}");
    }
    for person in ["ada", "alan"] {
        let control = scene.vault.control(&scene.server, person).await?;
        let refusal = call_refused(control.adopt_book(BookText::default().to_string()).await);
        assert_eq!(said(&refusal), missing, "{person}");
    }
    let alan = scene.vault.control(&scene.server, "alan").await?;
    let refusal = call_refused(alan.read_journal(ReadJournalRequest::default()).await);
    assert_eq!(said(&refusal), missing);
    let journal = scene.journal().await?;
    assert_eq!((journal.count("frozen"), journal.count("adopted")), (0, 0));
    assert_eq!(journal.count("key_intended"), 1);
    Ok(())
}

#[tokio::test]
async fn a_key_asked_for_under_another_address_signs_nothing() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let other = KeyRef { id: scene.key.id, address: STRANGER };
    let id = payouts.new_request_id();
    let refusal = refused(scene.sign_as(&payouts, &other, &id, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "ADDRESS_MISMATCH"));
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_not_found() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let id = "00112233445566778899aabbccddeeff".parse()?;
    let ghost = KeyRef { id, address: scene.key.address };
    let id = payouts.new_request_id();
    let refusal = refused(scene.sign_as(&payouts, &ghost, &id, &payment(0, ether(1))).await);
    assert_eq!(said(&refusal), (Code::NotFound, "KEY_UNKNOWN"));
    assert_eq!(scene.journal().await?.count("signed"), 0);
    Ok(())
}
