//! Times as people write them: `2026-12-01T12:00:00Z` in files, and on the command line a day too.

use portcullis_policy::time::Millis;
use portcullis_policy::utc::first_of_day;
use toml::value::{Date, Datetime, Offset, Time};

/// Since 1970. Only a whole time in UTC is one that everybody reads alike.
pub(crate) fn millis(text: &Datetime) -> Option<Millis> {
    let (Some(date), Some(time), Some(Offset::Z)) = (text.date, text.time, text.offset) else {
        return None;
    };
    let Date { year, month, day } = date;
    let Time { hour, minute, second, nanosecond } = time;
    if nanosecond.is_some_and(|nanos| nanos != 0) {
        return None;
    }
    let day = first_of_day(&format!("{year:04}-{month:02}-{day:02}"))?;
    let hours = u64::from(hour);
    let minutes = hours.checked_mul(60)?.checked_add(u64::from(minute))?;
    let seconds = minutes.checked_mul(60)?.checked_add(u64::from(second.unwrap_or(0)))?;
    seconds.checked_mul(1_000)?.checked_add(day).map(Millis)
}

/// When something that was written on the command line begins, and when it is over: a day lasts a
/// day, a time is over at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Written {
    /// Its first millisecond.
    pub(crate) begins: Millis,
    /// Where what follows it begins.
    pub(crate) over: Millis,
}

/// Reads `2026-12-01`, or a time in UTC: `2026-12-01T12:00:00Z`, with milliseconds or without.
pub(crate) fn written(text: &str) -> Result<Written, String> {
    if let Some(day) = first_of_day(text) {
        return Ok(Written { begins: Millis(day), over: Millis(day.saturating_add(DAY_MS)) });
    }
    let form = || "write a day, 2026-12-01, or a time in UTC, 2026-12-01T12:00:00Z".to_owned();
    let mut parsed: Datetime = text.parse().map_err(|_| form())?;
    let nanos = parsed.time.as_mut().and_then(|time| time.nanosecond.take());
    let fraction = match nanos.unwrap_or(0) {
        nanos if nanos.is_multiple_of(1_000_000) => u64::from(nanos / 1_000_000),
        _ => return Err("a time is told to the millisecond at most".to_owned()),
    };
    let begins = millis(&parsed).ok_or_else(form)?.0.saturating_add(fraction);
    Ok(Written { begins: Millis(begins), over: Millis(begins) })
}

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use portcullis_policy::utc::rfc3339;

    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_printed() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2000-02-29T00:00:00.000Z",
            "2026-12-31T23:59:59.000Z",
            "2100-03-01T00:00:00.000Z",
        ] {
            let read = millis(&text.parse().expect("a time")).expect("in UTC");
            assert_eq!(rfc3339(read.0), text);
        }
    }

    #[test]
    fn a_time_without_a_zone_or_in_another_is_refused() {
        for text in ["2026-12-01T12:00:00", "2026-12-01", "2026-12-01T12:00:00+01:00"] {
            assert_eq!(millis(&text.parse().expect("a time")), None, "{text}");
        }
    }

    #[test]
    fn a_day_is_over_when_the_next_begins_and_a_time_is_what_was_written() {
        let day = written("2026-12-31").expect("a day");
        assert_eq!(rfc3339(day.begins.0), "2026-12-31T00:00:00.000Z");
        assert_eq!(rfc3339(day.over.0), "2027-01-01T00:00:00.000Z");
        for text in ["2026-12-01T12:00:00.042Z", "1970-01-01T00:00:00.000Z"] {
            let time = written(text).expect("a time");
            assert_eq!((rfc3339(time.begins.0), time.over), (text.to_owned(), time.begins));
        }
        for wrong in ["", "yesterday", "2026-13-01", "2026-12-01T12:00:00", "2026-12-01 12:00"] {
            assert!(written(wrong).is_err(), "{wrong}");
        }
    }
}
