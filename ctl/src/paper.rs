//! A page for people, on screen and on paper: one file, without scripts and without anything from
//! elsewhere. What somebody else wrote is never markup.

/// A whole page of these parts.
pub(crate) fn page(title: &str, more_style: &str, parts: &[String]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}{more_style}</style>\n</head>\n<body>\n<main>\n",
        escaped(title)
    );
    for part in parts {
        page.push_str(part);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Names and values, one under the other.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let rows = rows
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value)));
    format!("<dl class=\"facts\">\n{}</dl>\n", rows.collect::<String>())
}

/// In groups of three, as people read numbers.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(at);
        if at > 0 && left.is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nothing that somebody else wrote is markup, or is seen as something else than it is.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in crate::output::one_line(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{1b}' => out.push_str("\\u{1b}"),
            plain => out.push(plain),
        }
    }
    out
}

const STYLE: &str = include_str!("paper.css");
