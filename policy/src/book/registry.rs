//! What names stand for: chains, tokens, contracts, labels.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use super::units::{UnitDef, coin_units, parse_amount};
use crate::id::{ChainId, PersonId};
use crate::money::Amount;

/// What names stand for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    pub(in crate::book) chains: BTreeMap<ChainId, Chain>,
    pub(in crate::book) tokens: BTreeMap<(ChainId, Address), Token>,
    pub(in crate::book) contracts: BTreeMap<(ChainId, Address), ContractKind>,
    pub(in crate::book) labels: BTreeMap<Address, Label>,
}

impl Registry {
    /// A registered chain.
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(&id)
    }

    /// A registered token. Its kind comes from here and never from a selector.
    pub fn token(&self, chain: ChainId, contract: Address) -> Option<&Token> {
        self.tokens.get(&(chain, contract))
    }

    /// All registered tokens, by chain and contract.
    pub fn tokens(&self) -> impl Iterator<Item = (ChainId, Address, &Token)> {
        self.tokens.iter().map(|((chain, contract), token)| (*chain, *contract, token))
    }

    /// With how many digits after the point amounts of an account are written.
    pub(crate) fn decimals(&self, account: crate::money::Account) -> Option<u8> {
        super::units::decimals(self, account)
    }

    /// How calls to a contract are read. Whatever is not in the registry is plain.
    pub fn contract_kind(&self, chain: ChainId, contract: Address) -> ContractKind {
        self.contracts.get(&(chain, contract)).copied().unwrap_or_default()
    }

    /// Whether the registry has it as a token or a contract, of whatever kind.
    pub fn is_contract(&self, chain: ChainId, address: Address) -> bool {
        let place = (chain, address);
        self.tokens.contains_key(&place) || self.contracts.contains_key(&place)
    }

    /// Whether a coin or a token has this name.
    pub fn has_asset(&self, name: &str) -> bool {
        self.chains.values().any(|chain| chain.native == name)
            || self.tokens.values().any(|token| token.name == name)
    }

    /// The address of this name, if just one has it. For what people write outside of the book: its
    /// rules are resolved already.
    pub fn address_named(&self, name: &str) -> Option<Address> {
        let named = |label: &Label| label.names.iter().any(|(_, one)| one == name);
        let mut found = self.labels.iter().filter(|(_, label)| named(label));
        found.next().map(|(address, _)| *address).filter(|_| found.next().is_none())
    }

    /// The chain of this name.
    pub fn chain_named(&self, name: &str) -> Option<ChainId> {
        self.chains.iter().find(|(_, chain)| chain.name == name).map(|(id, _)| *id)
    }

    /// An amount in the unit of any coin or token, in base units. `None`: it is none.
    pub fn parse_amount(&self, text: &str) -> Option<Amount> {
        let coins: BTreeSet<&str> =
            self.chains.values().map(|chain| chain.native.as_str()).collect();
        let mut units = coin_units(coins.into_iter());
        let tokens = self.tokens.values();
        units.extend(tokens.map(|token| UnitDef { name: &token.name, decimals: token.decimals }));
        parse_amount(text, &units).ok()
    }

    /// The names of an address on any chain, for display only, with commas; whoever shows them
    /// shows the address too.
    pub fn label(&self, address: Address) -> Option<&str> {
        self.labels.get(&address).map(|label| label.all.as_str())
    }

    /// Its names on one chain: that of a contract on another chain, where the same address may be
    /// somebody else's, is none.
    pub fn label_on(&self, chain: ChainId, address: Address) -> Option<String> {
        let names = &self.labels.get(&address)?.names;
        let here = names.iter().filter(|(place, _)| place.is_none_or(|place| place == chain));
        let here: Vec<&str> = here.map(|(_, name)| name.as_str()).collect();
        (!here.is_empty()).then(|| here.join(", "))
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

/// What an address is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::book) struct Label {
    /// All names, with commas.
    all: String,
    /// Each, and on which chain: a contract's or a token's is of one.
    names: Vec<(Option<ChainId>, String)>,
}

impl Label {
    pub(in crate::book) fn add(&mut self, chain: Option<ChainId>, name: &str) {
        if !self.all.is_empty() {
            self.all.push_str(", ");
        }
        self.all.push_str(name);
        self.names.push((chain, name.to_owned()));
    }

    /// Each name, and on which chain.
    pub(in crate::book) fn names(&self) -> BTreeSet<&(Option<ChainId>, String)> {
        self.names.iter().collect()
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

/// A token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its name in the book.
    pub name: String,
    /// How calls to it are read.
    pub kind: TokenKind,
    /// How many decimals its amounts are written with.
    pub decimals: u8,
}

/// How calls to a token are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// ERC-20.
    Erc20,
    /// An ERC-20 that native coin is turned into, and back: WETH.
    Wrapped,
    /// ERC-721: each is counted as 1.
    Erc721,
    /// ERC-1155: amounts of all ids together.
    Erc1155,
}

impl TokenKind {
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "erc20" => Some(Self::Erc20),
            "wrapped-native" => Some(Self::Wrapped),
            "erc721" => Some(Self::Erc721),
            "erc1155" => Some(Self::Erc1155),
            _ => None,
        }
    }
}

/// How calls to a contract that is no token are read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ContractKind {
    /// By rules over their arguments.
    #[default]
    Plain,
    /// `multicall(bytes[])` is opened.
    Multicall,
    /// Multicall3's batches are opened.
    Multicall3,
    /// A Safe: `execTransaction` is opened, and `SafeTx`.
    Safe,
    /// A Safe may run its batches.
    MultiSend,
    /// Permit2: allowances and transfers of any token.
    Permit2,
}

impl ContractKind {
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "multicall" => Some(Self::Multicall),
            "multicall3" => Some(Self::Multicall3),
            "safe" => Some(Self::Safe),
            "multisend" => Some(Self::MultiSend),
            "permit2" => Some(Self::Permit2),
            _ => None,
        }
    }
}

/// A caller, as the book knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallerEntry {
    /// The people who own it: they never count in its quorums.
    pub owners: BTreeSet<PersonId>,
}
