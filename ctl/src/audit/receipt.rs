//! `audit receipt`: that one record is in the journal, for whoever has nothing but it and a key.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_policy::note::{NoteFault, Verifier};
use portcullis_policy::receipt::{Receipt, ReceiptFault};
use serde_json::json;

use crate::audit::export::{beside, place, unwritable};
use crate::audit::witnesses::{self, Wanted, WitnessArgs};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x};

#[derive(Args, Debug)]
pub(crate) struct ReceiptArgs {
    /// The record's sequence number. With --check: which must be the one in the receipt.
    sequence: u64,
    /// The receipt; the record itself is in FILE.record.
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// Who must have signed the checkpoint: NAME+ID+KEY, as `portctl audit checkpoint` prints it.
    #[arg(long, value_name = "KEY")]
    journal: String,
    #[command(flatten)]
    witnesses: WitnessArgs,
    /// Ask no signer: check the two files that are there.
    #[arg(long)]
    check: bool,
}

/// A receipt that shows nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadReceipt {
    /// Not a key.
    #[error("--journal is no verifier key: {0}")]
    Journal(NoteFault),
    /// It does not count.
    #[error("the receipt does not count: {0}")]
    Receipt(#[from] ReceiptFault),
    /// It is of another place.
    #[error("the receipt is of record {theirs}, and {wanted} was asked for")]
    Other { theirs: u64, wanted: u64 },
}

impl BadReceipt {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Journal(_) => Exit::Usage,
            Self::Receipt(_) | Self::Other { .. } => Exit::Unverified,
        }
    }
}

pub(crate) async fn run(
    args: &ReceiptArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let journal = Verifier::parse(&args.journal).map_err(BadReceipt::Journal)?;
    let witnesses = args.witnesses.read()?;
    let record_file = record_file(&args.file);
    let (record, text) = if args.check {
        (read(&record_file)?, String::from_utf8_lossy(&read(&args.file)?).into_owned())
    } else {
        fetched(&connection.control().await?, args.sequence, &witnesses).await?
    };
    let receipt = Receipt::parse(&text).map_err(BadReceipt::from)?;
    let (theirs, wanted) = (receipt.index.saturating_add(1), args.sequence);
    if theirs != wanted {
        return Err(BadReceipt::Other { theirs, wanted }.into());
    }
    let checkpoint = receipt.check(&record, &journal).map_err(BadReceipt::from)?;
    let cosigned = witnesses.check(&receipt.checkpoint, checkpoint.size)?;
    if !args.check {
        write(&record_file, &record)?;
        write(&args.file, text.as_bytes())?;
    }
    let root = hex0x(checkpoint.root.as_slice());
    let mut lines = vec![
        ("record", wanted.to_string()),
        ("of", checkpoint.size.to_string()),
        ("root", root.clone()),
        ("receipt", args.file.display().to_string()),
    ];
    if !cosigned.is_empty() {
        lines.push(("cosigned by", witnesses::words(&cosigned)));
    }
    let json = json!({
        "sequence": wanted,
        "size": checkpoint.size,
        "root": root,
        "receipt": args.file,
        "record": record_file,
        "cosigned": witnesses::json(&cosigned),
    });
    output.result(&fields(&lines), &json)?;
    Ok(Exit::Done)
}

/// The record and its receipt; after a while also one that is not cosigned yet.
async fn fetched(
    control: &ControlClient,
    sequence: u64,
    witnesses: &Wanted,
) -> Result<(Vec<u8>, String), Failure> {
    let mut proved = control.prove_record(sequence).await?;
    for _ in 1..witnesses::TRIES_MAX {
        let receipt = Receipt::parse(&proved.receipt).map_err(BadReceipt::from)?;
        if witnesses.is_met(&receipt.checkpoint.to_string()) {
            break;
        }
        tokio::time::sleep(witnesses::PAUSE).await;
        proved = control.prove_record(sequence).await?;
    }
    Ok((proved.record, proved.receipt))
}

fn record_file(receipt: &Path) -> PathBuf {
    let mut name = receipt.as_os_str().to_owned();
    name.push(".record");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = beside(path)?;
    let written = std::io::Write::write_all(&mut file, bytes);
    written.map_err(|source| unwritable(path, source))?;
    Ok(place(file, path)?)
}
