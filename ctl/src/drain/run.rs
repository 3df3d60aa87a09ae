//! `drain run`: looks at what is left, signs and sends what the plan permits, and looks again,
//! until nothing is. It keeps no notes: the chain says what was done, so it goes on after any
//! interruption.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use clap::Args;
use portcullis_client::wire::KeyState;
use portcullis_client::{Answer, CallError, Client, KeyRef};
use portcullis_policy::book::{Book, format_amount};
use portcullis_policy::drain::{DrainChain, DrainTo};
use portcullis_policy::id::ChainId;
use portcullis_policy::money::{Account, Amount, Asset};
use serde_json::{Value, json};

use super::node::{Node, NodeFault};
use super::nodes::{chain_name, fault, nodes, rpc};
use super::priced::{Price, Step, preimage};
use super::steps::{self, Deed, Holdings};
use super::{DrainFault, book, file};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key::standing_allowances;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The key, by id or label. It must be draining.
    pub(crate) key: String,
    /// The plan that people agreed to.
    pub(crate) plan: PathBuf,
    /// A node of a chain: the chain's name in the book, "=", and an http or https URL.
    #[arg(long = "rpc", value_name = "NAME=URL", required = true, value_parser = rpc)]
    pub(crate) nodes: Vec<(String, String)>,
    /// Cancel every nonce below this one too: whatever was signed for it and not sent is then void.
    #[arg(long, value_name = "NONCE", default_value_t = 0)]
    pub(crate) cancel_below: u64,
    /// Do not read the journal for allowances that may stand.
    #[arg(long)]
    pub(crate) no_allowances: bool,
    /// Say what would be done, and sign nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(crate) async fn run(
    args: RunArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let dry = args.dry_run;
    let moved = carry_out(&args, connection, output).await?;
    let (word, count) = (if dry { "to be sent" } else { "sent" }, moved.sent.len());
    let human = format!("{count} transactions {word}");
    let json = json!({ "transactions": moved.sent, "left": moved.left, "dry_run": dry });
    output.result(&human, &json)?;
    moved.all().map(|_sent| Exit::Done)
}

/// What became of it.
pub(crate) struct Moved {
    /// Each transaction that was sent, or would be.
    sent: Vec<Value>,
    /// What is still there, in words.
    left: Vec<String>,
}

impl Moved {
    /// What was sent, if nothing is left.
    pub(crate) fn all(self) -> Result<Vec<Value>, Failure> {
        if self.left.is_empty() { Ok(self.sent) } else { Err(DrainFault::Left(self.left).into()) }
    }
}

/// Goes over all chains of the plan.
pub(crate) async fn carry_out(
    args: &RunArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Moved, Failure> {
    let control = connection.control().await?;
    let (book, keys) = (book(&control).await?, control.list_keys().await?);
    let plan = file::read(&args.plan, &book, &keys)?;
    let key = control.key(&args.key).await?;
    if key.state() != KeyState::Draining {
        return Err(DrainFault::NotDraining(crate::key::state(&key)).into());
    }
    let id = crate::thaw::key_id(&control, &args.key).await?;
    let wire_id = key.key_id.parse().map_err(|_| CallError::Incomplete { part: "key id" })?;
    let own = Address::try_from(key.address.as_slice()).unwrap_or_default();
    let to = match plan.to {
        DrainTo::Address(address) => address,
        DrainTo::Key(id) => {
            let text = id.to_string();
            let found = keys.iter().find(|key| key.key_id == text);
            let address = found.and_then(|key| Address::try_from(key.address.as_slice()).ok());
            address.ok_or_else(|| DrainFault::Asked("the successor is gone".into()))?
        }
    };
    let nodes = nodes(&args.nodes, &plan, &book).await?;
    let allowances = if args.no_allowances {
        Vec::new()
    } else {
        standing_allowances(connection, output, id).await?
    };
    let client = connection.data().await?;
    let mut all = Drainer {
        client,
        key: KeyRef { id: wire_id, address: own },
        book,
        to,
        allowances,
        cancel_below: args.cancel_below,
        output,
        sent: Vec::new(),
        left: Vec::new(),
    };
    for (part, node) in plan.chains.iter().zip(&nodes) {
        let done =
            if args.dry_run { all.tell(part, node).await } else { all.chain(part, node).await };
        // What one chain or its node does must not keep the others' coin where it is.
        if let Err(failure) = done {
            let name = chain_name(&all.book, part.chain);
            output.failure(&failure);
            all.left.push(format!("{name}: it ended early, for the reason above"));
        }
    }
    Ok(Moved { sent: all.sent, left: all.left })
}

struct Drainer<'a> {
    client: Client,
    key: KeyRef,
    book: Book,
    to: Address,
    /// Chain, token and spender of each allowance that may stand.
    allowances: Vec<(ChainId, Address, Address)>,
    cancel_below: u64,
    output: &'a Output,
    sent: Vec<Value>,
    left: Vec<String>,
}

impl Drainer<'_> {
    /// Passes over one chain, until there is nothing left to do.
    async fn chain(&mut self, part: &DrainChain, node: &Node) -> Result<(), Failure> {
        let name = chain_name(&self.book, part.chain);
        for _ in 0..PASSES_MAX {
            let fault = |source| fault(&name, node, source);
            let holdings = self.look(part, node).await.map_err(fault)?;
            let price = Price::of(node.fees().await.map_err(fault)?);
            let steps = self.steps(part, node, (&holdings, price)).await;
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
        if holdings.pending > holdings.mined {
            self.left.push(format!("transactions that wait in the node of {name}"));
        }
        let coin = self.amount(part.chain, Asset::Native, holdings.native);
        if !part.native {
            self.output
                .note(&format!("{name}: done; {coin} stay: the plan does not move the coin"));
        } else if holdings.native.is_zero() || self.is_dust(part, node, holdings.native).await {
            let why = "which costs more to move than it is";
            self.output.note(&format!("{name}: done; {coin} left, {why}"));
        } else {
            self.left.push(format!("{coin} on {name}"));
        }
        Ok(())
    }

    /// Whether coin costs more to move than it is. If the node does not say, it is none.
    async fn is_dust(&self, part: &DrainChain, node: &Node, native: U256) -> bool {
        let call = steps::call(Deed::Rest, [self.key.address, self.to]);
        let (Ok(gas), Ok(fees)) = (node.gas(self.key.address, &call).await, node.fees().await)
        else {
            return false;
        };
        let mut only = vec![Step { deed: Deed::Rest, call, gas: steps::ample(gas) }];
        self.fill_in_the_rest(part.chain, native, Price::of(fees), &mut only);
        only.is_empty()
    }

    /// What would be done first, in words.
    async fn tell(&mut self, part: &DrainChain, node: &Node) -> Result<(), Failure> {
        let name = chain_name(&self.book, part.chain);
        let fault = |source| fault(&name, node, source);
        let holdings = self.look(part, node).await.map_err(fault)?;
        let price = Price::of(node.fees().await.map_err(fault)?);
        let steps = self.steps(part, node, (&holdings, price)).await;
        for (step, nonce) in steps.iter().zip(holdings.mined..) {
            let words = self.words(part.chain, step);
            self.output.note(&format!("{name}: nonce {nonce}: would {words}"));
            self.sent.push(json!({ "chain_id": part.chain.0, "nonce": nonce, "what": words }));
        }
        Ok(())
    }

    async fn look(&self, part: &DrainChain, node: &Node) -> Result<Holdings, NodeFault> {
        let own = self.key.address;
        let [mined, pending] = node.nonces(own).await?;
        let mut tokens = Vec::new();
        for token in &part.tokens {
            tokens.push((*token, node.token(*token, own).await?));
        }
        let mut allowances = Vec::new();
        let of_chain = self.allowances.iter().filter(|(chain, ..)| *chain == part.chain);
        for (_, token, spender) in of_chain {
            if !node.allowance(*token, [own, *spender]).await?.is_zero() {
                allowances.push([*token, *spender]);
            }
        }
        let native = node.balance(own).await?;
        Ok(Holdings { mined, pending, native, tokens, allowances })
    }

    /// What is to be done, with its gas: what would fail is left out and said. The coin is what all
    /// fees leave.
    async fn steps(
        &self,
        part: &DrainChain,
        node: &Node,
        (holdings, price): (&Holdings, Price),
    ) -> Vec<Step> {
        let name = chain_name(&self.book, part.chain);
        let mut steps = Vec::new();
        for deed in steps::deeds(holdings, part.native, self.cancel_below) {
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

    fn fill_in_the_rest(&self, chain: ChainId, native: U256, price: Price, steps: &mut Vec<Step>) {
        let l1_fee = self.book.registry().chain(chain).and_then(|chain| chain.l1_fee);
        let l1_fee = l1_fee.map(Amount::units).unwrap_or_default();
        let fee = |step: &Step| price.fee(step.gas).saturating_add(l1_fee);
        let fees = steps.iter().map(fee).fold(U256::ZERO, U256::saturating_add);
        let Some(last) = steps.last_mut().filter(|step| step.deed == Deed::Rest) else { return };
        match steps::rest(native, fees, fee(last)) {
            Some(rest) => last.call.value = rest,
            None => drop(steps.pop()),
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
            let hash = match self.send((part, node), step, (nonce, price)).await? {
                Ok(hash) => hash,
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
            }));
            sent.push((hash, words));
        }
        Ok(sent)
    }

    /// The same nonce at a higher price, while the node says that it pays too little to replace
    /// what it holds.
    async fn send(
        &self,
        (part, node): (&DrainChain, &Node),
        step: &Step,
        (nonce, mut price): (u64, Price),
    ) -> Result<Result<B256, NodeFault>, Failure> {
        let dearest = part.fees.units().checked_div(U256::from(4)).unwrap_or_default();
        for _ in 0..RAISES_MAX {
            let preimage = preimage(part.chain, step, (nonce, price))?;
            let id = self.client.new_request_id();
            let signed = match self.client.sign_transaction(&self.key, &id, &preimage).await? {
                Answer::Signed(signed) => signed,
                Answer::Parked(_) => return Err(DrainFault::Parked.into()),
            };
            match node.send(&signed.raw_transaction).await {
                Ok(hash) => return Ok(Ok(hash)),
                Err(error) if error.is_known() => return Ok(Ok(signed.transaction_hash)),
                // The coin has nothing left over to pay more with: the next pass moves less.
                // Nor may one nonce, for which somebody outbids us, take what all others need.
                Err(error)
                    if error.is_underpriced()
                        && step.deed != Deed::Rest
                        && price.raised().fee(step.gas) <= dearest =>
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
        for (hash, words) in sent {
            let mut waited = 0_u32;
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
                let token = portcullis_policy::book::asset_name(
                    self.book.registry(),
                    Account { chain, asset: Asset::Token(token) },
                );
                format!("take back what {} may take of {token}", spender.to_checksum(None))
            }
            Deed::Cancel => "cancel the nonce".to_owned(),
            Deed::Rest => {
                format!("send {} to {to}", self.amount(chain, Asset::Native, step.call.value))
            }
        }
    }

    fn amount(&self, chain: ChainId, asset: Asset, units: U256) -> String {
        format_amount(self.book.registry(), Account { chain, asset }, Amount::from_units(units))
    }
}

/// Passes over one chain: what fees left over, and what came in meanwhile, is moved in the next.
const PASSES_MAX: usize = 6;

/// Prices tried for one nonce: each a third above the last.
const RAISES_MAX: usize = 12;

/// How often a node is asked whether something is mined, and how many times.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
const WAITS_MAX: u32 = 600;
