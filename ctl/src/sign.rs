//! `sign --key KEY (--hex 0x.. | --json FILE | --typed-data FILE | --message FILE |
//! --authorization 0x..)`: asks for one signature, to try things.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256};
use clap::Args;
use portcullis_client::{
    Answer, Client, KeyRef, Parked, RequestId, SignedDigest, SignedTransaction,
};
use portcullis_policy::request::Input;
use portcullis_policy::typed::{TypedData, TypedFault};
use serde_json::json;

use crate::collect::Collect;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x};
use crate::transaction::{Transaction, TransactionFault};
use portcullis_policy::utc::rfc3339;

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The key: its label, id or address.
    #[arg(long)]
    key: String,
    #[command(flatten)]
    input: InputArgs,
    /// Id of the request; asking again with it is the same request [default: a new one].
    #[arg(long, value_name = "ID")]
    request_id: Option<RequestId>,
    /// If it is parked: stay, print each change, and collect the signature once people have agreed.
    #[arg(long)]
    wait: bool,
}

/// Exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct InputArgs {
    /// The unsigned EIP-2718 preimage.
    #[arg(long, value_name = "0xHEX")]
    hex: Option<String>,
    /// A file with an object as for eth_signTransaction, types 0 to 2; - for standard input.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A file with EIP-712 typed data, as for eth_signTypedData_v4; - for standard input.
    #[arg(long, value_name = "FILE")]
    typed_data: Option<PathBuf>,
    /// A file with a message of EIP-4361 (Sign-In with Ethereum); - for standard input.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// The preimage of an EIP-7702 authorization: 0x05 and its RLP list.
    #[arg(long, value_name = "0xHEX")]
    authorization: Option<String>,
}

/// What to sign.
enum Wanted {
    Transaction(Vec<u8>),
    Typed { json: String, digest: B256 },
    Message(String),
    Authorization(Vec<u8>),
}

/// Nothing that could be asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignFault {
    /// No hex.
    #[error("this is not 0x and hexadecimal digits")]
    Hex(#[source] hex::FromHexError),
    /// No typed data.
    #[error("the typed data in {name} cannot be used")]
    Typed { name: String, source: TypedFault },
    /// The object describes no transaction.
    #[error("the transaction in {name} cannot be used")]
    Transaction { name: String, source: TransactionFault },
    /// The object says who signs, and it is not this key.
    #[error("\"from\" is {from}, and the address of key {key} is {address}")]
    From { key: String, from: String, address: String },
    /// The book gives us no such key.
    #[error("no key {key:?} is yours to use; the book lets you use: {usable}")]
    NoSuchKey { key: String, usable: String },
}

pub(crate) async fn run(
    args: SignArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let (wanted, from) = input(&args.input)?;
    let client = connection.data().await?;
    let key = find_key(&client, &args.key).await?;
    if let Some(from) = from.filter(|from| *from != key.address) {
        let (from, address) = (from.to_checksum(None), key.address.to_checksum(None));
        return Err(SignFault::From { key: args.key, from, address }.into());
    }
    let request_id = args.request_id.unwrap_or_else(|| client.new_request_id());
    let collect = Collect { client: &client, wait: args.wait, output };
    let answer = match &wanted {
        Wanted::Transaction(preimage) => {
            let ask = || client.sign_transaction(&key, &request_id, preimage);
            return match collect.answer(ask).await? {
                Answer::Signed(signed) => show_signed(&signed, preimage, &key, &request_id, output),
                Answer::Parked(parked) => show_parked(&parked, &request_id, output),
            };
        }
        Wanted::Typed { json, digest } => {
            collect.answer(|| client.sign_typed_data(&key, &request_id, json, *digest)).await?
        }
        Wanted::Message(text) => {
            collect.answer(|| client.sign_message(&key, &request_id, text.as_bytes())).await?
        }
        Wanted::Authorization(preimage) => {
            collect.answer(|| client.sign_authorization(&key, &request_id, preimage)).await?
        }
    };
    match answer {
        Answer::Signed(signed) => show_digest(&signed, &key, &request_id, output),
        Answer::Parked(parked) => show_parked(&parked, &request_id, output),
    }
}

/// The bytes to sign and, if the object says so, by whom.
fn input(args: &InputArgs) -> Result<(Wanted, Option<Address>), Failure> {
    let bytes = |text: &str| {
        let digits = text.trim().strip_prefix("0x").ok_or(hex::FromHexError::OddLength);
        digits.and_then(hex::decode).map_err(SignFault::Hex)
    };
    if let Some(text) = &args.hex {
        return Ok((Wanted::Transaction(bytes(text)?), None));
    }
    if let Some(text) = &args.authorization {
        return Ok((Wanted::Authorization(bytes(text)?), None));
    }
    if let Some(path) = &args.message {
        return Ok((Wanted::Message(read(path)?.1), None));
    }
    if let Some(path) = &args.typed_data {
        let (name, json) = read(path)?;
        let data = TypedData::decode(&json).map_err(|source| SignFault::Typed { name, source })?;
        let digest = data.digest();
        return Ok((Wanted::Typed { json, digest }, None));
    }
    let (name, text) = read(&args.json.clone().unwrap_or_default())?;
    let fault = |source| SignFault::Transaction { name: name.clone(), source };
    let transaction = Transaction::parse(&text).map_err(fault)?;
    let preimage = transaction.preimage().map_err(fault)?;
    Ok((Wanted::Transaction(preimage), transaction.from()))
}

/// A file's name for people and its text; - is standard input.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        ("standard input".to_owned(), read.map(|_| text))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };
    let text = text.map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    Ok((name, text))
}

/// The same, for policy to look at.
pub(crate) fn policy_input(args: &InputArgs) -> Result<Input, Failure> {
    Ok(match input(args)?.0 {
        Wanted::Transaction(preimage) => Input::Transaction(preimage),
        Wanted::Typed { json, .. } => Input::Typed(json),
        Wanted::Message(text) => Input::Message(text.into_bytes()),
        Wanted::Authorization(preimage) => Input::Delegation(preimage),
    })
}

async fn find_key(client: &Client, wanted: &str) -> Result<KeyRef, Failure> {
    let listed = client.list_keys().await?;
    let address = wanted.parse::<Address>().ok();
    let found = listed.iter().find(|one| {
        one.label == wanted || one.key.id.to_string() == wanted || Some(one.key.address) == address
    });
    if let Some(found) = found {
        return Ok(found.key);
    }
    let labels: Vec<&str> = listed.iter().map(|one| one.label.as_str()).collect();
    let usable = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    Err(SignFault::NoSuchKey { key: wanted.to_owned(), usable }.into())
}

fn show_signed(
    signed: &SignedTransaction,
    preimage: &[u8],
    key: &KeyRef,
    request_id: &RequestId,
    output: &Output,
) -> Result<Exit, Failure> {
    let lines = [
        ("raw_transaction", hex0x(&signed.raw_transaction)),
        ("transaction_hash", hex0x(signed.transaction_hash.as_slice())),
        ("signature", hex0x(&signed.signature.as_rsy())),
        ("digest", hex0x(signed.digest.as_slice())),
        ("address", key.address.to_checksum(None)),
        ("leaf_hash", hex0x(signed.leaf_hash.as_slice())),
        ("request_id", request_id.to_string()),
        ("sequence", signed.sequence.to_string()),
    ];
    let mut json = json!({ "status": "signed" });
    if let Some(all) = json.as_object_mut() {
        all.extend(lines.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())));
        all.insert("sequence".into(), signed.sequence.into());
        all.insert("unsigned_transaction".into(), hex0x(preimage).into());
    }
    let people = lines.map(|(name, text)| (name.replace('_', " "), text));
    let people: Vec<(&str, String)> =
        people.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    output.result(&fields(&people), &json)?;
    Ok(Exit::Done)
}

fn show_digest(
    signed: &SignedDigest,
    key: &KeyRef,
    request_id: &RequestId,
    output: &Output,
) -> Result<Exit, Failure> {
    let signature = hex0x(&signed.signature.as_rsy());
    let human = fields(&[
        ("signature", signature.clone()),
        ("digest", hex0x(signed.digest.as_slice())),
        ("address", key.address.to_checksum(None)),
        ("leaf hash", hex0x(signed.leaf_hash.as_slice())),
        ("request id", request_id.to_string()),
        ("sequence", signed.sequence.to_string()),
    ]);
    let json = json!({
        "status": "signed",
        "signature": signature,
        "digest": hex0x(signed.digest.as_slice()),
        "address": key.address.to_checksum(None),
        "leaf_hash": hex0x(signed.leaf_hash.as_slice()),
        "request_id": request_id.to_string(),
        "sequence": signed.sequence,
    });
    output.result(&human, &json)?;
    Ok(Exit::Done)
}

fn show_parked(parked: &Parked, request_id: &RequestId, output: &Output) -> Result<Exit, Failure> {
    let human = fields(&[
        ("parked", parked.parked_id.clone()),
        ("missing", parked.missing.join(", ")),
        ("expires", rfc3339(parked.expires_at_ms)),
        ("record", parked.sequence.to_string()),
        ("request id", request_id.to_string()),
    ]);
    let json = json!({
        "status": "parked",
        "parked_id": parked.parked_id,
        "missing": parked.missing,
        "expires_at": rfc3339(parked.expires_at_ms),
        "sequence": parked.sequence,
        "request_id": request_id.to_string(),
    });
    output.result(&human, &json)?;
    let id = &parked.parked_id;
    output.note(&format!(
        "voters see it with: portctl approvals show {id}\n\
         ask again with the same --request-id to collect the signature, or wait with --wait"
    ));
    Ok(Exit::Parked)
}
