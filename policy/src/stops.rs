//! What is stopped. A stop never expires by itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{CallerId, KeyId, Tag};

/// What one freeze covers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// Everything.
    All,
    /// Whatever a caller asks for.
    Caller(CallerId),
    /// One key.
    Key(KeyId),
    /// Every key with this tag.
    Tag(Tag),
}

impl Scope {
    /// Whether it covers whatever this key signs, for whomever.
    pub fn covers_key(&self, key: KeyId, tags: &BTreeSet<Tag>) -> bool {
        match self {
            Self::All => true,
            Self::Key(stopped) => *stopped == key,
            Self::Tag(tag) => tags.contains(tag),
            Self::Caller(_) => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("everything"),
            Self::Caller(caller) => write!(out, "caller {caller}"),
            Self::Key(key) => write!(out, "key {key}"),
            Self::Tag(tag) => write!(out, "tag {tag}"),
        }
    }
}

/// All stops in force.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Stops(BTreeSet<Scope>);

impl Stops {
    /// Adds one.
    pub fn add(&mut self, scope: Scope) {
        self.0.insert(scope);
    }

    /// Takes one away: exactly this one, and no other that covers the same.
    pub fn remove(&mut self, scope: &Scope) {
        self.0.remove(scope);
    }

    /// All scopes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether anything at all is stopped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stop of a caller by itself, if there is one.
    pub fn covering_caller(&self, caller: &CallerId) -> Option<&Scope> {
        self.0.get(&Scope::Caller(caller.clone()))
    }

    /// The stop that covers this signature, if one does.
    pub fn covering(&self, subject: &Subject<'_>) -> Option<&Scope> {
        self.0.iter().find(|scope| subject.is_in(scope))
    }
}

/// What a signature is, as far as stops can tell.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Whose key.
    pub key: KeyId,
    /// Its tags.
    pub tags: &'a BTreeSet<Tag>,
    /// For whom.
    pub caller: &'a CallerId,
}

impl Subject<'_> {
    /// Whether a scope covers it.
    pub fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Caller(caller) => caller == self.caller,
            Scope::Key(key) => *key == self.key,
            Scope::Tag(tag) => self.tags.contains(tag),
        }
    }
}
