//! Says what a sound book may have forgotten. A warning refuses nothing: whoever meant it goes on.

use std::collections::BTreeSet;

use super::Book;
use crate::id::ChainId;

/// One line for each warning.
pub(super) fn warnings(book: &Book) -> Vec<String> {
    let used: BTreeSet<ChainId> =
        book.keys.values().flat_map(|rules| &rules.chains).copied().collect();
    let chains = used.into_iter().filter_map(|id| Some((id, book.registry.chain(id)?)));
    let silent =
        chains.filter(|(id, chain)| TAKES_L1_FEE.contains(&id.0) && chain.l1_fee.is_none());
    let line = |(id, chain): (ChainId, &super::Chain)| {
        let (name, coin) = (&chain.name, &chain.native);
        format!(
            "chain {name} ({id}) takes a data fee beside gas, which no limit counts: write \
             l1_fee = \"0.001 {coin}\", the most that it can be for one transaction"
        )
    };
    silent.map(line).collect()
}

/// Well-known chains whose fee for data on layer 1 lies outside the gas limit: some of the OP
/// stack, and Scroll. Not Arbitrum (42161), zkSync Era (324) and Linea (59144): theirs is gas.
const TAKES_L1_FEE: [u64; 10] =
    [10, 130, 480, 1_868, 8_453, 34_443, 57_073, 81_457, 534_352, 7_777_777];
