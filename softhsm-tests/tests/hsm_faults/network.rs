//! A token behind a network: SoftHSM served over a socket by p11-kit, killed and started again
//! while the signer runs. Its client module is useless afterwards until it was loaded again.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::token::{Through, Token};
use portcullis_softhsm_tests::wait;
use portcullis_softhsm_tests::world::{Failure, Vault};

use crate::support::eventually;
use crate::till::{Till, book};

/// The server, and those it forks for each connection.
struct Server {
    socket: PathBuf,
    configuration: std::ffi::OsString,
    process: Option<Child>,
}

impl Server {
    fn start(token: &Token) -> Result<Self, Failure> {
        let environment = token.environment();
        let found = environment.into_iter().find(|(name, _)| *name == "SOFTHSM2_CONF");
        let (_, configuration) = found.ok_or("the token has no configuration")?;
        let socket = token.pin_file().with_file_name("p11-kit");
        let mut server = Self { socket, configuration, process: None };
        server.restart()?;
        Ok(server)
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        // What a killed server leaves behind keeps the next one from starting.
        drop(std::fs::remove_file(&self.socket));
        let process = Command::new("p11-kit")
            .args(["server", "--foreground", "--name"])
            .arg(&self.socket)
            .arg("--provider")
            .arg(place::softhsm_module()?)
            .arg("pkcs11:")
            .env("SOFTHSM2_CONF", &self.configuration)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        self.process = Some(process);
        let socket = &self.socket;
        Ok(wait::until("p11-kit's socket", || socket.exists().then_some(()))?)
    }

    /// With all that it forked: those would go on serving.
    fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let group = format!("-{}", process.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(process.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_networked_token_is_used_again_after_its_server_was_killed_and_restarted()
-> Result<(), Failure> {
    let module = place::p11_kit_client()?;
    let mut vault = Vault::with(Through::Real, &book().to_string(), |settings| {
        settings.hsm.module = module;
    })?;
    let mut server = Server::start(&vault.token)?;
    let mut environment = vault.token.environment();
    let address = format!("unix:path={}", server.socket.display());
    environment.push(("P11_KIT_SERVER_ADDRESS", address.into()));
    vault.installation = vault.installation.in_environment(environment);
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
