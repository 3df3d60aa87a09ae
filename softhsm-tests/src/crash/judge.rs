//! What must hold after every crash, found out without the policy crate: from what callers hold,
//! and from the journal's lines as any JSON reader sees them.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::TxEip1559;
use alloy_primitives::{B256, U256, U512, keccak256};
use alloy_rlp::Decodable as _;
use portcullis_client::KeyRef;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::load::{Held, Load};
use super::{NATIVE_BUDGET_ETH, NATIVE_WINDOW, USDC_BUDGET};
use crate::ledger::{Account, Asset, Holding, Ledger, Limit, erc20_amount};
use crate::world::{CHAIN, ether};

/// The journal and the holdings, as far as they have been judged.
#[derive(Debug)]
pub(super) struct Judge {
    key: KeyRef,
    /// Leaf hashes of all records, in order.
    leaves: Vec<B256>,
    signed: BTreeMap<u64, Signed>,
    /// By nonce, what its signed transactions may cost in native coin, in order of their records.
    alternatives: BTreeMap<u64, Vec<(B256, U256)>>,
    /// The most USDC that one of a nonce's signed transactions moves.
    usdc: BTreeMap<u64, u64>,
    judged: usize,
    seen: BTreeSet<u64>,
    /// Digests that a caller holds a signature over.
    charged: BTreeSet<B256>,
    /// Holdings that a window may still reach.
    recent: Vec<Holding>,
    cuts: u64,
    lost: u64,
    violations: Vec<String>,
    reported: usize,
}

/// A record of a signature.
#[derive(Debug)]
struct Signed {
    nonce: Option<u64>,
    digest: String,
    signature_sha256: String,
}

impl Judge {
    pub(super) fn new(key: KeyRef) -> Self {
        Self {
            key,
            leaves: Vec::new(),
            signed: BTreeMap::new(),
            alternatives: BTreeMap::new(),
            usdc: BTreeMap::new(),
            judged: 0,
            seen: BTreeSet::new(),
            charged: BTreeSet::new(),
            recent: Vec::new(),
            cuts: 0,
            lost: 0,
            violations: Vec::new(),
            reported: 0,
        }
    }

    /// Takes in the journal's new lines. Lines it has seen before must be what they were.
    pub(super) fn read(&mut self, lines: &[(u64, Vec<u8>)]) {
        for (sequence, line) in lines.iter().filter(|(sequence, _)| *sequence > 0) {
            if *sequence <= self.records() {
                self.compare(*sequence, line);
            } else if *sequence == self.records() + 1 {
                self.leaves.push(leaf(line));
                self.record(*sequence, line);
            } else {
                self.accuse(format!("record {sequence} comes after {}", self.records()));
            }
        }
    }

    /// A record that was read before must not have changed.
    pub(super) fn compare(&mut self, sequence: u64, line: &[u8]) {
        let place = usize::try_from(sequence).unwrap_or(usize::MAX) - 1;
        match self.leaves.get(place) {
            Some(known) if *known == leaf(line) => {}
            Some(_) => self.accuse(format!("record {sequence} is not what it was")),
            None => {}
        }
    }

    fn record(&mut self, sequence: u64, line: &[u8]) {
        let Ok(entry) = serde_json::from_slice::<Value>(line) else {
            return self.accuse(format!("record {sequence} is no JSON"));
        };
        let record = &entry["record"];
        if let Some(started) = record.get("started") {
            self.cuts += u64::from(started["cut"].as_u64() != Some(0));
            let lost = started["lost"].as_array().into_iter().flatten();
            self.lost += lost.map(|_| 1).sum::<u64>();
        }
        let Some(signed) = record.get("signed") else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (digest, preimage) = (text(&signed["asked"]["digest"]), &signed["asked"]["input"]);
        let signature_sha256 = text(&signed["signature_sha256"]);
        let preimage = unhex(&text(&preimage["transaction"]));
        let transaction = preimage.as_deref().and_then(decode);
        let nonce = transaction.as_ref().map(|transaction| transaction.nonce);
        self.signed.insert(sequence, Signed { nonce, digest, signature_sha256 });
        let (Some(preimage), Some(transaction)) = (preimage, transaction) else {
            return self.accuse(format!("record {sequence} has no transaction of type 2"));
        };
        let fee = U256::from(transaction.gas_limit) * U256::from(transaction.max_fee_per_gas);
        let alternative = (keccak256(preimage), transaction.value + fee);
        self.alternatives.entry(transaction.nonce).or_default().push(alternative);
        let units = erc20_amount(&transaction.input).unwrap_or_default();
        let most = self.usdc.entry(transaction.nonce).or_default();
        *most = units.try_into().unwrap_or(u64::MAX).max(*most);
    }

    /// Holds everything that callers received since the last time against journal and budgets.
    pub(super) fn holdings(&mut self, load: &Load) {
        let fresh = load.held_since(self.judged);
        self.judged += fresh.len();
        for held in &fresh {
            self.has_its_record(held);
        }
        let window_ms = u64::try_from(NATIVE_WINDOW.as_millis()).unwrap_or(u64::MAX);
        let fresh = self.charged_once(load, fresh);
        // No window that reaches a fresh holding reaches back further than this.
        let first = fresh.iter().map(|holding| holding.received_ms).min();
        let first = first.unwrap_or_default().saturating_sub(window_ms);
        self.recent.retain(|holding| holding.sent_ms >= first);
        self.recent.extend(fresh);
        self.budgets(window_ms);
    }

    /// A transaction is charged once, however often it is asked for and handed out: between its
    /// first asking and its first arrival. One that may cost no more than an alternative with the
    /// same nonce, recorded before it, permits nothing that was not permitted then.
    fn charged_once(&mut self, load: &Load, mut fresh: Vec<Held>) -> Vec<Holding> {
        fresh.sort_by_key(|held| held.holding.received_ms);
        fresh.retain(|held| self.charged.insert(held.digest) && !self.is_covered(held));
        let holdings = fresh.into_iter().map(|Held { mut holding, digest, .. }| {
            let first = load.first_asked(digest).unwrap_or(holding.sent_ms);
            holding.sent_ms = first.min(holding.sent_ms);
            holding
        });
        holdings.collect()
    }

    fn is_covered(&self, held: &Held) -> bool {
        let nonce = self.signed.get(&held.sequence).and_then(|signed| signed.nonce);
        let Some(slot) = nonce.and_then(|nonce| self.alternatives.get(&nonce)) else {
            return false;
        };
        let place = slot.iter().position(|(digest, _)| *digest == held.digest);
        let (before, from) = slot.split_at(place.unwrap_or_default());
        let cost = from.first().map(|(_, cost)| *cost).unwrap_or_default();
        place.is_some() && before.iter().any(|(_, earlier)| *earlier >= cost)
    }

    fn has_its_record(&mut self, held: &Held) {
        let Held { sequence, leaf, digest, signature_sha256, .. } = held;
        let place = usize::try_from(*sequence).unwrap_or(usize::MAX).wrapping_sub(1);
        let same_leaf = self.leaves.get(place) == Some(leaf);
        let same = self.signed.get(sequence).is_some_and(|known| {
            known.digest == digest.to_string()
                && known.signature_sha256 == signature_sha256.to_string()
        });
        if !(same && same_leaf) {
            self.accuse(format!("a caller holds a signature over {digest} without a record"));
        }
        self.seen.insert(*sequence);
    }

    fn budgets(&mut self, window_ms: u64) {
        let ledger = match Ledger::read(&self.recent) {
            Ok(ledger) => ledger,
            Err(error) => return self.accuse(format!("a holding cannot be read: {error:?}")),
        };
        let account = |asset| Account { key: self.key.address, chain: CHAIN, asset };
        let native = Limit {
            account: account(Asset::NativeAndFee),
            most: ether(NATIVE_BUDGET_ETH),
            window_ms,
        };
        let broken = ledger.overspends(&[native]);
        let broken = broken.into_iter().map(|spent| format!("native budget exceeded: {spent:?}"));
        self.violations.extend(broken);
        let spent: U512 =
            self.usdc.values().fold(U512::ZERO, |sum, units| sum + U512::from(*units));
        if spent > U512::from(budget_units()) {
            self.accuse(format!("{spent} units of USDC were signed away in a day"));
        }
    }

    /// What is left of the day's USDC, in units, by the journal's own signatures.
    pub(super) fn usdc_left(&self) -> u64 {
        budget_units().saturating_sub(self.usdc.values().sum())
    }

    /// Records read so far.
    pub(super) fn records(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap_or(u64::MAX)
    }

    /// Recorded signatures that no caller holds: the kill came between record and reply.
    pub(super) fn unseen(&self) -> u64 {
        let unseen = self.signed.keys().filter(|sequence| !self.seen.contains(sequence));
        u64::try_from(unseen.count()).unwrap_or(u64::MAX)
    }

    /// Starts that cut something off, and decisions that starts call lost.
    pub(super) fn losses(&self) -> (u64, u64) {
        (self.cuts, self.lost)
    }

    pub(super) fn accuse(&mut self, violation: String) {
        self.violations.push(violation);
    }

    /// All broken promises.
    pub(super) fn violations(&mut self) -> Vec<String> {
        self.reported = self.violations.len();
        self.violations.clone()
    }

    /// Those that [`Self::violations`] has not given.
    pub(super) fn take_new_violations(&mut self) -> Vec<String> {
        self.violations.split_off(self.reported)
    }
}

fn budget_units() -> u64 {
    USDC_BUDGET * 1_000_000
}

/// RFC 6962's leaf hash of a record.
fn leaf(line: &[u8]) -> B256 {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(line);
    B256::new(hash.finalize().into())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

/// An unsigned transaction of type 2, from its preimage.
fn decode(preimage: &[u8]) -> Option<TxEip1559> {
    let (2, mut rest) = preimage.split_first()? else { return None };
    let transaction = TxEip1559::decode(&mut rest).ok()?;
    rest.is_empty().then_some(transaction)
}
