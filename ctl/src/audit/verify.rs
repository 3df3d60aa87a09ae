//! `audit verify FILE`: offline, trusting nobody, in four levels; each that is wrong has an exit
//! code of its own. The checking itself is the policy crate's.

mod form;
mod words;

use std::fs::File;
use std::io::{self, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::id::Sequence;
use portcullis_policy::note::{self, Note, NoteFault};
use portcullis_policy::verify::{Discrepancy, Level, ReadLine, Report, Verifier};
use serde_json::Value;

use crate::audit::export::{ATTACHMENT, Head, checkpoint_file, head_file};
use crate::audit::together::Together;
use crate::audit::witnesses::{self, WitnessArgs, Witnessed};
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};

use self::form::Form;

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The export.
    file: PathBuf,
    /// The head to hold it against [default: FILE.head]. Best one you got on another day, or from
    /// somebody else.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// A signed checkpoint to hold it against, too; may be given more than once. That in
    /// FILE.checkpoint is taken if it is there. Best ones you kept on other days.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Who must have signed the checkpoints: NAME+ID+KEY, as `portctl audit checkpoint` printed it
    /// when you believed it [default: whoever the journal says].
    #[arg(long, value_name = "KEY")]
    journal: Option<String>,
    #[command(flatten)]
    witnesses: WitnessArgs,
    /// Print the texts that people signed, too.
    #[arg(long)]
    statements: bool,
}

/// An export that could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyFault {
    /// A file is missing or unreadable.
    #[error("{path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// An attachment's line is damaged.
    #[error("line {line} of {path} is no attachment", path = path.display())]
    Attachment { path: PathBuf, line: u64 },
    /// A checkpoint is none.
    #[error("{path} is no signed checkpoint: {fault}", path = path.display())]
    Checkpoint { path: PathBuf, fault: NoteFault },
    /// Not a key.
    #[error("--journal is no verifier key: {0}")]
    Journal(NoteFault),
    /// The head is damaged.
    #[error("{path} is no head", path = path.display())]
    Head { path: PathBuf, source: serde_json::Error },
}

impl VerifyFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Failure,
            Self::Journal(_) => Exit::Usage,
            Self::Attachment { .. } => Exit::WrongForm,
            Self::Head { .. } | Self::Checkpoint { .. } => Exit::WrongTree,
        }
    }
}

pub(crate) fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let journal = args.journal.as_deref().map(note::Verifier::parse).transpose();
    let journal = journal.map_err(VerifyFault::Journal)?;
    let witnesses = args.witnesses.read()?;
    let known = journal.is_some();
    let mut checkpoints = args.checkpoint.clone();
    let beside = checkpoint_file(&args.file);
    checkpoints.extend(beside.exists().then_some(beside));
    let checkpoints: Result<Vec<Note>, _> = checkpoints.iter().map(|path| note_in(path)).collect();
    let checkpoints = checkpoints?;
    let witnessed = witnesses.of_all(&checkpoints);
    let verifier = Verifier::against(checkpoints, journal);
    let (mut report, together) = check(&args.file, verifier)?;
    let named = args.head.clone().unwrap_or_else(|| head_file(&args.file));
    // Only a head nobody named may be missing, and that is said.
    let head = if args.head.is_none() && !named.exists() { None } else { Some(read_head(&named)?) };
    if let Some(head) = &head {
        hold_against(head, &mut report);
    }
    let (mut human, mut json) =
        (words::human(&report, known), words::json(&report, head.is_some()));
    // What a journal tells that does not verify is no evidence of anything.
    if report.discrepancies.is_empty() {
        let told = together.human(args.statements);
        if !told.is_empty() {
            human.push_str(&format!("\n\nwhat people did together\n\n{told}"));
        }
        if let Some(all) = json.as_object_mut() {
            all.insert("together".to_owned(), together.json(args.statements));
        }
    }
    // Of checkpoints that are not of this journal nothing is said.
    let witnessed = witnessed.filter(|_| report.discrepancies.is_empty());
    if let Some(witnessed) = &witnessed {
        add_witnessed(witnessed, &report, &mut human, &mut json);
    }
    output.result(&human, &json)?;
    if head.is_none() && report.attested == 0 {
        output.note("warning: no head to hold it against, so records cut from its end go unseen");
    }
    for warning in words::warnings(&report, known) {
        output.note(&warning);
    }
    let short = witnessed.filter(|witnessed| witnessed.is_short_of(report.attested));
    if let Some(witnessed) = &short {
        output.note(&witnessed.warning(report.attested));
    }
    Ok(exit(&report, short.is_some()))
}

fn add_witnessed(witnessed: &Witnessed, report: &Report, human: &mut String, json: &mut Value) {
    let by = witnesses::words(&witnessed.by);
    human.push_str(&format!("\n\nwitnessed  {} of {} records", witnessed.size, report.size));
    if !by.is_empty() {
        human.push_str(&format!(", by {by}"));
    }
    if let Some(all) = json.as_object_mut() {
        all.insert("witnessed".to_owned(), witnessed.size.into());
        all.insert("cosigned".to_owned(), witnesses::json(&witnessed.by));
    }
}

fn exit(report: &Report, is_unwitnessed: bool) -> Exit {
    match report.first_wrong() {
        Some(Level::Form) => Exit::WrongForm,
        Some(Level::Tree) => Exit::WrongTree,
        Some(Level::People) => Exit::WrongPeople,
        Some(Level::Replay) => Exit::WrongReplay,
        None if !report.withheld.is_empty() => Exit::NotRepeated,
        None if is_unwitnessed => Exit::Unwitnessed,
        None if report.unattested() > 0 => Exit::Unattested,
        None => Exit::Done,
    }
}

/// A head is nobody's signature, but it shows what is missing.
fn hold_against(head: &Head, report: &mut Report) {
    let root = hex0x(report.root.as_slice());
    if (head.size, &head.root) != (report.size, &root) {
        let what = format!(
            "the head speaks of {} records with root {}, and the file holds {} with root {root}",
            head.size, head.root, report.size
        );
        let (at, level) = (Sequence(report.size), Level::Tree);
        report.discrepancies.push(Discrepancy { at, level, what });
    }
}

/// What checking an export finds.
pub(crate) fn report(path: &Path) -> Result<Report, VerifyFault> {
    Ok(check(path, Verifier::default())?.0)
}

/// Hands the export to the policy crate, line by line.
fn check(path: &Path, mut verifier: Verifier) -> Result<(Report, Together), VerifyFault> {
    let unreadable = |source| VerifyFault::Read { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let (mut together, mut before) = (Together::default(), 0_u64);
    let (mut form, mut whole) = (Form::default(), true);
    loop {
        let lines = some_lines(&mut file).map_err(unreadable)?;
        let Some(last) = lines.last() else {
            let mut report = verifier.finish();
            report.discrepancies.extend(form.findings(whole));
            return Ok((report, together));
        };
        whole = last.ends_with(b"\n");
        for read in read(&lines) {
            before = before.saturating_add(1);
            match read {
                ExportLine::Record(read) => {
                    form.record(read.entry());
                    // One that cannot be read is among the verifier's findings.
                    if let Some(entry) = read.entry() {
                        together.take(entry);
                    }
                    verifier.take(*read);
                }
                ExportLine::Attachment(Ok(bytes)) => {
                    form.attachment(&bytes);
                    verifier.attachment(bytes);
                }
                ExportLine::Attachment(Err(_)) => {
                    return Err(VerifyFault::Attachment { path: path.to_owned(), line: before });
                }
            }
        }
    }
}

/// A line of an export.
enum ExportLine {
    Record(Box<ReadLine>),
    Attachment(Result<Vec<u8>, hex::FromHexError>),
}

impl ExportLine {
    fn of(line: &[u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match attachment(line) {
            None => Self::Record(Box::new(ReadLine::of(line))),
            Some(bytes) => Self::Attachment(bytes),
        }
    }
}

/// The next lines, with their ends; none at the end of the file.
fn some_lines(file: &mut impl io::BufRead) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    while lines.len() < LINES_AT_ONCE {
        let mut line = Vec::new();
        if file.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Hashes and understands lines, in order, on all cores: it is most of the work.
fn read(lines: &[Vec<u8>]) -> Vec<ExportLine> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let part = lines.len().div_ceil(cores).max(1);
    let of = |part: &[Vec<u8>]| part.iter().map(|line| ExportLine::of(line)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            lines.chunks(part).map(|part| (part, scope.spawn(move || of(part)))).collect();
        // What a thread did not end with is done here.
        let parts = parts.into_iter();
        parts.flat_map(|(part, thread)| thread.join().unwrap_or_else(|_| of(part))).collect()
    })
}

/// The bytes of an attachment's line, or `None` for a record's. Upper case is no form of ours: one
/// attachment has one line.
pub(crate) fn attachment(line: &[u8]) -> Option<Result<Vec<u8>, hex::FromHexError>> {
    let rest = line.strip_prefix(ATTACHMENT.as_bytes())?;
    let digits = rest.strip_suffix(b"\"}").filter(|all| !all.iter().any(u8::is_ascii_uppercase));
    Some(hex::decode(digits.unwrap_or(b"?")))
}

fn read_head(path: &Path) -> Result<Head, VerifyFault> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| VerifyFault::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| VerifyFault::Head { path: path.to_owned(), source })
}

fn note_in(path: &Path) -> Result<Note, VerifyFault> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| VerifyFault::Read { path: path.to_owned(), source })?;
    let fault = |fault| VerifyFault::Checkpoint { path: path.to_owned(), fault };
    Note::parse(&text).map_err(fault)
}

/// Enough to be worth a thread, and few enough to hold.
const LINES_AT_ONCE: usize = 16 * 1_024;
