//! People who stop things and start them again: one freezes, a quorum thaws, over whatever process
//! serves the vault at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::freeze_scope;
use portcullis_client::wire::{Approval, FreezeResponse};
use portcullis_client::{CallError, ClientConfig, ControlClient};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::ground::{Ground, Place};
use super::history::{Acknowledged, Moment, Scope, Stop, Thaw};
use super::read::MARK;
use crate::people::Pens;
use crate::server::Server;
use crate::world::{DECIDERS, Failure, Vault};

/// Everybody who decides, with what they sign with. Connections are made as they are needed.
pub struct People {
    /// What they share with everybody.
    pub ground: Arc<Ground>,
    /// Of who proposes, and when.
    pub chance: StdRng,
    pens: Pens,
    certificates: BTreeMap<&'static str, ClientConfig>,
    connected: BTreeMap<&'static str, ControlClient>,
    life: usize,
}

/// What came of trying to thaw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Thawed {
    /// It is done.
    Done,
    /// Nothing of that scope is stopped.
    NotStopped,
    /// The signer went away meanwhile.
    Lost,
}

/// One stop from its sending to its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    /// When it was sent.
    pub sent: Moment,
    /// What was said.
    pub said: Acknowledged,
}

impl People {
    /// Their certificates, issued once.
    pub fn of(
        vault: &Vault,
        server: &Server,
        ground: &Arc<Ground>,
        chance: StdRng,
    ) -> Result<Self, Failure> {
        let mut certificates = BTreeMap::new();
        for (name, _) in DECIDERS {
            certificates.insert(name, vault.person(server, name)?);
        }
        let (ground, pens) = (ground.clone(), vault.pens.clone());
        Ok(Self { ground, chance, pens, certificates, connected: BTreeMap::new(), life: 0 })
    }

    /// The same people at another desk.
    pub fn again(&self, chance: StdRng) -> Self {
        let (ground, pens) = (self.ground.clone(), self.pens.clone());
        let certificates = self.certificates.clone();
        Self { ground, chance, pens, certificates, connected: BTreeMap::new(), life: self.life }
    }

    /// Freezes, and notes it. `None` if nobody answered.
    pub async fn freeze(&mut self, scope: &Scope) -> Result<Option<Frozen>, Failure> {
        let place = self.ground.place();
        let Some(sam) = self.reach(place, "sam").await else { return Ok(None) };
        let (mark, clock) = (self.ground.next_mark(), self.ground.clock);
        let sent = clock.now();
        let answer = sam.freeze(on_the_wire(scope), &format!("{MARK}{mark}")).await;
        let said = match answer {
            Ok(FreezeResponse { sequence, last_released_sequence, withheld, recorded, .. }) => {
                let last_released = last_released_sequence;
                Some(Acknowledged { at: clock.now(), sequence, last_released, withheld, recorded })
            }
            Err(error) => {
                lost(error)?;
                None
            }
        };
        let (scope, life) = (scope.clone(), place.life);
        self.ground.stopped(Stop { mark, scope, life, sent, acknowledged: said });
        Ok(said.map(|said| Frozen { sent, said }))
    }

    /// One proposes, two others vote, and it is carried out once its delay is over.
    pub async fn thaw(&mut self, scope: &Scope) -> Result<Thawed, Failure> {
        let place = self.ground.place();
        let (proposer, proposal) = match self.propose(place, scope).await? {
            Ok(proposed) => proposed,
            Err(none) => return Ok(none),
        };
        let security = DECIDERS.iter().filter(|(_, role)| *role == "security");
        let voters = security.map(|(name, _)| *name).filter(|name| *name != proposer);
        for voter in voters.take(2) {
            let (pens, read) = (self.pens.clone(), proposal.clone());
            // OpenSSH signs, in a process of its own.
            let vote = tokio::task::spawn_blocking(move || pens.vote_on(&read, voter, true));
            let vote = vote.await??;
            let Some(client) = self.reach(place, voter).await else { return Ok(Thawed::Lost) };
            if let Err(error) = client.cast_vote(vote).await {
                lost(error)?;
                return Ok(Thawed::Lost);
            }
        }
        self.execute(place, &proposal, scope).await
    }

    async fn propose(
        &mut self,
        place: Place,
        scope: &Scope,
    ) -> Result<Result<(&'static str, Approval), Thawed>, Failure> {
        let act = json!({ "thaw": { "scope": in_a_record(scope) } }).to_string();
        loop {
            let (name, _) = DECIDERS[self.chance.random_range(0..DECIDERS.len())];
            let Some(client) = self.reach(place, name).await else { return Ok(Err(Thawed::Lost)) };
            match client.propose(&act, "the drill is over").await {
                Ok(proposal) => return Ok(Ok((name, proposal))),
                Err(CallError::Refused(refusal)) => match refusal.reason() {
                    Some("NOT_STOPPED") => return Ok(Err(Thawed::NotStopped)),
                    // Each person proposes only so often: somebody else does.
                    Some("THROTTLED" | "TOO_MANY_PROPOSALS") => tokio::time::sleep(AGAIN).await,
                    _ => return Err(refusal.into()),
                },
                Err(error) => {
                    lost(error)?;
                    return Ok(Err(Thawed::Lost));
                }
            }
        }
    }

    async fn execute(
        &mut self,
        place: Place,
        proposal: &Approval,
        scope: &Scope,
    ) -> Result<Thawed, Failure> {
        let clock = self.ground.clock;
        let number = proposal.sequence;
        loop {
            let Some(client) = self.reach(place, "olga").await else { return Ok(Thawed::Lost) };
            let sent = clock.now();
            let answer = client.execute(&proposal.id).await;
            let acknowledged = match answer {
                Ok(done) => Some((clock.now(), done.sequence)),
                Err(CallError::Refused(refusal)) if refusal.reason() == Some("QUORUM_NOT_MET") => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(error) => {
                    lost(error)?;
                    None
                }
            };
            let (scope, life) = (scope.clone(), place.life);
            let thaw = Thaw { proposal: number, scope, life, sent, acknowledged };
            self.ground.thawed(thaw);
            return Ok(if acknowledged.is_some() { Thawed::Done } else { Thawed::Lost });
        }
    }

    /// Somebody's connection to this process.
    pub async fn reach(&mut self, place: Place, name: &'static str) -> Option<ControlClient> {
        if self.life != place.life {
            self.connected.clear();
            self.life = place.life;
        }
        if let Some(client) = self.connected.get(name) {
            return Some(client.clone());
        }
        let mut config = self.certificates.get(name)?.clone();
        config.endpoint = format!("https://{}", place.control);
        config.request_timeout = PATIENCE;
        let client = ControlClient::connect(&config).await.ok();
        match &client {
            Some(client) => drop(self.connected.insert(name, client.clone())),
            None => tokio::time::sleep(AGAIN).await,
        }
        client
    }
}

/// Nobody answered: that is part of the experiment. Whatever the signer says is not.
fn lost(error: CallError) -> Result<(), Failure> {
    match error {
        CallError::Unreachable(_) => Ok(()),
        CallError::Refused(refusal) if refusal.reason().is_none() => Ok(()),
        CallError::Refused(refusal) => Err(refusal.into()),
        CallError::Incomplete { .. } => Err(error.into()),
    }
}

fn on_the_wire(scope: &Scope) -> freeze_scope::Scope {
    match scope.clone() {
        Scope::All => freeze_scope::Scope::All(true),
        Scope::Caller(caller) => freeze_scope::Scope::Caller(caller),
        Scope::Key(key) => freeze_scope::Scope::Key(key),
        Scope::Tag(tag) => freeze_scope::Scope::Tag(tag),
    }
}

fn in_a_record(scope: &Scope) -> Value {
    match scope {
        Scope::All => json!("all"),
        Scope::Caller(caller) => json!({ "caller": caller }),
        Scope::Key(key) => json!({ "key": key }),
        Scope::Tag(tag) => json!({ "tag": tag }),
    }
}

/// Longer than a stopped process keeps anybody waiting here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before something is asked again.
const AGAIN: Duration = Duration::from_millis(25);
