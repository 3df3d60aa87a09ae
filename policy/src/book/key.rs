//! Everything one key may do, with all names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256};

use super::AddressSet;
use crate::abi::Function;
use crate::bounds::Bound;
use crate::id::{CallerId, ChainId, KeyLabel};
use crate::ledger::Place;
use crate::money::{Account, Amount, Asset};
use crate::quorum::Terms;
use crate::time::Span;
use crate::typed::{Domain, StructType};

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
    /// Calls by rules over their arguments: one pinned contract and function each.
    pub calls: BTreeMap<(ChainId, Address, [u8; 4]), CallRule>,
    /// Init code that may be deployed, by Keccak-256.
    pub deploy: BTreeSet<B256>,
    /// Contracts that an EIP-7702 authorisation carried in a transaction may delegate to.
    pub delegate: Addresses,
    /// Contracts that calls may go through, to be opened to their leaves.
    pub via: BTreeSet<(ChainId, Address)>,
    /// Contracts whose code a Safe may run as its own.
    pub delegatecall: BTreeSet<(ChainId, Address)>,
    /// Typed data, by chain, contract and `typeHash`.
    pub typed: BTreeMap<(ChainId, Address, B256), TypedRule>,
    /// Sites that may be signed in to.
    pub messages: Vec<MessageRule>,
    /// Whose code the account may run (EIP-7702). `None`: nobody's.
    pub authorize: Option<AuthorizeRule>,
    /// Above which amounts people are asked.
    pub approve: Vec<Tier>,
    /// How long a recipient that a book adds is not paid. `None`: it is paid at once.
    pub cooling: Option<Span>,
}

impl KeyRules {
    /// Whether what is signed in such a place must be remembered until it is settled.
    pub(crate) fn counts_unsettled(&self, place: Place) -> bool {
        let native = self.native.iter().map(|rule| &rule.limits);
        let tokens = self.tokens.values().map(|rule| &rule.limits);
        let typed = matches!(place, Place::Digest(_)) && self.rate.nonce_ahead.is_some();
        typed || native.chain(tokens).any(|limits| limits.unsettled.is_some())
    }

    /// What bounds one request in an account. `None`: it has no rule, so nothing may be charged.
    pub(crate) fn limits_of(&self, account: Account) -> Option<&Limits> {
        let native = self.native.as_ref().map(|rule| &rule.limits);
        let fees = self.fees.as_ref().map(|rule| &rule.limits);
        match account.asset {
            // Fees count as native spend, and where that has no rule are all of it.
            Asset::Native => native.or(fees),
            Asset::Fee => fees,
            Asset::Token(contract) => {
                self.tokens.get(&(account.chain, contract)).map(|rule| &rule.limits)
            }
            Asset::Requests | Asset::Usd => None,
        }
    }

    /// All window lists in these rules.
    pub fn window_lists(&self) -> impl Iterator<Item = &Windows> {
        let native = self.native.iter().map(|rule| &rule.limits.windows);
        let fees = self.fees.iter().map(|rule| &rule.limits.windows);
        let tokens = self.tokens.values().map(|rule| &rule.limits.windows);
        native.chain(fees).chain(tokens)
    }
}

/// A limit over several keys together, or over each caller or recipient apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedLimit {
    /// What it is called.
    pub name: Arc<str>,
    /// Over which keys it sums.
    pub keys: BTreeSet<KeyLabel>,
    /// What has a sum of its own.
    pub per: Per,
    /// What is summed: one asset, on every chain that its name stands for.
    pub accounts: Vec<Account>,
    /// All must hold; at least one.
    pub windows: Vec<Window>,
}

/// What is believed of a price.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PriceRule {
    /// An older one is none.
    pub stale: Span,
    /// How many per cent it may move in any stretch of a day.
    pub percent: u64,
}

/// What has a sum of its own in a [`SharedLimit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Per {
    /// Everything together.
    All,
    /// Each caller.
    Caller,
    /// Each recipient, or spender.
    Recipient,
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
    /// Who may be let take all of it, now and later. It counts as 2^256 - 1.
    pub operator: Addresses,
    /// Whether native coin may be turned into it, and back.
    pub convert: bool,
}

/// Allowances of one token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowanceRule {
    /// Who may be granted one.
    pub spender: Addresses,
    /// How much in one transaction.
    pub per_tx: Limit,
    /// How much may stand for one spender, signed and not taken back. `None`: not counted.
    pub outstanding: Option<Amount>,
}

/// One function of one contract.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallRule {
    /// The function, with the names that its bounds are written for.
    pub function: Function,
    /// A bound for each argument.
    pub bounds: Vec<Bound>,
}

/// One type of typed data for one contract.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TypedRule {
    /// The domain, field by field: what is absent here must be absent there.
    pub domain: Domain,
    /// The full type.
    pub kind: StructType,
    /// A bound for each field.
    pub bounds: Vec<Bound>,
}

/// Sites that may be signed in to (EIP-4361).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageRule {
    /// Host names, with a port if the site has one.
    pub domains: BTreeSet<String>,
    /// How long from now a message may be good.
    pub expires: Span,
}

/// Whose code the account may run (EIP-7702): for this, people are always asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizeRule {
    /// Contracts, each on its chain.
    pub to: BTreeSet<(ChainId, Address)>,
    /// What is asked of people.
    pub terms: Terms,
}

/// Addresses. Shared, because one list of a million may stand in many rules.
pub type Addresses = Arc<AddressSet>;

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
    /// How much may be signed and not known to be mined. `None`: not counted.
    pub unsettled: Option<Amount>,
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
    /// A nonce may be so far ahead of the first that is not known to be mined. `None`: any.
    pub nonce_ahead: Option<u64>,
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
    /// EIP-7702 authorisations, carried in transactions or signed.
    Eip7702,
    /// Allowances of 2^96 - 1 and above: what wallets write for "no limit".
    UnlimitedAllowance,
    /// Code that runs as another contract.
    DelegateCall,
}

impl DenyWord {
    /// All words with their spelling.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::ContractCreation, "contract-creation"),
        (Self::Eip7702, "eip7702"),
        (Self::UnlimitedAllowance, "unlimited-allowance"),
        (Self::DelegateCall, "delegatecall"),
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
    /// So does a payment to somebody whom the key never paid.
    pub first_payment: bool,
    /// What is asked of people.
    pub terms: Terms,
}

/// An amount of an asset, on every chain the asset's name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Threshold {
    /// Where it is charged.
    pub accounts: Vec<Account>,
    /// More than so much in one transaction.
    pub amount: Amount,
}
