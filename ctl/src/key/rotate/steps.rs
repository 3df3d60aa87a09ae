//! What a run of a rotation did, and how long each step took.

use serde_json::{Value, json};

use crate::approvals::words::now_ms;
use crate::output::Output;

/// The clock of a run.
pub(super) struct Steps<'a> {
    output: &'a Output,
    begun: u64,
    since: u64,
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    millis: u64,
    skipped: bool,
}

/// Whether a step found something to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Done {
    /// It did it.
    Now,
    /// It was so already.
    Before,
}

impl<'a> Steps<'a> {
    pub(super) fn begin(output: &'a Output) -> Self {
        let now = now_ms();
        Self { output, begun: now, since: now, done: Vec::new() }
    }

    /// A step is over: says so, and the next one begins.
    pub(super) fn over(&mut self, name: &'static str, done: Done, what: &str) {
        let now = now_ms();
        let millis = now.saturating_sub(self.since);
        self.since = now;
        let skipped = done == Done::Before;
        let took = if skipped { "skipped".to_owned() } else { seconds(millis) };
        self.output.note(&format!("{name}: {what} ({took})"));
        self.done.push(Step { name, millis, skipped });
    }

    fn total(&self) -> u64 {
        now_ms().saturating_sub(self.begun)
    }

    /// For people: a line for each step.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let took = |step: &Step| {
            if step.skipped { "done before".to_owned() } else { seconds(step.millis) }
        };
        let mut lines: Vec<(&str, String)> =
            self.done.iter().map(|step| (step.name, took(step))).collect();
        lines.push(("in all", seconds(self.total())));
        lines
    }

    /// For programs.
    pub(super) fn json(&self) -> [Value; 2] {
        let step =
            |step: &Step| json!({ "name": step.name, "ms": step.millis, "skipped": step.skipped });
        [self.done.iter().map(step).collect(), json!(self.total())]
    }
}

fn seconds(millis: u64) -> String {
    let whole = millis.checked_div(1_000).unwrap_or(0);
    let tenths = millis.checked_rem(1_000).unwrap_or(0).checked_div(100).unwrap_or(0);
    format!("{whole}.{tenths} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_is_told_from_what_took_its_time() {
        let output = Output::plain();
        let mut steps = Steps::begin(&output);
        steps.over("create", Done::Before, "cold is there");
        steps.over("rules", Done::Now, "adopted");
        let names: Vec<&str> = steps.lines().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["create", "rules", "in all"]);
        let [told, total] = steps.json();
        assert_eq!(told.pointer("/0/skipped"), Some(&json!(true)));
        assert_eq!(told.pointer("/1/skipped"), Some(&json!(false)));
        assert!(total.is_u64());
        assert_eq!((seconds(0), seconds(61_950)), ("0.0 s".into(), "61.9 s".into()));
    }
}
