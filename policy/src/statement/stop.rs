//! The text of a stop that a person signs before there is an emergency.

use super::Text;
use super::words::quoted;
use crate::record::{Frozen, Order};
use crate::utc::rfc3339;

/// What whoever has the role security signs beforehand: what it stops, in which vault, until when
/// it can be used, once. `vault` is the vault's id as hex.
pub fn stop_order(vault: &str, order: &Order, stop: &Frozen) -> String {
    let mut text = Text::begin("stop order", Some(vault));
    text.line(format!("order: {}", order.order));
    text.line(format!("by: {}", order.by));
    text.line(format!("stops: {}", stop.scope));
    text.line(format!("reason: {}", quoted(&stop.reason)));
    text.line(format!("good until: {}", rfc3339(order.expires.0)));
    text.line("Whoever holds this may use it once. It starts nothing again.");
    text.0
}
