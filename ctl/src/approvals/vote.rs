//! `approvals approve ID | reject ID`: a vote, signed by the voter's own key over what is on the
//! screen.
//!
//! The signer is asked for the text and nothing more. Whether it is a statement, whose vault it is
//! for, and whether the signature is one over it, is looked at here, before anything is sent.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_client::wire::{
    self, Approval, ApprovalState, CastVoteRequest, CredentialEntry, PersonEntry,
};
use portcullis_policy::credential::Purpose;
use portcullis_policy::id::{InvalidName, PersonId};
use portcullis_policy::people::Role;
use portcullis_policy::record::Choice;
use portcullis_policy::statement::ballot;
use serde_json::{Value, json};

use crate::approvals::id::is_beginning;
use crate::approvals::ssh::Signer;
use crate::approvals::statement::{self, Statement};
use crate::approvals::{order, proposing, words};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, is_plain};

#[derive(Args, Debug)]
pub(crate) struct VoteArgs {
    /// What to vote on: a parked request's id, whole, as `show` prints it; or a proposal's, such as
    /// p12.
    id: String,
    /// The SSH key to sign with, public or private half [default: the first of
    /// ~/.ssh/id_ed25519_sk and ~/.ssh/id_ed25519 that is enrolled for you].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why: at most 500 characters. Part of what you sign.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    #[arg(value_parser = reason)]
    reason: String,
    /// Sign without being asked. You have read it before, with `show`.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    vote: VoteArgs,
    /// Leave a proposal to be executed by somebody else, though yours was the last vote it took.
    #[arg(long)]
    no_execute: bool,
}

/// A vote that is not cast.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VoteFault {
    /// The certificate is of nobody we know.
    #[error(
        "your certificate is of {person:?}, who is not among the people: see `portctl people list`"
    )]
    Nobody { person: String },
    /// An id that is none.
    #[error("the signer calls you something that is no person's id")]
    Name(#[from] InvalidName),
    /// A key that is somebody else's or nobody's.
    #[error(
        "{path} is the key {id}, which is not enrolled for {person}. {enrolled}. Give --key with \
         one of them, or enrol this one: portctl people enrolment --person {person} --key {path}",
        path = path.display()
    )]
    NotEnrolled { path: PathBuf, id: String, person: String, enrolled: String },
    /// None of the usual keys is theirs.
    #[error(
        "neither ~/.ssh/id_ed25519_sk nor ~/.ssh/id_ed25519 is enrolled for {person}. {enrolled}. \
         Give --key FILE with one of them"
    )]
    NoKey { person: String, enrolled: String },
    /// Their vote, or this credential, does not count.
    #[error("{what} is suspended: only a quorum brings it back (portctl people reinstate)")]
    Suspended { what: String },
    /// A beginning of no id.
    #[error("nothing that is listed begins with {short}: see portctl approvals list")]
    NoneBegins { short: String },
    /// A beginning of several.
    #[error("{count} things that wait begin with {short}: give more of the id")]
    SeveralBegin { short: String, count: usize },
    /// A beginning, where the whole is needed.
    #[error(
        "{short} is the beginning of an id, which show takes; a vote takes the whole id: \
         `portctl approvals show {short}` prints it"
    )]
    Beginning { short: String },
    /// It is over.
    #[error("{id} takes no more votes: it is {state}")]
    Over { id: String, state: &'static str },
    /// Nobody asked them.
    #[error(
        "{id} does not ask {person}: it takes {takes}, and neither whoever asks for it nor who \
         owns the service that does"
    )]
    NotAsked { id: String, person: String, takes: String },
    /// Nobody asked them, and nobody is missing.
    #[error(
        "{id} does not ask {person}: enough people have agreed to it. As long as it takes votes, \
         whoever it asks may still reject it, and so may security"
    )]
    Enough { id: String, person: String },
    /// They have.
    #[error("you voted on {id} with {credential} already, in record {sequence}")]
    Again { id: String, credential: String, sequence: u64 },
    /// They have, it is void, and so would this be.
    #[error(
        "your vote on {id} with {credential}, record {sequence}, is void, and the very same is not \
         taken again: say why with --reason, in other words than there, so that it is another vote"
    )]
    SameAsVoid { id: String, credential: String, sequence: u64 },
    /// Nobody there to ask.
    #[error(
        "nobody can be asked here, because this is no terminal. Read the text above, and then give \
         --yes to sign it"
    )]
    NoTerminal,
    /// They did not type the word.
    #[error("nothing was signed: {word:?} was not typed")]
    NotTyped { word: &'static str },
    /// A request, where a proposal is needed.
    #[error("{id} is a parked request, not a proposal: the caller that asked for it {caller}")]
    NotAProposal { id: String, caller: &'static str },
}

pub(crate) async fn approve(
    args: ApproveArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let (cast, approval) = Ballot { choice: Choice::Approve, args: args.vote }
        .cast(&control, connection, output)
        .await?;
    let id = approval.id.clone();
    let ready = approval.proposal && approval.state() == ApprovalState::Ready;
    let later = order::later(&approval, args.no_execute, &control).await;
    let done = if ready && later.is_none() { Some(control.execute(&id).await) } else { None };
    let (mut human, mut json) = (cast.human(&approval), cast.json(&approval));
    if let (Some(Ok(done)), Some(all)) = (&done, json.as_object_mut()) {
        human.extend(proposing::done(done));
        all.insert("executed".to_owned(), proposing::done_json(&id, done));
    }
    output.result(&fields(&human), &json)?;
    if let Some(Err(error)) = done {
        output.note(&format!("the vote is recorded, and {id} was not executed:"));
        return Err(error.into());
    }
    if let Some(later) = later {
        output.note(&order::left_to_do(&id, later));
    }
    Ok(Exit::Done)
}

pub(crate) async fn reject(
    args: VoteArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let ballot = Ballot { choice: Choice::Reject, args };
    let (cast, approval) = ballot.cast(&control, connection, output).await?;
    output.result(&fields(&cast.human(&approval)), &cast.json(&approval))?;
    Ok(Exit::Done)
}

/// A vote to be signed.
struct Ballot {
    choice: Choice,
    args: VoteArgs,
}

/// A vote that is recorded.
struct Cast {
    word: &'static str,
    person: String,
    credential: String,
    sequence: u64,
    signed: String,
}

impl Ballot {
    async fn cast(
        self,
        control: &ControlClient,
        connection: &ConnectionArgs,
        output: &Output,
    ) -> Result<(Cast, Approval), Failure> {
        let id = self.args.id.as_str();
        let short = id.trim_end_matches('.');
        if is_beginning(short) {
            return Err(VoteFault::Beginning { short: short.to_owned() }.into());
        }
        let approval = control.approval(id).await?;
        let vault = statement::vault(control, connection).await?;
        let statement = Statement::check(&approval.statement, id, &vault)?;
        if !words::is_live(&approval) {
            let state = words::state(&approval);
            return Err(VoteFault::Over { id: id.to_owned(), state }.into());
        }
        let person = person(control).await?;
        let (signer, credential) = self.signer(&person)?;
        self.check_asked(&approval, &person)?;
        self.check_new(&approval, &credential)?;
        let voter: PersonId = person.id.parse().map_err(VoteFault::Name)?;
        let text = ballot(statement.text(), self.choice, &voter, &self.args.reason);
        let title = "what follows is exactly what you sign";
        output.aside(&statement::framed(title, &text, output));
        if credential.strength == FILE && !approval.takes.iter().any(|takes| takes.contains(ANY)) {
            output.note(
                "note: this key is in a file. Where a touch of hardware is asked for, a vote by it \
                 does not count",
            );
        }
        confirm(word(self.choice), self.args.yes, output)?;
        let evidence = signer.sign(Purpose::Vote, &text, output).await?;
        let vote = CastVoteRequest {
            id: id.to_owned(),
            voter: person.id.clone(),
            credential_id: credential.id.clone(),
            approve: self.choice == Choice::Approve,
            reason: self.args.reason,
            evidence_json: serde_json::to_string(&evidence)?,
        };
        let (sequence, now) = control.cast_vote(vote).await?;
        let cast = Cast {
            word: word(self.choice),
            person: person.id,
            credential: credential.id,
            sequence,
            signed: text,
        };
        Ok((cast, now))
    }

    /// Nobody touches their key for a vote that would not be taken.
    fn check_asked(&self, approval: &Approval, person: &PersonEntry) -> Result<(), VoteFault> {
        let spoke = approval.votes.iter().any(|one| one.person == person.id);
        let guard = person.roles.iter().any(|role| role == Role::Security.name());
        let stops = self.choice == Choice::Reject && guard;
        if approval.asks_you || spoke || stops {
            return Ok(());
        }
        let (id, person) = (self.args.id.clone(), person.id.clone());
        if approval.state() == ApprovalState::Ready {
            return Err(VoteFault::Enough { id, person });
        }
        let takes = match approval.takes.as_slice() {
            [] => "what nobody can give as things stand".to_owned(),
            takes => takes.join("; "),
        };
        Err(VoteFault::NotAsked { id, person, takes })
    }

    /// A rejection is never too late; an approval is, unless the one before is void. Then it takes
    /// other words, because whoever carries votes could bring that one back.
    fn check_new(&self, approval: &Approval, own: &CredentialEntry) -> Result<(), VoteFault> {
        if self.choice == Choice::Reject {
            return Ok(());
        }
        let same = |one: &&wire::Ballot| one.credential_id == own.id;
        let (id, credential) = (self.args.id.clone(), own.id.clone());
        if let Some(one) = approval.votes.iter().filter(same).find(|one| one.counts) {
            return Err(VoteFault::Again { id, credential, sequence: one.sequence });
        }
        let void = approval.votes.iter().filter(same).find(|one| one.reason == self.args.reason);
        void.map_or(Ok(()), |one| {
            Err(VoteFault::SameAsVoid { id, credential, sequence: one.sequence })
        })
    }

    /// The key to sign with, and the credential that it is enrolled as.
    fn signer(&self, person: &PersonEntry) -> Result<(Signer, CredentialEntry), Failure> {
        let found = match &self.args.key {
            Some(path) => {
                let signer = Signer::at(path)?;
                let id = signer.credential().id().to_string();
                let entry = enrolled(person, &signer).cloned();
                let entry = entry.ok_or_else(|| VoteFault::NotEnrolled {
                    path: path.clone(),
                    id,
                    person: person.id.clone(),
                    enrolled: theirs(person),
                })?;
                (signer, entry)
            }
            None => {
                let mut usual = Signer::usual().into_iter();
                let found = usual.find_map(|one| Some((enrolled(person, &one)?.clone(), one)));
                let (entry, signer) = found.ok_or_else(|| VoteFault::NoKey {
                    person: person.id.clone(),
                    enrolled: theirs(person),
                })?;
                (signer, entry)
            }
        };
        let what = match (person.suspended, found.1.suspended) {
            (true, _) => format!("your vote, {},", person.id),
            (false, true) => format!("your credential {}", found.1.id),
            (false, false) => return Ok(found),
        };
        Err(VoteFault::Suspended { what }.into())
    }
}

impl Cast {
    fn human(&self, approval: &Approval) -> Vec<(&'static str, String)> {
        let Self { word, person, credential, sequence, signed: _ } = self;
        let said = format!("{word}, as {person} with {credential}, record {sequence}");
        let mut lines = vec![("voted", said), ("state", words::state(approval).to_owned())];
        lines.extend(approval.takes.iter().map(|takes| ("takes", words::plain(takes))));
        lines.push(("votes", words::voters(approval)));
        if words::is_live(approval) {
            lines.push(("time left", words::left(approval)));
        }
        lines
    }

    fn json(&self, approval: &Approval) -> Value {
        json!({
            "vote": self.word,
            "person": self.person,
            "credential_id": self.credential,
            "sequence": self.sequence,
            "signed": self.signed,
            "approval": words::json(approval),
        })
    }
}

/// Who we are, by our certificate.
pub(crate) async fn person(control: &ControlClient) -> Result<PersonEntry, Failure> {
    let me = control.status().await?.person;
    let mut people = control.list_people().await?.people.into_iter();
    let found = people.find(|one| one.id == me);
    Ok(found.ok_or(VoteFault::Nobody { person: me })?)
}

/// Compares the keys themselves: an id that the signer gives is not enough.
pub(crate) fn enrolled<'a>(
    person: &'a PersonEntry,
    signer: &Signer,
) -> Option<&'a CredentialEntry> {
    let same = |entry: &&CredentialEntry| {
        let enrolled = serde_json::from_str(&entry.credential_json).ok();
        enrolled.as_ref() == Some(signer.credential())
            && entry.id == signer.credential().id().as_str()
    };
    person.credentials.iter().find(same)
}

fn theirs(person: &PersonEntry) -> String {
    let all: Vec<&str> = person.credentials.iter().map(|one| one.id.as_str()).collect();
    match all.as_slice() {
        [] => "Nothing is enrolled".to_owned(),
        all => format!("Enrolled are {}", all.join(", ")),
    }
}

/// Asks for the word itself: a habit of pressing `y` signs nothing.
pub(crate) fn confirm(word: &'static str, yes: bool, output: &Output) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(VoteFault::NoTerminal.into());
    }
    output.ask(&format!("type {word} to sign: "));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == word { Ok(()) } else { Err(VoteFault::NotTyped { word }.into()) }
}

fn word(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "approve",
        Choice::Reject => "reject",
    }
}

fn reason(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0..=500 if is_plain(text) => Ok(text.to_owned()),
        0..=500 => Err("write it on one line, without characters that are not seen".to_owned()),
        length => Err(format!("{length} characters, and at most 500 are part of a vote")),
    }
}

const FILE: &str = "file";

/// How the signer writes that a key in a file is enough.
const ANY: &str = "by any credential";
