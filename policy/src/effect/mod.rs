//! What a request would do, in the words that rules are written in. Rules never see bytes.
//!
//! Transactions, typed data and messages all come out as the same effects, and are charged to the
//! same accounts: a permit is an allowance, whoever carries it to the chain. An asset's kind comes
//! from the book's registry, never from a selector: `approve` and `transferFrom` are shared by
//! ERC-20 and ERC-721.

/// Functions whose signatures stand here, each parsed once. One that could not be parsed would
/// match nothing; tests hold that all can.
macro_rules! functions {
    ($($name:ident = $signature:literal;)*) => {
        $(static $name: LazyLock<Function> =
            LazyLock::new(|| $crate::abi::function($signature).unwrap_or_default());)*
        #[cfg(test)]
        const SIGNATURES: &[&str] = &[$($signature),*];
    };
}

mod calls;
mod charge;
mod multisend;
mod permits;
mod tokens;
mod words;

use alloy_primitives::{Address, B256, U256, keccak256};

pub(crate) use self::calls::is_opened;
pub use self::charge::{charges, grants, payments};
pub(crate) use self::permits::deadline as permit_deadline;
pub use self::words::describe;
use crate::book::Registry;
use crate::id::ChainId;
use crate::money::Amount;
use crate::request::{Request, Signable};
use crate::tx::{Destination, UnsignedTx};

/// One thing a request would do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Pays a fee of at most so much.
    Fee {
        /// Gas limit times maximum fee, plus blobs at their maximum fee, plus what the book says
        /// that the chain takes beside gas. `None`: 2^256 or more.
        most: Option<Amount>,
        /// Of each unit of gas, at most so much goes to the block's builder.
        priority: Amount,
    },
    /// Pays the native coin.
    PayNative {
        /// To whom.
        to: Address,
        /// Wei.
        amount: Amount,
    },
    /// Moves a registered token.
    TransferToken {
        /// The contract.
        token: Address,
        /// Which one, of tokens that are told apart.
        id: Option<U256>,
        /// Whose; `None`: the key's own.
        from: Option<Address>,
        /// To whom.
        to: Address,
        /// Base units; 1 of a token that is told apart from all others.
        amount: Amount,
    },
    /// Lets somebody move a registered token.
    GrantAllowance {
        /// The contract.
        token: Address,
        /// Who may then move it.
        spender: Address,
        /// Base units.
        amount: Amount,
    },
    /// Lets somebody move all of a registered token, now and later: `setApprovalForAll`.
    GrantOperator {
        /// The contract.
        token: Address,
        /// Who may then move it.
        operator: Address,
    },
    /// Ends what somebody could move.
    RevokeOperator {
        /// The contract.
        token: Address,
        /// Whose right ends.
        operator: Address,
    },
    /// Turns native coin into a registered token that stands for it.
    Wrap {
        /// The contract.
        token: Address,
        /// Wei.
        amount: Amount,
    },
    /// Turns such a token into native coin.
    Unwrap {
        /// The contract.
        token: Address,
        /// Wei.
        amount: Amount,
    },
    /// Calls a function, bound by a rule over its arguments.
    Call {
        /// The contract.
        contract: Address,
        /// The function.
        selector: [u8; 4],
        /// What follows the selector.
        arguments: Vec<u8>,
    },
    /// Goes through a contract whose calls are opened: what they do is listed by itself.
    Via {
        /// The contract.
        contract: Address,
    },
    /// Lets code run as a contract account: it may do anything with what that account has.
    DelegateCall {
        /// The account.
        account: Address,
        /// Whose code.
        target: Address,
    },
    /// Signs typed data, bound by a rule over its domain, its full type and its fields.
    Typed {
        /// The contract that its domain names. `None`: none.
        contract: Option<Address>,
        /// The name of its type.
        name: String,
        /// Its `typeHash`.
        type_hash: B256,
    },
    /// Signs in to a site (EIP-4361).
    SignIn {
        /// The site.
        domain: String,
        /// As whom.
        address: Address,
    },
    /// Signs an EIP-7702 authorisation: the key's account would run this contract's code.
    Authorize {
        /// The contract. The zero address ends it.
        to: Address,
    },
    /// Deploys a contract.
    Deploy {
        /// Keccak-256 of the init code.
        init_code: B256,
        /// Native coin sent along.
        value: Amount,
    },
    /// Carries an EIP-7702 authorisation: an account would run this contract's code.
    Delegate {
        /// The chain it is valid on; 0: all of them.
        chain: ChainId,
        /// The contract.
        to: Address,
    },
    /// Not understood, so not signed.
    Unknown {
        /// What it was sent to.
        contract: Address,
        /// Why it is not understood.
        why: String,
    },
}

/// Everything a request would do.
pub fn effects(request: &Request, own: Address, registry: &Registry) -> Vec<Effect> {
    match request.signable() {
        Signable::Transaction(tx) => of_transaction(tx, registry),
        Signable::Typed(data) => {
            let mut effects = vec![Effect::Typed {
                contract: data.domain().contract,
                name: data.primary().name().to_owned(),
                type_hash: data.primary().hash(),
            }];
            effects.extend(permits::effects(data, own, request.chain(), registry));
            effects
        }
        Signable::Message(message) => {
            let (domain, address) = (message.domain().to_owned(), message.address());
            vec![Effect::SignIn { domain, address }]
        }
        Signable::Delegation(delegation) => vec![Effect::Authorize { to: delegation.address() }],
    }
}

/// Everything a transaction would do.
pub fn of_transaction(tx: &UnsignedTx, registry: &Registry) -> Vec<Effect> {
    let priority = tx.max_priority_fee_per_gas();
    let most = tx.worst_case_fee().and_then(|fee| fee.checked_add(l1_fee(tx.chain(), registry)));
    let mut effects = vec![Effect::Fee { most, priority }];
    match tx.destination() {
        Destination::Create => {
            effects.push(Effect::Deploy { init_code: keccak256(tx.data()), value: tx.value() });
        }
        Destination::Call(to) => {
            effects.extend(calls::open(registry, tx.chain(), to, tx.value(), tx.data()));
        }
    }
    let delegations = tx.authorizations().iter();
    effects
        .extend(delegations.map(|one| Effect::Delegate { chain: one.chain(), to: one.address() }));
    effects
}

/// What the book reserves of each transaction for the chain's layer 1; it is in no signed field.
fn l1_fee(chain: ChainId, registry: &Registry) -> Amount {
    registry.chain(chain).and_then(|chain| chain.l1_fee).unwrap_or(Amount::ZERO)
}
