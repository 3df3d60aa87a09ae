//! The only reader of the clock: time as an interval whose lower end an attacker cannot push.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_policy::state::State;
use portcullis_policy::time::{Interval, Millis, Span};
use rustix::time::{ClockId, clock_gettime};

/// Time since a start whose sure time is known.
#[derive(Debug)]
pub struct Clock {
    sure_at_base: Millis,
    boot_at_base: Millis,
    /// How far the wall clock was believed.
    believed: Span,
    /// Milliseconds that people let it go forward since.
    accepted: AtomicU64,
}

impl Clock {
    /// For the first record of a vault: there is nothing before it to hold on to.
    pub fn genesis() -> Self {
        let Reading { wall, boot } = Reading::now();
        Self::since(wall, boot, Span(0))
    }

    /// Goes on from the journal. Within the same boot of the machine the boot clock says how long
    /// it was; across a boot, only a gap of minutes is believed, and of many not all. Otherwise
    /// sure time stands where the journal ended, and windows and delays end that much later.
    pub fn resume(state: &State, boot_name: &str) -> Self {
        Self::resume_at(state, boot_name, Reading::now())
    }

    fn resume_at(state: &State, boot_name: &str, Reading { wall, boot }: Reading) -> Self {
        let last = state.at();
        let within_boot = state.started().filter(|(started, _)| started.is_within(boot_name));
        let (passed, believed) = match within_boot {
            Some((started, at)) => {
                let since = Span(boot.0.saturating_sub(started.boot_clock.0));
                (Span(at.sure.plus(since).0.saturating_sub(last.sure.0)), Span(0))
            }
            None => {
                let gap = Span(wall.0.saturating_sub(last.possible.0));
                let believed = if gap <= state.believable() { gap } else { Span(0) };
                (believed, believed)
            }
        };
        Self::since(last.sure.plus(passed), boot, believed)
    }

    fn since(sure_at_base: Millis, boot_at_base: Millis, believed: Span) -> Self {
        Self { sure_at_base, boot_at_base, believed, accepted: AtomicU64::new(0) }
    }

    /// How far it went forward on the wall clock's word alone.
    pub fn believed(&self) -> Span {
        self.believed
    }

    /// What a record let sure time go forward by. The one writer calls it, in the order of records.
    pub fn go_forward(&self, by: Span) {
        self.accepted.fetch_add(by.0, Ordering::AcqRel);
    }

    /// Now.
    pub fn now(&self) -> Interval {
        self.at(Reading::now())
    }

    fn at(&self, Reading { wall, boot }: Reading) -> Interval {
        let passed = Span(boot.0.saturating_sub(self.boot_at_base.0));
        let accepted = Span(self.accepted.load(Ordering::Acquire));
        let sure = self.sure_at_base.plus(passed).plus(accepted);
        Interval { possible: sure.max(wall), sure }
    }
}

/// What the machine's clocks say.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Millis,
    boot: Millis,
}

impl Reading {
    fn now() -> Self {
        Self { wall: wall(), boot: boot() }
    }
}

/// The wall clock, which anybody with the right to set it can move.
pub fn wall() -> Millis {
    let since = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clock, for checking certificates.
#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// For deadlines of our own: never set back, and stands still while the machine sleeps. Since when
/// it counts means nothing.
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos))
}

/// The boot clock: goes on while the machine sleeps, and nobody can set it.
pub fn boot() -> Millis {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec).unwrap_or(0).checked_div(1_000_000).unwrap_or(0);
    Millis(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// A moment on the boot clock at which somebody stops waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadline(Millis);

impl Deadline {
    /// So long from now, in whole milliseconds and not before that.
    pub fn after(wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        Self(Millis(boot().0.saturating_add(wait)))
    }

    /// Whether nobody waits any more.
    pub fn has_passed(self) -> bool {
        boot() >= self.0
    }

    /// What is left until then.
    pub fn left(self) -> Duration {
        Duration::from_millis(self.0.0.saturating_sub(boot().0))
    }
}

/// The kernel's name for this boot of the machine. Empty if it has none: then no boot is the same,
/// another without a name least of all.
pub fn boot_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::{BookHash, Epoch, Sequence};
    use portcullis_policy::record::{Entry, Environment, FORMAT, Genesis, Record, Started};

    use super::*;

    const MINUTE: u64 = 60_000;
    const LAST: Interval = Interval { sure: Millis(1_000), possible: Millis(1_000) };

    /// A journal that was started once, when the machine booted.
    fn started_in(boot: &str) -> State {
        let genesis = Genesis {
            book: "version = 1\n".into(),
            environment: Environment::Development,
            format: FORMAT,
            governance: None,
            people: Vec::new(),
            salt: BookHash::of("salt").0,
            signatures: Vec::new(),
        };
        let started = Started {
            believed: Some(Span(0)),
            boot: boot.into(),
            boot_clock: Millis(0),
            cut: 0,
            epoch: Epoch(1),
            lost: Vec::new(),
            version: String::new(),
            wall_clock: LAST.possible,
        };
        let entry = |record, seq| Entry { at: LAST, record, seq };
        let mut state = State::genesis(&entry(Record::Genesis(genesis), Sequence(1))).unwrap();
        state.apply(&entry(Record::Started(started), Sequence(2))).unwrap();
        state
    }

    #[test]
    fn the_boot_clock_is_believed_within_the_same_boot_alone() {
        let resumed = |then, now| Clock::resume(&started_in(then), now).sure_at_base;
        assert!(resumed("one", "one") > LAST.sure);
        assert_eq!(resumed("one", "two"), LAST.sure);
    }

    #[test]
    fn a_wall_clock_that_is_set_by_an_hour_or_a_year_moves_no_sure_time() {
        const HOUR: i64 = 3_600_000;
        let journal = |boot: &str| {
            let mut state = started_in(boot);
            let years = Millis(50 * 365 * 24 * 3_600_000);
            let at = Interval { sure: years, possible: years };
            let started = state.started().unwrap().0.clone();
            let (epoch, boot_clock) = (Epoch(2), Millis(60_000));
            let record = Record::Started(Started { epoch, boot_clock, ..started });
            state.apply(&Entry { at, record, seq: Sequence(3) }).unwrap();
            (state, years)
        };
        let (state, last) = journal("one");
        for step in [HOUR, -HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR] {
            let wall = Millis(last.0.checked_add_signed(step).unwrap());
            // While it runs, and in a process that is started anew five seconds later.
            let reading = |boot| Reading { wall, boot: Millis(boot) };
            let running = Clock::since(last, Millis(60_000), Span(0));
            let restarted = Clock::resume_at(&state, "one", reading(65_000));
            for clock in [running, restarted] {
                let now = clock.at(reading(67_000));
                assert_eq!(now.sure, last.plus(Span(7_000)), "{step}");
                assert_eq!(now.possible, now.sure.max(wall), "{step}");
            }
            // After the machine was started anew: its boot clock says nothing of before.
            let rebooted = Clock::resume_at(&state, "two", reading(9_000));
            assert_eq!(rebooted.at(reading(10_000)).sure, last.plus(Span(1_000)), "{step}");
        }
        // Minutes are a restart of the machine, and are believed.
        let wall = last.plus(Span(14 * 60_000));
        let rebooted = Clock::resume_at(&state, "two", Reading { wall, boot: Millis(9_000) });
        assert_eq!(rebooted.sure_at_base, wall);
    }

    #[test]
    fn a_wall_clock_that_is_moved_a_little_at_each_boot_moves_sure_time_by_a_quarter_of_an_hour() {
        let mut state = started_in("0");
        for number in 1..=100_u64 {
            let last = state.at();
            let wall = last.possible.plus(Span(5 * MINUTE));
            let name = number.to_string();
            let clock = Clock::resume_at(&state, &name, Reading { wall, boot: Millis(9_000) });
            let started = Started {
                believed: Some(clock.believed()),
                boot: name,
                epoch: Epoch(1 + number),
                wall_clock: wall,
                ..state.started().unwrap().0.clone()
            };
            let at = clock.at(Reading { wall, boot: Millis(9_000) });
            let seq = state.head().next();
            state.apply(&Entry { at, record: Record::Started(started), seq }).unwrap();
        }
        assert_eq!(state.at().sure, LAST.sure.plus(Span(15 * MINUTE)));
        assert_eq!(state.at().possible, LAST.sure.plus(Span(500 * MINUTE)));
    }

    #[test]
    fn two_boots_without_a_name_are_not_the_same() {
        assert_eq!(Clock::resume(&started_in(""), "").sure_at_base, LAST.sure);
    }
}
