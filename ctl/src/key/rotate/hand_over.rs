//! The part of a rotation that people vote on in one sitting: the new key's rules, and the drain of
//! the old one. The drain begins once the rules are in force: before that, whoever follows the
//! successor would be refused there.

use std::time::Duration;

use portcullis_client::wire::{Approval, FenceState, KeyState};
use portcullis_policy::act::{Act, AdoptBook, Drain};
use portcullis_policy::book::Book;

use super::book::{self, Pair};
use super::fits::RotateFault;
use super::steps::Done;
use super::{Rotation, Status, narrows};
use crate::drain::{self, PlanArgs};
use crate::failure::Failure;
use crate::output::address;

/// What is to be done about the rules, and whether anything was.
struct Rules {
    act: Option<Act>,
    done: Done,
}

impl Rotation<'_> {
    pub(super) async fn hand_over(&mut self) -> Result<Status, Failure> {
        let rules = self.rules().await?;
        let drain = self.drain().await?;
        let book = self.ask(rules.act).await?;
        let drained = self.ask(drain).await?;
        let what = format!("{} has the rules of {}", self.new.label, self.old.label);
        let rules = ("rules", rules.done);
        if self.settle(rules, book, (&what, &drained)).await? == Status::Waiting {
            return Ok(Status::Waiting);
        }
        let what = format!("{} signs its plan alone, and names its successor", self.old.label);
        let drain = ("drain", Done::Before);
        if self.settle(drain, drained, (&what, &None)).await? == Status::Waiting {
            return Ok(Status::Waiting);
        }
        self.until_it_signs().await?;
        Ok(Status::Done)
    }

    /// The book in which the new key has the old one's rules, if that is not the one in force.
    async fn rules(&self) -> Result<Rules, Failure> {
        let force = self.control.book().await?.book;
        let revised = book::with_successor(&force, self.pair())?;
        self.note_what_differs(revised.as_deref().unwrap_or(&force), self.pair());
        let Some(book) = revised else { return Ok(Rules { act: None, done: Done::Before }) };
        let path = self.folder.write("book.toml", &book)?;
        self.output.note(&format!("the book is in {}", path.display()));
        // A key with rules of its own that only comes under a limit: that takes one person.
        if narrows(&force, &book) {
            self.control.adopt_book(book).await?;
            return Ok(Rules { act: None, done: Done::Now });
        }
        Ok(Rules { act: Some(Act::Adopt(AdoptBook { book })), done: Done::Now })
    }

    /// What a program does not decide: rules that are there already, and an address in a list.
    fn note_what_differs(&self, text: &str, Pair { old, new }: Pair<'_>) {
        let Ok(book) = Book::parse(text) else { return };
        let rules = |label: &str| label.parse().ok().and_then(|label| book.rules(&label).cloned());
        if rules(old).is_some() && rules(old) != rules(new) {
            self.output.note(&format!(
                "note: the book has rules for {new} that are not those of {old}. They are kept: \
                 see portctl policy show"
            ));
        }
        let own = address(&self.old.address).to_ascii_lowercase();
        if text.to_ascii_lowercase().contains(&own) {
            self.output.note(&format!(
                "note: the book names the address of {old}, {own}: see whether {}, that of {new}, \
                 must stand there too",
                address(&self.new.address)
            ));
        }
    }

    /// The drain, if it has not begun. Whatever it takes to carry it out is looked at before people
    /// are asked.
    async fn drain(&self) -> Result<Option<Act>, Failure> {
        let draft = PlanArgs {
            key: self.old.key_id.clone(),
            to: self.new.label.clone(),
            callers: self.args.callers.clone(),
            fees: self.args.fees.clone(),
            lasts: self.args.lasts.clone(),
        };
        let at = (&self.control, self.output);
        let is_drained = self.old.state() == KeyState::Draining;
        let plan = match is_drained {
            true => drain::agreed(&self.old)?,
            false => self.folder.plan((&self.old, &self.new), &draft, at).await?,
        };
        if is_drained {
            return Ok(None);
        }
        drain::check_nodes(&self.args.nodes, &plan, &self.control).await?;
        self.connection.data().await?;
        let key = crate::thaw::id_of(&self.old)?;
        Ok(Some(Act::Drain(Drain { key, plan })))
    }

    /// Does what was asked for, once people have agreed; nothing, if there is nothing to do.
    pub(super) async fn settle(
        &mut self,
        (step, done): (&'static str, Done),
        asked: Option<Approval>,
        (what, besides): (&str, &Option<Approval>),
    ) -> Result<Status, Failure> {
        let Some(approval) = asked else {
            self.steps.over(step, done, what);
            return Ok(Status::Done);
        };
        let agreed = self.agreed(approval, besides).await?;
        let Some(agreed) = agreed else { return Ok(Status::Waiting) };
        self.execute(&agreed.id).await?;
        self.steps.over(step, Done::Now, what);
        Ok(Status::Done)
    }

    /// A key that was stopped is let sign again in the token, a moment after its drain began.
    async fn until_it_signs(&self) -> Result<(), Failure> {
        for _ in 0..LOOKS_MAX {
            let key = self.control.key(&self.old.key_id).await?;
            match key.fence() {
                FenceState::Open => return Ok(()),
                FenceState::Refused => {
                    let (old, why) = (key.label, format!(": {}", key.fence_refused));
                    return Err(RotateFault::Fenced { old, why }.into());
                }
                FenceState::Fenced
                | FenceState::Closing
                | FenceState::Opening
                | FenceState::Unspecified => tokio::time::sleep(LOOKED_EVERY).await,
            }
        }
        let (old, why) = (self.old.label.clone(), String::new());
        Err(RotateFault::Fenced { old, why }.into())
    }
}

/// A token that was busy is told again each minute.
const LOOKS_MAX: u32 = 400;
const LOOKED_EVERY: Duration = Duration::from_millis(250);
