//! Reads a node: how far it is, what our addresses sent in its blocks, and how often in all.
//!
//! Only blocks that are deep enough count as mined, each must follow the one before, and none is
//! read that is younger than what the journal can know of: whatever a node lacks accuses nobody.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use portcullis_policy::id::{ChainId, KeyId};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use super::envelope::{Body, Signed, Tuple};
use super::fault::ReconcileFault;
use super::known::Known;
use super::mined::{Mined, Sign, What};
use crate::drain::{Node, NodeFault};
use crate::output::Output;

/// A node of a chain.
pub(super) struct Reader {
    pub(super) chain: ChainId,
    pub(super) name: String,
    node: Node,
    /// The youngest block that counts as mined.
    pub(super) last: Place,
}

/// A block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) hash: B256,
    parent: B256,
    /// Seconds since 1970, as it says.
    pub(super) time: u64,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) chain: ChainId,
    pub(super) name: String,
    /// As far as it was read.
    pub(super) last: Place,
    pub(super) scanned: Option<(u64, u64)>,
    pub(super) mined: Vec<Mined>,
    pub(super) accounts: BTreeMap<KeyId, Account>,
}

/// One of our accounts on a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// How many transactions of it are mined. `None`: the node does not remember.
    pub(super) count: Option<u64>,
    /// Whether it runs code: then what that creates uses up nonces, too.
    pub(super) runs_code: bool,
}

impl Reader {
    /// A node, asked how far it is. `None` of depth: its chain is shorter than that.
    pub(super) async fn new(
        (chain, name): (ChainId, String),
        url: &str,
        depth: u64,
    ) -> Result<Option<Self>, ReconcileFault> {
        let node = Node::new(url);
        let zero = Place { number: 0, hash: B256::ZERO, parent: B256::ZERO, time: 0 };
        let mut reader = Self { chain, name, node, last: zero };
        let found = reader.node.chain_id().await.map_err(|source| reader.fault(source))?;
        if found != chain.0 {
            let (chain, url, wanted) = (reader.name.clone(), reader.url(), chain.0);
            return Err(ReconcileFault::Chain { chain, url, found, wanted });
        }
        let head = reader.node.number("eth_blockNumber", json!([])).await;
        let head = head.map_err(|source| reader.fault(source))?;
        let Some(deep) = head.checked_sub(depth) else { return Ok(None) };
        reader.last = reader.block(deep, false).await?.0;
        Ok(Some(reader))
    }

    /// Goes back to the last block that was made by then.
    pub(super) async fn not_after(&mut self, seconds: u64) -> Result<(), ReconcileFault> {
        if self.last.time <= seconds {
            return Ok(());
        }
        let (mut older, mut newer) = (0, self.last.number);
        while newer.saturating_sub(older) > 1 {
            let middle = older.saturating_add(newer.saturating_sub(older) / 2);
            let block = self.block(middle, false).await?.0;
            if block.time <= seconds { older = middle } else { newer = middle }
        }
        self.last = self.block(older, false).await?.0;
        Ok(())
    }

    /// Reads accounts, and the blocks that were asked for; says how far it is from time to time.
    pub(super) async fn read(
        mut self,
        known: &Known,
        (from, to): (Option<u64>, Option<u64>),
        output: &Output,
    ) -> Result<Read, ReconcileFault> {
        if let Some(to) = to.filter(|to| *to < self.last.number) {
            self.last = self.block(to, false).await?.0;
        }
        let scanned = from.map(|from| (from, self.last.number));
        if let Some((from, last)) = scanned {
            let chain = self.name.clone();
            let Some(before) = last.checked_sub(from) else {
                return Err(ReconcileFault::NoBlocks { chain, from, last });
            };
            let count = before.saturating_add(1);
            if count > BLOCKS_MAX {
                return Err(ReconcileFault::Blocks { chain, count, most: BLOCKS_MAX });
            }
        }
        let at = Cell::new(from.unwrap_or(0));
        let work = async {
            let mined = match scanned {
                Some(blocks) => self.scan(known, blocks, &at).await?,
                None => Vec::new(),
            };
            Ok((mined, self.accounts(known).await?))
        };
        tokio::pin!(work);
        let (mined, accounts) = loop {
            tokio::select! {
                done = &mut work => break done?,
                () = tokio::time::sleep(PROGRESS) => {
                    let (name, last) = (&self.name, self.last.number);
                    output.note(&format!("{name}: block {} of {last}", at.get()));
                }
            }
        };
        let (chain, name, last) = (self.chain, self.name.clone(), self.last);
        Ok(Read { chain, name, last, scanned, mined, accounts })
    }

    async fn scan(
        &self,
        known: &Known,
        (from, last): (u64, u64),
        at: &Cell<u64>,
    ) -> Result<Vec<Mined>, ReconcileFault> {
        let mut mined = Vec::new();
        let mut before: Option<Place> = None;
        for number in from..=last {
            at.set(number);
            let (place, block) = self.block(number, true).await?;
            if before.is_some_and(|before| before.hash != place.parent) {
                let (chain, url) = (self.name.clone(), self.url());
                return Err(ReconcileFault::Reorganised { chain, url, number });
            }
            before = Some(place);
            let transactions = block.get("transactions").and_then(Value::as_array);
            let transactions = transactions.ok_or_else(|| self.strange(&block))?;
            for transaction in transactions {
                let found = of_ours(transaction, known, (self.chain, number));
                mined.extend(found.ok_or_else(|| self.strange(transaction))?);
            }
        }
        // What was asked for first must be what was read last.
        if before.is_some_and(|place| place.hash != self.last.hash) {
            let (chain, url, number) = (self.name.clone(), self.url(), last);
            return Err(ReconcileFault::Reorganised { chain, url, number });
        }
        Ok(mined)
    }

    async fn accounts(&self, known: &Known) -> Result<BTreeMap<KeyId, Account>, ReconcileFault> {
        let mut accounts = BTreeMap::new();
        let block = format!("{:#x}", self.last.number);
        for (address, key) in known.keys() {
            let params = json!([address.to_string(), block]);
            let count = self.node.number("eth_getTransactionCount", params.clone()).await;
            let count = self.remembered(count)?;
            let code = self.remembered(self.node.call("eth_getCode", params).await)?;
            let code = code.as_ref().and_then(Value::as_str).unwrap_or("0x");
            accounts.insert(key, Account { count, runs_code: code.len() > 2 });
        }
        Ok(accounts)
    }

    /// A node that keeps no old state refuses; one that is away does not answer.
    fn remembered<T>(&self, answer: Result<T, NodeFault>) -> Result<Option<T>, ReconcileFault> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(NodeFault::Refused { .. }) => Ok(None),
            Err(source) => Err(self.fault(source)),
        }
    }

    async fn block(&self, number: u64, full: bool) -> Result<(Place, Value), ReconcileFault> {
        let params = json!([format!("{number:#x}"), full]);
        let block = self.node.call("eth_getBlockByNumber", params).await;
        let block = block.map_err(|source| self.fault(source))?;
        if block.is_null() {
            let (chain, url) = (self.name.clone(), self.url());
            return Err(ReconcileFault::NoBlock { chain, url, number });
        }
        match place(&block).filter(|place| place.number == number) {
            Some(place) => Ok((place, block)),
            None => Err(self.strange(&block)),
        }
    }

    fn strange(&self, answer: &Value) -> ReconcileFault {
        let answer = answer.to_string().chars().take(ANSWER_CHARS_MAX).collect();
        self.fault(NodeFault::Answer { method: "eth_getBlockByNumber", answer })
    }

    fn fault(&self, source: NodeFault) -> ReconcileFault {
        ReconcileFault::Node { chain: self.name.clone(), url: self.url(), source }
    }

    fn url(&self) -> String {
        host(self.node.url())
    }
}

impl Place {
    pub(super) fn words(&self) -> String {
        format!("block {} of {}", self.number, self.at())
    }

    pub(super) fn at(&self) -> String {
        rfc3339(self.time.saturating_mul(1_000))
    }
}

/// What a transaction has of ours: itself, and authorizations in it. `None`: it is none.
fn of_ours(value: &Value, known: &Known, (chain, block): (ChainId, u64)) -> Option<Vec<Mined>> {
    let from: Address = value.get("from")?.as_str()?.parse().ok()?;
    let hash: B256 = value.get("hash")?.as_str()?.parse().ok()?;
    let delegates = value.get("authorizationList").and_then(Value::as_array);
    let sender = known.key_of(from);
    if sender.is_none() && delegates.is_none_or(Vec::is_empty) {
        return Some(Vec::new());
    }
    let mined = |key, what, signed: Option<Signed>, nonce| {
        let sign = signed.map_or(Sign::Strange, |signed| {
            let proved = signed.signer.and_then(|signer| known.key_of(signer)) == Some(key);
            Sign::Digest { digest: signed.digest, proved }
        });
        Mined { chain, block: Some(block), hash, key, nonce, what, sign }
    };
    let body = serde_json::from_value::<Body>(value.clone()).ok();
    let mut found = Vec::new();
    if let Some(key) = sender {
        let nonce = value.get("nonce")?.as_str()?.strip_prefix("0x")?;
        let nonce = u64::from_str_radix(nonce, 16).ok()?;
        let signed = body.as_ref().and_then(Body::signed);
        found.push(mined(key, What::Transaction, signed, nonce));
    }
    let tuples = body.as_ref().map(Body::authorizations).unwrap_or_default();
    for signed in tuples.iter().filter_map(Tuple::signed) {
        if let Some(key) = signed.signer.and_then(|signer| known.key_of(signer)) {
            found.push(mined(key, What::Authorization, Some(signed), signed.nonce));
        }
    }
    Some(found)
}

fn place(block: &Value) -> Option<Place> {
    let number =
        |name: &str| u64::from_str_radix(block.get(name)?.as_str()?.strip_prefix("0x")?, 16).ok();
    let hash = |name: &str| block.get(name)?.as_str()?.parse().ok();
    Some(Place {
        number: number("number")?,
        hash: hash("hash")?,
        parent: hash("parentHash")?,
        time: number("timestamp")?,
    })
}

/// Without what follows the host, or comes before it: there providers put their keys.
pub(super) fn host(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// At twelve seconds a block, two months.
const BLOCKS_MAX: u64 = 500_000;

const PROGRESS: Duration = Duration::from_secs(2);

/// What is shown of an answer that is none.
const ANSWER_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_key_is_in_no_message() {
        for url in [
            "https://node.example/v3/secret",
            "https://user:secret@node.example",
            "https://node.example?key=secret",
        ] {
            assert_eq!(host(url), "https://node.example");
        }
        assert_eq!(host("http://127.0.0.1:8545"), "http://127.0.0.1:8545");
    }
}
