//! The nodes of a drain: one for each chain of its plan.

use std::collections::BTreeMap;

use portcullis_policy::book::Book;
use portcullis_policy::drain::DrainPlan;
use portcullis_policy::id::ChainId;

use super::DrainFault;
use super::node::{Node, NodeFault};

/// A chain's name in the book, and where a node of it is.
pub(crate) fn rpc(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("write NAME=URL: ethereum=https://..")?;
    let http = url.starts_with("http://") || url.starts_with("https://");
    if http { Ok((name.into(), url.into())) } else { Err("the URL begins with http(s)://".into()) }
}

/// Those that were given, in the order of the plan, each asked whether it is of its chain; or why
/// there is none.
pub(super) async fn nodes(
    given: &[(String, String)],
    plan: &DrainPlan,
    book: &Book,
) -> Vec<Result<Node, DrainFault>> {
    let given: BTreeMap<&str, &str> =
        given.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
    let mut nodes = Vec::new();
    for part in &plan.chains {
        nodes.push(node(&given, part.chain, chain_name(book, part.chain)).await);
    }
    nodes
}

async fn node(
    given: &BTreeMap<&str, &str>,
    chain: ChainId,
    name: String,
) -> Result<Node, DrainFault> {
    let url = given.get(name.as_str()).ok_or_else(|| DrainFault::NoNode(name.clone()))?;
    let node = Node::new(url);
    let found = node.chain_id().await.map_err(|source| fault(&name, &node, source))?;
    if found == chain.0 {
        return Ok(node);
    }
    Err(DrainFault::Chain { chain: name, url: node.url().to_owned(), found, wanted: chain.0 })
}

pub(super) fn chain_name(book: &Book, id: ChainId) -> String {
    book.registry().chain(id).map_or_else(|| id.to_string(), |chain| chain.name.clone())
}

pub(super) fn fault(chain: &str, node: &Node, source: NodeFault) -> DrainFault {
    DrainFault::Node { chain: chain.to_owned(), url: node.url().to_owned(), source }
}
