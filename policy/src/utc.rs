//! Times as people and other tools read them: RFC 3339, UTC. Reads no clock.

/// Milliseconds since 1970-01-01 UTC, as `2025-11-23T18:53:07.042Z`. Past the year 9999, where RFC
/// 3339 ends, the number itself.
pub fn rfc3339(millis: u64) -> String {
    if millis > MILLIS_MAX {
        return format!("{millis} ms after 1970");
    }
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let (hour, minute, second) = ((seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60);
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Year, month and day of a number of days since 1970. Counts years; at most 8030 of them.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970_u64;
    while let Some(rest) = days.checked_sub(if leap(year) { 366 } else { 365 }) {
        (days, year) = (rest, year.saturating_add(1));
    }
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(lengths) {
        match days.checked_sub(length) {
            Some(rest) => days = rest,
            None => return (year, month, days.saturating_add(1)),
        }
    }
    (year, 12, 31)
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The last millisecond of the year 9999.
const MILLIS_MAX: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_print_as_rfc_3339_says() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_763_924_007_042, "2025-11-23T18:53:27.042Z"),
            (MILLIS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
        }
    }

    #[test]
    fn a_time_past_the_calendar_is_still_printed() {
        assert_eq!(rfc3339(u64::MAX), format!("{} ms after 1970", u64::MAX));
    }
}
