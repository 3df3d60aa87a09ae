//! Times as people write them in files: `2026-12-01T12:00:00Z`.

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
}
