//! Who gets to ask, and may not.

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{CreateKeyRequest, ReadJournalRequest};
use portcullis_client::{Code, ControlClient, KeyRef};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    self, BookText, CHAIN, Failure, PAYOUTS, STRANGER, SUPPLIER, ether, in_a_year, payment,
};

use crate::support::{REPORTS, Scene, call_refused, refused, said, signed};

async fn scene() -> Result<Scene, Failure> {
    Scene::new(BookText::default()).await
}

fn any_key() -> CreateKeyRequest {
    CreateKeyRequest {
        label: "other".into(),
        tags: Vec::new(),
        purpose: "payments".into(),
        owner: String::new(),
        environment: "development".into(),
        chains: vec![CHAIN],
        review_by_ms: in_a_year(),
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
async fn a_key_says_what_it_is_for_or_is_not_made() -> Result<(), Failure> {
    let scene = scene().await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let production = CreateKeyRequest { environment: "production".into(), ..any_key() };
    let refusal = call_refused(olga.create_key(production).await);
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "WRONG_ENVIRONMENT"));
    assert_eq!(refusal.metadata()["vault"], "development");
    let century = in_a_year() + 100 * 365 * 86_400_000;
    for nothing in [
        CreateKeyRequest { environment: String::new(), ..any_key() },
        CreateKeyRequest { purpose: String::new(), ..any_key() },
        CreateKeyRequest { chains: Vec::new(), ..any_key() },
        CreateKeyRequest { chains: vec![0], ..any_key() },
        CreateKeyRequest { review_by_ms: 0, ..any_key() },
        CreateKeyRequest { review_by_ms: 1_700_000_000_000, ..any_key() },
        CreateKeyRequest { review_by_ms: century, ..any_key() },
    ] {
        let refusal = call_refused(olga.create_key(nothing).await);
        assert_eq!(said(&refusal), (Code::InvalidArgument, "BAD_FIELD"));
    }
    assert_eq!(scene.journal().await?.count("key_intended"), 1);
    let key = olga.key("hot").await?;
    assert_eq!((key.environment.as_str(), &key.chains[..]), ("development", &[CHAIN][..]));
    assert_eq!((&key.callers[..], key.used_by.len()), (&[PAYOUTS.to_owned()][..], 0));
    assert!(!key.review_overdue);
    let payouts = scene.payouts().await?;
    let signed = signed(scene.sign(&payouts, &payment(0, ether(1))).await);
    let used = &olga.key("hot").await?.used_by[0];
    assert_eq!((used.caller.as_str(), used.sequence), (PAYOUTS, signed.sequence));
    Ok(())
}

#[tokio::test]
async fn a_key_signs_for_no_chain_that_it_was_not_made_for_whatever_the_book_says()
-> Result<(), Failure> {
    let two = BookText::default().to_string();
    let two = two.replace("chains = [\"anvil\"]", "chains = [\"anvil\", \"other\"]");
    let two =
        two.replace("[chain.anvil]", "[chain.other]\nid = 5\nnative = \"ETH\"\n[chain.anvil]");
    let scene = Scene::new(&two).await?;
    let payouts = scene.payouts().await?;
    let other = Payment::new(5, 0, SUPPLIER, U256::from(1));
    let preimage = tx::preimage(&other.unsigned(Kind::Eip1559));
    let refusal = refused(scene.sign(&payouts, &preimage).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "CHAIN_NOT_OF_KEY"));
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(1))).await, "signed");
    // Whoever checks the book is told before somebody wonders.
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let checked = olga.check_book(two).await?;
    assert!(checked.warnings[0].contains("was not made for other (5)"), "{checked:?}");
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

#[tokio::test]
async fn a_book_of_another_environment_comes_into_force_by_no_way() -> Result<(), Failure> {
    let scene = scene().await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let text = BookText { per_tx: "1 ETH".into(), ..BookText::default() }.to_string();
    let foreign = text.replacen("version = 1\n", "version = 1\nenvironment = \"staging\"\n", 1);
    let refusal = call_refused(olga.adopt_book(foreign.clone()).await);
    assert_eq!(refusal.reason(), Some("BOOK_FAULTY"));
    let checked = olga.check_book(foreign.clone()).await?;
    let said = "a book of staging, and the vault is of development";
    assert_eq!(checked.faults[0].message, said);
    let act = serde_json::json!({ "adopt": { "book": foreign } }).to_string();
    let refusal = call_refused(olga.propose(&act, "rehearsal").await.map(|_| ()));
    assert_eq!(refusal.reason(), Some("BOOK_FAULTY"));
    assert_eq!(scene.journal().await?.count("adopted"), 0);
    let own = text.replacen("version = 1\n", "version = 1\nenvironment = \"development\"\n", 1);
    olga.adopt_book(own).await?;
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
