//! Callers at work: new payments, the same request again, the same nonce with another transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256, keccak256};
use portcullis_client::{Answer, Client, KeyRef, RequestId, SignError, SignedTransaction};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::ledger::Holding;
use crate::tx::{self, Kind, Payment};
use crate::world::{CHAIN, SUPPLIER, USDC, payment};

/// What all callers share, over all cycles.
#[derive(Debug)]
pub(super) struct Load {
    key: KeyRef,
    begun: Instant,
    nonce: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests that may be asked again, by service.
    asked: [Vec<Asked>; 2],
    held: Vec<Held>,
    /// When each digest was asked for, except where the answer was a refusal.
    asked_at: BTreeMap<B256, Vec<u64>>,
    counted: Counted,
    violations: Vec<String>,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) cut_off: u64,
    pub(super) asked_again: u64,
    pub(super) replacements: u64,
    pub(super) over_budget: u64,
}

/// A request that was made.
#[derive(Clone, Debug)]
struct Asked {
    id: RequestId,
    nonce: u64,
    preimage: Vec<u8>,
}

/// A signature in a caller's hands, and what was said of its record.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) holding: Holding,
    pub(super) sequence: u64,
    pub(super) leaf: B256,
    pub(super) digest: B256,
    /// SHA-256 over r, s and the parity.
    pub(super) signature_sha256: B256,
}

impl Load {
    pub(super) fn new(key: KeyRef, begun: Instant) -> Self {
        Self { key, begun, nonce: AtomicU64::new(0), shared: Mutex::default() }
    }

    /// Milliseconds on the experiment's own clock.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A nonce nobody has asked for.
    pub(super) fn next_nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts a signature that came just now on the table.
    pub(super) fn hold(&self, sent_ms: u64, signed: &SignedTransaction) {
        let received_ms = self.now_ms();
        let parity = [u8::from(signed.signature.v())];
        let (r, s) = (signed.signature.r(), signed.signature.s());
        let bytes = [&r.to_be_bytes::<32>()[..], &s.to_be_bytes::<32>(), &parity].concat();
        let held = Held {
            holding: Holding { sent_ms, received_ms, raw: signed.raw_transaction.to_vec() },
            sequence: signed.sequence,
            leaf: signed.leaf_hash,
            digest: signed.digest,
            signature_sha256: B256::new(Sha256::digest(&bytes).into()),
        };
        self.with(|shared| shared.held.push(held));
    }

    /// When a digest was first asked for in a way that may have been permitted: asked again, it
    /// is not charged again, so this is where the time of its one charge begins.
    pub(super) fn first_asked(&self, digest: B256) -> Option<u64> {
        self.with(|shared| shared.asked_at.get(&digest)?.iter().min().copied())
    }

    /// Notes that a request is sent now, and when that is.
    pub(super) fn send(&self, digest: B256) -> u64 {
        let now = self.now_ms();
        self.with(|shared| shared.asked_at.entry(digest).or_default().push(now));
        now
    }

    /// Notes that what was sent then was refused.
    pub(super) fn refused(&self, digest: B256, sent_ms: u64) {
        self.with(|shared| {
            let Some(sent) = shared.asked_at.get_mut(&digest) else { return };
            if let Some(place) = sent.iter().position(|at| *at == sent_ms) {
                sent.swap_remove(place);
            }
        });
    }

    /// How many signatures callers hold.
    pub(super) fn held(&self) -> u64 {
        self.with(|shared| u64::try_from(shared.held.len()).unwrap_or(u64::MAX))
    }

    /// The signatures that came after the first so many.
    pub(super) fn held_since(&self, count: usize) -> Vec<Held> {
        self.with(|shared| shared.held.iter().skip(count).cloned().collect())
    }

    pub(super) fn counted(&self) -> Counted {
        self.with(|shared| shared.counted)
    }

    /// Answers that no caller should get.
    pub(super) fn violations(&self) -> Vec<String> {
        self.with(|shared| shared.violations.clone())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

/// One caller during one cycle.
pub(super) struct Caller {
    load: Arc<Load>,
    service: usize,
    client: Client,
    chance: StdRng,
}

impl Caller {
    pub(super) fn new(load: &Arc<Load>, service: usize, client: &Client, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        Self { load: load.clone(), service, client: client.clone(), chance }
    }

    /// Asks until the signer is gone.
    pub(super) async fn work(mut self) {
        loop {
            let asked = self.next();
            let digest = keccak256(&asked.preimage);
            let sent_ms = self.load.send(digest);
            let key = self.load.key;
            let answer = self.client.sign_transaction(&key, &asked.id, &asked.preimage).await;
            match answer {
                Ok(Answer::Signed(signed)) => self.load.hold(sent_ms, &signed),
                Err(SignError::Unreachable(_)) => {
                    return self.load.with(|shared| shared.counted.cut_off += 1);
                }
                Err(error) if error.reason().is_some_and(is_over_budget) => {
                    self.load.refused(digest, sent_ms);
                    self.load.with(|shared| shared.counted.over_budget += 1);
                    tokio::time::sleep(PAUSE).await;
                }
                other => {
                    let violation = format!("nonce {}: {other:?}", asked.nonce);
                    return self.load.with(|shared| shared.violations.push(violation));
                }
            }
        }
    }

    fn next(&mut self) -> Asked {
        let service = self.service;
        let earlier = self.load.with(|shared| {
            let asked = &shared.asked[service];
            let from = asked.len().saturating_sub(RECENT);
            (from < asked.len()).then(|| asked[self.chance.random_range(from..asked.len())].clone())
        });
        match (self.chance.random_range(0..100), earlier) {
            (0..15, Some(earlier)) => {
                self.load.with(|shared| shared.counted.asked_again += 1);
                earlier
            }
            (15..35, Some(earlier)) => {
                self.load.with(|shared| shared.counted.replacements += 1);
                self.ask(earlier.nonce)
            }
            _ => self.ask(self.load.next_nonce()),
        }
    }

    /// A request of its own for this nonce.
    fn ask(&mut self, nonce: u64) -> Asked {
        let preimage = if self.chance.random_ratio(1, 3) {
            usdc_transfer(nonce, U256::from(self.chance.random_range(1..=USDC_UNITS_MAX)))
        } else {
            payment(nonce, U256::from(self.chance.random_range(1..=WEI_MAX)))
        };
        let asked = Asked { id: self.client.new_request_id(), nonce, preimage };
        self.load.with(|shared| shared.asked[self.service].push(asked.clone()));
        asked
    }
}

/// A transfer of so many units of USDC, 65,000 gas at 2 gwei.
pub(super) fn usdc_transfer(nonce: u64, units: U256) -> Vec<u8> {
    let payment = Payment::new(CHAIN, nonce, USDC, U256::ZERO);
    let mut payment = payment.erc20_transfer(SUPPLIER, units);
    payment.gas_limit = 65_000;
    tx::preimage(&payment.unsigned(Kind::Eip1559))
}

fn is_over_budget(reason: &str) -> bool {
    matches!(reason, "OVER_WINDOW_LIMIT" | "TOKEN_OVER_WINDOW_LIMIT")
}

/// How far back a request is asked again, or its nonce used again.
const RECENT: usize = 60;

/// 0.015 ETH.
const WEI_MAX: u64 = 15_000_000_000_000_000;

/// 50 USDC.
const USDC_UNITS_MAX: u64 = 50_000_000;

/// After a budget was found used up.
const PAUSE: Duration = Duration::from_millis(5);
