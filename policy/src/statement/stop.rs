//! The texts of stops that are not asked of a running signer: one that a person signs before there
//! is an emergency, and one that was made straight on the token.

use super::Text;
use super::words::quoted;
use crate::id::KeyId;
use crate::record::{Frozen, Order, RescueDeed, RescueNote};
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

/// What whoever has the role security signs afterwards: what was done to a key straight on the
/// token, and why.
pub fn rescue(note: &RescueNote, key: &KeyId, reason: &str) -> String {
    let mut text = Text::begin("rescue note", None);
    text.line(format!("note: {}", note.id));
    text.line(format!("by: {}", note.by));
    text.line(format!("written: {}, by the host's clock", rfc3339(note.written.0)));
    text.line(format!("token: {}", quoted(&note.token)));
    text.line(format!("key: {key}, in the token called {}", quoted(&note.label)));
    text.line(match note.deed {
        RescueDeed::Destroy => "the token was asked: to remove its objects (destroy)",
        RescueDeed::Fence => "the token was asked: not to let it sign (fence)",
    });
    text.line(format!("it answered: {}", quoted(&note.answer)));
    text.line(format!("reason: {}", quoted(reason)));
    text.line(
        "The key is frozen in the journal from where this is taken in. It starts nothing again.",
    );
    text.0
}
