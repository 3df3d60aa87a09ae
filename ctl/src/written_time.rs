//! Times as people write them in files: `2026-12-01T12:00:00Z`.

use portcullis_policy::time::Millis;
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
    let days = days_before_year(u64::from(year))?;
    let days = days.checked_add(days_before_month(u64::from(year), month)?)?;
    let days = days.checked_add(u64::from(day).checked_sub(1)?)?;
    let hours = days.checked_mul(24)?.checked_add(u64::from(hour))?;
    let minutes = hours.checked_mul(60)?.checked_add(u64::from(minute))?;
    let seconds = minutes.checked_mul(60)?.checked_add(u64::from(second.unwrap_or(0)))?;
    seconds.checked_mul(1_000).map(Millis)
}

fn days_before_year(year: u64) -> Option<u64> {
    let years = 1970..year;
    let leaps = years.clone().filter(|one| is_leap(*one)).count();
    let days = u64::try_from(years.count()).ok()?.checked_mul(365)?;
    (year >= 1970).then(|| days.saturating_add(u64::try_from(leaps).unwrap_or(0)))
}

fn days_before_month(year: u64, month: u8) -> Option<u64> {
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    Some(lengths.iter().take(usize::from(month.checked_sub(1)?)).sum())
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
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
