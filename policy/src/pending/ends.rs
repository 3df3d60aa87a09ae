//! What ends what waits: a stop, a thaw, a drain, a new book. Whoever agreed before had not heard
//! of it, and is asked anew. And what keeps it young: an outage that is accepted afterwards.

use super::{Pending, Waiting};
use crate::act::Act;
use crate::id::KeyId;
use crate::outage::Outage;
use crate::record::Matter;
use crate::stops::Scope;

impl Pending {
    /// A stop: ends what would thaw one of these scopes.
    pub(crate) fn stop(&mut self, covers: impl Fn(&Scope) -> bool) {
        self.end_acts(|act| matches!(act, Act::Thaw(thaw) if covers(&thaw.scope)));
    }

    /// A stop: ends what would drain one of these keys.
    pub(crate) fn stop_drains(&mut self, covers: impl Fn(KeyId) -> bool) {
        self.end_acts(|act| matches!(act, Act::Drain(drain) if covers(drain.key)));
    }

    /// A thaw: ends what would end or drain one of these keys. A later stop would let one person
    /// carry it out.
    pub(crate) fn thaw(&mut self, started: impl Fn(KeyId) -> bool) {
        self.end_acts(|act| {
            matches!(act, Act::Revoke(_) | Act::Drain(_)) && act.key().is_some_and(&started)
        });
    }

    /// A drain begins: ends whatever else is about this very key, which would start it, end it or
    /// bring it elsewhere.
    pub(crate) fn drain(&mut self, key: KeyId) {
        self.end_acts(|act| act.key() == Some(key));
    }

    /// A new book: what was asked or agreed under the old one is asked anew.
    pub(crate) fn adopt(&mut self) {
        self.end_each(|waiting| {
            waiting.proposed().is_none_or(|proposed| proposed.act.is_bound_to_the_book())
        });
    }

    /// Sure time goes forward over an outage: votes that came since it ended grow no older by it,
    /// so that a delay which began since then lasts as long as it is to.
    pub(crate) fn keep_young(&mut self, outage: Outage) {
        for waiting in self.matters.values_mut() {
            for cast in &mut waiting.votes {
                (cast.at, _) = outage.moved((cast.at, cast.sequence));
            }
            if let Some((_, at)) = &mut waiting.rejected {
                *at = outage.moved_time(*at);
            }
        }
        self.rejections.keep_young(outage);
    }

    fn end_acts(&mut self, ends: impl Fn(&Act) -> bool) {
        self.end_each(|waiting| waiting.proposed().is_some_and(|proposed| ends(&proposed.act)));
    }

    fn end_each(&mut self, ends: impl Fn(&Waiting) -> bool) {
        let ended = self.matters.iter().filter(|(_, waiting)| ends(waiting));
        let ended: Vec<Matter> = ended.map(|(matter, _)| matter.clone()).collect();
        for matter in ended {
            self.end(&matter);
        }
    }
}
