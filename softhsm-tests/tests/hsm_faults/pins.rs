//! PINs: one that is refused is never sent again, and a new one needs no restart.

use std::process::Command;
use std::time::Duration;

use portcullis_softhsm_tests::token::{LABEL, Through, write_secret};
use portcullis_softhsm_tests::world::{Failure, Vault};

use crate::support::eventually;
use crate::till::{Till, book};

/// Longer than any back-off of a session.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// Takes the token out and puts it back, so that somebody must log in. What then holds is set in
/// the same moment.
async fn log_out(till: &mut Till, then: &[&str]) -> Result<(), Failure> {
    till.faults()?.set(&["TOKEN removed"])?;
    eventually("every session to be missed", async || {
        till.ask().await;
        Ok(till.scene.metric("portcullis_hsm_sessions_usable")? == 0)
    })
    .await?;
    Ok(till.faults()?.set(then)?)
}

/// Somebody changes the PIN with the token's own tools.
fn change_pin(till: &Till, old: &str, new: &str) -> Result<(), Failure> {
    let token = &till.scene.vault.token;
    let configuration = token.environment().into_iter().find(|(name, _)| *name == "SOFTHSM2_CONF");
    let changed = Command::new("pkcs11-tool")
        .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", LABEL, "--login"])
        .args(["--pin", old, "--change-pin", "--new-pin", new])
        .envs(configuration)
        .output()?;
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    Ok(())
}

/// No login comes for a while.
async fn no_more_than(till: &mut Till, logins: usize) -> Result<(), Failure> {
    eventually("the login", async || Ok(till.faults()?.calls("C_Login")? >= logins)).await?;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(till.ask().await, "TOKEN_UNAVAILABLE");
    assert_eq!(till.faults()?.calls("C_Login")?, logins);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_fails_without_a_word_on_the_pin_is_tried_again() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    // The PIN was not looked at, or nobody says whether it was; the token says no attempt was lost.
    for code in ["0x32", "0xB3", "0xE0", "0x30", "0x05", "0x06", "0x80000001"] {
        let logins = till.faults()?.calls("C_Login")?;
        log_out(&mut till, &[&format!("C_Login error {code} next 1")]).await?;
        till.comes_back().await?;
        assert_eq!(till.faults()?.calls("C_Login")?, logins + 2, "{code}");
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_fails_so_again_and_again_ends_after_three() -> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    let logins = till.faults()?.calls("C_Login")?;
    log_out(&mut till, &["C_Login error 0x30"]).await?;
    no_more_than(&mut till, logins + 3).await?;
    let troubles = till.scene.status().await?.troubles.join("\n");
    assert!(troubles.contains("does not say why"), "{troubles}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_pin_is_sent_once_and_another_one_in_its_file_is_tried_once()
-> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    let file = till.scene.vault.token.pin_file();
    let mut pin = till.scene.vault.token.pin().to_owned();
    // PIN_INCORRECT, PIN_EXPIRED, PIN_LOCKED.
    for code in ["0xA0", "0xA3", "0xA4"] {
        let logins = till.faults()?.calls("C_Login")?;
        // Before the module is loaded again: SoftHSM reads a token's PIN only then.
        let right = format!("right-after-{code}");
        change_pin(&till, &pin, &right)?;
        log_out(&mut till, &[&format!("C_Login error {code}")]).await?;
        no_more_than(&mut till, logins + 1).await?;
        let troubles = till.scene.status().await?.troubles.join("\n");
        assert!(troubles.contains("the token refused the PIN"), "{troubles}");
        assert!(troubles.contains("write") && !troubles.contains(&pin), "{troubles}");

        // The same PIN once more is no news, whatever writes the file.
        till.faults()?.clear()?;
        write_secret(&file, &format!("{pin}\n"))?;
        no_more_than(&mut till, logins + 1).await?;
        // This one the token refuses itself.
        write_secret(&file, "000000")?;
        no_more_than(&mut till, logins + 2).await?;
        // The first one once more, after another: it was refused all the same.
        write_secret(&file, &pin)?;
        no_more_than(&mut till, logins + 2).await?;
        write_secret(&file, &right)?;
        till.comes_back().await?;
        assert_eq!(till.faults()?.calls("C_Login")?, logins + 3);
        pin = right;
    }
    till.closes().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_is_changed_on_the_token_and_then_in_its_file_costs_no_signature()
-> Result<(), Failure> {
    let mut till = Till::new(60_000).await?;
    let logins = till.faults()?.calls("C_Login")?;
    change_pin(&till, till.scene.vault.token.pin(), "another-pin-77")?;
    assert_eq!(till.ask().await, "signed", "the login from before is good");
    write_secret(&till.scene.vault.token.pin_file(), "another-pin-77")?;
    log_out(&mut till, &[]).await?;
    till.comes_back().await?;
    assert_eq!(till.faults()?.calls("C_Login")?, logins + 1);
    till.closes().await
}

#[test]
fn no_start_sends_the_pin_that_could_lock_the_token() -> Result<(), Failure> {
    let vault = Vault::new(Through::Faults, &book().to_string())?;
    let logins = vault.token.faults()?.calls("C_Login")?;
    vault.token.faults()?.set(&["C_GetTokenInfo final-try"])?;
    let (ended, said) = vault.installation.serve_in_vain()?;
    assert_eq!(ended.code(), Some(69), "{said}");
    assert!(said.contains("one more wrong PIN locks the token"), "{said}");
    assert_eq!(vault.token.faults()?.calls("C_Login")?, logins);
    Ok(())
}

#[test]
fn a_session_on_a_token_that_was_exchanged_meanwhile_is_closed() -> Result<(), Failure> {
    let vault = Vault::new(Through::Faults, &book().to_string())?;
    let faults = vault.token.faults()?;
    // How often a token is asked who it is before there is a session on it.
    let before = faults.calls("C_GetTokenInfo")?;
    faults.set(&["C_OpenSession hang"])?;
    let child = vault.installation.start()?;
    faults.wait_for_hangs("C_OpenSession", 1)?;
    let asked = faults.calls("C_GetTokenInfo")? - before;
    child.kill_9()?;

    let closed = faults.calls("C_CloseSession")?;
    let ours = format!("C_GetTokenInfo other-maker next {asked}");
    faults.set(&[&ours, "C_GetTokenInfo other-serial"])?;
    let (ended, said) = vault.installation.serve_in_vain()?;
    assert_eq!(ended.code(), Some(69), "{said}");
    assert_eq!(faults.calls("C_CloseSession")?, closed + 1, "it is left open");
    Ok(())
}
