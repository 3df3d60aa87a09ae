//! Whether signatures can be made now, and what needs attention. A frozen key is neither: it is
//! doing what it should.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_policy::record::Environment;
use portcullis_policy::time::{GAP_BELIEVED_MAX, Interval, Millis, Span};
use portcullis_policy::utc::rfc3339;

use crate::attestor::Attestor;
use crate::clock::Clock;
use crate::edge::{EdgeCounters, Trust};
use crate::hsm::Hsm;
use crate::keys::Keys;
use crate::marker::Marker;
use crate::sequencer::Sequencer;
use crate::snapshot::Progress;

/// Looks at every part.
pub struct Health {
    /// The one order.
    pub sequencer: Sequencer,
    /// The token.
    pub hsm: Arc<Hsm>,
    /// Keys in token and journal.
    pub keys: Arc<Keys>,
    /// Certificates of both planes, by name.
    pub trust: Vec<(&'static str, Arc<Trust>)>,
    /// Counters of both planes, by name.
    pub edge: Vec<(&'static str, Arc<EdgeCounters>)>,
    /// Whether memory is locked.
    pub memory_locked: bool,
    /// How far the token has heard of the journal.
    pub marker: Arc<Marker>,
    /// What signs checkpoints.
    pub attestor: Arc<Attestor>,
    /// What reads the whole journal in the background.
    pub verified: Arc<Progress>,
    /// Notes of rescues that were not taken in at the start, a line each.
    pub untaken_notes: Vec<String>,
    /// Time as the journal has it.
    pub clock: Arc<Clock>,
}

impl Health {
    /// Why no signature can be made, a line each; empty if they can.
    pub fn blocking(&self) -> Vec<String> {
        let mut lines = if self.hsm.can_sign() { Vec::new() } else { self.hsm.health() };
        match self.sequencer.figures().space.load(Ordering::Relaxed) {
            0 => {}
            1 => lines.push("the journal is nearly out of space: only stops are taken".into()),
            _ => lines.push("the journal is out of space".into()),
        }
        lines.extend(self.attestor.blocking());
        lines
    }

    /// What somebody should look at, a line each.
    pub fn attention(&self) -> Vec<String> {
        let mut lines = self.keys.troubles();
        lines.extend(self.hsm.health().into_iter().filter(|_| self.hsm.can_sign()));
        lines.extend(self.hsm.alarms());
        for (plane, trust) in &self.trust {
            lines.extend(trust.troubles().iter().map(|trouble| format!("{plane}: {trouble}")));
        }
        lines.extend(self.marker.troubles());
        lines.extend(self.attestor.troubles());
        lines.extend(self.verified.troubles());
        lines.extend(self.untaken_notes.iter().cloned());
        if !self.memory_locked {
            lines.push("memory is not locked: raise the limit (LimitMEMLOCK=infinity)".into());
        }
        lines.extend(self.drill_overdue());
        lines.extend(time_behind(self.clock.now()));
        lines
    }

    /// Where there is money, or its rehearsal: a stop that nobody has tried for so long.
    fn drill_overdue(&self) -> Option<String> {
        let view = self.sequencer.view();
        if view.environment == Environment::Development {
            return None;
        }
        let Millis(due) = view.drills.overdue_since(DRILL_EVERY, self.clock.now().sure)?;
        let last = view.drills.last_good().map_or_else(
            || "there was no good drill of the stop yet".to_owned(),
            |drill| format!("the last good drill of the stop was at {}", rfc3339(drill.at.0)),
        );
        Some(format!("{last}: one is overdue since {}; portctl drill run", rfc3339(due)))
    }

    /// Everything countable, as Prometheus text.
    pub fn metrics(&self) -> String {
        let figures = self.sequencer.figures();
        let counters = [
            ("signed", "Signatures recorded", &figures.signed),
            ("denied", "Requests refused by policy", &figures.denied),
            ("parked", "Requests parked", &figures.parked),
            ("withheld", "Signatures refused at the last look", &figures.withheld),
            ("failed", "Requests allowed that could not be signed", &figures.failed),
            ("late", "Signatures that came too late and were wiped", &figures.late),
            ("commits", "Durable commits", &figures.commits),
        ];
        let mut text = String::new();
        for (name, help, value) in counters {
            let name = format!("portcullis_{name}_total");
            let value = value.load(Ordering::Relaxed);
            metric(&mut text, &name, "counter", help, &value.to_string());
        }
        let open = figures.open.load(Ordering::Relaxed).to_string();
        metric(&mut text, "portcullis_reservations_open", "gauge", "Requests in flight", &open);
        let head = self.sequencer.head().borrow().sequence.to_string();
        metric(&mut text, "portcullis_journal_sequence", "gauge", "Last durable record", &head);
        let (marked, help) = (self.marker.sequence(), "Last record that the token has heard of");
        metric(&mut text, "portcullis_marker_sequence", "gauge", help, &marked.to_string());
        let attested = self.attestor.newest().map_or(0, |newest| newest.checkpoint.size);
        let help = "Records under the newest signed checkpoint";
        metric(&mut text, "portcullis_checkpoint_size", "gauge", help, &attested.to_string());
        self.verified_metrics(&mut text);
        let ready = u8::from(self.blocking().is_empty()).to_string();
        metric(&mut text, "portcullis_ready", "gauge", "Whether signatures can be made", &ready);
        self.drill_metric(&mut text);
        self.witness_metrics(&mut text);
        self.token_metrics(&mut text);
        for (plane, counters) in &self.edge {
            for (name, value) in counters.snapshot() {
                let _infallible =
                    writeln!(text, "portcullis_edge_{name}{{plane=\"{plane}\"}} {value}");
            }
        }
        text
    }

    fn verified_metrics(&self, text: &mut String) {
        let (name, help) =
            ("portcullis_verified_sequence", "Last record verified in the background");
        metric(text, name, "gauge", help, &self.verified.verified().to_string());
        let (name, help) =
            ("portcullis_snapshot_sequence", "Last record under a recorded snapshot");
        metric(text, name, "gauge", help, &self.verified.snapshot().to_string());
        let (name, help) = ("portcullis_journal_mismatch", "Whether the journal does not verify");
        let mismatch = u8::from(self.verified.is_mismatch()).to_string();
        metric(text, name, "gauge", help, &mismatch);
    }

    /// Absent as long as there was none: no number of seconds is right then.
    fn drill_metric(&self, text: &mut String) {
        let Some(drill) = self.sequencer.view().drills.last_good() else { return };
        let age = self.clock.now().sure.0.saturating_sub(drill.at.0) / 1_000;
        let name = "portcullis_last_good_drill_age_seconds";
        let help = "Since the last good drill of the stop was reported";
        metric(text, name, "gauge", help, &age.to_string());
    }

    /// Size and age are absent as long as there is no cosignature.
    fn witness_metrics(&self, text: &mut String) {
        let help = "Requests refused because the witness had not seen what it must have";
        let refused = self.attestor.cover().refused().to_string();
        metric(text, "portcullis_unwitnessed_total", "counter", help, &refused);
        let Some((size, age)) = self.attestor.cosigned() else { return };
        let help = "Records under the newest checkpoint that the witness cosigned";
        metric(text, "portcullis_cosigned_size", "gauge", help, &size.to_string());
        let help = "Since the newest cosignature was asked for";
        metric(text, "portcullis_cosignature_age_seconds", "gauge", help, &age.to_string());
    }

    fn token_metrics(&self, text: &mut String) {
        let counters = self.hsm.counters();
        let gauges = [
            ("sessions_wanted", "Sessions there should be", counters.sessions_wanted),
            ("sessions_usable", "Sessions that can sign now", counters.sessions_usable),
            ("queued", "Requests waiting for a session", counters.queued),
            ("stuck", "Calls past their deadline that have not returned", counters.stuck),
        ];
        for (name, help, value) in gauges {
            let name = format!("portcullis_hsm_{name}");
            metric(text, &name, "gauge", help, &value.to_string());
        }
        let totals = [
            ("shed", "Requests turned away because too many waited for a session", counters.shed),
            ("late", "Answers of the token that came too late and were wiped", counters.late),
            ("bad_signatures", "Signatures that did not verify", counters.bad_signatures),
            ("reloads", "Times that the PKCS#11 module was loaded again", counters.reloads),
        ];
        for (name, help, value) in totals {
            let name = format!("portcullis_hsm_{name}_total");
            metric(text, &name, "counter", help, &value.to_string());
        }
    }
}

/// Sure time that stood still over an outage, or a wall clock that was moved.
fn time_behind(now: Interval) -> Option<String> {
    let behind = Span(now.possible.0.saturating_sub(now.sure.0));
    (behind > GAP_BELIEVED_MAX).then(|| {
        format!(
            "sure time is {} behind the wall clock: windows and delays end that much later; \
             portctl clock show",
            behind.in_words()
        )
    })
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: &str) {
    let _infallible = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}");
}

/// How old a good drill may be: a month, and a few days to find the time.
const DRILL_EVERY: Span = Span(35 * 86_400_000);
