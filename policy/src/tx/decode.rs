//! Reads a transaction, field by field, in the order of its EIP. Must never skip an item, guess a
//! missing one, or allocate for a length that is only claimed.

use alloy_primitives::{Address, B256, U256, uint};

use super::delegation::Delegation;
use super::malformed::{Field, Malformed};
use super::parts::{
    AccessListEntry, AccessListed, Authorization, Blob, Calldata, Common, Destination, DynamicFee,
    Fees, Legacy, SetCode, TxKind,
};
use super::rlp::{Item, Items};
use super::{
    ACCESS_LIST_ITEMS_MAX, AUTHORIZATIONS_MAX, BLOB_HASHES_MAX, CHAIN_ID_MAX, INIT_CODE_BYTES_MAX,
    TX_BYTES_MAX, UnsignedTx,
};
use crate::id::ChainId;
use crate::money::Amount;

/// Reads the bytes that are hashed for signing.
pub(super) fn decode(preimage: &[u8]) -> Result<UnsignedTx, Malformed> {
    if preimage.len() > TX_BYTES_MAX {
        return Err(Malformed::TooLarge { bytes: preimage.len() });
    }
    let (first, body) = preimage.split_first().ok_or(Malformed::Empty)?;
    match first {
        0x01 => open(TxKind::AccessList, body, access_listed),
        0x02 => open(TxKind::DynamicFee, body, dynamic_fee),
        0x03 => open(TxKind::Blob, body, blob),
        0x04 => open(TxKind::SetCode, body, set_code),
        b'0' if body.first() == Some(&b'x') => Err(Malformed::HexText),
        0x80..=0xbf => Err(Malformed::Wrapped),
        0xc0..=0xff => open(TxKind::Legacy, preimage, legacy),
        unknown => Err(Malformed::UnknownType(*unknown)),
    }
}

/// Counts the fields before any is read, so that what people send by mistake (a signed
/// transaction, one without chain id) is named and not refused for its tenth field.
fn open(
    kind: TxKind,
    body: &[u8],
    read: fn(&mut Fields<'_>) -> Result<UnsignedTx, Malformed>,
) -> Result<UnsignedTx, Malformed> {
    let items = Items::of_list(body)?;
    let found = items.count()?;
    let expected = match kind {
        TxKind::AccessList => 8,
        TxKind::Legacy | TxKind::DynamicFee => 9,
        TxKind::SetCode => 10,
        TxKind::Blob => 11,
    };
    if found != expected {
        return Err(match (kind, found) {
            (TxKind::Legacy, 6) => Malformed::LegacyWithoutChainId,
            // Transaction, blobs, commitments, proofs; since EIP-7594 also a version.
            (TxKind::Blob, 4 | 5) => Malformed::BlobSidecar,
            (TxKind::AccessList, 11)
            | (TxKind::DynamicFee, 12)
            | (TxKind::SetCode, 13)
            | (TxKind::Blob, 14) => Malformed::AlreadySigned,
            _ => Malformed::FieldCount { kind, expected, found },
        });
    }
    read(&mut Fields(items))
}

fn legacy(fields: &mut Fields<'_>) -> Result<UnsignedTx, Malformed> {
    let nonce = fields.nonce(Field::Nonce, Malformed::NonceTooLarge)?;
    let gas_price = fields.fee(Field::GasPrice)?;
    let gas_limit = fields.gas_limit()?;
    let (to, value, data) = fields.call(TxKind::Legacy)?;
    // In a signed transaction v stands where the chain id stands here, so r and s come first.
    let place = fields.bytes(Field::ChainId)?;
    if !fields.bytes(Field::LegacyR)?.is_empty() || !fields.bytes(Field::LegacyS)?.is_empty() {
        return Err(Malformed::AlreadySigned);
    }
    let chain = chain(place)?;
    let common = Common { chain, nonce, gas_limit, to, value, data };
    Ok(UnsignedTx::Legacy(Legacy { common, gas_price }))
}

fn access_listed(fields: &mut Fields<'_>) -> Result<UnsignedTx, Malformed> {
    let chain = chain(fields.bytes(Field::ChainId)?)?;
    let nonce = fields.nonce(Field::Nonce, Malformed::NonceTooLarge)?;
    let gas_price = fields.fee(Field::GasPrice)?;
    let gas_limit = fields.gas_limit()?;
    let (to, value, data) = fields.call(TxKind::AccessList)?;
    let access_list = access_list(fields)?;
    let common = Common { chain, nonce, gas_limit, to, value, data };
    Ok(UnsignedTx::AccessList(AccessListed { common, gas_price, access_list }))
}

fn dynamic_fee(fields: &mut Fields<'_>) -> Result<UnsignedTx, Malformed> {
    dynamic(fields, TxKind::DynamicFee).map(UnsignedTx::DynamicFee)
}

fn blob(fields: &mut Fields<'_>) -> Result<UnsignedTx, Malformed> {
    let DynamicFee { common, fees, access_list } = dynamic(fields, TxKind::Blob)?;
    let max_fee_per_blob_gas = fields.fee(Field::MaxFeePerBlobGas)?;
    let hashes = blob_hashes(fields)?;
    Ok(UnsignedTx::Blob(Blob { common, fees, access_list, max_fee_per_blob_gas, hashes }))
}

fn set_code(fields: &mut Fields<'_>) -> Result<UnsignedTx, Malformed> {
    let DynamicFee { common, fees, access_list } = dynamic(fields, TxKind::SetCode)?;
    let authorizations = authorizations(fields, common.chain)?;
    Ok(UnsignedTx::SetCode(SetCode { common, fees, access_list, authorizations }))
}

/// The nine fields of EIP-1559, with which types 2, 3 and 4 begin.
fn dynamic(fields: &mut Fields<'_>, kind: TxKind) -> Result<DynamicFee, Malformed> {
    let chain = chain(fields.bytes(Field::ChainId)?)?;
    let nonce = fields.nonce(Field::Nonce, Malformed::NonceTooLarge)?;
    let priority = fields.fee(Field::MaxPriorityFeePerGas)?;
    let max = fields.fee(Field::MaxFeePerGas)?;
    if priority > max {
        return Err(Malformed::PriorityFeeAboveMaxFee);
    }
    let gas_limit = fields.gas_limit()?;
    let (to, value, data) = fields.call(kind)?;
    let access_list = access_list(fields)?;
    let common = Common { chain, nonce, gas_limit, to, value, data };
    Ok(DynamicFee { common, fees: Fees { max, priority }, access_list })
}

fn chain(bytes: &[u8]) -> Result<ChainId, Malformed> {
    match integer(bytes, Field::ChainId)? {
        0 => Err(Malformed::ChainIdZero),
        id if id > CHAIN_ID_MAX => Err(Malformed::ChainIdTooLarge),
        id => Ok(ChainId(id)),
    }
}

fn access_list(fields: &mut Fields<'_>) -> Result<Vec<AccessListEntry>, Malformed> {
    let mut list = fields.list(Field::AccessList)?;
    let mut left = ACCESS_LIST_ITEMS_MAX;
    let mut entries = Vec::new();
    while !list.0.is_empty() {
        let mut parts = list.list(Field::AccessList)?;
        parts.expect_parts(2, Field::AccessList)?;
        let address = parts.address(Field::AccessListAddress)?;
        let mut keys = parts.list(Field::AccessListKey)?;
        let mut storage_keys = Vec::new();
        left = left.checked_sub(1).ok_or(Malformed::AccessListTooLong)?;
        while !keys.0.is_empty() {
            left = left.checked_sub(1).ok_or(Malformed::AccessListTooLong)?;
            storage_keys.push(keys.word(Field::AccessListKey)?);
        }
        entries.push(AccessListEntry { address, storage_keys });
    }
    Ok(entries)
}

fn blob_hashes(fields: &mut Fields<'_>) -> Result<Vec<B256>, Malformed> {
    let mut list = fields.list(Field::BlobHashes)?;
    let mut hashes = Vec::new();
    while !list.0.is_empty() {
        if hashes.len() >= BLOB_HASHES_MAX {
            return Err(Malformed::BlobHashesTooMany);
        }
        let hash = list.word(Field::BlobHashes)?;
        match hash.first() {
            Some(0x01) => hashes.push(hash),
            other => return Err(Malformed::BlobHashVersion(other.copied().unwrap_or(0))),
        }
    }
    if hashes.is_empty() { Err(Malformed::BlobWithoutHashes) } else { Ok(hashes) }
}

fn authorizations(fields: &mut Fields<'_>, on: ChainId) -> Result<Vec<Authorization>, Malformed> {
    let mut list = fields.list(Field::Authorizations)?;
    let mut tuples = Vec::new();
    while !list.0.is_empty() {
        if tuples.len() >= AUTHORIZATIONS_MAX {
            return Err(Malformed::AuthorizationsTooMany);
        }
        let mut parts = list.list(Field::Authorizations)?;
        parts.expect_parts(6, Field::Authorizations)?;
        tuples.push(authorization(&mut parts, on)?);
    }
    if tuples.is_empty() { Err(Malformed::SetCodeWithoutAuthorizations) } else { Ok(tuples) }
}

/// A tuple that the chain would skip is refused: approving it would approve nothing, or, if it
/// names another chain, publish what is valid there.
fn authorization(parts: &mut Fields<'_>, on: ChainId) -> Result<Authorization, Malformed> {
    let chain = parts.number(Field::AuthorizationChainId, 32)?;
    let address = parts.address(Field::AuthorizationAddress)?;
    let nonce = parts.nonce(Field::AuthorizationNonce, Malformed::AuthorizationNonce)?;
    let y_parity = parts.number(Field::AuthorizationParity, 1)?;
    let r = parts.number(Field::AuthorizationR, 32)?;
    let s = parts.number(Field::AuthorizationS, 32)?;
    let chain = match u64::try_from(chain).map(ChainId) {
        Ok(chain) if chain == on || chain == ChainId(0) => chain,
        Ok(_) | Err(_) => return Err(Malformed::AuthorizationChain),
    };
    let in_range = !r.is_zero() && r < ORDER && !s.is_zero() && s <= HALF_ORDER;
    if !in_range || y_parity > U256::ONE {
        return Err(Malformed::AuthorizationSignature);
    }
    Ok(Authorization { chain, address, nonce, y_parity: y_parity == U256::ONE, r, s })
}

/// Chain id, address and nonce of an authorization by itself.
pub(super) fn delegation(items: Items<'_>) -> Result<Delegation, Malformed> {
    let mut fields = Fields(items);
    let chain = fields.number(Field::AuthorizationChainId, 32)?;
    let address = fields.address(Field::AuthorizationAddress)?;
    let nonce = fields.nonce(Field::AuthorizationNonce, Malformed::AuthorizationNonce)?;
    Delegation::new(chain, address, nonce)
}

/// The order of secp256k1.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// Half of it, rounded down: the largest s that is low (EIP-2).
const HALF_ORDER: U256 =
    uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// Fees are refused from 2^128 wei per unit of gas on: more than was ever issued, and small
/// enough that no product with a gas limit overflows.
const FEE_BYTES_MAX: usize = 16;

/// A list's items, each read as what it must be.
struct Fields<'a>(Items<'a>);

impl<'a> Fields<'a> {
    fn bytes(&mut self, field: Field) -> Result<&'a [u8], Malformed> {
        match self.0.next()? {
            Some(Item::Bytes(bytes)) => Ok(bytes),
            Some(Item::List(_)) => Err(Malformed::FieldShape(field)),
            None => Err(Malformed::EntryParts(field)),
        }
    }

    fn list(&mut self, field: Field) -> Result<Self, Malformed> {
        match self.0.next()? {
            Some(Item::List(items)) => Ok(Self(items)),
            Some(Item::Bytes(_)) => Err(Malformed::FieldShape(field)),
            None => Err(Malformed::EntryParts(field)),
        }
    }

    fn expect_parts(&self, expected: usize, field: Field) -> Result<(), Malformed> {
        let found = self.0.count()?;
        if found == expected { Ok(()) } else { Err(Malformed::EntryParts(field)) }
    }

    fn number(&mut self, field: Field, bytes_max: usize) -> Result<U256, Malformed> {
        number(self.bytes(field)?, field, bytes_max)
    }

    fn fee(&mut self, field: Field) -> Result<Amount, Malformed> {
        self.number(field, FEE_BYTES_MAX).map(Amount::from_units)
    }

    /// A nonce: 2^64 - 1 cannot be counted on from (EIP-2681).
    fn nonce(&mut self, field: Field, too_large: Malformed) -> Result<u64, Malformed> {
        match integer(self.bytes(field)?, field)? {
            u64::MAX => Err(too_large),
            nonce => Ok(nonce),
        }
    }

    fn gas_limit(&mut self) -> Result<u64, Malformed> {
        match integer(self.bytes(Field::GasLimit)?, Field::GasLimit)? {
            0 => Err(Malformed::GasLimitZero),
            gas => Ok(gas),
        }
    }

    fn call(&mut self, kind: TxKind) -> Result<(Destination, Amount, Calldata), Malformed> {
        let to = self.bytes(Field::To)?;
        let value = self.number(Field::Value, 32).map(Amount::from_units)?;
        let data = self.bytes(Field::Data)?;
        let to = if to.is_empty() {
            create(kind, data)?
        } else {
            Destination::Call(Address::from(fixed(to, Field::To)?))
        };
        Ok((to, value, Calldata(data.to_vec())))
    }

    fn address(&mut self, field: Field) -> Result<Address, Malformed> {
        fixed(self.bytes(field)?, field).map(Address::from)
    }

    fn word(&mut self, field: Field) -> Result<B256, Malformed> {
        fixed(self.bytes(field)?, field).map(B256::from)
    }
}

fn create(kind: TxKind, init_code: &[u8]) -> Result<Destination, Malformed> {
    match (kind, init_code.len()) {
        (TxKind::Blob, _) => Err(Malformed::BlobCreate),
        (TxKind::SetCode, _) => Err(Malformed::SetCodeCreate),
        (_, 0) => Err(Malformed::CreateWithoutCode),
        (_, bytes) if bytes > INIT_CODE_BYTES_MAX => Err(Malformed::InitCodeTooLarge { bytes }),
        (TxKind::Legacy | TxKind::AccessList | TxKind::DynamicFee, _) => Ok(Destination::Create),
    }
}

fn fixed<const N: usize>(bytes: &[u8], field: Field) -> Result<[u8; N], Malformed> {
    let wrong = Malformed::FieldLength { field, bytes: bytes.len(), expected: N };
    <[u8; N]>::try_from(bytes).map_err(|_| wrong)
}

fn integer(bytes: &[u8], field: Field) -> Result<u64, Malformed> {
    let too_long = Malformed::FieldTooLong { field, bytes: bytes.len(), bytes_max: 8 };
    u64::try_from(number(bytes, field, 8)?).map_err(|_| too_long)
}

fn number(bytes: &[u8], field: Field, bytes_max: usize) -> Result<U256, Malformed> {
    if bytes.first() == Some(&0) {
        return Err(Malformed::LeadingZero(field));
    }
    let too_long = Malformed::FieldTooLong { field, bytes: bytes.len(), bytes_max };
    if bytes.len() > bytes_max {
        return Err(too_long);
    }
    U256::try_from_be_slice(bytes).ok_or(too_long)
}
