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
use serde::Deserialize;
use toml::value::Datetime;

use crate::failure::Failure;
use crate::output::{is_plain, one_line};
use crate::people::{PeopleFault, read_toml};
use crate::written_time::millis;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
