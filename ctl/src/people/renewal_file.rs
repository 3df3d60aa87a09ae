//! What a recovery would put in place, as people write it: everybody there will be, and what deeds
//! take from then on.
//!
//! Whoever signs reads it from a file of their own, so all must hold files that say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portcullis_policy::governance::{
    CredentialWord, Deed, GovernanceFile, QuorumTable, RecoveryTable, credentials,
};
use portcullis_policy::id::PersonId;
use portcullis_policy::people::{Person, Role};
use portcullis_policy::record::Renewal;
use portcullis_policy::state::REASON_MAX;
use portcullis_policy::time::Millis;
use serde::Deserialize;
use toml::value::{Date, Datetime, Offset, Time};

use crate::failure::Failure;
use crate::output::{is_plain, one_line};
use crate::people::{PeopleFault, read_toml};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewalFile {
    /// Until when it may be announced, at most 30 days from then: 2026-12-01T12:00:00Z.
    expires: Datetime,
    /// Why.
    reason: String,
    person: Vec<PersonTable>,
    #[serde(default)]
    quorum: BTreeMap<Deed, QuorumTable>,
    #[serde(default)]
    recovery: Option<RecoveryTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonTable {
    id: PersonId,
    control: String,
    roles: BTreeSet<Role>,
    #[serde(default)]
    credentials: Vec<CredentialWord>,
}

/// Reads one, or says everything that is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Renewal, Failure> {
    let file: RenewalFile = read_toml(path)?;
    let faulty = |faults| PeopleFault::Faults { path: path.to_owned(), faults };
    Ok(file.renewal().map_err(faulty)?)
}

impl RenewalFile {
    fn renewal(self) -> Result<Renewal, Vec<String>> {
        let mut faults = Vec::new();
        let expires = millis(&self.expires);
        if expires.is_none() {
            let text = self.expires;
            faults.push(format!("expires: {text} is no time in UTC: write 2026-12-01T12:00:00Z"));
        }
        // Whoever announces it is refused for this by the signer, and then all have to sign again.
        faults.extend(reason_fault(&self.reason));
        let mut people = Vec::new();
        for PersonTable { id, control, roles, credentials: words } in self.person {
            let credentials = credentials(&format!("person {id}"), &words, &mut faults);
            people.push(Person { control, credentials, id, roles });
        }
        let governance = GovernanceFile::new(self.quorum, self.recovery).governance();
        match (expires, governance) {
            (Some(expires), Ok(governance)) if faults.is_empty() => {
                Ok(Renewal { expires, governance, people, reason: self.reason })
            }
            (_, Ok(_)) => Err(faults),
            (_, Err(more)) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }
}

/// What is wrong with the reason, by the signer's own rule for reasons.
fn reason_fault(reason: &str) -> Option<String> {
    if !(1..=REASON_MAX).contains(&reason.chars().count()) {
        return Some(format!("reason: say why, in 1 to {REASON_MAX} characters"));
    }
    let unseen = !is_plain(reason);
    unseen.then(|| {
        let shown = one_line(reason);
        format!(
            "reason: write it on one line, without line breaks, tabs and other characters that \
             are not seen: here it is \"{shown}\""
        )
    })
}

/// Since 1970. Only a whole time in UTC is one that everybody reads alike.
fn millis(text: &Datetime) -> Option<Millis> {
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
    fn a_reason_that_the_signer_would_refuse_is_refused_before_anybody_signs() {
        for good in ["all keys were lost", "Schlüssel weg", &"x".repeat(500)] {
            assert_eq!(reason_fault(good), None);
        }
        for bad in ["", "two\nlines", "a\tb", "\u{202e}desrever", "\u{3164}", &"x".repeat(501)] {
            assert!(reason_fault(bad).is_some(), "{bad:?}");
        }
        let said = reason_fault("two\nlines").expect("a fault");
        assert!(said.contains("on one line") && said.ends_with("\"two\\nlines\""), "{said}");
    }

    #[test]
    fn a_time_without_a_zone_or_in_another_is_refused() {
        for text in ["2026-12-01T12:00:00", "2026-12-01", "2026-12-01T12:00:00+01:00"] {
            assert_eq!(millis(&text.parse().expect("a time")), None, "{text}");
        }
    }
}
