//! What people do together: whether an act can be done as things stand, and what it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::act::{Act, ActFault, AdoptBook};
use crate::book::{Book, Change};
use crate::governance::Governance;
use crate::id::{KeyId, PersonId, Sequence};
use crate::pending::{PROPOSALS_MAX, ProposedSubject, Subject, Waiting};
use crate::quorum::Vote;
use crate::record::{Entry, Executed, Matter, Proposed};
use crate::statement::{self, LINES_MAX, Proposal};
use crate::stops::Scope;
use crate::time::Interval;

use super::faults::{ExecutionFault, ProposalFault};
use super::votes::REASON_MAX;
use super::{State, Unfoldable};

impl State {
    /// A proposal of this very act, as it would be recorded next, or was.
    pub(crate) fn propose_as_it_is(
        &self,
        (by, act, reason): (&PersonId, Act, String),
        now: Interval,
    ) -> Result<Proposed, ProposalFault> {
        let member = self.people.member(by).ok_or_else(|| ProposalFault::NoPerson(by.clone()))?;
        if member.suspended {
            return Err(ProposalFault::Suspended(by.clone()));
        }
        if !(1..=REASON_MAX).contains(&reason.chars().count()) {
            return Err(ProposalFault::Reason);
        }
        if self.pending.proposals_of(by, now.possible) >= PROPOSALS_MAX {
            return Err(ProposalFault::TooMany(by.clone()));
        }
        let book = self.expected_book(&act);
        self.check_act_with(&act, book.as_ref())?;
        self.check_moment(&act, now)?;
        if let Act::AcceptTime(accept) = &act {
            self.check_named(accept, now)?;
        }
        let deed = act.deed();
        let takes = self.governance.quorums.get(&deed).cloned();
        let takes = takes.ok_or(ActFault::NoQuorum(deed))?;
        let subject = ProposedSubject { act, by: by.clone(), takes, book: None };
        let [terms, _] = self.terms_of(&subject).ok_or(ActFault::NoQuorum(deed))?;
        if !terms.need.is_met(|person| person != by && !subject.act.is_about(person)) {
            let need = terms.need.to_string();
            return Err(ActFault::OutOfReach { need, by: by.clone() }.into());
        }
        let expires = now.possible.plus(terms.expires);
        let execute_until = expires.plus(terms.execute);
        let proposal = Proposal {
            act: &subject.act,
            by,
            reason: &reason,
            seq: self.head.next(),
            at: now.possible,
            expires,
            execute_until,
            terms: &terms,
            change: book.as_ref().map(|(_, change)| &**change),
        };
        let statement = statement::proposal(self, &proposal);
        let (act, by) = (subject.act, by.clone());
        Ok(Proposed { act, by, execute_until, expires, reason, statement })
    }

    /// The book that an act would adopt, parsed and compared: what was prepared outside, if it is
    /// that one. Whoever has no time for it sees to it that it is.
    fn expected_book(&self, act: &Act) -> Option<(Arc<Book>, Arc<Change>)> {
        let Act::Adopt(AdoptBook { book: text }) = act else { return None };
        let prepared = self
            .prepared
            .as_ref()
            .filter(|prepared| prepared.book.text() == text && prepared.base == self.book.hash());
        if let Some(prepared) = prepared {
            return Some((prepared.book.clone(), prepared.change.clone()));
        }
        let book = Book::parse_for(text, self.environment).ok()?;
        let change = self.book.change(&book);
        Some((Arc::new(book), Arc::new(change)))
    }

    pub(super) fn proposed(
        &mut self,
        entry: &Entry,
        proposed: &Proposed,
    ) -> Result<(), Unfoldable> {
        let unfit = || Unfoldable::Proposed(entry.seq);
        let known = self.people.get(&proposed.by).is_some();
        // What a book would change, and in which words, is for the verifier to compare: it takes
        // long, and many that were proposed are never adopted.
        let prepared = self.prepared.take().map(|prepared| prepared.book);
        let (checked, book) = if let Act::Adopt(adopt) = &proposed.act {
            (true, prepared.filter(|book| book.text() == adopt.book))
        } else {
            (self.check_act(&proposed.act).is_ok(), None)
        };
        let takes = self.governance.quorums.get(&proposed.act.deed()).cloned();
        let takes = takes.filter(|_| known && checked).ok_or_else(unfit)?;
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
        self.check_act_with(act, self.expected_book(act).as_ref())
    }

    fn check_act_with(
        &self,
        act: &Act,
        expected: Option<&(Arc<Book>, Arc<Change>)>,
    ) -> Result<(), ActFault> {
        match act {
            Act::AcceptTime(accept) => self.check_reading(accept),
            Act::Thaw(thaw) => self.check_thaw(&thaw.scope),
            Act::Revoke(revoke) => self.check_revoke(revoke.key),
            Act::Destroy(destroy) => self.check_destroy(destroy.key),
            Act::Drain(drain) => self.check_drain(drain),
            Act::Adopt(adopt) => {
                if *self.book.text() == adopt.book {
                    return Err(ActFault::SameBook);
                }
                let (book, change) = expected.ok_or(ActFault::FaultyBook)?;
                self.check_callers(book)?;
                let told = [&change.difference.wider, &change.names, &change.holds].map(Vec::len);
                let told = told.iter().fold(0_usize, |sum, more| sum.saturating_add(*more));
                match (change.difference.wider.len(), &change.lines) {
                    (0, _) => Err(ActFault::OnlyNarrows),
                    (_, Some(_)) if told <= LINES_MAX => Ok(()),
                    _ => Err(ActFault::TooLong),
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

    /// Whether a stop covers this key, whoever asks.
    pub(super) fn is_stopped(&self, id: KeyId) -> bool {
        let tags = self.keys.get(&id).map(|key| key.tags.clone()).unwrap_or_default();
        self.stops.iter().any(|scope| scope.covers_key(id, &tags))
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
        let before = (&self.governance, &self.people);
        // Who is hostile, or whose key is stolen, must not stay for the sake of order: whatever is
        // then missing can be mended as long as people can be changed.
        if act.takes_away() && governance.people_change_people(&people, None) {
            return Ok(());
        }
        let new = governance.faults_since(&people, before);
        if new.is_empty() { Ok(()) } else { Err(ActFault::Ungovernable(new)) }
    }

    pub(super) fn is_about_a_canary(&self, act: &Act) -> bool {
        act.key().and_then(|key| self.keys.get(&key)).is_some_and(|key| key.purpose == CANARY)
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
        let by = |person: &PersonId| *person == proposed.by || proposed.act.is_about(person);
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
        let member = self.people.member(by).ok_or_else(|| ExecutionFault::NoPerson(by.clone()))?;
        if member.suspended {
            return Err(ExecutionFault::Suspended(by.clone()));
        }
        match &proposed.act {
            // It was compared with the book in force; another one would have ended the proposal.
            Act::Adopt(_) => {
                let book = book_of(proposed).ok_or(ActFault::FaultyBook)?;
                self.check_callers(&book)?;
            }
            Act::AcceptTime(_)
            | Act::AddCredential(_)
            | Act::CancelRecovery(_)
            | Act::Destroy(_)
            | Act::Drain(_)
            | Act::DropCredential(_)
            | Act::Enrol(_)
            | Act::Govern(_)
            | Act::Reinstate(_)
            | Act::Remove(_)
            | Act::Revoke(_)
            | Act::SetRoles(_)
            | Act::Thaw(_) => self.check_act(&proposed.act)?,
        }
        self.check_moment(&proposed.act, now)?;
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
            Act::Thaw(thaw) => {
                self.stops.remove(&thaw.scope);
                // Whoever starts a key again wants its own rules back.
                if let Scope::Key(key) = &thaw.scope {
                    self.forget_drain(*key);
                }
                let started: BTreeSet<KeyId> =
                    self.keys.keys().copied().filter(|key| !self.is_stopped(*key)).collect();
                self.pending.thaw(|key| started.contains(&key));
            }
            Act::Revoke(revoke) => {
                self.revoked.insert(revoke.key);
                // Whatever else is thawed later: this key stays stopped by a stop of its own.
                self.stops.add(Scope::Key(revoke.key));
                self.end_drains_of(revoke.key);
            }
            Act::AcceptTime(accept) => self.accept_time(accept, entry.at).map_err(|_| unfit())?,
            Act::Destroy(destroy) => self.intend_removal(entry, destroy.key),
            Act::Drain(drain) => self.begin_drain(entry, drain)?,
            Act::Adopt(_) => {
                let book = book_of(&proposed).ok_or_else(unfit)?;
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
                if let Act::Remove(remove) = &proposed.act {
                    self.pending.void(&remove.person, None);
                } else if let Act::SetRoles(set) = &proposed.act {
                    self.pending.void(&set.person, None);
                } else if let Act::DropCredential(drop) = &proposed.act {
                    self.pending.void(&drop.person, Some(&drop.credential));
                }
            }
        }
        self.narrowed = entry.seq;
        Ok(())
    }

    /// What of an act hangs on the moment: whether what lasts until a time would still begin before
    /// it, and whether sure time would go forward.
    fn check_moment(&self, act: &Act, now: Interval) -> Result<(), ActFault> {
        match act {
            Act::Drain(drain) => Ok(drain.plan.check_end(now.possible)?),
            Act::AcceptTime(accept) => self.sure_after(accept, now).map(drop),
            Act::AddCredential(_)
            | Act::Adopt(_)
            | Act::CancelRecovery(_)
            | Act::Destroy(_)
            | Act::DropCredential(_)
            | Act::Enrol(_)
            | Act::Govern(_)
            | Act::Reinstate(_)
            | Act::Remove(_)
            | Act::Revoke(_)
            | Act::SetRoles(_)
            | Act::Thaw(_) => Ok(()),
        }
    }

    /// Parses the books that wait to be adopted, so that whoever has no time for it later need not.
    pub fn parse_proposed_books(&mut self) {
        self.pending.change_subjects(|subject| {
            if let Subject::Proposed(proposed) = subject {
                proposed.book = book_of(proposed);
            }
        });
    }

    /// What it takes to change the vault.
    pub fn governance(&self) -> &Governance {
        &self.governance
    }
}

/// The book that a proposal would adopt, parsed.
fn book_of(proposed: &ProposedSubject) -> Option<Arc<Book>> {
    let Act::Adopt(AdoptBook { book: text }) = &proposed.act else { return None };
    proposed.book.clone().or_else(|| Book::parse(text).ok().map(Arc::new))
}

pub(super) fn is_caller(book: &Book, control: &str) -> bool {
    control.parse().ok().is_some_and(|caller| book.caller(&caller).is_some())
}

/// The purpose of keys that are there to practise on.
pub const CANARY: &str = "canary";
