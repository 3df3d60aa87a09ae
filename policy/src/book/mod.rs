//! The book: what may be signed, by whom, up to how much. Everything else is denied.
//!
//! A `Book` exists only if its text had no fault at all ([`Book::parse`]). Names are resolved:
//! rules speak of chain ids, contract addresses and base units, so renaming changes no ledger.

mod addresses;
mod alike;
mod arguments;
mod calls;
mod check;
mod compare;
mod diff;
mod environment;
mod file;
mod key;
mod limits;
mod lint;
mod named;
mod names;
mod offchain;
mod registry;
mod report;
mod rules;
mod shared;
mod shared_diff;
mod signed;
mod spelling;
mod tables;
mod text;
mod tiers;
mod tiers_diff;
mod tokens;
mod units;
mod warnings;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use self::addresses::AddressSet;
pub(crate) use self::alike::{beginning_like, looks_like};
pub use self::diff::Difference;
pub use self::key::{
    Addresses, AllowanceRule, AuthorizeRule, CallRule, DenyWord, FeeRule, KeyRules, Limit, Limits,
    MessageRule, NativeRule, Per, PriceRule, Rate, RateRule, Recipients, SharedLimit, Threshold,
    Tier, TokenRule, TypedRule, Window, Windows,
};
pub use self::lint::Lint;
use self::names::Thing;
pub use self::registry::{CallerEntry, Chain, ContractKind, Registry, Token, TokenKind};
pub use self::report::{Fault, Faults};
pub(crate) use self::text::LINE_BYTES_MAX as CHANGED_LINE_BYTES_MAX;
pub use self::units::{asset_name, format_amount};
use crate::id::{BookHash, CallerId, KeyLabel, PersonId};
pub use crate::quorum::{Quorum, QuorumPart, Terms};
use crate::record::Environment;
use crate::time::Span;

/// What people are told before they agree to another book.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// What it means.
    pub difference: Difference,
    /// Every line of the text that differs, and all others of its table: `+ 12: per_tx = "5 ETH"`.
    /// `None`: more than people read, or a line that is longer.
    pub lines: Option<Vec<String>>,
    /// What the names in those that stand mean: `@many: 0x..`, `group treasury: alice, bob`.
    pub names: Vec<String>,
    /// What holds the keys that gain: whom they ask, and which limits they share; and what comes
    /// into the book and looks like something in it.
    pub holds: Vec<String>,
}

/// More changed lines are not read.
pub(crate) const CHANGED_LINES_MAX: usize = 300;

/// A sound book and the text it came from.
#[derive(Clone, Debug)]
pub struct Book {
    pub(in crate::book) text: String,
    pub(in crate::book) hash: BookHash,
    pub(in crate::book) environment: Environment,
    pub(in crate::book) registry: Registry,
    pub(in crate::book) callers: BTreeMap<CallerId, CallerEntry>,
    pub(in crate::book) groups: BTreeMap<String, BTreeSet<PersonId>>,
    /// What `@name` stands for.
    pub(in crate::book) things: BTreeMap<String, Thing>,
    /// Every address that stands in a list.
    pub(in crate::book) listed: Vec<Addresses>,
    pub(in crate::book) keys: BTreeMap<KeyLabel, KeyRules>,
    pub(in crate::book) shared: Vec<SharedLimit>,
    pub(in crate::book) prices: Option<PriceRule>,
}

impl Book {
    /// Reads a book, or says everything that is wrong with it at once.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        check::parse(text)
    }

    /// The same of a book for a vault of this environment.
    ///
    /// # Errors
    ///
    /// All its faults; or that it is of another environment: no book of rehearsals comes into force
    /// where money is.
    pub fn parse_for(text: &str, vault: Environment) -> Result<Self, Faults> {
        let book = Self::parse(text)?;
        if book.environment == vault {
            return Ok(book);
        }
        let (own, vault) = (book.environment.name(), vault.name());
        let message = format!("a book of {own}, and the vault is of {vault}");
        let hint = format!(
            "if it is meant for this vault, write environment = \"{vault}\" below the version"
        );
        Err(Faults(vec![Fault { line: 0, column: 0, message, hint }]))
    }

    /// The environment that it is for. A book that names none is for development.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// What is wider and what is narrower in `new` than in this book.
    pub fn difference(&self, new: &Self) -> Difference {
        diff::difference(self, new)
    }

    /// What another book would change, in meaning and in text.
    pub fn change(&self, new: &Self) -> Change {
        let difference = self.difference(new);
        let lines =
            text::changed_lines(self.text(), new.text(), CHANGED_LINES_MAX, &difference.keys);
        let read = lines.filter(|_| difference.wider.len() <= CHANGED_LINES_MAX);
        // Nobody is asked about more than people read, so what is not read needs no explanation.
        let Some(lines) = read else { return Change { difference, ..Change::default() } };
        let names = named::told(new, &lines);
        let holds = difference.keys.iter().flat_map(|key| new.held(key));
        let holds = holds.chain(named::alike(self, new, &lines)).collect();
        Change { difference, lines: Some(lines), names, holds }
    }

    /// What holds a key whatever its rules permit, a line each. A hold that is not there shows in
    /// no line of the text.
    fn held(&self, label: &KeyLabel) -> Vec<String> {
        let Some(rules) = self.keys.get(label) else { return Vec::new() };
        let asks = tiers_diff::told(compare::Rules { registry: &self.registry, rules });
        let shared = shared_diff::told(self, label);
        let owned = rules.callers.iter().filter_map(|caller| Some((caller, self.caller(caller)?)));
        let owned = owned.filter(|(_, entry)| !entry.owners.is_empty()).map(|(caller, entry)| {
            let owners: Vec<&str> = entry.owners.iter().map(|owner| owner.as_str()).collect();
            format!("serves {caller}, whose owners never count: {}", owners.join(", "))
        });
        let owned: Vec<String> = owned.collect();
        asks.into_iter()
            .chain(owned)
            .chain(shared)
            .map(|line| format!("key {label} {line}"))
            .collect()
    }

    /// Where it speaks of a person, who may not be one yet: a line each.
    pub(crate) fn mentions(&self, person: &PersonId) -> Vec<String> {
        let groups = self.groups.iter().filter(|(_, members)| members.contains(person));
        let owned = self.callers.iter().filter(|(_, caller)| caller.owners.contains(person));
        let groups = groups.map(|(name, _)| format!("in the group {name}"));
        groups.chain(owned.map(|(caller, _)| format!("as an owner of {caller}"))).collect()
    }

    /// Foot-guns: what nobody should mean.
    pub fn lints(&self) -> Vec<Lint> {
        lint::lints(self)
    }

    /// What is sound and may still not be meant, a line for people each.
    pub fn warnings(&self) -> Vec<String> {
        warnings::warnings(self)
    }

    /// Whether it counts what only a watcher can tell of: `unsettled`, `outstanding` and
    /// `nonce_ahead` only fill up in a vault that has none.
    pub fn needs_watcher(&self) -> bool {
        self.keys.values().any(|rules| {
            let native = rules.native.iter().map(|rule| &rule.limits);
            let tokens = rules.tokens.values();
            let standing = tokens.clone().filter_map(|rule| rule.allowance.as_ref());
            rules.rate.nonce_ahead.is_some()
                || native.chain(tokens.map(|rule| &rule.limits)).any(|one| one.unsettled.is_some())
                || standing.into_iter().any(|allowance| allowance.outstanding.is_some())
        })
    }

    /// The bytes that were parsed and are hashed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over them.
    pub fn hash(&self) -> BookHash {
        self.hash
    }

    /// Chains, tokens, and names of addresses.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A caller's entry, if the book knows it.
    pub fn caller(&self, caller: &CallerId) -> Option<&CallerEntry> {
        self.callers.get(caller)
    }

    /// The people of a group, if the book has one of that name.
    pub fn group(&self, name: &str) -> Option<&BTreeSet<PersonId>> {
        self.groups.get(name)
    }

    /// All callers the book knows.
    pub fn callers(&self) -> impl Iterator<Item = (&CallerId, &CallerEntry)> {
        self.callers.iter()
    }

    /// The rules for a key's label. None: nothing may be signed with it.
    pub fn rules(&self, label: &KeyLabel) -> Option<&KeyRules> {
        self.keys.get(label)
    }

    /// All keys that have rules.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyLabel, &KeyRules)> {
        self.keys.iter()
    }

    /// Every window length any rule uses: what the ledger must be able to sum over.
    pub fn spans(&self) -> BTreeSet<Span> {
        let limits = self.keys.values().flat_map(KeyRules::window_lists);
        let shared = self.shared.iter().flat_map(|limit| &limit.windows);
        limits.flat_map(Windows::iter).chain(shared).map(|window| window.span).collect()
    }

    /// What is believed of the pricer. `None`: nothing.
    pub fn prices(&self) -> Option<PriceRule> {
        self.prices
    }

    /// Limits over several keys, or over each caller or recipient apart.
    pub fn limits(&self) -> &[SharedLimit] {
        &self.shared
    }

    /// Limits that count this key among others, or its callers or recipients apart.
    pub fn shared(&self, label: &KeyLabel) -> impl Iterator<Item = &SharedLimit> {
        self.shared.iter().filter(move |limit| limit.keys.contains(label))
    }

    /// The keys that are summed with this one in some limit, itself left out.
    pub fn companions(&self, label: &KeyLabel) -> BTreeSet<&KeyLabel> {
        self.shared(label).flat_map(|limit| &limit.keys).filter(|key| *key != label).collect()
    }
}
