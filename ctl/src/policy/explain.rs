//! `policy explain`: the decision on a request as a tree. Each rule, what it saw, what it said, and
//! what would be left of each budget. Needs no signer: a book file answers for a vault in which
//! nothing was signed, an exported journal for one as it was at its end.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::decide::{Decision, decide};
use portcullis_policy::examples;
use portcullis_policy::finding::{Finding, Findings, Seen, describe};
use portcullis_policy::id::{CallerId, KeyLabel};
use portcullis_policy::record::Entry;
use portcullis_policy::request::{Asker, Input, Request, Unreadable};
use portcullis_policy::state::State;
use portcullis_policy::{book, effect};
use serde_json::{Value, json};

use crate::audit::export::ATTACHMENT;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::policy::diff;
use crate::sign::InputArgs;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    against: Against,
    /// The key's label.
    #[arg(long)]
    key: KeyLabel,
    /// Who asks: the SPIFFE URI or DNS name of its certificate.
    #[arg(long)]
    caller: CallerId,
    #[command(flatten)]
    input: InputArgs,
}

/// Exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Against {
    /// A book, and a vault in which nothing was signed yet.
    #[arg(long, value_name = "FILE")]
    book: Option<PathBuf>,
    /// A journal as `audit export` writes it: the state at its end. It is folded, not verified.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainFault {
    /// The request.
    #[error("{} ({})", .0, .0.code())]
    Unreadable(#[from] Unreadable),
    /// The journal.
    #[error("record {line} of {path} cannot be folded: {why}", path = path.display())]
    Journal { path: PathBuf, line: u64, why: String },
    /// No records.
    #[error("{} holds no records", path.display())]
    Empty { path: PathBuf },
    /// No such key.
    #[error("there is no key {key}; there are: {known}")]
    NoKey { key: KeyLabel, known: String },
}

/// The exit code is the decision's: done, denied or parked.
pub(crate) fn run(args: &ExplainArgs, output: &Output) -> Result<Exit, Failure> {
    let mut state = match (&args.against.book, &args.against.journal) {
        (Some(file), _) => examples::fresh_state(&diff::book(file)?),
        (None, Some(file)) => fold(file)?,
        (None, None) => None,
    };
    let Some(state) = &mut state else { return Ok(Exit::Failure) };
    let input = crate::sign::policy_input(&args.input)?;
    let request = request(state, args, &input)?;
    // As at the end of the journal: time that went by since would only leave more.
    let now = state.at();
    state.advance(request.asker().key, now);
    let book = state.book().clone();
    let (chain, own) = (request.chain(), request.asker().expected);
    let effects: Vec<String> = effect::effects(&request, own, book.registry())
        .iter()
        .map(|one| effect::describe(one, chain, book.registry()))
        .collect();
    let digest = request.digest();
    let facts = state.facts(&request, now, None);
    let decision = decide(&book, &facts, request);
    let (verdict, findings, missing, exit) = match &decision {
        Decision::Allow(allowed) => ("allow", allowed.findings(), Vec::new(), Exit::Done),
        Decision::Park(parked) => {
            let missing = parked.missing.iter().map(ToString::to_string).collect();
            ("park", &parked.findings, missing, Exit::Parked)
        }
        Decision::Deny(denial) => ("deny", &denial.findings, Vec::new(), Exit::Denied),
    };
    let human = human(verdict, &effects, findings, &missing, book.registry());
    let json = json!({
        "verdict": verdict,
        "digest": digest.to_string(),
        "book": book.hash().0.to_string(),
        "effects": effects,
        "missing": missing,
        "rules": findings.iter().map(|one| rule(one, book.registry())).collect::<Vec<Value>>(),
    });
    output.result(&human, &json)?;
    Ok(exit)
}

fn request(state: &State, args: &ExplainArgs, input: &Input) -> Result<Request, ExplainFault> {
    let Some((key, found)) = state.key_named(args.key.as_str()) else {
        let known: BTreeSet<&str> = state.keys().values().map(|key| key.label.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(ExplainFault::NoKey { key: args.key.clone(), known });
    };
    let expected = found.made.as_ref().map(|made| made.address).unwrap_or_default();
    let request = "explain".parse();
    let Ok(request) = request else {
        return Err(ExplainFault::NoKey { key: args.key.clone(), known: String::new() });
    };
    let asker = Asker { caller: args.caller.clone(), expected, key, request };
    Ok(Request::decode(asker, input)?)
}

/// The state at the end of an export.
fn fold(path: &Path) -> Result<Option<State>, Failure> {
    let read = |source| Failure::Read { path: path.to_owned(), source };
    let file = BufReader::new(std::fs::File::open(path).map_err(read)?);
    let mut state: Option<State> = None;
    for (number, line) in (1_u64..).zip(file.split(b'\n')) {
        let line = line.map_err(read)?;
        if line.is_empty() || line.starts_with(ATTACHMENT.as_bytes()) {
            continue;
        }
        let fault =
            |why: String| ExplainFault::Journal { path: path.to_owned(), line: number, why };
        let entry = Entry::decode(&line).map_err(|error| fault(error.to_string()))?;
        match &mut state {
            None => {
                let genesis = State::genesis(&entry).map_err(|error| fault(error.to_string()))?;
                state = Some(genesis);
            }
            Some(state) => state.apply(&entry).map_err(|error| fault(error.to_string()))?,
        }
    }
    if state.is_none() {
        return Err(ExplainFault::Empty { path: path.to_owned() }.into());
    }
    Ok(state)
}

fn human(
    verdict: &str,
    effects: &[String],
    findings: &Findings,
    missing: &[String],
    registry: &book::Registry,
) -> String {
    let mut lines = vec![verdict.to_owned(), "├─ it would".to_owned()];
    lines.extend(effects.iter().map(|effect| format!("│  ├─ {effect}")));
    lines.push("├─ rules".to_owned());
    for finding in findings.iter() {
        let mark = if finding.passed { "✓" } else { "✗" };
        let left = left(finding, registry).map(|left| format!(", {left} left"));
        let said = describe(finding, registry);
        lines.push(format!("│  ├─ {mark} {said}{}", left.unwrap_or_default()));
    }
    let refused = findings.iter().filter(|finding| !finding.passed).count();
    lines.push(match (verdict, refused) {
        ("allow", _) => "└─ signed".to_owned(),
        ("park", _) => format!("└─ waits for {}", missing.join(" and ")),
        (_, refused) => format!("└─ refused by {refused} rule(s)"),
    });
    lines.join("\n")
}

/// What would be left of a budget.
fn left(finding: &Finding, registry: &book::Registry) -> Option<String> {
    let (account, sum, bound) = match &finding.saw {
        Seen::Amount { account, sum, bound } => (*account, *sum, (*bound)?),
        Seen::Shared { account, sum, bound, .. } => (*account, *sum, *bound),
        Seen::Nothing | Seen::Address(_) | Seen::Words(_) | Seen::Chain(_) => return None,
    };
    let left = bound.checked_sub(sum)?;
    Some(book::format_amount(registry, account, left))
}

fn rule(finding: &Finding, registry: &book::Registry) -> Value {
    json!({
        "rule": finding.name(),
        "code": finding.rule.code(),
        "passed": finding.passed,
        "said": describe(finding, registry),
        "left": left(finding, registry),
    })
}
