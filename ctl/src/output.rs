//! Prints: data to stdout, messages to stderr, for people or as JSON.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use portcullis_client::Violation;
use portcullis_policy::unseen::is_unseen;
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
            Format::Human => self.data(&shown(human.trim_end())),
            Format::Json => self.data(&ascii(&format!("{json:#}"))),
        }
    }

    /// The part of a result for people, where that of programs comes later.
    pub(crate) fn human(&self, text: &str) -> Result<(), Failure> {
        let said = self.format == Format::Human && !text.is_empty();
        if said { self.result(text, &Value::Null) } else { Ok(()) }
    }

    /// The part of a result for programs, where that of people came before.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        if self.format == Format::Json { self.result("", value) } else { Ok(()) }
    }

    /// A result whose bytes matter: where no terminal acts on them, they are printed as they are.
    pub(crate) fn exact(&self, human: &str, json: &Value) -> Result<(), Failure> {
        if self.format == Format::Json {
            return self.result("", json);
        }
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            out.write_all(shown(human).as_bytes())?;
        } else {
            out.write_all(human.as_bytes())?;
        }
        out.flush()?;
        Ok(())
    }

    /// One of many results, each on a line of its own.
    pub(crate) fn item(&self, human: &str, json: &str) -> Result<(), Failure> {
        match self.format {
            Format::Human => self.data(&shown(human)),
            Format::Json => self.data(&ascii(json)),
        }
    }

    /// A record of the journal. For programs its bytes, which are what is hashed; a terminal hashes
    /// nothing.
    pub(crate) fn record(&self, human: &str, json: &str) -> Result<(), Failure> {
        if self.format == Format::Json && !io::stdout().is_terminal() {
            return self.data(json);
        }
        self.item(human, json)
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
        drop(writeln!(io::stderr().lock(), "{}", shown(text)));
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
        let begin = match shade {
            Shade::Alarm => ALARM,
            Shade::Address => ADDRESS,
            Shade::Amount => AMOUNT,
            Shade::Label => LABEL,
            Shade::Faint => FAINT,
        };
        format!("{begin}{text}{PLAIN}")
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
            return self.note(&ascii(&failure_json(failure).to_string()));
        }
        self.note(&format!("error: {failure}"));
        for cause in causes(failure) {
            self.note(&format!("  because: {cause}"));
        }
        if let Some(advice) = failure.advice() {
            self.note(&format!("  next: {advice}"));
        }
        let Some(refusal) = failure.refusal() else { return };
        let unsaid = |one: &&Violation| !is_said(refusal.message(), &one.description);
        for violation in refusal.violations().iter().filter(unsaid) {
            let (subject, description) = (&violation.subject, &violation.description);
            self.note(&one_line(&format!("  {} at {subject}: {description}", violation.kind)));
        }
        for (name, value) in refusal.metadata() {
            self.note(&one_line(&format!("  {name}: {value}")));
        }
        if let Some(wait) = refusal.retry_after() {
            self.note(&format!("  try again in {wait:?}"));
        }
    }
}

/// Whether a message says it already: alone, or behind what it is about and before how much more
/// there is.
fn is_said(message: &str, description: &str) -> bool {
    let whole = message.rsplit_once(" (and ").map_or(message, |(whole, _)| whole);
    [message, whole].iter().any(|text| {
        let before = text.strip_suffix(description);
        before.is_some_and(|before| before.is_empty() || before.ends_with(": "))
    })
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

/// What a terminal does by itself with nothing but our own colours: of whatever else would move a
/// cursor, hide, or turn the direction of a text, the escape is shown. Much of what is printed was
/// written by somebody else.
fn shown(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

/// The same of what has no line breaks of its own.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text, |_| false)
}

fn escaped(text: &str, breaks: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(colour) = COLOURS.iter().find(|colour| rest.starts_with(**colour)) {
            out.push_str(colour);
            rest = rest.get(colour.len()..).unwrap_or_default();
            continue;
        }
        if breaks(character) || !is_unseen(character) {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    out
}

/// Whether every character of it is seen, and it is of one line.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(is_unseen)
}

/// The same JSON in ASCII. Where somebody else wrote it and it is none, it moves no cursor either.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~' | '\n') {
            out.push(character);
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

const ALARM: &str = "\u{1b}[1;31m";
const ADDRESS: &str = "\u{1b}[33m";
const AMOUNT: &str = "\u{1b}[1m";
const LABEL: &str = "\u{1b}[36m";
const FAINT: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";
const COLOURS: [&str; 6] = [ALARM, ADDRESS, AMOUNT, LABEL, FAINT, PLAIN];

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
        let cells = cells.map(|cell| one_line(&cell));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// Names and values, one a line, values aligned.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| format!("{name:width$}  {}", one_line(value)));
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
    fn what_others_wrote_moves_no_cursor_and_forges_no_line() {
        let hostile = "ok\u{1b}[2J\u{9b}2J\rroot\nforged  row \u{202e}abc \u{200b}x";
        let safe = "ok\\u{1b}[2J\\u{9b}2J\\rroot\\nforged  row \\u{202e}abc \\u{200b}x";
        assert_eq!(one_line(hostile), safe);
        assert_eq!(fields(&[("purpose", hostile.into())]), format!("purpose  {safe}"));
        assert_eq!(shown("two\nlines"), "two\nlines");
        assert!(!table(["A"], &[[hostile.into()]]).contains('\u{1b}'));
        let red = Output::colourful().alarm("Zürich");
        assert_eq!(shown(&red), red);
        let json = serde_json::json!({ "said": "a\u{9b}\u{202e}𝄞 \"q\" \n" });
        let text = ascii(&json.to_string());
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).expect("json"), json);
    }

    #[test]
    fn what_leaves_no_mark_is_shown_as_its_escape() {
        for unseen in [
            '\u{ad}',
            '\u{115f}',
            '\u{1160}',
            '\u{180b}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{ffa0}',
            '\u{e0041}',
        ] {
            assert!(!is_plain(&format!("a{unseen}b")));
            assert_eq!(one_line(&unseen.to_string()), unseen.escape_unicode().to_string());
        }
        for seen in ["Zürich", "한글", "⠁", "結算", "a b"] {
            assert!(is_plain(seen), "{seen}");
            assert_eq!(one_line(seen), seen);
        }
    }

    #[test]
    fn what_is_no_json_moves_no_cursor_either() {
        assert_eq!(
            ascii("{\"a\":\"\u{1b}[2J\u{7f}é\"}\n"),
            "{\"a\":\"\\u001b[2J\\u007f\\u00e9\"}\n"
        );
    }

    #[test]
    fn a_violation_is_told_once_and_never_left_out_for_a_word_that_it_shares() {
        for (message, description) in [
            ("reason: say why", "say why"),
            ("not a vote that counts: it has expired", "not a vote that counts: it has expired"),
            ("denied: 5 of at most 1 (and 2 more)", "5 of at most 1"),
            ("denied: 5 of at most 1 (and no fee)", "5 of at most 1 (and no fee)"),
        ] {
            assert!(is_said(message, description), "{message}");
        }
        for (message, description) in [
            ("denied by payouts", "5 of at most 1"),
            ("denied: 5 of at most 10", "5 of at most 1"),
            ("denied: 15 of at most 1", "5 of at most 1"),
            ("the book has 2 fault(s)", ""),
        ] {
            assert!(!is_said(message, description), "{message}");
        }
    }

    #[test]
    fn an_address_is_checksummed_and_anything_else_is_hex() {
        let bytes = hex::decode("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed").expect("hex");
        assert_eq!(address(&bytes), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        assert_eq!(address(&[1, 2]), "0x0102");
    }
}
