//! Calls that do not end: one, and one that holds the whole module.

use portcullis_client::Code;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, Vault};

use crate::support::{REPORTS, eventually, refused, said};
use crate::till::{Till, book};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_that_hangs_costs_one_request_wherever_it_hangs() -> Result<(), Failure> {
    let mut till = Till::new(2_000).await?;
    // What leads to the call, and the call.
    let cases = [
        (None, "C_SignInit"),
        (None, "C_Sign"),
        (Some("C_SignInit error 0x60 next 1"), "C_FindObjectsInit"),
        (Some("C_SignInit error 0xB3 next 1"), "C_OpenSession"),
        (Some("C_SignInit error 0xB3 next 1"), "C_GetSessionInfo"),
    ];
    for (before, call) in cases {
        let (hangs, late) = (till.faults()?.hangs(call)?, till.scene.metric(LATE)?);
        let hang = format!("{call} hang next 1");
        let lines: Vec<&str> = before.into_iter().chain([hang.as_str()]).collect();
        till.faults()?.set(&lines)?;
        assert_eq!(till.ask().await, "TOKEN_TIMED_OUT", "{call}");
        assert_eq!(till.faults()?.hangs(call)?, hangs + 1, "{call}");
        assert_eq!(till.ask().await, "signed", "{call}: the other sessions go on");
        till.faults()?.clear()?;
        till.scene.metric_reaches(LATE, late + 1).await?;
        till.comes_back().await?;
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_hangs_holds_up_those_that_need_one_and_sends_no_second_pin()
-> Result<(), Failure> {
    let mut till = Till::new(1_000).await?;
    let logins = till.faults()?.calls("C_Login")?;
    till.faults()?.set(&["TOKEN removed"])?;
    eventually("every session to be missed", async || {
        till.ask().await;
        Ok(till.scene.metric("portcullis_hsm_sessions_usable")? == 0)
    })
    .await?;
    till.faults()?.set(&["C_Login hang"])?;
    eventually("others to wait for the login", async || {
        let troubles = till.scene.status().await?.troubles.join("\n");
        Ok(troubles.contains("the login of another session does not end"))
    })
    .await?;
    assert_eq!(till.ask().await, "TOKEN_UNAVAILABLE");
    assert_eq!(till.faults()?.calls("C_Login")?, logins + 1, "two PINs at once");
    till.faults()?.clear()?;
    till.comes_back().await?;
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_is_held_closes_admission_and_no_stop_waits_for_it() -> Result<(), Failure> {
    let mut till = Till::new(1_000).await?;
    till.faults()?.set(&["C_Sign hold"])?;
    assert_eq!(till.ask().await, "TOKEN_TIMED_OUT");
    eventually("admission to close", async || {
        let outcome = till.ask().await;
        Ok(outcome == "TOKEN_UNAVAILABLE")
    })
    .await?;
    let nonce = portcullis_softhsm_tests::world::payment(9_999, alloy_primitives::U256::ZERO);
    let refusal = refused(till.scene.sign(&till.payouts, &nonce).await);
    assert_eq!(said(&refusal), (Code::Unavailable, "TOKEN_UNAVAILABLE"));
    assert!(refusal.retry_after().is_some());
    let sam = till.scene.vault.control(&till.scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Caller(REPORTS.into()), "while the module is held").await?;
    assert!(frozen.sequence > 0, "{frozen:?}");
    till.faults()?.clear()?;
    till.comes_back().await?;
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_is_held_for_good_ends_the_process_with_a_code_of_its_own()
-> Result<(), Failure> {
    let vault = Vault::new(Through::Faults, &book().to_string())?;
    let mut settings = vault.settings.clone();
    settings.hsm.call_timeout_ms = 1_000;
    settings.hsm.hung_exit_ms = Some(3_000);
    vault.installation.configure(&settings)?;
    let mut till = Till::on(vault).await?;
    till.faults()?.set(&["C_Sign hold"])?;
    assert_eq!(till.ask().await, "TOKEN_TIMED_OUT");
    let child = till.scene.server.child();
    let ended = tokio::task::block_in_place(|| {
        portcullis_softhsm_tests::wait::until("the process to end", || child.ended().transpose())
    })??;
    assert_eq!(ended.code(), Some(70), "{ended}");
    assert!(till.scene.server.said()?.contains("a fresh process is needed"));
    // The supervisor's part.
    till.faults()?.clear()?;
    let scene = till.scene.restart().await?;
    let payouts = scene.payouts().await?;
    let more = portcullis_softhsm_tests::world::payment(7_777, alloy_primitives::U256::ZERO);
    assert_eq!(scene.outcome(&payouts, &more).await, "signed");
    assert!(scene.journal().await?.count("failed") > 0, "it was not on record");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_the_token_ends_with_a_code_after_which_it_is_started_again()
-> Result<(), Failure> {
    let vault = Vault::new(Through::Faults, &book().to_string())?;
    // Gone, and not to be spoken to.
    for line in ["TOKEN removed", "C_OpenSession error 0x30"] {
        vault.token.faults()?.set(&[line])?;
        let (ended, said) = tokio::task::block_in_place(|| vault.installation.serve_in_vain())?;
        assert_eq!(ended.code(), Some(71), "{line}: {said}");
    }
    assert_eq!(vault.token.faults()?.calls("C_Login")?, 0, "a restart must cost no attempt");
    Ok(())
}

/// Answers that were dropped.
const LATE: &str = "portcullis_hsm_late_total";
