//! The book: what may be signed, by whom, up to how much. Everything else is denied.
//!
//! A `Book` exists only if its text had no fault at all ([`Book::parse`]). Names are resolved:
//! rules speak of chain ids, contract addresses and base units, so renaming changes no ledger.

mod calls;
mod check;
mod compare;
mod diff;
mod file;
mod limits;
mod names;
mod quorum;
mod report;
mod rules;
mod tiers;
mod units;
mod warnings;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256};

pub use self::diff::Difference;
pub use self::quorum::{Quorum, QuorumPart};
pub use self::report::{Fault, Faults};
pub use self::units::{asset_name, format_amount};
use crate::id::{BookHash, CallerId, ChainId, KeyLabel, PersonId};
use crate::money::{Account, Amount};
use crate::time::Span;

/// A sound book and the text it came from.
#[derive(Clone, Debug)]
pub struct Book {
    pub(in crate::book) text: String,
    pub(in crate::book) hash: BookHash,
    pub(in crate::book) registry: Registry,
    pub(in crate::book) callers: BTreeMap<CallerId, CallerEntry>,
    pub(in crate::book) groups: BTreeMap<String, BTreeSet<PersonId>>,
    pub(in crate::book) keys: BTreeMap<KeyLabel, KeyRules>,
}

impl Book {
    /// Reads a book, or says everything that is wrong with it at once.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        check::parse(text)
    }

    /// What is wider and what is narrower in `new` than in this book.
    pub fn difference(&self, new: &Self) -> Difference {
        diff::difference(self, new)
    }

    /// What is sound and may still not be meant, a line for people each.
    pub fn warnings(&self) -> Vec<String> {
        warnings::warnings(self)
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
        limits.flat_map(Windows::iter).map(|window| window.span).collect()
    }
}

/// What names stand for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    pub(in crate::book) chains: BTreeMap<ChainId, Chain>,
    pub(in crate::book) tokens: BTreeMap<(ChainId, Address), Token>,
    pub(in crate::book) labels: BTreeMap<Address, String>,
}

impl Registry {
    /// A registered chain.
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(&id)
    }

    /// A registered ERC-20 token. Its kind comes from here and never from a selector.
    pub fn token(&self, chain: ChainId, contract: Address) -> Option<&Token> {
        self.tokens.get(&(chain, contract))
    }

    /// The name somebody gave an address, for display only: all of them, with commas, if there are
    /// several. A name does not say on which chain; whoever shows it shows the address too.
    pub fn label(&self, address: Address) -> Option<&str> {
        self.labels.get(&address).map(String::as_str)
    }

    /// All chains whose native coin has the same symbol: the scope of a native or fee limit.
    ///
    /// Taken from the registry and not from a key's `chains`, so that taking a chain away from a
    /// key does not take its spending out of the sum.
    pub fn chains_with_native(&self, symbol: &str) -> impl Iterator<Item = ChainId> {
        let same = self.chains.iter().filter(move |(_, chain)| chain.native == symbol);
        same.map(|(id, _)| *id)
    }
}

/// A chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// Its name in the book.
    pub name: String,
    /// Symbol of its native coin, which has 18 decimals.
    pub native: String,
    /// The most it takes for one transaction beside gas, in wei. `None`: nobody said.
    pub l1_fee: Option<Amount>,
}

/// An ERC-20 token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its name in the book.
    pub name: String,
    /// How many decimals its amounts are written with.
    pub decimals: u8,
}

/// A caller, as the book knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallerEntry {
    /// The people who own it: they never count in its quorums.
    pub owners: BTreeSet<PersonId>,
}

/// Everything one key may do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyRules {
    /// Who may ask.
    pub callers: BTreeSet<CallerId>,
    /// On which chains.
    pub chains: BTreeSet<ChainId>,
    /// Paying the native coin. `None`: none, not even to a contract.
    pub native: Option<NativeRule>,
    /// Paying fees. `None`: no transaction at all.
    pub fees: Option<FeeRule>,
    /// Requests per second, and how many may wait for people.
    pub rate: RateRule,
    /// What is denied whatever else is allowed.
    pub deny: BTreeSet<DenyWord>,
    /// Moving tokens, by contract.
    pub tokens: BTreeMap<(ChainId, Address), TokenRule>,
    /// Calls signed without being understood: one pinned contract and function each.
    pub calls: BTreeMap<(ChainId, Address, [u8; 4]), CallRule>,
    /// Init code that may be deployed, by Keccak-256.
    pub deploy: BTreeSet<B256>,
    /// Contracts that an EIP-7702 authorisation carried in a transaction may delegate to.
    pub delegate: Addresses,
    /// Above which amounts people are asked.
    pub approve: Vec<Tier>,
}

impl KeyRules {
    /// All window lists in these rules.
    pub fn window_lists(&self) -> impl Iterator<Item = &Windows> {
        let native = self.native.iter().map(|rule| &rule.limits.windows);
        let fees = self.fees.iter().map(|rule| &rule.limits.windows);
        let tokens = self.tokens.values().map(|rule| &rule.limits.windows);
        native.chain(fees).chain(tokens)
    }
}

/// Native coin: value, and fees at their worst case, count together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NativeRule {
    /// Who may be paid.
    pub to: Recipients,
    /// How much.
    pub limits: Limits,
}

/// Fees at their worst case: gas limit times maximum fee, blobs, and the chain's `l1_fee`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeeRule {
    /// How much.
    pub limits: Limits,
    /// Most per unit of gas that may go to the block's builder.
    pub max_priority_fee: Limit,
}

/// One token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRule {
    /// Who may receive it.
    pub to: Recipients,
    /// Whose tokens `transferFrom` may move, besides the key's own.
    pub from: Addresses,
    /// How much. Allowances granted count as spent.
    pub limits: Limits,
    /// Who may be granted an allowance, and how much at once. `None`: nobody.
    pub allowance: Option<AllowanceRule>,
}

/// Allowances of one token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowanceRule {
    /// Who may be granted one.
    pub spender: Addresses,
    /// How much in one transaction.
    pub per_tx: Limit,
}

/// One function of one contract, with any arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallRule {
    /// The canonical signature: `supply(address,uint256,address,uint16)`.
    pub signature: String,
}

/// Addresses. Shared, because one list of a million may stand in many rules.
pub type Addresses = Arc<BTreeSet<Address>>;

/// Addresses that may receive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recipients {
    /// Somebody wrote "anyone".
    Anyone,
    /// These.
    Only(Addresses),
}

impl Recipients {
    /// Whether it may receive. The zero address never may.
    pub fn include(&self, address: Address) -> bool {
        match self {
            Self::Anyone => address != Address::ZERO,
            Self::Only(these) => these.contains(&address) && address != Address::ZERO,
        }
    }
}

/// A bound on an amount.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// Somebody wrote "unlimited".
    Unlimited,
    /// At most so much.
    AtMost(Amount),
}

/// A limit per transaction and over windows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// One transaction.
    pub per_tx: Limit,
    /// Over time.
    pub windows: Windows,
}

/// Bounds over rolling windows. All must hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Windows {
    /// Somebody wrote "unlimited".
    Unlimited,
    /// These; at least one.
    Each(Vec<Window>),
}

impl Windows {
    /// The windows, none if unlimited.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        match self {
            Self::Unlimited => [].iter(),
            Self::Each(windows) => windows.iter(),
        }
    }
}

/// In any stretch of time this long, at most so much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// At most so much.
    pub limit: Amount,
    /// In any stretch this long.
    pub span: Span,
}

/// Rates, enforced by the throttle and forgotten at restart; never the only bound on money.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RateRule {
    /// Requests of one caller to this key. `None`: somebody wrote "unlimited".
    pub per_caller: Option<Rate>,
    /// Requests to this key. `None`: somebody wrote "unlimited".
    pub per_key: Option<Rate>,
    /// How many requests of one caller may wait for people at once.
    pub parked: u32,
}

/// So many requests in so much time: "20/s", "100/m".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests, above zero.
    pub requests: u32,
    /// The time.
    pub per: Span,
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = self.per.to_string();
        let one = per.strip_prefix('1').filter(|unit| unit.len() == 1);
        write!(out, "{}/{}", self.requests, one.unwrap_or(&per))
    }
}

/// Words in `deny`: any of them wins over every rule.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DenyWord {
    /// Deploying contracts.
    ContractCreation,
    /// Transactions that carry EIP-7702 authorisations.
    Eip7702,
    /// Allowances of 2^96 - 1 and above: what wallets write for "no limit".
    UnlimitedAllowance,
}

impl DenyWord {
    /// All words with their spelling.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::ContractCreation, "contract-creation"),
        (Self::Eip7702, "eip7702"),
        (Self::UnlimitedAllowance, "unlimited-allowance"),
    ];
}

impl fmt::Display for DenyWord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spelling = Self::ALL.into_iter().find(|(word, _)| word == self);
        out.write_str(spelling.map_or("", |(_, spelling)| spelling))
    }
}

/// Above an amount, people are asked. Each tier whose amount is exceeded asks for its own quorum,
/// and all of them must be met; [`Book::difference`] relies on that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tier {
    /// A charge to one of these accounts of more than its amount asks for the quorum.
    pub above: Vec<Threshold>,
    /// Who must agree.
    pub need: Quorum,
    /// How long a parked request may wait.
    pub expires: Span,
}

/// An amount of an asset, on every chain the asset's name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Threshold {
    /// Where it is charged.
    pub accounts: Vec<Account>,
    /// More than so much in one transaction.
    pub amount: Amount,
}
