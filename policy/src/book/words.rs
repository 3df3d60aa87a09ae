//! Closed vocabularies, and what somebody is told who wrote another word.

use super::report::Report;

/// The fields a table may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vocabulary {
    /// Those this version reads.
    pub(super) known: &'static [&'static str],
    /// Those the language has and this version does not read yet.
    pub(super) later: &'static [&'static str],
}

/// Message and hint for a word that is not in the vocabulary.
pub(super) fn unknown(
    report: &Report,
    kind: &str,
    given: &str,
    words: Vocabulary,
) -> (String, String) {
    let shown = quoted(given);
    if words.later.contains(&given) {
        let hint = "leave it out; nothing is enforced by a word that is not read";
        return (format!("{kind} {shown} is not supported yet by this version"), hint.to_owned());
    }
    let hint = match report.nearest(given, words.known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", words.known.join(", ")),
    };
    (format!("unknown {kind} {shown}"), hint)
}

/// The candidate that a misspelling was most likely meant to be. Asked through
/// [`Report::nearest`], which bounds the work.
pub(super) fn nearest<'c>(
    given: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    if given.len() > NAME_BYTES_MAX {
        return None;
    }
    let near = candidates.filter(|name| name.len() <= NAME_BYTES_MAX);
    let near = near.map(|candidate| (distance(given, candidate), candidate)).min()?;
    let allowed = given.len().checked_div(3).unwrap_or(0).clamp(1, 3);
    (near.0 <= allowed).then_some(near.1)
}

/// A text from the book as a message shows it: escaped, and cut to 80 characters.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    let dots = if cut.len() < text.len() { ".." } else { "" };
    format!("{cut:?}{dots}")
}

/// How many letters must be put in, taken out or replaced to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = at;
        let mut left = at.saturating_add(1);
        let mut next = vec![left];
        for (above, b) in row.iter().skip(1).zip(to.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(!a.eq_ignore_ascii_case(&b)));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Longer words are not compared letter by letter: the work grows with the product of lengths.
pub(super) const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_the_word_that_was_meant_and_nonsense_finds_none() {
        let known = || ["per_tx", "window", "to"].into_iter();
        assert_eq!(nearest("per-tx", known()), Some("per_tx"));
        assert_eq!(nearest("windows", known()), Some("window"));
        assert_eq!(nearest("elephant", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
