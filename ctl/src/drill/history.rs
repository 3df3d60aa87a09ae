//! `drill history`: every drill that the journal tells of, how long it took, and when the next is
//! due.

use std::collections::BTreeMap;

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_client::wire::ReadJournalRequest;
use portcullis_policy::id::{KeyId, KeyLabel, Sequence};
use portcullis_policy::record::{Drilled, Entry, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::time::{Millis, Span};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use super::WHOLE;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, table};

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// How often a good drill is due: 30d.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = every)]
    every: Span,
}

pub(crate) async fn run(
    args: &HistoryArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let history = History::read(&control).await?;
    let now = Millis(control.status().await?.sure_time_ms);
    let overdue = history.overdue_since(args.every, now);
    let mut human = history.human();
    human.push_str("\n\n");
    human.push_str(&match overdue {
        Some(since) => {
            let since = format!("overdue since {}", rfc3339(since.0));
            format!("{}: portctl drill run", output.alarm(&since))
        }
        None => format!("the next is due by {}", rfc3339(history.due(args.every).0)),
    });
    let json = json!({
        "drills": history.json(),
        "overdue_since": overdue.map(|since| rfc3339(since.0)),
        "due_by": rfc3339(history.due(args.every).0),
    });
    output.result(&human, &json)?;
    Ok(Exit::Done)
}

fn every(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| "write a time as 30d".to_owned())
}

/// Drills in order, and when the vault began.
#[derive(Default)]
pub(super) struct History {
    began: Millis,
    labels: BTreeMap<KeyId, KeyLabel>,
    drills: Vec<(Sequence, Millis, Drilled)>,
}

impl History {
    /// The record that tells of a drill with this evidence, byte for byte.
    pub(super) async fn told(control: &ControlClient, text: &str) -> Result<Option<u64>, Failure> {
        let hash = sha256(text.as_bytes());
        let drills = Self::read(control).await?.drills;
        let own = drills.iter().find(|(_, _, drilled)| drilled.evidence == hash);
        Ok(own.map(|(at, ..)| at.0))
    }

    async fn read(control: &ControlClient) -> Result<Self, Failure> {
        let request = ReadJournalRequest { from_sequence: 1, follow: false, limit: 0 };
        let (mut journal, mut history) = (control.read_journal(request).await?, Self::default());
        while let Some(batch) = journal.next().await? {
            for line in batch.lines.iter().filter(|line| line.sequence != 0) {
                // What another version wrote tells of no drill that this one knows.
                if let Ok(entry) = Entry::decode(&line.content) {
                    history.take(entry);
                }
            }
        }
        Ok(history)
    }

    fn take(&mut self, entry: Entry) {
        if let Record::Genesis(_) = &entry.record {
            self.began = entry.at.sure;
        }
        if let Record::KeyIntended(intended) = &entry.record {
            self.labels.insert(intended.key, intended.label.clone());
        }
        if let Record::Drilled(drilled) = entry.record {
            self.drills.push((entry.seq, entry.at.sure, *drilled));
        }
    }

    /// When the next good one is due, counted from the last good one or from the beginning.
    fn due(&self, every: Span) -> Millis {
        let good = self.drills.iter().rev().find(|(_, _, drilled)| drilled.good);
        good.map_or(self.began, |(_, at, _)| *at).plus(every)
    }

    fn overdue_since(&self, every: Span, now: Millis) -> Option<Millis> {
        Some(self.due(every)).filter(|due| *due <= now)
    }

    fn label(&self, drilled: &Drilled) -> String {
        self.labels.get(&drilled.key).map(ToString::to_string).unwrap_or_default()
    }

    /// Each beside the good one before it.
    fn with_former(
        &self,
    ) -> impl Iterator<Item = (&(Sequence, Millis, Drilled), Option<&Drilled>)> {
        let mut former = None;
        self.drills.iter().map(move |drill| {
            let before = former;
            if drill.2.good {
                former = Some(&drill.2);
            }
            (drill, before)
        })
    }

    fn human(&self) -> String {
        if self.drills.is_empty() {
            return "there was no drill yet".to_owned();
        }
        let rows = self.with_former().map(|((sequence, at, drilled), before)| {
            let cell = |name| cell(drilled, before, name);
            let date = rfc3339(at.0);
            let date = date.get(..16).unwrap_or_default().replace('T', " ");
            let (freeze, fence, whole) = (cell("freeze"), cell("fence"), cell(WHOLE));
            [
                sequence.to_string(),
                date,
                self.label(drilled),
                verdict(drilled),
                drilled.by.to_string(),
                freeze,
                fence,
                whole,
            ]
        });
        let heading = ["RECORD", "WHEN (UTC)", "CANARY", "VERDICT", "BY", "STOP", "FENCE", "WHOLE"];
        table(heading, &rows.collect::<Vec<_>>())
    }

    fn json(&self) -> Value {
        let drills = self.with_former().map(|((sequence, at, drilled), before)| {
            let change = |name: &str| {
                let (now, then) = (took(drilled, name)?, before.and_then(|one| took(one, name))?);
                i64::try_from(now).ok()?.checked_sub(i64::try_from(then).ok()?)
            };
            json!({
                "record": sequence.0,
                "at": rfc3339(at.0),
                "drill": drilled.drill,
                "canary": self.label(drilled),
                "key_id": drilled.key.to_string(),
                "by": drilled.by,
                "good": drilled.good,
                "missed": drilled.missed,
                "measured_ms": drilled.measured,
                "evidence": hex::encode(drilled.evidence),
                "change_ms": {
                    "freeze": change("freeze"),
                    "fence": change("fence"),
                    "whole": change(WHOLE),
                },
            })
        });
        drills.collect()
    }
}

fn verdict(drilled: &Drilled) -> String {
    match (drilled.good, drilled.missed.is_empty()) {
        (true, true) => "good".to_owned(),
        (true, false) => "good, slow".to_owned(),
        (false, _) => "NOT GOOD".to_owned(),
    }
}

fn took(drilled: &Drilled, name: &str) -> Option<u64> {
    let mut all = drilled.measured.iter();
    all.find(|(step, _)| step.as_str() == name).map(|(_, took)| took.0)
}

/// "12 ms (-3)": and how that is to the good one before.
fn cell(drilled: &Drilled, before: Option<&Drilled>, name: &str) -> String {
    let Some(now) = took(drilled, name) else { return "-".to_owned() };
    match before.and_then(|one| took(one, name)) {
        None => format!("{now} ms"),
        Some(then) if now >= then => format!("{now} ms (+{})", now.saturating_sub(then)),
        Some(then) => format!("{now} ms (-{})", then.saturating_sub(now)),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::StepName;

    use super::*;

    fn drilled(good: bool, freeze: u64) -> Drilled {
        let step: StepName = "freeze".parse().expect("a step");
        Drilled {
            by: "sam".parse().expect("a person"),
            drill: "d".parse().expect("a drill"),
            evidence: Default::default(),
            good,
            key: KeyId::from_bytes([1; 16]),
            measured: [(step, Span(freeze))].into(),
            missed: [].into(),
        }
    }

    fn history(drills: &[(u64, bool, u64)]) -> History {
        let drills = drills
            .iter()
            .map(|(at, good, freeze)| (Sequence(*at), Millis(*at), drilled(*good, *freeze)));
        History { began: Millis(5), drills: drills.collect(), ..History::default() }
    }

    #[test]
    fn a_drill_is_due_after_the_last_good_one_or_after_the_beginning() {
        let every = Span(100);
        assert_eq!(history(&[]).due(every), Millis(105));
        assert_eq!(history(&[(50, false, 1)]).due(every), Millis(105), "not a good one");
        let good = history(&[(50, true, 1), (60, false, 1)]);
        assert_eq!(good.overdue_since(every, Millis(149)), None);
        assert_eq!(good.overdue_since(every, Millis(150)), Some(Millis(150)));
    }

    #[test]
    fn times_are_compared_with_the_good_drill_before() {
        let history = history(&[(10, true, 20), (20, false, 90), (30, true, 17), (40, true, 19)]);
        let text = history.human();
        let cells: Vec<&str> = text.lines().skip(1).collect();
        for (line, cell) in cells.iter().zip(["20 ms", "90 ms (+70)", "17 ms (-3)", "19 ms (+2)"]) {
            assert!(line.contains(cell), "{line}");
        }
    }
}
