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

/// When a day begins that is written as `2027-03-31`, milliseconds since 1970-01-01 UTC. `None`:
/// there is no such day, or it lies before 1970 or past the year 9999.
pub fn first_of_day(text: &str) -> Option<u64> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    if (text.len(), digits, year.len(), month.len()) != (10, 8, 4, 2) {
        return None;
    }
    let year: u64 = year.parse().ok().filter(|year| *year >= 1970)?;
    let (month, day): (usize, u64) = (month.parse().ok()?, day.parse().ok()?);
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = lengths(year);
    let length = lengths.get(month.checked_sub(1)?)?;
    if day == 0 || day > *length {
        return None;
    }
    let before: u64 = lengths.iter().take(month.checked_sub(1)?).sum();
    let days = years.checked_add(before)?.checked_add(day)?.checked_sub(1)?;
    days.checked_mul(86_400_000)
}

/// Days of each month.
fn lengths(year: u64) -> [u64; 12] {
    let february = if leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Year, month and day of a number of days since 1970. Counts years; at most 8030 of them.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970_u64;
    while let Some(rest) = days.checked_sub(if leap(year) { 366 } else { 365 }) {
        (days, year) = (rest, year.saturating_add(1));
    }
    for (month, length) in (1..).zip(lengths(year)) {
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
    fn a_day_is_read_as_it_is_printed_and_one_that_is_none_is_not() {
        for day in ["1970-01-01", "2000-02-29", "2027-03-31", "2100-02-28", "9999-12-31"] {
            let millis = first_of_day(day).unwrap();
            assert_eq!(rfc3339(millis), format!("{day}T00:00:00.000Z"));
        }
        for none in [
            "2100-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-04-31",
            "2027-1-011",
            "27-03-31",
            "1969-12-31",
            "2027-03-00",
            "2027-03-31Z",
            "+027-03-31",
            "",
            "2027/03/31",
        ] {
            assert_eq!(first_of_day(none), None, "{none}");
        }
    }

    #[test]
    fn a_time_past_the_calendar_is_still_printed() {
        assert_eq!(rfc3339(u64::MAX), format!("{} ms after 1970", u64::MAX));
    }
}
