//! Receipts: that a record is in the journal, for whoever has nothing but the record and the public
//! key of its checkpoints. A receipt is a C2SP proof (c2sp.org/tlog-proof).

use std::fmt;

use alloy_primitives::B256;
use base64ct::{Base64, Encoding as _};

use crate::note::{
    Checkpoint, Cosigned, NOTE_BYTES_MAX, Note, NoteFault, QuorumFault, Verifier, Witnesses, hash,
};
use crate::tree::{Inclusion, leaf_hash};

/// The way from one record up to a checkpoint, and that checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The record's place from 0: its sequence number less one.
    pub index: u64,
    /// Hashes of the neighbouring subtrees, from the record upwards.
    pub path: Vec<B256>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

/// What does not show that a record is in the journal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptFault {
    /// The form.
    #[error("it is no receipt (c2sp.org/tlog-proof@v1)")]
    Form,
    /// The checkpoint.
    #[error("its checkpoint does not count: {0}")]
    Checkpoint(#[from] NoteFault),
    /// Another vault's.
    #[error("its checkpoint is of {0}, another journal")]
    Origin(String),
    /// Another record's, or nothing's.
    #[error("it does not prove that this record is in the journal at its place")]
    Record,
    /// Nobody but the journal stands for it.
    #[error("its checkpoint is not witnessed: {0}")]
    Witnesses(#[from] QuorumFault),
}

impl Receipt {
    /// Reads one, and checks nothing.
    ///
    /// # Errors
    ///
    /// [`ReceiptFault::Form`].
    pub fn parse(text: &str) -> Result<Self, ReceiptFault> {
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptFault::Form);
        }
        let (proof, note) = text.split_once("\n\n").ok_or(ReceiptFault::Form)?;
        let mut lines = proof.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ReceiptFault::Form);
        }
        // What nothing vouches for.
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let number = index.and_then(|index| index.parse::<u64>().ok());
        let index = number.filter(|number| Some(number.to_string().as_str()) == index);
        let path: Result<Vec<B256>, _> = lines.map(hash).collect();
        Ok(Self {
            index: index.ok_or(ReceiptFault::Form)?,
            path: path.map_err(|_| ReceiptFault::Form)?,
            checkpoint: Note::parse(note).map_err(|_| ReceiptFault::Form)?,
        })
    }

    /// Whether it shows that this record, byte for byte, is in this journal; and up to which
    /// checkpoint.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn check(&self, record: &[u8], journal: &Verifier) -> Result<Checkpoint, ReceiptFault> {
        let checkpoint = Checkpoint::parse(&self.checkpoint.text)?;
        if checkpoint.origin != journal.name {
            return Err(ReceiptFault::Origin(checkpoint.origin));
        }
        self.checkpoint.check(journal)?;
        let Self { index, ref path, .. } = *self;
        let inclusion = Inclusion { index, size: checkpoint.size, path: path.clone() };
        if inclusion.proves(leaf_hash(record), checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(ReceiptFault::Record)
        }
    }

    /// As [`Receipt::check`], and whether enough witnesses cosigned that checkpoint. Without them a
    /// receipt may be of a journal that was shown to nobody else.
    ///
    /// # Errors
    ///
    /// Why it does not show that.
    pub fn check_cosigned(
        &self,
        record: &[u8],
        journal: &Verifier,
        witnesses: &Witnesses,
    ) -> Result<(Checkpoint, Cosigned), ReceiptFault> {
        let checkpoint = self.check(record, journal)?;
        Ok((checkpoint, witnesses.check(&self.checkpoint)?))
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{HEADER}\nindex {}", self.index)?;
        for hash in &self.path {
            writeln!(formatter, "{}", Base64::encode_string(hash.as_slice()))?;
        }
        write!(formatter, "\n{}", self.checkpoint)
    }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A checkpoint and 64 hashes.
const RECEIPT_BYTES_MAX: usize = NOTE_BYTES_MAX + 8 * 1_024;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::note::tests::{KEY, signed};
    use crate::note::{Witness, origin};
    use crate::tree::Tree;

    const VAULT: B256 = B256::repeat_byte(7);

    fn records() -> Vec<Vec<u8>> {
        (0_u8..9).map(|number| vec![number; 40]).collect()
    }

    fn journal(vault: B256) -> Verifier {
        Verifier { name: origin(vault), key: KEY.public() }
    }

    fn receipt(index: u64) -> Receipt {
        let tree = Tree::new(records().iter().map(|record| leaf_hash(record)).collect());
        let (size, root) = (9, tree.root());
        let checkpoint = Checkpoint { origin: origin(VAULT), size, root };
        let path = tree.prove(index).unwrap().path;
        Receipt { index, path, checkpoint: signed(&checkpoint) }
    }

    #[test]
    fn a_receipt_proves_its_record_and_reads_back_as_it_was_written() {
        for (record, index) in records().iter().zip(0..) {
            let text = receipt(index).to_string();
            let read = Receipt::parse(&text).unwrap();
            assert_eq!(read, receipt(index));
            assert_eq!(read.check(record, &journal(VAULT)).unwrap().size, 9);
            let extra = text.replacen("\nindex", "\nextra AAAA\nindex", 1);
            assert_eq!(Receipt::parse(&extra), Ok(read));
        }
    }

    #[test]
    fn a_receipt_that_too_few_witnesses_stand_for_is_none() {
        let secret = SigningKey::from_bytes(&[4; 32]);
        let witness = Witness::new("w", secret.verifying_key().as_bytes()).unwrap();
        let witnesses = Witnesses::new(vec![witness.clone()], None).unwrap();
        let (mut receipt, record) = (receipt(3), &records()[3]);
        let check = |receipt: &Receipt| receipt.check_cosigned(record, &journal(VAULT), &witnesses);
        let missing = check(&receipt);
        assert!(matches!(missing, Err(ReceiptFault::Witnesses(_))), "{missing:?}");
        let text = receipt.checkpoint.text.clone();
        let sign = |message: &[u8]| secret.sign(message).to_bytes();
        receipt.checkpoint.signatures.push(witness.cosign(&text, 9, sign));
        let (checkpoint, cosigned) = check(&receipt).unwrap();
        assert_eq!((checkpoint.size, cosigned.by), (9, vec![("w".to_owned(), 9)]));
        // A witness stands for no record that is not there, and for no journal's key.
        receipt.index = 4;
        assert_eq!(check(&receipt), Err(ReceiptFault::Record));
    }

    #[test]
    fn a_receipt_of_anything_else_is_none() {
        let record = &records()[3];
        let check = |receipt: &Receipt| receipt.check(record, &journal(VAULT));
        let good = receipt(3);
        assert!(check(&good).is_ok());
        assert_eq!(check(&receipt(4)), Err(ReceiptFault::Record));
        assert_eq!(check(&Receipt { index: 4, ..good.clone() }), Err(ReceiptFault::Record));
        assert_eq!(check(&Receipt { path: vec![], ..good.clone() }), Err(ReceiptFault::Record));
        assert_eq!(good.check(b"{}", &journal(VAULT)), Err(ReceiptFault::Record));
        let other = good.check(record, &journal(B256::repeat_byte(8)));
        assert_eq!(other, Err(ReceiptFault::Origin(origin(VAULT))));
        let mut longer = good.clone();
        longer.checkpoint.text = longer.checkpoint.text.replacen("\n9\n", "\n8\n", 1);
        assert!(matches!(check(&longer), Err(ReceiptFault::Checkpoint(_))));
        let text = good.to_string();
        for bad in [
            text.replacen("index 3", "index 03", 1),
            text.replacen("index 3", "index -3", 1),
            text.replacen("@v1", "@v2", 1),
            text.replacen("\n\n", "\n", 1),
            text.replace('=', ""),
            format!("{text}\n"),
        ] {
            assert_eq!(Receipt::parse(&bad), Err(ReceiptFault::Form), "{bad}");
        }
    }
}
