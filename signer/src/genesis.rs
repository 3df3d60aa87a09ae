//! `portcullis init`: makes the first journal of a vault out of a proposal. Never touches one that
//! exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use portcullis_policy::book::{Book, Faults};
use portcullis_policy::id::{Epoch, PersonId, Sequence, VaultId};
use portcullis_policy::record::{Entry, Environment, FORMAT, Genesis, Person, Record, Role};
use portcullis_policy::tree::leaf_hash;
use serde::Deserialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{
    Batch, CreateError, EntryTooLong, SEGMENT_BYTES_DEFAULT, Segments, Storage, StorageError,
};

/// What is proposed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    environment: Environment,
    /// The first book, relative to the proposal.
    book: PathBuf,
    person: Vec<ProposedPerson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposedPerson {
    id: PersonId,
    roles: BTreeSet<Role>,
    control: String,
}

/// A vault that was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A segment could not hold the largest transaction beside its record.
    #[error("segment_bytes is {bytes}; it takes at least {SEGMENT_BYTES_MIN}")]
    SegmentBytes {
        /// What the configuration says.
        bytes: u64,
    },
    /// A file cannot be read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The proposal does not say what it must.
    #[error("{path:?} is not a genesis proposal: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// The book has faults.
    #[error("{path:?} cannot be the first book:\n{}", lines(faults))]
    Book {
        /// The file.
        path: PathBuf,
        /// All of them.
        faults: Faults,
    },
    /// Two people share an id or a control certificate.
    #[error("{0:?} stands for more than one person")]
    Twice(String),
    /// A person's control name is also a caller's.
    #[error("{0:?} is a caller in the book: a service's certificate gets no control verb")]
    AlsoCaller(String),
    /// Nobody could do it later; without a watcher, what its reports lower only fills up.
    #[error("nobody has the role {0}: add a person who has")]
    Nobody(&'static str),
    /// The owners of a caller are not people of the vault.
    #[error("the book names {0:?}, who is not among the people")]
    Stranger(String),
    /// The journal cannot be made.
    #[error("the journal cannot be made")]
    Create(#[from] CreateError),
    /// The genesis record cannot be written.
    #[error("the genesis record cannot be written")]
    Write(#[from] StorageError),
    /// The book is too large for one record.
    #[error("the first book is too large")]
    TooLong(#[from] EntryTooLong),
    /// The record cannot be written down.
    #[error("the genesis record cannot be written down")]
    Encode(#[from] serde_json::Error),
    /// The operating system gives no random bytes.
    #[error("no randomness")]
    NoRandomness,
}

/// The largest transaction is 128 KiB, and its record stands beside it in one batch.
const SEGMENT_BYTES_MIN: u64 = 256 * 1024;

/// Makes the journal, and gives the vault's id.
pub fn init(config: &Config, proposal: &Path) -> Result<VaultId, InitError> {
    let genesis = propose(proposal)?;
    let entry =
        Entry { at: Clock::genesis().now(), record: Record::Genesis(genesis), seq: Sequence(1) };
    let line = entry.encode()?;
    let mut batch = Batch::ordinary();
    batch.push_record(&line)?;
    let segment_bytes = config.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
    if segment_bytes < SEGMENT_BYTES_MIN {
        return Err(InitError::SegmentBytes { bytes: segment_bytes });
    }
    let mut storage = Segments::create(&config.data, segment_bytes)?;
    let _durable = storage.append_if_owner(Epoch(0), &batch)?;
    Ok(VaultId(leaf_hash(&line)))
}

fn propose(path: &Path) -> Result<Genesis, InitError> {
    let text = read(path)?;
    let proposal: Proposal = toml::from_str(&text)
        .map_err(|error| InitError::Parse { path: path.into(), message: error.to_string() })?;
    let book_path = path.parent().unwrap_or(Path::new(".")).join(&proposal.book);
    let text = read(&book_path)?;
    let book = Book::parse(&text);
    let book = book.map_err(|faults| InitError::Book { path: book_path, faults })?;
    let people: Vec<Person> = proposal
        .person
        .into_iter()
        .map(|person| Person { control: person.control, id: person.id, roles: person.roles })
        .collect();
    check_people(&people, &book)?;
    let salt = crate::keys::rand_bytes().map_err(|_| InitError::NoRandomness)?;
    let environment = proposal.environment;
    Ok(Genesis { book: text, environment, format: FORMAT, people, salt: B256::new(salt) })
}

fn check_people(people: &[Person], book: &Book) -> Result<(), InitError> {
    let mut names = BTreeSet::new();
    for person in people {
        for name in [person.id.as_str(), person.control.as_str()] {
            if !names.insert(name) {
                return Err(InitError::Twice(name.into()));
            }
        }
        let caller = person.control.parse().ok().filter(|name| book.caller(name).is_some());
        if caller.is_some() {
            return Err(InitError::AlsoCaller(person.control.clone()));
        }
    }
    let watcher = book.needs_watcher().then_some(Role::Watcher);
    for role in [Role::Operator, Role::Security].into_iter().chain(watcher) {
        if !people.iter().any(|person| person.roles.contains(&role)) {
            return Err(InitError::Nobody(crate::roster::role_name(role)));
        }
    }
    let owners = book.callers().flat_map(|(_, entry)| entry.owners.iter());
    let known = |owner: &&PersonId| people.iter().any(|person| person.id == **owner);
    match owners.into_iter().find(|owner| !known(owner)) {
        Some(stranger) => Err(InitError::Stranger(stranger.to_string())),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, InitError> {
    std::fs::read_to_string(path).map_err(|source| InitError::Read { path: path.into(), source })
}

fn lines(faults: &Faults) -> String {
    let lines = faults.0.iter().map(|fault| {
        format!(
            "  line {}, column {}: {} ({})",
            fault.line, fault.column, fault.message, fault.hint
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;

    #[test]
    fn a_book_that_only_a_watcher_can_relieve_needs_one_among_the_people() {
        let book = |rate: &str| {
            let text = format!(
                "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n[caller.a]\n\
                 owners = [\"olga\"]\n[key.hot]\ncallers = [\"a\"]\nchains = [\"main\"]\n\
                 rate = {{ per_caller = \"1/s\", per_key = \"1/s\", parked = 0{rate} }}\n"
            );
            Book::parse(&text).unwrap()
        };
        let person = |id: &str, role| Person {
            control: format!("spiffe://acme/people/{id}"),
            id: id.parse().unwrap(),
            roles: BTreeSet::from([role]),
        };
        let mut people = vec![person("olga", Role::Operator), person("sam", Role::Security)];
        check_people(&people, &book("")).unwrap();
        let refused = check_people(&people, &book(", nonce_ahead = 3"));
        assert!(matches!(refused, Err(InitError::Nobody("watcher"))), "{refused:?}");
        people.push(person("wanda", Role::Watcher));
        check_people(&people, &book(", nonce_ahead = 3")).unwrap();
    }
}
