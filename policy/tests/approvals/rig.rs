//! A vault with people who can vote: two of treasury, three of security, an operator who owns the
//! calling service.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_policy::act::Act;
use portcullis_policy::credential::{Purpose, Strength};
use portcullis_policy::governance::{Deed, Governance, Recovery, Requirement};
use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::people::Role;
use portcullis_policy::record::{
    Choice, Environment, FORMAT, Genesis, Matter, Record, Signature, Voted,
};
use portcullis_policy::state::{ExecutionFault, ProposalFault, Unfoldable};
use portcullis_policy::statement;
use portcullis_policy::time::Span;

use crate::support::people::{Pen, person};
use crate::support::{Ask, Said, Vault};

pub(crate) const BOOK: &str = r#"version = 1
[chain.ethereum]
id = 1
native = "ETH"
[address]
supplier = "0x2000000000000000000000000000000000000002"
lookalike = "0x2000000000000000000000000000000000990002"
[group]
treasury = ["alice", "bob", "carol", "olga"]
guards = ["sam", "sue", "sid"]
[caller."spiffe://acme/payouts"]
owners = ["olga"]
[key.hot]
callers = ["spiffe://acme/payouts"]
chains = ["ethereum"]
native = { to = ["@supplier", "@lookalike"], per_tx = "100 ETH", window = "100 ETH / 24h" }
fees = { per_tx = "0.1 ETH", window = "1 ETH / 24h", max_priority_fee = "50 gwei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 3 }
approve = [
    { above = "1 ETH", need = "2 of treasury", expires = "30m", execute = "10m" },
    { above = "50 ETH", need = "2 of treasury + 1 of guards", expires = "30m", execute = "10m", credentials = "verified" },
]
"#;

pub(crate) const HOUR: u64 = 3_600_000;

/// Everybody, with what they sign with: two pens each, the first on hardware.
pub(crate) fn pens(name: &str) -> Vec<Pen> {
    vec![Pen::new(name, 1, true), Pen::new(name, 2, true)]
}

pub(crate) fn requirement(need: &str) -> Requirement {
    Requirement {
        channels: 1,
        credentials: Strength::Presence,
        delay: Span(0),
        execute: Span(HOUR),
        expires: Span(HOUR),
        need: need.into(),
    }
}

pub(crate) fn governance() -> Governance {
    let slow = Requirement { delay: Span(60_000), ..requirement("2 of security") };
    let quorums = BTreeMap::from([
        (Deed::Revoke, requirement("2 of security")),
        (Deed::Thaw, slow.clone()),
        (Deed::Widen, Requirement { need: "2 of approver".into(), ..slow }),
        (Deed::People, requirement("2 of security + 1 of approver")),
    ]);
    let credentials = (0..3).map(|n| Pen::new("safe", n, true).credential()).collect();
    let recovery = Some(Recovery { credentials, delay: Span(3 * 24 * HOUR), need: 2 });
    Governance { quorums, recovery }
}

pub(crate) const PEOPLE: [(&str, &[Role]); 9] = [
    ("ada", &[Role::Auditor]),
    ("alice", &[Role::Approver]),
    ("bob", &[Role::Approver]),
    ("carol", &[Role::Approver]),
    ("dan", &[Role::Approver]),
    ("olga", &[Role::Operator]),
    ("sam", &[Role::Security]),
    ("sid", &[Role::Security]),
    ("sue", &[Role::Security]),
];

/// A genesis that everybody has signed.
pub(crate) fn genesis() -> Genesis {
    genesis_of(governance(), pens)
}

/// A genesis under another governance, or by people with other pens.
pub(crate) fn genesis_of(governance: Governance, pens: impl Fn(&str) -> Vec<Pen>) -> Genesis {
    genesis_with(BOOK, governance, pens)
}

/// A genesis with another book as well.
pub(crate) fn genesis_with(
    book: &str,
    governance: Governance,
    pens: impl Fn(&str) -> Vec<Pen>,
) -> Genesis {
    let people = PEOPLE.map(|(name, roles)| person(name, roles, &pens(name))).to_vec();
    // Older support makes keys in the name of `olga` for `alan`; owners need not be people.
    let mut genesis = Genesis {
        book: book.into(),
        environment: Environment::Development,
        format: FORMAT,
        governance: Some(governance),
        people,
        salt: B256::repeat_byte(9),
        signatures: Vec::new(),
    };
    let text = statement::genesis(&genesis);
    let all = PEOPLE.iter().flat_map(|(name, _)| pens(name));
    let signatures = all.map(|pen| Signature {
        credential: pen.credential().id(),
        evidence: pen.sign(Purpose::Genesis, &text),
    });
    genesis.signatures = signatures.collect();
    genesis
}

pub(crate) fn vault() -> Vault {
    Vault::begin(genesis())
}

pub(crate) fn id(name: &str) -> PersonId {
    name.parse().unwrap()
}

/// Asks for something that is parked, and says under which name.
pub(crate) fn park(vault: &mut Vault, ask: &Ask) -> Matter {
    assert_eq!(vault.ask(ask), Said::Parked);
    let (matter, _) = vault.state.waiting(&ask.request(), vault.now).unwrap();
    matter.clone()
}

/// A vote as this pen signs it, over the statement as it stands.
pub(crate) fn vote_with(
    vault: &Vault,
    matter: &Matter,
    name: &str,
    pen: &Pen,
    choice: Choice,
) -> Voted {
    let statement = &vault.state.pending().get(matter).unwrap().statement;
    let text = statement::ballot(statement, choice, &id(name), "");
    Voted {
        by: id(name),
        choice,
        credential: pen.credential().id(),
        evidence: pen.sign(Purpose::Vote, &text),
        matter: matter.clone(),
        reason: String::new(),
    }
}

pub(crate) fn vote(vault: &Vault, matter: &Matter, name: &str, choice: Choice) -> Voted {
    vote_with(vault, matter, name, &pens(name)[0], choice)
}

pub(crate) fn cast(vault: &mut Vault, voted: Voted) -> Result<Sequence, Unfoldable> {
    vault.try_write(Record::Voted(Box::new(voted)))
}

/// Votes for it, with the first pen.
pub(crate) fn approve(vault: &mut Vault, matter: &Matter, name: &str) -> Sequence {
    let voted = vote(vault, matter, name, Choice::Approve);
    cast(vault, voted).unwrap()
}

pub(crate) fn propose(vault: &mut Vault, by: &str, act: Act) -> Result<Matter, ProposalFault> {
    let proposed = vault.state.propose((&id(by), act, "because".into()), vault.now)?;
    Ok(Matter::Proposal(vault.write(Record::Proposed(Box::new(proposed)))))
}

pub(crate) fn execute(
    vault: &mut Vault,
    by: &str,
    matter: &Matter,
) -> Result<Sequence, ExecutionFault> {
    let Matter::Proposal(number) = matter else { panic!("{matter:?}") };
    let executed = vault.state.execution(&id(by), *number, vault.now)?;
    Ok(vault.write(Record::Executed(executed)))
}

/// The stable code of what is wrong with a vote; "" if nothing is.
pub(crate) fn fault(result: Result<Sequence, Unfoldable>) -> &'static str {
    match result {
        Ok(_) => "",
        Err(Unfoldable::Vote(_, fault)) => fault.code(),
        Err(other) => panic!("{other}"),
    }
}
