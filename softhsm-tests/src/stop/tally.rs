//! What a history held, in figures: a check that nothing could fail is worth nothing, so this says
//! how much there was to be found.

use portcullis_policy::verify::Report;
use serde::Serialize;

use super::history::{End, History, Moment};
use crate::load::percentile;
use crate::world::Failure;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Freezes that were acknowledged.
    pub freezes: u64,
    /// Promises that were broken. None, it is to be hoped.
    pub violations: Vec<String>,
    /// Of the freezes, those while a request in scope was under way.
    pub under_traffic: u64,
    /// Freezes that nobody answered.
    pub unanswered: u64,
    /// Signatures that the freezes say were ready or under way and are withheld.
    pub withheld: u64,
    /// Signatures released before a freeze that arrived after its acknowledgement: bytes on their
    /// way, and the reason why the time of an arrival proves nothing.
    pub arrived_later: u64,
    /// Requests that were sent while a freeze in scope held.
    pub asked_while_stopped: u64,
    /// Thaws that were acknowledged.
    pub thaws: u64,
    /// Signatures that callers received, all verified.
    pub signatures: u64,
    /// Requests refused.
    pub refused: u64,
    /// Requests that nobody answered.
    pub cut_off: u64,
    /// From a freeze's sending to its acknowledgement, in milliseconds, with all that befell the
    /// signer meanwhile: median, 99 of 100, most.
    pub acknowledged_ms: [f64; 3],
    /// What befell the signer.
    #[serde(flatten)]
    pub troubled: Troubled,
    /// Records in the journals.
    pub records: u64,
    /// Decisions that policy's verifier repeated with the same outcome.
    pub repeated: u64,
    #[serde(skip)]
    times_ms: Vec<f64>,
}

/// What befell the signer, how often.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Troubled {
    /// `kill -9` and restart.
    pub kills: u64,
    /// SIGSTOP for a while.
    pub halts: u64,
    /// A slow token.
    pub slow: u64,
    /// A token that hung.
    pub hangs: u64,
    /// A token that took long to be told which keys may sign.
    pub slow_fences: u64,
    /// A token that would not be told.
    pub refused_fences: u64,
    /// Kills that left SoftHSM's own files torn, which were then restored from a copy.
    pub torn_tokens: u64,
}

impl Figures {
    pub(super) fn of(history: &History, troubled: Troubled) -> Self {
        let mut figures = Self { troubled, ..Self::default() };
        for call in &history.calls {
            match call.end {
                End::Signed { .. } => figures.signatures += 1,
                End::Refused { .. } => figures.refused += 1,
                End::Cut { .. } => figures.cut_off += 1,
            }
        }
        let thaws = history.thaws.iter().filter(|thaw| thaw.acknowledged.is_some());
        figures.thaws = count(thaws);
        for stop in &history.stops {
            let Some(said) = stop.acknowledged else {
                figures.unanswered += 1;
                continue;
            };
            figures.freezes += 1;
            figures.withheld += said.withheld;
            figures.times_ms.push(said.at.since(stop.sent).as_secs_f64() * 1e3);
            let ours = history.calls.iter().filter(|one| history.covers(&stop.scope, &one.subject));
            let over = |end| match end {
                End::Signed { at, .. } | End::Refused { at } => at,
                End::Cut { .. } => Moment::NEVER,
            };
            let (mut busy, mut asked, mut later) = (false, 0, 0);
            let thaws = history.thaws.iter().filter(|thaw| thaw.scope == stop.scope);
            let opened = thaws.filter(|thaw| thaw.sent > stop.sent).map(|thaw| thaw.sent).min();
            let opened = opened.unwrap_or(Moment::NEVER);
            for call in ours {
                busy |= call.sent < stop.sent && over(call.end) > stop.sent;
                asked += u64::from(call.sent > said.at && over(call.end) < opened);
                let released =
                    matches!(call.end, End::Signed { sequence, .. } if sequence < said.sequence);
                later += u64::from(released && over(call.end) > said.at);
            }
            figures.under_traffic += u64::from(busy);
            figures.asked_while_stopped += asked;
            figures.arrived_later += later;
        }
        figures.sort();
        figures
    }

    /// What policy's verifier says of the journal.
    pub(super) fn repeat(&mut self, report: &Report) -> Result<(), Failure> {
        let found = report.discrepancies.iter();
        let found = found.map(|found| format!("verifier, record {}: {}", found.at, found.what));
        self.violations.extend(found);
        self.repeated += report.repeated;
        self.records += report.size;
        Ok(())
    }

    /// Another vault's.
    pub(super) fn add(&mut self, other: Self) {
        self.freezes += other.freezes;
        self.violations.extend(other.violations);
        self.under_traffic += other.under_traffic;
        self.unanswered += other.unanswered;
        self.withheld += other.withheld;
        self.arrived_later += other.arrived_later;
        self.asked_while_stopped += other.asked_while_stopped;
        self.thaws += other.thaws;
        self.signatures += other.signatures;
        self.refused += other.refused;
        self.cut_off += other.cut_off;
        self.records += other.records;
        self.repeated += other.repeated;
        self.times_ms.extend(other.times_ms);
        let (all, more) = (&mut self.troubled, other.troubled);
        all.kills += more.kills;
        all.halts += more.halts;
        all.slow += more.slow;
        all.hangs += more.hangs;
        all.slow_fences += more.slow_fences;
        all.refused_fences += more.refused_fences;
        all.torn_tokens += more.torn_tokens;
        self.sort();
    }

    /// How far it is.
    pub(super) fn line(&self) -> String {
        let Self { freezes, under_traffic, withheld, thaws, signatures, troubled, .. } = self;
        let (kills, broken) = (troubled.kills, self.violations.len());
        format!(
            "{freezes} freezes ({under_traffic} under traffic, {withheld} withheld), {thaws} \
             thaws, {signatures} signatures, {kills} kills, {broken} violations"
        )
    }

    fn sort(&mut self) {
        self.acknowledged_ms = [50, 99, 100].map(|of| percentile(&mut self.times_ms, of));
    }
}

fn count<T>(of: impl Iterator<Item = T>) -> u64 {
    u64::try_from(of.count()).unwrap_or(u64::MAX)
}
