//! What people do together: whether an act can be done as things stand, and what it changes.

use std::sync::Arc;

use alloy_primitives::B256;

use crate::act::{Act, ActFault, AdoptBook};
use crate::book::{Book, Difference};
use crate::credential::{Credential, Purpose};
use crate::governance::{Governance, Recovery};
use crate::id::{KeyId, PersonId, Sequence, VaultId};
use crate::pending::{PROPOSALS_MAX, ProposedSubject, Subject, Waiting};
use crate::people::People;
use crate::quorum::Vote;
use crate::record::{
    Entry, Executed, Matter, Proposed, RECOVERY_CREDENTIALS_MAX, RECOVERY_PEOPLE_MAX, Recovered,
    RecoveryBegun, Signature,
};
use crate::request::sha256;
use crate::statement::{self, LINES_MAX, Proposal};
use crate::stops::Scope;
use crate::time::{Interval, Millis};

use super::votes::REASON_MAX;
use super::{State, Unfoldable};

/// A recovery that was announced.
#[derive(Clone, Debug)]
pub struct Announced {
    /// The record that announced it.
    pub begun: Sequence,
    /// When, in sure time.
    pub at: Millis,
    /// What will be.
    pub what: RecoveryBegun,
}

/// Why a proposal cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposalFault {
    /// The act cannot be done as things stand.
    #[error(transparent)]
    Act(#[from] ActFault),
    /// Too many of one person wait.
    #[error("{PROPOSALS_MAX} proposals of {0} wait already: withdraw one")]
    TooMany(PersonId),
    /// A reason is missing, or longer than anybody reads.
    #[error("say why, in 1 to {REASON_MAX} characters")]
    Reason,
    /// Nobody of that id.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
}

/// Why a proposal is not executed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExecutionFault {
    /// Nothing of that number waits.
    #[error(
        "nothing of that number waits: it was done, withdrawn, has expired, or a new book came"
    )]
    NoMatter,
    /// Somebody rejected it.
    #[error("{0} rejected it, which ended it")]
    Rejected(PersonId),
    /// It is too late.
    #[error("it is too late: it had to be done before {}", crate::utc::rfc3339(.0.0))]
    Expired(Millis),
    /// Not enough people have agreed, or not long enough ago.
    #[error("it takes {0}, and not enough votes count yet")]
    NotMet(String),
    /// It can no longer be done.
    #[error(transparent)]
    Act(#[from] ActFault),
    /// Whoever asks for it is nobody here any more.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
}

/// Why a recovery is not announced, or not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecoveryFault {
    /// Genesis names no recovery credentials.
    #[error("the vault has no recovery credentials")]
    None,
    /// One is announced already.
    #[error("a recovery is announced already, by record {0}")]
    Announced(Sequence),
    /// Not announced, or called off.
    #[error("no recovery of that number is announced")]
    NotAnnounced,
    /// Too old, or announced once before.
    #[error("its statement is no longer good: it has expired, or was used before")]
    Expired,
    /// Too early.
    #[error("the delay is not over: not before {}", crate::utc::rfc3339(.0.0))]
    TooEarly(Millis),
    /// Not enough recovery credentials signed, or a new one did not.
    #[error("it takes the signatures of {need} recovery credentials, and of each new credential")]
    Signatures {
        /// How many.
        need: u64,
    },
    /// What would be cannot be.
    #[error("it would leave the vault without what it takes: {}", .0.join("; "))]
    Ungovernable(Vec<String>),
    /// More than anybody needs.
    #[error(
        "at most {RECOVERY_PEOPLE_MAX} people with {RECOVERY_CREDENTIALS_MAX} credentials, one \
         signature each, and no more words than people read"
    )]
    Oversized,
}

impl ProposalFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Act(fault) => fault.code(),
            Self::TooMany(_) => "TOO_MANY_PROPOSALS",
            Self::Reason => "REASON_MISSING",
            Self::NoPerson(_) => "PERSON_UNKNOWN",
        }
    }
}

impl ExecutionFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoMatter => "APPROVAL_GONE",
            Self::Rejected(_) => "REJECTED",
            Self::Expired(_) => "APPROVAL_EXPIRED",
            Self::NotMet(_) => "QUORUM_NOT_MET",
            Self::Act(fault) => fault.code(),
            Self::NoPerson(_) => "PERSON_UNKNOWN",
        }
    }
}

impl RecoveryFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::None => "NO_RECOVERY_CREDENTIALS",
            Self::Announced(_) => "RECOVERY_ANNOUNCED",
            Self::NotAnnounced => "NO_RECOVERY",
            Self::Expired => "RECOVERY_EXPIRED",
            Self::TooEarly(_) => "RECOVERY_TOO_EARLY",
            Self::Signatures { .. } => "RECOVERY_SIGNATURES",
            Self::Oversized => "RECOVERY_TOO_LARGE",
            Self::Ungovernable(_) => "UNGOVERNABLE",
        }
    }
}

impl RecoveryBegun {
    /// Whether everybody signed whom it takes: as many recovery credentials as are needed, and each
    /// credential of the new people.
    ///
    /// # Errors
    ///
    /// What is missing, or that it is too large to be looked at.
    pub fn check_signatures(
        &self,
        vault: &VaultId,
        recovery: Option<&Recovery>,
    ) -> Result<(), RecoveryFault> {
        let recovery = recovery.ok_or(RecoveryFault::None)?;
        if self.is_oversized() {
            return Err(RecoveryFault::Oversized);
        }
        let text = statement::recovery(&hex::encode(vault.0), &self.renewal);
        let signed = |credential: &&Credential| {
            let id = credential.id();
            // The first of a credential is the one that is looked at.
            let own = self.signatures.iter().find(|one| one.credential == id);
            own.is_some_and(|Signature { evidence, .. }| {
                credential.verify(Purpose::Recovery, text.as_bytes(), evidence).is_ok()
            })
        };
        let offline = recovery.credentials.iter().filter(signed).count();
        let enough = u64::try_from(offline).is_ok_and(|offline| offline >= recovery.need);
        let mut new = self.renewal.people.iter().flat_map(|person| &person.credentials);
        let agreed = enough && new.all(|credential| signed(&credential));
        if agreed { Ok(()) } else { Err(RecoveryFault::Signatures { need: recovery.need }) }
    }
}

impl State {
    /// A proposal as it would be recorded next.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    pub fn propose(
        &self,
        (by, act, reason): (&PersonId, Act, String),
        now: Interval,
    ) -> Result<Proposed, ProposalFault> {
        if self.people.get(by).is_none() {
            return Err(ProposalFault::NoPerson(by.clone()));
        }
        if !(1..=REASON_MAX).contains(&reason.chars().count()) {
            return Err(ProposalFault::Reason);
        }
        if self.pending.proposals_of(by, now.possible) >= PROPOSALS_MAX {
            return Err(ProposalFault::TooMany(by.clone()));
        }
        self.check_act(&act)?;
        let deed = act.deed();
        let takes = self.governance.quorums.get(&deed).cloned();
        let takes = takes.ok_or(ActFault::NoQuorum(deed))?;
        let subject = ProposedSubject { act, by: by.clone(), takes, book: None };
        let [terms, _] = self.terms_of(&subject).ok_or(ActFault::NoQuorum(deed))?;
        if !terms.need.is_met(|person| person != by) {
            let need = terms.need.to_string();
            return Err(ActFault::OutOfReach { need, by: by.clone() }.into());
        }
        let expires = now.possible.plus(terms.expires);
        let execute_until = expires.plus(terms.execute);
        let book = self.expected_book(&subject.act);
        let proposal = Proposal {
            act: &subject.act,
            by,
            reason: &reason,
            seq: self.head.next(),
            at: now.possible,
            expires,
            execute_until,
            terms: &terms,
            difference: book.as_ref().map(|(_, difference)| &**difference),
        };
        let statement = statement::proposal(self, &proposal);
        let (act, by) = (subject.act, by.clone());
        Ok(Proposed { act, by, execute_until, expires, reason, statement })
    }

    /// The book that an act would adopt, parsed and compared: what was prepared outside, if it is
    /// that one.
    fn expected_book(&self, act: &Act) -> Option<(Arc<Book>, Arc<Difference>)> {
        let Act::Adopt(AdoptBook { book: text }) = act else { return None };
        let prepared = self
            .prepared
            .as_ref()
            .filter(|prepared| prepared.book.text() == text && prepared.base == self.book.hash());
        if let Some(prepared) = prepared {
            return Some((prepared.book.clone(), prepared.difference.clone()));
        }
        let book = Book::parse(text).ok()?;
        let difference = self.book.difference(&book);
        Some((Arc::new(book), Arc::new(difference)))
    }

    pub(super) fn proposed(
        &mut self,
        entry: &Entry,
        proposed: &Proposed,
    ) -> Result<(), Unfoldable> {
        let unfit = || Unfoldable::Proposed(entry.seq);
        let known = self.people.get(&proposed.by).is_some();
        let checked = self.check_act(&proposed.act).is_ok();
        let takes = self.governance.quorums.get(&proposed.act.deed()).cloned();
        let takes = takes.filter(|_| known && checked).ok_or_else(unfit)?;
        // In which words is for the verifier to compare: a text may be put better one day, and the
        // journals of today must still start.
        let book = self.expected_book(&proposed.act);
        self.prepared = None;
        let (act, by) = (proposed.act.clone(), proposed.by.clone());
        let waiting = Waiting {
            sequence: entry.seq,
            subject: Subject::Proposed(ProposedSubject { act, by, takes, book }),
            statement: proposed.statement.as_str().into(),
            expires: proposed.expires,
            execute_until: proposed.execute_until,
            votes: Vec::new(),
            rejected: None,
        };
        self.pending.begin(Matter::Proposal(entry.seq), waiting);
        Ok(())
    }

    /// Whether an act can be done as things stand, and would leave the vault governable.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_act(&self, act: &Act) -> Result<(), ActFault> {
        match act {
            Act::Thaw(thaw) => self.check_thaw(&thaw.scope),
            Act::Revoke(revoke) => self.check_revoke(revoke.key),
            Act::Adopt(adopt) => {
                if *self.book.text() == adopt.book {
                    return Err(ActFault::SameBook);
                }
                let (book, difference) = self.expected_book(act).ok_or(ActFault::FaultyBook)?;
                self.check_callers(&book)?;
                match difference.wider.len() {
                    0 => Err(ActFault::OnlyNarrows),
                    lines if lines > LINES_MAX => Err(ActFault::TooLong(lines)),
                    _ => Ok(()),
                }
            }
            Act::CancelRecovery(_) => {
                self.recovery.as_ref().map(|_| ()).ok_or(ActFault::NoRecovery)
            }
            Act::AddCredential(_)
            | Act::DropCredential(_)
            | Act::Enrol(_)
            | Act::Govern(_)
            | Act::Reinstate(_)
            | Act::Remove(_)
            | Act::SetRoles(_) => self.check_people(act),
        }
    }

    fn check_thaw(&self, scope: &Scope) -> Result<(), ActFault> {
        if self.recovery.is_some() {
            return Err(ActFault::Recovering);
        }
        if let Scope::Key(key) = scope
            && self.revoked.contains(key)
        {
            return Err(ActFault::Revoked(*key));
        }
        let stopped = self.stops.iter().any(|stop| stop == scope);
        if stopped { Ok(()) } else { Err(ActFault::NotStopped(scope.to_string())) }
    }

    /// A service's certificate gets no control verb.
    fn check_callers(&self, book: &Book) -> Result<(), ActFault> {
        let mut controls = self.people.iter().map(|(_, member)| &member.person.control);
        let both = controls.find(|control| is_caller(book, control));
        both.map_or(Ok(()), |control| Err(ActFault::AlsoCaller(control.clone())))
    }

    fn check_revoke(&self, id: KeyId) -> Result<(), ActFault> {
        let key = self.keys.get(&id).filter(|key| key.made.is_some());
        let key = key.ok_or(ActFault::NoKey(id))?;
        if self.revoked.contains(&id) {
            return Err(ActFault::Revoked(id));
        }
        let covers = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::Key(stopped) => *stopped == id,
            Scope::Tag(tag) => key.tags.contains(tag),
            Scope::Caller(_) => false,
        };
        if self.stops.iter().any(covers) { Ok(()) } else { Err(ActFault::NotFrozen(id)) }
    }

    fn check_people(&self, act: &Act) -> Result<(), ActFault> {
        act.check_people(&self.people, &hex::encode(self.vault.0))?;
        let control = if let Act::Enrol(enrol) = act { Some(&enrol.person.control) } else { None };
        if let Some(control) = control
            && is_caller(&self.book, control)
        {
            return Err(ActFault::AlsoCaller(control.clone()));
        }
        let (mut people, mut governance) = (self.people.clone(), self.governance.clone());
        act.apply_to(&mut people, &mut governance);
        let faults = governance.faults(&people);
        // Taking rights away must not wait until everything else is in order.
        let before = self.governance.faults(&self.people);
        let new: Vec<String> = faults.into_iter().filter(|one| !before.contains(one)).collect();
        if new.is_empty() { Ok(()) } else { Err(ActFault::Ungovernable(new)) }
    }

    pub(super) fn is_about_a_canary(&self, act: &Act) -> bool {
        let key = match act {
            Act::Thaw(thaw) => {
                if let Scope::Key(key) = &thaw.scope {
                    Some(*key)
                } else {
                    None
                }
            }
            Act::Revoke(revoke) => Some(revoke.key),
            Act::AddCredential(_)
            | Act::Adopt(_)
            | Act::CancelRecovery(_)
            | Act::DropCredential(_)
            | Act::Enrol(_)
            | Act::Govern(_)
            | Act::Reinstate(_)
            | Act::Remove(_)
            | Act::SetRoles(_) => None,
        };
        key.and_then(|key| self.keys.get(&key)).is_some_and(|key| key.purpose == CANARY)
    }

    /// Who of those asked has agreed so far, and whether that is enough now.
    pub fn standing(&self, waiting: &Waiting, now: Interval) -> (Vec<(Vote, Sequence)>, bool) {
        let mut counted = Vec::new();
        self.count(waiting, |vote, at| counted.push((vote, at)));
        let Some(proposed) = waiting.proposed() else { return (counted, false) };
        let votes: Vec<Vote> = counted.iter().map(|(vote, _)| vote.clone()).collect();
        let enough = self.have_agreed(proposed, &votes, now);
        (counted, enough)
    }

    /// Whether these votes are enough for a proposal by now.
    pub(super) fn have_agreed(
        &self,
        proposed: &ProposedSubject,
        votes: &[Vote],
        now: Interval,
    ) -> bool {
        let by = |person: &PersonId| *person == proposed.by;
        let terms = self.terms_of(proposed);
        terms.is_some_and(|all| all.iter().all(|terms| terms.are_met(votes, now, by)))
    }

    /// The execution of a proposal as it would be recorded next.
    ///
    /// # Errors
    ///
    /// Why it is not to be done now.
    pub fn execution(
        &self,
        by: &PersonId,
        proposal: Sequence,
        now: Interval,
    ) -> Result<Executed, ExecutionFault> {
        let waiting = self.pending.get(&Matter::Proposal(proposal));
        let waiting = waiting.ok_or(ExecutionFault::NoMatter)?;
        let proposed = waiting.proposed().ok_or(ExecutionFault::NoMatter)?;
        if let Some((who, _)) = &waiting.rejected {
            return Err(ExecutionFault::Rejected(who.clone()));
        }
        if now.possible >= waiting.execute_until {
            return Err(ExecutionFault::Expired(waiting.execute_until));
        }
        let (counted, enough) = self.standing(waiting, now);
        if !enough {
            let terms = self.terms_of(proposed);
            let words = terms.map_or_else(|| "a quorum".to_owned(), |[terms, _]| terms.to_string());
            return Err(ExecutionFault::NotMet(words));
        }
        if self.people.get(by).is_none() {
            return Err(ExecutionFault::NoPerson(by.clone()));
        }
        match &proposed.act {
            // It was compared with the book in force; another one would have ended the proposal.
            Act::Adopt(_) => {
                let (book, _) = proposed.book.as_ref().ok_or(ActFault::FaultyBook)?;
                self.check_callers(book)?;
            }
            act => self.check_act(act)?,
        }
        let votes = counted.into_iter().map(|(_, at)| at).collect();
        Ok(Executed { by: by.clone(), proposal, votes })
    }

    pub(super) fn execute(&mut self, entry: &Entry, done: &Executed) -> Result<(), Unfoldable> {
        let unfit = || Unfoldable::Executed(entry.seq);
        let again = self.execution(&done.by, done.proposal, entry.at).map_err(|_| unfit())?;
        if again != *done {
            return Err(unfit());
        }
        let waiting = self.pending.end(&Matter::Proposal(done.proposal)).ok_or_else(unfit)?;
        let Subject::Proposed(proposed) = waiting.subject else { return Err(unfit()) };
        match &proposed.act {
            Act::Thaw(thaw) => self.stops.remove(&thaw.scope),
            Act::Revoke(revoke) => {
                self.revoked.insert(revoke.key);
                // Whatever else is thawed later: this key stays stopped by a stop of its own.
                self.stops.add(Scope::Key(revoke.key));
            }
            Act::Adopt(_) => {
                let (book, _) = proposed.book.ok_or_else(unfit)?;
                self.put_in_force(entry, book);
            }
            Act::CancelRecovery(_) => self.recovery = None,
            Act::AddCredential(_)
            | Act::DropCredential(_)
            | Act::Enrol(_)
            | Act::Govern(_)
            | Act::Reinstate(_)
            | Act::Remove(_)
            | Act::SetRoles(_) => {
                proposed.act.apply_to(&mut self.people, &mut self.governance);
            }
        }
        self.narrowed = entry.seq;
        Ok(())
    }

    /// Whether a recovery may be announced now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_recovery(
        &self,
        begun: &RecoveryBegun,
        now: Interval,
    ) -> Result<(), RecoveryFault> {
        if let Some(announced) = &self.recovery {
            return Err(RecoveryFault::Announced(announced.begun));
        }
        if self.governance.recovery.is_none() {
            return Err(RecoveryFault::None);
        }
        let renewal = &begun.renewal;
        if now.possible >= renewal.expires
            || renewal.expires > now.possible.plus(RECOVERY_STATEMENT_MAX)
        {
            return Err(RecoveryFault::Expired);
        }
        if begun.is_oversized() {
            return Err(RecoveryFault::Oversized);
        }
        if self.spent.contains(&self.spending(begun)) {
            return Err(RecoveryFault::Expired);
        }
        let governance = &renewal.governance;
        let controls = renewal.people.iter().map(|person| &person.control);
        let faults = match People::new(&renewal.people) {
            Some(_) if controls.into_iter().any(|control| is_caller(&self.book, control)) => {
                vec!["a person's control certificate is a caller's in the book".into()]
            }
            Some(people) => governance.faults(&people),
            None => vec!["two people share an id, a certificate or a credential".into()],
        };
        if !faults.is_empty() {
            return Err(RecoveryFault::Ungovernable(faults));
        }
        begun.check_signatures(&self.vault, self.governance.recovery.as_ref())
    }

    /// A statement that was announced is in the journal for everybody to see and to use again.
    fn spending(&self, begun: &RecoveryBegun) -> (Millis, B256) {
        let text = statement::recovery(&hex::encode(self.vault.0), &begun.renewal);
        (begun.renewal.expires, sha256(text.as_bytes()))
    }

    pub(super) fn announce(
        &mut self,
        entry: &Entry,
        begun: &RecoveryBegun,
    ) -> Result<(), Unfoldable> {
        let checked = self.check_recovery(begun, entry.at);
        checked.map_err(|fault| Unfoldable::Recovery(entry.seq, fault))?;
        self.spent.retain(|(expires, _)| *expires > entry.at.sure);
        self.spent.insert(self.spending(begun));
        self.stops.add(Scope::All);
        self.pending.stop(|_| true);
        self.narrowed = entry.seq;
        let (at, what) = (entry.at.sure, begun.clone());
        self.recovery = Some(Announced { begun: entry.seq, at, what });
        Ok(())
    }

    /// Whether an announced recovery may be carried out now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_recovered(&self, begun: Sequence, now: Interval) -> Result<(), RecoveryFault> {
        let announced = self.recovery.as_ref().filter(|announced| announced.begun == begun);
        let announced = announced.ok_or(RecoveryFault::NotAnnounced)?;
        let delay = self.governance.recovery.as_ref().map(|recovery| recovery.delay);
        let from = announced.at.plus(delay.ok_or(RecoveryFault::None)?);
        if now.sure >= from { Ok(()) } else { Err(RecoveryFault::TooEarly(from)) }
    }

    pub(super) fn recover(&mut self, entry: &Entry, done: &Recovered) -> Result<(), Unfoldable> {
        let checked = self.check_recovered(done.begun, entry.at);
        checked.map_err(|fault| Unfoldable::Recovery(entry.seq, fault))?;
        let Some(announced) = self.recovery.take() else { return Ok(()) };
        let renewal = announced.what.renewal;
        self.stops.add(Scope::All);
        self.people = People::new(&renewal.people).unwrap_or_default();
        self.governance = renewal.governance;
        // What those before agreed to is theirs no more. Everything stays stopped.
        self.pending.clear();
        self.narrowed = entry.seq;
        Ok(())
    }

    /// What it takes to change the vault.
    pub fn governance(&self) -> &Governance {
        &self.governance
    }

    /// A recovery that was announced.
    pub fn recovery(&self) -> Option<&Announced> {
        self.recovery.as_ref()
    }
}

fn is_caller(book: &Book, control: &str) -> bool {
    control.parse().ok().is_some_and(|caller| book.caller(&caller).is_some())
}

/// The purpose of keys that are there to practise on.
pub const CANARY: &str = "canary";

/// A recovery statement is good for at most so long: one that lies about could be used for ever.
const RECOVERY_STATEMENT_MAX: crate::time::Span = crate::time::Span(30 * 86_400_000);
