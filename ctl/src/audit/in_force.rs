//! The names and units of the book in force, as records go by.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_policy::act::Act;
use portcullis_policy::book::{Book, Registry};
use portcullis_policy::id::Sequence;
use portcullis_policy::record::{Entry, Record};

/// What names stand for, up to the record that was taken last.
#[derive(Debug, Default)]
pub(super) struct InForce {
    registry: Rc<Registry>,
    /// Books that were proposed, by the record that did.
    proposed: BTreeMap<Sequence, String>,
}

impl InForce {
    pub(super) fn registry(&self) -> &Rc<Registry> {
        &self.registry
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "looks for books among all records")]
        match &entry.record {
            Record::Genesis(genesis) => self.adopt(&genesis.book),
            Record::Adopted(adopted) => self.adopt(&adopted.book),
            Record::Proposed(one) => {
                if let Act::Adopt(adopt) = &one.act {
                    self.proposed.insert(entry.seq, adopt.book.clone());
                }
            }
            Record::Executed(done) => {
                if let Some(book) = self.proposed.remove(&done.proposal) {
                    self.adopt(&book);
                }
            }
            _ => {}
        }
    }

    /// The names of one book.
    pub(super) fn of(book: &str) -> Self {
        let mut in_force = Self::default();
        in_force.adopt(book);
        in_force
    }

    /// A book that cannot be read names nothing: amounts are told in base units then.
    fn adopt(&mut self, book: &str) {
        let registry = Book::parse(book).map(|book| book.registry().clone()).unwrap_or_default();
        self.registry = Rc::new(registry);
    }
}
