//! Writes a transaction in its one form. Must never depend on anything but the decoded fields:
//! comparing its output with the input is what proves that the decoder read everything.

use super::parts::{AccessListEntry, Authorization, Common, Destination, Fees};
use super::rlp::Writer;
use super::{TxKind, UnsignedTx};
use crate::money::Amount;

/// The signature fields, in the order in which they end the list.
struct Signature<'a> {
    v: u128,
    r: &'a [u8; 32],
    s: &'a [u8; 32],
}

/// The bytes that are hashed for signing.
pub(super) fn unsigned(tx: &UnsignedTx) -> Vec<u8> {
    let mut out = Writer::default();
    fields(tx, &mut out);
    if tx.kind() == TxKind::Legacy {
        // EIP-155: the chain id stands where v will be, r and s are empty.
        out.number(&tx.chain().0.to_be_bytes());
        out.bytes(&[]);
        out.bytes(&[]);
    }
    out.finish(prefix(tx.kind()))
}

/// The bytes to broadcast.
pub(super) fn signed(tx: &UnsignedTx, r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> Vec<u8> {
    let parity = u128::from(y_parity);
    let v = match tx.kind() {
        // 2^65 at most, so nothing saturates.
        TxKind::Legacy => {
            u128::from(tx.chain().0).saturating_mul(2).saturating_add(35).saturating_add(parity)
        }
        TxKind::AccessList | TxKind::DynamicFee | TxKind::Blob | TxKind::SetCode => parity,
    };
    let signature = Signature { v, r, s };
    let mut out = Writer::default();
    fields(tx, &mut out);
    out.number(&signature.v.to_be_bytes());
    out.number(signature.r);
    out.number(signature.s);
    out.finish(prefix(tx.kind()))
}

/// The EIP-2718 type byte, which legacy does not have.
fn prefix(kind: TxKind) -> &'static [u8] {
    match kind {
        TxKind::Legacy => &[],
        TxKind::AccessList => &[1],
        TxKind::DynamicFee => &[2],
        TxKind::Blob => &[3],
        TxKind::SetCode => &[4],
    }
}

/// The fields that both forms share.
fn fields(tx: &UnsignedTx, out: &mut Writer) {
    match tx {
        UnsignedTx::Legacy(tx) => {
            out.number(&tx.common.nonce.to_be_bytes());
            amount(out, tx.gas_price);
            gas_and_call(out, &tx.common);
        }
        UnsignedTx::AccessList(tx) => {
            chain_and_nonce(out, &tx.common);
            amount(out, tx.gas_price);
            gas_and_call(out, &tx.common);
            access_list(out, &tx.access_list);
        }
        UnsignedTx::DynamicFee(tx) => dynamic(out, &tx.common, tx.fees, &tx.access_list),
        UnsignedTx::Blob(tx) => {
            dynamic(out, &tx.common, tx.fees, &tx.access_list);
            amount(out, tx.max_fee_per_blob_gas);
            out.list(|hashes| tx.hashes.iter().for_each(|hash| hashes.bytes(hash.as_slice())));
        }
        UnsignedTx::SetCode(tx) => {
            dynamic(out, &tx.common, tx.fees, &tx.access_list);
            out.list(|list| tx.authorizations.iter().for_each(|each| authorization(list, each)));
        }
    }
}

/// The nine fields of EIP-1559, with which types 2, 3 and 4 begin.
fn dynamic(out: &mut Writer, common: &Common, fees: Fees, entries: &[AccessListEntry]) {
    chain_and_nonce(out, common);
    amount(out, fees.priority);
    amount(out, fees.max);
    gas_and_call(out, common);
    access_list(out, entries);
}

fn chain_and_nonce(out: &mut Writer, common: &Common) {
    out.number(&common.chain.0.to_be_bytes());
    out.number(&common.nonce.to_be_bytes());
}

fn gas_and_call(out: &mut Writer, common: &Common) {
    out.number(&common.gas_limit.to_be_bytes());
    match common.to {
        Destination::Call(address) => out.bytes(address.as_slice()),
        Destination::Create => out.bytes(&[]),
    }
    amount(out, common.value);
    out.bytes(&common.data.0);
}

fn amount(out: &mut Writer, amount: Amount) {
    out.number(&amount.units().to_be_bytes::<32>());
}

fn access_list(out: &mut Writer, entries: &[AccessListEntry]) {
    out.list(|list| {
        for entry in entries {
            list.list(|parts| {
                parts.bytes(entry.address.as_slice());
                parts.list(|keys| {
                    entry.storage_keys.iter().for_each(|key| keys.bytes(key.as_slice()));
                });
            });
        }
    });
}

fn authorization(out: &mut Writer, tuple: &Authorization) {
    out.list(|parts| {
        parts.number(&tuple.chain.0.to_be_bytes());
        parts.bytes(tuple.address.as_slice());
        parts.number(&tuple.nonce.to_be_bytes());
        parts.number(&[u8::from(tuple.y_parity)]);
        parts.number(&tuple.r.to_be_bytes::<32>());
        parts.number(&tuple.s.to_be_bytes::<32>());
    });
}
