//! Ids of requests. The same id with the same input is the same request, charged once; so an id
//! must be kept for retries and never used for something else.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names one request of one caller: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(String);

/// Text that is no request id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a request id is 1 to 64 of A-Z a-z 0-9 . _ : -, not {text:?}")]
pub struct InvalidRequestId {
    /// What was given.
    pub text: String,
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system's random source gave nothing, so request ids cannot be made unique")]
pub struct NoRandomness;

impl RequestId {
    /// The id as it goes over the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRequestId { text: text.to_owned() })
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Makes request ids that no other process makes: 96 random bits, drawn once, and a counter.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// A fresh series.
    ///
    /// # Errors
    ///
    /// The random source failed.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 12];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        let prefix = alloy_primitives::hex::encode(bytes);
        Ok(Self { prefix, next: AtomicU64::new(1) })
    }

    /// The next id of the series.
    pub fn unique(&self) -> RequestId {
        // 24 digits, a dash and at most 20 digits: always a valid id.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(format!("{}-{number}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_of_two_series_never_meet_and_are_valid() {
        let (one, two) = (RequestIds::new().expect("random"), RequestIds::new().expect("random"));
        let ids: BTreeSet<RequestId> =
            (0..100).flat_map(|_| [one.unique(), two.unique()]).collect();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().all(|id| id.as_str().parse::<RequestId>().as_ref() == Ok(id)));
    }

    #[test]
    fn only_the_alphabet_and_length_of_the_wire_are_accepted() {
        let long = "x".repeat(65);
        for text in ["", "a b", "ä", "a/b", long.as_str()] {
            assert!(text.parse::<RequestId>().is_err(), "{text:?}");
        }
        assert!("A.z_0:9-".parse::<RequestId>().is_ok());
    }
}
