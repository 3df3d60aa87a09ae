//! What ends what waits: a stop, a thaw, a drain, a new book. Whoever agreed before had not heard
//! of it, and is asked anew.

use super::{Pending, Waiting};
use crate::act::Act;
use crate::id::KeyId;
use crate::record::Matter;
use crate::stops::Scope;

impl Pending {
    /// A stop: whoever agreed to start something again had not heard of it. Ends what would thaw
    /// one of these scopes.
    pub(crate) fn stop(&mut self, covers: impl Fn(&Scope) -> bool) {
        self.end_each(|waiting| {
            let proposed = waiting.proposed();
            proposed.is_some_and(|one| matches!(&one.act, Act::Thaw(thaw) if covers(&thaw.scope)))
        });
    }

    /// A stop: whoever agreed to drain one of these keys had not heard of it.
    pub(crate) fn stop_drains(&mut self, covers: impl Fn(KeyId) -> bool) {
        self.end_each(|waiting| {
            let proposed = waiting.proposed();
            proposed.is_some_and(|one| matches!(&one.act, Act::Drain(drain) if covers(drain.key)))
        });
    }

    /// A thaw: whoever agreed to end or drain one of these keys had not heard of it, and a later
    /// stop would let one person carry it out.
    pub(crate) fn thaw(&mut self, started: impl Fn(KeyId) -> bool) {
        self.end_each(|waiting| {
            let proposed = waiting.proposed();
            proposed.is_some_and(|one| match &one.act {
                Act::Revoke(end) => started(end.key),
                Act::Drain(drain) => started(drain.key),
                Act::AddCredential(_)
                | Act::Adopt(_)
                | Act::CancelRecovery(_)
                | Act::Destroy(_)
                | Act::DropCredential(_)
                | Act::Enrol(_)
                | Act::Govern(_)
                | Act::Reinstate(_)
                | Act::Remove(_)
                | Act::SetRoles(_)
                | Act::Thaw(_) => false,
            })
        });
    }

    /// A drain begins: ends what would start, end or drain this very key otherwise.
    pub(crate) fn drain(&mut self, key: KeyId) {
        self.end_each(|waiting| {
            let proposed = waiting.proposed();
            proposed.is_some_and(|one| match &one.act {
                Act::Drain(other) => other.key == key,
                Act::Revoke(end) => end.key == key,
                Act::Thaw(thaw) => thaw.scope == Scope::Key(key),
                Act::AddCredential(_)
                | Act::Adopt(_)
                | Act::CancelRecovery(_)
                | Act::Destroy(_)
                | Act::DropCredential(_)
                | Act::Enrol(_)
                | Act::Govern(_)
                | Act::Reinstate(_)
                | Act::Remove(_)
                | Act::SetRoles(_) => false,
            })
        });
    }

    /// A new book: what was asked or agreed under the old one is asked anew.
    pub(crate) fn adopt(&mut self) {
        self.end_each(|waiting| {
            waiting.proposed().is_none_or(|proposed| proposed.act.is_bound_to_the_book())
        });
    }

    fn end_each(&mut self, ends: impl Fn(&Waiting) -> bool) {
        let ended = self.matters.iter().filter(|(_, waiting)| ends(waiting));
        let ended: Vec<Matter> = ended.map(|(matter, _)| matter.clone()).collect();
        for matter in ended {
            self.end(&matter);
        }
    }
}
