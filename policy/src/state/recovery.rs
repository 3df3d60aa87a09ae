//! When the people or what they sign with are lost: announced, waited for, and carried out.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::credential::{Credential, Purpose};
use crate::governance::Recovery;
use crate::id::{Sequence, VaultId};
use crate::people::People;
use crate::record::{Entry, Recovered, RecoveryBegun, Signature};
use crate::request::sha256;
use crate::statement::{self};
use crate::stops::Scope;
use crate::time::{Interval, Millis};

use super::acts::is_caller;
use super::faults::RecoveryFault;
use super::{State, Unfoldable};

/// A recovery that was announced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announced {
    /// The record that announced it.
    pub begun: Sequence,
    /// When, in sure time.
    pub at: Millis,
    /// What will be.
    pub what: RecoveryBegun,
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
        if now.possible >= renewal.expires {
            return Err(RecoveryFault::Expired);
        }
        if renewal.expires > now.possible.plus(RECOVERY_STATEMENT_MAX) {
            return Err(RecoveryFault::TooLong);
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
        self.stop_drains(&Scope::All);
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
        self.stop_drains(&Scope::All);
        self.people = People::new(&renewal.people).unwrap_or_default();
        self.governance = renewal.governance;
        // What those before agreed to is theirs no more. Everything stays stopped.
        self.pending.clear();
        self.narrowed = entry.seq;
        Ok(())
    }

    /// A recovery that was announced.
    pub fn recovery(&self) -> Option<&Announced> {
        self.recovery.as_ref()
    }
}

/// A recovery statement is good for at most so long: one that lies about could be used for ever.
pub(super) const RECOVERY_STATEMENT_MAX: crate::time::Span = crate::time::Span(30 * 86_400_000);
