//! Which token, how many sessions, how long to wait.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::pin::PinSource;

/// Everything about the token that a configuration file says.
#[derive(Clone, Debug)]
pub struct HsmConfig {
    /// The PKCS#11 module: a shared library's absolute path.
    pub module: PathBuf,
    /// Which of the module's tokens.
    pub token: TokenSelector,
    /// Where the user PIN is read from, at every login.
    pub pin: PinSource,
    /// Sessions that sign. Clamped to what the token allows.
    pub sessions: NonZeroUsize,
    /// Requests that may wait for a session; for one more, whoever has most waiting loses one.
    pub queue_max: usize,
    /// How long a request may wait for a session, and then how long the token may take.
    pub deadline: Duration,
    /// How long start, key creation and inspection may take. Key generation in hardware is slow.
    pub admin_deadline: Duration,
    /// Stuck calls that are replaced by a fresh thread. At one more, admission closes.
    pub stuck_max: usize,
    /// How long stuck calls may keep everybody from signing before the process ends, so that its
    /// supervisor starts a fresh one.
    pub hung_max: Duration,
}

/// How a token is told from others of the same module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenSelector {
    /// By its label; two tokens with one label are refused.
    Label(String),
    /// By its serial number.
    Serial(String),
    /// By slot id. SoftHSM invents a new one at every initialisation; hardware keeps it.
    Slot(u64),
}

impl std::fmt::Display for TokenSelector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(out, "label {label:?}"),
            Self::Serial(serial) => write!(out, "serial number {serial:?}"),
            Self::Slot(slot) => write!(out, "slot {slot}"),
        }
    }
}

impl HsmConfig {
    /// With the defaults for all that has one.
    pub fn new(module: PathBuf, token: TokenSelector, pin: PinSource) -> Self {
        Self {
            module,
            token,
            pin,
            sessions: SESSIONS,
            queue_max: QUEUE_MAX,
            deadline: DEADLINE,
            admin_deadline: ADMIN_DEADLINE,
            stuck_max: STUCK_MAX,
            hung_max: HUNG_MAX,
        }
    }
}

/// Enough to keep two cores busy in SoftHSM while others wait for a wake-up; the smallest networked
/// HSM we know allows 16.
const SESSIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Five seconds of a token that signs 200 a second: more would only be refused in the queue.
const QUEUE_MAX: usize = 1_024;

/// A token that needs longer is not slow but gone.
const DEADLINE: Duration = Duration::from_secs(5);

/// Hardware may take tens of seconds to find and store a key.
const ADMIN_DEADLINE: Duration = Duration::from_secs(30);

/// A fresh process takes over within half a minute of the first call that hangs. Sooner would be
/// another outage for every hiccup of a network.
const HUNG_MAX: Duration = Duration::from_secs(20);

/// As many as there are sessions: every session may hang once before a restart is due.
const STUCK_MAX: usize = 4;
