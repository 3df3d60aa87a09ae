//! The independent checker: adds up what the signatures that callers hold can move.
//!
//! It knows nothing of books, journals or charges, and must never use the policy crate: it reads
//! signed transactions as any node would, and asks how much of each asset could be mined.
//!
//! A signature was permitted at some moment between the request's sending and the reply's arrival.
//! So a sum counts only what was certainly permitted within one window; what it finds is a proof,
//! never a suspicion. Two rules of the chain apply: of several transactions for one (key, chain,
//! nonce) only one is mined, hence the largest counts; and gas is money.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::transaction::SignableTransaction;
use alloy_consensus::{EthereumTxEnvelope, Transaction, TxEip4844};
use alloy_eips::eip2718::{Decodable2718, Eip2718Error};
use alloy_primitives::{Address, SignatureError, U256, U512, hex};

/// A signed transaction is not one, or one that the checker cannot judge.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The bytes are no transaction.
    #[error("holding {index} is no signed transaction")]
    NotATransaction {
        /// Its place in the list.
        index: usize,
        /// Why.
        #[source]
        source: Eip2718Error,
    },
    /// Nobody could have signed it.
    #[error("holding {index} has no sender")]
    NoSender {
        /// Its place in the list.
        index: usize,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// It may be replayed on any chain.
    #[error("holding {index} names no chain")]
    NoChain {
        /// Its place in the list.
        index: usize,
    },
}

/// A signed transaction in a caller's hands.
#[derive(Clone, Debug)]
pub struct Holding {
    /// When the request was sent, in milliseconds of any one clock. If it was asked for more than
    /// once: when that was first done, for it is charged once.
    pub sent_ms: u64,
    /// When the reply was there, on the same clock.
    pub received_ms: u64,
    /// The signed transaction, EIP-2718.
    pub raw: Vec<u8>,
}

/// What can be moved.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Asset {
    /// The chain's own coin, as value; in wei.
    Native,
    /// The chain's own coin, as the highest fee; in wei.
    Fee,
    /// The chain's own coin, value and fee together; in wei.
    NativeAndFee,
    /// A token, by contract; `transfer` and `transferFrom`.
    Erc20(Address),
}

/// Whose budget: a key's address, a chain, an asset.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Account {
    /// The key's address.
    pub key: Address,
    /// The chain's id.
    pub chain: u64,
    /// What is spent.
    pub asset: Asset,
}

/// A promise to be held against the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Whose.
    pub account: Account,
    /// How much may go within any window.
    pub most: U256,
    /// The window's length in milliseconds; `u64::MAX` for ever.
    pub window_ms: u64,
}

/// A promise proved broken.
#[derive(Clone, Debug)]
pub struct Overspend {
    /// The promise.
    pub limit: Limit,
    /// What can be moved instead.
    pub spent: U512,
    /// When the window began in which it can.
    pub since_ms: u64,
}

/// All that callers hold, read.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// Reads every holding. One that cannot be read is an error, not a zero.
    pub fn read(holdings: &[Holding]) -> Result<Self, LedgerError> {
        let entries = holdings.iter().enumerate().map(|(index, h)| Entry::read(index, h));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Every account that anything was signed for.
    pub fn accounts(&self) -> BTreeSet<Account> {
        let accounts = self.entries.iter().flat_map(|entry| {
            entry.moves.keys().map(|&asset| Account { key: entry.key, chain: entry.chain, asset })
        });
        accounts.collect()
    }

    /// The most that can be moved from an account by what was certainly permitted within one
    /// window of this length, and when that window began.
    pub fn peak(&self, account: Account, window_ms: u64) -> (U512, u64) {
        let mut peak = (U512::ZERO, 0);
        let mine =
            || self.entries.iter().filter(|e| e.key == account.key && e.chain == account.chain);
        // A fullest window can always be moved to begin where one of its requests was sent.
        for since in mine().map(|entry| entry.sent_ms).collect::<BTreeSet<_>>() {
            let end = since.saturating_add(window_ms);
            let inside = mine().filter(|e| e.sent_ms >= since && e.received_ms < end);
            let spent = sum_of_slots(inside, account.asset);
            if spent > peak.0 {
                peak = (spent, since);
            }
        }
        peak
    }

    /// Which of these promises are proved broken.
    pub fn overspends(&self, limits: &[Limit]) -> Vec<Overspend> {
        let broken = limits.iter().filter_map(|&limit| {
            let (spent, since_ms) = self.peak(limit.account, limit.window_ms);
            let over = spent > U512::from(limit.most);
            over.then_some(Overspend { limit, spent, since_ms })
        });
        broken.collect()
    }
}

/// One signed transaction, as far as money goes.
#[derive(Debug)]
struct Entry {
    sent_ms: u64,
    received_ms: u64,
    key: Address,
    chain: u64,
    nonce: u64,
    moves: BTreeMap<Asset, U512>,
}

impl Entry {
    fn read(index: usize, holding: &Holding) -> Result<Self, LedgerError> {
        let transaction = EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(&holding.raw)
            .map_err(|source| LedgerError::NotATransaction { index, source })?;
        Ok(Self {
            sent_ms: holding.sent_ms,
            received_ms: holding.received_ms,
            key: sender(&transaction).map_err(|source| LedgerError::NoSender { index, source })?,
            chain: transaction.chain_id().ok_or(LedgerError::NoChain { index })?,
            nonce: transaction.nonce(),
            moves: moves(&transaction),
        })
    }
}

/// One slot counts once, with the largest of its alternatives.
fn sum_of_slots<'a>(entries: impl Iterator<Item = &'a Entry>, asset: Asset) -> U512 {
    let mut slots: BTreeMap<u64, U512> = BTreeMap::new();
    for entry in entries {
        let amount = entry.moves.get(&asset).copied().unwrap_or_default();
        let slot = slots.entry(entry.nonce).or_default();
        *slot = amount.max(*slot);
    }
    slots.into_values().fold(U512::ZERO, U512::saturating_add)
}

/// The address whose key made the signature.
pub fn sender(transaction: &EthereumTxEnvelope<TxEip4844>) -> Result<Address, SignatureError> {
    let digest = match transaction {
        EthereumTxEnvelope::Legacy(tx) => tx.tx().signature_hash(),
        EthereumTxEnvelope::Eip2930(tx) => tx.tx().signature_hash(),
        EthereumTxEnvelope::Eip1559(tx) => tx.tx().signature_hash(),
        EthereumTxEnvelope::Eip4844(tx) => tx.tx().signature_hash(),
        EthereumTxEnvelope::Eip7702(tx) => tx.tx().signature_hash(),
    };
    transaction.signature().recover_address_from_prehash(&digest)
}

fn moves(transaction: &EthereumTxEnvelope<TxEip4844>) -> BTreeMap<Asset, U512> {
    let wide = |number: u128| U512::from(number);
    let value = U512::from(transaction.value());
    let gas =
        U512::from(transaction.gas_limit()).saturating_mul(wide(transaction.max_fee_per_gas()));
    let blob_gas = U512::from(transaction.blob_gas_used().unwrap_or_default());
    let blobs =
        blob_gas.saturating_mul(wide(transaction.max_fee_per_blob_gas().unwrap_or_default()));
    let fee = gas.saturating_add(blobs);
    let mut moves = BTreeMap::from([
        (Asset::Native, value),
        (Asset::Fee, fee),
        (Asset::NativeAndFee, value.saturating_add(fee)),
    ]);
    if let (Some(token), Some(amount)) = (transaction.to(), erc20_amount(transaction.input())) {
        moves.insert(Asset::Erc20(token), U512::from(amount));
    }
    moves
}

/// The amount in a call that moves tokens, if it is one.
pub fn erc20_amount(data: &[u8]) -> Option<U256> {
    const TRANSFER: [u8; 4] = hex!("a9059cbb");
    const TRANSFER_FROM: [u8; 4] = hex!("23b872dd");
    let (selector, arguments) = data.split_first_chunk::<4>()?;
    let amount = match *selector {
        TRANSFER => arguments.get(32..64)?,
        TRANSFER_FROM => arguments.get(64..96)?,
        _ => return None,
    };
    Some(U256::from_be_slice(amount))
}
