//! `key rotate OLD --to NEW`: another key in the place of one, from its making to the old one's
//! end. What was done is read from the vault, so the same command goes on wherever it stopped:
//! because it was interrupted, or because people must vote.

mod book;
mod fits;
mod folder;
mod hand_over;
mod steps;

pub(crate) use self::book::BookEditFault;
pub(crate) use self::fits::RotateFault;

use std::path::PathBuf;

use clap::Args;
use portcullis_client::wire::{Approval, Key};
use portcullis_client::{CallError, Code, ControlClient};
use portcullis_policy::act::{Act, AdoptBook, Revoke};
use portcullis_policy::book::Book;
use portcullis_policy::id::CallerId;
use serde_json::{Value, json};

use self::book::Pair;
use self::folder::Folder;
use self::steps::{Done, Steps};
use crate::approvals::proposing::Wanted;
use crate::approvals::{awaiting, words};
use crate::connection::ConnectionArgs;
use crate::drain::{self, RunArgs, rpc};
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::key::create;
use crate::output::{Output, address, fields};

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// The key to be replaced, by id or label.
    old: String,
    /// The label of the key that takes its place. It is made like the old one if it is not there.
    #[arg(long = "to", value_name = "NEW")]
    new: String,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// If it is to be made: the day by which somebody looks whether it is still needed.
    #[arg(long, value_name = "DAY", value_parser = create::day)]
    review_by: Option<u64>,
    /// A caller that may ask for the signatures that move everything: the service of [data_plane]
    /// in portctl.toml. More than once for more of them.
    #[arg(long = "caller", value_name = "ID")]
    callers: Vec<CallerId>,
    /// The most that moving everything on a chain may cost in fees, once for each coin: "0.05 ETH".
    #[arg(long = "fees", value_name = "AMOUNT")]
    fees: Vec<String>,
    /// How long the old key is drained, votes on it included: at most 30d.
    #[arg(long = "for", value_name = "TIME", default_value = "24h")]
    lasts: String,
    /// A node of a chain: the chain's name in the book, "=", and an http or https URL.
    #[arg(long = "rpc", value_name = "NAME=URL", value_parser = rpc)]
    nodes: Vec<(String, String)>,
    /// Where plan and books are written, and the plan is found again [default: rotate-OLD-to-NEW].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Stay until people have agreed, instead of ending with exit code 4.
    #[arg(long)]
    wait: bool,
    /// End the old key for good, once everything that the plan names is moved: what it holds
    /// besides, and whatever comes in later, can then never be moved. Look first.
    #[arg(long)]
    end_old: bool,
    /// With --end-old: end it although it holds what the plan does not name.
    #[arg(long, requires = "end_old")]
    leave_rest: bool,
    /// Take the place of payments that the old key sent and that wait in a node, instead of letting
    /// them through. For a key that may be out.
    #[arg(long)]
    replace_waiting: bool,
    /// Leave the old key's rules in the book.
    #[arg(long)]
    keep_rules: bool,
    /// Do not read the journal for allowances that may stand.
    #[arg(long)]
    no_allowances: bool,
}

pub(crate) async fn run(
    args: RotateArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let old = control.key(&args.old).await?;
    let there = found(&control, &args.new).await?;
    fits::old(&old, there.as_ref().map_or(&args.new, |new| &new.label))?;
    let mut steps = Steps::begin(output);
    let done = if there.is_some() { Done::Before } else { Done::Now };
    let new = match there {
        Some(new) => new,
        None => make(&args, &old, &control).await?,
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
    };
    let status = rotation.go().await?;
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
}

impl Rotation<'_> {
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
        }
        self.tidy().await
    }

    /// Everything that the plan names, to the new key.
    async fn move_all(&mut self) -> Result<(), Failure> {
        let sent = self.carry_out().await?;
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
            cancel_below: 0,
            no_allowances: self.args.no_allowances,
            let_through: !self.args.replace_waiting,
            dry_run: false,
        };
        let moved = drain::carry_out(&args, self.connection, self.output).await?;
        let besides = moved.besides.clone();
        let sent = moved.all()?;
        besides.iter().for_each(|what| self.output.note(&format!("not in the plan: {what}")));
        if self.args.end_old && !self.args.leave_rest && !besides.is_empty() {
            return Err(RotateFault::Holds { old: self.old.label.clone(), besides }.into());
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
        self.control.execute(&agreed.id).await?;
        self.steps.over("revoke", Done::Now, &format!("{} is ended", self.old.label));
        Ok(Status::Done)
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
