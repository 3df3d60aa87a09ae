//! Parked requests, as callers and voters see them.

use std::time::Duration;

use portcullis_client::wire::{ApprovalState, ParkedState};
use portcullis_policy::record::Record;
use portcullis_softhsm_tests::anvil::{Anvil, Receipt};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx;
use portcullis_softhsm_tests::world::{
    BookText, Failure, PAYOUTS, SUPPLIER, Vault, ether, governed_book, payment,
};

use crate::support::{Scene, call_refused, outcome, parked, signed};

/// A running signer of people who decide.
pub(crate) async fn scene() -> Result<Scene, Failure> {
    let vault = Vault::governed(Through::Real, &governed_book().to_string())?;
    Scene::of(vault).await
}

#[tokio::test]
async fn a_high_value_transfer_is_parked_approved_by_two_signed_and_mined() -> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = scene().await?;
    node.set_balance(scene.key.address, ether(100))?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(5));
    let waiting = parked(scene.sign(&payouts, &preimage).await);
    for name in ["alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        let seen = control.approval(&waiting.parked_id).await?;
        assert!(seen.asks_you && seen.state() == ApprovalState::Waiting, "{seen:?}");
        assert!(seen.statement.contains("pay 5 ETH to"), "{}", seen.statement);
        let cast = scene.vault.pens.vote(&control, &waiting.parked_id, name, true).await?;
        assert!(cast.0 > waiting.sequence);
    }
    let signed = signed(scene.sign(&payouts, &preimage).await);
    let hash = node.send(&tx::for_node(&signed.raw_transaction)?)?;
    let expected = Receipt { from: scene.key.address, kind: 2, succeeded: true };
    assert_eq!(node.receipt(hash)?, expected);
    assert_eq!(node.balance(SUPPLIER)?, ether(5));
    let journal = scene.journal().await?;
    let record = journal.of("signed")[0];
    assert_eq!(record["votes"].as_array().unwrap().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_caller_follows_its_request_until_people_have_agreed() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let preimage = payment(0, ether(5));
    let waiting = parked(scene.sign(&payouts, &preimage).await);
    let mut changes = payouts.watch_request(&waiting.parked_id).await?;
    let mut states = Vec::new();
    let first = changes.next().await?.unwrap();
    assert_eq!((first.state, first.approvals), (ParkedState::Waiting, 0));
    for name in ["alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &waiting.parked_id, name, true).await?;
        let next = tokio::time::timeout(Duration::from_secs(60), changes.next()).await??.unwrap();
        states.push((next.state, next.approvals));
    }
    assert_eq!(states, [(ParkedState::Waiting, 1), (ParkedState::Ready, 2)]);
    signed(scene.sign(&payouts, &preimage).await);
    let last = tokio::time::timeout(Duration::from_secs(60), changes.next()).await??.unwrap();
    assert_eq!(last.state, ParkedState::Signed);
    assert!(changes.next().await?.is_none(), "it ends there");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_request_is_nobody_elses_to_follow_or_to_take_back() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let waiting = parked(scene.sign(&payouts, &payment(0, ether(5))).await);
    let other = scene.vault.client(&scene.server, "spiffe://test/reports").await?;
    let refusal = call_refused(other.watch_request(&waiting.parked_id).await.map(|_| ()));
    assert_eq!(refusal.reason(), Some("NOT_FOUND"));
    let refusal = call_refused(other.withdraw_request(&waiting.parked_id).await);
    assert_eq!(refusal.reason(), Some("NOT_FOUND"));
    payouts.withdraw_request(&waiting.parked_id).await?;
    let control = scene.vault.control(&scene.server, "alan").await?;
    let gone = call_refused(control.approval(&waiting.parked_id).await);
    assert_eq!(gone.reason(), Some("NOT_FOUND"));
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_rejection_is_final_and_votes_survive_a_kill() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let (good, bad) = (payment(0, ether(5)), payment(1, ether(6)));
    let first = parked(scene.sign(&payouts, &good).await);
    let second = parked(scene.sign(&payouts, &bad).await);
    for (name, id, approve) in
        [("alan", &first, true), ("amy", &first, true), ("art", &second, false)]
    {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &id.parked_id, name, approve).await?;
    }
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    signed(scene.sign(&payouts, &good).await);
    assert_eq!(outcome(scene.sign(&payouts, &bad).await), "REJECTED");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn everybody_sees_changes_as_they_come_and_lists_group_what_is_alike() -> Result<(), Failure>
{
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    let alan = scene.vault.control(&scene.server, "alan").await?;
    let mut changes = alan.watch_approvals().await?;
    assert!(changes.next().await?.unwrap().caught_up);
    let first = parked(scene.sign(&payouts, &payment(0, ether(5))).await);
    let change = tokio::time::timeout(Duration::from_secs(60), changes.next()).await??.unwrap();
    let seen = change.approval.unwrap();
    assert!(seen.id == first.parked_id && seen.asks_you, "{seen:?}");
    parked(scene.sign(&payouts, &payment(1, ether(5))).await);
    let listed = alan.list_approvals().await?.approvals;
    assert_eq!(listed.len(), 2);
    assert!(!listed[0].likeness.is_empty() && listed[0].likeness == listed[1].likeness);
    assert!(listed.iter().all(|one| one.statement.is_empty()), "lists are short");
    Ok(())
}

#[tokio::test]
async fn a_book_that_widens_is_proposed_voted_on_and_put_in_force() -> Result<(), Failure> {
    let scene = scene().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    let wider = BookText { per_tx: "12 ETH".into(), ..governed_book() }.to_string();
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let refused = call_refused(olga.adopt_book(wider.clone()).await);
    assert_eq!(refused.reason(), Some("BOOK_WIDENS"));
    let act = serde_json::json!({ "adopt": { "book": wider } }).to_string();
    let proposal = olga.propose(&act, "a larger supplier").await?;
    assert!(proposal.statement.contains("per_tx 10 ETH -> 12 ETH"), "{}", proposal.statement);
    let early = call_refused(olga.execute(&proposal.id).await);
    assert_eq!(early.reason(), Some("QUORUM_NOT_MET"));
    for name in ["alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, &proposal.id, name, true).await?;
    }
    crate::mission::execute(&olga, &proposal.id).await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(11))).await, "parked");
    assert_eq!(olga.book().await?.book, wider);
    scene.journal().await?;
    let _: fn(Record) -> &'static str = |record| record.kind();
    assert_eq!(PAYOUTS, "spiffe://test/payouts");
    Ok(())
}
