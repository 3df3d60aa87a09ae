//! How many signatures a second, by how many are asked for at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Finding;
use super::keys::Usable;
use crate::clock;
use crate::hsm::{Hsm, HsmConfig, SignFault};

/// With the sessions as configured, and 1, 2, 4, … requests under way.
pub(super) async fn measure(
    token: &Arc<Hsm>,
    config: &HsmConfig,
    key: &Usable,
    time: Duration,
    tell: &mut impl FnMut(Finding),
) {
    let sessions = token.counters().sessions_wanted;
    let mut figures = Vec::new();
    let mut at_once = 1_usize;
    loop {
        match rate(token, key, at_once, time).await {
            Ok(rate) => figures.push((at_once, rate)),
            Err(fault) => {
                let remedy = "see the token's log: the self-test signed a moment ago";
                return tell(Finding::bad("rate", fault.to_string(), remedy));
            }
        }
        if at_once >= sessions {
            break;
        }
        at_once = at_once.saturating_mul(2).min(sessions);
    }
    let told = figures.iter().map(|(at_once, rate)| format!("{rate}/s with {at_once}"));
    let told = told.collect::<Vec<_>>().join(", ");
    let found = format!("{told} at once, each signature verified");
    let best = figures.iter().map(|(_, rate)| *rate).max().unwrap_or_default();
    let fullest = figures.last().map(|(_, rate)| *rate).unwrap_or_default();
    // With all sessions it is a tenth slower than with fewer: they are in each other's way.
    if fullest.saturating_mul(10) < best.saturating_mul(9) {
        let remedy = "fewer sessions are faster: lower [hsm] sessions";
        return tell(Finding::look("rate", found, remedy));
    }
    tell(Finding::ok("rate", format!("{found} ({} sessions configured)", config.sessions)));
}

/// Signatures a second.
async fn rate(
    token: &Arc<Hsm>,
    key: &Usable,
    at_once: usize,
    time: Duration,
) -> Result<u128, SignFault> {
    let begun = clock::monotonic();
    let mut callers: JoinSet<Result<u128, SignFault>> = JoinSet::new();
    for _ in 0..at_once {
        let (token, id, point) = (Arc::clone(token), key.id, Arc::clone(&key.point));
        callers.spawn(async move {
            let mut count = 0_u128;
            while clock::monotonic().saturating_sub(begun) < time {
                token.self_test(&id, &point).await?;
                count = count.saturating_add(1);
            }
            Ok(count)
        });
    }
    let mut signed = 0_u128;
    for count in callers.join_all().await {
        signed = signed.saturating_add(count?);
    }
    let passed = clock::monotonic().saturating_sub(begun).as_micros().max(1);
    Ok(signed.saturating_mul(1_000_000).checked_div(passed).unwrap_or_default())
}
