//! Collects everything that is wrong with a book, and says where.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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

/// The faults found so far: the first [`FAULTS_MAX`] in the text, and how many there are. Shared by
/// everything that reads one book.
#[derive(Debug)]
pub(super) struct Report {
    /// By the byte a fault stands at, and as they were found.
    found: RefCell<BTreeMap<(usize, usize), Found>>,
    count: Cell<usize>,
    comparisons_left: Cell<usize>,
}

impl Default for Report {
    fn default() -> Self {
        let comparisons_left = Cell::new(COMPARISONS_MAX);
        Self { found: RefCell::default(), count: Cell::new(0), comparisons_left }
    }
}

/// A fault.
#[derive(Debug)]
struct Found {
    message: String,
    hint: String,
}

impl Report {
    /// Notes a fault at a byte of the text.
    pub(super) fn add(&self, at: usize, message: impl Into<String>, hint: impl Into<String>) {
        let number = self.count.get();
        self.count.set(number.saturating_add(1));
        let mut found = self.found.borrow_mut();
        found.insert((at, number), Found { message: message.into(), hint: hint.into() });
        if found.len() > FAULTS_MAX {
            found.pop_last();
        }
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
        let found = self.found.into_inner();
        if found.is_empty() {
            return None;
        }
        let more = self.count.get().saturating_sub(found.len());
        let mut places = Places::new(text);
        let faults = found.into_iter().map(|((at, _), fault)| places.locate(at, fault));
        let mut faults: Vec<Fault> = faults.collect();
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
    fn locate(&mut self, at: usize, fault: Found) -> Fault {
        let passed = self.text.as_bytes().get(self.at..at).unwrap_or_default();
        for (offset, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line = self.line.saturating_add(1);
            self.line_start = self.at.saturating_add(offset).saturating_add(1);
        }
        self.at = at;
        let before = self.text.get(self.line_start..at).unwrap_or_default();
        let column = before.chars().count().saturating_add(1);
        Fault { line: self.line, column, message: fault.message, hint: fault.hint }
    }
}

/// Nobody reads more at once, and a million faults in one list would be 200 MB of text. So no more
/// are kept, also while the book is being read.
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
        for at in (0..FAULTS_MAX + 5).rev() {
            report.add(at, "x", "");
            assert!(report.found.borrow().len() <= FAULTS_MAX);
        }
        let faults = report.into_faults(&"y".repeat(2 * FAULTS_MAX)).unwrap().0;
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        let columns = faults.iter().map(|fault| fault.column);
        assert!(columns.take(FAULTS_MAX).eq(1..=FAULTS_MAX));
        assert_eq!(faults.last().unwrap().message, "5 more faults are not shown");
    }
}
