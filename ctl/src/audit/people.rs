//! What people do together, in words: acts, votes, and the records that tell of them.

use portcullis_policy::act::Act;
use portcullis_policy::drain::DrainTo;
use portcullis_policy::id::{BookHash, CredentialId, PersonId, Sequence};
use portcullis_policy::people::Role;
use portcullis_policy::record::{
    Choice, Drilled, Executed, Matter, Party, Proposed, RecoveryBegun, Suspended, Voted, Withdrawn,
};
use portcullis_policy::stops::Scope;
use portcullis_policy::utc::rfc3339;

use crate::approvals::words::plain;

pub(super) fn voted(voted: &Voted) -> String {
    let said = choice(voted.choice);
    let (by, credential) = (&voted.by, &voted.credential);
    let text = format!("{said} {} by {by} with {credential}", matter(&voted.matter));
    because(text, &voted.reason)
}

pub(super) fn proposed(proposed: &Proposed) -> String {
    let text = format!("{}, by {}", act(&proposed.act, ToString::to_string), proposed.by);
    because(text, &proposed.reason)
}

pub(super) fn executed(executed: &Executed) -> String {
    let Executed { by, proposal, votes } = executed;
    format!("proposal p{proposal} by {by}, on the votes of {}", records(votes))
}

pub(super) fn withdrawn(withdrawn: &Withdrawn) -> String {
    let by = match &withdrawn.by {
        Party::Caller(caller) => caller.to_string(),
        Party::Person(person) => person.to_string(),
    };
    format!("{} by {by}", matter(&withdrawn.matter))
}

pub(super) fn suspended(suspended: &Suspended) -> String {
    let what = votes_of(&suspended.person, suspended.credential.as_ref());
    because(format!("{what}, by {}", suspended.by), &suspended.reason)
}

pub(super) fn recovery_begun(begun: &RecoveryBegun) -> String {
    let (people, signatures) = (begun.renewal.people.len(), begun.signatures.len());
    let text = format!(
        "everything is stopped; {people} people will replace all, signed by {signatures} \
         credentials"
    );
    because(text, &begun.renewal.reason)
}

pub(super) fn drilled(drilled: &Drilled) -> String {
    let Drilled { by, drill, good, key, missed, .. } = drilled;
    let verdict = if *good { "good" } else { "NOT GOOD" };
    let slow: Vec<&str> = missed.iter().map(|step| step.as_str()).collect();
    let slow = if slow.is_empty() { String::new() } else { format!("; slow: {}", slow.join(", ")) };
    format!("drill {drill} on key {key} by {by}: {verdict}{slow}")
}

pub(super) fn choice(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "approve",
        Choice::Reject => "reject",
    }
}

pub(super) fn matter(matter: &Matter) -> String {
    match matter {
        Matter::Parked(name) => format!("request {}", plain(name)),
        Matter::Proposal(sequence) => format!("proposal p{sequence}"),
    }
}

/// "records 5 and 6".
pub(super) fn records(sequences: &[Sequence]) -> String {
    let all: Vec<String> = sequences.iter().map(ToString::to_string).collect();
    match all.split_last() {
        None => "no record".to_owned(),
        Some((only, [])) => format!("record {only}"),
        Some((last, before)) => format!("records {} and {last}", before.join(", ")),
    }
}

/// What is done, with scopes named by whoever knows more of keys than their ids.
pub(super) fn act(act: &Act, scope: impl Fn(&Scope) -> String) -> String {
    match act {
        Act::Thaw(thaw) => format!("thaw {}", scope(&thaw.scope)),
        Act::Revoke(revoke) => format!("revoke {} for good", scope(&Scope::Key(revoke.key))),
        Act::Destroy(destroy) => {
            format!("destroy {} in the token", scope(&Scope::Key(destroy.key)))
        }
        Act::Drain(drain) => {
            let (key, plan) = (scope(&Scope::Key(drain.key)), &drain.plan);
            let to = match plan.to {
                DrainTo::Address(address) => address.to_checksum(None),
                DrainTo::Key(key) => scope(&Scope::Key(key)),
            };
            format!("drain {key} to {to} until {}", rfc3339(plan.expires.0))
        }
        Act::Adopt(adopt) => format!("adopt the book {}", BookHash::of(&adopt.book)),
        Act::Enrol(enrol) => {
            let (id, roles) = (&enrol.person.id, roles(&enrol.person.roles));
            format!("add the person {id}: {roles}")
        }
        Act::Remove(remove) => format!("remove the person {}", remove.person),
        Act::AddCredential(add) => {
            format!("let {} sign with {} too", add.person, add.credential.id())
        }
        Act::DropCredential(drop) => {
            format!("let {} no longer sign with {}", drop.person, drop.credential)
        }
        Act::SetRoles(set) => format!("give {} the roles {}", set.person, roles(&set.roles)),
        Act::Reinstate(back) => {
            format!("let {} count again", votes_of(&back.person, back.credential.as_ref()))
        }
        Act::Govern(_) => "change what deeds take".to_owned(),
        Act::AcceptTime(accept) => {
            format!("let sure time go forward by {}", accept.behind().in_words())
        }
        Act::CancelRecovery(_) => "call off the announced recovery".to_owned(),
    }
}

fn votes_of(person: &PersonId, credential: Option<&CredentialId>) -> String {
    match credential {
        Some(credential) => format!("votes of {person} with {credential}"),
        None => format!("all votes of {person}"),
    }
}

fn roles<'a>(roles: impl IntoIterator<Item = &'a Role>) -> String {
    roles.into_iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

fn because(text: String, reason: &str) -> String {
    if reason.is_empty() { text } else { format!("{text}: {}", plain(reason)) }
}
