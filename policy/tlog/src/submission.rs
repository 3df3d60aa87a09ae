//! What a journal hands to a witness (c2sp.org/tlog-witness, `add-checkpoint`): a checkpoint, and
//! the proof that it continues the one that the witness saw last.

use std::fmt;

use alloy_primitives::B256;
use base64ct::{Base64, Encoding as _};

use crate::note::{NOTE_BYTES_MAX, Note, NoteFault, hash};

/// A checkpoint on its way to a witness.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Submission {
    /// Of how many records the checkpoint spoke that the witness saw last; 0 if it saw none.
    pub old: u64,
    /// What proves that the journal only grew since; see [`crate::tree::Consistency`].
    pub path: Vec<B256>,
    /// The signed checkpoint.
    pub note: Note,
}

impl Submission {
    /// Reads one, and checks nothing.
    ///
    /// # Errors
    ///
    /// [`NoteFault`] if it is none, or longer than [`SUBMISSION_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        if text.len() > SUBMISSION_BYTES_MAX {
            return Err(NoteFault::Note);
        }
        let (proof, note) = text.split_once("\n\n").ok_or(NoteFault::Note)?;
        let mut lines = proof.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let number = old.and_then(|old| old.parse::<u64>().ok());
        // One text for one number: no sign, no leading zeroes.
        let number = number.filter(|number| Some(number.to_string().as_str()) == old);
        let path: Result<Vec<B256>, _> = lines.map(hash).collect();
        let (old, path) = (number.ok_or(NoteFault::Note)?, path?);
        if path.len() > HASHES_MAX {
            return Err(NoteFault::Note);
        }
        Ok(Self { old, path, note: Note::parse(note)? })
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "old {}", self.old)?;
        for hash in &self.path {
            writeln!(formatter, "{}", Base64::encode_string(hash.as_slice()))?;
        }
        write!(formatter, "\n{}", self.note)
    }
}

/// More than any proof has: the specification's bound.
const HASHES_MAX: usize = 63;

/// A note and the longest proof.
pub const SUBMISSION_BYTES_MAX: usize = NOTE_BYTES_MAX + 4 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::tests::signed;
    use crate::note::{Checkpoint, origin};

    #[test]
    fn a_submission_reads_back_as_it_was_written_and_whatever_is_none_is_refused() {
        let checkpoint = Checkpoint { origin: origin(B256::ZERO), size: 9, root: B256::ZERO };
        let hash = B256::repeat_byte(3);
        let make =
            |old, hashes| Submission { old, path: vec![hash; hashes], note: signed(&checkpoint) };
        for (old, hashes) in [(0, 0), (7, 4), (u64::MAX, HASHES_MAX)] {
            let submission = make(old, hashes);
            assert_eq!(Submission::parse(&submission.to_string()), Ok(submission));
        }
        let text = make(7, 2).to_string();
        for bad in [
            text.replacen("old 7", "old 07", 1),
            text.replacen("old 7", "old +7", 1),
            text.replacen("old 7", "old ", 1),
            text.replacen("old 7", "new 7", 1),
            text.replacen("old 7", "old 18446744073709551616", 1),
            text.replacen("AwM=", "AwM", 1),
            text.replacen("\n\n", "\n", 1),
            text.replacen('\n', "\r\n", 1),
            make(7, HASHES_MAX + 1).to_string(),
            "x".repeat(SUBMISSION_BYTES_MAX + 1),
            String::new(),
        ] {
            assert!(Submission::parse(&bad).is_err(), "{bad:.300}");
        }
    }
}
