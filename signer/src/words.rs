//! Words that people write for other people: reasons, purposes. They end in journals, logs and
//! terminals, so nothing in them may move a cursor, hide, or turn the direction of what follows.

use portcullis_policy::unseen::is_unseen;

use crate::refusal::Refusal;

/// Why something is done: 1 to 500 characters.
pub(crate) fn reason(text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::BadField { field: "reason", problem: say_why() });
    }
    plain("reason", text, REASON_MAX)
}

/// Why something is stopped, or somebody suspended. A stop is never refused for its reason: what
/// cannot be seen is written as its escape, what is too long is cut, and none is said to be none.
pub(crate) fn reason_of_a_stop(text: &str) -> String {
    if text.is_empty() {
        return "no reason was given".to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars().take(REASON_MAX) {
        if is_unseen(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(REASON_MAX).is_some() {
        shown.push_str("..");
    }
    shown
}

fn say_why() -> String {
    format!("say why, in 1 to {REASON_MAX} characters")
}

/// At most so many characters, each of them seen.
pub(crate) fn plain(field: &'static str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.chars().count() > most {
        return Err(Refusal::BadField { field, problem: format!("at most {most} characters") });
    }
    one_line(field, text)
}

/// However many: each of them seen.
pub(crate) fn one_line(field: &'static str, text: &str) -> Result<(), Refusal> {
    let problem = || "one line, without control characters".to_owned();
    let unseen = text.chars().any(is_unseen);
    if unseen { Err(Refusal::BadField { field, problem: problem() }) } else { Ok(()) }
}

const REASON_MAX: usize = portcullis_policy::state::REASON_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_that_a_terminal_shows_as_it_is() {
        for good in ["drill", "Übung: Schlüssel weg", "a \"quoted\" word", &"x".repeat(500)] {
            assert!(reason(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "two\nlines",
            "a\rb",
            "\u{1b}[2Jgone",
            "\u{9b}2J",
            "\u{202e}desrever",
            "zero\u{200b}width",
            "bell\u{7}",
            "tag\u{e0041}",
            &"x".repeat(501),
        ] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
        // But a stop is a stop.
        assert_eq!(reason_of_a_stop("\u{1b}[2J a\nb"), "\\u{1b}[2J a\\nb");
        assert_eq!(reason_of_a_stop("Schlüssel weg"), "Schlüssel weg");
        assert_eq!(reason_of_a_stop(""), "no reason was given");
        assert_eq!(reason_of_a_stop(&"x".repeat(501)), "x".repeat(500) + "..");
    }
}
