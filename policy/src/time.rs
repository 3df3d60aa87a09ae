//! Arithmetic on time; no reading of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// So much later, at most the end of time.
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// So much earlier; `None` if that is before 1970.
    pub fn minus(self, span: Span) -> Option<Self> {
        self.0.checked_sub(span.0).map(Self)
    }
}

/// A length of time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Span {
    /// No end: a window that nothing ever leaves.
    pub const LIFETIME: Self = Self(u64::MAX);

    /// "30s", "15m", "24h", "7d": a whole number above zero and one unit. `None` otherwise, or
    /// above 366 days.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().last()?;
        let digits = text.strip_suffix(unit)?;
        let count = crate::money::parse_decimal(digits)?.units();
        let millis: u64 = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        let span = u64::try_from(count).ok()?.checked_mul(millis)?;
        (span > 0 && span <= SPAN_MS_MAX).then_some(Self(span))
    }
}

impl Span {
    /// As people say it: "2d 3h 4m 5s", without what is zero; less than a second is "0s".
    pub fn in_words(self) -> String {
        let mut rest = self.0 / 1_000;
        let mut words = Vec::new();
        for (seconds, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
            let count = rest.checked_div(seconds).unwrap_or(0);
            rest = rest.checked_rem(seconds).unwrap_or(0);
            if count > 0 {
                words.push(format!("{count}{unit}"));
            }
        }
        if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
    }
}

/// Across boots of the machine the wall clock is believed for this long in all: restarts, no moves.
pub const GAP_BELIEVED_MAX: Span = Span(15 * 60_000);

/// The longest window: a leap year. A budget over more than that is a budget nobody watches.
const SPAN_MS_MAX: u64 = 366 * 86_400_000;

impl fmt::Display for Span {
    /// In the largest unit that gives a whole number.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LIFETIME {
            return out.write_str("lifetime");
        }
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        for (millis, unit) in units {
            if self.0 >= millis && self.0.checked_rem(millis) == Some(0) {
                return write!(out, "{}{unit}", self.0.checked_div(millis).unwrap_or(0));
            }
        }
        write!(out, "{}ms", self.0)
    }
}

/// What time it is, as far as that can be known: not before `sure`, not after `possible`.
///
/// Windows, delays and deadlines granted to others use *sure*; expiry of votes and orders uses
/// *possible*. A clock pushed forward empties no window; pushed back it reopens none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The later of this and the wall clock, and never before `sure`.
    pub possible: Millis,
    /// Has surely passed. Never goes back, not even across a restart.
    pub sure: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_whole_number_and_one_unit() {
        assert_eq!(Span::parse("24h"), Some(Span(86_400_000)));
        assert_eq!(Span::parse("24h").unwrap().to_string(), "1d");
        assert_eq!(Span::parse("90s").unwrap().to_string(), "90s");
        for bad in ["", "h", "0h", "-1h", "1.5h", "1h30m", "01h", "24", "367d", "1 h", "1é"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_span_in_words_leaves_out_what_is_zero() {
        let words = |millis| Span(millis).in_words();
        assert_eq!(words(999), "0s");
        assert_eq!(words(2 * 86_400_000 + 3 * 3_600_000 + 5_000), "2d 3h 5s");
        assert_eq!(words(61_000), "1m 1s");
    }
}
