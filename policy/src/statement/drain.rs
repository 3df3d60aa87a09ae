//! What people sign of a drain: where everything goes, what is moved, at what cost, until when.

use super::words::{chain_name, recipient};
use super::{Text, key_name};
use crate::act::Drain;
use crate::book::{asset_name, format_amount};
use crate::drain::{DrainChain, DrainTo};
use crate::money::{Account, Asset};
use crate::state::State;
use crate::utc::rfc3339;

pub(super) fn lines(state: &State, drain: &Drain, text: &mut Text) {
    let Drain { key, plan } = drain;
    let name = key_name(state, *key);
    let until = rfc3339(plan.expires.0);
    text.line(format!(
        "act: drain {name} until {until}: it signs nothing else, then it is stopped"
    ));
    if state.drain_of(*key).is_some() {
        text.line("it is being drained: this plan takes the place of that one, its fees apart");
    }
    text.list("everything goes to", whither(state, drain));
    text.list("it may move", plan.chains.iter().flat_map(|part| moved(state, drain, part)));
    text.line("it may cancel nonces and take back allowances, within those fees");
    text.line("meanwhile the token signs with it again, for every process that has a handle to it");
    text.list("asked for by", plan.callers.iter().map(ToString::to_string));
}

fn whither(state: &State, drain: &Drain) -> Vec<String> {
    match drain.plan.to {
        DrainTo::Key(key) => {
            let mut lines = vec![format!("its successor {}", key_name(state, key))];
            let label = state.keys().get(&key).map(|key| &key.label);
            if label.is_none_or(|label| state.book().rules(label).is_none()) {
                lines.push("NO RULES in the book yet: it cannot sign".into());
            }
            lines
        }
        DrainTo::Address(address) => {
            let chains = drain.plan.chains.iter();
            let line = |part: &DrainChain| {
                let whom = recipient(state, (drain.key, part.chain), address);
                format!("on {}: {whom}", chain_name(part.chain, state.book().registry()))
            };
            chains.map(line).collect()
        }
    }
}

fn moved(state: &State, drain: &Drain, part: &DrainChain) -> Vec<String> {
    let registry = state.book().registry();
    let account = |asset| Account { chain: part.chain, asset };
    let fees = format_amount(registry, account(Asset::Fee), part.fees);
    let paid = state.drain_of(drain.key).map(|old| old.paid(part.chain).to_amount_saturating());
    let mut line = format!("on {}: fees of at most {fees}", chain_name(part.chain, registry));
    if let Some(paid) = paid {
        let paid = format_amount(registry, account(Asset::Fee), paid);
        line.push_str(&format!(", after {paid} under the plan before"));
    }
    let mut lines = vec![line];
    if part.native {
        lines.push(format!("  all {}", asset_name(registry, account(Asset::Native))));
    }
    lines.extend(part.tokens.iter().map(|token| {
        let name = asset_name(registry, account(Asset::Token(*token)));
        format!("  all {name} ({})", token.to_checksum(None))
    }));
    lines
}
