//! The texts that people sign: what they read is what the signature is over, byte for byte.
//!
//! Canonical: printable ASCII and line feeds, lines in a fixed order, no words that somebody
//! outside could choose but in quotes and escaped. The same bytes stand in the terminal, in the
//! console and in the journal. The first line says what kind of text it is, so that a signature
//! under one kind is none under another.

use std::collections::BTreeSet;

use alloy_primitives::Address;

use crate::act::{Act, DropCredential};
use crate::book::{Book, Change, KeyRules};
use crate::credential::{Credential, Strength};
use crate::decide::Parked;
use crate::effect::{self, Effect};
use crate::finding::{self};
use crate::governance::Governance;
use crate::id::{CredentialId, KeyId, PersonId, Sequence};
use crate::money::Amount;
use crate::people::{Person, Role};
use crate::quorum::Terms;
use crate::record::{Choice, Genesis, Renewal};
use crate::request::{Request, Signable, sha256};
use crate::state::State;
use crate::stops::Scope;
use crate::time::Millis;
use crate::utc::rfc3339;

mod drain;
mod outage;
mod stop;
mod words;

pub use self::stop::{rescue, stop_order};

use self::words::{
    bare, chain_name, fields, is_budget, kind, like_it, quoted, recipient, replaced, shortened,
    words,
};

/// A statement being written: a line at a time, nothing but printable ASCII.
struct Text(String);

impl Text {
    fn begin(kind: &str, vault: Option<&str>) -> Self {
        let mut text = Self(String::with_capacity(1_024));
        text.line(format!("Portcullis {kind}, version 1"));
        if let Some(vault) = vault {
            text.line(format!("vault: {vault}"));
        }
        text
    }

    /// One line. Whatever is not printable ASCII is escaped: what a terminal or a font could show
    /// as something else is not in it.
    fn line(&mut self, line: impl AsRef<str>) {
        for character in line.as_ref().chars() {
            if character == ' ' || character.is_ascii_graphic() {
                self.0.push(character);
            } else {
                self.0.extend(character.escape_default());
            }
        }
        self.0.push('\n');
    }

    fn list(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            self.line(format!("{title}:"));
            lines.for_each(|line| self.line(format!("  {line}")));
        }
    }
}

/// What a person signs: the statement, what they say to it, who they are, and why.
pub fn ballot(statement: &str, choice: Choice, voter: &PersonId, reason: &str) -> String {
    let mut text = Text(statement.to_owned());
    text.line(match choice {
        Choice::Approve => "vote: approve",
        Choice::Reject => "vote: reject",
    });
    text.line(format!("voter: {voter}"));
    if !reason.is_empty() {
        text.line(format!("because: {}", quoted(reason)));
    }
    text.0
}

/// What a credential signs to become a person's.
pub fn enrolment(vault: &str, person: &PersonId, credential: &CredentialId) -> String {
    let mut text = Text::begin("enrolment", Some(vault));
    text.line(format!("person: {person}"));
    text.line(format!("credential: {credential}"));
    text.line("I hold this credential, and will sign votes as this person with it.");
    text.0
}

/// What the first people sign: everything that genesis says, by its hash and in words. The
/// signatures themselves are left out of the hash.
pub fn genesis(genesis: &Genesis) -> String {
    let unsigned = Genesis { signatures: Vec::new(), ..genesis.clone() };
    // A value that cannot be written down has no hash that anybody could have signed.
    let bytes = crate::canonical::to_vec(&unsigned).unwrap_or_default();
    let mut text = Text::begin("genesis", None);
    text.line(format!("genesis: {}", bare(sha256(&bytes))));
    text.line(format!("environment: {}", genesis.environment.name()));
    text.line(format!("book: {}", bare(sha256(genesis.book.as_bytes()))));
    text.list("people", genesis.people.iter().flat_map(person));
    let nothing = Governance::default();
    text.list("takes", governance(genesis.governance.as_ref().unwrap_or(&nothing)));
    text.0
}

/// What recovery credentials, and the new people, sign.
pub fn recovery(vault: &str, renewal: &Renewal) -> String {
    let mut text = Text::begin("recovery", Some(vault));
    text.line("Everything is stopped at once. After the delay these people replace all others.");
    text.list("people", renewal.people.iter().flat_map(person));
    text.list("takes", governance(&renewal.governance));
    text.line(format!("reason: {}", quoted(&renewal.reason)));
    text.line(format!("to be announced until: {}", rfc3339(renewal.expires.0)));
    text.0
}

/// A statement in one line, for lists: what would be done.
pub fn summary(statement: &str) -> String {
    if let Some(act) = statement.lines().find_map(|line| line.strip_prefix("act: ")) {
        return act.to_owned();
    }
    let (_, rest) = statement.split_once("\nit would:\n").unwrap_or(("", statement));
    let lines = rest.lines().map_while(|line| line.strip_prefix("  "));
    let effects: Vec<&str> = lines.filter(|line| !line.starts_with(' ')).collect();
    let paid: Vec<&str> =
        effects.iter().copied().filter(|line| !line.starts_with("pay a fee")).collect();
    let shown = if paid.is_empty() { effects } else { paid };
    let more = shown.len().saturating_sub(2);
    let line = shown.iter().take(2).copied().collect::<Vec<_>>().join("; ");
    if more == 0 { line } else { format!("{line}; and {more} more") }
}

/// What is parked, for whom, until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parking<'a> {
    pub(crate) parked: &'a Parked,
    pub(crate) name: &'a str,
    pub(crate) at: Millis,
    pub(crate) expires: Millis,
    pub(crate) execute_until: Millis,
    pub(crate) fee_most: Option<Amount>,
}

/// What people sign of a parked request.
pub(crate) fn request(state: &State, parking: &Parking<'_>) -> String {
    let Parking { parked, name, .. } = *parking;
    let (request, book) = (&parked.request, state.book());
    let (asker, chain, registry) = (request.asker(), request.chain(), book.registry());
    let key = state.keys().get(&asker.key);
    let label = key.map(|key| key.label.to_string()).unwrap_or_default();
    let own = asker.expected;
    let mut text = Text::begin("approval", Some(&bare(state.vault().0)));
    text.line(format!("request: {name}"));
    text.line(format!("asked by: {} as {}", asker.caller, quoted(asker.request.as_str())));
    text.line(format!("key: {label} {} ({})", own.to_checksum(None), asker.key));
    text.line(format!("chain: {}", chain_name(chain, registry)));
    text.line(kind(request));
    let effects = effect::effects(request, own, registry);
    let rules = key.and_then(|key| book.rules(&key.label));
    // What it is about first, and its fee after that.
    let (fees, deeds): (Vec<&Effect>, Vec<&Effect>) =
        effects.iter().partition(|effect| matches!(effect, Effect::Fee { .. }));
    let ordered = deeds.into_iter().chain(fees);
    text.list("it would", ordered.flat_map(|one| words(one, request, registry, rules)));
    if let Signable::Typed(data) = request.signable() {
        text.list("fields", fields(data.primary().members(), data.fields(), (registry, chain)));
    }
    let payments = effect::payments(&effects, chain);
    let mut whom: Vec<Address> = payments.iter().map(|(_, whom, _)| *whom).collect();
    whom.sort_unstable();
    whom.dedup();
    let line = |who: Address| recipient(state, (asker.key, chain), who);
    text.list("recipients", whom.iter().copied().map(line));
    text.list("parked by", parked.missing.iter().map(|one| format!("{}: {}", one.rule, one.terms)));
    let budgets = parked.findings.iter().filter(|finding| is_budget(finding));
    text.list("of its budgets it would take", budgets.map(|one| finding::describe(one, registry)));
    text.list("like it", like_it(state, request));
    text.line(replaced(request, registry, parking.fee_most));
    text.line(format!("book: {}", bare(book.hash().0)));
    text.line(format!("digest: {}", request.digest()));
    text.line(format!("asked at: {}", rfc3339(parking.at.0)));
    text.line(format!("votes until: {}", rfc3339(parking.expires.0)));
    text.line(format!("to be signed until: {}", rfc3339(parking.execute_until.0)));
    text.0
}

/// What is proposed, by whom, until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal<'a> {
    pub(crate) act: &'a Act,
    pub(crate) by: &'a PersonId,
    pub(crate) reason: &'a str,
    pub(crate) seq: Sequence,
    pub(crate) at: Millis,
    pub(crate) expires: Millis,
    pub(crate) execute_until: Millis,
    pub(crate) terms: &'a Terms,
    /// What a book would change.
    pub(crate) change: Option<&'a Change>,
}

/// What people sign of a proposal.
pub(crate) fn proposal(state: &State, proposal: &Proposal<'_>) -> String {
    let mut text = Text::begin("approval", Some(&bare(state.vault().0)));
    text.line(format!("proposal: {}", proposal.seq));
    text.line(format!("proposed by: {}", proposal.by));
    act(state, proposal, &mut text);
    text.list("after that", missing(state, proposal.act));
    text.line(format!("reason: {}", quoted(proposal.reason)));
    text.line(format!("takes: {}", proposal.terms));
    if proposal.act.is_bound_to_the_book() {
        text.line(format!("book: {}", bare(state.book().hash().0)));
    }
    text.line(format!("proposed at: {}", rfc3339(proposal.at.0)));
    text.line(format!("votes until: {}", rfc3339(proposal.expires.0)));
    text.line(format!("to be done until: {}", rfc3339(proposal.execute_until.0)));
    text.0
}

fn act(state: &State, proposal: &Proposal<'_>, text: &mut Text) {
    match proposal.act {
        Act::Thaw(thaw) => {
            text.line(format!("act: start again what was stopped: {}", scope(state, &thaw.scope)));
        }
        Act::Revoke(revoke) => {
            let key = key_name(state, revoke.key);
            text.line(format!("act: revoke {key} for good: it will never sign again"));
        }
        Act::Destroy(destroy) => {
            let key = key_name(state, destroy.key);
            text.line(format!("act: destroy {key} in the token: nothing brings it back"));
        }
        Act::Drain(drain) => drain::lines(state, drain, text),
        Act::Adopt(adopt) => {
            text.line(format!("act: adopt the book {}", bare(sha256(adopt.book.as_bytes()))));
            let nothing = Change::default();
            let Change { difference, lines, names, holds } = proposal.change.unwrap_or(&nothing);
            text.list("wider", difference.wider.iter().cloned());
            text.list("narrower", shortened(&difference.narrower));
            text.list("what then holds", holds.iter().cloned());
            text.list("every table that changes", lines.iter().flatten().cloned());
            text.list("where", names.iter().cloned());
        }
        Act::Enrol(enrol) => {
            text.line(format!("act: add the person {}", enrol.person.id));
            text.list("who is", person(&enrol.person));
            text.list("whom the book names already", state.book().mentions(&enrol.person.id));
        }
        Act::Remove(remove) => text.line(format!("act: remove the person {}", remove.person)),
        Act::AddCredential(add) => {
            let (person, what) = (&add.person, credential(&add.credential));
            text.line(format!("act: let {person} sign votes with {what} too"));
        }
        Act::DropCredential(drop) => {
            let DropCredential { person, credential } = drop;
            text.line(format!("act: let {person} no longer sign votes with {credential}"));
        }
        Act::SetRoles(set) => {
            let names = |roles: &BTreeSet<Role>| {
                roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
            };
            let before = state.people().get(&set.person).map(|person| names(&person.roles));
            let (person, before) = (&set.person, before.unwrap_or_default());
            let after = names(&set.roles);
            text.line(format!("act: give {person} the roles {after} instead of {before}"));
        }
        Act::Reinstate(back) => {
            let what = back.credential.as_ref();
            let what = what.map_or_else(|| "all votes".to_owned(), |id| format!("votes by {id}"));
            text.line(format!("act: let {what} of {} count again", back.person));
        }
        Act::Govern(govern) => {
            text.line("act: change what it takes to change the vault");
            let (before, after) = (state.governance(), &govern.governance);
            text.list("it would no longer be possible", no_longer(before, after));
            text.list("it takes now", governance(before));
            text.list("it would take", governance(after));
        }
        Act::AcceptTime(accept) => outage::lines(accept, text),
        Act::CancelRecovery(_) => text.line("act: call off the recovery that was announced"),
    }
}

fn scope(state: &State, scope: &Scope) -> String {
    match scope {
        Scope::Key(key) => key_name(state, *key),
        Scope::All | Scope::Caller(_) | Scope::Tag(_) => scope.to_string(),
    }
}

fn key_name(state: &State, id: KeyId) -> String {
    let key = state.keys().get(&id);
    let (label, address) = key.map_or((String::new(), None), |key| {
        (format!(" {}", key.label), key.made.as_ref().map(|made| made.address))
    });
    let address = address.map(|one| format!(" {}", one.to_checksum(None))).unwrap_or_default();
    format!("key{label}{address} ({id})")
}

fn person(person: &Person) -> Vec<String> {
    let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
    let mut lines =
        vec![format!("{}: {}, known as {}", person.id, roles.join(", "), quoted(&person.control))];
    let signs = person.credentials.iter().map(|one| format!("  signs with {}", credential(one)));
    lines.extend(signs);
    lines
}

/// What somebody signs with: its id, which is a hash over all of it; whether its secret can be
/// copied; and where a passkey is used.
fn credential(credential: &Credential) -> String {
    match credential {
        Credential::Ssh(_) if credential.could_be() == Strength::File => {
            format!("{}, an SSH key in a file", credential.id())
        }
        Credential::Ssh(_) => format!("{}, a security key", credential.id()),
        Credential::Passkey(passkey) => {
            let origins: Vec<String> = passkey.origins.iter().map(|one| quoted(one)).collect();
            format!("{}, a passkey at {}", credential.id(), origins.join(", "))
        }
    }
}

fn governance(governance: &Governance) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (deed, rule) in &governance.quorums {
        lines.push(format!("{deed}: {}, {}", rule.need, rule.manner()));
    }
    if let Some(recovery) = &governance.recovery {
        let (need, of) = (recovery.need, recovery.credentials.len());
        lines.push(format!(
            "recovery: {need} of {of} offline credentials, after {}",
            recovery.delay
        ));
        lines.extend(recovery.credentials.iter().map(|one| format!("  {}", credential(one))));
    }
    lines
}

/// What would then be missing, until somebody else is there: what hangs on one person, who could be
/// lost, and what nobody can do.
fn missing(state: &State, act: &Act) -> Vec<String> {
    if !act.takes_away() {
        return Vec::new();
    }
    let (mut people, mut governance) = (state.people().clone(), state.governance().clone());
    act.apply_to(&mut people, &mut governance);
    governance.news_since(&people, (state.governance(), state.people()))
}

/// What people could do together, and then could not.
fn no_longer(before: &Governance, after: &Governance) -> Vec<String> {
    let lost = before.quorums.keys().filter(|deed| !after.quorums.contains_key(deed));
    let mut lines: Vec<String> = lost.map(|deed| format!("{deed}: nobody could")).collect();
    if before.recovery.is_some() && after.recovery.is_none() {
        lines.push("recovery: no offline credentials".into());
    }
    lines
}

/// The most that a replacement may cost in fees, if the request can be replaced: twice what was
/// asked, and never more than one transaction may cost.
pub(crate) fn fee_most(request: &Request, book: &Book, rules: Option<&KeyRules>) -> Option<Amount> {
    let tx = request.transaction()?;
    let asked = tx.worst_case_fee()?;
    let twice = asked.checked_add(asked)?;
    let limit = rules.and_then(|rules| rules.fees.as_ref()).map(|fees| fees.limits.per_tx);
    let registry = book.registry();
    let l1_fee = registry.chain(tx.chain()).and_then(|chain| chain.l1_fee).unwrap_or(Amount::ZERO);
    match limit? {
        crate::book::Limit::Unlimited => Some(twice),
        // The limit is of the whole fee, that of layer 1 included.
        crate::book::Limit::AtMost(most) => {
            Some(twice.min(most.checked_sub(l1_fee).unwrap_or(Amount::ZERO)).max(asked))
        }
    }
}

/// Lines of one kind that people read: a book that widens in more ways is not proposed.
pub(crate) const LINES_MAX: usize = 300;
