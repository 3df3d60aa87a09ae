//! Carries one request from the wire to its reply. Start reading here.
//!
//! Each stage takes the one before by value, and only the module that owns a step can make its
//! result: a step that is skipped or reordered does not compile.

use std::sync::Arc;

use portcullis_policy::id::{KeyId, KeyLabel};
use portcullis_policy::record::{Actor, Frozen, Trigger};
use portcullis_policy::request::{Asker, Request};
use portcullis_policy::stops::Scope;

use crate::clock::Deadline;
use crate::edge::signing::RawRequest;
use crate::hsm::{Hsm, SignFault};
use crate::recent::Recent;
use crate::refusal::Refusal;
use crate::roster::{self, Authenticated};
use crate::sequencer::{Charged, ParkedAnswer, Reserved, Sequencer, Signed, View};
use crate::throttle::{Admitted, Throttle};
use crate::witness::{Cover, Covered};

/// What a request passes through.
pub struct Pipeline {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    throttle: Throttle,
    recent: Recent,
    cover: Arc<Cover>,
}

/// A request that was not refused.
#[derive(Debug)]
#[must_use]
pub enum Answered {
    /// Signed, verified, recorded, and let go by the witness. Not yet through the gate.
    Signed(Box<Covered>),
    /// Waits for people.
    Parked(ParkedAnswer),
}

/// A request that was understood.
#[derive(Debug)]
#[must_use]
struct Decoded {
    request: Request,
    deadline: Option<Deadline>,
}

impl Pipeline {
    /// Joins the parts.
    pub fn new(
        sequencer: Sequencer,
        token: Arc<Hsm>,
        throttle: Throttle,
        cover: Arc<Cover>,
    ) -> Arc<Self> {
        Arc::new(Self { sequencer, token, throttle, recent: Recent::default(), cover })
    }

    /// From the wire to the record.
    pub async fn sign(self: Arc<Self>, raw: RawRequest) -> Result<Answered, Refusal> {
        let view = self.sequencer.view();
        let authenticated = roster::authenticate(&view, &raw.peer)?;
        let admitted = self.admit(&view, authenticated, raw.key)?;
        let decoded = self.decode(admitted, raw)?;

        // A caller that hangs up must not stop us between charging its budget and recording the
        // signature: from here on the work belongs to the server.
        let work = tokio::spawn(async move { self.finish(decoded).await });
        work.await.map_err(|_| Refusal::ShuttingDown)?
    }

    async fn finish(&self, decoded: Decoded) -> Result<Answered, Refusal> {
        self.cover.admit()?;
        let deadline = decoded.deadline;
        let reserved = match self.sequencer.charge(decoded.request, decoded.deadline).await? {
            Charged::Reserved(reserved) => *reserved,
            Charged::Parked(parked) => return Ok(Answered::Parked(parked)),
        };
        let signed = self.obtain(reserved).await?;
        let recorded = self.sequencer.record(signed).await?;
        let request = recorded.request();
        self.recent.keep(request.asker().key, request.digest(), recorded.signature());
        let covered = self.cover.covered(recorded, deadline, || self.sequencer.view()).await?;
        Ok(Answered::Signed(Box::new(covered)))
    }

    /// A signature made a moment ago for the same digest, or a fresh one out of the token.
    async fn obtain(&self, reserved: Reserved) -> Result<Signed, Refusal> {
        let (number, key) = (reserved.number(), *reserved.key());
        let answer = match self.recent.take(*reserved.key(), *reserved.digest()) {
            Some(raw) => reserved.attach(raw).map_err(|_| SignFault::BadSignature { key }),
            None => self.token.sign(reserved).await,
        };
        match answer {
            Ok(signed) => Ok(signed),
            Err(fault) => {
                let code = fault_code(&fault);
                self.sequencer.fail(number, code).await?;
                if matches!(fault, SignFault::BadSignature { .. }) {
                    self.stop_key(key).await;
                }
                // The stop went round the queue and was in the token before this was: fenced, out
                // of sight while its fence was written, or whatever the token made of it. A lie of
                // the token is told as one.
                let lied = matches!(fault, SignFault::BadSignature { .. });
                if let Some(scope) = self.sequencer.view().stop_of(&key).filter(|_| !lied) {
                    return Err(Refusal::Stopped(scope));
                }
                Err(Refusal::Token { code, retry_after: fault.retry_after() })
            }
        }
    }

    /// Stops a key whose token answered wrongly: what else it may sign for whom is not known.
    /// Everything else goes on.
    async fn stop_key(&self, key: KeyId) {
        let scope = Scope::Key(key);
        if self.sequencer.view().is_stopped_by_itself(&key) {
            return;
        }
        let by = Actor::Trigger(Trigger::BadSignature);
        let reason = "the token gave a signature that does not verify for this key".to_owned();
        let answer = self.sequencer.freeze(Frozen { by, reason, scope }).await;
        let recorded = answer.sequence.is_some();
        tracing::error!(%key, recorded, "stopped: the token gave a wrong signature");
    }

    /// Forgets signatures that nobody asked for again. Call it every minute.
    pub fn forget_old_signatures(&self) {
        self.recent.age();
    }

    fn admit(
        &self,
        view: &View,
        authenticated: Authenticated,
        key: KeyId,
    ) -> Result<Admitted, Refusal> {
        let label: Option<&KeyLabel> = view.keys.get(&key).map(|key| &key.label);
        self.throttle.admit(&view.book, authenticated, label)
    }

    fn decode(&self, admitted: Admitted, raw: RawRequest) -> Result<Decoded, Refusal> {
        let caller = admitted.into_authenticated().into_caller();
        let RawRequest { peer: _, deadline, request, key, expected, input } = raw;
        let asker = Asker { caller: caller.clone(), expected, key, request };
        match Request::decode(asker, &input) {
            Ok(request) => Ok(Decoded { request, deadline }),
            Err(unreadable) => {
                self.sequencer.note(caller, key, unreadable.code());
                Err(Refusal::Unreadable(unreadable))
            }
        }
    }
}

/// The stable code of a fault, as in `ErrorInfo.reason` and in records.
fn fault_code(fault: &SignFault) -> &'static str {
    match fault {
        SignFault::Overloaded => "TOKEN_OVERLOADED",
        SignFault::TimedOut => "TOKEN_TIMED_OUT",
        SignFault::Unavailable => "TOKEN_UNAVAILABLE",
        SignFault::BadSignature { .. } => "TOKEN_BAD_SIGNATURE",
        SignFault::KeyMissing { .. } => "KEY_MISSING",
        SignFault::KeyAmbiguous { .. } => "KEY_AMBIGUOUS",
        SignFault::KeyFenced { .. } => "KEY_FENCED",
        SignFault::KeyRefused { .. } => "KEY_REFUSED",
        SignFault::KeyQuarantined { .. } => "KEY_QUARANTINED",
        SignFault::Closed => "SHUTTING_DOWN",
    }
}
