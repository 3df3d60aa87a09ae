//! Reads books and compares them with the one in force: outside of the writer, for which a stop may
//! wait.

use std::sync::Arc;

use portcullis_policy::book::Book;
use portcullis_policy::record::Adopted;
use portcullis_policy::state::Prepared;

use super::View;
use super::command::NewBook;
use crate::refusal::Refusal;

impl NewBook {
    pub(super) fn read(adopted: Adopted, view: &View) -> Result<Self, Refusal> {
        let in_force = &view.book;
        let book = Book::parse_for(&adopted.book, view.environment);
        let book = book.map_err(Refusal::FaultyBook)?;
        let difference = in_force.difference(&book);
        if !difference.is_narrowing() {
            return Err(Refusal::Widens(difference.wider));
        }
        Ok(Self { adopted, book: Arc::new(book), base: in_force.hash(), difference })
    }
}

/// A book that is about to be proposed.
pub(super) fn prepare(text: &str, view: &View) -> Result<Prepared, Refusal> {
    let in_force = &view.book;
    let book = Book::parse_for(text, view.environment).map_err(Refusal::FaultyBook)?;
    let change = Arc::new(in_force.change(&book));
    Ok(Prepared { book: Arc::new(book), base: in_force.hash(), change })
}
