//! `policy check | adopt | show`.

mod adopt;
mod check;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Say what adopting a book would say, and change nothing.
    Check(check::CheckArgs),
    /// Put a book into force. Only narrower ones, until quorums exist.
    Adopt(BookFile),
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
        PolicyVerb::Adopt(book) => adopt::run(&book, connection, output).await,
        PolicyVerb::Show => show::run(connection, output).await,
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}
