//! Why nothing was reconciled.

use std::path::PathBuf;

use crate::drain::NodeFault;
use crate::failure::Exit;

/// Nothing was reconciled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileFault {
    /// Nobody could be told to stop.
    #[error(
        "--freeze needs the signer: say where it is (--endpoint and the rest, or portctl.toml), or \
         leave --freeze away and use portctl freeze KEY"
    )]
    FreezeOffline,
    /// The keys are another vault's.
    #[error("the export is of vault {export}, and the signer of {signer}: nothing was done")]
    Vault { export: String, signer: String },
    /// A chain that nobody knows.
    #[error(
        "the book names no chain {0}: portctl policy show has them, and others go by their number"
    )]
    NoChain(String),
    /// A chain has two nodes.
    #[error("{0} has two nodes: give one --rpc for each chain")]
    Twice(String),
    /// Blocks of a chain that has no node.
    #[error("--from-block and --to-block name {0}, and no --rpc does")]
    NoNode(String),
    /// A node of another chain.
    #[error("the node {url} is of chain {found}, and {chain} is {wanted}: correct --rpc")]
    Chain { chain: String, url: String, found: u64, wanted: u64 },
    /// A node could not be read.
    #[error("the node of {chain} at {url} could not be read")]
    Node { chain: String, url: String, source: NodeFault },
    /// A node that is behind, or forgets.
    #[error(
        "the node of {chain} at {url} has no block {number}: wait until it has caught up, give a \
         later --from-block, or a node that keeps old blocks"
    )]
    NoBlock { chain: String, url: String, number: u64 },
    /// Blocks that do not follow one another.
    #[error(
        "block {number} of {chain} at {url} does not follow the one before: the chain was \
         reorganised while it was read. Run it again, with more --confirmations if it stays so"
    )]
    Reorganised { chain: String, url: String, number: u64 },
    /// No block is asked for.
    #[error(
        "{chain} has nothing to read: --from-block is {from}, and the last block that is deep \
         enough, and not after --to-block, is {last}"
    )]
    NoBlocks { chain: String, from: u64, last: u64 },
    /// Too many of them.
    #[error("{count} blocks of {chain} are too many for one run: read at most {most}, in parts")]
    Blocks { chain: String, count: u64, most: u64 },
    /// A line of --mined.
    #[error(
        "line {number} of {path} is no mined transaction: {why}. Write {form}, or the raw \
         transaction as 0x-hex",
        path = path.display(),
        form = "{\"chain\":1,\"hash\":\"0x..\",\"from\":\"0x..\",\"nonce\":7}"
    )]
    Line { path: PathBuf, number: u64, why: String },
}

impl ReconcileFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::FreezeOffline | Self::NoBlocks { .. } | Self::Blocks { .. } => Exit::Usage,
            Self::NoChain(_) | Self::Twice(_) | Self::NoNode(_) => Exit::Usage,
            Self::Node { .. } | Self::NoBlock { .. } | Self::Reorganised { .. } => {
                Exit::Unavailable
            }
            Self::Vault { .. } | Self::Chain { .. } | Self::Line { .. } => Exit::Failure,
        }
    }
}
