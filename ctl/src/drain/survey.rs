//! What an account has on a chain, as its node tells: what the plan moves, what it does not, and
//! what is not worth its fee. One contract that does not answer keeps nothing else where it is.

use alloy_primitives::U256;
use portcullis_policy::book::TokenKind;
use portcullis_policy::drain::DrainChain;
use portcullis_policy::money::Asset;

use super::drainer::Drainer;
use super::node::{Node, NodeFault};
use super::nodes::{chain_name, fault};
use super::priced::{Price, Step};
use super::steps::{self, Deed, Holdings};
use crate::approvals::words::now_ms;
use crate::failure::Failure;

impl Drainer<'_> {
    pub(super) async fn look(&self, part: &DrainChain, node: &Node) -> Result<Holdings, NodeFault> {
        let own = self.key.address;
        let [mined, pending] = node.nonces(own).await?;
        let mut tokens = Vec::new();
        let mut untold = Vec::new();
        for token in &part.tokens {
            match node.token(*token, own).await {
                Ok(amount) => tokens.push((*token, amount)),
                Err(error) => {
                    untold.push((self.symbol(part.chain, Asset::Token(*token)), error.to_string()));
                }
            }
        }
        let mut allowances = Vec::new();
        let of_chain = self.allowances.iter().filter(|(chain, ..)| *chain == part.chain);
        for (_, token, spender) in of_chain {
            match node.allowance(*token, [own, *spender]).await {
                Ok(amount) if amount.is_zero() => {}
                Ok(_) => allowances.push([*token, *spender]),
                Err(error) => {
                    let name = self.symbol(part.chain, Asset::Token(*token));
                    let spender = spender.to_checksum(None);
                    untold.push((format!("what {spender} may take of {name}"), error.to_string()));
                }
            }
        }
        let native = node.balance(own).await?;
        Ok(Holdings { mined, pending, native, tokens, allowances, untold })
    }

    /// Tokens of the book that the plan does not move. An ERC-721 answers as an ERC-20 does.
    pub(super) async fn look_besides(&mut self, part: &DrainChain, node: &Node) {
        let name = chain_name(&self.book, part.chain);
        let tokens =
            self.book.registry().tokens().filter(|(chain, contract, _)| {
                *chain == part.chain && !part.tokens.contains(contract)
            });
        let mut found = Vec::new();
        for (_, contract, token) in tokens {
            let what = if token.kind == TokenKind::Erc1155 {
                format!("{} on {name}, which is told by ids alone: look yourself", token.name)
            } else {
                match node.token(contract, self.key.address).await {
                    Ok(amount) if amount.is_zero() => continue,
                    Ok(amount) => {
                        let what = self.amount(part.chain, Asset::Token(contract), amount);
                        format!("{what} on {name}")
                    }
                    Err(error) => {
                        format!("{} on {name}, of which the node says nothing: {error}", token.name)
                    }
                }
            };
            found.push(Rest { name: format!("{}@{name}", token.name), what });
        }
        self.besides.extend(found);
    }

    /// What coin is worth moving. A fee that takes much of what the plan allows, because of a
    /// crowded chain or a node that lies, makes none of it worthless.
    pub(super) async fn worth(&self, part: &DrainChain, node: &Node, native: U256) -> Worth {
        if native.is_zero() {
            return Worth::Nothing;
        }
        let call = steps::call(Deed::Rest, [self.key.address, self.to]);
        let (Ok(gas), Ok(fees)) = (node.gas(self.key.address, &call).await, node.fees().await)
        else {
            return Worth::Something;
        };
        let (gas, price) = (steps::ample(gas), Price::of(fees));
        let mut only = vec![Step { deed: Deed::Rest, call, gas }];
        self.fill_in_the_rest(part.chain, native, price, &mut only);
        let fee = price.fee(gas);
        let small = part.fees.units().checked_div(U256::from(DUST_SHARE)).unwrap_or_default();
        match only.is_empty() {
            false => Worth::Something,
            true if fee <= small => Worth::Nothing,
            true => Worth::LessThan(fee),
        }
    }

    /// A node that is behind, or a chain that stands still, has not heard of what came in.
    pub(super) async fn hear_news(&mut self, name: &str, node: &Node) -> Result<(), Failure> {
        let told = node.last_block().await.map_err(|source| fault(name, node, source))?;
        let age = now_ms().checked_div(1_000).unwrap_or(0).abs_diff(told);
        if age > NEWS_SECONDS {
            let minutes = age.checked_div(60).unwrap_or(0);
            self.left.push(format!(
                "whatever came in on {name} since the last block of its node, {minutes} minutes \
                 from now: the node is behind, or the chain stands still"
            ));
        }
        Ok(())
    }
}

/// What coin is worth moving.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Worth {
    /// There is none, or it costs more, and that is little.
    Nothing,
    /// It costs more, and that is much.
    LessThan(U256),
    Something,
}

/// Something that is there, and that the plan does not name.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    /// What it is called in the book: a token or a coin as NAME@CHAIN, or a chain that was not
    /// looked at.
    pub(crate) name: String,
    /// In words.
    pub(crate) what: String,
}

/// What one transaction may cost for its coin to be dust: so small a part of what all may.
const DUST_SHARE: u64 = 64;

/// After so long a node has nothing to say about now.
const NEWS_SECONDS: u64 = 15 * 60;
