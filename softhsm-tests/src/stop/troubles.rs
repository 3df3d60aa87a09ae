//! What goes wrong with a signer meanwhile: its death, its standstill, and a token that is slow,
//! hangs, or will not be told which keys may sign.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::Plan;
use super::ground::Ground;
use super::tally::Troubled;
use crate::crash::token::TokenCopy;
use crate::server::Server;
use crate::world::{Failure, Vault};

/// The signer, and what befalls it.
pub(super) struct Troubles<'a> {
    vault: &'a Vault,
    token: TokenCopy,
    plan: Plan,
    server: Option<Server>,
    chance: StdRng,
    /// What comes next, last first.
    queue: Vec<Trouble>,
    rounds: u32,
    counted: Troubled,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// `kill -9`, and up again on the same data.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Halt,
    /// Each signature takes long.
    Slow,
    /// The token answers nothing for a while.
    Hang,
    /// The token takes long to be told which keys may sign.
    SlowFence,
    /// The token once will not be told.
    NoFence,
}

/// In one round of them, in any order.
const ALL: [Trouble; 8] = [
    Trouble::Kill,
    Trouble::Kill,
    Trouble::Kill,
    Trouble::Halt,
    Trouble::Slow,
    Trouble::Hang,
    Trouble::SlowFence,
    Trouble::NoFence,
];

impl<'a> Troubles<'a> {
    pub(super) fn begin(
        vault: &'a Vault,
        plan: Plan,
        server: Server,
        chance: StdRng,
    ) -> Result<Self, Failure> {
        let token = TokenCopy::of(&vault.token)?;
        let (server, counted) = (Some(server), Troubled::default());
        Ok(Self { vault, token, plan, server, chance, queue: Vec::new(), rounds: 0, counted })
    }

    /// Whether each has come at least once.
    pub(super) fn is_enough(&self) -> bool {
        self.rounds > 0 && self.queue.is_empty()
    }

    /// A while without trouble, then one.
    pub(super) async fn next(&mut self, ground: &Ground) -> Result<(), Failure> {
        if self.queue.is_empty() {
            self.queue = ALL.to_vec();
            self.queue.shuffle(&mut self.chance);
            self.rounds += 1;
        }
        self.pause(200..1_200).await;
        let faults = self.vault.token.faults()?;
        let counted = &mut self.counted;
        match self.queue.pop().unwrap_or(Trouble::Kill) {
            Trouble::Kill => {
                counted.kills += 1;
                return self.kill(ground);
            }
            Trouble::Halt => {
                counted.halts += 1;
                return self.halt().await;
            }
            Trouble::Slow => {
                counted.slow += 1;
                faults.set(&["C_Sign delay 20"])?;
                self.pause(300..1_500).await;
            }
            Trouble::Hang => {
                counted.hangs += 1;
                faults.set(&["C_Sign hang"])?;
                let longest = u64::try_from(self.plan.hang.as_millis())?;
                self.pause(longest / 4..longest + 1).await;
            }
            Trouble::SlowFence => {
                counted.slow_fences += 1;
                faults.set(&["C_SetAttributeValue delay 150"])?;
                self.pause(300..1_500).await;
            }
            Trouble::NoFence => {
                counted.refused_fences += 1;
                // CKR_DEVICE_ERROR.
                faults.set(&["C_SetAttributeValue error 0x30 next 1"])?;
                self.pause(300..1_000).await;
            }
        }
        Ok(faults.clear()?)
    }

    /// The signer as it is now, without trouble, and what there was.
    pub(super) fn end(self) -> Result<(Server, Troubled), Failure> {
        self.vault.token.faults()?.clear()?;
        Ok((self.server.ok_or("the signer is not running")?, self.counted))
    }

    fn kill(&mut self, ground: &Ground) -> Result<(), Failure> {
        let server = self.server.take().ok_or("the signer is not running")?;
        let server = tokio::task::block_in_place(|| {
            server.kill_9()?;
            ground.died();
            // It writes to the token's files at each login and each fence, in place.
            if self.token.is_torn()? {
                self.token.restore()?;
                self.counted.torn_tokens += 1;
            }
            // With everything stopped, or a token that would not be told, it need not be ready.
            Ok::<_, Failure>(self.vault.installation.serve_unready()?)
        })?;
        ground.moved(&server);
        self.server = Some(server);
        Ok(())
    }

    async fn halt(&mut self) -> Result<(), Failure> {
        let time = self.plan.halt;
        let server = self.server.as_mut().ok_or("the signer is not running")?;
        server.child().signal("STOP")?;
        tokio::time::sleep(time).await;
        Ok(server.child().signal("CONT")?)
    }

    async fn pause(&mut self, time: std::ops::Range<u64>) {
        let pause = self.chance.random_range(time);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
