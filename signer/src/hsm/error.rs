//! What can go wrong at the token, and what a request is told about it.

use std::path::PathBuf;
use std::time::Duration;

use super::pool::PoolFault;
use cryptoki::error::Error;
use portcullis_policy::id::KeyId;

use super::config::TokenSelector;
use super::drift::Drift;
use crate::pin::PinError;
use crate::signature::InvalidPoint;

/// Why a request got no signature. Closed: what a caller is told is decided by a `match` on it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignFault {
    /// The queue was full, or the request's turn did not come in time. Surely nothing was signed.
    #[error("the token's queue is full")]
    Overloaded,
    /// The token did not answer in time. It may have signed: the answer is wiped if it comes.
    #[error("the token did not answer in time")]
    TimedOut,
    /// No session is usable, or the call failed; the token's health says why.
    #[error("the token is unavailable")]
    Unavailable,
    /// The answer was no signature of this digest by this key (invariant 10). Wiped and counted.
    #[error("the token's signature does not verify for key {key}")]
    BadSignature {
        /// The key asked for.
        key: KeyId,
    },
    /// No private key of this id on the token.
    #[error("key {key} is not on the token")]
    KeyMissing {
        /// The key asked for.
        key: KeyId,
    },
    /// Several private keys of this id on the token: somebody copied one.
    #[error("key {key} is on the token more than once")]
    KeyAmbiguous {
        /// The key asked for.
        key: KeyId,
    },
    /// The token refuses to sign with this key: `CKA_SIGN` is false.
    #[error("key {key} is fenced on the token")]
    KeyFenced {
        /// The key asked for.
        key: KeyId,
    },
    /// The token will not sign with this key, and it is not fenced: its type, its mechanism or its
    /// size is not what the token thinks it should be.
    #[error("the token will not sign with key {key}")]
    KeyRefused {
        /// The key asked for.
        key: KeyId,
    },
    /// Gave bad signatures before; not asked again until a restart.
    #[error("key {key} is quarantined after bad signatures")]
    KeyQuarantined {
        /// The key asked for.
        key: KeyId,
    },
    /// We are shutting down.
    #[error("the token is closed")]
    Closed,
}

impl SignFault {
    /// After how long asking again may help; `None` if only a person can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded => Some(Duration::from_millis(100)),
            Self::TimedOut | Self::Unavailable | Self::Closed => Some(Duration::from_secs(1)),
            // A key that was thawed signs again a moment later; one that somebody else fenced is
            // stopped at the next look, and then says so.
            Self::KeyFenced { .. } => Some(Duration::from_secs(1)),
            Self::BadSignature { .. }
            | Self::KeyMissing { .. }
            | Self::KeyAmbiguous { .. }
            | Self::KeyRefused { .. }
            | Self::KeyQuarantined { .. } => None,
        }
    }
}

/// Why nothing attests the journal.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFault {
    /// The token cannot make one of any kind that we know.
    #[error("the token offers neither Ed25519 (CKM_EDDSA) nor P-256 (CKM_ECDSA)")]
    Mechanism,
    /// Not one object: none, or somebody copied it.
    #[error("the token holds {0} private objects of it, and should hold one")]
    Objects(usize),
    /// It is not as it was asked for.
    #[error("it is not as we make it: {0:?}")]
    Drifted(Vec<Drift>),
    /// Its public point cannot be understood.
    #[error("its public point cannot be understood")]
    Point,
    /// The token would not make it, or sign with it.
    #[error("the token refused")]
    Token(#[source] Error),
    /// What the token gave is no signature by the pinned key.
    #[error("the token's signature does not verify against the pinned key")]
    Signature,
}

impl CheckpointFault {
    /// Whether the key is at fault, and not the session.
    pub(super) fn is_of_the_key(&self) -> bool {
        match self {
            Self::Mechanism | Self::Objects(_) | Self::Drifted(_) | Self::Point => true,
            // The one table says whose fault it is.
            Self::Token(_) | Self::Signature => false,
        }
    }
}

/// Why the token could not be opened, searched or given a key.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// Not a loadable PKCS#11 module.
    #[error("PKCS#11 module {path} could not be loaded")]
    Module {
        /// As configured.
        path: PathBuf,
        /// What the loader said.
        #[source]
        source: Error,
    },
    /// One process loads one module: two would share login state in unknown ways.
    #[error("PKCS#11 module {path} cannot be loaded beside {loaded}")]
    SecondModule {
        /// As configured.
        path: PathBuf,
        /// The one that is loaded.
        loaded: PathBuf,
    },
    /// The module refused to start.
    #[error("PKCS#11 module {path} could not be initialised")]
    Initialise {
        /// As configured.
        path: PathBuf,
        /// What the module said.
        #[source]
        source: Error,
    },
    /// The module could not list its slots.
    #[error("the module's tokens could not be listed")]
    Slots(#[source] Error),
    /// No initialised token fits.
    #[error("no token with {selector}")]
    TokenMissing {
        /// As configured.
        selector: TokenSelector,
    },
    /// Several tokens fit: name one by its serial number.
    #[error("{count} tokens with {selector}: select one by its serial number")]
    TokenAmbiguous {
        /// As configured.
        selector: TokenSelector,
        /// How many fit.
        count: usize,
    },
    /// Under the same name there is another token than the one we started with.
    #[error("token {selector} is now serial number {found:?}, was {expected:?}")]
    TokenExchanged {
        /// As configured.
        selector: TokenSelector,
        /// The serial number at start.
        expected: String,
        /// The serial number now.
        found: String,
    },
    /// The token cannot do what we need.
    #[error("the token does not offer {mechanism}")]
    Mechanism {
        /// The PKCS#11 name.
        mechanism: &'static str,
    },
    /// No session to be had.
    #[error("a session could not be opened")]
    Session(#[source] Error),
    /// Opening a session took longer than a call may. It may hang for ever: its thread is stuck.
    #[error("a session was not opened in time")]
    OpeningTimedOut,
    /// No further call is risked until one of the stuck ones returns.
    #[error("too many calls into the module are stuck")]
    TooManyStuck,
    /// The PIN could not be read.
    #[error("the PIN could not be read")]
    Pin(#[source] PinError),
    /// The token refused the PIN. None that it refused is sent again before one is right.
    #[error(
        "the token refused the PIN; it is not sent again: write the right one into the PIN's \
         file, where it is tried once, or, if it was refused before, restart"
    )]
    WrongPin,
    /// `CKF_USER_PIN_FINAL_TRY`: nothing is sent, because a wrong PIN would lock the token.
    #[error(
        "one more wrong PIN locks the token, so none is sent: log in once with the token's own \
         tools, which sets its count back"
    )]
    PinFinalTry,
    /// The token has locked the PIN.
    #[error(
        "the token refused the PIN and has locked it: have its security officer unlock it and set \
         another, and write that one into the PIN's file, where it is tried once, or restart"
    )]
    PinLocked,
    /// The token refused the login for a reason we do not know to be harmless. Not tried again.
    #[error(
        "the token refused the login, and does not say why; it is not tried again until another \
         PIN is in the PIN's file, or a restart"
    )]
    LoginRefused,
    /// The login failed before the PIN was looked at.
    #[error("the login did not reach the token")]
    Login(#[source] Error),
    /// Another session is logging in, and its call does not end. Two at once could use up two
    /// attempts of the PIN.
    #[error("the login of another session does not end")]
    LoginBusy,
    /// The session is not logged in, so it sees no private keys: what it does not find proves
    /// nothing.
    #[error("its login is lost")]
    LoginLost,
    /// A call on a signing session failed.
    #[error("signing with key {key} failed")]
    Sign {
        /// The key asked for.
        key: KeyId,
        /// What the module said.
        #[source]
        source: Error,
    },
    /// A signature did not verify; its session is not used again.
    #[error("a signature of key {key} did not verify")]
    BadSignature {
        /// The key asked for.
        key: KeyId,
    },
    /// The module's code panicked in our hands.
    #[error("a call into the module panicked")]
    Panicked,
    /// The module is finalised and initialised at this moment.
    #[error("the module is being loaded again")]
    Reloading,
    /// The module was loaded again: what was opened before is gone.
    #[error("the module was loaded again")]
    Reloaded,
    /// The module should be loaded again, and calls are inside it that do not come out.
    #[error("the module cannot be loaded again: {inside} calls are inside it and do not end")]
    ModuleHeld {
        /// How many.
        inside: usize,
    },
    /// The token did not answer in time.
    #[error("the token did not answer in time")]
    TimedOut,
    /// The thread that looks after keys is busy, stuck or has no session.
    #[error("the token is unavailable")]
    Unavailable,
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// There is a key of this id already.
    #[error("key {key} exists already")]
    KeyExists {
        /// The id asked for.
        key: KeyId,
    },
    /// The token could not make the key.
    #[error("key {key} could not be generated")]
    Generate {
        /// The id asked for.
        key: KeyId,
        /// What the module said.
        #[source]
        source: Error,
    },
    /// The objects could not be listed or read.
    #[error("the token's objects could not be read")]
    Read(#[source] Error),
    /// The key could not be fenced, or not be let sign again.
    #[error("the token did not change CKA_SIGN of key {key}")]
    Fence {
        /// Which.
        key: KeyId,
        /// What the module said.
        #[source]
        source: Error,
    },
    /// The checkpoint key.
    #[error("the checkpoint key")]
    Checkpoint(#[source] CheckpointFault),
    /// It would not keep a marker.
    #[error("the token did not write down how far the journal has come")]
    Marker(#[source] Error),
    /// The key could not be removed.
    #[error("the token did not destroy an object of key {key}")]
    Destroy {
        /// Which.
        key: KeyId,
        /// What the module said.
        #[source]
        source: Error,
    },
    /// The key was made otherwise than we asked, and destroyed again.
    #[error("the token made key {key} otherwise than asked: {}", list(drift))]
    Drifted {
        /// The id asked for.
        key: KeyId,
        /// Everything that differs.
        drift: Vec<Drift>,
    },
    /// The key has no public object with a point.
    #[error("key {key} has no public point on the token")]
    PointMissing {
        /// The key.
        key: KeyId,
    },
    /// The public object's point is none.
    #[error("the public point of key {key} cannot be understood")]
    Point {
        /// The key.
        key: KeyId,
        /// Why.
        #[source]
        source: InvalidPoint,
    },
    /// A fresh key's first signature did not come or did not verify.
    #[error("key {key} failed its self-test")]
    SelfTest {
        /// The key.
        key: KeyId,
        /// Why.
        #[source]
        source: SignFault,
    },
}

fn list(drift: &[Drift]) -> String {
    drift.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<PoolFault> for SignFault {
    fn from(fault: PoolFault) -> Self {
        match fault {
            PoolFault::Full => Self::Overloaded,
            PoolFault::TimedOut => Self::TimedOut,
            PoolFault::Unavailable => Self::Unavailable,
            PoolFault::Closed => Self::Closed,
        }
    }
}

/// An error and what caused it, on one line. The binding explains each return code with a paragraph
/// of the standard; whoever is on call wants the code and the function.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        match source.downcast_ref() {
            Some(Error::Pkcs11(code, function)) => {
                text.push_str(&format!("C_{function:?} answered {code:?}"));
            }
            _ => text.push_str(&source.to_string()),
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::RvError;

    use super::*;

    #[test]
    fn a_chain_names_the_call_and_the_code_and_every_cause_once() {
        let failed = |source| chain(&HsmError::Session(source));
        let removed = Error::Pkcs11(RvError::DeviceRemoved, Function::OpenSession);
        assert_eq!(
            failed(removed),
            "a session could not be opened: C_OpenSession answered DeviceRemoved"
        );
        assert!(failed(Error::NotSupported).starts_with("a session could not be opened: "));
    }
}
