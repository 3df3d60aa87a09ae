//! `audit reconcile`: holds what chains have mined against the journal. A transaction of one of our
//! addresses that no record has signed was made outside the signer: the key is out.
//!
//! The journal keeps what was signed and no signature, and signatures are not repeatable: so what
//! is mined is matched by the digest that it is a signature over, and never by its hash.

mod chain;
mod envelope;
mod fault;
mod judge;
mod known;
mod mined;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_client::wire::KeyState;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_policy::id::{ChainId, KeyId};
use portcullis_policy::time::Millis;

use self::chain::{Read, Reader};
pub(crate) use self::fault::ReconcileFault;
use self::judge::Verdict;
use self::known::Known;
use self::mined::Told;
use crate::audit::checked::{self, Checked};
use crate::audit::export;
use crate::connection::ConnectionArgs;
use crate::drain::rpc;
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};
use crate::written_time::{Written, written};

#[derive(Args, Debug)]
pub(crate) struct ReconcileArgs {
    /// The export, as `audit export` wrote it. Without one, the signer's journal is read.
    file: Option<PathBuf>,
    /// The head to hold the export against [default: FILE.head].
    #[arg(long, value_name = "FILE", requires = "file")]
    head: Option<PathBuf>,
    /// When the export was made [default: when its last record was written]. What was mined later
    /// is not judged: it may have been signed since.
    #[arg(long, value_name = "TIME", value_parser = written, requires = "file")]
    exported: Option<Written>,
    /// A node of a chain, by its name in the book or its number: ethereum=https://.. Once for each.
    #[arg(long = "rpc", value_name = "CHAIN=URL", value_parser = rpc)]
    #[arg(required_unless_present = "mined")]
    rpc: Vec<(String, String)>,
    /// Mined transactions, a line each: {"chain":1,"hash":"0x..","from":"0x..","nonce":7}, with
    /// "block" if you like, or raw signed transactions as 0x-hex, which tell more.
    #[arg(long, value_name = "FILE")]
    mined: Option<PathBuf>,
    /// Read blocks from this one on, CHAIN=N or N for all. Without it, only the number of
    /// transactions of each account is compared.
    #[arg(long = "from-block", value_name = "[CHAIN=]N", value_parser = block, requires = "rpc")]
    from: Vec<(Option<String>, u64)>,
    /// Read up to this block [default: the last that is deep enough].
    #[arg(long = "to-block", value_name = "[CHAIN=]N", value_parser = block, requires = "rpc")]
    to: Vec<(Option<String>, u64)>,
    /// How many blocks must be on top of one that counts as mined.
    #[arg(long, value_name = "N", default_value_t = 12)]
    confirmations: u64,
    /// Stop each key that was used outside the signer, at once. Takes the role security.
    #[arg(long)]
    freeze: bool,
}

/// All that is told.
struct Found {
    live: bool,
    checked: Checked,
    known: Known,
    reads: Vec<Read>,
    unread: Vec<Unread>,
    /// Lines of --mined that are of nobody here.
    others: u64,
    verdict: Verdict,
    froze: Vec<(KeyId, Froze)>,
}

/// A chain that was not read. The others are all the same: what is found on them must not wait.
struct Unread {
    chain: ChainId,
    name: String,
    why: String,
    /// `None`: it has no block that deep yet.
    fault: Option<ReconcileFault>,
}

/// What came of stopping a key.
enum Froze {
    Done {
        sequence: u64,
        recorded: bool,
    },
    /// It was not active, and is left as it is.
    Already(&'static str),
    Refused(Failure),
}

pub(crate) async fn run(
    args: &ReconcileArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = control(args, connection).await?;
    // How far nodes are is asked before the live journal is read: whatever is mined by then was
    // released, and so on record, before.
    let (mut known, mut journal) = (Known::default(), None);
    if let Some(file) = &args.file {
        journal = Some(checked::read(file, args.head.as_deref(), |entry| known.take(entry))?);
    } else if let Some(control) = &control {
        known = Known::names(control).await?;
    }
    let (readers, mut unread) = readers(args, &known).await?;
    let checked = match (journal, &control) {
        (Some(checked), _) => checked,
        (None, Some(control)) => {
            known = Known::default();
            live(control, &mut known).await?
        }
        (None, None) => return Err(ReconcileFault::FreezeOffline.into()),
    };
    if let Some(control) = &control {
        same_vault(control, &checked).await?;
    }
    let mut reads = Vec::new();
    for reader in readers {
        let named = (reader.chain, reader.name.clone());
        match read(args, &known, reader, output).await {
            Ok(read) => reads.push(read),
            Err(fault) => unread.push(Unread::of(named, fault)?),
        }
    }
    if reads.is_empty() && args.mined.is_none() {
        let failed = unread.iter_mut().find_map(|unread| unread.fault.take());
        failed.map_or(Ok(()), |fault| Err(Failure::from(fault)))?;
    }
    let told = match &args.mined {
        Some(path) => mined::read(path, &known)?,
        None => Told::default(),
    };
    let verdict = judge::judge(&known, &reads, &told.mined);
    let froze = match control.as_ref().filter(|_| args.freeze) {
        Some(control) => freeze(control, &verdict).await,
        None => Vec::new(),
    };
    let (live, others) = (args.file.is_none(), told.others);
    let found = Found { live, checked, known, reads, unread, others, verdict, froze };
    output.result(&words::human(&found, output), &words::json(&found))?;
    notes(&found, output);
    if !found.verdict.outside.is_empty() {
        return Ok(Exit::UsedOutside);
    }
    match found.unread.into_iter().find_map(|unread| unread.fault) {
        Some(fault) => Err(fault.into()),
        None if found.verdict.is_incomplete() => Ok(Exit::Unverified),
        None => Ok(Exit::Done),
    }
}

/// Reads one chain, no further than the journal can know of it.
async fn read(
    args: &ReconcileArgs,
    known: &Known,
    mut reader: Reader,
    output: &Output,
) -> Result<Read, ReconcileFault> {
    if args.file.is_some() {
        // A block holds what was sent after the time that it says, and no two clocks agree.
        let last = Millis(known.last().0.saturating_sub(CLOCKS_DIFFER_MS));
        let until = args.exported.map_or(last, |time| time.begins);
        reader.not_after(seconds(until)).await?;
    }
    let blocks = (of_chain(&args.from, &reader, known), of_chain(&args.to, &reader, known));
    reader.read(known, blocks, output).await
}

impl Unread {
    /// What is a slip of the command line ends all of it.
    fn of((chain, name): (ChainId, String), fault: ReconcileFault) -> Result<Self, ReconcileFault> {
        if fault.exit() != Exit::Unavailable {
            return Err(fault);
        }
        let why = fault.to_string();
        Ok(Self { chain, name, why, fault: Some(fault) })
    }
}

/// The signer, where it is needed.
async fn control(
    args: &ReconcileArgs,
    connection: &ConnectionArgs,
) -> Result<Option<ControlClient>, Failure> {
    if args.file.is_some() && !args.freeze {
        return Ok(None);
    }
    match connection.control().await {
        Ok(control) => Ok(Some(control)),
        Err(Failure::Connection(_)) if args.file.is_some() => {
            Err(ReconcileFault::FreezeOffline.into())
        }
        Err(failure) => Err(failure),
    }
}

/// Reads the journal as an export, and checks it as one.
async fn live(control: &ControlClient, known: &mut Known) -> Result<Checked, Failure> {
    let fault = |source| Failure::Write { path: std::env::temp_dir(), source };
    let folder = tempfile::tempdir().map_err(fault)?;
    let file = folder.path().join("journal");
    export::write(&file, control).await?;
    Ok(checked::read(&file, None, |entry| known.take(entry))?)
}

async fn same_vault(control: &ControlClient, checked: &Checked) -> Result<(), Failure> {
    let signer = control.status().await?.vault_id;
    let export = checked.vault.0;
    if signer == export.as_slice() {
        return Ok(());
    }
    let (export, signer) = (hex0x(export.as_slice()), hex0x(&signer));
    Err(ReconcileFault::Vault { export, signer }.into())
}

async fn readers(
    args: &ReconcileArgs,
    known: &Known,
) -> Result<(Vec<Reader>, Vec<Unread>), ReconcileFault> {
    let mut urls = BTreeMap::new();
    for (name, url) in &args.rpc {
        let chain = known.chain(name).ok_or_else(|| ReconcileFault::NoChain(name.clone()))?;
        if urls.insert(chain, url).is_some() {
            return Err(ReconcileFault::Twice(name.clone()));
        }
    }
    for (name, _) in args.from.iter().chain(&args.to) {
        let Some(name) = name else { continue };
        let chain = known.chain(name).ok_or_else(|| ReconcileFault::NoChain(name.clone()))?;
        if !urls.contains_key(&chain) {
            return Err(ReconcileFault::NoNode(name.clone()));
        }
    }
    let (mut readers, mut unread) = (Vec::new(), Vec::new());
    for (chain, url) in urls {
        let named = (chain, known.chain_name(chain));
        match Reader::new(named.clone(), url, args.confirmations).await {
            Ok(Some(reader)) => readers.push(reader),
            Ok(None) => {
                let (chain, name) = named;
                let why = "no block is so deep yet".to_owned();
                unread.push(Unread { chain, name, why, fault: None });
            }
            Err(fault) => unread.push(Unread::of(named, fault)?),
        }
    }
    Ok((readers, unread))
}

/// What was said of a chain, or else of all.
fn of_chain(given: &[(Option<String>, u64)], reader: &Reader, known: &Known) -> Option<u64> {
    let named = given.iter().find(|(name, _)| {
        name.as_ref().is_some_and(|name| known.chain(name) == Some(reader.chain))
    });
    let all = || given.iter().find(|(name, _)| name.is_none());
    named.or_else(all).map(|(_, number)| *number)
}

/// Each key once, for the first thing that was found of it.
async fn freeze(control: &ControlClient, verdict: &Verdict) -> Vec<(KeyId, Froze)> {
    let mut froze: Vec<(KeyId, Froze)> = Vec::new();
    for outside in &verdict.outside {
        let key = outside.key();
        if !froze.iter().any(|(done, _)| *done == key) {
            froze.push((key, stop(control, key, &outside.reason()).await));
        }
    }
    froze
}

/// What is stopped stays as it is: a run from a timer would stop it again and again, and end a
/// drain that brings to safety what the key still holds. Where that cannot be told, it is stopped.
async fn stop(control: &ControlClient, key: KeyId, reason: &str) -> Froze {
    let name = key.to_string();
    let state = control.key(&name).await.map(|key| key.state());
    match state.unwrap_or_default() {
        KeyState::Frozen => return Froze::Already("frozen"),
        KeyState::Draining => return Froze::Already("draining"),
        KeyState::Revoked => return Froze::Already("revoked"),
        KeyState::Destroyed => return Froze::Already("destroyed"),
        KeyState::Active | KeyState::Unspecified => {}
    }
    match control.freeze(Scope::Key(name), reason).await {
        Ok(stopped) => Froze::Done { sequence: stopped.sequence, recorded: stopped.recorded },
        Err(refused) => Froze::Refused(refused.into()),
    }
}

/// What was not looked at, and what is to be done.
fn notes(found: &Found, output: &Output) {
    if found.reads.iter().any(|read| read.scanned.is_none()) {
        output.note("no blocks were read: --from-block N compares what was signed, too");
    }
    output.note(
        "not looked at: typed data, permits and messages, which others bring to a chain, and \
         authorizations (EIP-7702) in blocks that were not read",
    );
    for (key, froze) in &found.froze {
        if let Froze::Refused(failure) = froze {
            let label = found.known.label(*key);
            output.note(&output.alarm(&format!("key {label} was NOT frozen")));
            output.failure(failure);
        }
    }
    if found.verdict.is_incomplete() {
        output.note(&output.alarm(
            "not everything could be judged: a transaction of an unknown type, or an account that \
             the node would not count, may hide a use of a key (exit code 7)",
        ));
    }
    if !found.verdict.outside.is_empty() && found.froze.is_empty() {
        output.note("next: portctl freeze KEY, or this again with --freeze");
    }
}

/// Two minutes.
const CLOCKS_DIFFER_MS: u64 = 120_000;

fn seconds(time: Millis) -> u64 {
    time.0 / 1_000
}

/// `ethereum=19000000` or `19000000`.
fn block(text: &str) -> Result<(Option<String>, u64), String> {
    let (name, number) = match text.split_once('=') {
        Some((name, number)) => (Some(name.to_owned()), number),
        None => (None, text),
    };
    let number =
        number.parse().map_err(|_| "write a block's number: 19000000, or CHAIN=19000000")?;
    Ok((name, number))
}
