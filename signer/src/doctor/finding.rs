//! One line of what the doctor says.

use std::fmt;

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Look,
    /// It does not work, or not safely.
    Bad,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub about: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn look(about: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned());
        Self { about, verdict: Verdict::Look, found: found.into(), remedy }
    }

    pub(super) fn bad(about: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned());
        Self { about, verdict: Verdict::Bad, found: found.into(), remedy }
    }
}

impl fmt::Display for Finding {
    /// One line, and one more with the remedy.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Look => "look",
            Verdict::Bad => "BAD",
        };
        write!(out, "{verdict:<5} {:<13}  {}", self.about, self.found)?;
        match &self.remedy {
            None => Ok(()),
            Some(remedy) => write!(out, "\n{:21}-> {remedy}", ""),
        }
    }
}
