//! A book's own examples: requests, and what the book should say of each. Kept beside the book, so
//! that a change can be reviewed as a table; `docs/policy.md` is one.
//!
//! Each case begins in a vault of its own in which nothing was ever signed; what a step is allowed
//! is signed, so that the steps after it find it in the ledger.

mod inputs;
mod vault;

use serde::Deserialize;

use self::vault::Vault;
use crate::book::{Book, format_amount};
use crate::decide::Decision;
use crate::effect;
use crate::finding::describe;
use crate::money::{Asset, Charges, Facet};
use crate::request::Request;
use crate::state::State;

/// A file of examples.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// The cases, in order.
    #[serde(default)]
    pub case: Vec<Case>,
}

/// A few requests, one after the other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// The requests.
    pub step: Vec<Step>,
}

/// One request and what the book should say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The key's label. Absent: the first in the book.
    pub key: Option<String>,
    /// Who asks. Absent: the first of the key's callers.
    pub caller: Option<String>,
    /// How long after the step before: "1h".
    pub after: Option<String>,
    /// A transaction of type 2.
    pub transaction: Option<inputs::TransactionStep>,
    /// Typed data.
    pub typed: Option<inputs::TypedStep>,
    /// A message of EIP-4361.
    pub sign_in: Option<inputs::SignInStep>,
    /// An EIP-7702 authorization.
    pub authorization: Option<inputs::AuthorizationStep>,
    /// An unsigned transaction of any type, as 0x-hex.
    pub preimage: Option<String>,
    /// What the book should say.
    pub expect: Verdict,
    /// The codes of all reasons, if it is refused.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Who is missing, if it waits.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What is charged, if it is allowed: `"1.5 ETH"`, fees apart. Absent: not looked at.
    pub charge: Option<Vec<String>>,
}

/// What a book says of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is signed.
    Allow,
    /// It waits for people.
    Park,
    /// It is refused.
    Deny,
}

/// What became of one step.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// Which step of it, from 1.
    pub step: usize,
    /// How long after the step before.
    pub after: Option<String>,
    /// What was asked, in words.
    pub asked: Vec<String>,
    /// What the book said. `None`: the request cannot be read.
    pub verdict: Option<Verdict>,
    /// The codes of all reasons against it.
    pub reasons: Vec<String>,
    /// Everything every rule said, and whether it passed.
    pub findings: Vec<(String, bool)>,
    /// Who is missing.
    pub missing: Vec<String>,
    /// What is charged.
    pub charge: Vec<String>,
    /// What is not as the example says.
    pub faults: Vec<String>,
}

/// Why examples cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum BadExamples {
    /// No TOML, or with fields that examples do not have.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A step that says something that cannot be understood.
    #[error("case {case:?}, step {step}: {problem}")]
    Step {
        /// The case.
        case: String,
        /// Which step of it, from 1.
        step: usize,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a step.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Not exactly one thing to sign.
    #[error("write exactly one of transaction, typed, sign_in, authorization, preimage")]
    Input,
    /// A word that is not in the book.
    #[error("{what} {word:?} is not in the book")]
    Unknown {
        /// What kind of word.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// A value that cannot be read.
    #[error("{what} {word:?} cannot be read")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What stands there.
        word: String,
    },
    /// A function or type that is none.
    #[error("{0}")]
    Signature(String),
}

impl Examples {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Its first fault.
    pub fn parse(text: &str) -> Result<Self, BadExamples> {
        Ok(toml::from_str(text)?)
    }

    /// Runs every case against a book.
    ///
    /// # Errors
    ///
    /// The first step that cannot be understood. A step that comes out otherwise than it says is
    /// an [`Outcome`] with faults.
    pub fn run(&self, book: &Book) -> Result<Vec<Outcome>, BadExamples> {
        let mut outcomes = Vec::new();
        for case in &self.case {
            let mut vault = Vault::new(book);
            for (at, step) in case.step.iter().enumerate() {
                let step_number = at.saturating_add(1);
                let outcome = run_step(&mut vault, step).map_err(|problem| BadExamples::Step {
                    case: case.name.clone(),
                    step: step_number,
                    problem,
                })?;
                outcomes.push(Outcome { case: case.name.clone(), step: step_number, ..outcome });
            }
        }
        Ok(outcomes)
    }
}

/// A vault in which nothing was signed, with a key for every label of the book. `None` only if the
/// book is none.
pub fn fresh_state(book: &Book) -> Option<State> {
    Vault::new(book).into_state()
}

fn run_step(vault: &mut Vault, step: &Step) -> Result<Outcome, Problem> {
    vault.wait(step.after.as_deref())?;
    let asker = vault.asker(step)?;
    let input = inputs::input(vault, step, &asker)?;
    let mut outcome = match Request::decode(asker, &input) {
        Ok(request) => judge(vault, request),
        Err(unreadable) => Outcome {
            verdict: None,
            reasons: vec![unreadable.code().to_owned()],
            findings: vec![(unreadable.to_string(), false)],
            ..Outcome::empty()
        },
    };
    outcome.after.clone_from(&step.after);
    outcome.faults = outcome.compare(step);
    Ok(outcome)
}

fn judge(vault: &mut Vault, request: Request) -> Outcome {
    let book = vault.book();
    let registry = book.registry();
    let effects = effect::effects(&request, request.asker().expected, registry);
    let asked = effects.iter().map(|one| effect::describe(one, request.chain(), registry));
    let asked = asked.collect();
    let decision = vault.decide(request);
    let shown = |findings: &crate::finding::Findings| {
        findings.iter().map(|one| (describe(one, registry), one.passed)).collect()
    };
    let outcome = Outcome { asked, ..Outcome::empty() };
    match decision {
        Decision::Allow(allowed) => {
            let findings = shown(allowed.findings());
            let charge = charged(&book, allowed.charge());
            vault.sign(*allowed);
            Outcome { verdict: Some(Verdict::Allow), findings, charge, ..outcome }
        }
        Decision::Park(parked) => Outcome {
            verdict: Some(Verdict::Park),
            findings: shown(&parked.findings),
            missing: parked.missing.iter().map(ToString::to_string).collect(),
            ..outcome
        },
        Decision::Deny(denial) => {
            let mut reasons: Vec<String> =
                denial.findings.reasons().into_iter().map(|reason| reason.code).collect();
            reasons.dedup();
            let findings = shown(&denial.findings);
            Outcome { verdict: Some(Verdict::Deny), findings, reasons, ..outcome }
        }
    }
}

/// A charge for people: each asset, the fee by itself, and parts that a limit sums.
fn charged(book: &Book, charges: &Charges) -> Vec<String> {
    let line = |(line, amount): (&crate::money::Line, _)| {
        let amount = format_amount(book.registry(), line.account, amount);
        let fee = if line.account.asset == Asset::Fee { " as fee" } else { "" };
        match &line.facet {
            Facet::Whole => format!("{amount}{fee}"),
            Facet::Grant(spender) => {
                let label = book.registry().label(*spender).map(ToOwned::to_owned);
                let who = label.unwrap_or_else(|| spender.to_checksum(None));
                format!("{amount}{fee} standing for {who}")
            }
            Facet::Caller(caller) => format!("{amount}{fee} by {caller}"),
            Facet::To(to) => {
                let label = book.registry().label(*to).map(ToOwned::to_owned);
                format!("{amount}{fee} to {}", label.unwrap_or_else(|| to.to_checksum(None)))
            }
        }
    };
    charges.lines().map(line).collect()
}

impl Outcome {
    fn empty() -> Self {
        Self {
            case: String::new(),
            step: 0,
            after: None,
            asked: Vec::new(),
            verdict: None,
            reasons: Vec::new(),
            findings: Vec::new(),
            missing: Vec::new(),
            charge: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// What differs from what a step says.
    fn compare(&self, step: &Step) -> Vec<String> {
        let mut faults = Vec::new();
        // What cannot be read is refused too.
        let verdict = self.verdict.unwrap_or(Verdict::Deny);
        if verdict != step.expect {
            faults.push(format!("expected {}, and it is {}", step.expect, verdict));
        }
        let mut differ = |what: &str, expected: &[String], found: &[String]| {
            if expected != found {
                let (expected, found) = (expected.join(", "), found.join(", "));
                faults.push(format!("{what}: expected [{expected}], found [{found}]"));
            }
        };
        differ("reasons", &step.reasons, &self.reasons);
        differ("missing", &step.missing, &self.missing);
        if let Some(charge) = &step.charge {
            differ("charge", charge, &self.charge);
        }
        faults
    }

    /// Whether everything is as the example says.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Allow => "allow",
            Self::Park => "park",
            Self::Deny => "deny",
        })
    }
}
