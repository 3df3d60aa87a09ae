//! `policy check | lint | diff | test | explain | adopt | propose | show`.

mod adopt;
mod check;
mod diff;
mod explain;
mod lint;
mod propose;
mod show;
mod test;

pub(crate) use self::diff::FaultyBook;
pub(crate) use self::explain::ExplainFault;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Say what adopting a book would say, and change nothing.
    Check(check::CheckArgs),
    /// Look for faults and foot-guns in a book, without a signer.
    Lint(BookFile),
    /// Say what a new book permits more and less than an old one, without a signer.
    Diff(diff::DiffArgs),
    /// Run a book's own examples, without a signer.
    Test(test::TestArgs),
    /// Show the decision on a request as a tree, without a signer.
    Explain(explain::ExplainArgs),
    /// Put a book into force that only narrows. One that widens is proposed, and takes a quorum.
    Adopt(BookFile),
    /// Propose a book that widens; put it into force once enough people have agreed.
    Propose(propose::ProposeArgs),
    /// Print the book in force, byte for byte.
    Show,
}

/// A book as a file.
#[derive(Args, Debug)]
pub(crate) struct BookFile {
    /// The book, a TOML file.
    file: PathBuf,
}

pub(crate) async fn run(
    verb: PolicyVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        PolicyVerb::Check(args) => check::run(&args, connection, output).await,
        PolicyVerb::Lint(book) => lint::run(&book, output),
        PolicyVerb::Diff(args) => diff::run(&args, output),
        PolicyVerb::Test(args) => test::run(&args, output),
        PolicyVerb::Explain(args) => explain::run(&args, output),
        PolicyVerb::Adopt(book) => adopt::run(&book, connection, output).await,
        PolicyVerb::Propose(args) => propose::run(args, connection, output).await,
        PolicyVerb::Show => show::run(connection, output).await,
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}
