//! A report as a page, on screen and on paper.

use super::Told;
use super::sheet::{self, Section};
use crate::paper::{self, escaped};

pub(super) fn render(told: &Told<'_>) -> String {
    let title = format!("Audit report, {}", told.found.environment);
    let mut parts = vec![heading(told), paper::facts(&capitals(sheet::facts(told)))];
    parts.extend(sheet::sections(told).iter().map(section));
    parts.push(check(told));
    paper::page(&title, STYLE, &parts)
}

fn heading(told: &Told<'_>) -> String {
    format!(
        "<header>\n<p class=\"brand\">Portcullis &middot; audit report</p>\n<h1>{}</h1>\n\
         </header>\n",
        escaped(&format!("What the {} vault did", told.found.environment))
    )
}

fn capitals(facts: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let name = |name: &'static str| match name {
        "vault" => "Vault",
        "environment" => "Environment",
        "export" => "Export",
        "records" => "Records",
        "root" => "Root",
        "checked" => "Checked",
        "not checked" => "Not checked",
        "period" => "Period",
        "in it" => "In it",
        "only of keys" => "Only of keys",
        other => other,
    };
    facts.into_iter().map(|(one, value)| (name(one), value)).collect()
}

fn section(section: &Section) -> String {
    let Section { title, remark, heading, rows } = section;
    let title = escaped(title);
    if rows.is_empty() {
        return format!("<section>\n<h2>{title}</h2>\n<p class=\"remark\">None.</p>\n</section>\n");
    }
    let cell = |tag: &str, head: &str, text: &str| {
        let class = match (head.starts_with('#'), text.chars().count()) {
            (true, _) => " class=\"number\"",
            (false, 0..=SHORT) => " class=\"short\"",
            (false, _) => "",
        };
        format!("<{tag}{class}>{}</{tag}>", escaped(text))
    };
    let heads = heading.iter().map(|head| cell("th", head, head.trim_start_matches('#')));
    let rows = rows.iter().map(|row| {
        let cells = row.iter().zip(*heading).map(|(text, head)| cell("td", head, text));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    });
    let remark = if remark.is_empty() {
        String::new()
    } else {
        format!("<p class=\"remark\">{}</p>\n", escaped(remark))
    };
    format!(
        "<section>\n<h2>{title}</h2>\n<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n\
         </table>\n{remark}</section>\n",
        heads.collect::<String>(),
        rows.collect::<String>()
    )
}

fn check(told: &Told<'_>) -> String {
    format!(
        "<section>\n<h2>How to check it</h2>\n<p>The figures are made of the export alone; anybody \
         who has it gets the same. That its decisions and votes are right, this shows:</p>\n\
         <pre>portctl audit verify {}</pre>\n</section>\n",
        escaped(&told.file.display().to_string())
    )
}

/// A text that is not broken over lines: as long as a time is.
const SHORT: usize = 24;

/// Tables here have more columns than those of a drill.
const STYLE: &str = "\
table { font-size: 9pt; }
th, td { padding-right: .9em; }
.short { white-space: nowrap; }
section { break-inside: auto; }
@media screen { main { max-width: 250mm; } section { overflow-x: auto; } }
@media print { @page { size: A4 landscape; margin: 14mm; } table { font-size: 8pt; } }
";
