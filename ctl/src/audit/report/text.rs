//! A report for a terminal.

use super::Told;
use super::sheet::{self, Section};
use crate::output::{fields, one_line};

pub(super) fn render(told: &Told<'_>) -> String {
    let sections = sheet::sections(told);
    let parts = sections.iter().map(section);
    std::iter::once(fields(&sheet::facts(told))).chain(parts).collect::<Vec<_>>().join("\n\n")
}

fn section(section: &Section) -> String {
    let Section { title, heading, rows, .. } = section;
    let title = title.to_lowercase();
    if rows.is_empty() {
        return format!("{title}: none");
    }
    let heads: Vec<String> = heading.iter().map(|name| name.to_uppercase()).collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let lines: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.iter().map(|cell| cell.trim_start_matches('#')).collect())
        .collect();
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..heading.len()).map(|at| width(at).unwrap_or(0)).collect();
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).zip(*heading).map(|((cell, &width), head)| {
            if head.starts_with('#') { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    });
    format!("{title}\n{}", lines.collect::<Vec<_>>().join("\n"))
}
