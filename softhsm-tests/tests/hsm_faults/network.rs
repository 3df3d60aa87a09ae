//! A token behind a network: SoftHSM served over a socket by p11-kit, killed and started again
//! while the signer runs. Its client module is useless afterwards until it was loaded again.

use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::remote::Remote;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{Failure, Vault};

use crate::support::eventually;
use crate::till::{Till, book};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_networked_token_is_used_again_after_its_server_was_killed_and_restarted()
-> Result<(), Failure> {
    let module = place::p11_kit_client()?;
    let mut vault = Vault::with(Through::Real, &book().to_string(), |settings| {
        settings.hsm.module = module;
    })?;
    let mut server = Remote::start(&vault.token)?;
    vault.installation = vault.installation.in_environment(server.environment());
    let mut till = Till::on(vault).await?;
    for _ in 0..2 {
        server.kill();
        assert_eq!(till.ask().await, "TOKEN_UNAVAILABLE");
        eventually("every session to be missed", async || {
            till.ask().await;
            Ok(till.scene.metric("portcullis_hsm_sessions_usable")? == 0)
        })
        .await?;
        server.restart()?;
        till.comes_back().await?;
    }
    // Between two requests: what was open is found to be gone by the next one.
    server.restart()?;
    till.comes_back().await?;
    till.closes().await
}
