//! Receipts: that the record of a request is in the journal, under a checkpoint that the service's
//! token signed. What is asked for is checked here, against a key that the caller knows.

use std::time::Duration;

use alloy_primitives::B256;
use portcullis_proto::v1;
use portcullis_tlog::note::{Checkpoint, Verifier};
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
        let retry = Retry { calls_max: 6, pause_first: PAUSE_FIRST, pause_max: PAUSE_MAX };
        let reply = retry.run(|| async {
            let request = self.transport.request(v1::GetReceiptRequest { sequence });
            let reply = self.service.clone().get_receipt(request).await;
            reply.map_err(|status| SignError::from(self.transport.error(&status)))
        });
        let v1::GetReceiptResponse { record, receipt } = reply.await?.into_inner();
        check(record, receipt, sequence, leaf_hash, journal)
    }
}

fn check(
    record: Vec<u8>,
    receipt: String,
    sequence: u64,
    replied: B256,
    journal: &Verifier,
) -> Result<Proved, ReceiptError> {
    let claimed = leaf_hash(&record);
    if claimed != replied {
        return Err(ReceiptError::Leaf { claimed, replied });
    }
    let parsed = Receipt::parse(&receipt)?;
    if parsed.index.checked_add(1) != Some(sequence) {
        return Err(ReceiptFault::Record.into());
    }
    let checkpoint = parsed.check(&record, journal)?;
    Ok(Proved { record, receipt, checkpoint })
}

/// A checkpoint follows about a second after a record.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);
