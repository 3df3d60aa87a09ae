//! What a caller of Portcullis links: connect with mutual TLS, ask for a signature, and check the
//! reply before believing it.
//!
//! [`Client`] speaks to the data plane. A reply is handed on only if its signature is by the
//! expected address, over a digest this crate computed itself from the caller's own bytes, and
//! the raw transaction is exactly those bytes with that signature in place. So a compromised
//! service can refuse, but it cannot make a caller broadcast something else.
//! [`ControlClient`] speaks to the control plane, for operators' tools.
//!
//! It must never know policy: what is allowed is the service's business, and this crate depends on
//! neither `policy` nor `signer`.
//!
//! ```no_run
//! use portcullis_client::{Answer, Client, ClientConfig, KeyRef};
//!
//! # async fn example(preimage: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("https://signer.internal:7443", "ca.pem", "me.pem", "me.key");
//! let client = Client::connect(&config).await?;
//! let key = KeyRef {
//!     id: "000102030405060708090a0b0c0d0e0f".parse()?,
//!     address: "0x9858EfFD232B4033E47d90003D41EC34EcaEda94".parse()?,
//! };
//! let request_id = client.new_request_id();
//! match client.sign_transaction(&key, &request_id, preimage).await? {
//!     Answer::Signed(signed) => println!("broadcast 0x{}", signed.raw_transaction),
//!     Answer::Parked(parked) => println!("waits for {}", parked.missing.join(", ")),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A caller that can wait for people has [`Client::sign_transaction_when_approved`].
//!
//! # When the client certificate is missing or refused
//!
//! In TLS 1.3 a client has finished its handshake before the service looks at its certificate. A
//! certificate that is missing, expired, revoked or from another authority therefore shows up as
//! a broken connection (gRPC `UNAVAILABLE` or `UNKNOWN`) on the first call, not as a failed
//! connect. [`TransportError`] names that case where the peer said so, and mentions it where the
//! connection just ended; see [`Trouble`].

#[cfg(feature = "alloy")]
mod alloy;
mod approvals;
mod client;
mod config;
mod control;
mod error;
mod follow;
mod key;
mod receipt;
mod request_id;
mod retry;
mod stream;
mod tls_watch;
mod transport;
mod verify;
mod waiting;

#[cfg(feature = "alloy")]
pub use alloy::{AlloyError, PortcullisSigner};
pub use approvals::ApprovalChanges;
pub use client::{Answer, Client, ListedKey, Parked, SignedDigest, SignedTransaction, channel};
pub use config::{ClientConfig, ConfigError, PemFile};
pub use control::{ControlClient, Journal};
pub use error::{CallError, ConnectError, Refusal, SignError, TransportError, Trouble, Violation};
pub use key::{InvalidKeyId, KeyId, KeyRef};
pub use receipt::{Proved, ReceiptError};
pub use request_id::{InvalidRequestId, NoRandomness, RequestId, RequestIds};
pub use retry::Retry;
pub use stream::{SignReceiver, SignSender, SignStream, StreamAnswer, StreamError};
pub use tonic::Code;
pub use verify::UntrustedReply;
pub use waiting::{Change, Patience, Progress, RequestChanges, WaitError};

pub use portcullis_tlog::note::{Checkpoint, QuorumFault, Verifier, Witness, Witnesses};
pub use portcullis_tlog::receipt::ReceiptFault;

/// The wire's own types, which the control plane's answers are given in.
pub use portcullis_proto::v1 as wire;
