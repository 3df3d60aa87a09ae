//! The journal that an operator wrote down where the signer cannot change it: `[witness] journal`.
//! A journal that was made anew, with records that agree with each other, has another name and
//! another key. That is found here also if no witness answers.

use portcullis_policy::note::{Verifier, origin};

use crate::sequencer::View;

/// A journal's name and the key that signs its checkpoints.
#[derive(Clone, Debug)]
pub struct Pinned(Verifier);

/// Another journal than the one that was written down.
#[derive(Debug, thiserror::Error)]
#[error(
    "[witness] journal names {pinned}, and here is {found}: the data folder was exchanged. Put the \
     right one back. If this one is meant, write down what `portctl audit checkpoint` says of it"
)]
pub struct OtherJournal {
    pinned: String,
    found: String,
}

impl Pinned {
    /// From one line, `portcullis/HEX+ID+KEY`. `None`: it is none.
    pub fn parse(vkey: &str) -> Option<Self> {
        Verifier::parse(vkey).ok().map(Self)
    }

    /// Whether this is the journal.
    ///
    /// # Errors
    ///
    /// [`OtherJournal`].
    pub fn check(&self, view: &View) -> Result<(), OtherJournal> {
        let name = origin(view.vault.0);
        let found = match &view.checkpoints.made {
            Some(made) => Verifier { name, key: made.key.clone() }.to_string(),
            None => format!("{name}, without a key for checkpoints"),
        };
        let pinned = self.0.to_string();
        if pinned == found { Ok(()) } else { Err(OtherJournal { pinned, found }) }
    }
}
