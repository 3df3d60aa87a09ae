//! `key rotate OLD --to NEW`: another key in the place of one, from its making to the old one's
//! end. What was done is read from the vault, so the same command goes on wherever it stopped:
//! because it was interrupted, or because people must vote.

mod args;
mod book;
mod fits;
mod folder;
mod hand_over;
mod steps;

pub(crate) use self::args::RotateArgs;
pub(crate) use self::book::BookEditFault;
pub(crate) use self::fits::RotateFault;

use portcullis_client::wire::{Approval, Key};
use portcullis_client::{CallError, Code, ControlClient};
use portcullis_policy::act::{Act, AdoptBook, Revoke};
use portcullis_policy::book::Book;
use serde_json::{Value, json};

use self::args::Waiting;
use self::book::Pair;
use self::folder::Folder;
use self::steps::{Done, Steps};
use crate::approvals::awaiting::{self, AwaitFault};
use crate::approvals::proposing::Wanted;
use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::drain::{self, Rest, RunArgs};
use crate::failure::{Exit, Failure};
use crate::key::create;
use crate::output::{Output, address, fields};

pub(crate) async fn run(
    args: RotateArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let old = control.key(&args.old).await?;
    let there = found(&control, &args.new).await?;
    fits::old(&old, there.as_ref().map_or(&args.new, |new| &new.label))?;
    args.check_waiting(&old)?;
    let mut steps = Steps::begin(output);
    let done = if there.is_some() { Done::Before } else { Done::Now };
    let new = match there {
        Some(new) => new,
        None => {
            // Whatever keeps the book from being rewritten is found before anything is made.
            if !fits::is_ended(&old) {
                let pair = Pair { old: &old.label, new: &args.new };
                book::with_successor(&control.book().await?.book, pair)?;
            }
            make(&args, &old, &control).await?
        }
    };
    fits::both(&old, &new)?;
    steps.over("create", done, &format!("{} is {}", new.label, address(&new.address)));
    let folder = Folder::of(args.folder.clone(), &old.label, &new.label)?;
    let mut rotation = Rotation {
        args,
        control,
        connection,
        output,
        folder,
        old,
        new,
        steps,
        waiting: Vec::new(),
        sent: Vec::new(),
        moved: false,
        looked_last: false,
    };
    let status = rotation.go_on().await?;
    rotation.tell(status)
}

async fn found(control: &ControlClient, label: &str) -> Result<Option<Key>, Failure> {
    match control.key(label).await {
        Ok(key) => Ok(Some(key)),
        Err(CallError::Refused(no)) if no.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A key like the old one.
async fn make(args: &RotateArgs, old: &Key, control: &ControlClient) -> Result<Key, Failure> {
    let missing = || RotateFault::ReviewBy { old: old.label.clone(), new: args.new.clone() };
    let review_by = args.review_by.ok_or_else(missing)?;
    Ok(control.create_key(create::like(old, &args.new, review_by)).await?)
}

/// How far it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    /// The new key is in the old one's place.
    Done,
    /// Everything is moved, and the old key is left as it is, as asked.
    Moved,
    /// People must vote.
    Waiting,
}

/// A book without the old key.
struct Tidied {
    book: String,
    narrows: bool,
}

impl Tidied {
    /// What people are asked to adopt: nothing, if one person may.
    fn act(self) -> Option<Act> {
        let book = self.book;
        (!self.narrows).then_some(Act::Adopt(AdoptBook { book }))
    }
}

/// Whether one person may adopt a book in the place of another.
fn narrows(old: &str, new: &str) -> bool {
    let (Ok(old), Ok(new)) = (Book::parse(old), Book::parse(new)) else { return false };
    old.difference(&new).is_narrowing()
}

/// How often somebody else may be faster.
const OVERTAKEN_MAX: u32 = 8;

/// A rotation under way.
struct Rotation<'a> {
    args: RotateArgs,
    control: ControlClient,
    connection: &'a ConnectionArgs,
    output: &'a Output,
    folder: Folder,
    old: Key,
    new: Key,
    steps: Steps<'a>,
    /// What people are asked and have not agreed to.
    waiting: Vec<Approval>,
    /// Transactions that moved something.
    sent: Vec<Value>,
    /// Whether this run moved everything, and whether it looked once more before the end.
    moved: bool,
    looked_last: bool,
}

impl Rotation<'_> {
    /// Looks again how things stand when somebody else has done what we waited for.
    async fn go_on(&mut self) -> Result<Status, Failure> {
        for _ in 0..OVERTAKEN_MAX {
            let before = (self.old.state(), self.control.book().await?.sequence);
            match self.go().await {
                Err(Failure::Await(AwaitFault::Over { id })) if self.args.wait => {
                    self.old = self.control.key(&self.old.key_id).await?;
                    self.new = self.control.key(&self.new.key_id).await?;
                    // Taken back, or ended by a stop: nobody wants it to be proposed once more.
                    if before == (self.old.state(), self.control.book().await?.sequence) {
                        return Err(AwaitFault::Over { id }.into());
                    }
                    self.output.note(&format!("{id} waits no more: looking how things stand"));
                    fits::old(&self.old, &self.new.label)?;
                    fits::both(&self.old, &self.new)?;
                    self.args.check_waiting(&self.old)?;
                }
                other => return other,
            }
        }
        self.go().await
    }

    async fn go(&mut self) -> Result<Status, Failure> {
        if !fits::is_ended(&self.old) {
            if self.hand_over().await? == Status::Waiting {
                return Ok(Status::Waiting);
            }
            self.move_all().await?;
            if !self.args.end_old {
                return Ok(Status::Moved);
            }
            if self.revoke().await? == Status::Waiting {
                return Ok(Status::Waiting);
            }
        } else if self.moved && !self.looked_last {
            self.output.note(&format!(
                "note: {} was ended before this looked once more: what came in after it was moved \
                 stays there for good",
                self.old.label
            ));
        }
        self.tidy().await
    }

    /// Everything that the plan names, to the new key.
    async fn move_all(&mut self) -> Result<(), Failure> {
        let sent = self.carry_out().await?;
        self.moved = true;
        let done = if sent.is_empty() { Done::Before } else { Done::Now };
        self.steps.over("move", done, &format!("{} transactions, nothing is left", sent.len()));
        self.sent.extend(sent);
        Ok(())
    }

    /// What was sent; only if nothing is left of what the plan names, and, if the key is to be
    /// ended, nothing else is seen.
    async fn carry_out(&self) -> Result<Vec<Value>, Failure> {
        let args = RunArgs {
            key: self.old.key_id.clone(),
            nodes: self.args.nodes.clone(),
            cancel_below: Vec::new(),
            no_allowances: self.args.no_allowances,
            let_through: self.args.waiting != Some(Waiting::Replace),
            dry_run: false,
            to: Some(crate::thaw::id_of(&self.new)?),
        };
        let moved = drain::carry_out(&args, self.connection, self.output).await?;
        self.folder.remember(moved.sent())?;
        let besides = moved.besides.clone();
        let sent = moved.all()?;
        for rest in &besides {
            self.output.note(&format!("not in the plan: {}", rest.what));
        }
        let left = |rest: &&Rest| !self.args.leave_rest.contains(&rest.name);
        let held: Vec<&Rest> = besides.iter().filter(left).collect();
        if self.args.end_old && !held.is_empty() {
            return Err(RotateFault::holds(&self.old.label, &held).into());
        }
        Ok(sent)
    }

    /// Ends the old key, once people have agreed.
    async fn revoke(&mut self) -> Result<Status, Failure> {
        let act = Act::Revoke(Revoke { key: crate::thaw::id_of(&self.old)? });
        let approval = self.propose(act).await?;
        // Proposed together, so that people vote on both in one sitting.
        let tidy = self.tidied().await?.and_then(Tidied::act);
        let tidy = self.ask(tidy).await?;
        let Some(agreed) = self.agreed(approval, &tidy).await? else {
            return Ok(Status::Waiting);
        };
        // What came in while people voted: nothing leaves the key once it is ended.
        self.sent.extend(self.carry_out().await?);
        self.looked_last = true;
        self.execute(&agreed.id).await?;
        self.steps.over("revoke", Done::Now, &format!("{} is ended", self.old.label));
        Ok(Status::Done)
    }

    /// Does what was agreed to; as if it had been waited for in vain, if somebody was faster.
    async fn execute(&self, id: &str) -> Result<(), Failure> {
        match self.control.execute(id).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(no)) if no.code() == Code::NotFound => {
                Err(AwaitFault::Over { id: id.to_owned() }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn ask(&self, act: Option<Act>) -> Result<Option<Approval>, Failure> {
        match act {
            Some(act) => Ok(Some(self.propose(act).await?)),
            None => Ok(None),
        }
    }

    async fn propose(&self, act: Act) -> Result<Approval, Failure> {
        let wanted = Wanted { act, reason: self.args.reason.clone() };
        Ok(wanted.ask(&self.control, self.output).await?.approval)
    }

    /// What enough people have agreed to; `None`: it waits, and nobody waits for it here. What they
    /// are asked besides is told with it.
    async fn agreed(
        &mut self,
        approval: Approval,
        besides: &Option<Approval>,
    ) -> Result<Option<Approval>, Failure> {
        let besides = besides.iter().filter(|one| !words::is_ready(one));
        if self.args.wait {
            if !words::is_ready(&approval) {
                besides.for_each(|one| self.output.note(&awaiting::line(one)));
            }
            let agreed = awaiting::agreement(approval, &self.control, self.output).await?;
            return Ok(Some(agreed));
        }
        if words::is_ready(&approval) {
            return Ok(Some(approval));
        }
        let besides: Vec<Approval> = besides.cloned().collect();
        self.waiting.push(approval);
        self.waiting.extend(besides);
        Ok(None)
    }

    /// The book without the old key, if it is in the one in force, and is to leave it.
    async fn tidied(&self) -> Result<Option<Tidied>, Failure> {
        if self.args.keep_rules {
            return Ok(None);
        }
        let force = self.control.book().await?.book;
        let Some(book) = book::without(&force, &self.old.label)? else { return Ok(None) };
        self.folder.write("book-after.toml", &book)?;
        let narrows = narrows(&force, &book);
        Ok(Some(Tidied { book, narrows }))
    }

    /// Takes the old key out of the book. That narrows, so it takes one person; unless a limit
    /// counts what it spent, and would have room again.
    async fn tidy(&mut self) -> Result<Status, Failure> {
        if self.args.keep_rules {
            return Ok(Status::Done);
        }
        let what = format!("the book does not name {}", self.old.label);
        let Some(tidied) = self.tidied().await? else {
            self.steps.over("tidy", Done::Before, &what);
            return Ok(Status::Done);
        };
        if tidied.narrows {
            self.control.adopt_book(tidied.book).await?;
            self.steps.over("tidy", Done::Now, &what);
            return Ok(Status::Done);
        }
        let asked = self.ask(tidied.act()).await?;
        self.settle(("tidy", Done::Before), asked, (&what, &None)).await
    }

    fn pair(&self) -> Pair<'_> {
        Pair { old: &self.old.label, new: &self.new.label }
    }

    /// What came of it, and what comes next.
    fn tell(self, status: Status) -> Result<Exit, Failure> {
        let (old, new) = (&self.old.label, &self.new.label);
        let (word, next, exit) = match status {
            Status::Done => (
                "done",
                format!("portctl destroy {old} --reason TEXT, which removes it from the token"),
                Exit::Done,
            ),
            Status::Moved => (
                "moved",
                format!(
                    "the same with --end-old, once nobody pays to {old} and it holds nothing \
                         that the plan does not name"
                ),
                Exit::Done,
            ),
            Status::Waiting => {
                ("waiting", "the same command, once they have voted".to_owned(), Exit::Parked)
            }
        };
        let mut lines = vec![
            ("rotated", format!("{old} to {new}, {}: {word}", address(&self.new.address))),
            ("folder", self.folder.path().display().to_string()),
        ];
        lines.extend(self.steps.lines());
        lines.extend(self.waiting.iter().map(|one| ("voters", awaiting::line(one))));
        lines.push(("next", next));
        let [steps, total] = self.steps.json();
        let json = json!({
            "status": word,
            "old": old,
            "new": new,
            "address": address(&self.new.address),
            "folder": self.folder.path().display().to_string(),
            "steps": steps,
            "total_ms": total,
            "transactions": self.sent,
            "waiting": self.waiting.iter().map(words::json).collect::<Value>(),
        });
        self.output.result(&fields(&lines), &json)?;
        Ok(exit)
    }
}
