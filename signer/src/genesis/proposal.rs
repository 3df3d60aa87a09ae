//! What is proposed for genesis: the file, and everything that must be right with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use portcullis_policy::book::Book;
use portcullis_policy::governance::{
    CredentialWord, Deed, Governance, GovernanceFile, QuorumTable, RecoveryTable, credentials,
};
use portcullis_policy::id::PersonId;
use portcullis_policy::people::{People, Person, Role};
use portcullis_policy::record::{Environment, FORMAT, Genesis};
use serde::Deserialize;

use super::InitError;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    environment: Environment,
    /// The first book, relative to the proposal.
    book: PathBuf,
    person: Vec<ProposedPerson>,
    #[serde(default)]
    quorum: BTreeMap<Deed, QuorumTable>,
    recovery: Option<RecoveryTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposedPerson {
    id: PersonId,
    roles: BTreeSet<Role>,
    control: String,
    #[serde(default)]
    credentials: Vec<CredentialWord>,
}

/// Reads a proposal into a genesis that nobody has signed yet.
pub(super) fn read(path: &Path) -> Result<Genesis, InitError> {
    let text = super::read_text(path)?;
    let parse = |message: String| InitError::Parse { path: path.into(), message };
    let proposal: Proposal = toml::from_str(&text).map_err(|error| parse(error.to_string()))?;
    let book_path = path.parent().unwrap_or(Path::new(".")).join(&proposal.book);
    let text = super::read_text(&book_path)?;
    let book = Book::parse_for(&text, proposal.environment);
    let book = book.map_err(|faults| InitError::Book { path: book_path, faults })?;
    let mut faults = Vec::new();
    let mut people = Vec::with_capacity(proposal.person.len());
    for person in proposal.person {
        let ProposedPerson { id, roles, control, credentials: words } = person;
        let credentials = credentials(&format!("person {id}"), &words, &mut faults);
        people.push(Person { control, credentials, id, roles });
    }
    let ungoverned = proposal.quorum.is_empty() && proposal.recovery.is_none();
    let read = GovernanceFile::new(proposal.quorum, proposal.recovery).governance();
    let governance = read.map_err(|more| faults.extend(more)).ok().filter(|_| !ungoverned);
    if !faults.is_empty() {
        return Err(parse(faults.join("\n  ")));
    }
    check(&people, governance.as_ref(), &book, proposal.environment)?;
    let salt = crate::keys::rand_bytes().map_err(|_| InitError::NoRandomness)?;
    Ok(Genesis {
        book: text,
        environment: proposal.environment,
        format: FORMAT,
        governance,
        people,
        salt: B256::new(salt),
        signatures: Vec::new(),
    })
}

fn check(
    people: &[Person],
    governance: Option<&Governance>,
    book: &Book,
    environment: Environment,
) -> Result<(), InitError> {
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
            return Err(InitError::Nobody(role.name()));
        }
    }
    let owners = book.callers().flat_map(|(_, entry)| entry.owners.iter());
    let known = |owner: &&PersonId| people.iter().any(|person| person.id == **owner);
    if let Some(stranger) = owners.into_iter().find(|owner| !known(owner)) {
        return Err(InitError::Stranger(stranger.to_string()));
    }
    check_governance(people, governance, environment)
}

fn check_governance(
    people: &[Person],
    governance: Option<&Governance>,
    environment: Environment,
) -> Result<(), InitError> {
    let all = People::new(people).ok_or_else(|| InitError::Twice("a credential".into()))?;
    let Some(governance) = governance else {
        let play = environment == Environment::Development;
        return if play { Ok(()) } else { Err(InitError::Ungoverned(environment.name())) };
    };
    let faults = governance.faults(&all);
    if faults.is_empty() { Ok(()) } else { Err(InitError::Ungovernable(faults)) }
}

#[cfg(test)]
mod tests {
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
            credentials: Vec::new(),
            id: id.parse().unwrap(),
            roles: BTreeSet::from([role]),
        };
        let mut people = vec![person("olga", Role::Operator), person("sam", Role::Security)];
        check(&people, None, &book(""), Environment::Development).unwrap();
        let refused = check(&people, None, &book(", nonce_ahead = 3"), Environment::Development);
        assert!(matches!(refused, Err(InitError::Nobody("watcher"))), "{refused:?}");
        people.push(person("wanda", Role::Watcher));
        check(&people, None, &book(", nonce_ahead = 3"), Environment::Development).unwrap();
    }
}
