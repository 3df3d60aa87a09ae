//! Reads limits that reach beyond one key, or count apart within it: `[limit.NAME]`.

use std::collections::BTreeSet;

use super::file::{Field, Fields};
use super::limits::{LIFETIME_HINT, lifetime, span_of, windows_of};
use super::names::{Names, Thing};
use super::units::{USD_DECIMALS, UnitDef, coin_units};
use super::words::{Vocabulary, quoted};
use super::{KeyRules, Per, PriceRule, SharedLimit, Window, Windows};
use crate::id::KeyLabel;
use crate::money::{Account, Asset};

/// All of them, by name.
pub(super) fn shared<'k>(
    root: &Fields<'_>,
    names: &Names,
    keys: impl Fn(&KeyLabel) -> Option<&'k KeyRules>,
) -> Option<Vec<SharedLimit>> {
    let entries = root.optional("limit").map(|field| field.entries(LIMITS_MAX));
    let read = entries.unwrap_or_default().into_iter().map(|(word, field)| {
        let named = super::spelling::plain_name(&field, word);
        let limit = field.fields(LIMIT).and_then(|fields| one(word.text, &fields, names, &keys));
        limit.filter(|_| named)
    });
    // Read to the end, so that every fault is told. A limit that is lost permits more.
    let read: Vec<Option<SharedLimit>> = read.collect();
    read.into_iter().collect()
}

fn one<'k>(
    name: &str,
    fields: &Fields<'_>,
    names: &Names,
    rules: impl Fn(&KeyLabel) -> Option<&'k KeyRules>,
) -> Option<SharedLimit> {
    let hint = "write keys = [\"LABEL\"]: the keys that it sums over";
    let keys = fields.required("keys", hint).and_then(|field| {
        let words = field.words(KEYS_MAX)?;
        super::names::refuse_repeats(&field, &words);
        if words.is_empty() {
            field.fault("is empty", hint);
        }
        let label = |word: &super::file::Word<'_>| {
            let label = word.text.parse::<KeyLabel>().ok();
            let known = label.filter(|label| rules(label).is_some());
            if known.is_none() {
                let message = format!("no key {} has rules", quoted(word.text));
                field.fault_at(word.at, message, "name keys that stand under [key.LABEL]");
            }
            known
        };
        let labels: Vec<Option<KeyLabel>> = words.iter().map(label).collect();
        labels.into_iter().collect::<Option<BTreeSet<KeyLabel>>>()
    });
    let per = match fields.optional("per") {
        None => Some(Per::All),
        Some(field) => per(&field),
    };
    let asset = fields.required("asset", ASSET_HINT).and_then(|field| asset(&field, names));
    let (accounts, units) = asset?;
    let window = fields.optional("window").map(|field| windows_of(&field, &units));
    let lifetime = fields.optional("lifetime").map(|field| lifetime(&field, &units));
    if window.is_none() && lifetime.is_none() {
        fields.fault("limits nothing", LIFETIME_HINT);
        return None;
    }
    let mut windows: Vec<Window> = Vec::new();
    if let Some(read) = window {
        match read? {
            Windows::Each(each) => windows.extend(each),
            Windows::Unlimited => fields.fault("limits nothing", "leave the limit out"),
        }
    }
    if let Some(read) = lifetime {
        windows.push(read?);
    }
    let (keys, per) = (keys?, per?);
    if per == Per::Recipient && accounts.iter().any(|account| account.asset == Asset::Fee) {
        fields.fault("fees go to the chain, to no recipient", "leave per = \"recipient\" out");
    }
    Some(SharedLimit { name: name.into(), keys, per, accounts, windows })
}

fn per(field: &Field<'_>) -> Option<Per> {
    let word = field.word()?;
    match word.text {
        "caller" => Some(Per::Caller),
        "recipient" => Some(Per::Recipient),
        _ => {
            field.unknown(word, "word", PER);
            None
        }
    }
}

/// Where it is charged, on every chain that the asset's name stands for, and its units.
fn asset<'n>(field: &Field<'_>, names: &'n Names) -> Option<(Vec<Account>, Vec<UnitDef<'n>>)> {
    let word = field.word()?;
    let (symbol, asset) = match word.text.strip_suffix(" fees") {
        Some(symbol) => (symbol, Asset::Fee),
        None => (word.text, Asset::Native),
    };
    let mut coins = names.registry.chains.values().map(|chain| chain.native.as_str());
    if let Some(coin) = coins.find(|coin| *coin == symbol) {
        let chains = names.registry.chains_with_native(coin);
        let accounts = chains.map(|chain| Account { chain, asset }).collect();
        return Some((accounts, coin_units([coin].into_iter())));
    }
    // An asset of that name is older than these words.
    if !names.things.contains_key(word.text) {
        if word.text == "USD" {
            let units = vec![UnitDef { name: "USD", decimals: USD_DECIMALS }];
            return Some((vec![crate::prices::USD], units));
        }
        if word.text == "requests" {
            let chains = names.registry.chains.keys();
            let accounts = chains.map(|chain| Account { chain: *chain, asset: Asset::Requests });
            return Some((accounts.collect(), vec![UnitDef { name: "requests", decimals: 0 }]));
        }
    }
    let Some(Some(Thing::Token(chain, contract))) = names.things.get(word.text) else {
        field.fault(format!("{} is no asset", quoted(word.text)), ASSET_HINT);
        return None;
    };
    let token = names.registry.token(*chain, *contract)?;
    let account = Account { chain: *chain, asset: Asset::Token(*contract) };
    let unit = UnitDef { name: token.name.as_str(), decimals: token.decimals };
    Some((vec![account], vec![unit]))
}

/// `[prices]`: what is believed of the pricer.
#[allow(clippy::option_option, reason = "the outer one is a fault, the inner one is absence")]
pub(super) fn prices(root: &Fields<'_>, limits: &[SharedLimit]) -> Option<Option<PriceRule>> {
    let Some(field) = root.optional("prices") else {
        let in_usd = limits.iter().find(|limit| limit.accounts.contains(&crate::prices::USD));
        if let Some(limit) = in_usd {
            let hint = "write [prices] with stale = \"1h\" and percent_a_day = 20";
            root.fault(
                format!("limit.{} is in USD, and nothing is said of prices", limit.name),
                hint,
            );
        }
        return Some(None);
    };
    let fields = field.fields(PRICES)?;
    let hint = "write stale = \"1h\": an older price is none";
    let stale = fields.required("stale", hint).and_then(|field| span_of(&field, field.word()?));
    let hint = "write percent_a_day = 20: how far a price may move in any day";
    let percent = fields.required("percent_a_day", hint).and_then(|field| field.number(1, 1_000));
    Some(Some(PriceRule { stale: stale?, percent: percent? }))
}

const PRICES: Vocabulary = Vocabulary { known: &["stale", "percent_a_day"], later: &[] };
const LIMIT: Vocabulary =
    Vocabulary { known: &["keys", "asset", "per", "window", "lifetime"], later: &[] };
const PER: Vocabulary = Vocabulary { known: &["caller", "recipient"], later: &[] };

const ASSET_HINT: &str = "write a coin's symbol, \"ETH fees\" for its fees alone, the name of an \
                          [asset], \"USD\" or \"requests\"";

/// Each is summed for every decision on its keys.
const LIMITS_MAX: usize = 1_000;

const KEYS_MAX: usize = 10_000;
