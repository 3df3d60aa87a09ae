//! Which lines of a book's text another one changes.
//!
//! What rules mean is compared elsewhere, and told in a few words. Here nothing is told in other
//! words and nothing is left out: from the one text and these lines the other can be written, so
//! whoever has read them has read everything.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

/// The lines that go and those that come, in order: each under the table it stands in, and behind
/// its number in its own text. `None`: more than `most` of them, or one longer than people read, or
/// with an escape, behind which a name could hide.
pub(super) fn changed_lines(old: &str, new: &str, most: usize) -> Option<Vec<String>> {
    let texts = Texts { old: old.lines().collect(), new: new.lines().collect() };
    let changes = texts.changes(most)?;
    let mut told = Vec::with_capacity(changes.len());
    if changes.is_empty() {
        return Some(told);
    }
    let (old_headings, new_headings) = (headings(old), headings(new));
    let mut table = "";
    for change in changes {
        let (lines, headings, sign, at) = match change {
            Change::Gone(at) => (&texts.old, &old_headings, '-', at),
            Change::Come(at) => (&texts.new, &new_headings, '+', at),
        };
        let line = lines.get(at)?;
        if line.len() > LINE_BYTES_MAX || line.contains('\\') {
            return None;
        }
        let heading = headings.range(..=at).next_back().copied();
        let under = heading.and_then(|at| lines.get(at)).map_or("", |line| line.trim());
        // A heading that changes speaks for itself.
        if under != table && heading != Some(at) {
            told.push(format!("under {under}"));
        }
        table = under;
        told.push(format!("{sign} {}: {line}", at.saturating_add(1)));
    }
    Some(told)
}

/// The numbers of the lines where a table begins, as the parser sees it: a line in an array or in
/// a text that looks like one is none.
fn headings(text: &str) -> BTreeSet<usize> {
    let mut places = BTreeSet::new();
    if let Ok(document) = DeTable::parse(text) {
        collect(document.get_ref(), &mut places);
    }
    // Tables in one line begin with a brace, and those of dotted keys with a name.
    places.retain(|at| text.get(*at..).is_some_and(|rest| rest.starts_with('[')));
    let (mut line, mut seen, mut lines) = (0_usize, 0_usize, BTreeSet::new());
    for at in places {
        let between = text.get(seen..at).unwrap_or_default();
        line = line.saturating_add(between.bytes().filter(|byte| *byte == b'\n').count());
        seen = at;
        lines.insert(line);
    }
    lines
}

/// Where tables begin, in bytes.
fn collect(table: &DeTable<'_>, places: &mut BTreeSet<usize>) {
    for value in table.values() {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(inner) => {
                places.insert(at);
                collect(inner, places);
            }
            DeValue::Array(inner) => {
                for one in inner.iter() {
                    if let DeValue::Table(table) = one.get_ref() {
                        places.insert(one.span().start);
                        collect(table, places);
                    }
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// Names that lines which come speak of: `@name`, and groups in `2 of name`.
pub(super) fn names_in(told: &[String]) -> BTreeSet<&str> {
    let part = |character: char| {
        !(character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '@'))
    };
    let mut names = BTreeSet::new();
    for line in told.iter().filter(|line| line.starts_with('+')) {
        let words: Vec<&str> = line.split(part).filter(|word| !word.is_empty()).collect();
        names.extend(words.iter().filter_map(|word| word.strip_prefix('@')));
        let groups = words.windows(2).filter_map(|pair| match pair {
            ["of", group] => Some(*group),
            _ => None,
        });
        names.extend(groups);
    }
    names
}

/// A line of one of the texts, by its place there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    /// Only the old one has it.
    Gone(usize),
    /// Only the new one has it.
    Come(usize),
}

struct Texts<'t> {
    old: Vec<&'t str>,
    new: Vec<&'t str>,
}

impl Texts<'_> {
    /// A shortest way from one to the other. `None` if it takes more steps than `most`.
    ///
    /// E. W. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), section 2: on
    /// diagonal k = x - y, how far along the old text one comes with so many steps.
    fn changes(&self, most: usize) -> Option<Vec<Change>> {
        let start = self.old.iter().zip(&self.new).take_while(|(old, new)| old == new).count();
        let (old, new) = (self.old.get(start..)?, self.new.get(start..)?);
        let ends = old.iter().rev().zip(new.iter().rev());
        let end = ends.take_while(|(old, new)| old == new).count();
        let (old, new) = (trim(old, end)?, trim(new, end)?);
        let (old, new) = numbered(old, new);
        let reached = reach(&old, &new, most)?;
        let mut changes = walk_back(&reached, old.len(), new.len());
        changes.reverse();
        let shifted = changes.into_iter().map(|change| match change {
            Change::Gone(at) => Change::Gone(at.saturating_add(start)),
            Change::Come(at) => Change::Come(at.saturating_add(start)),
        });
        Some(shifted.collect())
    }
}

fn trim<'t, 'l>(lines: &'l [&'t str], end: usize) -> Option<&'l [&'t str]> {
    lines.get(..lines.len().checked_sub(end)?)
}

/// The same lines as numbers, which are compared faster.
fn numbered(old: &[&str], new: &[&str]) -> (Vec<usize>, Vec<usize>) {
    let mut known = BTreeMap::new();
    let mut number = |line| {
        let next = known.len();
        *known.entry(line).or_insert(next)
    };
    let old = old.iter().map(|line| number(*line)).collect();
    (old, new.iter().map(|line| number(*line)).collect())
}

/// After 0, 1, 2.. steps: how far one is on each diagonal from -steps to steps, every other one.
fn reach(old: &[usize], new: &[usize], most: usize) -> Option<Vec<Vec<usize>>> {
    let mut reached: Vec<Vec<usize>> = Vec::new();
    for steps in 0..=most {
        let before = reached.last();
        let mut now = Vec::with_capacity(steps.saturating_add(1));
        for lane in 0..=steps {
            let (mut x, _) = entered(before, lane, steps);
            let mut y = across(x, lane, steps);
            while old.get(x).is_some_and(|line| new.get(y) == Some(line)) {
                (x, y) = (x.saturating_add(1), y.saturating_add(1));
            }
            now.push(x);
            if x >= old.len() && y >= new.len() {
                reached.push(now);
                return Some(reached);
            }
        }
        reached.push(now);
    }
    None
}

/// Where a lane is entered: how far along the old text, and whether by a line that comes (down) or
/// one that goes (to the right). Lane n after s steps is the diagonal 2n - s.
fn entered(before: Option<&Vec<usize>>, lane: usize, steps: usize) -> (usize, Option<bool>) {
    let Some(before) = before else { return (0, None) };
    let left = lane.checked_sub(1).and_then(|lane| before.get(lane)).copied();
    let above = before.get(lane).copied().filter(|_| lane < steps);
    match (left, above) {
        (Some(left), Some(above)) if above <= left => (left.saturating_add(1), Some(false)),
        (Some(left), None) => (left.saturating_add(1), Some(false)),
        (_, Some(above)) => (above, Some(true)),
        (None, None) => (0, None),
    }
}

/// How far along the new text one is on a lane: x - (2n - s).
fn across(x: usize, lane: usize, steps: usize) -> usize {
    x.saturating_add(steps).saturating_sub(lane.saturating_mul(2))
}

/// The changes on the way, the last first.
fn walk_back(reached: &[Vec<usize>], old: usize, new: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    // The lane on which the end lies: old - new = 2n - s.
    let last = reached.len().saturating_sub(1);
    let mut lane = old.saturating_add(last).saturating_sub(new) / 2;
    for steps in (1..reached.len()).rev() {
        let before = steps.checked_sub(1).and_then(|steps| reached.get(steps));
        let (x, comes) = entered(before, lane, steps);
        if comes == Some(true) {
            changes.push(Change::Come(across(x, lane, steps).saturating_sub(1)));
        } else {
            changes.push(Change::Gone(x.saturating_sub(1)));
            lane = lane.saturating_sub(1);
        }
    }
    changes
}

/// Longer lines are not read: long lists are written one address a line.
pub(crate) const LINE_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes the new text from the old one and what was told.
    fn follow(old: &str, told: &[String]) -> String {
        let mut lines: Vec<Option<&str>> = old.lines().map(Some).collect();
        let mut come: Vec<(usize, &str)> = Vec::new();
        for one in told.iter().filter(|one| !one.starts_with("under ")) {
            let (sign, rest) = one.split_once(' ').unwrap();
            let (number, line) = rest.split_once(": ").unwrap();
            let at = number.parse::<usize>().unwrap().checked_sub(1).unwrap();
            if sign == "-" {
                assert_eq!(lines.get_mut(at).unwrap().take(), Some(line));
            } else {
                come.push((at, line));
            }
        }
        let mut text: Vec<&str> = lines.into_iter().flatten().collect();
        // In the order of their places in the new text each lands where it belongs.
        for (at, line) in come {
            text.insert(at, line);
        }
        text.join("\n")
    }

    #[test]
    fn what_changes_is_told_in_full_under_its_table() {
        let old = "version = 1\n[list]\nmany = [\n  \"a\",\n  \"b\",\n]\n[key.hot]\nx = 1\ny = 2";
        let new = &old.replace("\"a\",", "\"a\",\n  \"c\",").replace("y = 2", "y = 3");
        let told = changed_lines(old, new, 10).unwrap();
        let expected =
            ["under [list]", "+ 5:   \"c\",", "under [key.hot]", "- 9: y = 2", "+ 10: y = 3"];
        assert_eq!(told, expected);
        assert_eq!(changed_lines(old, old, 0).unwrap(), Vec::<String>::new());
        assert_eq!(changed_lines(old, new, 2), None);
        let long = format!("{old}\nz = \"{}\"", "0".repeat(LINE_BYTES_MAX));
        assert_eq!(changed_lines(old, &long, 10), None);
    }

    #[test]
    fn a_table_begins_where_the_parser_says_whatever_a_line_looks_like() {
        let old = "version = 1\n[key.hot]   # of payouts\nx = 1\nlist = [\n[\"a\"],\n]\n\
                   text = '''\n[key.cold]\n'''\ny = 2\n[key.\"cold\"]\nz = { a = 1 }\n\
                   [[key.cold.call]]\nf = 1\n";
        let new =
            &old.replace("y = 2", "y = 3").replace("a = 1", "a = 2").replace("f = 1", "f = 2");
        let told = changed_lines(old, new, 10).unwrap();
        let expected = [
            "under [key.hot]   # of payouts",
            "- 10: y = 2",
            "+ 10: y = 3",
            "under [key.\"cold\"]",
            "- 12: z = { a = 1 }",
            "+ 12: z = { a = 2 }",
            "under [[key.cold.call]]",
            "- 14: f = 1",
            "+ 14: f = 2",
        ];
        assert_eq!(told, expected);
        assert_eq!(changed_lines(old, &format!("{old}w = \"\\u0040many\"\n"), 10), None);
    }

    #[test]
    fn the_names_of_lists_and_groups_are_found_in_what_comes() {
        let told = [
            "under [key.hot]",
            "- 3: to = \"@gone\"",
            "+ 3: to = [\"@many\", \"@a_b-c\"], need = \"2 of ops + 1 of guards\"",
        ]
        .map(str::to_owned);
        let names: Vec<&str> = names_in(&told).into_iter().collect();
        assert_eq!(names, ["a_b-c", "guards", "many", "ops"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn from_the_old_text_and_what_is_told_the_new_one_can_be_written(
            old in prop::collection::vec(0_u8..5, 0..30),
            new in prop::collection::vec(0_u8..5, 0..30),
        ) {
            let text = |lines: &[u8]| {
                let lines: Vec<String> = lines.iter().map(|line| format!("x = {line}")).collect();
                lines.join("\n")
            };
            let (before, after) = (text(&old), text(&new));
            let told = changed_lines(&before, &after, 60).unwrap();
            prop_assert_eq!(follow(&before, &told), after.clone());
            // A shortest way: as many lines as a longest common subsequence leaves.
            let mut row = vec![0_usize; new.len().saturating_add(1)];
            for left in &old {
                let (mut diagonal, mut before) = (0_usize, 0_usize);
                for (right, cell) in new.iter().zip(row.iter_mut().skip(1)) {
                    let best = if left == right {
                        diagonal.saturating_add(1)
                    } else {
                        before.max(*cell)
                    };
                    (diagonal, before) = (*cell, best);
                    *cell = best;
                }
            }
            let common = row.last().copied().unwrap_or(0).saturating_mul(2);
            let steps = old.len().saturating_add(new.len()).saturating_sub(common);
            prop_assert_eq!(told.len(), steps);
            if let Some(fewer) = steps.checked_sub(1) {
                prop_assert_eq!(changed_lines(&before, &after, fewer), None);
            }
        }
    }
}
