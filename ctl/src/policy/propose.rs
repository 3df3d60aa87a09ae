//! `policy propose FILE`: proposes a book that widens. Takes a quorum.

use clap::Args;
use portcullis_policy::act::{Act, AdoptBook};

use crate::approvals::proposing::Wanted;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::Output;
use crate::policy::{self, BookFile};

#[derive(Args, Debug)]
pub(crate) struct ProposeArgs {
    #[command(flatten)]
    book: BookFile,
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

pub(crate) async fn run(
    args: ProposeArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let book = policy::read(&args.book.file)?;
    let wanted = Wanted { act: Act::Adopt(AdoptBook { book }), reason: args.reason };
    wanted.settle(&connection.control().await?, output).await
}
