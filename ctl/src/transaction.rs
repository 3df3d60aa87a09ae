//! An `eth_signTransaction` object, read strictly, as the unsigned preimage of EIP-2718.
//!
//! Nothing is filled in that could move money: chain, nonce, gas and fees must be there, and `to`
//! too, `null` for a deployment. Types 3 and 4 come as `--hex`.

use alloy_primitives::{Address, B256, U256};
use alloy_rlp::{Encodable, Header};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// The object, each field in its own form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Transaction {
    #[serde(default)]
    from: Option<AddressText>,
    #[serde(deserialize_with = "present")]
    to: Option<AddressText>,
    #[serde(default)]
    value: Quantity,
    nonce: Quantity,
    chain_id: Quantity,
    gas: Quantity,
    #[serde(default)]
    gas_price: Option<Quantity>,
    #[serde(default)]
    max_fee_per_gas: Option<Quantity>,
    #[serde(default)]
    max_priority_fee_per_gas: Option<Quantity>,
    #[serde(default)]
    data: Option<HexBytes>,
    #[serde(default)]
    input: Option<HexBytes>,
    #[serde(default)]
    access_list: Option<Vec<Access>>,
    #[serde(default, rename = "type")]
    kind: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Access {
    address: AddressText,
    storage_keys: Vec<StorageKey>,
}

/// An object that describes no one transaction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactionFault {
    /// Not the JSON we want.
    #[error("it is not a transaction object")]
    Parse(#[from] serde_json::Error),
    /// A type we do not encode.
    #[error("type {0} is not one of 0, 1 and 2; give other types as --hex")]
    Type(U256),
    /// A field is missing for this type.
    #[error("{field} is missing, which type {kind} needs")]
    Missing { field: &'static str, kind: u8 },
    /// A field has no place in this type.
    #[error("{field} has no place in type {kind}")]
    Extra { field: &'static str, kind: u8 },
    /// Data twice, and not the same.
    #[error("\"data\" and \"input\" differ; give one of them")]
    TwoInputs,
    /// A number is larger than the protocol's field.
    #[error("{field} is larger than {bits} bits")]
    TooLarge { field: &'static str, bits: usize },
}

impl Transaction {
    /// Reads the object.
    pub(crate) fn parse(text: &str) -> Result<Self, TransactionFault> {
        let transaction: Self = serde_json::from_str(text)?;
        let fits = |field, number: &Quantity, bits| {
            let large = number.0.bit_len() > bits;
            if large { Err(TransactionFault::TooLarge { field, bits }) } else { Ok(()) }
        };
        fits("nonce", &transaction.nonce, 64)?;
        fits("chainId", &transaction.chain_id, 64)?;
        fits("gas", &transaction.gas, 64)?;
        for (field, fee) in [
            ("gasPrice", &transaction.gas_price),
            ("maxFeePerGas", &transaction.max_fee_per_gas),
            ("maxPriorityFeePerGas", &transaction.max_priority_fee_per_gas),
        ] {
            fee.as_ref().map_or(Ok(()), |fee| fits(field, fee, 128))?;
        }
        Ok(transaction)
    }

    /// Who should sign, if the object says so.
    pub(crate) fn from(&self) -> Option<Address> {
        self.from.as_ref().map(|from| from.0)
    }

    /// The bytes that are hashed for signing.
    pub(crate) fn preimage(&self) -> Result<Vec<u8>, TransactionFault> {
        let kind = self.kind()?;
        let mut fields = Vec::new();
        match kind {
            0 => self.legacy(&mut fields)?,
            1 => self.with_access_list(&mut fields)?,
            _ => self.dynamic(&mut fields)?,
        }
        let mut preimage = if kind == 0 { vec![] } else { vec![kind] };
        write_list(&fields, &mut preimage);
        Ok(preimage)
    }

    /// As given; else what the fields say, as nodes do.
    fn kind(&self) -> Result<u8, TransactionFault> {
        let dynamic = self.max_fee_per_gas.is_some() || self.max_priority_fee_per_gas.is_some();
        let Some(kind) = &self.kind else {
            return Ok(match (&self.gas_price, &self.access_list) {
                (Some(_), None) if !dynamic => 0,
                (Some(_), Some(_)) if !dynamic => 1,
                _ => 2,
            });
        };
        match u8::try_from(kind.0) {
            Ok(kind @ 0..=2) => Ok(kind),
            _ => Err(TransactionFault::Type(kind.0)),
        }
    }

    fn legacy(&self, out: &mut Vec<u8>) -> Result<(), TransactionFault> {
        absent("accessList", 0, self.access_list.is_some())?;
        self.nonce.0.encode(out);
        self.write_gas_price(0, out)?;
        self.write_call(out)?;
        self.chain_id.0.encode(out);
        // EIP-155: two empty strings after the chain id.
        out.extend_from_slice(&[0x80, 0x80]);
        Ok(())
    }

    fn with_access_list(&self, out: &mut Vec<u8>) -> Result<(), TransactionFault> {
        self.chain_id.0.encode(out);
        self.nonce.0.encode(out);
        self.write_gas_price(1, out)?;
        self.write_call(out)?;
        self.write_access_list(out);
        Ok(())
    }

    fn dynamic(&self, out: &mut Vec<u8>) -> Result<(), TransactionFault> {
        absent("gasPrice", 2, self.gas_price.is_some())?;
        self.chain_id.0.encode(out);
        self.nonce.0.encode(out);
        needed("maxPriorityFeePerGas", 2, self.max_priority_fee_per_gas.as_ref())?.encode(out);
        needed("maxFeePerGas", 2, self.max_fee_per_gas.as_ref())?.encode(out);
        self.write_call(out)?;
        self.write_access_list(out);
        Ok(())
    }

    fn write_gas_price(&self, kind: u8, out: &mut Vec<u8>) -> Result<(), TransactionFault> {
        absent("maxFeePerGas", kind, self.max_fee_per_gas.is_some())?;
        absent("maxPriorityFeePerGas", kind, self.max_priority_fee_per_gas.is_some())?;
        needed("gasPrice", kind, self.gas_price.as_ref())?.encode(out);
        Ok(())
    }

    /// Gas, recipient, value, data: the same four in the same order in every type.
    fn write_call(&self, out: &mut Vec<u8>) -> Result<(), TransactionFault> {
        self.gas.0.encode(out);
        self.to.as_ref().map_or(&[][..], |to| to.0.as_slice()).encode(out);
        self.value.0.encode(out);
        self.payload()?.encode(out);
        Ok(())
    }

    fn payload(&self) -> Result<&[u8], TransactionFault> {
        match (&self.data, &self.input) {
            (Some(data), Some(input)) if data.0 != input.0 => Err(TransactionFault::TwoInputs),
            (Some(bytes), _) | (None, Some(bytes)) => Ok(&bytes.0),
            (None, None) => Ok(&[]),
        }
    }

    fn write_access_list(&self, out: &mut Vec<u8>) {
        let mut all = Vec::new();
        for access in self.access_list.iter().flatten() {
            let (mut keys, mut one) = (Vec::new(), Vec::new());
            for key in &access.storage_keys {
                key.0.encode(&mut keys);
            }
            access.address.0.encode(&mut one);
            write_list(&keys, &mut one);
            write_list(&one, &mut all);
        }
        write_list(&all, out);
    }
}

fn needed(
    field: &'static str,
    kind: u8,
    given: Option<&Quantity>,
) -> Result<U256, TransactionFault> {
    given.map(|quantity| quantity.0).ok_or(TransactionFault::Missing { field, kind })
}

fn absent(field: &'static str, kind: u8, given: bool) -> Result<(), TransactionFault> {
    if given { Err(TransactionFault::Extra { field, kind }) } else { Ok(()) }
}

fn write_list(payload: &[u8], out: &mut Vec<u8>) {
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

/// Turns "missing means null" off.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AddressText>, D::Error> {
    Option::deserialize(from)
}

/// A JSON number, a decimal string, or a 0x string.
#[derive(Debug, Default)]
struct Quantity(U256);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl Visitor<'_> for Numbers {
            type Value = Quantity;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a whole number, as 0x-hex, decimal string or JSON integer")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(U256::from(number)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                let (digits, radix) = match text.strip_prefix("0x") {
                    Some(digits) => (digits, 16),
                    None => (text, 10),
                };
                let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
                let number = plain.then(|| U256::from_str_radix(digits, radix).ok()).flatten();
                let number = number.map(Quantity);
                number.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Numbers)
    }
}

/// 0x and 40 digits. In mixed case the EIP-55 checksum must be right.
#[derive(Debug)]
struct AddressText(Address);

impl<'de> Deserialize<'de> for AddressText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let address = prefixed(&text).and_then(|digits| {
            let lower = digits.to_ascii_lowercase();
            let mixed = digits != lower && digits != digits.to_ascii_uppercase();
            let address: Address = lower.parse().ok()?;
            (!mixed || address.to_checksum(None) == text).then_some(address)
        });
        address.map(Self).ok_or_else(|| {
            let found = de::Unexpected::Str(&text);
            de::Error::invalid_value(found, &"an address, with a right checksum if in mixed case")
        })
    }
}

/// 0x and 64 digits.
#[derive(Debug)]
struct StorageKey(B256);

impl<'de> Deserialize<'de> for StorageKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let key = prefixed(&text).and_then(|digits| digits.parse().ok());
        key.map(Self).ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"0x and 64 hexadecimal digits")
        })
    }
}

/// 0x and an even number of digits.
#[derive(Debug)]
struct HexBytes(Vec<u8>);

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = prefixed(&text).and_then(|digits| hex::decode(digits).ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("data is not 0x-hex of whole bytes"))
    }
}

fn prefixed(text: &str) -> Option<&str> {
    text.strip_prefix("0x")
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxLegacy};
    use alloy_primitives::{Bytes, TxKind};

    use super::*;

    const TO: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn preimage(text: &str) -> Result<Vec<u8>, TransactionFault> {
        Transaction::parse(text)?.preimage()
    }

    #[test]
    fn a_legacy_object_encodes_as_alloy_does() {
        let text = format!(
            r#"{{"to":"{TO}","value":"1000000000000000000","nonce":0,"chainId":"0x1",
                "gas":21000,"gasPrice":"0x3b9aca00"}}"#
        );
        let same = TxLegacy {
            chain_id: Some(1),
            nonce: 0,
            gas_price: 1_000_000_000,
            gas_limit: 21_000,
            to: TxKind::Call(TO.parse().expect("address")),
            value: U256::from(10).pow(U256::from(18)),
            input: Bytes::new(),
        };
        assert_eq!(preimage(&text).expect("encodes"), same.encoded_for_signing());
    }

    #[test]
    fn an_access_list_object_encodes_as_alloy_does() {
        let slot = format!("0x{}", "07".repeat(32));
        let text = format!(
            r#"{{"to":null,"nonce":"0x81","chainId":137,"gas":"0xffff","gasPrice":1,
                "input":"0x6000","type":"0x1",
                "accessList":[{{"address":"{TO}","storageKeys":["{slot}","{slot}"]}}]}}"#
        );
        let item = alloy_consensus::private::alloy_eips::eip2930::AccessListItem {
            address: TO.parse().expect("address"),
            storage_keys: vec![B256::repeat_byte(7); 2],
        };
        let same = TxEip2930 {
            chain_id: 137,
            nonce: 0x81,
            gas_price: 1,
            gas_limit: 0xffff,
            to: TxKind::Create,
            value: U256::ZERO,
            access_list: vec![item].into(),
            input: vec![0x60, 0].into(),
        };
        assert_eq!(preimage(&text).expect("encodes"), same.encoded_for_signing());
    }

    #[test]
    fn a_dynamic_fee_object_encodes_as_alloy_does() {
        let text = format!(
            r#"{{"from":"{TO}","to":"{}","value":"0x0","nonce":7,"chainId":1,"gas":60000,
                "maxFeePerGas":"30000000000","maxPriorityFeePerGas":0,
                "data":"0xa9059cbb","input":"0xa9059cbb"}}"#,
            TO.to_lowercase()
        );
        let same = TxEip1559 {
            chain_id: 1,
            nonce: 7,
            gas_limit: 60_000,
            max_fee_per_gas: 30_000_000_000,
            max_priority_fee_per_gas: 0,
            to: TxKind::Call(TO.parse().expect("address")),
            value: U256::ZERO,
            access_list: Default::default(),
            input: vec![0xa9, 0x05, 0x9c, 0xbb].into(),
        };
        assert_eq!(preimage(&text).expect("encodes"), same.encoded_for_signing());
        let from = Transaction::parse(&text).expect("parses").from();
        assert_eq!(from, Some(TO.parse().expect("address")));
    }

    #[test]
    fn what_is_misspelt_missing_ambiguous_or_too_large_is_refused_with_its_name() {
        let sound = format!(
            r#"{{"to":"{TO}","nonce":0,"chainId":1,"gas":21000,"maxFeePerGas":2,
                "maxPriorityFeePerGas":1}}"#
        );
        assert!(preimage(&sound).is_ok());
        let wrong_sum = TO.replace("0x5a", "0x5A");
        let from = |part: &str| format!("\"{part}\"");
        for (part, with, said) in [
            ("\"gas\"", "\"gasLimit\"".to_owned(), "gasLimit"),
            ("\"nonce\":0,", String::new(), "nonce"),
            ("\"chainId\":1,", String::new(), "chainId"),
            (&format!("\"to\":{},", from(TO)), String::new(), "to"),
            (&from(TO), from(&wrong_sum), "checksum"),
            ("\"nonce\":0", "\"nonce\":-1".to_owned(), "-1"),
            ("\"nonce\":0", "\"nonce\":1.5".to_owned(), "1.5"),
            ("\"nonce\":0", "\"nonce\":\"0x\"".to_owned(), "0x"),
            ("\"nonce\":0", "\"nonce\":\"18446744073709551616\"".to_owned(), "nonce"),
            ("\"maxPriorityFeePerGas\":1", "\"gasPrice\":1".to_owned(), "gasPrice"),
            ("\"maxFeePerGas\":2,", String::new(), "maxFeePerGas"),
            ("\"nonce\":0", "\"nonce\":0,\"type\":3".to_owned(), "--hex"),
            ("\"nonce\":0", "\"nonce\":0,\"type\":0".to_owned(), "maxFeePerGas"),
            ("\"nonce\":0", "\"nonce\":0,\"nonce\":1".to_owned(), "duplicate"),
            ("\"nonce\":0", "\"nonce\":0,\"data\":\"0x1\"".to_owned(), "whole bytes"),
            (
                "\"nonce\":0",
                "\"nonce\":0,\"data\":\"0x01\",\"input\":\"0x02\"".to_owned(),
                "differ",
            ),
        ] {
            let text = sound.replace(part, &with);
            assert_ne!(text, sound, "{part}");
            let error = preimage(&text).expect_err(&text);
            let causes = std::error::Error::source(&error).map(ToString::to_string);
            let all = format!("{error}: {}", causes.unwrap_or_default());
            assert!(all.contains(said), "{text}: {all}");
        }
    }
}
