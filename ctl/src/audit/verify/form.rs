//! The one form of an export as a file, beyond that of each record: an input kept beside its record
//! stands right before it, once, and the last line has its end.
//!
//! No hash covers this. Without it a file that was changed there would pass for the one that was
//! written, and nobody could say any longer that whatever is changed is found.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use portcullis_policy::id::Sequence;
use portcullis_policy::record::Entry;
use portcullis_policy::request::sha256;
use portcullis_policy::verify::{Discrepancy, Level};

/// Takes an export, line by line.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// Records so far.
    size: u64,
    /// The attachment whose record comes next.
    waiting: Option<B256>,
    /// All attachments so far.
    kept: BTreeSet<B256>,
    findings: Vec<Discrepancy>,
}

impl Form {
    /// The next line is an attachment's.
    pub(super) fn attachment(&mut self, bytes: &[u8]) {
        let name = sha256(bytes);
        self.kept.insert(name);
        if self.waiting.replace(name).is_some() {
            self.wrong("two inputs stand before it in the file");
        }
    }

    /// The next line is a record's; `None`: of one that cannot be read, which the verifier says.
    pub(super) fn record(&mut self, entry: Option<&Entry>) {
        self.size = self.size.saturating_add(1);
        let named = entry.and_then(|entry| entry.record.asked()?.input.attachment());
        match (self.waiting.take(), named) {
            (None, None) => {}
            (Some(before), Some(named)) if before == named => {}
            // Left out on purpose: then it is nowhere, and the verifier says what that costs.
            (None, Some(named)) if !self.kept.contains(&named) => {}
            (None, Some(_)) => self.wrong("its input stands elsewhere in the file"),
            (Some(_), _) => self.wrong("what stands before it in the file is no input of it"),
        }
    }

    /// All that is wrong. `whole`: the last line has its end.
    pub(super) fn findings(mut self, whole: bool) -> Vec<Discrepancy> {
        if self.waiting.is_some() {
            self.wrong("after it the file goes on with an input of no record");
        }
        if !whole {
            self.wrong("the file's last line has no end: something was cut off");
        }
        self.findings
    }

    fn wrong(&mut self, what: &str) {
        let (at, level) = (Sequence(self.size), Level::Form);
        self.findings.push(Discrepancy { at, level, what: what.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::{BookHash, DecisionNumber, KeyId};
    use portcullis_policy::record::{Actor, Asked, Denied, Frozen, Record, RecordedInput as Input};
    use portcullis_policy::request::Asker;
    use portcullis_policy::stops::Scope;
    use portcullis_policy::time::Interval;

    use super::*;

    /// What a line of the file is.
    #[derive(Clone, Copy)]
    enum Line {
        /// An input, by its one byte.
        Kept(u8),
        /// A refusal of that input.
        Of(u8),
        /// A record without any.
        Stop,
    }
    use Line::{Kept, Of, Stop};

    fn record(line: Line) -> Record {
        let Of(input) = line else {
            let (by, reason) = (Actor::Signer, "drill".into());
            return Record::Frozen(Frozen { by, reason, scope: Scope::All });
        };
        let by = Asker {
            caller: "pay".parse().expect("caller"),
            expected: Default::default(),
            key: KeyId::from_bytes([1; 16]),
            request: "pay-1".parse().expect("id"),
        };
        let (at, number, seen) = (Interval::default(), DecisionNumber(1), Sequence(1));
        let input = Input::TransactionSha256(sha256(&[input]));
        let asked = Asked { at, by, digest: Default::default(), input, number, seen };
        Record::Denied(Box::new(Denied {
            asked,
            book: BookHash(Default::default()),
            counted: Vec::new(),
            reasons: Vec::new(),
        }))
    }

    /// Where something is wrong.
    fn wrong(lines: &[Line], whole: bool) -> Vec<u64> {
        let mut form = Form::default();
        for line in lines {
            if let Kept(input) = line {
                form.attachment(&[*input]);
            } else {
                let (at, seq) = (Interval::default(), Sequence(form.size.saturating_add(1)));
                form.record(Some(&Entry { at, record: record(*line), seq }));
            }
        }
        form.findings(whole).into_iter().map(|found| found.at.0).collect()
    }

    #[test]
    fn an_input_stands_right_before_its_record_and_the_last_line_has_its_end() {
        let good = [Stop, Kept(1), Of(1), Stop, Kept(1), Of(1), Kept(2), Of(2)];
        assert!(wrong(&good, true).is_empty());
        assert_eq!(wrong(&good, false), [5]);
        // Left out altogether is no fault of form.
        assert!(wrong(&[Stop, Of(1), Of(1), Stop], true).is_empty());
    }

    #[test]
    fn an_input_that_is_moved_doubled_changed_or_nobodys_is_noticed() {
        for (bad, at) in [
            (&[Kept(1), Stop, Of(1)][..], &[1, 2][..]),
            (&[Stop, Of(1), Kept(1)], &[2]),
            (&[Kept(1), Kept(1), Of(1)], &[0]),
            (&[Kept(2), Of(1)], &[1]),
            (&[Kept(1), Of(1), Of(1)], &[2]),
            (&[Kept(1), Stop], &[1]),
            (&[Stop, Kept(1)], &[1]),
        ] {
            assert_eq!(wrong(bad, true), at);
        }
    }
}
