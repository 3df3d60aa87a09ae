//! Takes a book's text apart: tables, fields, words, each with its place, and the list of faults.
//!
//! Knows TOML and nothing of policy. It never stops at the first fault and never passes over a
//! field that nobody asked for: an unknown word in a book is a limit that somebody believes in.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use super::words::{NAME_BYTES_MAX, Vocabulary, quoted, unknown};

/// Parses the text as TOML. Of errors in the syntax only the first is told: what follows one is
/// mostly its echo.
pub(super) fn document<'t>(text: &'t str, report: &Report) -> Option<Spanned<DeTable<'t>>> {
    if text.len() > TEXT_BYTES_MAX {
        report.add(0, "the book is larger than 64 MiB", "split it over several vaults");
        return None;
    }
    if separators(text) > SEPARATORS_MAX {
        report.add(0, "the book has more than 5,000,000 parts", "split it over several vaults");
        return None;
    }
    match DeTable::parse(text) {
        Ok(table) => {
            refuse_long_texts(table.get_ref(), text, report);
            Some(table)
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            report.add(at, format!("not TOML: {}", error.message()), "see https://toml.io");
            None
        }
    }
}

/// A text over several lines could hold lines that look like rules, and a change of one line could
/// make rules of them, or a text of rules.
fn refuse_long_texts(table: &DeTable<'_>, text: &str, report: &Report) {
    let mut left: Vec<&Spanned<DeValue<'_>>> = table.values().collect();
    while let Some(value) = left.pop() {
        match value.get_ref() {
            DeValue::Table(inner) => left.extend(inner.values()),
            DeValue::Array(inner) => left.extend(inner.iter()),
            DeValue::String(_) if text.get(value.span()).is_some_and(|it| it.contains('\n')) => {
                let hint = "write it on one line, in plain quotes";
                report.add(value.span().start, "a text over several lines", hint);
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// A string in the book, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    /// Byte offset.
    pub(super) at: usize,
    /// The string.
    pub(super) text: &'a str,
}

/// A table whose fields are all known.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    table: &'a DeTable<'a>,
    at: usize,
    path: String,
    report: &'a Report,
}

impl<'a> Fields<'a> {
    /// The whole book.
    pub(super) fn root(table: &'a DeTable<'a>, words: Vocabulary, report: &'a Report) -> Self {
        let root = Self { table, at: 0, path: String::new(), report };
        root.refuse_unknown(words);
        root
    }

    /// A field that may be left out.
    pub(super) fn optional(&self, name: &str) -> Option<Field<'a>> {
        let value = self.table.get(name)?;
        let path = step(&self.path, name);
        Some(Field { value, at: value.span().start, path, report: self.report })
    }

    /// A field that may not; the hint says what to write.
    pub(super) fn required(&self, name: &str, hint: &str) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            self.fault(format!("{name} is missing"), hint);
        }
        field
    }

    /// Notes a fault of the table as a whole.
    pub(super) fn fault(&self, message: impl AsRef<str>, hint: impl Into<String>) {
        self.report.add(self.at, join(&self.path, message.as_ref()), hint);
    }

    fn refuse_unknown(&self, words: Vocabulary) {
        for key in self.table.keys() {
            let (at, name) = (key.span().start, key.get_ref().as_ref());
            if words.known.contains(&name) {
                continue;
            }
            let (message, hint) = unknown(self.report, "field", name, words);
            self.report.add(at, join(&self.path, &message), hint);
        }
    }
}

/// One value, with the way to it.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    value: &'a Spanned<DeValue<'a>>,
    at: usize,
    path: String,
    report: &'a Report,
}

impl<'a> Field<'a> {
    /// Notes a fault of this value.
    pub(super) fn fault(&self, message: impl AsRef<str>, hint: impl Into<String>) {
        self.fault_at(self.at, message, hint);
    }

    /// Notes a fault of a word in this value.
    pub(super) fn fault_at(&self, at: usize, message: impl AsRef<str>, hint: impl Into<String>) {
        self.report.add(at, join(&self.path, message.as_ref()), hint);
    }

    /// Notes that a word in this value is in no vocabulary.
    pub(super) fn unknown(&self, word: Word<'_>, kind: &str, words: Vocabulary) {
        let (message, hint) = unknown(self.report, kind, word.text, words);
        self.fault_at(word.at, message, hint);
    }

    /// The candidate that a misspelling was most likely meant to be.
    pub(super) fn nearest<'c>(
        &self,
        given: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Option<&'c str> {
        self.report.nearest(given, candidates)
    }

    /// The value if it is a string; no fault if it is not.
    pub(super) fn as_word(&self) -> Option<Word<'a>> {
        word(self.value)
    }

    /// Whether it is an array; no fault if it is not.
    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether it is a table; no fault if it is not.
    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// A string.
    pub(super) fn word(&self) -> Option<Word<'a>> {
        let word = self.as_word();
        if word.is_none() {
            self.wrong_type("a string in quotes");
        }
        word
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let integer = self.value.get_ref().as_integer();
        let number = integer.and_then(|i| u64::from_str_radix(i.as_str(), i.radix()).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let expected = format!("a whole number from {least} to {most}");
            match integer {
                Some(given) => {
                    let given = quoted(given.as_str());
                    self.fault(format!("{given} is not {expected}"), "write one that is");
                }
                None => self.wrong_type(&expected),
            }
        }
        number
    }

    /// An array of at most `most` strings. What is no string is a fault and left out.
    pub(super) fn words(&self, most: usize) -> Option<Vec<Word<'a>>> {
        let items = self.items(most, "an array of strings")?;
        let mut words = Vec::with_capacity(items.len());
        for item in items {
            match word(item) {
                Some(word) => words.push(word),
                None => self.fault_at(
                    item.span().start,
                    format!("expected a string in quotes, found {}", type_of(item)),
                    "every entry is a string in quotes",
                ),
            }
        }
        Some(words)
    }

    /// One string, or an array of at most `most`.
    pub(super) fn one_or_more(&self, most: usize) -> Option<Vec<Word<'a>>> {
        match self.as_word() {
            Some(word) => Some(vec![word]),
            None => self.words(most),
        }
    }

    /// A table with these fields.
    pub(super) fn fields(&self, words: Vocabulary) -> Option<Fields<'a>> {
        let table = self.table()?;
        let fields = Fields { table, at: self.at, path: self.path.clone(), report: self.report };
        fields.refuse_unknown(words);
        Some(fields)
    }

    /// A table of at most `most` names of the writer's choosing: each name and its value.
    pub(super) fn entries(&self, most: usize) -> Vec<(Word<'a>, Field<'a>)> {
        let Some(table) = self.table() else { return Vec::new() };
        if table.len() > most {
            self.fault(format!("more than {most} entries"), "leave out what is not used");
            return Vec::new();
        }
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let at = key.span().start;
            let path = step(&self.path, name);
            (Word { at, text: name }, Field { value, at, path, report: self.report })
        };
        table.iter().map(entry).collect()
    }

    /// An array of at most `most` tables.
    pub(super) fn elements(&self, most: usize) -> Vec<Field<'a>> {
        let items = self.items(most, "an array of tables").unwrap_or_default();
        let element = |(at, value): (usize, &'a Spanned<DeValue<'a>>)| Field {
            value,
            at: value.span().start,
            path: format!("{} {}", self.path, at.saturating_add(1)),
            report: self.report,
        };
        items.iter().enumerate().map(element).collect()
    }

    fn table(&self) -> Option<&'a DeTable<'a>> {
        let table = self.value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type("a table");
        }
        table
    }

    fn items(&self, most: usize, expected: &str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let Some(items) = self.value.get_ref().as_array() else {
            self.wrong_type(expected);
            return None;
        };
        if items.len() > most {
            self.fault(format!("more than {most} entries"), "split it, or leave some out");
            return None;
        }
        Some(items)
    }

    fn wrong_type(&self, expected: &str) {
        let found = type_of(self.value);
        self.fault(format!("expected {expected}, found {found}"), format!("write {expected}"));
    }
}

fn word<'a>(value: &'a Spanned<DeValue<'a>>) -> Option<Word<'a>> {
    let text = value.get_ref().as_str()?;
    Some(Word { at: value.span().start, text })
}

fn type_of(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn join(path: &str, rest: &str) -> String {
    if path.is_empty() { rest.to_owned() } else { format!("{path}: {rest}") }
}

/// `key.payouts-hot` and `native` as `key.payouts-hot.native`.
fn step(path: &str, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let simple = name.len() <= NAME_BYTES_MAX && name.bytes().all(plain);
    let name = if simple { name.to_owned() } else { quoted(name) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Bytes that end a token, and runs of space: these bound what the TOML parser allocates.
fn separators(text: &str) -> usize {
    let space = |byte: u8| matches!(byte, b' ' | b'\t');
    let ends = |byte: u8| matches!(byte, b',' | b'=' | b'.' | b'\n' | b'[' | b']' | b'{' | b'}');
    let bytes = text.bytes();
    let pairs = bytes.clone().zip(bytes.skip(1));
    pairs.filter(|(byte, next)| ends(*byte) || (space(*byte) && !space(*next))).count()
}

/// A million addresses with quotes and commas are 48 MB; a larger book is no longer read by people.
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Each costs the parser some 200 bytes while it works. A million addresses, a line each and
/// indented, need three million.
const SEPARATORS_MAX: usize = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_nothing_but_separators_is_refused_before_it_is_parsed() {
        let report = Report::default();
        assert!(document(&"[".repeat(SEPARATORS_MAX + 2), &report).is_none());
        assert!(report.into_faults("").is_some());
    }
}
