//! Collects everything that is wrong with a book, and says where.

use std::cell::{Cell, RefCell};
use std::fmt;

use super::words;

/// One thing wrong with a book.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fault {
    /// Line, from 1; 0 if it has none.
    pub line: usize,
    /// Column, from 1; 0 if it has none.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Fault {
    /// Two lines: place and message, then the hint.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, hint } = self;
        write!(out, "{line}:{column}: {message}\n    hint: {hint}")
    }
}

/// Everything wrong with a book, in order of line. Never empty.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the book has {} fault(s)", .0.len())]
pub struct Faults(pub Vec<Fault>);

/// All faults found so far. Shared by everything that reads one book.
#[derive(Debug)]
pub(super) struct Report {
    found: RefCell<Vec<Found>>,
    comparisons_left: Cell<usize>,
}

impl Default for Report {
    fn default() -> Self {
        Self { found: RefCell::default(), comparisons_left: Cell::new(COMPARISONS_MAX) }
    }
}

/// A fault and the byte it stands at.
#[derive(Debug)]
struct Found {
    at: usize,
    message: String,
    hint: String,
}

impl Report {
    /// Notes a fault at a byte of the text.
    pub(super) fn add(&self, at: usize, message: impl Into<String>, hint: impl Into<String>) {
        let fault = Found { at, message: message.into(), hint: hint.into() };
        self.found.borrow_mut().push(fault);
    }

    /// The candidate that a misspelling was most likely meant to be. `None` if there is none, or if
    /// so much was compared for this book already that it is not worth while.
    pub(super) fn nearest<'c>(
        &self,
        given: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Option<&'c str> {
        let left = Cell::new(self.comparisons_left.get());
        let counted = candidates.take(left.get());
        let counted = counted.inspect(|_| left.set(left.get().saturating_sub(1)));
        let nearest = words::nearest(given, counted);
        self.comparisons_left.set(left.get());
        nearest
    }

    /// The faults by line, if there are any.
    pub(super) fn into_faults(self, text: &str) -> Option<Faults> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|fault| fault.at);
        let more = found.len().saturating_sub(FAULTS_MAX);
        found.truncate(FAULTS_MAX);
        let mut places = Places::new(text);
        let mut faults: Vec<Fault> = found.into_iter().map(|fault| places.locate(fault)).collect();
        if more > 0 {
            let message = format!("{more} more faults are not shown");
            let hint = "mend the first ones and try again".to_owned();
            faults.push(Fault { line: 0, column: 0, message, hint });
        }
        Some(Faults(faults))
    }
}

/// Turns growing byte offsets into lines and columns in one walk over the text.
struct Places<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0 }
    }

    /// The fault with its line and column, in characters. Offsets must not go back.
    fn locate(&mut self, fault: Found) -> Fault {
        let passed = self.text.as_bytes().get(self.at..fault.at).unwrap_or_default();
        for (offset, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line = self.line.saturating_add(1);
            self.line_start = self.at.saturating_add(offset).saturating_add(1);
        }
        self.at = fault.at;
        let before = self.text.get(self.line_start..fault.at).unwrap_or_default();
        let column = before.chars().count().saturating_add(1);
        Fault { line: self.line, column, message: fault.message, hint: fault.hint }
    }
}

/// Nobody reads more at once, and a million faults in one list would be 200 MB of text.
const FAULTS_MAX: usize = 1_000;

/// Of a misspelling with a candidate: some microseconds each, so together under a second.
const COMPARISONS_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let report = Report::default();
        let text = "a = 1\nä = \"ö\" x";
        report.add(text.find('x').unwrap(), "second", "");
        report.add(0, "first", "");
        let faults = report.into_faults(text).unwrap().0;
        let places: Vec<_> = faults.iter().map(|f| (f.line, f.column)).collect();
        assert_eq!(places, [(1, 1), (2, 9)]);
    }

    #[test]
    fn of_very_many_faults_the_first_thousand_are_shown_and_the_rest_counted() {
        let report = Report::default();
        (0..FAULTS_MAX + 5).for_each(|at| report.add(at, "x", ""));
        let faults = report.into_faults(&"y".repeat(2 * FAULTS_MAX)).unwrap().0;
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert_eq!(faults.last().unwrap().message, "5 more faults are not shown");
    }
}
