//! Live callers: real requests for real signatures with the canary, through the data plane, before
//! the stop and after it. What is signed is never sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_client::{Answer, Client, KeyRef, RequestId, SignError, SignedTransaction};
use tokio::task::JoinSet;

use super::DrillFault;
use super::evidence::{FreezeTold, LoadTold};
use super::stopwatch::Moment;
use crate::connection::ConnectionArgs;
use crate::failure::Failure;
use crate::output::hex0x;
use crate::transaction::Transaction;

/// A payment of nothing, under a fee that no block takes.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub(super) key: KeyRef,
    pub(super) chain_id: u64,
    pub(super) to: alloy_primitives::Address,
}

impl Payment {
    pub(super) fn preimage(&self, nonce: u64) -> Result<Vec<u8>, Failure> {
        let text = serde_json::json!({
            "type": "0x2",
            "to": self.to.to_checksum(None),
            "value": "0x0",
            "nonce": format!("{nonce:#x}"),
            "chainId": format!("{:#x}", self.chain_id),
            "gas": "0x5208",
            "maxFeePerGas": "0x1",
            "maxPriorityFeePerGas": "0x0",
        });
        let fault = |source| crate::sign::SignFault::Transaction { name: "drill".into(), source };
        let transaction = Transaction::parse(&text.to_string()).map_err(fault)?;
        Ok(transaction.preimage().map_err(fault)?)
    }

    /// Asks for one signature. The client has verified it when it comes.
    pub(super) async fn sign(
        &self,
        client: &Client,
        id: &RequestId,
        nonce: u64,
    ) -> Result<SignedTransaction, Failure> {
        match self.ask(client, id, nonce).await?? {
            Answer::Signed(signed) => Ok(signed),
            Answer::Parked(parked) => Err(DrillFault::Parked(parked.missing.join(", ")).into()),
        }
    }

    /// Asks for one signature: what is said to that.
    pub(super) async fn ask(
        &self,
        client: &Client,
        id: &RequestId,
        nonce: u64,
    ) -> Result<Result<Answer, SignError>, Failure> {
        let preimage = self.preimage(nonce)?;
        Ok(client.sign_transaction(&self.key, id, &preimage).await)
    }
}

/// One request, as its caller saw it.
#[derive(Debug)]
struct Sample {
    asked: Moment,
    answered: Moment,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// A signature, with its record.
    Signed(u64),
    /// No, with the stable reason.
    Refused(String),
    /// Not now: throttled, or the connection was lost. Says nothing about the stop.
    Busy,
}

/// Callers at work.
pub(super) struct Load {
    callers: u64,
    stop: Arc<AtomicBool>,
    signed: Arc<AtomicU64>,
    tasks: JoinSet<Vec<Sample>>,
}

impl Load {
    /// Connects and sets off so many callers. The first nonce is taken.
    pub(super) async fn start(
        callers: u64,
        payment: &Payment,
        rest: Duration,
        connection: &ConnectionArgs,
    ) -> Result<Self, Failure> {
        let (stop, signed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut load = Self { callers, stop, signed, tasks: JoinSet::new() };
        for caller in 0..callers {
            let live = Caller {
                client: connection.data().await?,
                payment: payment.clone(),
                rest,
                // Not in step: at every moment something is under way.
                first_rest: share(rest, caller, callers),
                nonce: caller.saturating_add(1),
                stride: callers,
                stop: load.stop.clone(),
                signed: load.signed.clone(),
            };
            load.tasks.spawn(live.work());
        }
        Ok(load)
    }

    pub(super) fn callers(&self) -> u64 {
        self.callers
    }

    /// Signatures so far.
    pub(super) fn signed(&self) -> u64 {
        self.signed.load(Ordering::SeqCst)
    }

    /// Lets them end, and judges what they saw around a stop that was acknowledged then.
    pub(super) async fn judge(self, acknowledged: Moment, stop: &FreezeTold) -> Judged {
        let callers = self.callers;
        let mut judged = Judged::default();
        judged.told.callers = callers;
        for samples in self.end().await {
            let before = (judged.told.signed_before, judged.refused());
            for sample in &samples {
                judged.take(sample, acknowledged, stop);
            }
            // One that hangs, or that was never served, shows nothing.
            if before.0 == judged.told.signed_before || before.1 == judged.refused() {
                judged.wrong.push(
                    "a caller had no signature before the stop, or no refusal after it: its \
                     silence shows nothing"
                        .to_owned(),
                );
            }
        }
        judged
    }

    /// Lets them end, after a step that failed; what they saw, if there was a stop to see it by.
    pub(super) async fn told(self, stop: Option<(Moment, FreezeTold)>) -> Option<LoadTold> {
        match stop {
            Some((acknowledged, stop)) => Some(self.judge(acknowledged, &stop).await.told),
            None => {
                drop(self.end().await);
                None
            }
        }
    }

    /// Lets them end; what each of them saw.
    async fn end(self) -> Vec<Vec<Sample>> {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await
    }
}

/// What live callers saw, and what of it must not be.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) told: LoadTold,
    /// A line each; none if the stop held.
    pub(super) wrong: Vec<String>,
}

impl Judged {
    fn take(&mut self, sample: &Sample, acknowledged: Moment, stop: &FreezeTold) {
        let told = &mut self.told;
        let add = |count: &mut u64| *count = count.saturating_add(1);
        add(&mut told.asked);
        let after = sample.asked >= acknowledged;
        if after {
            add(&mut told.asked_after);
        }
        match &sample.outcome {
            Outcome::Signed(record) if after => {
                add(&mut told.signed_after);
                self.wrong
                    .push(format!("record {record} was asked for after the stop, and signed"));
            }
            Outcome::Signed(record) => {
                if sample.answered < acknowledged {
                    add(&mut told.signed_before);
                } else {
                    add(&mut told.on_the_way);
                }
                // It was released before the stop, or the stop's answer is not so.
                if *record > stop.last_released_sequence {
                    self.wrong.push(format!(
                        "record {record} was released, and the stop says that record {} was the \
                         last",
                        stop.last_released_sequence
                    ));
                }
            }
            Outcome::Refused(reason) if after => {
                add(told.refused_after.entry(reason.clone()).or_default());
                if reason != "FROZEN" {
                    self.wrong.push(format!("a request after the stop was refused as {reason}"));
                }
            }
            Outcome::Busy if after => add(&mut told.unanswered_after),
            Outcome::Refused(_) | Outcome::Busy => {}
        }
    }

    /// Requests after the stop that were refused because of it.
    pub(super) fn refused(&self) -> u64 {
        self.told.refused_after.get("FROZEN").copied().unwrap_or(0)
    }
}

struct Caller {
    client: Client,
    payment: Payment,
    rest: Duration,
    first_rest: Duration,
    nonce: u64,
    stride: u64,
    stop: Arc<AtomicBool>,
    signed: Arc<AtomicU64>,
}

impl Caller {
    async fn work(mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        tokio::time::sleep(self.first_rest).await;
        while !self.stop.load(Ordering::SeqCst) && samples.len() < SAMPLES_MAX {
            let Ok(preimage) = self.payment.preimage(self.nonce) else { break };
            let id = self.client.new_request_id();
            let asked = Moment::now();
            let answer = self.client.sign_transaction(&self.payment.key, &id, &preimage).await;
            let answered = Moment::now();
            let outcome = outcome(answer);
            if matches!(outcome, Outcome::Signed(_)) {
                self.nonce = self.nonce.saturating_add(self.stride);
                self.signed.fetch_add(1, Ordering::SeqCst);
            }
            samples.push(Sample { asked, answered, outcome });
            tokio::time::sleep(self.rest).await;
        }
        samples
    }
}

/// So many parts of a rest that is divided by all.
fn share(rest: Duration, part: u64, of: u64) -> Duration {
    let micros = u64::try_from(rest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros.saturating_mul(part).checked_div(of).unwrap_or(0))
}

fn outcome(answer: Result<Answer, SignError>) -> Outcome {
    match answer {
        Ok(Answer::Signed(signed)) => Outcome::Signed(signed.sequence),
        Ok(Answer::Parked(_)) => Outcome::Refused("PARKED".to_owned()),
        Err(error) => match error.reason() {
            // A stop may say when to look again; it is a refusal all the same.
            Some("FROZEN") => Outcome::Refused("FROZEN".to_owned()),
            _ if error.is_retryable() => Outcome::Busy,
            Some(reason) => Outcome::Refused(reason.to_owned()),
            None => Outcome::Refused(format!("no reason: {error}")),
        },
    }
}

/// Of one caller: more than any plan makes, and few enough to keep.
const SAMPLES_MAX: usize = 200_000;

/// A signature, for people who look at one.
pub(super) fn shown(signed: &SignedTransaction) -> String {
    format!("digest {}, record {}", hex0x(signed.digest.as_slice()), signed.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: FreezeTold = FreezeTold { sequence: 50, last_released_sequence: 40, withheld: 0 };

    /// What is wrong with one request that began and ended so many milliseconds after the stop.
    fn wrong(asked: i64, answered: i64, outcome: Outcome) -> Vec<String> {
        let acknowledged = Moment::now().shifted(60_000);
        let at = |millis| acknowledged.shifted(millis);
        let sample = Sample { asked: at(asked), answered: at(answered), outcome };
        let mut judged = Judged::default();
        judged.take(&sample, acknowledged, &STOP);
        judged.wrong
    }

    #[test]
    fn a_signature_that_was_asked_for_after_the_stop_is_a_broken_promise_whatever_its_number() {
        assert_eq!(wrong(1, 2, Outcome::Signed(39)).len(), 1);
        assert_eq!(wrong(0, 2, Outcome::Signed(39)).len(), 1, "at that very moment");
    }

    #[test]
    fn a_signature_on_the_way_is_none_unless_it_was_not_yet_released() {
        assert!(wrong(-5, 5, Outcome::Signed(40)).is_empty());
        assert_eq!(wrong(-5, 5, Outcome::Signed(41)).len(), 1);
        assert_eq!(wrong(-5, -1, Outcome::Signed(41)).len(), 1);
        assert!(wrong(-5, -1, Outcome::Signed(40)).is_empty());
    }

    #[test]
    fn after_the_stop_every_answer_is_that_it_is_stopped() {
        assert!(wrong(1, 2, Outcome::Refused("FROZEN".into())).is_empty());
        assert_eq!(wrong(1, 2, Outcome::Refused("NO_RULE".into())).len(), 1);
        assert!(wrong(-2, 2, Outcome::Refused("WITHHELD".into())).is_empty(), "asked before it");
        assert!(wrong(1, 2, Outcome::Busy).is_empty(), "it says nothing about the stop");
    }
}
