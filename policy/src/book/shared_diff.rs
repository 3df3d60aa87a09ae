//! Compares the limits over several keys, callers or recipients in two books.

use super::diff::Difference;
use super::units::format_amount;
use super::{Book, Per, Registry, SharedLimit, Window};
use crate::id::{ChainId, KeyLabel};
use crate::money::{Account, Asset};

/// A limit is kept if a new one sums at least as much: the same asset over at least the same keys,
/// and as finely. All together is no substitute: what all callers spend does not bound one of them,
/// who is charged for what others had signed before; and a limit for each recipient also bounds how
/// many one request may have.
pub(super) fn compare(old: &Book, new: &Book, found: &mut Difference) {
    for (limit, window) in windows(old) {
        // What no key of the new book can spend needs no limit: a key that comes is told with all
        // that holds it.
        let idle = !limit.keys.iter().any(|key| new.keys.contains_key(key));
        if !idle && !windows(new).any(|by| covers(by, (limit, window))) {
            let shown = describe(&old.registry, limit, window);
            found.about(format!("limit {}", limit.name)).wider(format!("{shown} not kept"));
            found.keys.extend(limit.keys.iter().cloned());
        }
    }
    for (limit, window) in windows(new) {
        if !windows(old).any(|by| covers(by, (limit, window))) {
            let shown = describe(&new.registry, limit, window);
            found.about(format!("limit {}", limit.name)).narrower(format!("{shown} added"));
        }
    }
}

/// A price may be older: then less is refused. Without prices, whatever is counted in USD is
/// refused. How far one may move bounds it in both directions: a price that may rise less stays low
/// while the market rises, and what is counted by it gains room.
pub(super) fn prices(old: &Book, new: &Book, found: &mut Difference) {
    let mut lines = found.about("prices".to_owned());
    match (old.prices, new.prices) {
        (Some(before), Some(after)) if before != after => {
            let kept = after.stale <= before.stale && after.percent == before.percent;
            let line = "what is believed of a price changed";
            if kept { lines.narrower(line) } else { lines.wider(line) }
        }
        (None, Some(_)) => lines.wider("prices are believed"),
        (Some(_), None) => lines.narrower("prices are no longer believed"),
        (None, None) | (Some(_), Some(_)) => {}
    }
}

fn windows(book: &Book) -> impl Iterator<Item = (&SharedLimit, &Window)> {
    book.shared.iter().flat_map(|limit| limit.windows.iter().map(move |window| (limit, window)))
}

fn covers((by, new): (&SharedLimit, &Window), (limit, old): (&SharedLimit, &Window)) -> bool {
    let summed = limit.accounts.iter().all(|account| by.accounts.contains(account));
    let wide = limit.keys.is_subset(&by.keys) && new.span >= old.span;
    summed && by.per == limit.per && wide && new.limit <= old.limit
}

/// What holds a key together with others, a line each, for whoever agrees to something wider.
pub(super) fn told(book: &Book, key: &KeyLabel) -> Vec<String> {
    let held = windows(book).filter(|(limit, _)| limit.keys.contains(key));
    let lines = held.map(|(limit, window)| {
        format!("is held by limit {}: {}", limit.name, describe(&book.registry, limit, window))
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { vec!["is held by no [limit]".to_owned()] } else { lines }
}

fn describe(registry: &Registry, limit: &SharedLimit, window: &Window) -> String {
    let account = limit.accounts.first().copied();
    let account = account.unwrap_or(Account { chain: ChainId(0), asset: Asset::Requests });
    let keys: Vec<&str> = limit.keys.iter().map(KeyLabel::as_str).collect();
    let per = match limit.per {
        Per::All => "",
        Per::Caller => ", each caller",
        Per::Recipient => ", each recipient",
    };
    let amount = format_amount(registry, account, window.limit);
    let amount = if account.asset == Asset::Fee { format!("{amount} of fees") } else { amount };
    format!("{amount} / {} over {}{per}", window.span, keys.join(", "))
}
