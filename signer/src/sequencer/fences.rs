//! The writer's part in fencing keys: the intent before the token is told, its answer after.
//!
//! Which keys is the state's to say. Want of room keeps nothing from being fenced, only from being
//! written down; nothing is let sign again that is not.

use std::collections::BTreeSet;

use portcullis_policy::fences::{FenceOrder, Fences, Told};
use portcullis_policy::id::KeyId;
use portcullis_policy::record::{DestroyAnswered, FenceAnswered, Record};

use super::command::{Answer, reply};
use super::writer::{Fatal, Writer, done};
use crate::journal::Space;
use crate::refusal::Refusal;

impl Writer {
    /// What the token is to be told, each with the intent that is on record by then.
    pub(super) fn due_fences(
        &mut self,
        undone: &BTreeSet<KeyId>,
        answer: Answer<Vec<FenceOrder>>,
    ) -> Result<(), Fatal> {
        let (ample, before) = (self.space() == Space::Ample, self.state.head());
        if ample {
            self.end_drains()?;
        }
        let due = self.state.fences_due(undone);
        if !ample {
            let unwritten = due.into_iter().map(|intended| FenceOrder {
                intent: None,
                up: intended.cause.is_up(),
                keys: intended.keys,
            });
            // A drain that is over, and of which nothing can be written down.
            let over = self.state.drains_over(self.clock.now()).into_iter();
            let keys: BTreeSet<KeyId> = over.map(|ended| ended.key).collect();
            let over = (!keys.is_empty()).then_some(FenceOrder { intent: None, up: true, keys });
            let orders = self.state.fences().standing().into_iter().chain(unwritten).chain(over);
            return done(answer, Ok(orders.filter(|order| order.up).collect()));
        }
        for intended in due {
            self.append(self.clock.now(), Record::FenceIntended(intended), None)?;
        }
        let orders = self.state.fences().standing();
        if self.state.head() == before {
            return done(answer, Ok(orders));
        }
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok(orders)));
        Ok(())
    }

    /// Notes which drains are over: from then on their keys are stopped for whoever looks.
    fn end_drains(&mut self) -> Result<(), Fatal> {
        let now = self.clock.now();
        for ended in self.state.drains_over(now) {
            self.append(now, Record::DrainEnded(ended), None)?;
            self.changed = true;
        }
        Ok(())
    }

    /// What the token said of a key that it was told to remove. What is on record already is not
    /// written again.
    pub(super) fn removal_answered(
        &mut self,
        answered: DestroyAnswered,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let tomb = self.state.tombs().get(&answered.key).filter(|tomb| !tomb.is_closed());
        let news = tomb.filter(|tomb| tomb.answer.as_ref() != Some(&answered.answer));
        if news.is_none_or(|tomb| tomb.intent != answered.intent) {
            return done(answer, Ok(()));
        }
        self.append(self.clock.now(), Record::DestroyAnswered(Box::new(answered)), None)?;
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }

    /// What the token said. What is on record already, or is asked no more, is not written again.
    pub(super) fn fences_answered(
        &mut self,
        answered: FenceAnswered,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let Some(news) = news(answered, self.state.fences()) else { return done(answer, Ok(())) };
        self.append(self.clock.now(), Record::FenceAnswered(news), None)?;
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }
}

fn news(answered: FenceAnswered, fences: &Fences) -> Option<FenceAnswered> {
    let FenceAnswered { mut done, intent, mut refused } = answered;
    let told = |key: &KeyId| {
        let fence = fences.of(key).filter(|fence| fence.intent == intent)?;
        (fence.told != Told::Done).then_some(&fence.told)
    };
    done.retain(|key| told(key).is_some());
    refused.retain(|key, why| told(key).is_some_and(|told| *told != Told::Refused(why.clone())));
    let any = !done.is_empty() || !refused.is_empty();
    any.then_some(FenceAnswered { done, intent, refused })
}
