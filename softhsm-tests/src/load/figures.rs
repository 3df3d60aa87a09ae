//! From rounds to figures: medians with their spread, ratios within a round, the table, the JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::cpu::Spent;

/// What one round measured. Rates per second, times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// `C_Sign` of the module on all sessions.
    pub raw_per_s: f64,
    /// The whole path, unary.
    pub unary_per_s: f64,
    /// The whole path on streams.
    pub stream_per_s: f64,
    /// The whole path, unary, with a token that costs nothing.
    pub ceiling_per_s: f64,
    /// `C_Sign` of one caller, median.
    pub raw_p50_us: f64,
    /// One durable commit, median.
    pub commit_p50_us: f64,
    /// The whole path of one caller, median.
    pub unary_p50_us: f64,
    /// The whole path of one caller, 99 of 100.
    pub unary_p99_us: f64,
}

/// Median, smallest, largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// What a run comes to: the medians of its rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    sessions: u32,
    raw_per_s: f64,
    unary_per_s: f64,
    unary_ratio: f64,
    stream_per_s: f64,
    stream_ratio: f64,
    raw_p50_us: f64,
    commit_p50_us: f64,
    unary_p50_us: f64,
    unary_p99_us: f64,
    added_p50_us: f64,
    ceiling_per_s: f64,
}

impl Round {
    fn unary_ratio(&self) -> f64 {
        self.unary_per_s / self.raw_per_s
    }

    fn stream_ratio(&self) -> f64 {
        self.stream_per_s / self.raw_per_s
    }

    /// What the service adds to one signature and one commit, in this round.
    fn added_p50_us(&self) -> f64 {
        self.unary_p50_us - self.raw_p50_us - self.commit_p50_us
    }
}

impl Spread {
    /// Of one figure over all rounds, of which there is at least one.
    pub fn of(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> Self {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let middle = [(values.len() - 1) / 2, values.len() / 2];
        let median = middle.iter().map(|at| values[*at] / 2.0).sum();
        Self { median, min: values[0], max: values[values.len() - 1] }
    }
}

impl Summary {
    /// The medians of these rounds.
    pub fn of(sessions: u32, rounds: &[Round]) -> Self {
        let rate = |figure: fn(&Round) -> f64| rounded(Spread::of(rounds, figure).median, 10.0);
        let ratio = |figure: fn(&Round) -> f64| rounded(Spread::of(rounds, figure).median, 1000.0);
        let [raw_p50_us, commit_p50_us, unary_p50_us] = [
            rate(|round| round.raw_p50_us),
            rate(|round| round.commit_p50_us),
            rate(|round| round.unary_p50_us),
        ];
        Self {
            sessions,
            raw_per_s: rate(|round| round.raw_per_s),
            unary_per_s: rate(|round| round.unary_per_s),
            unary_ratio: ratio(Round::unary_ratio),
            stream_per_s: rate(|round| round.stream_per_s),
            stream_ratio: ratio(Round::stream_ratio),
            raw_p50_us,
            commit_p50_us,
            unary_p50_us,
            unary_p99_us: rate(|round| round.unary_p99_us),
            added_p50_us: rounded(unary_p50_us - raw_p50_us - commit_p50_us, 10.0),
            ceiling_per_s: rate(|round| round.ceiling_per_s),
        }
    }
}

/// The table for people.
pub fn table(sessions: u32, in_flight: usize, rounds: &[Round]) -> String {
    let mut out = format!("{:<44}{:>10}{:>10}{:>10}\n", "", "median", "min", "max");
    let mut row = |name: &str, unit: &str, digits: usize, figure: fn(&Round) -> f64| {
        let Spread { median, min, max } = Spread::of(rounds, figure);
        let name = format!("{name} {unit}");
        let _infallible =
            writeln!(out, "{name:<44}{median:>10.digits$}{min:>10.digits$}{max:>10.digits$}");
    };
    row(&format!("raw C_Sign, {sessions} sessions"), "/s", 0, |round| round.raw_per_s);
    row(&format!("unary, {in_flight} in flight"), "/s", 0, |round| round.unary_per_s);
    row("  ratio to raw in the same round", "", 3, Round::unary_ratio);
    row(&format!("stream, {in_flight} in flight"), "/s", 0, |round| round.stream_per_s);
    row("  ratio to raw in the same round", "", 3, Round::stream_ratio);
    row("service ceiling (instant token, unary)", "/s", 0, |round| round.ceiling_per_s);
    row("one caller: raw C_Sign, p50", "us", 0, |round| round.raw_p50_us);
    row("one durable commit, p50", "us", 0, |round| round.commit_p50_us);
    row("one caller: unary, p50", "us", 0, |round| round.unary_p50_us);
    row("one caller: unary, p99", "us", 0, |round| round.unary_p99_us);
    row("  added by the service, p50", "us", 0, Round::added_p50_us);
    out
}

/// Processor time of one request by process and thread name, as lines of a table.
pub fn per_request(name: &str, spent: &Spent, requests: u64) -> String {
    let requests = f64::from(u32::try_from(requests).unwrap_or(u32::MAX));
    let total: f64 = spent.values().sum();
    let mut out = format!("{name:<44}{:>10.1}\n", total / requests);
    let mut threads: Vec<(&String, &f64)> = spent.iter().collect();
    threads.sort_by(|left, right| right.1.total_cmp(left.1));
    for (thread, spent) in threads {
        let each = spent / requests;
        if each >= 0.5 {
            let _infallible = writeln!(out, "  {thread:<42}{each:>10.1}");
        }
    }
    out
}

/// Adds what was spent to what was spent before.
pub(super) fn add(sum: &mut Spent, more: Spent) {
    let more: BTreeMap<String, f64> = more;
    for (thread, spent) in more {
        *sum.entry(thread).or_default() += spent;
    }
}

/// The value below which so many of a hundred lie; NaN of nothing. Sorts.
pub fn percentile(values: &mut [f64], of_hundred: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = values.len() * of_hundred / 100;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(raw_per_s: f64, unary_per_s: f64) -> Round {
        Round {
            raw_per_s,
            unary_per_s,
            stream_per_s: unary_per_s,
            ceiling_per_s: 1.0,
            raw_p50_us: 600.0,
            commit_p50_us: 200.0,
            unary_p50_us: 1_100.0,
            unary_p99_us: 2_000.0,
        }
    }

    #[test]
    fn a_ratio_is_taken_within_its_round_and_not_between_medians() {
        let rounds = [round(1000.0, 900.0), round(2000.0, 1000.0), round(500.0, 400.0)];
        let spread = Spread::of(&rounds, Round::unary_ratio);
        assert_eq!(spread, Spread { median: 0.8, min: 0.5, max: 0.9 });
        assert_eq!(Spread::of(&rounds, |round| round.unary_per_s).median, 900.0);
        assert_eq!(Spread::of(&rounds[..2], |round| round.raw_per_s).median, 1500.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let mut values: Vec<f64> = (0..200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50), 100.0);
        assert_eq!(percentile(&mut values, 99), 198.0);
        assert_eq!(percentile(&mut [3.0], 99), 3.0);
        assert!(percentile(&mut [], 50).is_nan());
    }

    #[test]
    fn the_summary_has_exactly_the_promised_keys_and_the_service_adds_the_rest() {
        let summary = serde_json::to_value(Summary::of(4, &[round(1000.0, 850.0)])).expect("JSON");
        let keys: Vec<&String> = summary.as_object().expect("object").keys().collect();
        let mut promised = [
            "sessions",
            "raw_per_s",
            "unary_per_s",
            "unary_ratio",
            "stream_per_s",
            "stream_ratio",
            "raw_p50_us",
            "commit_p50_us",
            "unary_p50_us",
            "unary_p99_us",
            "added_p50_us",
            "ceiling_per_s",
        ];
        promised.sort_unstable();
        let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, promised);
        assert_eq!(summary["added_p50_us"], 300.0);
        assert_eq!(summary["unary_ratio"], 0.85);
    }
}
