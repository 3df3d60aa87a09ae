//! What each rule saw and said: the trace of a decision, and its reasons.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::book::{Registry, format_amount};
use crate::id::ChainId;
use crate::money::{Account, Amount};
use crate::time::Span;

/// One rule's verdict on one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// What it saw.
    pub saw: Seen,
    /// Whether it passed.
    pub passed: bool,
}

/// What a rule saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// Nothing worth saying.
    Nothing,
    /// An address.
    Address(Address),
    /// An amount, against a bound.
    Amount {
        /// In which account.
        account: Account,
        /// The sum, this request included.
        sum: Amount,
        /// The bound; `None`: somebody wrote "unlimited".
        bound: Option<Amount>,
    },
    /// An amount, against a limit that has a name.
    Shared {
        /// Its name.
        limit: Arc<str>,
        /// One of the accounts that it sums.
        account: Account,
        /// The sum, this request included.
        sum: Amount,
        /// The bound.
        bound: Amount,
    },
    /// A few words.
    Words(Arc<str>),
    /// A chain.
    Chain(ChainId),
}

/// Every rule there is. Its failure is a reason with a stable code. Closed: a new rule must find
/// its code, and its words, here.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// No stop covers key, caller, tags or everything.
    NotFrozen,
    /// The key was not ended for good.
    NotRevoked,
    /// The key is not being drained: it signs what the drain's plan permits, for whom it names.
    NotDraining,
    /// The plan of the drain permits the effect.
    InDrainPlan,
    /// Fees of everything that the drain signs.
    DrainFees,
    /// The key exists. One whose object drifted in the token is frozen.
    KeyUsable,
    /// The caller meant the key's own address.
    ExpectedAddress,
    /// The request id does not stand for another digest.
    RequestId,
    /// The key was made for the chain.
    KeyChain,
    /// The book has rules for the key.
    KeyHasRules,
    /// The key's rules name the caller.
    CallerAllowed,
    /// The key's rules name the chain, and the registry knows it.
    ChainAllowed,
    /// No sum in the request passes 2^256 - 1.
    NoOverflow,
    /// The effect is understood.
    Understood,
    /// No word of `deny` covers the effect.
    NotDenied,
    /// Native coin may be paid to the recipient.
    NativeTo,
    /// Native coin per transaction, fees included.
    NativePerTx,
    /// Native coin in a window, fees included.
    NativeWindow(Span),
    /// Fees may be paid at all.
    FeesAllowed,
    /// Fees per transaction.
    FeesPerTx,
    /// Fees in a window.
    FeesWindow(Span),
    /// Fee per gas that may go to the builder.
    MaxPriorityFee,
    /// The token has rules.
    TokenAllowed,
    /// The token may be sent to the recipient.
    TokenTo,
    /// The token may be taken from that holder.
    TokenFrom,
    /// The token per transaction.
    TokenPerTx,
    /// The token in a window.
    TokenWindow(Span),
    /// The spender may be granted an allowance.
    AllowanceSpender,
    /// Allowance per transaction.
    AllowancePerTx,
    /// The operator may be granted all of the token.
    OperatorAllowed,
    /// Native coin may be turned into the token, and back.
    ConvertAllowed,
    /// The function may be called.
    CallAllowed,
    /// Every argument, or field of typed data, is within its bound.
    Arguments,
    /// Calls may go through the contract.
    ViaAllowed,
    /// The code may run as a contract account.
    DelegateCallAllowed,
    /// Typed data of this domain and full type may be signed.
    TypedAllowed,
    /// A message signs in as the key's own account.
    SignInAs,
    /// The site may be signed in to.
    SignInAllowed,
    /// A message ends soon enough.
    SignInExpires,
    /// The account may run the code (EIP-7702).
    AuthorizeAllowed,
    /// The init code may be deployed, without value.
    DeployAllowed,
    /// The contract may be delegated to, on a named chain.
    DelegateAllowed,
    /// A limit over several keys, or over each caller or recipient apart.
    Shared(Span),
    /// No more recipients are to be counted apart than one request may have.
    Recipients,
    /// What is signed and not known to be mined.
    Unsettled,
    /// What one spender may take, signed and not taken back.
    Outstanding,
    /// The nonce is near enough to what is mined.
    NonceAhead,
    /// Everything that a limit in USD counts has a price.
    Priced,
    /// A recipient that a book added was there long enough.
    Cooling,
    /// Fewer requests wait for people than may.
    ParkedPerCaller,
    /// Nobody rejected it.
    NotRejected,
    /// People can read what they would approve.
    Readable,
    /// People agreed. Asked at the last look only: before that, a request waits for them.
    Approved,
}

impl Rule {
    /// The stable reason, as in `ErrorInfo.reason` and in denial records.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFrozen => "FROZEN",
            Self::NotRevoked => "KEY_REVOKED",
            Self::NotDraining => "KEY_DRAINING",
            Self::InDrainPlan => "NOT_IN_DRAIN_PLAN",
            Self::DrainFees => "OVER_DRAIN_FEES",
            Self::NotRejected => "REJECTED",
            Self::Readable => "TOO_LONG_TO_APPROVE",
            Self::KeyUsable => "KEY_UNKNOWN",
            Self::ExpectedAddress => "ADDRESS_MISMATCH",
            Self::RequestId => "REQUEST_ID_REUSED",
            Self::KeyChain => "CHAIN_NOT_OF_KEY",
            Self::KeyHasRules => "NO_RULE",
            Self::CallerAllowed => "CALLER_NOT_ALLOWED",
            Self::ChainAllowed => "CHAIN_NOT_ALLOWED",
            Self::NoOverflow => "AMOUNT_OVERFLOW",
            Self::Understood => "NOT_UNDERSTOOD",
            Self::NotDenied => "DENIED_BY_WORD",
            Self::NativeTo => "RECIPIENT_NOT_ALLOWED",
            Self::NativePerTx => "OVER_TRANSACTION_LIMIT",
            Self::NativeWindow(_) => "OVER_WINDOW_LIMIT",
            Self::FeesAllowed => "FEES_NOT_ALLOWED",
            Self::FeesPerTx => "FEE_OVER_TRANSACTION_LIMIT",
            Self::FeesWindow(_) => "FEE_OVER_WINDOW_LIMIT",
            Self::MaxPriorityFee => "PRIORITY_FEE_TOO_HIGH",
            Self::TokenAllowed => "TOKEN_NOT_ALLOWED",
            Self::TokenTo => "TOKEN_RECIPIENT_NOT_ALLOWED",
            Self::TokenFrom => "TOKEN_HOLDER_NOT_ALLOWED",
            Self::TokenPerTx => "TOKEN_OVER_TRANSACTION_LIMIT",
            Self::TokenWindow(_) => "TOKEN_OVER_WINDOW_LIMIT",
            Self::AllowanceSpender => "SPENDER_NOT_ALLOWED",
            Self::AllowancePerTx => "ALLOWANCE_OVER_LIMIT",
            Self::OperatorAllowed => "OPERATOR_NOT_ALLOWED",
            Self::ConvertAllowed => "CONVERSION_NOT_ALLOWED",
            Self::CallAllowed => "CALL_NOT_ALLOWED",
            Self::Arguments => "ARGUMENT_OUT_OF_BOUNDS",
            Self::ViaAllowed => "VIA_NOT_ALLOWED",
            Self::DelegateCallAllowed => "DELEGATECALL_NOT_ALLOWED",
            Self::TypedAllowed => "TYPED_DATA_NOT_ALLOWED",
            Self::SignInAs => "SIGN_IN_ADDRESS_MISMATCH",
            Self::SignInAllowed => "SIGN_IN_NOT_ALLOWED",
            Self::SignInExpires => "SIGN_IN_TOO_LONG",
            Self::AuthorizeAllowed => "AUTHORIZATION_NOT_ALLOWED",
            Self::DeployAllowed => "DEPLOY_NOT_ALLOWED",
            Self::DelegateAllowed => "DELEGATE_NOT_ALLOWED",
            Self::Shared(_) => "OVER_SHARED_LIMIT",
            Self::Recipients => "TOO_MANY_RECIPIENTS",
            Self::Unsettled => "OVER_UNSETTLED_LIMIT",
            Self::Outstanding => "OVER_OUTSTANDING_LIMIT",
            Self::NonceAhead => "NONCE_TOO_FAR_AHEAD",
            Self::Priced => "PRICE_MISSING",
            Self::Cooling => "RECIPIENT_COOLING_OFF",
            Self::ParkedPerCaller => "TOO_MANY_PARKED",
            Self::Approved => "NOT_APPROVED",
        }
    }
}

impl fmt::Display for Rule {
    /// Where it stands in the book, or what it asks.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFrozen => out.write_str("not frozen"),
            Self::NotRevoked => out.write_str("not revoked"),
            Self::NotDraining => out.write_str("not draining"),
            Self::InDrainPlan => out.write_str("drain plan"),
            Self::DrainFees => out.write_str("drain fees"),
            Self::NotRejected => out.write_str("not rejected"),
            Self::Readable => out.write_str("readable for whoever approves"),
            Self::KeyUsable => out.write_str("key exists"),
            Self::ExpectedAddress => out.write_str("expected address"),
            Self::RequestId => out.write_str("request id"),
            Self::KeyChain => out.write_str("chains that the key was made for"),
            Self::KeyHasRules => out.write_str("key has rules"),
            Self::CallerAllowed => out.write_str("callers"),
            Self::ChainAllowed => out.write_str("chains"),
            Self::NoOverflow => out.write_str("amounts below 2^256"),
            Self::Understood => out.write_str("understood"),
            Self::NotDenied => out.write_str("deny"),
            Self::NativeTo => out.write_str("native.to"),
            Self::NativePerTx => out.write_str("native.per_tx"),
            Self::NativeWindow(span) => write!(out, "native.window {span}"),
            Self::FeesAllowed => out.write_str("fees"),
            Self::FeesPerTx => out.write_str("fees.per_tx"),
            Self::FeesWindow(span) => write!(out, "fees.window {span}"),
            Self::MaxPriorityFee => out.write_str("fees.max_priority_fee"),
            Self::TokenAllowed => out.write_str("token"),
            Self::TokenTo => out.write_str("token.to"),
            Self::TokenFrom => out.write_str("token.from"),
            Self::TokenPerTx => out.write_str("token.per_tx"),
            Self::TokenWindow(span) => write!(out, "token.window {span}"),
            Self::AllowanceSpender => out.write_str("token.allowance.spender"),
            Self::AllowancePerTx => out.write_str("token.allowance.per_tx"),
            Self::OperatorAllowed => out.write_str("token.operator"),
            Self::ConvertAllowed => out.write_str("token.convert"),
            Self::CallAllowed => out.write_str("call"),
            Self::Arguments => out.write_str("where"),
            Self::ViaAllowed => out.write_str("via"),
            Self::DelegateCallAllowed => out.write_str("delegatecall"),
            Self::TypedAllowed => out.write_str("typed"),
            Self::SignInAs => out.write_str("message address"),
            Self::SignInAllowed => out.write_str("message.domains"),
            Self::SignInExpires => out.write_str("message.expires"),
            Self::AuthorizeAllowed => out.write_str("authorize"),
            Self::DeployAllowed => out.write_str("deploy"),
            Self::DelegateAllowed => out.write_str("delegate"),
            Self::Shared(span) => write!(out, "limit {span}"),
            Self::Recipients => out.write_str("recipients counted apart"),
            Self::Unsettled => out.write_str("unsettled"),
            Self::Outstanding => out.write_str("token.allowance.outstanding"),
            Self::NonceAhead => out.write_str("rate.nonce_ahead"),
            Self::Priced => out.write_str("prices"),
            Self::Cooling => out.write_str("cooling"),
            Self::ParkedPerCaller => out.write_str("rate.parked"),
            Self::Approved => out.write_str("approve"),
        }
    }
}

impl Finding {
    /// Where the rule stands in the book, or what it asks.
    pub fn name(&self) -> String {
        match (&self.rule, &self.saw) {
            (Rule::Shared(span), Seen::Shared { limit, .. }) => format!("limit.{limit} {span}"),
            (rule, _) => rule.to_string(),
        }
    }
}

/// Why a request was refused: a failed finding, in a form that keeps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The stable code.
    pub code: String,
    /// The bound, if there is one: base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Amount>,
    /// The rule.
    pub rule: String,
    /// What it saw: base units, an address, or words. Empty if nothing.
    pub saw: String,
}

impl From<&Finding> for Reason {
    fn from(finding: &Finding) -> Self {
        let (saw, limit) = match &finding.saw {
            Seen::Nothing => (String::new(), None),
            Seen::Address(address) => (address.to_checksum(None), None),
            Seen::Amount { sum, bound, .. } => (sum.to_string(), *bound),
            Seen::Shared { sum, bound, .. } => (sum.to_string(), Some(*bound)),
            Seen::Words(words) => (words.to_string(), None),
            Seen::Chain(chain) => (chain.to_string(), None),
        };
        Self { code: finding.rule.code().into(), limit, rule: finding.name(), saw }
    }
}

/// A finding as a line for people: `native.window 1h: 24 ETH of at most 25 ETH`.
pub fn describe(finding: &Finding, registry: &Registry) -> String {
    let saw = match &finding.saw {
        Seen::Nothing => String::new(),
        Seen::Address(address) => match registry.label(*address) {
            Some(label) => format!(": {label} ({})", address.to_checksum(None)),
            None => format!(": {}", address.to_checksum(None)),
        },
        Seen::Amount { account, sum, bound } => {
            let sum = format_amount(registry, *account, *sum);
            match bound {
                Some(bound) => {
                    format!(": {sum} of at most {}", format_amount(registry, *account, *bound))
                }
                None => format!(": {sum}, unlimited"),
            }
        }
        Seen::Shared { limit: _, account, sum, bound } => {
            let amount = |amount| format_amount(registry, *account, amount);
            format!(": {} of at most {}", amount(*sum), amount(*bound))
        }
        Seen::Words(words) => format!(": {words}"),
        Seen::Chain(chain) => format!(": {chain}"),
    };
    format!("{}{saw}", finding.name())
}

/// What all rules said of one request, in the order they were asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// None yet, and room for as many as most requests have.
    pub(crate) fn with_room() -> Self {
        Self(Vec::with_capacity(24))
    }

    /// Notes one verdict.
    pub fn note(&mut self, rule: Rule, saw: Seen, passed: bool) {
        self.0.push(Finding { rule, saw, passed });
    }

    /// Whether no rule refused.
    pub fn all_passed(&self) -> bool {
        self.0.iter().all(|finding| finding.passed)
    }

    /// Why it is refused; empty if it is not.
    pub fn reasons(&self) -> Vec<Reason> {
        self.0.iter().filter(|finding| !finding.passed).map(Reason::from).collect()
    }

    /// Why it is refused, in words with units, one for each of [`Findings::reasons`].
    pub fn refusals(&self, registry: &Registry) -> Vec<String> {
        let failed = self.0.iter().filter(|finding| !finding.passed);
        failed.map(|finding| describe(finding, registry)).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }
}
