//! Votes that must not count, sent to the shipped signer.

use portcullis_client::wire::{CastVoteRequest, SuspendRequest};
use portcullis_softhsm_tests::people::{ENROLMENT, Pens, VOTE};
use portcullis_softhsm_tests::world::{Failure, ether, payment};
use serde_json::json;

use crate::requests::scene;
use crate::support::{Scene, call_refused, outcome, parked, signed};

/// What the signer says of a vote with this text, signed by this key, in the name of that person.
async fn said(
    scene: &Scene,
    id: &str,
    (voter, pen): (&str, &str),
    (namespace, text): (&str, &str),
) -> Result<String, Failure> {
    let control = scene.vault.control(&scene.server, "ada").await?;
    let request = CastVoteRequest {
        id: id.into(),
        voter: voter.into(),
        credential_id: scene.vault.pens.fingerprint(pen)?,
        approve: true,
        reason: String::new(),
        evidence_json: json!({ "ssh": scene.vault.pens.sign(pen, namespace, text)? }).to_string(),
    };
    match control.cast_vote(request).await {
        Ok(_) => Ok("counted".into()),
        Err(error) => Ok(call_refused(Err::<(), _>(error)).reason().unwrap_or_default().into()),
    }
}

#[tokio::test]
async fn what_is_no_vote_is_refused_with_the_reason_and_changes_nothing() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(5));
    let one = parked(scene.sign(&payouts, &preimage).await).parked_id;
    let other = parked(scene.sign(&payouts, &payment(1, ether(5))).await).parked_id;
    let alan = scene.vault.control(&scene.server, "alan").await?;
    let statement = alan.approval(&one).await?.statement;
    let others = alan.approval(&other).await?.statement;
    let vote = |name: &str| Pens::ballot(&statement, name, true);
    let no = Pens::ballot(&statement, "alan", false);
    let replayed = Pens::ballot(&others, "alan", true);
    for (what, who, text, expected) in [
        (
            "another request",
            ("alan", "alan"),
            (VOTE, replayed.as_str()),
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        ("a no as a yes", ("alan", "alan"), (VOTE, no.as_str()), "EVIDENCE_WRONG_SIGNATURE"),
        ("for somebody else", ("alan", "amy"), (VOTE, &vote("alan")), "CREDENTIAL_UNKNOWN"),
        ("as somebody else", ("amy", "amy"), (VOTE, &vote("alan")), "EVIDENCE_WRONG_SIGNATURE"),
        ("another namespace", ("alan", "alan"), (ENROLMENT, &vote("alan")), "SSHSIG_NAMESPACE"),
        ("the namespace of git", ("alan", "alan"), ("git", &vote("alan")), "SSHSIG_NAMESPACE"),
        ("an owner of the caller", ("olga", "olga"), (VOTE, &vote("olga")), "VOTER_NOT_ASKED"),
        ("somebody of no group", ("sam", "sam"), (VOTE, &vote("sam")), "VOTER_NOT_ASKED"),
        ("a stranger", ("mallory", "mallory"), (VOTE, &vote("mallory")), "VOTER_UNKNOWN"),
        ("somebody without a key", ("ada", "alan"), (VOTE, &vote("ada")), "CREDENTIAL_UNKNOWN"),
    ] {
        assert_eq!(said(&scene, &one, who, text).await?, expected, "{what}");
    }
    assert_eq!(outcome(scene.sign(&payouts, &preimage).await), "parked");
    // Whoever carries it, a good vote counts.
    assert_eq!(said(&scene, &one, ("alan", "alan"), (VOTE, &vote("alan"))).await?, "counted");
    let again = said(&scene, &one, ("alan", "alan"), (VOTE, &vote("alan"))).await?;
    assert_eq!(again, "VOTED_ALREADY");
    assert_eq!(outcome(scene.sign(&payouts, &preimage).await), "parked");
    assert_eq!(scene.journal().await?.count("voted"), 1);
    Ok(())
}

fn suspension(reason: &str) -> SuspendRequest {
    let (person, credential_id) = ("amy".into(), String::new());
    SuspendRequest { person, credential_id, reason: reason.into() }
}

#[tokio::test]
async fn a_suspension_takes_a_vote_away_at_once_and_only_security_or_oneself_may()
-> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(5));
    let id = parked(scene.sign(&payouts, &preimage).await).parked_id;
    for name in ["alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &id, name, true).await?;
    }
    let alan = scene.vault.control(&scene.server, "alan").await?;
    let refusal = call_refused(alan.suspend(suspension("because")).await);
    assert_eq!(refusal.reason(), Some("ROLE_MISSING"));
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.suspend(suspension("laptop lost")).await?;
    assert_eq!(outcome(scene.sign(&payouts, &preimage).await), "parked");
    let art = scene.vault.control(&scene.server, "art").await?;
    scene.vault.pens.vote(&art, &id, "art", true).await?;
    signed(scene.sign(&payouts, &preimage).await);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_services_certificate_votes_proposes_and_suspends_nothing() -> Result<(), Failure> {
    let scene = scene().await?;
    // A certificate of the control plane's authority, in the name of a service.
    let issued = scene.vault.people.issue(&portcullis_softhsm_tests::pki::Leaf::client_uri(
        "payouts",
        portcullis_softhsm_tests::world::PAYOUTS,
    ))?;
    let address = scene.server.addresses().control_plane;
    let config = portcullis_softhsm_tests::world::config(
        &format!("https://{address}"),
        &scene.vault.people,
        &issued,
    );
    let service = portcullis_client::ControlClient::connect(&config).await?;
    let refusals = [
        call_refused(service.list_approvals().await.map(|_| ())),
        call_refused(service.propose("{\"thaw\":{\"scope\":\"all\"}}", "x").await.map(|_| ())),
        call_refused(service.suspend(suspension("x")).await.map(|_| ())),
        call_refused(service.execute("p1").await.map(|_| ())),
        call_refused(service.list_people().await.map(|_| ())),
    ];
    for refusal in refusals {
        assert_eq!(refusal.reason(), Some("UNKNOWN_CALLER"));
    }
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_and_what_to_do() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    for (act, reason) in [
        ("", "x"),
        ("{}", "x"),
        ("{\"thaw\":{}}", "x"),
        ("{\"thaw\":{\"scope\":\"all\",\"more\":1}}", "x"),
        ("{\"become_king\":{}}", "x"),
        ("[1]", "x"),
    ] {
        let refusal = call_refused(sam.propose(act, reason).await.map(|_| ()));
        assert_eq!(refusal.reason(), Some("BAD_FIELD"), "{act}");
    }
    let long = "x".repeat(501);
    for reason in ["", long.as_str()] {
        let refusal = call_refused(sam.propose("{\"thaw\":{\"scope\":\"all\"}}", reason).await);
        assert_eq!(refusal.reason(), Some("REASON_MISSING"));
    }
    let nothing = call_refused(sam.propose("{\"thaw\":{\"scope\":\"all\"}}", "x").await);
    assert_eq!(nothing.reason(), Some("NOT_STOPPED"));
    for id in ["", "p", "px", "p18446744073709551616", "zz", "0123"] {
        let refusal = call_refused(sam.approval(id).await);
        assert_eq!(refusal.reason(), Some("BAD_FIELD"), "{id}");
    }
    let unknown = call_refused(sam.execute("p99").await.map(|_| ()));
    assert_eq!(unknown.reason(), Some("APPROVAL_GONE"));
    Ok(())
}
