//! The tables of a book's text, and which of them say one thing together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::id::KeyLabel;

/// Where the tables of a text begin, by line, as the parser sees it: a line in an array or in a
/// text that looks like a heading is none. What stands before the first is a table too.
pub(super) struct Tables {
    /// By their first lines.
    all: BTreeMap<usize, Table>,
}

/// One of them.
#[derive(Clone, Default)]
struct Table {
    /// Whether it is one of names only.
    flat: bool,
    /// What it is part of, wherever else in the text that goes on: one rule of a key, the rest of a
    /// key, one contract.
    part_of: Vec<String>,
}

impl Tables {
    pub(super) fn of(text: &str) -> Self {
        let mut places = BTreeMap::new();
        if let Ok(document) = DeTable::parse(text) {
            for (name, value) in document.get_ref().iter() {
                let path = vec![name.get_ref().as_ref().to_owned()];
                collect(value.get_ref(), value.span().start, &path, &mut places);
            }
        }
        // Tables in one line begin with a brace, and those of dotted keys with a name.
        places.retain(|at, _| text.get(*at..).is_some_and(|rest| rest.starts_with('[')));
        let (mut line, mut seen) = (0_usize, 0_usize);
        let mut all = BTreeMap::from([(0, Table::default())]);
        for (at, path) in places {
            let between = text.get(seen..at).unwrap_or_default();
            line = line.saturating_add(between.bytes().filter(|byte| *byte == b'\n').count());
            seen = at;
            all.insert(line, Table::of(path));
        }
        Self { all }
    }

    /// These, and what is part of the same. Of a key that changes itself, such as in whom it serves
    /// or on which chains, all rules: each means something else then. Of one of its rules, that
    /// rule and the key itself.
    pub(super) fn with_what_they_belong_to(&self, starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let parts = starts.iter().filter_map(|start| self.all.get(start));
        let parts: BTreeSet<&[String]> = parts.map(|table| table.part_of.as_slice()).collect();
        let whole = |part: &[String]| is_key(part) && part.len() == KEY_DEPTH;
        let belongs = |table: &Table| {
            let part = table.part_of.as_slice();
            let own = part.get(..KEY_DEPTH).unwrap_or_default();
            let rule_of_one = parts.iter().any(|one| is_key(one) && one.starts_with(part));
            !part.is_empty()
                && (parts.contains(part)
                    || (whole(own) && parts.contains(own))
                    || (whole(part) && rule_of_one))
        };
        let belong = self.all.iter().filter(|(_, table)| belongs(table));
        belong.map(|(start, _)| *start).chain(starts.iter().copied()).collect()
    }

    /// Where the table begins in which a line stands.
    pub(super) fn start(&self, line: usize) -> usize {
        self.all.range(..=line).next_back().map_or(0, |(start, _)| *start)
    }

    /// Where the next one begins.
    pub(super) fn end(&self, start: usize) -> Option<usize> {
        let next = self.all.range(start.saturating_add(1)..).next();
        next.map(|(next, _)| *next)
    }

    pub(super) fn is_flat(&self, start: usize) -> bool {
        self.all.get(&start).is_some_and(|table| table.flat)
    }

    /// Where they begin, in order.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> {
        self.all.keys().copied()
    }
}

/// All lines on which something of these keys stands, in whatever layout.
pub(super) fn lines_of(text: &str, keys: &BTreeSet<KeyLabel>) -> BTreeSet<usize> {
    let mut spans = Vec::new();
    if let Ok(document) = DeTable::parse(text)
        && let Some(all) = document.get_ref().get("key").and_then(|all| all.get_ref().as_table())
    {
        let gain = |name: &str| name.parse().is_ok_and(|label| keys.contains(&label));
        let values = all.iter().filter(|(name, _)| gain(name.get_ref()));
        values.for_each(|(_, value)| parts(value, text, &mut spans));
    }
    spans.sort_unstable_by_key(|span| span.start);
    let (mut line, mut seen, mut lines) = (0_usize, 0_usize, BTreeSet::new());
    for span in spans {
        let feeds = |from: usize, to: usize| {
            let between = text.get(from..to).unwrap_or_default();
            between.bytes().filter(|byte| *byte == b'\n').count()
        };
        line = line.saturating_add(feeds(seen, span.start));
        seen = span.start;
        lines.extend(line..=line.saturating_add(feeds(span.start, span.end)));
    }
    lines
}

/// Where the values of a key stand, and the headings of its tables.
fn parts(value: &Spanned<DeValue<'_>>, text: &str, spans: &mut Vec<Range<usize>>) {
    let span = value.span();
    match value.get_ref() {
        DeValue::Table(table) => {
            // A heading is one line; what is in braces stands where they do.
            match text.get(span.start..).and_then(|rest| rest.chars().next()) {
                Some('[') => spans.push(span.start..span.start),
                Some('{') => spans.push(span),
                Some(_) | None => {}
            }
            table.values().for_each(|inner| parts(inner, text, spans));
        }
        DeValue::Array(array) if array.iter().any(|one| one.get_ref().is_table()) => {
            array.iter().for_each(|inner| parts(inner, text, spans));
        }
        DeValue::Array(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => spans.push(span),
    }
}

impl Table {
    fn of(path: Vec<String>) -> Self {
        let flat = path.first().is_some_and(|name| FLAT.contains(&name.as_str()));
        // A key's rules each by itself: `key.hot.call.0`. Everything else by its name.
        let depth = if is_key(&path) { KEY_DEPTH.saturating_mul(2) } else { 2 };
        let part_of = if flat { Vec::new() } else { path.into_iter().take(depth).collect() };
        Self { flat, part_of }
    }
}

fn is_key(path: &[String]) -> bool {
    path.first().is_some_and(|name| name == "key")
}

/// Where tables begin, in bytes, from a value that begins there, each with the names that lead to
/// it and, in arrays of tables, the numbers.
fn collect(
    value: &DeValue<'_>,
    at: usize,
    path: &[String],
    places: &mut BTreeMap<usize, Vec<String>>,
) {
    let inner = |name: &str| [path, &[name.to_owned()]].concat();
    match value {
        DeValue::Table(table) => {
            places.insert(at, path.to_vec());
            for (name, value) in table.iter() {
                collect(value.get_ref(), value.span().start, &inner(name.get_ref()), places);
            }
        }
        DeValue::Array(array) => {
            for (number, one) in
                array.iter().enumerate().filter(|(_, one)| one.get_ref().is_table())
            {
                collect(one.get_ref(), one.span().start, &inner(&number.to_string()), places);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Tables in which each line gives one name a meaning. What the names that a rule speaks of stand
/// for is told beside it.
const FLAT: [&str; 3] = ["address", "group", "list"];

/// `key.hot`.
const KEY_DEPTH: usize = 2;
