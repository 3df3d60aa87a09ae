//! `drill tabletop [KEY]`: what stopping and ending a key would do now, whom it would ask, and what
//! a drill still needs. Only reads.

use std::path::PathBuf;

use clap::Args;
use portcullis_policy::act::{Act, Destroy, Revoke, Thaw};
use portcullis_policy::governance::Deed;
use portcullis_policy::id::KeyId;
use portcullis_policy::people::Role;
use portcullis_policy::state::{CANARY, State};
use portcullis_policy::stops::Scope;
use serde_json::{Value, json};

use super::plan::Plan;
use super::ready::Ground;
use super::steps::one_of;
use crate::approvals::words::plain;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key::{Fold, ImpactFault};
use crate::output::{Output, fields, table};

#[derive(Args, Debug)]
pub(crate) struct TabletopArgs {
    /// The key, by id or label. Without one, only what a drill needs is told.
    key: Option<String>,
    /// The plan of the drill that is asked about.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

pub(crate) async fn run(
    args: &TabletopArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let plan = Plan::read(args.plan.as_deref())?;
    let control = connection.control().await?;
    let ground = Ground::look(&control, &plan).await?;
    let (mut human, mut told) = (String::new(), Value::Null);
    if let Some(name) = &args.key {
        let mut fold = Fold::default();
        fold.read_signer(connection, output).await?;
        let key = Key::of(&fold, name, &ground)?;
        human.push_str(&key.human());
        told = key.json();
    }
    let (missing, left) = (ground.missing(&plan), ground.left());
    human.push_str(&drill(&ground, &missing, &left));
    let json = json!({
        "key": told,
        "drill": { "label": ground.label, "missing": missing, "left": left },
    });
    output.result(&human, &json)?;
    output.note("nothing was changed: this only read");
    Ok(Exit::Done)
}

/// What a drill needs, in words.
fn drill(ground: &Ground, missing: &[String], left: &[String]) -> String {
    let mut text = format!("a drill now would be on {}:\n", ground.label);
    if missing.is_empty() {
        text.push_str("  nothing is missing: portctl drill run\n");
    }
    for line in missing {
        text.push_str(&format!("  missing: {}\n", line.replace('\n', "\n  ")));
    }
    for line in left {
        text.push_str(&format!("  left over: {line}\n"));
    }
    text.push_str(
        "  not seen from here: whether the signer listens for stop orders ([stop_orders] in its \
         configuration), and who has one\n",
    );
    text
}

/// A real key, and what would become of it.
struct Key<'a> {
    id: KeyId,
    label: String,
    purpose: String,
    state: &'a State,
    ground: &'a Ground,
    /// Callers that it signed for lately, and how often.
    callers: Vec<(String, u64)>,
    parked: usize,
    allowances: usize,
}

impl<'a> Key<'a> {
    fn of(fold: &'a Fold, name: &str, ground: &'a Ground) -> Result<Self, ImpactFault> {
        let state = fold.state.as_ref().ok_or(ImpactFault::Empty)?;
        let named = state.key_named(name).ok_or_else(|| ImpactFault::NoKey(name.to_owned()))?;
        let (id, key) = named;
        let survey = fold.surveys.get(&id);
        let callers = survey.map(|survey| survey.usage(state.at().sure).callers);
        let callers = callers.into_iter().flatten();
        let waits = state.pending().iter().filter(|(_, waiting)| {
            let parked = waiting.parked();
            parked.is_some_and(|one| one.request.asker().key == id && one.signed.is_none())
                && waiting.rejected.is_none()
        });
        Ok(Self {
            id,
            label: key.label.to_string(),
            purpose: key.purpose.clone(),
            state,
            ground,
            callers: callers.map(|(caller, count)| (caller.to_string(), count)).collect(),
            parked: waits.count(),
            allowances: survey.map_or(0, |survey| survey.allowances().len()),
        })
    }

    /// What each deed takes now, and whether it could be proposed as things stand.
    fn deeds(&self) -> Vec<Told> {
        let key = self.id;
        let thaw = Act::Thaw(Thaw { scope: Scope::Key(key) });
        let acts = [
            (Deed::Drain, None, "moves what it holds to its successor, and signs nothing else"),
            (Deed::Thaw, Some(thaw), "starts it again"),
            (
                Deed::Revoke,
                Some(Act::Revoke(Revoke { key })),
                "ends it for good; the token keeps it, fenced",
            ),
            (
                Deed::Destroy,
                Some(Act::Destroy(Destroy { key })),
                "removes it from the token; nothing brings it back",
            ),
        ];
        acts.into_iter().map(|(deed, act, does)| self.told(deed, act.as_ref(), does)).collect()
    }

    fn told(&self, deed: Deed, act: Option<&Act>, does: &'static str) -> Told {
        let (council, me) = (&self.ground.council, &self.ground.status.person);
        let terms = council.terms(deed);
        let takes = terms.as_ref().map_or_else(
            || "no quorum: nobody can".to_owned(),
            |terms| {
                let delay = if self.purpose == CANARY { ", without delay" } else { "" };
                format!(
                    "{}{delay}",
                    if delay.is_empty() { terms.to_string() } else { terms.need.to_string() }
                )
            },
        );
        let now = act.and_then(|act| self.state.check_act(act).err());
        let now = now.map_or_else(String::new, |fault| format!("not now: {fault}"));
        Told { deed, does, takes, asks: council.asked(deed, me).join(", "), now }
    }

    fn human(&self) -> String {
        let stop = one_of(&self.ground.council.with(Role::Security));
        let frozen = self.state.check_act(&Act::Revoke(Revoke { key: self.id })).is_ok();
        let lines = [
            ("key", format!("{} ({})", self.label, self.id)),
            ("purpose", plain(&self.purpose)),
            ("stopped", if frozen { "yes" } else { "no" }.to_owned()),
            ("freeze", format!("{stop} alone: portctl freeze {} --reason TEXT", self.label)),
            ("waits for people", format!("{} requests, which would be refused", self.parked)),
            (
                "may outlast it",
                format!("{} allowances: portctl key impact {}", self.allowances, self.label),
            ),
        ];
        let mut text = fields(&lines);
        text.push_str("\n\nthese would go without at once:\n");
        let callers = self.callers.iter().map(|(one, count)| [one.clone(), count.to_string()]);
        let callers: Vec<[String; 2]> = callers.collect();
        text.push_str(&if callers.is_empty() {
            "  nobody: it signed for no caller lately\n".to_owned()
        } else {
            indented(&table(["CALLER", "SIGNED IN 30 DAYS"], &callers))
        });
        text.push_str("\nwhat takes a quorum, if you propose it:\n");
        let rows = self.deeds().into_iter();
        let rows: Vec<[String; 4]> =
            rows.map(|told| [told.deed.to_string(), told.takes, told.asks, told.now]).collect();
        text.push_str(&indented(&table(["DEED", "TAKES", "ASKS", "NOW"], &rows)));
        text.push('\n');
        text
    }

    fn json(&self) -> Value {
        let deeds = self.deeds().into_iter().map(|told| {
            json!({
                "deed": told.deed.to_string(),
                "does": told.does,
                "takes": told.takes,
                "asks": told.asks,
                "not_now": told.now,
            })
        });
        let callers = self.callers.iter().map(|(one, n)| json!({ "caller": one, "signed": n }));
        json!({
            "label": self.label,
            "key_id": self.id.to_string(),
            "purpose": self.purpose,
            "may_freeze": self.ground.council.with(Role::Security),
            "callers": callers.collect::<Vec<_>>(),
            "parked": self.parked,
            "allowances": self.allowances,
            "deeds": deeds.collect::<Vec<_>>(),
        })
    }
}

/// What a deed would take.
struct Told {
    deed: Deed,
    does: &'static str,
    takes: String,
    asks: String,
    now: String,
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
