//! Return codes at each call on the way to a signature, and what it takes to be well again.

use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, Vault};

use crate::support::eventually;
use crate::till::{Till, book};

/// What a token may say when its session, its login, its device or its module is gone, by number
/// (PKCS#11 v3.1 section 5.1) and name.
const LOST: [(&str, &str); 13] = [
    ("0x02", "HOST_MEMORY"),
    ("0x05", "GENERAL_ERROR"),
    ("0x06", "FUNCTION_FAILED"),
    ("0x30", "DEVICE_ERROR"),
    ("0x31", "DEVICE_MEMORY"),
    ("0x32", "DEVICE_REMOVED"),
    ("0x90", "OPERATION_ACTIVE"),
    ("0xB0", "SESSION_CLOSED"),
    ("0xB3", "SESSION_HANDLE_INVALID"),
    ("0xE0", "TOKEN_NOT_PRESENT"),
    ("0x101", "USER_NOT_LOGGED_IN"),
    ("0x190", "CRYPTOKI_NOT_INITIALIZED"),
    ("0x80000001", "a vendor's own"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_lost_once_at_a_signature_costs_its_request_nothing() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    for call in ["C_SignInit", "C_Sign"] {
        for (code, name) in LOST {
            let before = till.faults()?.calls("C_Sign")?;
            till.faults()?.set(&[&format!("{call} error {code} next 1")])?;
            assert_eq!(till.ask().await, "signed", "{name} at {call}");
            let asked = till.faults()?.calls("C_Sign")? - before;
            assert!(asked <= 2, "{name} at {call}: asked {asked} times");
        }
    }
    // It signed, and we were not told: the same digest under the same charge.
    till.faults()?.set(&["C_Sign lost 0x32 next 1"])?;
    assert_eq!(till.ask().await, "signed");
    till.faults()?.set(&["C_Sign lose-session 0xB3 next 2"])?;
    assert_eq!(till.ask().await, "TOKEN_UNAVAILABLE", "once more, and no more than once");
    till.faults()?.clear()?;
    till.comes_back().await?;
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_became_stale_is_found_again_within_the_request() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    // KEY_HANDLE_INVALID, OBJECT_HANDLE_INVALID.
    for code in ["0x60", "0x82"] {
        let opened = till.faults()?.calls("C_OpenSession")?;
        till.faults()?.set(&[&format!("C_SignInit error {code} next 1")])?;
        assert_eq!(till.ask().await, "signed");
        assert_eq!(till.faults()?.calls("C_OpenSession")?, opened, "the session was good");
    }
    // The search itself fails: then the request does, and the next one does not.
    for (code, name) in LOST {
        let stale = "C_SignInit error 0x60 next 1";
        till.faults()?.set(&[stale, &format!("C_FindObjectsInit error {code} next 1")])?;
        let outcome = till.ask().await;
        assert!(outcome == "TOKEN_UNAVAILABLE" || outcome == "signed", "{name}: {outcome}");
        till.comes_back().await?;
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_will_not_sign_with_a_key_says_so_and_loses_no_session() -> Result<(), Failure>
{
    let mut till = Till::new(60_000).await?;
    let opened = till.faults()?.calls("C_OpenSession")?;
    // MECHANISM_INVALID, KEY_SIZE_RANGE, KEY_TYPE_INCONSISTENT.
    for code in ["0x70", "0x62", "0x63"] {
        till.faults()?.set(&[&format!("C_SignInit error {code} next 1")])?;
        assert_eq!(till.ask().await, "KEY_REFUSED");
    }
    assert_eq!(till.faults()?.calls("C_OpenSession")?, opened);
    assert_eq!(till.ask().await, "signed");
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_cannot_be_opened_are_opened_once_they_can_be() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    // SESSION_COUNT is no reason to load the module again; the others are, if they last.
    for (code, reloads) in [("0xB1", false), ("0x30", true), ("0x05", true)] {
        let finalized = till.faults()?.calls("C_Finalize")?;
        let lost = "C_SignInit error 0xB3";
        till.faults()?.set(&[lost, &format!("C_OpenSession error {code} next 12")])?;
        let unavailable = "TOKEN_UNAVAILABLE";
        eventually("no session to be left", async || {
            let outcome = till.ask().await;
            assert_eq!(outcome, unavailable);
            Ok(till.scene.metric("portcullis_hsm_sessions_usable")? == 0)
        })
        .await?;
        let asked = till.faults()?.calls("C_OpenSession")?;
        till.faults()?.set(&[&format!("C_OpenSession error {code}")])?;
        eventually("sessions to be tried", async || {
            Ok(till.faults()?.calls("C_OpenSession")? > asked + 8)
        })
        .await?;
        till.faults()?.clear()?;
        till.comes_back().await?;
        assert_eq!(till.faults()?.calls("C_Finalize")? > finalized, reloads, "{code}");
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_taken_out_and_put_back_is_used_again_after_one_login()
-> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    for _ in 0..2 {
        let logins = till.faults()?.calls("C_Login")?;
        till.faults()?.set(&["TOKEN removed"])?;
        assert_eq!(till.ask().await, "TOKEN_UNAVAILABLE");
        eventually("every session to be missed", async || {
            till.ask().await;
            Ok(till.scene.metric("portcullis_hsm_sessions_usable")? == 0)
        })
        .await?;
        till.faults()?.clear()?;
        till.comes_back().await?;
        assert_eq!(till.faults()?.calls("C_Login")?, logins + 1);
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_must_be_loaded_again_is_loaded_again() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    for code in ["0x32", "0x190", "0x30"] {
        let finalized = till.faults()?.calls("C_Finalize")?;
        till.faults()?.set(&[&format!("MODULE broken {code}")])?;
        till.ask().await;
        // The module stays broken, though nothing says so any more.
        till.faults()?.clear()?;
        till.comes_back().await?;
        assert!(till.faults()?.calls("C_Finalize")? > finalized, "{code}");
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_is_not_loaded_again_while_a_call_is_inside_it() -> Result<(), Failure> {
    let mut till = Till::new(2_000).await?;
    let finalized = till.faults()?.calls("C_Finalize")?;
    till.faults()?.set(&["C_Sign hang next 1"])?;
    assert_eq!(till.ask().await, "TOKEN_TIMED_OUT");
    till.faults()?.set(&["C_Sign hang next 1", "MODULE broken 0x190"])?;
    eventually("the module to be found held", async || {
        till.ask().await;
        let troubles = till.scene.status().await?.troubles.join("\n");
        Ok(troubles.contains("the module cannot be loaded again"))
    })
    .await?;
    assert_eq!(till.faults()?.calls("C_Finalize")?, finalized);
    till.faults()?.clear()?;
    till.comes_back().await?;
    assert!(till.faults()?.calls("C_Finalize")? > finalized);
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_few_sessions_gets_no_more_than_it_has() -> Result<(), Failure> {
    let vault = Vault::new(Through::Faults, &book().to_string())?;
    vault.token.faults()?.set(&["TOKEN sessions 5"])?;
    let till = Till::on(vault).await?;
    // Four are not for requests.
    assert_eq!(till.scene.metric("portcullis_hsm_sessions_wanted")?, 1);
    let opened = till.faults()?.returns("C_OpenSession")?;
    assert!(opened.iter().all(|code| *code == 0), "it asked for more than there are: {opened:?}");
    till.closes().await
}
