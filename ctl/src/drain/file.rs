//! A drain's plan as people write it: names of the book, amounts with units, a time in UTC.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use alloy_primitives::Address;
use portcullis_client::wire::Key;
use portcullis_policy::book::{Book, Registry, TokenKind};
use portcullis_policy::drain::{DrainChain, DrainPlan, DrainTo};
use portcullis_policy::id::{CallerId, ChainId};
use portcullis_policy::money::Amount;
use portcullis_policy::time::{Millis, Span};
use portcullis_policy::utc::rfc3339;
use serde::Deserialize;
use toml::value::Datetime;

use super::DrainFault;
use crate::failure::Failure;
use crate::written_time::millis;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// The label of a key, "@name" of an address in the book, or "0x..".
    to: String,
    /// When it is over: 2026-12-01T12:00:00Z.
    until: Datetime,
    callers: Vec<String>,
    chain: BTreeMap<String, ChainTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainTable {
    /// "0.05 ETH".
    fees: String,
    native: bool,
    #[serde(default)]
    tokens: Vec<String>,
}

/// Reads one, or says everything that is wrong with it.
pub(super) fn read(path: &Path, book: &Book, keys: &[Key]) -> Result<DrainPlan, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    let file: PlanFile = toml::from_str(&text)
        .map_err(|source| DrainFault::Toml { path: path.to_owned(), source })?;
    let faulty = |faults| DrainFault::Faults { path: path.to_owned(), faults };
    Ok(file.plan(book.registry(), keys).map_err(faulty)?)
}

impl PlanFile {
    fn plan(self, registry: &Registry, keys: &[Key]) -> Result<DrainPlan, Vec<String>> {
        let mut faults = Vec::new();
        let to = whither(&self.to, registry, keys).map_err(|fault| faults.push(fault));
        let until = millis(&self.until);
        if until.is_none() {
            let text = self.until;
            faults.push(format!("until: {text} is no time in UTC: write 2026-12-01T12:00:00Z"));
        }
        let mut callers = Vec::new();
        for text in &self.callers {
            match text.parse::<CallerId>() {
                Ok(caller) => callers.push(caller),
                Err(error) => faults.push(format!("callers: {text:?}: {error}")),
            }
        }
        let mut chains = Vec::new();
        for (name, table) in &self.chain {
            match table.read(name, registry) {
                Ok(part) => chains.push(part),
                Err(more) => faults.extend(more),
            }
        }
        chains.sort_unstable_by_key(|part| part.chain);
        match (to, until) {
            (Ok(to), Some(expires)) if faults.is_empty() => {
                Ok(DrainPlan { callers, chains, expires, to })
            }
            _ => Err(faults),
        }
    }
}

fn whither(text: &str, registry: &Registry, keys: &[Key]) -> Result<DrainTo, String> {
    if let Some(name) = text.strip_prefix('@') {
        let found = registry.address_named(name).map(DrainTo::Address);
        return found.ok_or_else(|| format!("to: the book has no address called {name:?}"));
    }
    if text.starts_with("0x") {
        // With a checksum, so that a digit that was mistyped is noticed; or all in lower case.
        let lower = !text.chars().any(|one| one.is_ascii_uppercase());
        let parsed =
            if lower { text.parse().ok() } else { Address::parse_checksummed(text, None).ok() };
        let wrong = || format!("to: {text} is no address, or its checksum is wrong");
        return parsed.map(DrainTo::Address).ok_or_else(wrong);
    }
    let key = keys.iter().find(|key| key.label == text || key.key_id == text);
    let id = key.and_then(|key| key.key_id.parse().ok()).map(DrainTo::Key);
    id.ok_or_else(|| format!("to: no key is called {text:?}; an address of the book is \"@name\""))
}

impl ChainTable {
    fn read(&self, name: &str, registry: &Registry) -> Result<DrainChain, Vec<String>> {
        let Some(chain) = registry.chain_named(name) else {
            return Err(vec![format!("chain.{name}: the book has no such chain")]);
        };
        let mut faults = Vec::new();
        let fees = fees_on(chain, &self.fees, registry);
        if fees.is_none() {
            let coin = coin(chain, registry);
            faults.push(format!("chain.{name}.fees: write an amount of {coin}: \"0.05 {coin}\""));
        }
        let mut tokens = Vec::new();
        for token in &self.tokens {
            let mut known = registry.tokens();
            match known.find(|(on, _, one)| *on == chain && one.name == *token) {
                Some((_, contract, _)) => tokens.push(contract),
                None => {
                    faults.push(format!("chain.{name}.tokens: the book has no {token:?} there"))
                }
            }
        }
        tokens.sort_unstable();
        tokens.dedup();
        match fees {
            Some(fees) if faults.is_empty() => {
                Ok(DrainChain { chain, fees, native: self.native, tokens })
            }
            _ => Err(faults),
        }
    }
}

fn coin(chain: ChainId, registry: &Registry) -> &str {
    registry.chain(chain).map_or("", |chain| chain.native.as_str())
}

/// An amount of the chain's own coin, and of nothing else.
fn fees_on(chain: ChainId, text: &str, registry: &Registry) -> Option<Amount> {
    let unit = text.rsplit_once(' ')?.1;
    let own = [coin(chain, registry), "gwei", "wei"].contains(&unit);
    registry.parse_amount(text).filter(|_| own)
}

/// What a plan is written from.
pub(super) struct Draft<'a> {
    pub(super) label: &'a str,
    pub(super) to: &'a str,
    pub(super) callers: &'a [CallerId],
    pub(super) fees: &'a [String],
    pub(super) lasts: &'a str,
    /// Milliseconds since 1970.
    pub(super) now: u64,
}

impl Draft<'_> {
    /// Everything on every chain that the key's rules name.
    pub(super) fn write(&self, book: &Book) -> Result<String, DrainFault> {
        let asked = |text: String| DrainFault::Asked(text);
        let rules = self.label.parse().ok().and_then(|label| book.rules(&label));
        let rules = rules.ok_or_else(|| {
            asked(format!("the book has no rules for {}: write a plan by hand", self.label))
        })?;
        let lasts = Span::parse(self.lasts)
            .ok_or_else(|| asked(format!("--for {}: write a time as 2h or 30m", self.lasts)))?;
        // To the minute, as people say it.
        let until = Millis(self.now).plus(lasts).0;
        let until = rfc3339(until.saturating_sub(until.checked_rem(60_000).unwrap_or(0)));
        let mut text = format!(
            "# What {} may sign while it is drained, instead of all else.\n\
             to = {:?}\nuntil = {}\ncallers = {:?}\n",
            self.label,
            self.to,
            until.replace(".000Z", "Z"),
            self.callers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        );
        for chain in &rules.chains {
            self.chain(*chain, book.registry(), &mut text)?;
        }
        Ok(text)
    }

    fn chain(&self, id: ChainId, registry: &Registry, out: &mut String) -> Result<(), DrainFault> {
        let Some(chain) = registry.chain(id) else { return Ok(()) };
        let given = self.fees.iter().find(|fees| {
            fees.ends_with(&format!(" {}", chain.native)) && fees_on(id, fees, registry).is_some()
        });
        let Some(fees) = given else {
            let coin = &chain.native;
            return Err(DrainFault::Asked(format!(
                "{}: say what its fees may cost: --fees \"0.05 {coin}\"",
                chain.name
            )));
        };
        let fungible = |kind: TokenKind| matches!(kind, TokenKind::Erc20 | TokenKind::Wrapped);
        let tokens = registry.tokens().filter(|(on, _, token)| *on == id && fungible(token.kind));
        let tokens: Vec<&str> = tokens.map(|(_, _, token)| token.name.as_str()).collect();
        let name = &chain.name;
        // Names of the book: letters, digits, - and _ alone.
        let _written =
            write!(out, "\n[chain.{name}]\nfees = {fees:?}\nnative = true\ntokens = {tokens:?}\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = r#"version = 1
[chain.main]
id = 1
native = "ETH"
[asset.USDC]
kind = "erc20"
chain = "main"
address = "0x00000000000000000000000000000000000c0de0"
decimals = 6
[asset.ART]
kind = "erc721"
chain = "main"
address = "0x00000000000000000000000000000000000c0de1"
[address]
safe = "0x5afe00000000000000000000000000000000005a"
[caller."spiffe://acme/payouts"]
owners = ["olga"]
[key.hot]
callers = ["spiffe://acme/payouts"]
chains = ["main"]
native = { to = ["@safe"], per_tx = "1 ETH", window = "1 ETH / 1h" }
fees = { per_tx = "1 ETH", window = "1 ETH / 1h", max_priority_fee = "5 wei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 1 }
"#;

    fn draft(fees: &str, lasts: &str) -> Result<String, DrainFault> {
        let (callers, fees) = (["spiffe://acme/sweeper".parse().unwrap()], [fees.to_owned()]);
        let draft = Draft {
            label: "hot",
            to: "@safe",
            callers: &callers,
            fees: &fees,
            lasts,
            now: 1_700_000_030_000,
        };
        draft.write(&Book::parse(BOOK).unwrap())
    }

    fn parse(text: &str) -> Result<DrainPlan, Vec<String>> {
        let file: PlanFile = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        file.plan(Book::parse(BOOK).unwrap().registry(), &[])
    }

    #[test]
    fn a_plan_that_was_written_reads_back_with_everything_that_is_fungible() {
        let text = draft("0.05 ETH", "2h").unwrap();
        assert!(text.contains("until = 2023-11-15T00:13:00Z\n"), "{text}");
        assert!(text.contains("tokens = [\"USDC\"]"), "{text}");
        let plan = parse(&text).unwrap();
        assert_eq!(plan.expires, Millis(1_700_007_180_000));
        let part = &plan.chains[0];
        assert_eq!((part.fees, part.native), (Amount::from(50_000_000_000_000_000), true));
        assert_eq!(part.tokens.len(), 1);
        let safe: Address = "0x5afe00000000000000000000000000000000005a".parse().unwrap();
        assert_eq!(plan.to, DrainTo::Address(safe));
    }

    #[test]
    fn every_fault_of_a_plan_is_named() {
        let text = "to = \"gone\"\nuntil = 2026-12-01T12:00:00\ncallers = [\"two words\"]\n\
                    [chain.main]\nfees = \"5 USDC\"\nnative = true\ntokens = [\"DAI\"]\n\
                    [chain.side]\nfees = \"1 ETH\"\nnative = true\n";
        let faults = parse(text).unwrap_err().join("\n");
        for part in [
            "no key is called \"gone\"",
            "until:",
            "callers:",
            "chain.main.fees",
            "DAI",
            "chain.side",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        for (to, part) in [
            ("@nobody", "no address called"),
            ("0x5AFe00000000000000000000000000000000005a", "checksum"),
        ] {
            let wrong = draft("0.05 ETH", "2h").unwrap().replace("@safe", to);
            let faults = parse(&wrong).unwrap_err().join("\n");
            assert!(faults.contains(part), "{faults}");
        }
    }

    #[test]
    fn a_plan_is_not_written_without_its_fees_and_its_end() {
        assert!(draft("5 USDC", "2h").unwrap_err().to_string().contains("--fees \"0.05 ETH\""));
        assert!(draft("1 ETH", "a while").unwrap_err().to_string().contains("--for"));
    }
}
