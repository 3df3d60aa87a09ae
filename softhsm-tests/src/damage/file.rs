//! An export as lines, and what can be done to them.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use rand::Rng as _;
use rand::rngs::StdRng;

/// An export.
pub(super) struct File {
    bytes: Vec<u8>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
}

impl File {
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self::new(std::fs::read(path)?))
    }

    fn new(bytes: Vec<u8>) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = [0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect();
        Self { bytes, starts }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn lines(&self) -> usize {
        self.starts.len() - 1
    }

    /// With its end.
    pub(super) fn line(&self, number: usize) -> &[u8] {
        &self.bytes[self.starts[number]..self.starts[number + 1]]
    }

    pub(super) fn lines_from(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        (number..self.lines()).map(|number| self.line(number))
    }

    pub(super) fn attachments(&self) -> usize {
        self.lines_from(0).filter(|line| line.starts_with(ATTACHMENT)).count()
    }

    fn line_at(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte) - 1
    }
}

/// Something done to an export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Damage {
    /// A byte is another.
    Changed { at: usize, to: u8 },
    /// A byte is gone.
    Removed { at: usize },
    /// There is a byte before this one.
    Added { at: usize, byte: u8 },
    /// The file ends before this byte.
    Cut { at: usize },
    /// Two lines stand in each other's place.
    Swapped { first: usize, second: usize },
    /// A line stands before another one, too.
    Repeated { line: usize, before: usize },
    /// A line is gone.
    Dropped { line: usize },
}

/// The part of a damaged file that is new.
pub(super) struct Touched<'a> {
    /// The first line that it takes the place of.
    pub(super) from: usize,
    /// Its lines, with their ends.
    pub(super) lines: Vec<Cow<'a, [u8]>>,
    /// The first line after it that is as it was.
    pub(super) then: usize,
}

impl Damage {
    /// Everything that is done to one line of so many below a checkpoint: each of its bytes
    /// changed (its lowest bit, its case, and by chance), made the end of a line, taken out, with
    /// one more before it, or the end of the file; the line swapped with the next, repeated, gone.
    pub(super) fn every(
        file: &File,
        line: usize,
        lines: usize,
        chance: &mut StdRng,
        mut each: impl FnMut(Self),
    ) {
        for at in file.starts[line]..file.starts[line + 1] {
            let is = file.bytes[at];
            for to in [is ^ 1, is ^ 0x20, is ^ other_mask(chance), b'\n'] {
                if to != is {
                    each(Self::Changed { at, to });
                }
            }
            each(Self::Removed { at });
            each(Self::Added { at, byte: chance.random() });
            each(Self::Cut { at });
        }
        if line + 1 < file.lines() {
            each(Self::Swapped { first: line, second: line + 1 });
        }
        // After the last one it would stand above the checkpoint.
        if line + 1 < lines {
            each(Self::Repeated { line, before: line + 1 });
        }
        each(Self::Repeated { line, before: chance.random_range(0..lines) });
        each(Self::Dropped { line });
    }

    /// This line and another of so many.
    pub(super) fn pair(line: usize, lines: usize, chance: &mut StdRng) -> Self {
        let other = (line + chance.random_range(1..lines)) % lines;
        Self::Swapped { first: line.min(other), second: line.max(other) }
    }

    /// One of the kind of this number, somewhere in so many lines.
    pub(super) fn one(number: usize, file: &File, lines: usize, chance: &mut StdRng) -> Self {
        let line = chance.random_range(0..lines);
        let (start, end) = (file.starts[line], file.starts[line + 1] - 1);
        let within = chance.random_range(start..end);
        let is = file.bytes[within];
        match number % 12 {
            0 => Self::Changed { at: within, to: is ^ 1 },
            1 => Self::Changed { at: within, to: is ^ 0x20 },
            2 => Self::Changed { at: within, to: is ^ other_mask(chance) },
            3 => Self::Changed { at: within, to: b'\n' },
            4 => Self::Changed { at: end, to: b' ' },
            5 => Self::Removed { at: chance.random_range(start..=end) },
            6 => Self::Added { at: within, byte: chance.random() },
            7 => Self::Cut { at: chance.random_range(start..=end) },
            8 => Self::Cut { at: start },
            9 => Self::pair(line, lines, chance),
            10 => Self::Repeated { line, before: chance.random_range(0..lines) },
            _ => Self::Dropped { line },
        }
    }

    pub(super) fn kind(self, file: &File) -> &'static str {
        match self {
            Self::Changed { to: b'\n', .. } => "line_split",
            Self::Changed { at, .. } | Self::Removed { at } if file.bytes[at] == b'\n' => {
                "lines_joined"
            }
            Self::Changed { .. } => "byte_changed",
            Self::Removed { .. } => "byte_removed",
            Self::Added { .. } => "byte_added",
            Self::Cut { at } if file.starts[file.line_at(at)] == at => "cut_between_lines",
            Self::Cut { .. } => "cut_within_line",
            Self::Swapped { first, second } if first + 1 == second => "neighbours_swapped",
            Self::Swapped { .. } => "pair_swapped",
            Self::Repeated { .. } => "line_repeated",
            Self::Dropped { .. } => "line_removed",
        }
    }

    /// The whole file with it.
    pub(super) fn done(self, file: &File) -> Vec<u8> {
        let mut bytes = file.bytes.clone();
        match self {
            Self::Changed { at, to } => bytes[at] = to,
            Self::Removed { at } => drop(bytes.remove(at)),
            Self::Added { at, byte } => bytes.insert(at, byte),
            Self::Cut { at } => bytes.truncate(at),
            Self::Swapped { .. } | Self::Repeated { .. } | Self::Dropped { .. } => {
                let mut lines: Vec<&[u8]> = file.lines_from(0).collect();
                match self {
                    Self::Swapped { first, second } => lines.swap(first, second),
                    Self::Repeated { line, before } => lines.insert(before, file.line(line)),
                    Self::Dropped { line } => drop(lines.remove(line)),
                    Self::Changed { .. }
                    | Self::Removed { .. }
                    | Self::Added { .. }
                    | Self::Cut { .. } => {}
                }
                bytes = lines.concat();
            }
        }
        bytes
    }

    /// The part of it that is new.
    pub(super) fn touched(self, file: &File) -> Touched<'_> {
        let lines = |from: usize, then: usize| (from..then).map(|line| Cow::from(file.line(line)));
        match self {
            Self::Changed { at, .. } | Self::Removed { at } | Self::Added { at, .. } => {
                let from = file.line_at(at);
                // With its end a line loses its border to the next.
                let then = (from + if file.bytes[at] == b'\n' { 2 } else { 1 }).min(file.lines());
                let mut bytes = file.bytes[file.starts[from]..file.starts[then]].to_vec();
                let place = at - file.starts[from];
                match self {
                    Self::Changed { to, .. } => bytes[place] = to,
                    Self::Removed { .. } => drop(bytes.remove(place)),
                    Self::Added { byte, .. } => bytes.insert(place, byte),
                    Self::Cut { .. }
                    | Self::Swapped { .. }
                    | Self::Repeated { .. }
                    | Self::Dropped { .. } => {}
                }
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                Touched { from, lines: lines.map(|line| Cow::from(line.to_vec())).collect(), then }
            }
            Self::Cut { at } => {
                let from = file.line_at(at);
                let rest = &file.bytes[file.starts[from]..at];
                let lines = if rest.is_empty() { vec![] } else { vec![Cow::from(rest)] };
                Touched { from, lines, then: file.lines() }
            }
            Self::Swapped { first, second } => {
                let mut new: Vec<_> = lines(first, second + 1).collect();
                new.swap(0, second - first);
                Touched { from: first, lines: new, then: second + 1 }
            }
            Self::Repeated { line, before } => {
                Touched { from: before, lines: lines(line, line + 1).collect(), then: before }
            }
            Self::Dropped { line } => Touched { from: line, lines: vec![], then: line + 1 },
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { at, to } => write!(out, "byte {at} changed to {to:#04x}"),
            Self::Removed { at } => write!(out, "byte {at} taken out"),
            Self::Added { at, byte } => write!(out, "{byte:#04x} put in before byte {at}"),
            Self::Cut { at } => write!(out, "cut before byte {at}"),
            Self::Swapped { first, second } => write!(out, "lines {first} and {second} swapped"),
            Self::Repeated { line, before } => write!(out, "line {line} again before {before}"),
            Self::Dropped { line } => write!(out, "line {line} taken out"),
        }
    }
}

/// Neither nothing nor what is done to every byte.
fn other_mask(chance: &mut StdRng) -> u8 {
    match chance.random_range(1..=u8::MAX) {
        1 => 0x41,
        0x20 => 0x60,
        mask => mask,
    }
}

/// How an attachment's line begins.
pub(super) const ATTACHMENT: &[u8] = b"{\"attachment\":\"";

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn what_is_new_of_a_damaged_file_is_what_was_done_to_it() {
        let file = File::new(b"{\"a\":1}\n{\"attachment\":\"ab\"}\n{\"b\":2}\nlast\n".to_vec());
        let mut chance = StdRng::seed_from_u64(7);
        let mut all = Vec::new();
        for line in 0..file.lines() {
            Damage::every(&file, line, file.lines(), &mut chance, |damage| all.push(damage));
            all.push(Damage::pair(line, file.lines(), &mut chance));
        }
        all.extend((0..500).map(|number| Damage::one(number, &file, file.lines(), &mut chance)));
        for damage in all {
            let Touched { from, lines, then } = damage.touched(&file);
            let before = &file.bytes[..file.starts[from]];
            let after = &file.bytes[file.starts[then]..];
            let put_together = [before, &lines.concat(), after].concat();
            assert_eq!(put_together, damage.done(&file), "{damage}");
            assert_ne!(put_together, file.bytes, "{damage} is none");
        }
    }
}
