//! A vault with one ether to spend, and a count of what was spent: at the end what is left can be
//! spent to the last wei, and not one more, so no fault left a charge behind or took one back.

use alloy_primitives::U256;
use portcullis_client::Client;
use portcullis_softhsm_tests::fault::Faults;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYMENT_FEE, Vault, ether, payment};

use crate::support::{Scene, eventually};

/// A signer with a key, a caller, and what was spent.
pub(crate) struct Till {
    pub(crate) scene: Scene,
    pub(crate) payouts: Client,
    nonce: u64,
    signed: usize,
    pid: u32,
}

impl Till {
    /// With this deadline of a call of the token, in milliseconds, and all the time in the world
    /// before calls that hang end the process.
    pub(crate) async fn new(call_timeout_ms: u64) -> Result<Self, Failure> {
        let vault = Vault::with(Through::Faults, &book().to_string(), |settings| {
            settings.hsm.call_timeout_ms = call_timeout_ms;
            settings.hsm.hung_exit_ms = Some(3_600_000);
        })?;
        Self::on(vault).await
    }

    /// On a vault of one's own, with [`book`].
    pub(crate) async fn on(vault: Vault) -> Result<Self, Failure> {
        let scene = Scene::of(vault).await?;
        let payouts = scene.payouts().await?;
        let pid = scene.server.pid();
        let mut till = Self { scene, payouts, nonce: 0, signed: 0, pid };
        // Until then the sessions may not all be open, and the key's handle is known to none.
        till.comes_back().await?;
        Ok(till)
    }

    pub(crate) fn faults(&self) -> Result<&Faults, Failure> {
        Ok(self.scene.vault.token.faults()?)
    }

    /// Asks for one wei, under a nonce of its own.
    pub(crate) async fn ask(&mut self) -> String {
        let outcome = self.scene.outcome(&self.payouts, &payment(self.nonce, U256::from(1))).await;
        self.nonce += 1;
        self.signed += usize::from(outcome == "signed");
        outcome
    }

    /// Asks until it is signed again and every session is there.
    pub(crate) async fn comes_back(&mut self) -> Result<(), Failure> {
        let start = std::time::Instant::now();
        while self.ask().await != "signed" {
            assert!(start.elapsed() < portcullis_softhsm_tests::wait::PATIENCE, "not back");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.all_sessions().await
    }

    async fn all_sessions(&self) -> Result<(), Failure> {
        let wanted = self.scene.metric("portcullis_hsm_sessions_wanted")?;
        eventually("all sessions", async || {
            let usable = self.scene.metric("portcullis_hsm_sessions_usable")?;
            Ok(usable == wanted && self.scene.metric("portcullis_hsm_stuck")? == 0)
        })
        .await
    }

    /// Spends what is left, and closes: the same process, as many signatures on record as callers
    /// were given, and none of the key's budget astray.
    pub(crate) async fn closes(mut self) -> Result<(), Failure> {
        self.scene.settled().await?;
        let fee = U256::from(PAYMENT_FEE);
        let spent = (U256::from(1) + fee) * U256::from(self.signed);
        let rest = ether(1) - spent - fee;
        let last = self.scene.outcome(&self.payouts, &payment(self.nonce, rest)).await;
        assert_eq!(last, "signed", "a failed request left its charge behind");
        let more = payment(self.nonce + 1, U256::ZERO);
        assert_eq!(self.scene.outcome(&self.payouts, &more).await, "OVER_WINDOW_LIMIT");
        assert_eq!(self.scene.server.pid(), self.pid);
        assert_eq!(self.scene.server.child().ended()?, None, "it was restarted");
        let journal = self.scene.journal().await?;
        assert_eq!(journal.count("signed"), self.signed + 1);
        let held = self.scene.held();
        assert_eq!(held.len(), self.signed + 1);
        assert!(held.iter().all(|signed| journal.knows(signed)));
        Ok(())
    }
}

/// One ether, and no more.
pub(crate) fn book() -> BookText {
    BookText { per_tx: "1 ETH".into(), window: "\"1 ETH / 1h\"".into(), ..BookText::default() }
}
