//! The nodes of a drain: one for each chain of its plan.

use std::collections::BTreeMap;

use portcullis_policy::book::Book;
use portcullis_policy::drain::DrainPlan;
use portcullis_policy::id::ChainId;

use super::DrainFault;
use super::node::{Node, NodeFault};
use crate::failure::Failure;

/// A chain's name in the book, and where a node of it is.
pub(crate) fn rpc(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("write NAME=URL: ethereum=https://..")?;
    let http = url.starts_with("http://") || url.starts_with("https://");
    if http { Ok((name.into(), url.into())) } else { Err("the URL begins with http(s)://".into()) }
}

/// Those that were given, in the order of the plan, each asked whether it is of its chain.
pub(super) async fn nodes(
    given: &[(String, String)],
    plan: &DrainPlan,
    book: &Book,
) -> Result<Vec<Node>, Failure> {
    let given: BTreeMap<&str, &str> =
        given.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
    let (mut nodes, mut missing) = (Vec::new(), Vec::new());
    for part in &plan.chains {
        let name = chain_name(book, part.chain);
        let Some(url) = given.get(name.as_str()) else {
            missing.push(name);
            continue;
        };
        let node = Node::new(url);
        let found = node.chain_id().await.map_err(|source| fault(&name, &node, source))?;
        if found != part.chain.0 {
            let (url, wanted) = (node.url().to_owned(), part.chain.0);
            return Err(DrainFault::Chain { chain: name, url, found, wanted }.into());
        }
        nodes.push(node);
    }
    if missing.is_empty() { Ok(nodes) } else { Err(DrainFault::NoNode(missing.join(", ")).into()) }
}

pub(super) fn chain_name(book: &Book, id: ChainId) -> String {
    book.registry().chain(id).map_or_else(|| id.to_string(), |chain| chain.name.clone())
}

pub(super) fn fault(chain: &str, node: &Node, source: NodeFault) -> DrainFault {
    DrainFault::Node { chain: chain.to_owned(), url: node.url().to_owned(), source }
}
