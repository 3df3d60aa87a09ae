//! A node of a chain, by JSON-RPC over HTTP. What it says decides only what is asked for: the
//! signer holds every transaction to the plan, whatever a node lies.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use ureq::tls::{TlsConfig, TlsProvider};

/// A node said no, or nothing that could be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeFault {
    /// It could not be asked.
    #[error("it could not be asked: {0}")]
    Http(#[from] ureq::Error),
    /// The work was not done.
    #[error("it could not be waited for")]
    Join(#[from] tokio::task::JoinError),
    /// It refused.
    #[error("it refused {method}: {message}")]
    Refused { method: &'static str, message: String },
    /// An answer that is none.
    #[error("it answered {method} with something else: {answer}")]
    Answer { method: &'static str, answer: String },
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    agent: ureq::Agent,
    url: String,
}

/// A transaction that was mined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mined {
    pub(super) succeeded: bool,
}

/// What a call would be.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) data: Vec<u8>,
}

impl Node {
    pub(crate) fn new(url: &str) -> Self {
        // The one that the connection to the signer uses, and no second one beside it.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).tls_config(tls);
        Self { agent: config.build().into(), url: url.to_owned() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn chain_id(&self) -> Result<u64, NodeFault> {
        self.number("eth_chainId", json!([])).await
    }

    /// How many transactions of an account are mined; or that and what the node holds to be mined.
    pub(super) async fn nonces(&self, account: Address) -> Result<[u64; 2], NodeFault> {
        let of = |when: &str| json!([account.to_string(), when]);
        let mined = self.number("eth_getTransactionCount", of("latest")).await?;
        let pending = self.number("eth_getTransactionCount", of("pending")).await?;
        // EIP-2681; and no account comes as far.
        if mined > NONCE_MAX || pending > NONCE_MAX {
            let (method, answer) = ("eth_getTransactionCount", pending.max(mined).to_string());
            return Err(NodeFault::Answer { method, answer });
        }
        Ok([mined, pending.max(mined)])
    }

    pub(super) async fn balance(&self, account: Address) -> Result<U256, NodeFault> {
        self.quantity("eth_getBalance", json!([account.to_string(), "latest"])).await
    }

    /// `balanceOf(address)` of ERC-20.
    pub(super) async fn token(&self, token: Address, owner: Address) -> Result<U256, NodeFault> {
        self.view(token, [0x70, 0xa0, 0x82, 0x31], &[owner]).await
    }

    /// `allowance(address,address)` of ERC-20.
    pub(super) async fn allowance(
        &self,
        token: Address,
        [owner, spender]: [Address; 2],
    ) -> Result<U256, NodeFault> {
        self.view(token, [0xdd, 0x62, 0xed, 0x3e], &[owner, spender]).await
    }

    /// Gas that a call takes, or why it would fail.
    pub(super) async fn gas(&self, from: Address, call: &Call) -> Result<u64, NodeFault> {
        let object = json!({
            "from": from.to_string(),
            "to": call.to.to_string(),
            "value": format!("{:#x}", call.value),
            "data": format!("0x{}", hex::encode(&call.data)),
        });
        self.number("eth_estimateGas", json!([object])).await
    }

    /// When the last block was made, in seconds since 1970, as it says.
    pub(super) async fn last_block(&self) -> Result<u64, NodeFault> {
        let method = "eth_getBlockByNumber";
        let block = self.call(method, json!(["latest", false])).await?;
        let time = block.get("timestamp").and_then(quantity).and_then(|at| u64::try_from(at).ok());
        time.ok_or_else(|| NodeFault::Answer { method, answer: block.to_string() })
    }

    /// Fee per gas of the last block, and what builders are said to want beside it: wei.
    pub(super) async fn fees(&self) -> Result<[u128; 2], NodeFault> {
        let method = "eth_getBlockByNumber";
        let block = self.call(method, json!(["latest", false])).await?;
        let base = block.get("baseFeePerGas").and_then(quantity).unwrap_or(U256::ZERO);
        let tip = self.quantity("eth_maxPriorityFeePerGas", json!([])).await;
        let tip = tip.unwrap_or(U256::from(GWEI));
        let small = |number: U256| u128::try_from(number).unwrap_or(u128::MAX);
        Ok([small(base), small(tip)])
    }

    pub(super) async fn send(&self, raw: &[u8]) -> Result<B256, NodeFault> {
        let method = "eth_sendRawTransaction";
        let answer = self.call(method, json!([format!("0x{}", hex::encode(raw))])).await?;
        let hash = answer.as_str().and_then(|text| text.parse().ok());
        hash.ok_or_else(|| NodeFault::Answer { method, answer: answer.to_string() })
    }

    /// What became of a transaction; `None`: it is not mined yet.
    pub(super) async fn mined(&self, hash: B256) -> Result<Option<Mined>, NodeFault> {
        let method = "eth_getTransactionReceipt";
        let answer = self.call(method, json!([hash.to_string()])).await?;
        if answer.is_null() {
            return Ok(None);
        }
        let status = answer.get("status").and_then(quantity);
        let status = status.ok_or_else(|| NodeFault::Answer { method, answer: answer.to_string() });
        Ok(Some(Mined { succeeded: status? == U256::from(1) }))
    }

    async fn view(
        &self,
        contract: Address,
        selector: [u8; 4],
        arguments: &[Address],
    ) -> Result<U256, NodeFault> {
        let data = super::steps::call_data(selector, arguments.iter().map(|one| one.into_word()));
        let object = json!({
            "to": contract.to_string(),
            "data": format!("0x{}", hex::encode(data)),
        });
        let method = "eth_call";
        let answer = self.call(method, json!([object, "latest"])).await?;
        let word = answer.as_str().and_then(|text| hex::decode(text.strip_prefix("0x")?).ok());
        let word = word.filter(|word| word.len() == 32).map(|word| U256::from_be_slice(&word));
        word.ok_or_else(|| NodeFault::Answer { method, answer: answer.to_string() })
    }

    pub(crate) async fn number(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<u64, NodeFault> {
        let found = self.quantity(method, params).await?;
        u64::try_from(found).map_err(|_| NodeFault::Answer { method, answer: found.to_string() })
    }

    async fn quantity(&self, method: &'static str, params: Value) -> Result<U256, NodeFault> {
        let answer = self.call(method, params).await?;
        quantity(&answer).ok_or_else(|| NodeFault::Answer { method, answer: answer.to_string() })
    }

    pub(crate) async fn call(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Value, NodeFault> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (agent, url) = (self.agent.clone(), self.url.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = agent.post(&url).send_json(&question)?;
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json::<Value>()
        });
        let mut answer = asked.await??;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
            let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
            return Err(NodeFault::Refused { method, message });
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }
}

impl NodeFault {
    /// Whether a replacement was refused because it pays too little more than what it replaces.
    pub(super) fn is_underpriced(&self) -> bool {
        self.says("underpriced")
    }

    /// Whether the node holds exactly this transaction already.
    pub(super) fn is_known(&self) -> bool {
        self.says("already known") || self.says("already imported")
    }

    fn says(&self, words: &str) -> bool {
        let Self::Refused { message, .. } = self else { return false };
        message.to_ascii_lowercase().contains(words)
    }
}

fn quantity(value: &Value) -> Option<U256> {
    U256::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// What a node may say of itself.
const MESSAGE_CHARS_MAX: usize = 300;

/// A block with all its transactions in JSON is a few megabytes on busy chains.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One question.
const PATIENCE: Duration = Duration::from_secs(20);

const NONCE_MAX: u64 = 1 << 48;

const GWEI: u64 = 1_000_000_000;
