//! What everybody in a history shares: its clock, the keys, where the signer is, and what has
//! happened so far.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_client::KeyRef;
use tokio::sync::watch;

use super::history::{Call, Clock, End, History, Request, Stop, Thaw};
use super::read;
use crate::load::{Judge, Preimages};
use crate::server::Server;
use crate::world::{CHAIN, Failure, PAYOUTS, SUPPLIER, Vault};

/// A second service with the same rights.
pub const REPORTS: &str = "spiffe://test/reports";

/// The two keys, by their labels. Both have the tag `web`; canaries, so that a quorum can thaw one
/// without delay.
pub const KEYS: [&str; 2] = ["left", "right"];

/// Where the signer is now.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which process, counted from 0.
    pub life: usize,
    /// For callers.
    pub data: SocketAddr,
    /// For people.
    pub control: SocketAddr,
}

/// See the module's comment.
pub struct Ground {
    /// Everybody's clock.
    pub clock: Clock,
    /// Preimages that differ in their nonce.
    pub preimages: Preimages,
    /// Of [`KEYS`].
    pub keys: Vec<GroundKey>,
    place: watch::Sender<Place>,
    nonce: AtomicU32,
    request: AtomicU64,
    mark: AtomicU64,
    acknowledged: AtomicU64,
    signed: AtomicU64,
    enough: AtomicBool,
    over: AtomicBool,
    seen: Mutex<History>,
}

/// A key, and who judges its signatures.
pub struct GroundKey {
    /// Its id.
    pub id: Arc<str>,
    /// Knows its address.
    pub judge: Judge,
}

impl Ground {
    /// Makes the keys.
    pub async fn prepare(vault: &Vault, server: &Server) -> Result<Self, Failure> {
        let mut keys = Vec::new();
        for label in KEYS {
            let KeyRef { id, address } = vault.key_for(server, label, "canary").await?;
            let id = id.to_string().into();
            keys.push(GroundKey { id, judge: Judge::new(address) });
        }
        let tags = keys.iter().map(|key| (key.id.clone(), ["web".to_owned()].into()));
        let tags: BTreeMap<_, _> = tags.collect();
        Ok(Self {
            clock: Clock::start(),
            preimages: Preimages::new(),
            keys,
            place: watch::Sender::new(place(0, server)),
            nonce: AtomicU32::new(Preimages::FIRST),
            request: AtomicU64::new(1),
            mark: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            signed: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            over: AtomicBool::new(false),
            seen: Mutex::new(History { tags, ..History::default() }),
        })
    }

    /// Where the signer is now.
    pub fn place(&self) -> Place {
        *self.place.borrow()
    }

    /// The process is gone.
    pub fn died(&self) {
        let now = self.clock.now();
        self.with(|seen| seen.ends.push(now));
    }

    /// Another process serves the same vault.
    pub fn moved(&self, server: &Server) {
        self.place.send_modify(|old| *old = place(old.life + 1, server));
    }

    /// A nonce nobody has asked for.
    pub fn next_nonce(&self) -> u32 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    /// A request id no other has.
    pub fn next_request(&self) -> Request {
        Request(self.request.fetch_add(1, Ordering::Relaxed))
    }

    /// A mark no other stop has.
    pub fn next_mark(&self) -> u64 {
        self.mark.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes what came of a request.
    pub fn called(&self, call: Call) {
        if matches!(call.end, End::Signed { .. }) {
            self.signed.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|seen| seen.calls.push(call));
    }

    /// Notes a freeze.
    pub fn stopped(&self, stop: Stop) {
        if stop.acknowledged.is_some() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|seen| seen.stops.push(stop));
    }

    /// Notes a thaw.
    pub fn thawed(&self, thaw: Thaw) {
        self.with(|seen| seen.thaws.push(thaw));
    }

    /// Freezes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Signatures received so far.
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// Nobody freezes any more.
    pub fn set_enough(&self) {
        self.enough.store(true, Ordering::SeqCst);
    }

    /// Nobody asks any more.
    pub fn set_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// After everything was over, callers may ask again.
    pub fn set_again(&self) {
        self.over.store(false, Ordering::SeqCst);
    }

    /// Whether freezing is to end.
    pub fn is_enough(&self) -> bool {
        self.enough.load(Ordering::SeqCst)
    }

    /// Whether everything is to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Everything that happened, with the journal as it is at the end.
    pub fn history(&self, exported: &[(u64, Vec<u8>)]) -> Result<History, Failure> {
        let mut history = self.with(std::mem::take);
        history.journal = read::lines(exported)?;
        Ok(history)
    }

    fn with<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

fn place(life: usize, server: &Server) -> Place {
    let addresses = server.addresses();
    Place { life, data: addresses.data_plane, control: addresses.control_plane }
}

/// A book whose limits no history reaches: what is refused is refused because of a stop.
pub fn book() -> String {
    let supplier = SUPPLIER.to_checksum(None);
    let mut text = format!(
        r#"version = 1
[chain.anvil]
id = {CHAIN}
native = "ETH"
[list]
suppliers = ["{supplier}"]
[caller."{PAYOUTS}"]
owners = ["olga"]
[caller."{REPORTS}"]
owners = ["olga"]
"#
    );
    for key in KEYS {
        text.push_str(&format!(
            r#"[key.{key}]
callers = ["{PAYOUTS}", "{REPORTS}"]
chains = ["anvil"]
native = {{ to = "@suppliers", per_tx = "2 ETH", window = ["1_000_000 ETH / 1h"] }}
fees = {{ per_tx = "0.05 ETH", window = "1_000_000 ETH / 24h", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
"#
        ));
    }
    text
}
