//! A real Ethereum node (anvil) on loopback, to say whether a transaction can be mined.

use std::net::SocketAddr;
use std::process::Command;

use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::{Child, ChildError};
use crate::http::{self, HttpError};
use crate::place::{self, PlaceError};
use crate::wait::{self, TimedOut};

/// The chain's id.
pub const CHAIN_ID: u64 = 31_337;

/// The node could not be run, or said no.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    /// It is not installed.
    #[error("anvil is not there")]
    Place(#[from] PlaceError),
    /// Its folder could not be made.
    #[error("anvil's folder could not be made")]
    Folder(#[source] std::io::Error),
    /// It could not be run.
    #[error("anvil could not be run")]
    Child(#[from] ChildError),
    /// It never listened, or never mined.
    #[error("anvil did not get there")]
    Slow(#[from] TimedOut),
    /// It could not be asked.
    #[error("anvil could not be asked")]
    Http(#[from] HttpError),
    /// The answer is no JSON.
    #[error("anvil's answer is no JSON")]
    NotJson(#[from] serde_json::Error),
    /// It refused.
    #[error("anvil refused {method}: {message}")]
    Refused {
        /// The JSON-RPC method.
        method: String,
        /// Its reason.
        message: String,
    },
    /// It answered something else than the method promises.
    #[error("anvil answered {method} with {answer}")]
    Unexpected {
        /// The JSON-RPC method.
        method: String,
        /// The answer.
        answer: Value,
    },
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Anvil {
    address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

/// What became of a mined transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The sender the node recovered.
    pub from: Address,
    /// EIP-2718 type.
    pub kind: u64,
    /// Whether it succeeded.
    pub succeeded: bool,
}

impl Anvil {
    /// Starts one on a port of its own choosing. It mines each transaction at once.
    pub fn start() -> Result<Self, AnvilError> {
        Self::with(&[])
    }

    /// One that has heard of no block since 2020.
    pub fn of_the_past() -> Result<Self, AnvilError> {
        Self::with(&["--timestamp", "1577836800"])
    }

    fn with(more: &[&str]) -> Result<Self, AnvilError> {
        let folder = tempfile::Builder::new().prefix("portcullis-anvil-").tempdir();
        let folder = folder.map_err(AnvilError::Folder)?;
        let mut command = Command::new(place::anvil()?);
        // Prague: the last rules under which a blob needs one proof, not one a cell.
        command.args(["--host", "127.0.0.1", "--port", "0", "--hardfork", "prague"]);
        command.args(["--chain-id", &CHAIN_ID.to_string(), "--accounts", "1"]);
        command.args(more);
        let child = Child::start(command, &folder.path().join("log"))?;
        let address = wait::until("anvil to listen", || listening(&child))?;
        Ok(Self { address, _child: child, _folder: folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives an account this many wei.
    pub fn set_balance(&self, account: Address, wei: U256) -> Result<(), AnvilError> {
        self.call("anvil_setBalance", json!([account.to_string(), format!("{wei:#x}")])).map(drop)
    }

    /// The balance of an account, in wei.
    pub fn balance(&self, account: Address) -> Result<U256, AnvilError> {
        let method = "eth_getBalance";
        let answer = self.call(method, json!([account.to_string(), "latest"]))?;
        let number = answer.as_str().and_then(|hex| hex.parse().ok());
        number.ok_or_else(|| AnvilError::Unexpected { method: method.into(), answer })
    }

    /// Hands in a signed transaction (a blob transaction with its blob); gives its hash.
    pub fn send(&self, raw: &[u8]) -> Result<B256, AnvilError> {
        let method = "eth_sendRawTransaction";
        let answer = self.call(method, json!([format!("0x{}", hex::encode(raw))]))?;
        let hash = answer.as_str().and_then(|hex| hex.parse().ok());
        hash.ok_or_else(|| AnvilError::Unexpected { method: method.into(), answer })
    }

    /// Waits until a transaction is mined.
    pub fn receipt(&self, hash: B256) -> Result<Receipt, AnvilError> {
        let method = "eth_getTransactionReceipt";
        let mined = || match self.call(method, json!([hash.to_string()])) {
            Ok(Value::Null) => None,
            other => Some(other),
        };
        let answer = wait::until("a transaction to be mined", mined)??;
        receipt(&answer).ok_or_else(|| AnvilError::Unexpected { method: method.into(), answer })
    }

    /// Any JSON-RPC method.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, AnvilError> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = http::post_json(self.address, "/", question.to_string().as_bytes())?;
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        if let Some(error) = answer.get("error") {
            let message = error.to_string();
            return Err(AnvilError::Refused { method: method.to_owned(), message });
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }
}

fn listening(child: &Child) -> Option<SocketAddr> {
    let log = child.log().ok()?;
    log.lines().find_map(|line| line.strip_prefix("Listening on ")?.trim().parse().ok())
}

fn receipt(answer: &Value) -> Option<Receipt> {
    let text = |name: &str| answer.get(name)?.as_str();
    Some(Receipt {
        from: text("from")?.parse().ok()?,
        kind: u64::from_str_radix(text("type")?.strip_prefix("0x")?, 16).ok()?,
        succeeded: text("status")? == "0x1",
    })
}
