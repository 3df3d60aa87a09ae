//! The condition of every run: the journal holds exactly the replies that came, no more, no fewer.
//!
//! Reads records as JSON and not with the policy crate: that is the other opinion.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use serde_json::Value;

use super::drive::Reply;

/// Signed records, by sequence number.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<u64, B256>);

/// Replies and records differ.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A line of the journal is not understood.
    #[error("record {0} is not understood")]
    Unreadable(u64),
    /// Two replies claim one record, or one digest was answered twice.
    #[error("two replies name record {0}")]
    Twice(u64),
    /// A reply that no record stands behind.
    #[error("a reply names record {0}, which is no signature of its digest")]
    Unrecorded(u64),
    /// Signatures that nobody was given.
    #[error("the journal holds {records} signatures; {replies} replies came")]
    Differ {
        /// Signed records.
        records: usize,
        /// Replies.
        replies: usize,
    },
    /// The signer counts otherwise.
    #[error("the signer counted {counted:?} signatures; {replies} replies came")]
    Counter {
        /// `portcullis_signed_total`, if it is there.
        counted: Option<u64>,
        /// Replies.
        replies: usize,
    },
}

impl Tally {
    /// Takes one record; every kind but a signature is passed over.
    pub fn record(&mut self, sequence: u64, line: &[u8]) -> Result<(), AuditError> {
        let unreadable = || AuditError::Unreadable(sequence);
        let entry: Value = serde_json::from_slice(line).map_err(|_| unreadable())?;
        let Some(signed) = entry["record"].get("signed") else { return Ok(()) };
        let digest = signed["asked"]["digest"].as_str().and_then(|text| text.parse().ok());
        self.0.insert(sequence, digest.ok_or_else(unreadable)?);
        Ok(())
    }

    /// Crosses every reply off against its record; nothing may be left on either side.
    pub fn settle(mut self, replies: &[Reply]) -> Result<usize, AuditError> {
        let records = self.0.len();
        let mut seen = std::collections::BTreeSet::new();
        for Reply { sequence, digest } in replies {
            if !seen.insert(*sequence) {
                return Err(AuditError::Twice(*sequence));
            }
            if self.0.remove(sequence) != Some(*digest) {
                return Err(AuditError::Unrecorded(*sequence));
            }
        }
        let settled = self.0.is_empty();
        if settled { Ok(records) } else { Err(AuditError::Differ { records, replies: seen.len() }) }
    }
}

/// `portcullis_signed_total` must be the number of replies.
pub(super) fn check_counter(metrics: &str, replies: usize) -> Result<(), AuditError> {
    let mut lines = metrics.lines();
    let counted = lines.find_map(|line| line.strip_prefix("portcullis_signed_total "));
    let counted = counted.and_then(|value| value.parse().ok());
    let equal = counted.and_then(|counted| usize::try_from(counted).ok()) == Some(replies);
    if equal { Ok(()) } else { Err(AuditError::Counter { counted, replies }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(digest: B256) -> Vec<u8> {
        let asked = serde_json::json!({ "digest": digest });
        serde_json::json!({ "record": { "signed": { "asked": asked } } }).to_string().into_bytes()
    }

    fn journal() -> (Tally, [Reply; 2]) {
        let replies = [1_u8, 2]
            .map(|number| Reply { sequence: number.into(), digest: B256::repeat_byte(number) });
        let mut tally = Tally::default();
        for Reply { sequence, digest } in replies {
            tally.record(sequence, &line(digest)).expect("record");
        }
        tally.record(3, br#"{"record":{"frozen":{}}}"#).expect("no signature");
        (tally, replies)
    }

    #[test]
    fn a_journal_with_a_record_for_each_reply_settles() {
        let (tally, replies) = journal();
        assert_eq!(tally.settle(&replies).expect("equal"), 2);
        assert!(check_counter("# HELP x\nportcullis_signed_total 2\n", 2).is_ok());
    }

    #[test]
    fn a_record_without_a_reply_fails_the_run() {
        let (tally, replies) = journal();
        let refused = tally.settle(&replies[..1]);
        assert!(matches!(refused, Err(AuditError::Differ { records: 2, replies: 1 })));
    }

    #[test]
    fn a_reply_without_its_record_fails_the_run() {
        let (tally, mut replies) = journal();
        replies[1].digest = B256::repeat_byte(9);
        assert!(matches!(tally.settle(&replies), Err(AuditError::Unrecorded(2))));
    }

    #[test]
    fn one_record_cannot_stand_behind_two_replies() {
        let (tally, [first, _]) = journal();
        assert!(matches!(tally.settle(&[first, first]), Err(AuditError::Twice(1))));
    }

    #[test]
    fn a_counter_that_is_off_by_one_or_missing_fails_the_run() {
        assert!(check_counter("portcullis_signed_total 3\n", 2).is_err());
        assert!(check_counter("portcullis_denied_total 2\n", 2).is_err());
    }
}
