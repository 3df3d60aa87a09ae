//! How a process of the signer ends: at a random moment or at a named one; and up again.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::Experiment;
use super::points::Point;
use crate::server::{Server, ServerError};
use crate::world::Failure;

impl Experiment<'_> {
    /// The same signer, or one in its place that ends at a named moment: which may come before it
    /// is ready.
    pub(super) fn armed(&mut self, server: Server, chance: &mut StdRng) -> Result<Server, Failure> {
        if chance.random_ratio(1, AT_RANDOM_ONE_IN) {
            return Ok(server);
        }
        server.kill_9()?;
        let (point, patience) = Point::any(chance);
        self.point = Some((point, patience));
        match self.serve_again() {
            Err(error) if is_killed(&error) => {
                self.hit(point);
                self.figures.killed_while_starting += 1;
                self.figures.cycles += 1;
                self.point = None;
                Ok(self.serve_again()?)
            }
            served => Ok(served?),
        }
    }

    /// The end of a process: where it ends by itself, or at a random moment.
    pub(super) async fn end(
        &mut self,
        mut server: Server,
        chance: &mut StdRng,
    ) -> Result<(), Failure> {
        let Some((point, patience)) = self.point.take() else {
            let late = chance.random_ratio(1, KILL_LATE_ONE_IN);
            let when = chance.random_range(if late { KILL_LATE_MS } else { KILL_MS });
            tokio::time::sleep(Duration::from_millis(when)).await;
            server.kill_9()?;
            return Ok(());
        };
        let give_up = Instant::now() + patience;
        let status = loop {
            if let Some(status) = server.child().ended()? {
                break status;
            }
            if Instant::now() > give_up {
                self.figures.missed_points += 1;
                server.kill_9()?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        if status.signal() == Some(KILL) {
            self.hit(point);
        } else {
            self.judge.accuse(format!("under load it ended by itself, before {point:?}: {status}"));
        }
        Ok(())
    }

    fn hit(&mut self, point: Point) {
        let count = self.figures.points.entry(point.name.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// The signer, which ends at the point if there is one.
    fn serve(&self) -> Result<Server, ServerError> {
        let Some((point, _)) = self.point else { return self.vault.installation.serve() };
        let mut environment = self.vault.token.environment();
        environment.extend(point.environment().map_err(ServerError::Place)?);
        self.vault.installation.clone().in_environment(environment).serve()
    }

    /// Up again. SoftHSM rewrites its token's file in place at each login, so a kill during one can
    /// tear it; that is no fault of the signer, which then rightly finds no token. It is restored
    /// from a copy, if and only if it is torn.
    pub(super) fn serve_again(&mut self) -> Result<Server, ServerError> {
        match self.serve() {
            Err(ServerError::Ended { status, .. })
                if status.code().is_some_and(|code| NO_TOKEN.contains(&code)) && self.is_torn() =>
            {
                self.token.restore().map_err(|source| ServerError::File {
                    path: self.vault.token.objects(),
                    source,
                })?;
                self.figures.torn_tokens += 1;
                self.serve()
            }
            served => served,
        }
    }

    fn is_torn(&self) -> bool {
        self.token.is_torn().unwrap_or(false)
    }
}

/// When it is killed, in milliseconds after it became ready: soon, most often.
const KILL_MS: std::ops::RangeInclusive<u64> = 20..=500;
const KILL_LATE_MS: std::ops::RangeInclusive<u64> = 500..=1_500;
const KILL_LATE_ONE_IN: u32 = 5;

/// Of all kills, one in so many is at a random moment, and the others are at a named one.
const AT_RANDOM_ONE_IN: u32 = 2;

/// The signer's exit codes for a token it cannot use, or cannot reach.
const NO_TOKEN: [i32; 2] = [69, 71];

/// SIGKILL.
const KILL: i32 = 9;

/// Whether a process ended as by `kill -9` before it was ready.
fn is_killed(error: &ServerError) -> bool {
    let ServerError::Ended { status, .. } = error else { return false };
    status.signal() == Some(KILL)
}
