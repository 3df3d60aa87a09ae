//! `drill run`: one step after the other; then, whatever came of them, the canary is stopped, the
//! evidence written, signed and told to the journal.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{Key, KeyState};
use portcullis_client::{CallError, Code};
use portcullis_policy::id::DrillId;
use portcullis_policy::time::Span;
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::claims::Claims;
use super::evidence::{
    Bundle, Canary, Evidence, Runner, StepTold, StepVerdict, VERSION, Vault, write_new,
};
use super::excerpt::Excerpt;
use super::plan::Plan;
use super::ready::{Ground, left_line};
use super::stage::Stage;
use super::steps::Step;
use super::stopwatch::Moment;
use super::{DrillFault, page, report};
use crate::approvals::ssh::Signer;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key::state as state_of;
use crate::output::{Output, address, fields};

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// A plan, as `drill plan` prints one [default: what that says].
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// How many callers ask for signatures all the while: 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=64))]
    live_load: u64,
    /// Your SSH key, public or private half, which signs the evidence [default: yours in ~/.ssh].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the evidence goes [default: drills/ and the drill's name].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// For how long people are waited for, each time: 15m, 1h.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = timeout)]
    timeout: Span,
}

pub(crate) async fn run(
    args: RunArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let plan = Plan::read(args.plan.as_deref())?;
    let control = connection.control().await?;
    let ground = Ground::look(&control, &plan).await?;
    ground.left().iter().for_each(|line| output.note(line));
    let missing = ground.missing(&plan);
    let whither = match (missing.is_empty(), ground.whither(&plan)) {
        (true, Ok(whither)) => whither,
        (_, _) => return Err(DrillFault::NotReady(missing).into()),
    };
    let signer = report::signer(args.key.as_ref(), &control).await?;
    let id = drill_id(&ground);
    let folder = args.out.unwrap_or_else(|| PathBuf::from("drills").join(&id));
    let fault = |source| DrillFault::Write { path: folder.clone(), source };
    let bundle = Bundle::create(folder.clone()).map_err(fault)?;
    let stage = Stage {
        connection,
        output,
        control: &control,
        ground: &ground,
        plan: &plan,
        whither,
        callers: args.live_load,
        patience: Duration::from_millis(args.timeout.0),
        canary: None,
        successor: None,
        first: None,
        proposed: None,
        payment: None,
        load: None,
        stopped: None,
        load_told: None,
        journal: None,
    };
    let mut drill = Drill { stage, began: Moment::now(), steps: Vec::new() };
    let good = drill.take_all().await;
    let whole = drill.began.ago();
    drill.make_safe().await;
    let evidence = drill.evidence(id, &signer, good, whole);
    drill.finish(&evidence, &bundle, &signer).await
}

/// The day and the canary: no other drill has that one.
fn drill_id(ground: &Ground) -> String {
    let day = rfc3339(ground.status.sure_time_ms);
    let id = format!("{}-{}", day.get(..10).unwrap_or_default(), ground.label);
    if id.parse::<DrillId>().is_ok() { id } else { ground.label.to_string() }
}

struct Drill<'a> {
    stage: Stage<'a>,
    began: Moment,
    steps: Vec<StepTold>,
}

impl Drill<'_> {
    /// Whether every step found what it must. Ctrl-C, SIGTERM or SIGHUP ends the one that is being
    /// taken.
    async fn take_all(&mut self) -> bool {
        for step in Step::ALL {
            let from = Moment::now();
            let taken = tokio::select! {
                taken = self.stage.take(step) => Some(taken),
                () = interrupted() => None,
            };
            let (verdict, lines, since, until) = match taken {
                Some(Ok(found)) => (StepVerdict::Held, found.lines, found.since, found.until),
                Some(Err(failure)) => {
                    (StepVerdict::Failed, vec![whole_chain(&failure)], None, None)
                }
                None => (StepVerdict::Failed, vec![INTERRUPTED.to_owned()], None, None),
            };
            let since = since.unwrap_or(from);
            let until = until.unwrap_or_else(Moment::now);
            let took = until.since(since);
            self.note(step, (verdict, lines), since, took);
            if verdict != StepVerdict::Held {
                return false;
            }
        }
        true
    }

    fn note(
        &mut self,
        step: Step,
        (verdict, found): (StepVerdict, Vec<String>),
        since: Moment,
        took: Duration,
    ) {
        let told = StepTold {
            name: step.name().to_owned(),
            verdict,
            began_ms: millis(since.since(self.began)),
            took_ms: millis(took),
            goal_ms: self.stage.plan.goal(step.name()).map(|goal| goal.0),
            found,
        };
        let word = match (verdict, told.is_slow()) {
            (StepVerdict::Held, false) => "ok",
            (StepVerdict::Held, true) => "ok, slow",
            (StepVerdict::Failed | StepVerdict::NotReached, _) => "FAILED",
        };
        let (name, took) = (&told.name, told.took_ms);
        let said = told.found.join("\n              ");
        self.stage.output.note(&format!("{name:<12}  {said}  [{word}, {took} ms]"));
        self.steps.push(told);
    }

    /// Whatever happened: the load ends, the canary of this drill is stopped if it can be, and what
    /// the journal says of it is read, if a step has not.
    async fn make_safe(&mut self) {
        let stage = &mut self.stage;
        if let Some(load) = stage.load.take() {
            let stopped = stage.stopped;
            stage.load_told = load.told(stopped.map(|stop| (stop.acknowledged, stop.told))).await;
        }
        if let Some(id) = stage.proposed.take()
            && let Err(error) = stage.control.withdraw_proposal(&id).await
            && !matches!(&error, CallError::Refused(no) if no.code() == Code::NotFound)
        {
            stage.output.note(&format!(
                "warning: {id}, which the drill proposed, could not be taken back ({error}): \
                 portctl approvals withdraw {id}"
            ));
        }
        // One that was being made when it was interrupted is not ours to stop: nothing signs with
        // it, and the next drill may take it.
        let Some(canary) = stage.canary.take() else { return };
        let (id, label) = (canary.key_id.clone(), canary.label.clone());
        let state = stage.control.key(&id).await.map(|key| key.state());
        let is_over =
            matches!(state, Ok(KeyState::Frozen | KeyState::Revoked | KeyState::Destroyed));
        if !is_over {
            match stage.control.freeze(Scope::Key(id.clone()), "drill: not good").await {
                Ok(stop) if stop.recorded => stage.output.note(&format!("{label} was stopped")),
                Ok(_) => stage
                    .output
                    .note(&format!("warning: {label} is stopped, and that could not be recorded")),
                Err(error) => stage.output.note(&format!(
                    "warning: {label} could not be stopped ({error}), and may sign still: portctl \
                     freeze {label} --reason TEXT"
                )),
            }
        }
        let key = stage.control.key(&id).await.unwrap_or(canary);
        if let (None, Ok(id)) = (&stage.journal, key.key_id.parse()) {
            stage.journal = Excerpt::read(stage.control, id).await.ok();
        }
        stage.canary = Some(key);
    }

    fn evidence(&self, id: String, signer: &Signer, good: bool, whole: Duration) -> Evidence {
        let (stage, status) = (&self.stage, &self.stage.ground.status);
        let mut steps = self.steps.clone();
        let rest = Step::ALL.into_iter().skip(steps.len());
        steps.extend(rest.map(|step| StepTold {
            name: step.name().to_owned(),
            verdict: StepVerdict::NotReached,
            began_ms: 0,
            took_ms: 0,
            goal_ms: stage.plan.goal(step.name()).map(|goal| goal.0),
            found: Vec::new(),
        }));
        let read = stage.journal.as_ref();
        Evidence {
            version: VERSION,
            drill: id,
            vault: Vault {
                id: hex::encode(&status.vault_id),
                environment: status.environment.clone(),
                signer_version: status.version.clone(),
            },
            by: Runner {
                person: status.person.clone(),
                credential: signer.credential().clone(),
                portctl_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            began_at_ms: status.sure_time_ms,
            plan: stage.plan.clone(),
            canary: stage.canary.as_ref().map(|key| self.canary(key)),
            good,
            steps,
            whole_ms: millis(whole),
            load: stage.load_told.clone(),
            freeze: stage.freeze_told(),
            tree: read.map(|read| read.tree.clone()),
            records: read.map(|read| read.records.clone()).unwrap_or_default(),
        }
    }

    fn canary(&self, key: &Key) -> Canary {
        let read = self.stage.journal.as_ref();
        let read = read.zip(key.key_id.parse().ok());
        let claims = read.map(|(read, id)| Claims::of(id, &read.entries));
        Canary {
            label: key.label.clone(),
            key_id: key.key_id.clone(),
            address: address(&key.address),
            chain_id: self.stage.whither.chain.0,
            to: self.stage.whither.to.to_checksum(None),
            state: state_of(key).to_owned(),
            successor: claims.as_ref().and_then(Claims::successor),
            absence: claims.and_then(|claims| claims.absence()),
        }
    }

    /// Writes, signs, tells.
    async fn finish(
        &self,
        evidence: &Evidence,
        bundle: &Bundle,
        signer: &Signer,
    ) -> Result<Exit, Failure> {
        let output = self.stage.output;
        let text = evidence.to_text()?;
        let write = |path: PathBuf, text: &str| {
            write_new(&path, text).map_err(|source| DrillFault::Write { path, source })
        };
        write(bundle.evidence(), &text)?;
        write(bundle.page(), &page::render(evidence))?;
        // The journal first: a drill that was not good is not made undone by leaving it unsigned.
        let told = report::tell(self.stage.control, evidence, &text).await;
        let record = told.inspect_err(|_| {
            output.note(&format!(
                "the drill is NOT in the journal yet: portctl drill report {}",
                bundle.folder.display()
            ));
        })?;
        if let (false, Some(key)) = (evidence.good, &self.stage.canary) {
            output.note(&left_line(key));
            output.note("the next drill takes another canary");
        }
        report::sign(bundle, &text, signer, output).await?;
        let human = human(evidence, bundle, record);
        output.result(&human, &json(evidence, bundle, record))?;
        Ok(if evidence.good { Exit::Done } else { Exit::Failure })
    }
}

fn human(evidence: &Evidence, bundle: &Bundle, record: Option<u64>) -> String {
    let missed = evidence.missed();
    let verdict = match (evidence.good, missed.is_empty()) {
        (true, true) => "good, and in time".to_owned(),
        (true, false) => format!("good; slower than its goal: {}", missed.join(", ")),
        (false, _) => "NOT GOOD".to_owned(),
    };
    let took = |name| evidence.took(name).map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let record = record.map_or_else(|| report::NOT_TOLD.to_owned(), |at| at.to_string());
    fields(&[
        ("drill", evidence.drill.clone()),
        ("verdict", verdict),
        ("acknowledged in", took("freeze")),
        ("fenced in", took("fence")),
        ("whole", format!("{} ms", evidence.whole_ms)),
        ("record", record),
        ("evidence", bundle.evidence().display().to_string()),
        ("page for people", bundle.page().display().to_string()),
        ("check it with", format!("portctl drill verify {}", bundle.folder.display())),
    ])
}

fn json(evidence: &Evidence, bundle: &Bundle, record: Option<u64>) -> Value {
    json!({
        "drill": evidence.drill,
        "good": evidence.good,
        "missed": evidence.missed(),
        "canary": evidence.canary,
        "steps": evidence.steps,
        "whole_ms": evidence.whole_ms,
        "load": evidence.load,
        "record": record,
        "folder": bundle.folder,
    })
}

/// Whoever runs it, or the machine, wants it to end.
async fn interrupted() {
    let come = async |kind| match signal(kind) {
        Ok(mut signal) => signal.recv().await,
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = come(SignalKind::terminate()) => {}
        _ = come(SignalKind::hangup()) => {}
    }
}

/// A failure with all its causes, in one line.
fn whole_chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut next = std::error::Error::source(failure);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn timeout(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).filter(|span| *span <= TIMEOUT_MAX);
    span.ok_or_else(|| "write a time as 15m or 1h, and at most 1d".to_owned())
}

/// A step that takes longer than a week cannot be reported.
const TIMEOUT_MAX: Span = Span(86_400_000);

const INTERRUPTED: &str = "interrupted by whoever ran it";
