//! The steps of a drill, each with what it must find. A new one is a variant, its place in the
//! order, and a function.

use std::time::Duration;

use portcullis_client::wire::freeze_scope::Scope as WireScope;
use portcullis_client::wire::{CreateKeyRequest, FenceState, Key, KeyState};
use portcullis_client::{CallError, Code, KeyRef};
use portcullis_policy::act::{Act, Destroy, Revoke, Thaw};
use portcullis_policy::id::KeyId;
use portcullis_policy::people::Role;
use portcullis_policy::state::CANARY;
use portcullis_policy::stops::Scope;
use portcullis_policy::utc::rfc3339;

use super::claims::Claims;
use super::evidence::FreezeTold;
use super::excerpt::Excerpt;
use super::load::{Load, Payment, shown};
use super::stage::{Found, Stage, Stopped};
use super::stopwatch::Moment;
use super::votes::Agreement;
use super::{DrillFault, until};
use crate::failure::Failure;
use crate::key::state as state_of;
use crate::output::address;

/// What a drill does, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Create,
    Sign,
    Load,
    Freeze,
    Fence,
    Silence,
    Thaw,
    Rotate,
    Revoke,
    Destroy,
    Audit,
}

impl Step {
    /// In the order in which they are taken.
    pub(super) const ALL: [Self; 11] = [
        Self::Create,
        Self::Sign,
        Self::Load,
        Self::Freeze,
        Self::Fence,
        Self::Silence,
        Self::Thaw,
        Self::Rotate,
        Self::Revoke,
        Self::Destroy,
        Self::Audit,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Sign => "sign",
            Self::Load => "load",
            Self::Freeze => "freeze",
            Self::Fence => "fence",
            Self::Silence => "silence",
            Self::Thaw => "thaw-refused",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Destroy => "destroy",
            Self::Audit => "audit",
        }
    }
}

impl Stage<'_> {
    pub(super) async fn take(&mut self, step: Step) -> Result<Found, Failure> {
        match step {
            Step::Create => self.create().await,
            Step::Sign => self.sign().await,
            Step::Load => self.load().await,
            Step::Freeze => self.freeze().await,
            Step::Fence => self.fence().await,
            Step::Silence => self.silence().await,
            Step::Thaw => self.thaw_refused().await,
            Step::Rotate => self.rotate().await,
            Step::Revoke => self.revoke().await,
            Step::Destroy => self.destroy().await,
            Step::Audit => self.audit().await,
        }
    }

    pub(super) fn label(&self) -> &str {
        self.ground.label.as_str()
    }

    pub(super) fn key_id(&self) -> Result<KeyId, Failure> {
        id_of(self.canary.as_ref().ok_or(CallError::Incomplete { part: "key" })?)
    }

    async fn create(&mut self) -> Result<Found, Failure> {
        let (key, how) = self.prepared_or_made(&self.ground.label).await?;
        let line = format!("{} {} {how}", key.label, address(&key.address));
        self.canary = Some(key);
        Ok(Found::line(line))
    }

    /// By us, if we may; else by an operator, who is asked.
    pub(super) async fn make(&self, label: &str) -> Result<(Key, &'static str), Failure> {
        let now = self.ground.status.sure_time_ms;
        let request = CreateKeyRequest {
            label: label.to_owned(),
            tags: vec![self.plan.tag.to_string()],
            purpose: CANARY.to_owned(),
            owner: String::new(),
            environment: self.ground.status.environment.clone(),
            chains: vec![self.whither.chain.0],
            review_by_ms: now.saturating_add(REVIEW_MS),
        };
        match self.control.create_key(request).await {
            Ok(key) => return Ok((key, "was made in the token")),
            Err(CallError::Refused(no)) if no.code() == Code::PermissionDenied => {}
            Err(error) => return Err(error.into()),
        }
        let (tag, chain) = (&self.plan.tag, self.whither.chain);
        let day = rfc3339(now.saturating_add(REVIEW_MS));
        let day = day.get(..10).unwrap_or_default();
        self.output.note(&format!(
            "only an operator makes keys. {} types:\n  portctl key create {label} --purpose \
             {CANARY} --tag {tag} --chain {chain} --environment {} --review-by {day}",
            one_of(&self.ground.council.with(Role::Operator)),
            self.ground.status.environment
        ));
        let made = until(self.patience, async || match self.control.key(label).await {
            Ok(key) => Ok(Some(key)),
            Err(CallError::Refused(no)) if no.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        });
        let made = made.await?.ok_or(DrillFault::NobodyMade(label.to_owned()))?;
        Ok((made, "was made in the token by an operator"))
    }

    async fn sign(&mut self) -> Result<Found, Failure> {
        let client = self.connection.data().await?;
        let listed = client.list_keys().await?;
        let own = listed.iter().find(|one| one.label == self.label());
        let own = own.ok_or_else(|| DrillFault::NotOurs(self.label().to_owned()))?;
        let made = self.canary.as_ref().map(|key| key.address.as_slice());
        if made != Some(own.key.address.as_slice()) {
            let line = "data plane and control plane tell different addresses of the canary";
            return Err(DrillFault::Wrong(vec![line.to_owned()]).into());
        }
        let key: KeyRef = own.key;
        let payment = Payment { key, chain_id: self.whither.chain.0, to: self.whither.to };
        let first = client.new_request_id();
        let signed = payment.sign(&client, &first, 0).await?;
        (self.payment, self.first) = (Some(payment), Some(first));
        Ok(Found::line(format!("a signature that verifies: {}", shown(&signed))))
    }

    async fn load(&mut self) -> Result<Found, Failure> {
        let payment = self.payment.as_ref().ok_or(DrillFault::Order)?;
        let rest = Duration::from_millis(self.plan.rest_ms);
        let load = Load::start(self.callers, payment, rest, self.connection).await?;
        let enough = self.callers.saturating_mul(SIGNED_EACH);
        let warm = until(WARMING, async || Ok((load.signed() >= enough).then(|| load.signed())));
        let warm = warm.await?;
        let (callers, signed) = (load.callers(), load.signed());
        self.load = Some(load);
        if warm.is_none_or(|signed| signed < enough) {
            return Err(DrillFault::Idle { signed, enough }.into());
        }
        Ok(Found::line(format!("{callers} live callers, {signed} signatures so far")))
    }

    async fn freeze(&mut self) -> Result<Found, Failure> {
        // By its id: a label could be read as another key's.
        let scope = WireScope::Key(self.key_id()?.to_string());
        let asked = Moment::now();
        let stop = self.control.freeze(scope, "drill").await?;
        let acknowledged = Moment::now();
        let told = FreezeTold {
            sequence: stop.sequence,
            last_released_sequence: stop.last_released_sequence,
            withheld: stop.withheld,
        };
        if !stop.recorded {
            let line = "the stop holds and could not be recorded: make room for the journal";
            return Err(DrillFault::Wrong(vec![line.to_owned()]).into());
        }
        self.stopped = Some(Stopped { asked, acknowledged, told });
        let line = format!(
            "acknowledged as record {}: the last signature released before it is record {}, {} \
             withheld",
            told.sequence, told.last_released_sequence, told.withheld
        );
        Ok(Found { lines: vec![line], since: Some(asked), until: Some(acknowledged) })
    }

    async fn fence(&mut self) -> Result<Found, Failure> {
        let stopped = self.stopped.ok_or(DrillFault::Order)?;
        let fenced = until(TOKEN, async || {
            let key = self.control.key(self.label()).await?;
            Ok(match key.fence() {
                FenceState::Fenced => Some(Ok(())),
                FenceState::Refused => Some(Err(key.fence_refused)),
                FenceState::Open
                | FenceState::Closing
                | FenceState::Opening
                | FenceState::Unspecified => None,
            })
        });
        match fenced.await? {
            Some(Ok(())) => {
                let line = "the token was read back: it does not sign with the canary".to_owned();
                Ok(Found { lines: vec![line], since: Some(stopped.asked), until: None })
            }
            Some(Err(why)) => {
                let line = format!("the token would not fence the canary: {why}");
                Err(DrillFault::Wrong(vec![line]).into())
            }
            None => {
                let line = "the token has not said that it fenced the canary".to_owned();
                Err(DrillFault::Wrong(vec![line]).into())
            }
        }
    }

    async fn silence(&mut self) -> Result<Found, Failure> {
        let stopped = self.stopped.ok_or(DrillFault::Order)?;
        tokio::time::sleep(Duration::from_millis(self.plan.silence_ms)).await;
        let load = self.load.take().ok_or(DrillFault::Order)?;
        let judged = load.judge(stopped.acknowledged, &stopped.told).await;
        let (told, refused) = (judged.told.clone(), judged.refused());
        self.load_told = Some(told.clone());
        let mut wrong = judged.wrong;
        if told.unanswered_after > refused {
            wrong.push(format!(
                "{} requests after the stop were not answered, and {refused} refused: the callers \
                 could not go on, so their silence shows little",
                told.unanswered_after
            ));
        }
        wrong.extend(self.repeated().await?);
        if !wrong.is_empty() {
            return Err(DrillFault::Wrong(wrong).into());
        }
        Ok(Found::lines(vec![
            format!(
                "{} requests after the stop: {refused} refused as FROZEN, 0 signed",
                told.asked_after
            ),
            format!(
                "{} signatures before it, {} on the way when it was acknowledged, none of them \
                 later than record {}",
                told.signed_before, told.on_the_way, stopped.told.last_released_sequence
            ),
            "the first signature, asked for again under its own id, is not given again".to_owned(),
        ]))
    }

    /// What was signed before the stop is not given again after it; what is wrong, if it is.
    async fn repeated(&self) -> Result<Option<String>, Failure> {
        let (Some(payment), Some(first)) = (&self.payment, &self.first) else {
            return Err(DrillFault::Order.into());
        };
        let client = self.connection.data().await?;
        let (again, at) = (payment.ask(&client, first, 0).await?, "the first signature");
        Ok(match again {
            Ok(_) => Some(format!("{at} was given again after the stop")),
            Err(error) if error.reason() == Some("FROZEN") => None,
            Err(error) => Some(format!("{at} was refused after the stop, but not for it: {error}")),
        })
    }

    async fn thaw_refused(&mut self) -> Result<Found, Failure> {
        let act = Act::Thaw(Thaw { scope: Scope::Key(self.key_id()?) });
        let act = serde_json::to_string(&act)?;
        let proposed = self.control.propose(&act, "drill: one person alone").await?;
        self.proposed = Some(proposed.id.clone());
        let tried = self.control.execute(&proposed.id).await;
        let withdrawn = self.control.withdraw_proposal(&proposed.id).await;
        if withdrawn.is_ok() {
            self.proposed = None;
        }
        let refusal = match tried {
            Err(CallError::Refused(no)) if no.reason() == Some("QUORUM_NOT_MET") => no,
            Err(error) => return Err(error.into()),
            Ok(done) => {
                let line = format!("one person alone thawed it: record {}", done.sequence);
                return Err(DrillFault::Wrong(vec![line]).into());
            }
        };
        withdrawn?;
        let key = self.control.key(self.label()).await?;
        if key.state() != KeyState::Frozen {
            let line = format!("after the refused thaw the canary is {}", state_of(&key));
            return Err(DrillFault::Wrong(vec![line]).into());
        }
        Ok(Found::line(format!(
            "{} proposed a thaw and could not carry it out: {}; withdrawn",
            self.ground.status.person,
            refusal.message()
        )))
    }

    async fn revoke(&mut self) -> Result<Found, Failure> {
        let act = Act::Revoke(Revoke { key: self.key_id()? });
        let line = self.agree(act).await?;
        Ok(Found::line(line))
    }

    async fn destroy(&mut self) -> Result<Found, Failure> {
        let act = Act::Destroy(Destroy { key: self.key_id()? });
        let agreed = self.agree(act).await?;
        let gone = until(TOKEN, async || {
            let key = self.control.key(self.label()).await?;
            Ok((key.state() == KeyState::Destroyed).then_some(key))
        });
        let Some(key) = gone.await? else {
            let key = self.control.key(self.label()).await?;
            let refused = key.removal.map(|removal| removal.refused).unwrap_or_default();
            let line = format!("the token has not removed the canary: {refused}");
            return Err(DrillFault::Wrong(vec![line]).into());
        };
        let removal = key.removal.clone().unwrap_or_default();
        self.canary = Some(key);
        Ok(Found::lines(vec![
            agreed,
            format!(
                "{} objects removed from {}; looked for by id, label and point, and not found",
                removal.objects, removal.token
            ),
        ]))
    }

    pub(super) async fn agree(&mut self, act: Act) -> Result<String, Failure> {
        let (control, output) = (self.control, self.output);
        let person = &self.ground.status.person;
        let asked = self.ground.council.asked(act.deed(), person);
        let agreement = Agreement { control, output, asked, patience: self.patience };
        let id = agreement.propose(&act).await?;
        self.proposed = Some(id.clone());
        let line = agreement.reach(&act, &id).await?;
        self.proposed = None;
        Ok(line)
    }

    /// Reads what the journal says, and holds it against what was seen.
    async fn audit(&mut self) -> Result<Found, Failure> {
        let key = self.key_id()?;
        let read = Excerpt::read(self.control, key).await?;
        let claims = Claims::of(key, &read.entries);
        let mut wrong = claims.missing();
        let said = self.stopped.map(|stopped| stopped.told.sequence);
        if claims.frozen().map(|at| at.0) != said {
            wrong.push("the journal's first stop of the canary is not the drill's".to_owned());
        }
        let mut lines = claims.told();
        lines.push(format!(
            "{} records about the canary, each proved to be in the journal of {} records",
            read.records.len(),
            read.tree.size
        ));
        self.journal = Some(read);
        if wrong.is_empty() {
            Ok(Found::lines(lines))
        } else {
            Err(DrillFault::Wrong(wrong).into())
        }
    }
}

/// A key's id.
pub(super) fn id_of(key: &Key) -> Result<KeyId, Failure> {
    Ok(key.key_id.parse().map_err(|_| CallError::Incomplete { part: "key id" })?)
}

/// "olga", or "one of olga, oscar".
pub(super) fn one_of(people: &[String]) -> String {
    match people {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [..] => format!("one of {}", people.join(", ")),
    }
}

/// Somebody looks whether it is still there after a week.
const REVIEW_MS: u64 = 7 * 86_400_000;

/// Signatures by each live caller before the stop.
const SIGNED_EACH: u64 = 10;

/// For the first signatures of all live callers: a token may be slow.
const WARMING: Duration = Duration::from_secs(30);

/// For what the token does by itself: it is told again after a while.
pub(super) const TOKEN: Duration = Duration::from_secs(60);
