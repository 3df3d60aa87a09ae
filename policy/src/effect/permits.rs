//! Typed data that moves or promises value without a transaction: permits, authorisations, the
//! transactions of a Safe. Recognised by the full type string, never by a name.

use alloy_primitives::{Address, U256};

use super::{Effect, calls};
use crate::book::{ContractKind, Registry, TokenKind};
use crate::id::ChainId;
use crate::money::Amount;
use crate::typed::TypedData;
use crate::value::Value;

/// What typed data would do beside being signed. Empty if its type is none of these: then a rule
/// over all its fields is all that speaks for it.
pub(super) fn effects(
    data: &TypedData,
    own: Address,
    chain: ChainId,
    registry: &Registry,
) -> Vec<Effect> {
    let Some(permit) = permit(data.primary().text()) else { return Vec::new() };
    let Some(contract) = data.domain().contract else {
        let why = "a permit whose domain names no contract".to_owned();
        return vec![Effect::Unknown { contract: Address::ZERO, why }];
    };
    let reader = Reader { data, own, chain, registry, contract };
    let found = match permit {
        Permit::Erc2612 => reader.erc2612(),
        Permit::Dai => reader.dai(),
        Permit::Erc721 => reader.erc721(),
        Permit::Erc3009 => reader.erc3009(),
        Permit::Cancel => Ok(Vec::new()),
        Permit::Single => reader.permit2("details"),
        Permit::Batch => reader.permit2("details"),
        Permit::TransferFrom => reader.permit2("permitted"),
        Permit::SafeTx => reader.safe_tx(),
    };
    found.unwrap_or_else(|why| vec![Effect::Unknown { contract, why: why.to_owned() }])
}

/// The field of a known type that says until when it is good. `Some(None)`: it is known, and takes
/// effect or not, without a time. `None`: the type is not known here.
pub(crate) fn deadline(type_text: &str) -> Option<Option<&'static str>> {
    let permit = permit(type_text)?;
    Some(match permit {
        Permit::Erc2612 | Permit::Erc721 | Permit::TransferFrom => Some("deadline"),
        Permit::Dai => Some("expiry"),
        Permit::Erc3009 => Some("validBefore"),
        Permit::Single | Permit::Batch => Some("sigDeadline"),
        Permit::Cancel | Permit::SafeTx => None,
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Permit {
    Erc2612,
    Dai,
    Erc721,
    Erc3009,
    Cancel,
    Single,
    Batch,
    TransferFrom,
    SafeTx,
}

fn permit(text: &str) -> Option<Permit> {
    let known = KNOWN.iter().find(|(known, _)| *known == text);
    let witness = || {
        let start = WITNESS.iter().find(|start| text.starts_with(**start))?;
        let rest = text.get(start.len()..)?;
        // What is witnessed has a type of its own; that of the tokens must be Permit2's.
        rest.contains(TOKEN_PERMISSIONS).then_some(Permit::TransferFrom)
    };
    known.map(|(_, permit)| *permit).or_else(witness)
}

struct Reader<'a> {
    data: &'a TypedData,
    own: Address,
    chain: ChainId,
    registry: &'a Registry,
    contract: Address,
}

type Found = Result<Vec<Effect>, &'static str>;

impl Reader<'_> {
    fn erc2612(&self) -> Found {
        self.token(self.contract, &[TokenKind::Erc20, TokenKind::Wrapped])?;
        self.is_own("owner")?;
        Ok(vec![self.grant(self.contract, self.uint("value")?)?])
    }

    /// All or nothing, and with an expiry of 0 for ever.
    fn dai(&self) -> Found {
        self.token(self.contract, &[TokenKind::Erc20])?;
        self.is_own("holder")?;
        if self.data.field("allowed") == Some(&Value::Bool(false)) {
            return Ok(vec![self.grant(self.contract, U256::ZERO)?]);
        }
        if self.uint("expiry")?.is_zero() {
            return Err("a permit with expiry 0 is good for ever");
        }
        Ok(vec![self.grant(self.contract, U256::MAX)?])
    }

    fn erc721(&self) -> Found {
        self.token(self.contract, &[TokenKind::Erc721])?;
        Ok(vec![self.grant(self.contract, U256::ONE)?])
    }

    fn erc3009(&self) -> Found {
        let token = self.contract;
        self.token(token, &[TokenKind::Erc20, TokenKind::Wrapped])?;
        self.is_own("from")?;
        let (to, amount) = (self.address("to")?, Amount::from_units(self.uint("value")?));
        Ok(vec![Effect::TransferToken { token, id: None, from: None, to, amount }])
    }

    /// One token and amount, or several: each is an allowance.
    fn permit2(&self, field: &str) -> Found {
        let details = self.data.field(field).ok_or(NO_FIELD)?;
        let one = |details: &Value| match details.as_list() {
            Some([Value::Address(token), Value::Uint(amount), ..]) => {
                self.token(*token, &[TokenKind::Erc20, TokenKind::Wrapped])?;
                self.grant(*token, *amount)
            }
            _ => Err(NO_FIELD),
        };
        match details.as_list() {
            Some([Value::Address(_), ..]) => Ok(vec![one(details)?]),
            Some(several) => several.iter().map(one).collect(),
            None => Err(NO_FIELD),
        }
    }

    /// Signing as an owner of a Safe is signing for what the Safe has.
    fn safe_tx(&self) -> Found {
        if self.registry.contract_kind(self.chain, self.contract) != ContractKind::Safe {
            return Err("a transaction of a Safe that the book does not know");
        }
        Ok(calls::open_safe_tx(self.registry, self.chain, self.contract, self.data))
    }

    fn token(&self, token: Address, kinds: &[TokenKind]) -> Result<(), &'static str> {
        let found = self.registry.token(self.chain, token);
        let fits = found.is_some_and(|found| kinds.contains(&found.kind));
        if fits { Ok(()) } else { Err("a permit for a token of another kind, or not in the book") }
    }

    fn is_own(&self, field: &str) -> Result<(), &'static str> {
        let own = self.address(field)? == self.own;
        if own { Ok(()) } else { Err("a permit for what another account has") }
    }

    fn grant(&self, token: Address, amount: U256) -> Result<Effect, &'static str> {
        let (spender, amount) = (self.address("spender")?, Amount::from_units(amount));
        Ok(Effect::GrantAllowance { token, spender, amount })
    }

    fn address(&self, field: &str) -> Result<Address, &'static str> {
        self.data.field(field).and_then(Value::as_address).ok_or(NO_FIELD)
    }

    fn uint(&self, field: &str) -> Result<U256, &'static str> {
        self.data.field(field).and_then(Value::as_uint).ok_or(NO_FIELD)
    }
}

const NO_FIELD: &str = "a permit without the fields of its type";

const TOKEN_PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";

/// Permit2's transfers with a witness: what is between is the witness's, in its own words.
const WITNESS: [&str; 2] = [
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,\
     uint256 deadline,",
    "PermitBatchWitnessTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,\
     uint256 deadline,",
];

/// Full type strings: ERC-2612, DAI, Uniswap v3's positions, ERC-3009, Permit2, Safe 1.0 and later.
const KNOWN: [(&str, Permit); 12] = [
    (
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)",
        Permit::Erc2612,
    ),
    (
        "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)",
        Permit::Dai,
    ),
    ("Permit(address spender,uint256 tokenId,uint256 nonce,uint256 deadline)", Permit::Erc721),
    (
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
         uint256 validBefore,bytes32 nonce)",
        Permit::Erc3009,
    ),
    (
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
         uint256 validBefore,bytes32 nonce)",
        Permit::Erc3009,
    ),
    ("CancelAuthorization(address authorizer,bytes32 nonce)", Permit::Cancel),
    (
        "PermitSingle(PermitDetails details,address spender,uint256 sigDeadline)\
         PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)",
        Permit::Single,
    ),
    (
        "PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline)\
         PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)",
        Permit::Batch,
    ),
    (
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,\
         uint256 deadline)TokenPermissions(address token,uint256 amount)",
        Permit::TransferFrom,
    ),
    (
        "PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,\
         uint256 deadline)TokenPermissions(address token,uint256 amount)",
        Permit::TransferFrom,
    ),
    (
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,\
         uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)",
        Permit::SafeTx,
    ),
    (
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,\
         uint256 dataGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)",
        Permit::SafeTx,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed::StructType;

    #[test]
    fn every_type_here_is_in_the_one_form_that_is_hashed() {
        for (text, _) in KNOWN {
            assert_eq!(StructType::parse(text).unwrap().text(), text);
        }
    }

    #[test]
    fn a_type_of_the_same_name_is_not_taken_for_a_permit() {
        for text in [
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint128 deadline)",
            "Permit(address owner,address spender,uint256 amount,uint256 nonce,uint256 deadline)",
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,\
             uint256 deadline,W witness)TokenPermissions(address token,uint128 amount)W(uint8 x)",
        ] {
            assert_eq!(permit(text), None, "{text}");
        }
        let witness = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,\
                       uint256 nonce,uint256 deadline,W witness)\
                       TokenPermissions(address token,uint256 amount)W(uint8 x)";
        assert_eq!(permit(witness), Some(Permit::TransferFrom));
    }
}
