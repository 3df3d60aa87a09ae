//! How many witnesses must have cosigned a checkpoint before somebody believes it.
//!
//! A signature of the journal's own key says nothing of forks: whoever has that key makes two
//! journals. A cosignature says that its witness saw one.

use std::fmt;

use super::{Note, NoteFault, Witness};

/// Witnesses that somebody knows, and how many of them have to agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witnesses {
    known: Vec<Witness>,
    needed: usize,
}

/// Enough witnesses cosigned. Made only by [`Witnesses::check`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Cosigned {
    /// Who, and when last, in seconds since 1970; in the order in which they are known.
    pub by: Vec<(String, u64)>,
}

/// Witnesses that cannot be asked for, or did not cosign.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QuorumFault {
    /// Nobody to ask.
    #[error("no witness is named")]
    Nobody,
    /// One that would count twice.
    #[error("the key of the witness {0} is named twice: it would count as two")]
    Twice(String),
    /// More than there are, or none.
    #[error("{needed} witnesses are needed, and {known} are named: it takes 1 to {known}")]
    Needed {
        /// As asked for.
        needed: usize,
        /// How many there are.
        known: usize,
    },
    /// Too few.
    #[error("{have} of the {needed} witnesses that are needed cosigned it. Not there: {missing}")]
    Missing {
        /// How many did.
        have: usize,
        /// How many have to.
        needed: usize,
        /// The names of those that did not.
        missing: Names,
    },
    /// One that says it is theirs.
    #[error("a cosignature does not count: {0}")]
    Note(NoteFault),
}

/// Names, for a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(", "))
    }
}

impl Witnesses {
    /// `needed`: `None` is all of them.
    ///
    /// # Errors
    ///
    /// There is none, one is there twice, or more are needed than there are.
    pub fn new(known: Vec<Witness>, needed: Option<usize>) -> Result<Self, QuorumFault> {
        if known.is_empty() {
            return Err(QuorumFault::Nobody);
        }
        for (witness, before) in known.iter().zip(0..) {
            // By the key: under a second name it is the same witness.
            if known.iter().take(before).any(|other| other.key == witness.key) {
                return Err(QuorumFault::Twice(witness.name().to_owned()));
            }
        }
        let needed = needed.unwrap_or(known.len());
        if (1..=known.len()).contains(&needed) {
            Ok(Self { known, needed })
        } else {
            Err(QuorumFault::Needed { needed, known: known.len() })
        }
    }

    /// How many have to agree.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Whether enough of them cosigned. Says nothing of the journal's own signature.
    ///
    /// # Errors
    ///
    /// Too few did, or what says that it is the cosignature of one is none.
    pub fn check(&self, note: &Note) -> Result<Cosigned, QuorumFault> {
        let (mut by, mut missing) = (Vec::new(), Vec::new());
        for witness in &self.known {
            match witness.check(note) {
                Ok(seconds) => by.push((witness.name().to_owned(), seconds)),
                Err(NoteFault::Unsigned(name)) => missing.push(name),
                Err(fault) => return Err(QuorumFault::Note(fault)),
            }
        }
        if by.len() >= self.needed {
            return Ok(Cosigned { by });
        }
        let (have, needed, missing) = (by.len(), self.needed, Names(missing));
        Err(QuorumFault::Missing { have, needed, missing })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::super::tests::signed;
    use super::*;
    use crate::note::Checkpoint;

    fn witness(number: u8) -> Witness {
        named(&format!("witness.example.com/{number}"), number)
    }

    fn named(name: &str, number: u8) -> Witness {
        Witness::new(name, secret(number).verifying_key().as_bytes()).unwrap()
    }

    fn secret(number: u8) -> SigningKey {
        SigningKey::from_bytes(&[number; 32])
    }

    fn cosigned(by: &[u8]) -> Note {
        let checkpoint = Checkpoint { origin: "journal".into(), size: 20, root: [3; 32].into() };
        let mut note = signed(&checkpoint);
        for number in by {
            let sign = |message: &[u8]| secret(*number).sign(message).to_bytes();
            let line = witness(*number).cosign(&note.text, 1_000 + u64::from(*number), sign);
            note.signatures.push(line);
        }
        note
    }

    fn all() -> Vec<Witness> {
        vec![witness(1), witness(2), witness(3)]
    }

    #[test]
    fn as_many_as_are_needed_have_to_have_cosigned_and_strangers_do_not_count() {
        let two = Witnesses::new(all(), Some(2)).unwrap();
        assert_eq!(two.needed(), 2);
        let by = |number: u8| (witness(number).name().to_owned(), 1_000 + u64::from(number));
        assert_eq!(two.check(&cosigned(&[3, 1])).unwrap().by, [by(1), by(3)]);
        let short = two.check(&cosigned(&[2, 9])).unwrap_err();
        assert_eq!(
            short.to_string(),
            "1 of the 2 witnesses that are needed cosigned it. Not there: witness.example.com/1, \
             witness.example.com/3"
        );
        let every = Witnesses::new(all(), None).unwrap();
        assert_eq!(every.check(&cosigned(&[1, 2, 3])).unwrap().by.len(), 3);
        for few in [&[][..], &[1], &[1, 2]] {
            let fault = every.check(&cosigned(few)).unwrap_err();
            assert!(matches!(fault, QuorumFault::Missing { needed: 3, .. }), "{fault}");
        }
    }

    #[test]
    fn one_that_is_none_is_not_made_up_for_by_others() {
        let one = Witnesses::new(all(), Some(1)).unwrap();
        let mut note = cosigned(&[1, 2]);
        note.signatures[2].bytes[20] ^= 1;
        let fault = NoteFault::Signature(witness(2).name().to_owned());
        assert_eq!(one.check(&note), Err(QuorumFault::Note(fault)));
        // Moved to another text, it is none either.
        note = cosigned(&[1]);
        note.text = note.text.replacen("\n20\n", "\n21\n", 1);
        assert!(matches!(one.check(&note), Err(QuorumFault::Note(_))));
    }

    #[test]
    fn nobody_is_counted_twice_and_no_more_are_asked_for_than_there_are() {
        assert_eq!(Witnesses::new(Vec::new(), None), Err(QuorumFault::Nobody));
        let twice = Witnesses::new(vec![witness(1), named("other.example.com", 1)], None);
        assert_eq!(twice, Err(QuorumFault::Twice("other.example.com".into())));
        for needed in [0, 4] {
            let fault = QuorumFault::Needed { needed, known: 3 };
            assert_eq!(Witnesses::new(all(), Some(needed)), Err(fault));
        }
    }
}
