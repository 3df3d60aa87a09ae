//! Which lines of a book's text another one changes, and what stands beside them.
//!
//! What rules mean is compared elsewhere, and told in a few words. Here nothing is told in other
//! words and nothing is left out: from the one text and these lines the other can be written, and
//! every table that changes is told whole. A rule is what all of its lines say together: one that
//! changes in one line may mean something else by another, which one person narrowed before.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use super::tables::{self, Tables};
use crate::id::KeyLabel;

/// The lines that go (`-`) and those that come (`+`), in order, each behind its number in its own
/// text; and all others (`=`) of the tables they stand in. In tables of names, where each line
/// speaks for itself, the others are left out. `None`: more than `most` changes, more than people
/// read, or a line that is longer than they read, or has an escape, behind which a name could hide.
///
/// Keys that gain are told whole, wherever what lets them stands: a rule may say more because a
/// name in it means something else.
pub(super) fn changed_lines(
    old: &str,
    new: &str,
    most: usize,
    gain: &BTreeSet<KeyLabel>,
) -> Option<Vec<String>> {
    let texts = Texts { old: old.lines().collect(), new: new.lines().collect() };
    let changes = texts.changes(most)?;
    if changes.is_empty() {
        return Some(Vec::new());
    }
    let places = Places::of(&changes);
    let (before, after) = (Tables::of(old), Tables::of(new));
    let mut shown = tables::lines_of(new, gain);
    shown.extend(&places.come);
    for start in after.with_what_they_belong_to(&touched(&places, &before, &after)) {
        if !after.is_flat(start) {
            let end = after.end(start).unwrap_or(texts.new.len());
            if end.saturating_sub(start) > SHOWN_MAX {
                return None;
            }
            shown.extend(start..end);
        }
    }
    if shown.len().saturating_add(places.gone.len()) > SHOWN_MAX {
        return None;
    }
    tell(&texts, &places, &shown, &after)
}

/// Where the tables of the new text begin that a change touches: the one it stands in, the one
/// that its line stood in, and the one that a heading parts or joins.
fn touched(places: &Places, before: &Tables, after: &Tables) -> BTreeSet<usize> {
    let mut touched = BTreeSet::new();
    for at in &places.come {
        touched.insert(after.start(*at));
        touched.insert(after.start(at.saturating_sub(1)));
    }
    for at in &places.gone {
        touched.insert(after.start(places.place_of_gone(*at).saturating_sub(1)));
        let heading = before.start(*at);
        if let Some(heading) = places.place_of_kept(heading) {
            touched.insert(after.start(heading));
        }
    }
    // A line that stays may begin a table now, or no longer: what made a text of it has changed.
    let kept = before.starts().filter_map(|start| places.place_of_kept(start));
    let kept: BTreeSet<usize> = kept.collect();
    let now: BTreeSet<usize> = after.starts().collect();
    touched.extend(now.symmetric_difference(&kept).map(|start| after.start(*start)));
    touched
}

fn tell(
    texts: &Texts<'_>,
    places: &Places,
    shown: &BTreeSet<usize>,
    after: &Tables,
) -> Option<Vec<String>> {
    let mut gone: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in &places.gone {
        gone.entry(places.place_of_gone(*at)).or_default().push(*at);
    }
    let all: BTreeSet<usize> = shown.iter().chain(gone.keys()).copied().collect();
    let (mut told, mut table) = (Vec::with_capacity(all.len()), None);
    let mut under = |start: usize, told: &mut Vec<String>| {
        if after.is_flat(start) && table != Some(start) && !shown.contains(&start) {
            told.push(format!("under {}", readable(texts.new.get(start)?)?.trim()));
        }
        table = Some(start);
        Some(())
    };
    for at in all {
        for old in gone.get(&at).into_iter().flatten() {
            // It stood behind the line before this.
            under(after.start(at.saturating_sub(1)), &mut told)?;
            told.push(format!("- {}: {}", old.saturating_add(1), readable(texts.old.get(*old)?)?));
        }
        if shown.contains(&at) {
            under(after.start(at), &mut told)?;
            let sign = if places.come.binary_search(&at).is_ok() { '+' } else { '=' };
            let line = readable(texts.new.get(at)?)?;
            told.push(format!("{sign} {}: {line}", at.saturating_add(1)));
        }
    }
    Some(told)
}

/// A line that people can read, and that says what it says.
fn readable<'t>(line: &&'t str) -> Option<&'t str> {
    (line.len() <= LINE_BYTES_MAX && !line.contains('\\')).then_some(*line)
}

/// Where lines go and come, each in order.
struct Places {
    /// In the old text.
    gone: Vec<usize>,
    /// In the new one.
    come: Vec<usize>,
}

impl Places {
    fn of(changes: &[Change]) -> Self {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Gone(at) => gone.push(*at),
                Change::Come(at) => come.push(*at),
            }
        }
        Self { gone, come }
    }

    /// Before which line of the new text a line stood that goes.
    fn place_of_gone(&self, at: usize) -> usize {
        self.place(at, |kept_before, kept| kept_before < kept)
    }

    /// Where a line of the old text stands in the new one. `None`: it goes.
    fn place_of_kept(&self, at: usize) -> Option<usize> {
        let kept = self.gone.binary_search(&at).is_err();
        kept.then(|| self.place(at, |kept_before, kept| kept_before <= kept))
    }

    /// As many lines as are kept before it, and those that come before the next kept one.
    fn place(&self, at: usize, comes_before: impl Fn(usize, usize) -> bool) -> usize {
        let kept = at.saturating_sub(self.gone.partition_point(|gone| *gone < at));
        let come = self.come.iter().enumerate();
        let come = come.take_while(|(nth, come)| comes_before(come.saturating_sub(*nth), kept));
        kept.saturating_add(come.count())
    }
}

/// Addresses in the lines that come, as they are.
pub(super) fn addresses_in(told: &[String]) -> impl Iterator<Item = Address> {
    let come = told.iter().filter(|line| line.starts_with('+'));
    let words = come.flat_map(|line| line.split(|one: char| !one.is_ascii_alphanumeric()));
    words.filter(|word| word.len() == 42).filter_map(|word| word.parse().ok())
}

/// Names in what is told and not gone: `@name`, and groups in `2 of name`, also over the end of a
/// line.
pub(super) fn names_in(told: &[String]) -> BTreeSet<&str> {
    let part = |character: char| {
        !(character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '@'))
    };
    let stands = told.iter().filter(|line| line.starts_with(['+', '=']));
    let stands = stands.filter_map(|line| line.split_once(": ").map(|(_, line)| line));
    let words: Vec<&str> =
        stands.flat_map(|line| line.split(part)).filter(|word| !word.is_empty()).collect();
    let mut names: BTreeSet<&str> =
        words.iter().filter_map(|word| word.strip_prefix('@')).collect();
    let groups = words.windows(2).filter_map(|pair| match pair {
        ["of", group] => Some(*group),
        _ => None,
    });
    names.extend(groups);
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

/// Lines told in all.
const SHOWN_MAX: usize = 5_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of a change by which no key gains.
    fn changed_lines(old: &str, new: &str, most: usize) -> Option<Vec<String>> {
        super::changed_lines(old, new, most, &BTreeSet::new())
    }

    /// Writes the new text from the old one and what was told.
    fn follow(old: &str, told: &[String]) -> String {
        let mut lines: Vec<Option<&str>> = old.lines().map(Some).collect();
        let mut come: Vec<(usize, &str)> = Vec::new();
        for one in told.iter().filter(|one| one.starts_with(['-', '+'])) {
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
    fn every_table_that_changes_is_told_whole_and_of_names_only_those_that_change() {
        let old = "version = 1\n[list]\nmany = [\n  \"a\",\n  \"b\",\n]\n[key.hot]\nx = 1\ny = 2\n\
                   [key.cold]\nz = 1";
        let new = &old.replace("\"a\",", "\"a\",\n  \"c\",").replace("y = 2", "y = 3");
        let told = changed_lines(old, new, 10).unwrap();
        let expected = [
            "under [list]",
            "+ 5:   \"c\",",
            "= 8: [key.hot]",
            "= 9: x = 1",
            "- 9: y = 2",
            "+ 10: y = 3",
        ];
        assert_eq!(told, expected);
        assert_eq!(changed_lines(old, old, 0).unwrap(), Vec::<String>::new());
        assert_eq!(changed_lines(old, new, 2), None);
        let zeros = "0".repeat(LINE_BYTES_MAX);
        assert_eq!(changed_lines(old, &format!("{old}\nw = \"{zeros}\""), 10), None);
        // Nor is a line shown that is not read, because it stands beside one that changes.
        let long = old.replace("x = 1", &format!("x = 1 # {zeros}"));
        assert_eq!(changed_lines(&long, &long.replace("y = 2", "y = 3"), 10), None);
        let long = old.replace("[key.hot]", &format!("[key.hot] # {zeros}"));
        assert_eq!(changed_lines(&long, &long.replace("y = 2", "y = 3"), 10), None);
        let rest: Vec<String> = (0..SHOWN_MAX).map(|n| format!("\nw{n} = 1")).collect();
        let many = format!("{old}{}", rest.concat());
        assert_eq!(changed_lines(&many, &many.replace("z = 1", "z = 2"), 10), None);
        assert!(changed_lines(&many, &many.replace("y = 2", "y = 3"), 10).is_some());
    }

    #[test]
    fn a_heading_that_moves_tells_what_it_leaves_and_what_it_takes() {
        let old = "[key.lab]\na = 1\n[key.lab.authorize]\nto = 1\nneed = 2\n[key.hot]\nb = 1\n";
        let told = changed_lines(old, &old.replace("[key.lab.a", "[key.hot.a"), 10).unwrap();
        let expected = [
            "= 1: [key.lab]",
            "= 2: a = 1",
            "- 3: [key.lab.authorize]",
            "+ 3: [key.hot.authorize]",
            "= 4: to = 1",
            "= 5: need = 2",
            "= 6: [key.hot]",
            "= 7: b = 1",
        ];
        assert_eq!(told, expected);
        // Parted: both halves are told.
        let told = changed_lines(old, &old.replace("need", "[key.new]\nneed"), 10).unwrap();
        let expected = [
            "= 1: [key.lab]",
            "= 2: a = 1",
            "= 3: [key.lab.authorize]",
            "= 4: to = 1",
            "+ 5: [key.new]",
            "= 6: need = 2",
        ];
        assert_eq!(told, expected);
        // Joined: what the one before has now.
        let told = changed_lines(old, &old.replace("[key.lab.authorize]\n", ""), 10).unwrap();
        let expected = [
            "= 1: [key.lab]",
            "= 2: a = 1",
            "- 3: [key.lab.authorize]",
            "= 3: to = 1",
            "= 4: need = 2",
        ];
        assert_eq!(told, expected);
        // No longer a text: what stood in it stays, and is told.
        let text = "[key.hot]\nx = '''\n[[key.hot.call]]\nf = 1\n'''\n[key.cold]\nb = 1\n";
        let told = changed_lines(
            text,
            "[key.hot]\nx = 1\n[[key.hot.call]]\nf = 1\n[key.cold]\nb = 1\n",
            10,
        );
        let told = told.unwrap();
        assert!(told.contains(&"= 4: f = 1".to_owned()), "{told:?}");
        // A line that goes from one and comes into the next.
        let moved = old.replace("need = 2\n[key.hot]", "[key.hot]\nneed = 2");
        let told = changed_lines(old, &moved, 10).unwrap();
        assert!(told.contains(&"= 4: to = 1".to_owned()), "{told:?}");
        assert!(told.contains(&"= 7: b = 1".to_owned()), "{told:?}");
    }

    #[test]
    fn a_rule_is_told_with_all_its_tables_and_the_key_that_it_is_a_rule_of() {
        let old = "[key.hot]\na = 1\n[[key.hot.call]]\nf = 1\n[key.hot.call.where]\nto = 1\n\
                   [[key.hot.call]]\nf = 2\n[key.hot.call.where]\nto = 2\n\
                   [key.hot.token.X]\nt = 1\n\
                   [key.cold]\nb = 1\n[contract.safe]\nc = 1\n";
        let told = changed_lines(old, &old.replace("f = 2", "f = 3"), 10).unwrap();
        let expected = [
            "= 1: [key.hot]",
            "= 2: a = 1",
            "= 7: [[key.hot.call]]",
            "- 8: f = 2",
            "+ 8: f = 3",
            "= 9: [key.hot.call.where]",
            "= 10: to = 2",
        ];
        assert_eq!(told, expected);
        // Also where its tables stand apart, and by which of them it changes.
        let apart = format!("{}[key.hot]\na = 1\n", old.replace("[key.hot]\na = 1\n", ""));
        let told = changed_lines(&apart, &apart.replace("to = 1", "to = 3"), 10).unwrap();
        assert!(told.contains(&"= 2: f = 1".to_owned()), "{told:?}");
        assert!(told.contains(&"= 16: a = 1".to_owned()), "{told:?}");
        assert!(!told.iter().any(|line| line.ends_with("f = 2")), "{told:?}");
        // What a key says of itself changes what all its rules mean, and no other key's.
        let told = changed_lines(old, &old.replace("a = 1", "a = 2"), 10).unwrap();
        for line in ["= 4: f = 1", "= 6: to = 1", "= 8: f = 2", "= 12: t = 1"] {
            assert!(told.contains(&line.to_owned()), "{line} {told:?}");
        }
        assert!(
            !told.iter().any(|line| line.contains("cold") || line.contains("safe")),
            "{told:?}"
        );
    }

    #[test]
    fn a_key_that_gains_is_told_whole_in_whatever_layout_and_wherever_the_change_stands() {
        let names = "[contract.safe]\naddress = 1\n";
        let layouts = [
            "[key.hot]\na = 1\n[[key.hot.call]]\nf = [\n  1,\n]\n[key.hot.call.where]\nto = 2\n",
            "[key]\nhot.a = 1\nhot.call = [{ f = [\n  1,\n], where.to = 2 }]\n",
            "[key]\nhot = { a = 1, call = [{ f = [\n  1,\n], where.to = 2 }] }\n",
            "[key.\"hot\"]\na = 1\n[[key.'hot'.call]]\nf = [\n  1,\n]\nwhere.to = 2\n",
        ];
        let gain = BTreeSet::from(["hot".parse().unwrap()]);
        for layout in layouts {
            let old = format!("{layout}[key.cold]\nb = 1\n{names}");
            let new = old.replace("address = 1", "address = 2");
            let told = super::changed_lines(&old, &new, 10, &gain).unwrap();
            for (number, line) in (1..).zip(layout.lines()).filter(|(_, line)| *line != "[key]") {
                let line = format!("= {number}: {line}");
                assert!(told.contains(&line), "{line} {told:#?}");
            }
            assert!(!told.iter().any(|line| line.contains("b = 1")), "{told:?}");
            assert!(told.iter().any(|line| line.ends_with("address = 2")), "{told:?}");
        }
    }

    #[test]
    fn a_table_begins_where_the_parser_says_whatever_a_line_looks_like() {
        let old = "version = 1\n[key.hot]   # of payouts\nx = 1\nlist = [\n[\"a\"],\n]\n\
                   text = '''\n[key.cold]\n'''\ny = 2\n[key.\"cold\"]\nz = { a = 1 }\n\
                   [[key.cold.call]]\nf = 1\n";
        let tables: Vec<usize> = Tables::of(old).starts().collect();
        assert_eq!(tables, [0, 1, 10, 12]);
        let told = changed_lines(old, &old.replace("f = 1", "f = 2"), 10).unwrap();
        let expected = [
            "= 11: [key.\"cold\"]",
            "= 12: z = { a = 1 }",
            "= 13: [[key.cold.call]]",
            "- 14: f = 1",
            "+ 14: f = 2",
        ];
        assert_eq!(told, expected);
        assert_eq!(changed_lines(old, &format!("{old}w = \"\\u0040many\"\n"), 10), None);
    }

    #[test]
    fn the_names_of_lists_and_groups_are_found_in_what_stands() {
        let told = [
            "under [list]",
            "- 3: to = \"@gone\"",
            "+ 3: to = [\"@many\", \"@a_b-c\"], need = \"2 of ops + 1 of guards\"",
            "= 4: via = \"@beside\"",
            "= 5: need = \"\"\"3 of",
            "= 6:   council\"\"\"",
        ]
        .map(str::to_owned);
        let names: Vec<&str> = names_in(&told).into_iter().collect();
        assert_eq!(names, ["a_b-c", "beside", "council", "guards", "many", "ops"]);
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
            let changed = told.iter().filter(|line| line.starts_with(['-', '+'])).count();
            prop_assert_eq!(changed, steps);
            if let Some(fewer) = steps.checked_sub(1) {
                prop_assert_eq!(changed_lines(&before, &after, fewer), None);
            }
        }
    }
}
