//! Receipts: that the record of a request is in the journal, under a checkpoint that the service's
//! token signed. What is asked for is checked here, against a key that the caller knows.

use std::time::Duration;

use alloy_primitives::B256;
use portcullis_proto::v1;
use portcullis_tlog::note::{Checkpoint, QuorumFault, Verifier, Witnesses};
use portcullis_tlog::receipt::{Receipt, ReceiptFault};
use portcullis_tlog::tree::leaf_hash;

use crate::client::Client;
use crate::error::SignError;
use crate::retry::Retry;

/// A record that was shown to be in the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Proved {
    /// Its canonical JSON, byte for byte. It holds no signature.
    pub record: Vec<u8>,
    /// The receipt (c2sp.org/tlog-proof): with the record, and the journal's verifier key from
    /// elsewhere, anybody can check it again.
    pub receipt: String,
    /// What the journal was then.
    pub checkpoint: Checkpoint,
    /// Witnesses that cosigned that checkpoint, and when, in seconds since 1970. Empty if none were
    /// asked for.
    pub cosigned: Vec<(String, u64)>,
}

/// No receipt, or one that shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The service gave none.
    #[error(transparent)]
    Call(#[from] SignError),
    /// It is of another record than the one that the reply spoke of.
    #[error("the record {claimed} is not the one that the reply spoke of, {replied}")]
    Leaf {
        /// Leaf hash of the record that came.
        claimed: B256,
        /// The reply's.
        replied: B256,
    },
    /// It does not show that the record is in the journal.
    #[error("the receipt does not count: {0}")]
    Receipt(#[from] ReceiptFault),
}

impl Client {
    /// Fetches the receipt of one of our own records, named by the sequence number and leaf hash in
    /// the reply, and checks it. Waits a few seconds for a checkpoint over the record.
    ///
    /// `journal` is the service's verifier key, from somebody who read it where it is told
    /// (`portctl audit checkpoint`), never from the service that is checked.
    ///
    /// ```no_run
    /// # use portcullis_client::{Client, ReceiptError, SignedTransaction, Verifier};
    /// # async fn example(client: Client, signed: SignedTransaction) -> Result<(), ReceiptError> {
    /// let journal = Verifier::parse("portcullis/47…+0a1b2c3d+AR…").unwrap();
    /// let proved = client.receipt(signed.sequence, signed.leaf_hash, &journal).await?;
    /// println!("record {} of {}", signed.sequence, proved.checkpoint.size);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The service gave none, or one that shows nothing.
    pub async fn receipt(
        &self,
        sequence: u64,
        leaf_hash: B256,
        journal: &Verifier,
    ) -> Result<Proved, ReceiptError> {
        let fetched = self.fetch_receipt(sequence).await?;
        check(fetched, sequence, leaf_hash, journal, None)
    }

    /// As [`Client::receipt`], and believes only a checkpoint that enough `witnesses` cosigned. So
    /// the record is in the journal that everybody else is shown: whoever has the journal's own key
    /// could sign another for us alone. Waits a few seconds for their cosignatures.
    ///
    /// ```no_run
    /// # use portcullis_client::{Client, ReceiptError, SignedTransaction, Verifier};
    /// use portcullis_client::{Witness, Witnesses};
    ///
    /// # async fn example(client: Client, signed: SignedTransaction, journal: Verifier)
    /// #     -> Result<(), ReceiptError> {
    /// let security = Witness::parse("witness.example.com/one+0a1b2c3d+BO…").unwrap();
    /// let auditors = Witness::parse("witness.example.org+4e5f6a7b+BA…").unwrap();
    /// let witnesses = Witnesses::new(vec![security, auditors], Some(1)).unwrap();
    /// let (sequence, leaf) = (signed.sequence, signed.leaf_hash);
    /// let proved = client.witnessed_receipt(sequence, leaf, &journal, &witnesses).await?;
    /// println!("cosigned by {:?}", proved.cosigned);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Client::receipt`]; and [`ReceiptFault::Witnesses`] if too few cosigned.
    pub async fn witnessed_receipt(
        &self,
        sequence: u64,
        leaf_hash: B256,
        journal: &Verifier,
        witnesses: &Witnesses,
    ) -> Result<Proved, ReceiptError> {
        let mut left = TRIES_MAX;
        loop {
            let fetched = self.fetch_receipt(sequence).await?;
            let checked = check(fetched, sequence, leaf_hash, journal, Some(witnesses));
            left = left.saturating_sub(1);
            if left == 0 || !is_early(&checked) {
                return checked;
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    }

    async fn fetch_receipt(&self, sequence: u64) -> Result<v1::GetReceiptResponse, SignError> {
        let retry = Retry { calls_max: 6, pause_first: PAUSE_FIRST, pause_max: PAUSE_MAX };
        let reply = retry.run(|| async {
            let request = self.transport.request(v1::GetReceiptRequest { sequence });
            let reply = self.service.clone().get_receipt(request).await;
            reply.map_err(|status| SignError::from(self.transport.error(&status)))
        });
        Ok(reply.await?.into_inner())
    }
}

/// Whether nothing is wrong but that too few have cosigned so far.
fn is_early(checked: &Result<Proved, ReceiptError>) -> bool {
    let Err(ReceiptError::Receipt(fault)) = checked else { return false };
    matches!(fault, ReceiptFault::Witnesses(QuorumFault::Missing { .. }))
}

fn check(
    fetched: v1::GetReceiptResponse,
    sequence: u64,
    replied: B256,
    journal: &Verifier,
    witnesses: Option<&Witnesses>,
) -> Result<Proved, ReceiptError> {
    let v1::GetReceiptResponse { record, receipt } = fetched;
    let claimed = leaf_hash(&record);
    if claimed != replied {
        return Err(ReceiptError::Leaf { claimed, replied });
    }
    let parsed = Receipt::parse(&receipt)?;
    if parsed.index.checked_add(1) != Some(sequence) {
        return Err(ReceiptFault::Record.into());
    }
    let (checkpoint, cosigned) = match witnesses {
        None => (parsed.check(&record, journal)?, Vec::new()),
        Some(witnesses) => {
            let (checkpoint, cosigned) = parsed.check_cosigned(&record, journal, witnesses)?;
            (checkpoint, cosigned.by)
        }
    };
    Ok(Proved { record, receipt, checkpoint, cosigned })
}

/// A checkpoint follows about a second after a record.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How often a receipt is asked for whose checkpoint is not cosigned yet.
const TRIES_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use portcullis_tlog::note::{Note, NoteKey, NoteSignature, Witness};
    use portcullis_tlog::tree::Tree;

    use super::*;

    const RECORD: &[u8] = b"{\"record\":1}";

    fn secret(number: u8) -> SigningKey {
        SigningKey::from_bytes(&[number; 32])
    }

    fn journal() -> Verifier {
        let key = NoteKey::ed25519(secret(1).verifying_key().as_bytes()).unwrap();
        Verifier { name: "journal".into(), key }
    }

    fn witness(number: u8) -> Witness {
        Witness::new("w", secret(number).verifying_key().as_bytes()).unwrap()
    }

    /// The receipt of the only record, with the cosignatures of some.
    fn fetched(cosigned_by: &[u8]) -> v1::GetReceiptResponse {
        let root = Tree::new(vec![leaf_hash(RECORD)]).root();
        let text = Checkpoint { origin: "journal".into(), size: 1, root }.text();
        let bytes = secret(1).sign(text.as_bytes()).to_bytes().to_vec();
        let id = journal().key.id("journal");
        let mut signatures = vec![NoteSignature { name: "journal".into(), id, bytes }];
        for number in cosigned_by {
            let sign = |message: &[u8]| secret(*number).sign(message).to_bytes();
            signatures.push(witness(*number).cosign(&text, 1_000, sign));
        }
        let receipt = Receipt { index: 0, path: Vec::new(), checkpoint: Note { text, signatures } };
        v1::GetReceiptResponse { record: RECORD.to_vec(), receipt: receipt.to_string() }
    }

    fn checked(cosigned_by: &[u8], wanted: Option<&Witnesses>) -> Result<Proved, ReceiptError> {
        check(fetched(cosigned_by), 1, leaf_hash(RECORD), &journal(), wanted)
    }

    #[test]
    fn a_receipt_counts_only_when_those_have_cosigned_whom_the_caller_knows() {
        let wanted = Witnesses::new(vec![witness(2)], None).unwrap();
        let proved = checked(&[2], Some(&wanted)).unwrap();
        assert_eq!((proved.checkpoint.size, proved.cosigned), (1, vec![("w".to_owned(), 1_000)]));
        // Nobody did, or a stranger by the same name: that may change, and is waited for.
        for by in [&[][..], &[3]] {
            let early = checked(by, Some(&wanted));
            assert!(is_early(&early), "{early:?}");
            assert!(early.unwrap_err().to_string().contains("not witnessed"));
            assert!(checked(by, None).unwrap().cosigned.is_empty());
        }
        // What is wrong in another way does not get better.
        let wrong = check(fetched(&[2]), 2, leaf_hash(RECORD), &journal(), Some(&wanted));
        assert!(wrong.is_err() && !is_early(&wrong), "{wrong:?}");
    }
}
