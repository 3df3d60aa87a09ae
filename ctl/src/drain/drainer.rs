//! One chain of a drain after the other: looks at what is left, signs and sends what the plan
//! permits, and looks again, until nothing is.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use portcullis_client::{Answer, Client, KeyRef};
use portcullis_policy::book::{Book, asset_name, format_amount};
use portcullis_policy::drain::DrainChain;
use portcullis_policy::id::ChainId;
use portcullis_policy::money::{Account, Amount, Asset};
use serde_json::{Value, json};

use super::DrainFault;
use super::node::{Node, NodeFault};
use super::nodes::{chain_name, fault};
use super::priced::{Price, Step, preimage};
use super::steps::{self, AHEAD_MAX, Deed, Holdings};
use super::survey::{Rest, Worth};
use crate::failure::Failure;
use crate::output::{Output, hex0x};

pub(super) struct Drainer<'a> {
    pub(super) client: Client,
    pub(super) key: KeyRef,
    pub(super) book: Book,
    pub(super) to: Address,
    /// Who may ask, in words.
    pub(super) callers: String,
    /// Chain, token and spender of each allowance that may stand.
    pub(super) allowances: Vec<(ChainId, Address, Address)>,
    pub(super) cancel_below: BTreeMap<String, u64>,
    /// Whether what the key sent before is waited for, instead of replaced.
    pub(super) lets_through: bool,
    pub(super) output: &'a Output,
    pub(super) sent: Vec<Value>,
    pub(super) left: Vec<String>,
    /// What the signer refused: it is not asked for again.
    pub(super) refused: Vec<(ChainId, Deed)>,
    /// What is there that the plan does not name.
    pub(super) besides: Vec<Rest>,
}

impl Drainer<'_> {
    /// Passes over one chain, until there is nothing left to do.
    pub(super) async fn chain(&mut self, part: &DrainChain, node: &Node) -> Result<(), Failure> {
        let name = chain_name(&self.book, part.chain);
        if self.lets_through {
            self.let_through(&name, node).await?;
        }
        let mined = self.look(part, node).await.map_err(|source| fault(&name, node, source))?.mined;
        let wanted = self.cancel_below.get(&name).copied().unwrap_or(0);
        let is_far = wanted > mined.saturating_add(AHEAD_MAX);
        let cancel_below = if is_far { 0 } else { wanted };
        for _ in 0..PASSES_MAX {
            let fault = |source| fault(&name, node, source);
            let holdings = self.look(part, node).await.map_err(fault)?;
            let price = Price::of(node.fees().await.map_err(fault)?);
            let steps = self.steps(part, node, (&holdings, price, cancel_below)).await;
            if steps.is_empty() {
                break;
            }
            let sent = self.send_all((part, node), steps, (holdings.mined, price)).await?;
            self.wait_for(&name, node, &sent).await?;
        }
        let holdings = self.look(part, node).await.map_err(|source| fault(&name, node, source))?;
        for (token, amount) in holdings.tokens.iter().filter(|(_, amount)| !amount.is_zero()) {
            let what = self.amount(part.chain, Asset::Token(*token), *amount);
            self.left.push(format!("{what} on {name}"));
        }
        let allowances = holdings.allowances.len();
        if allowances > 0 {
            self.left.push(format!("{allowances} allowances on {name}"));
        }
        for (what, error) in &holdings.untold {
            self.left.push(format!("{what} on {name}, of which the node says nothing: {error}"));
        }
        if holdings.mined < wanted {
            let first = holdings.mined;
            let far = if is_far { ": too far ahead, look at --cancel-below" } else { "" };
            self.left.push(format!("nonces from {first} to below {wanted} on {name}{far}"));
        }
        if holdings.pending > holdings.mined {
            self.left.push(format!("transactions that wait in the node of {name}"));
        }
        self.look_besides(part, node).await;
        let coin = self.amount(part.chain, Asset::Native, holdings.native);
        let worth = self.worth(part, node, holdings.native).await;
        if worth == Worth::Nothing {
            let why = "which costs more to move than it is";
            self.output.note(&format!("{name}: done; {coin} left, {why}"));
        } else if !part.native {
            let what = format!("{coin} on {name}");
            let name = format!("{}@{name}", self.symbol(part.chain, Asset::Native));
            self.besides.push(Rest { name, what });
        } else if let Worth::LessThan(fee) = worth {
            let fee = self.amount(part.chain, Asset::Fee, fee);
            self.left.push(format!("{coin} on {name}, which costs {fee} to move now"));
        } else {
            self.left.push(format!("{coin} on {name}"));
        }
        self.hear_news(&name, node).await
    }

    /// Waits until what the key sent before is mined.
    async fn let_through(&self, name: &str, node: &Node) -> Result<(), Failure> {
        for waited in 0..WAITS_MAX {
            let nonces = node.nonces(self.key.address).await;
            let [mined, pending] = nonces.map_err(|source| fault(name, node, source))?;
            if pending <= mined {
                return Ok(());
            }
            if waited == 0 {
                let count = pending.saturating_sub(mined);
                self.output
                    .note(&format!("{name}: {count} wait in the node: letting them through"));
            }
            tokio::time::sleep(LOOKED_EVERY).await;
        }
        Err(DrainFault::Waiting(name.to_owned()).into())
    }

    /// What would be done first, in words.
    pub(super) async fn tell(&mut self, part: &DrainChain, node: &Node) -> Result<(), Failure> {
        let name = chain_name(&self.book, part.chain);
        let fault = |source| fault(&name, node, source);
        let holdings = self.look(part, node).await.map_err(fault)?;
        let price = Price::of(node.fees().await.map_err(fault)?);
        let wanted = self.cancel_below.get(&name).copied().unwrap_or(0);
        let cancel_below = wanted.min(holdings.mined.saturating_add(AHEAD_MAX));
        let steps = self.steps(part, node, (&holdings, price, cancel_below)).await;
        for (step, nonce) in steps.iter().zip(holdings.mined..) {
            let words = self.words(part.chain, step);
            self.output.note(&format!("{name}: nonce {nonce}: would {words}"));
            self.sent.push(json!({ "chain_id": part.chain.0, "nonce": nonce, "what": words }));
        }
        Ok(())
    }

    /// What is to be done, with its gas: what would fail is left out and said. The coin is what all
    /// fees leave.
    async fn steps(
        &self,
        part: &DrainChain,
        node: &Node,
        (holdings, price, cancel_below): (&Holdings, Price, u64),
    ) -> Vec<Step> {
        let name = chain_name(&self.book, part.chain);
        let mut steps = Vec::new();
        for deed in steps::deeds(holdings, part.native, cancel_below) {
            if self.refused.contains(&(part.chain, deed)) {
                continue;
            }
            let call = steps::call(deed, [self.key.address, self.to]);
            match node.gas(self.key.address, &call).await {
                // What it takes may differ by the time it is mined.
                Ok(gas) => steps.push(Step { deed, call, gas: steps::ample(gas) }),
                Err(error) => {
                    let words = self.words(part.chain, &Step { deed, call, gas: 0 });
                    self.output.note(&format!("{name}: cannot {words}: {error}"));
                }
            }
        }
        self.fill_in_the_rest(part.chain, holdings.native, price, &mut steps);
        steps
    }

    pub(super) fn fill_in_the_rest(
        &self,
        chain: ChainId,
        native: U256,
        price: Price,
        steps: &mut Vec<Step>,
    ) {
        let l1_fee = self.book.registry().chain(chain).and_then(|chain| chain.l1_fee);
        let l1_fee = l1_fee.map(Amount::units).unwrap_or_default();
        let fee = |step: &Step| price.fee(step.gas).saturating_add(l1_fee);
        let fees = steps.iter().map(fee).fold(U256::ZERO, U256::saturating_add);
        let Some(at) = steps.iter().position(|step| step.deed == Deed::Rest) else { return };
        let Some(step) = steps.get_mut(at) else { return };
        match steps::rest(native, fees, fee(step)) {
            Some(rest) => step.call.value = rest,
            None => drop(steps.remove(at)),
        }
    }

    /// Signs and sends one after the other; hashes with what they are for.
    async fn send_all(
        &mut self,
        (part, node): (&DrainChain, &Node),
        steps: Vec<Step>,
        (first, price): (u64, Price),
    ) -> Result<Vec<(B256, String)>, Failure> {
        let (mut sent, count) = (Vec::new(), steps.len());
        let name = chain_name(&self.book, part.chain);
        for (step, (nonce, number)) in steps.iter().zip((first..).zip(1_usize..)) {
            let words = self.words(part.chain, step);
            let said = format!("{name}: {number} of {count}: nonce {nonce}: {words}");
            let (hash, raw) = match self.send((part, node), step, (nonce, price)).await? {
                Ok(sent) => sent,
                Err(error) => {
                    // Something changed meanwhile: the next pass looks again.
                    self.output.note(&format!("{said}: {error}"));
                    break;
                }
            };
            self.output.note(&format!("{said}: sent as {hash}"));
            self.sent.push(json!({
                "chain_id": part.chain.0,
                "nonce": nonce,
                "what": words,
                "transaction_hash": hash.to_string(),
                "raw_transaction": hex0x(&raw),
            }));
            sent.push((hash, words));
        }
        Ok(sent)
    }

    /// The same nonce at a higher price, while the node says that it pays too little to replace
    /// what it holds.
    async fn send(
        &mut self,
        (part, node): (&DrainChain, &Node),
        step: &Step,
        (nonce, mut price): (u64, Price),
    ) -> Result<Result<(B256, Vec<u8>), NodeFault>, Failure> {
        for _ in 0..RAISES_MAX {
            let preimage = preimage(part.chain, step, (nonce, price))?;
            let id = self.client.new_request_id();
            let signed = match self.client.sign_transaction(&self.key, &id, &preimage).await {
                Ok(Answer::Signed(signed)) => signed,
                Ok(Answer::Parked(_)) => return Err(DrainFault::Parked.into()),
                Err(error) if error.reason() == Some(KEY_DRAINING) => {
                    self.output.failure(&error.into());
                    return Err(DrainFault::NotACaller(self.callers.clone()).into());
                }
                // The plan does not permit it, or not any more: it keeps nothing else.
                Err(error) if error.reason().is_some() && !error.is_retryable() => {
                    let message = error.reason().unwrap_or_default().to_owned();
                    self.refused.push((part.chain, step.deed));
                    return Ok(Err(NodeFault::Refused { method: "the signature", message }));
                }
                Err(error) => return Err(error.into()),
            };
            match node.send(&signed.raw_transaction).await {
                // Whatever the node calls it.
                Ok(_) => return Ok(Ok((signed.transaction_hash, signed.raw_transaction.to_vec()))),
                Err(error) if error.is_known() => {
                    return Ok(Ok((signed.transaction_hash, signed.raw_transaction.to_vec())));
                }
                // The coin has nothing left over to pay more with: the next pass moves less.
                // Nor may one nonce, for which somebody outbids us, take what all others need.
                Err(error)
                    if error.is_underpriced()
                        && step.deed != Deed::Rest
                        && price.raised().fee(step.gas) <= dearest(part) =>
                {
                    price = price.raised();
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        let message = "it pays too little to replace what the node holds".to_owned();
        Ok(Err(NodeFault::Refused { method: "eth_sendRawTransaction", message }))
    }

    async fn wait_for(
        &self,
        chain: &str,
        node: &Node,
        sent: &[(B256, String)],
    ) -> Result<(), Failure> {
        // Once for all of them: what one block takes comes together.
        let mut waited = 0_u32;
        for (hash, words) in sent {
            let mined = loop {
                let mined = node.mined(*hash).await.map_err(|source| fault(chain, node, source))?;
                if let Some(mined) = mined {
                    break Some(mined);
                }
                if waited >= WAITS_MAX {
                    break None;
                }
                waited = waited.saturating_add(1);
                tokio::time::sleep(LOOKED_EVERY).await;
            };
            match mined {
                Some(mined) if mined.succeeded => {
                    self.output.note(&format!("{chain}: mined: {words}"))
                }
                Some(_) => self.output.note(&format!("{chain}: FAILED on the chain: {words}")),
                None => self.output.note(&format!("{chain}: not mined yet: {words}")),
            }
        }
        Ok(())
    }

    fn words(&self, chain: ChainId, step: &Step) -> String {
        let to = self.to.to_checksum(None);
        match step.deed {
            Deed::Send { token, amount } => {
                format!("send {} to {to}", self.amount(chain, Asset::Token(token), amount))
            }
            Deed::TakeBack { token, spender } => {
                let token = self.symbol(chain, Asset::Token(token));
                format!("take back what {} may take of {token}", spender.to_checksum(None))
            }
            Deed::Cancel => "cancel the nonce".to_owned(),
            Deed::Rest => {
                format!("send {} to {to}", self.amount(chain, Asset::Native, step.call.value))
            }
        }
    }

    pub(super) fn symbol(&self, chain: ChainId, asset: Asset) -> String {
        asset_name(self.book.registry(), Account { chain, asset })
    }

    pub(super) fn amount(&self, chain: ChainId, asset: Asset, units: U256) -> String {
        format_amount(self.book.registry(), Account { chain, asset }, Amount::from_units(units))
    }
}

/// The most that one transaction may cost to be worth its fee: a quarter of what all may.
pub(super) fn dearest(part: &DrainChain) -> U256 {
    part.fees.units().checked_div(U256::from(4)).unwrap_or_default()
}

/// Passes over one chain: what fees left over, and what came in meanwhile, is moved in the next.
const PASSES_MAX: usize = 6;

/// What whoever the plan does not name is told.
const KEY_DRAINING: &str = "KEY_DRAINING";

/// Prices tried for one nonce: each a third above the last.
const RAISES_MAX: usize = 12;

/// How often a node is asked whether something is mined, and how many times.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
const WAITS_MAX: u32 = 600;
