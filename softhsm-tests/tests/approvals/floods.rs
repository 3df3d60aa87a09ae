//! Who sends much, or too much at once, hides nothing from others and holds nobody up.

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{CreateKeyRequest, ReadJournalRequest};
use portcullis_policy::people::Role;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, PAYOUTS, Vault, ether, governed_book, payment};
use serde_json::json;

use crate::mission::execute;
use crate::requests::scene;
use crate::support::{Scene, call_refused, outcome, parked};

#[tokio::test]
async fn what_others_wait_for_is_listed_however_much_one_caller_has_parked() -> Result<(), Failure>
{
    let book = governed_book().to_string().replace("parked = 5", "parked = 500");
    let both = format!("callers = [\"{PAYOUTS}\", \"spiffe://test/reports\"]");
    let book = book.replace(&format!("callers = [\"{PAYOUTS}\"]"), &both);
    let scene = Scene::of(Vault::governed(Through::Real, &book)?).await?;
    let payouts = scene.payouts().await?;
    for nonce in 0..230 {
        assert_eq!(outcome(scene.sign(&payouts, &payment(nonce, ether(5))).await), "parked");
    }
    let reports = scene.vault.client(&scene.server, "spiffe://test/reports").await?;
    let late = parked(scene.sign(&reports, &payment(500, ether(5))).await).parked_id;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "drill").await?;
    let thaw = sam.propose("{\"thaw\":{\"scope\":\"all\"}}", "the drill is over").await?;
    let listed = sam.list_approvals().await?;
    assert_eq!((listed.approvals.len(), listed.more), (200, 32));
    assert_eq!(listed.approvals[0].id, thaw.id, "what people decide comes first");
    assert!(listed.approvals.iter().any(|one| one.id == late), "and nobody is left out");
    Ok(())
}

#[tokio::test]
async fn whoever_is_removed_hears_nothing_more_on_what_they_had_opened() -> Result<(), Failure> {
    let scene = scene().await?;
    let ada = scene.vault.control(&scene.server, "ada").await?;
    let oscar = scene.vault.control(&scene.server, "oscar").await?;
    let mut changes = ada.watch_approvals().await?;
    while !changes.next().await?.ok_or("ended")?.caught_up {}
    let from_sequence = oscar.status().await?.sequence;
    let follow = ReadJournalRequest { from_sequence, follow: true, limit: 0 };
    let mut journal = oscar.read_journal(follow).await?;
    assert!(!journal.next().await?.ok_or("ended")?.lines.is_empty());
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let mut last = 0;
    for name in ["oscar", "ada"] {
        let act = json!({ "remove": { "person": name } }).to_string();
        let proposal = scene.vault.control(&scene.server, "olga").await?.propose(&act, "x").await?;
        for voter in ["sam", "sid", "alan"] {
            let control = scene.vault.control(&scene.server, voter).await?;
            scene.vault.pens.vote(&control, &proposal.id, voter, true).await?;
        }
        last = execute(&sam, &proposal.id).await?;
    }
    // What is written after that.
    let frozen = sam.freeze(Scope::All(true), "not for them").await?.sequence;
    let mut heard = 0;
    let refusal = loop {
        match journal.next().await {
            Ok(Some(page)) => {
                heard = page.lines.iter().map(|one| one.sequence).fold(heard, u64::max)
            }
            Ok(None) => return Err("it ended without a word".into()),
            Err(error) => break call_refused(Err::<(), _>(error)),
        }
    };
    assert!(heard < last && last < frozen, "{heard} {last} {frozen}");
    assert_eq!(refusal.reason(), Some("UNKNOWN_CALLER"));
    let refusal = loop {
        match changes.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Err("it ended without a word".into()),
            Err(error) => break call_refused(Err::<(), _>(error)),
        }
    };
    assert_eq!(refusal.reason(), Some("UNKNOWN_CALLER"));
    Ok(())
}

#[tokio::test]
async fn one_person_does_not_fill_the_journal_with_proposals() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::All(true), "drill").await?;
    let mut made = 0;
    let refusal = loop {
        match sam.propose("{\"thaw\":{\"scope\":\"all\"}}", "the drill is over").await {
            Ok(proposal) => {
                made += 1;
                assert!(made < 500, "nobody says stop");
                if let Err(error) = sam.withdraw_proposal(&proposal.id).await {
                    break call_refused(Err::<(), _>(error));
                }
            }
            Err(error) => break call_refused(Err::<(), _>(error)),
        }
    };
    assert_eq!(refusal.reason(), Some("THROTTLED"));
    assert!(refusal.retry_after().is_some() && made >= 20, "{made}: {refusal:?}");
    // Others are not held back, and nobody from a stop.
    let sid = scene.vault.control(&scene.server, "sid").await?;
    sid.propose("{\"thaw\":{\"scope\":\"all\"}}", "the drill is over").await?;
    assert!(sam.freeze(Scope::Key("hot".into()), "now").await?.recorded);
    Ok(())
}

#[tokio::test]
async fn what_is_larger_than_it_can_be_is_refused_before_it_is_read() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let line = scene.vault.pens.line("sam")?;
    let pair = json!({ "ssh": line.split(' ').take(2).collect::<Vec<_>>().join(" ") });
    let many = |count: usize| {
        let person = json!({
            "control": "spiffe://test/people/eve",
            "credentials": vec![pair.clone(); count],
            "id": "eve",
            "roles": [Role::Approver.name()],
        });
        json!({ "enrol": { "person": person, "possession": [] } }).to_string()
    };
    let refusal = call_refused(sam.propose(&many(9), "x").await.map(|_| ()));
    assert_eq!(refusal.reason(), Some("BAD_FIELD"));
    let words = format!("{:?}", refusal.violations());
    assert!(words.contains("at most 8"), "{words}");
    let refusal = call_refused(sam.propose(&many(20_000), "x").await.map(|_| ()));
    let words = format!("{:?}", refusal.violations());
    assert!(words.contains("131072 bytes"), "{words}");
    let recovery = format!("{{\"renewal\":{}}}", many(20_000));
    let refusal = call_refused(sam.begin_recovery(&recovery).await.map(|_| ()));
    assert_eq!(refusal.reason(), Some("MESSAGE_TOO_LARGE"));
    Ok(())
}

#[tokio::test]
async fn words_that_would_move_a_terminals_cursor_are_in_no_record() -> Result<(), Failure> {
    let scene = scene().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    for words in ["\u{1b}[2Jgone", "two\nlines", "\u{9b}2J", "\u{202e}desrever", "a\u{200b}b"] {
        // A stop is not refused for the spelling of its reason.
        assert!(sam.freeze(Scope::All(true), words).await?.recorded, "{words:?}");
        let proposal = sam.propose("{\"thaw\":{\"scope\":\"all\"}}", words).await.map(|_| ());
        assert_eq!(call_refused(proposal).reason(), Some("BAD_FIELD"), "{words:?}");
        let key = CreateKeyRequest {
            label: "other".into(),
            purpose: words.into(),
            ..CreateKeyRequest::default()
        };
        let key = call_refused(olga.create_key(key).await.map(|_| ()));
        assert_eq!(key.reason(), Some("BAD_FIELD"), "{words:?}");
    }
    let journal = scene.journal().await?;
    let stops = journal.of("frozen");
    assert_eq!(stops.len(), 5);
    let reasons = stops.iter().map(|stop| stop["reason"].as_str().unwrap_or_default());
    assert_eq!(reasons.filter(|reason| reason.contains('\\')).count(), 5);
    Ok(())
}
