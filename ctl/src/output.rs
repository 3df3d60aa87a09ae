//! Prints: data to stdout, messages to stderr, for people or as JSON.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::failure::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people. May change between versions.
    Human,
    /// For programs: one JSON value. Fields are only added.
    Json,
}

/// Where everything a verb says goes through.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    colour: bool,
}

/// How a word stands out, where there are colours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shade {
    /// It must be seen.
    Alarm,
    /// An address: to be compared sign by sign.
    Address,
    /// An amount with its unit.
    Amount,
    /// What the rest of a line is.
    Label,
    /// Around what matters.
    Faint,
}

impl Output {
    /// Colours alarms if stdout is a terminal and `NO_COLOR` is not set.
    pub(crate) fn new(format: Format) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colour: !forbidden && io::stdout().is_terminal() }
    }

    /// A result: text for people, which may be of several lines, or a JSON value.
    pub(crate) fn result(&self, human: &str, json: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Human => self.data(human.trim_end()),
            Format::Json => self.data(&format!("{json:#}")),
        }
    }

    /// A result whose bytes matter: for people they are printed as they are.
    pub(crate) fn exact(&self, human: &str, json: &Value) -> Result<(), Failure> {
        if self.format == Format::Json {
            return self.result("", json);
        }
        let mut out = io::stdout().lock();
        out.write_all(human.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// One of many results, each on a line of its own.
    pub(crate) fn item(&self, human: &str, json: &str) -> Result<(), Failure> {
        match self.format {
            Format::Human => self.data(human),
            Format::Json => self.data(json),
        }
    }

    /// A line of data, the same in every format.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(())
    }

    /// A message on the side.
    pub(crate) fn note(&self, text: &str) {
        // Nowhere is left to complain to if this fails.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// A word that must be seen.
    pub(crate) fn alarm(&self, text: &str) -> String {
        self.shade(Shade::Alarm, text)
    }

    /// A word that stands out, if there are colours.
    pub(crate) fn shade(&self, shade: Shade, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match shade {
            Shade::Alarm => "1;31",
            Shade::Address => "33",
            Shade::Amount => "1",
            Shade::Label => "36",
            Shade::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Something to read that is no part of the result, which others may read from stdout.
    pub(crate) fn aside(&self, text: &str) {
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }

    /// A question, to be answered on the same line.
    pub(crate) fn ask(&self, text: &str) {
        let mut out = io::stderr().lock();
        drop(write!(out, "{text}").and_then(|()| out.flush()));
    }

    /// Rings, where there is a terminal to ring.
    pub(crate) fn bell(&self) {
        if self.format == Format::Human && io::stdout().is_terminal() {
            drop(write!(io::stderr().lock(), "\u{7}"));
        }
    }

    /// What went wrong, with its causes, and what the signer said in detail.
    pub(crate) fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::Print(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        if self.format == Format::Json {
            return self.note(&failure_json(failure).to_string());
        }
        self.note(&format!("error: {failure}"));
        for cause in causes(failure) {
            self.note(&format!("  because: {cause}"));
        }
        if let Some(advice) = failure.advice() {
            self.note(&format!("  next: {advice}"));
        }
        let Some(refusal) = failure.refusal() else { return };
        for violation in refusal.violations() {
            let (subject, description) = (&violation.subject, &violation.description);
            self.note(&format!("  {} at {subject}: {description}", violation.kind));
        }
        for (name, value) in refusal.metadata() {
            self.note(&format!("  {name}: {value}"));
        }
        if let Some(wait) = refusal.retry_after() {
            self.note(&format!("  try again in {wait:?}"));
        }
    }
}

fn causes(failure: &Failure) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = failure.source();
    while let Some(cause) = next {
        all.push(cause.to_string().trim_end().replace('\n', "\n  "));
        next = cause.source();
    }
    all
}

fn failure_json(failure: &Failure) -> Value {
    let mut error = json!({
        "message": failure.to_string(),
        "causes": causes(failure),
        "next": failure.advice(),
    });
    if let (Some(refusal), Some(fields)) = (failure.refusal(), error.as_object_mut()) {
        let violations = refusal.violations().iter().map(|one| {
            json!({
                "kind": one.kind,
                "subject": one.subject,
                "description": one.description,
            })
        });
        fields.insert("code".into(), format!("{:?}", refusal.code()).into());
        fields.insert("reason".into(), refusal.reason().into());
        fields.insert("metadata".into(), json!(refusal.metadata()));
        fields.insert("violations".into(), violations.collect());
        let wait = refusal.retry_after().map(|wait| wait.as_secs_f64());
        fields.insert("retry_after_s".into(), json!(wait));
    }
    json!({ "error": error })
}

/// A table with a heading, columns aligned.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// Names and values, one a line, values aligned.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| format!("{name:width$}  {value}"));
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// 0x-hex.
pub(crate) fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// An address in its checksummed form (EIP-55), or plain hex if it is no address.
pub(crate) fn address(bytes: &[u8]) -> String {
    match alloy_primitives::Address::try_from(bytes) {
        Ok(address) => address.to_checksum(None),
        Err(_) => hex0x(bytes),
    }
}

#[cfg(test)]
impl Output {
    pub(crate) fn colourful() -> Self {
        Self { format: Format::Human, colour: true }
    }

    pub(crate) fn plain() -> Self {
        Self { format: Format::Human, colour: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = [["long-name".into(), "x".into()], ["a".into(), String::new()]];
        assert_eq!(table(["LABEL", "B"], &rows), "LABEL      B\nlong-name  x\na");
    }

    #[test]
    fn an_address_is_checksummed_and_anything_else_is_hex() {
        let bytes = hex::decode("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed").expect("hex");
        assert_eq!(address(&bytes), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        assert_eq!(address(&[1, 2]), "0x0102");
    }
}
