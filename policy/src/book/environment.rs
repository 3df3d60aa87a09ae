//! The environment that a book is for: none of one comes into force in a vault of another.

use super::check::closed_word;
use super::file::Fields;
use super::words::Vocabulary;
use crate::record::Environment;

/// `environment = "production"`. A book that names none is for development, so that whoever forgets
/// the line only keeps it out of where money is.
pub(super) fn environment(root: &Fields<'_>) -> Environment {
    let field = root.optional("environment");
    let known = field.filter(|field| closed_word(field, "environment", ENVIRONMENTS));
    let word = known.and_then(|field| field.word());
    word.and_then(|word| Environment::named(word.text)).unwrap_or(Environment::Development)
}

const ENVIRONMENTS: Vocabulary =
    Vocabulary { known: &["development", "staging", "production"], later: &[] };
