//! What is on a chain, as somebody tells it: a node, or a file of `--mined`.

use std::path::Path;

use alloy_primitives::{Address, B256};
use portcullis_policy::id::{ChainId, KeyId};
use serde::Deserialize;

use super::envelope;
use super::fault::ReconcileFault;
use super::known::Known;
use crate::failure::Failure;

/// Something on a chain that says it is of one of our keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Mined {
    pub(super) chain: ChainId,
    pub(super) block: Option<u64>,
    /// Of the transaction that it is, or is in.
    pub(super) hash: B256,
    pub(super) key: KeyId,
    pub(super) nonce: u64,
    pub(super) what: What,
    pub(super) sign: Sign,
}

/// What it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum What {
    Transaction,
    /// An EIP-7702 authorization, in a transaction of anybody.
    Authorization,
}

/// How it can be compared with the journal.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Sign {
    /// By what was signed. `proved`: the signature is the key's, whoever tells of it.
    Digest { digest: B256, proved: bool },
    /// By its nonce alone: nobody says what was signed.
    Nonce,
    /// Not at all: a type that this program does not know.
    Strange,
}

/// One line of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    chain: u64,
    hash: B256,
    from: Address,
    nonce: u64,
    block: Option<u64>,
}

/// What a file tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) mined: Vec<Mined>,
    /// Of addresses that are none of ours.
    pub(super) others: u64,
}

/// JSON lines, or raw signed transactions as 0x-hex, one a line.
pub(super) fn read(path: &Path, known: &Known) -> Result<Told, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    let mut told = Told::default();
    for (line, number) in text.lines().map(str::trim).zip(1_u64..) {
        if line.is_empty() {
            continue;
        }
        let read = line_of(line, known);
        let read =
            read.map_err(|why| ReconcileFault::Line { path: path.to_owned(), number, why })?;
        match read {
            Some(mined) => told.mined.push(mined),
            None => told.others = told.others.saturating_add(1),
        }
    }
    Ok(told)
}

fn line_of(text: &str, known: &Known) -> Result<Option<Mined>, String> {
    let what = What::Transaction;
    if let Some(digits) = text.strip_prefix("0x") {
        let bytes = hex::decode(digits).map_err(|error| error.to_string())?;
        let (chain, hash, signed) = envelope::raw(&bytes)
            .ok_or("it is no signed transaction of type 0 to 4 that names its chain")?;
        let Some(key) = signed.signer.and_then(|from| known.key_of(from)) else { return Ok(None) };
        let sign = Sign::Digest { digest: signed.digest, proved: true };
        let (chain, nonce) = (ChainId(chain), signed.nonce);
        return Ok(Some(Mined { chain, block: None, hash, key, nonce, what, sign }));
    }
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Line { chain, hash, from, nonce, block } = line;
    let (chain, sign) = (ChainId(chain), Sign::Nonce);
    let mined = |key| Mined { chain, block, hash, key, nonce, what, sign };
    Ok(known.key_of(from).map(mined))
}
