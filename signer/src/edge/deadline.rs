//! A caller's deadline: `grpc-timeout`, from the moment the request arrives.
//!
//! Past it nobody waits for the answer. A request that is not yet charged then will not be; work
//! that is under way goes on and is recorded.

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Deadline;

/// A `grpc-timeout` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout must be 1 to 8 digits and a unit: H, M, S, m, u or n")]
pub(super) struct BadTimeout;

/// The deadline of a request that has just arrived. `None`: it may take for ever. The accept loop
/// puts it among the request's extensions.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Deadline>, BadTimeout> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = parse(value.to_str().map_err(|_| BadTimeout)?).ok_or(BadTimeout)?;
    Ok(Some(Deadline::after(timeout)))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let amount: u64 = plain.then(|| digits.parse().ok())??;
    match unit {
        "H" => amount.checked_mul(3_600).map(Duration::from_secs),
        "M" => amount.checked_mul(60).map(Duration::from_secs),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_the_protocol_writes_it() {
        for (text, expected) in [
            ("0n", Duration::ZERO),
            ("7u", Duration::from_micros(7)),
            ("250m", Duration::from_millis(250)),
            ("3S", Duration::from_secs(3)),
            ("2M", Duration::from_secs(120)),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn whatever_else_is_no_timeout() {
        for text in ["", "S", "5", "5s", "+5S", "-5S", "5 S", "1.5S", "999999999S", "5ä", "ä"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
