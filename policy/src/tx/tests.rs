//! One claim for each refusal. The encoder here is the crate's own RLP writer, used on fields that
//! the types could not hold.

use alloy_primitives::hex;

use super::rlp::Writer;
use super::*;

/// A field as it stands in the bytes.
#[derive(Clone)]
enum Raw {
    Bytes(Vec<u8>),
    List(Vec<Raw>),
}

use Raw::{Bytes, List};

fn write(out: &mut Writer, field: &Raw) {
    match field {
        Bytes(bytes) => out.bytes(bytes),
        List(fields) => out.list(|inner| fields.iter().for_each(|each| write(inner, each))),
    }
}

fn encode(prefix: &[u8], fields: &[Raw]) -> Vec<u8> {
    let mut out = Writer::default();
    fields.iter().for_each(|field| write(&mut out, field));
    out.finish(prefix)
}

fn int(number: u128) -> Raw {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Bytes(bytes[zeros..].to_vec())
}

fn nothing() -> Raw {
    Bytes(Vec::new())
}

fn address() -> Raw {
    Bytes(vec![0x35; 20])
}

/// A valid transaction's fields, to be broken one at a time.
fn fields(kind: TxKind) -> Vec<Raw> {
    let call = [int(21_000), address(), int(7), Bytes(vec![0xda, 0x7a])];
    if kind == TxKind::Legacy {
        let ends = [vec![int(9), int(20)], call.to_vec(), vec![int(1), nothing(), nothing()]];
        return ends.concat();
    }
    let key = Bytes(vec![0x42; 32]);
    let access_list = List(vec![List(vec![address(), List(vec![key.clone(), key])])]);
    let fees = match kind {
        TxKind::AccessList => vec![int(20)],
        TxKind::Legacy | TxKind::DynamicFee | TxKind::Blob | TxKind::SetCode => {
            vec![int(2), int(20)]
        }
    };
    let more = match kind {
        TxKind::Blob => vec![int(3), List(vec![hash(1)])],
        TxKind::SetCode => vec![List(vec![tuple()])],
        TxKind::Legacy | TxKind::AccessList | TxKind::DynamicFee => vec![],
    };
    [vec![int(1), int(9)], fees, call.to_vec(), vec![access_list], more].concat()
}

fn hash(version: u8) -> Raw {
    Bytes([&[version][..], &[0x99; 31]].concat())
}

fn tuple() -> Raw {
    List(vec![int(1), address(), int(5), int(1), int(77), int(78)])
}

fn prefix(kind: TxKind) -> &'static [u8] {
    match kind {
        TxKind::Legacy => &[],
        TxKind::AccessList => &[1],
        TxKind::DynamicFee => &[2],
        TxKind::Blob => &[3],
        TxKind::SetCode => &[4],
    }
}

const KINDS: [TxKind; 5] =
    [TxKind::Legacy, TxKind::AccessList, TxKind::DynamicFee, TxKind::Blob, TxKind::SetCode];

fn whole(kind: TxKind) -> Vec<u8> {
    encode(prefix(kind), &fields(kind))
}

/// Decodes a valid transaction of which one field has been replaced.
fn with(kind: TxKind, place: usize, field: Raw) -> Result<UnsignedTx, Malformed> {
    let mut fields = fields(kind);
    fields[place] = field;
    UnsignedTx::decode(&encode(prefix(kind), &fields))
}

fn refusal(kind: TxKind, place: usize, field: Raw) -> Malformed {
    with(kind, place, field).unwrap_err()
}

/// Where a field stands: legacy, type 1, types 2 to 4.
fn place(kind: TxKind, name: Field) -> usize {
    let order: &[Field] = match kind {
        TxKind::Legacy => &[
            Field::Nonce,
            Field::GasPrice,
            Field::GasLimit,
            Field::To,
            Field::Value,
            Field::Data,
            Field::ChainId,
            Field::LegacyR,
            Field::LegacyS,
        ],
        TxKind::AccessList => &[
            Field::ChainId,
            Field::Nonce,
            Field::GasPrice,
            Field::GasLimit,
            Field::To,
            Field::Value,
            Field::Data,
            Field::AccessList,
        ],
        TxKind::DynamicFee | TxKind::Blob | TxKind::SetCode => &[
            Field::ChainId,
            Field::Nonce,
            Field::MaxPriorityFeePerGas,
            Field::MaxFeePerGas,
            Field::GasLimit,
            Field::To,
            Field::Value,
            Field::Data,
            Field::AccessList,
        ],
    };
    order.iter().position(|each| *each == name).unwrap()
}

fn in_every_kind(name: Field, field: &Raw, expected: Malformed) {
    for kind in KINDS {
        assert_eq!(refusal(kind, place(kind, name), field.clone()), expected, "{kind}");
    }
}

#[test]
fn every_kind_is_read_and_gives_back_its_bytes_and_fields() {
    for kind in KINDS {
        let bytes = whole(kind);
        let tx = UnsignedTx::decode(&bytes).unwrap();
        assert_eq!((tx.kind(), tx.preimage()), (kind, bytes.clone()));
        assert_eq!(tx.signing_hash(), keccak256(&bytes));
        assert_eq!((tx.chain(), tx.nonce(), tx.gas_limit()), (ChainId(1), 9, 21_000));
        assert_eq!((tx.value(), tx.data()), (Amount::from(7), &[0xda, 0x7a][..]));
        assert_eq!(tx.destination(), Destination::Call([0x35; 20].into()));
        assert_eq!(tx.max_fee_per_gas(), Amount::from(20));
        let only_a_price = matches!(kind, TxKind::Legacy | TxKind::AccessList);
        let priority = if only_a_price { 20 } else { 2 };
        assert_eq!(tx.max_priority_fee_per_gas(), Amount::from(priority));
        assert_eq!(tx.access_list().len(), usize::from(kind != TxKind::Legacy));
        assert_eq!(tx.blob_hashes().len(), usize::from(kind == TxKind::Blob));
        assert_eq!(tx.max_fee_per_blob_gas().is_some(), kind == TxKind::Blob);
        assert_eq!(tx.authorizations().len(), usize::from(kind == TxKind::SetCode));
    }
}

#[test]
fn the_worst_case_fee_counts_gas_and_blobs_at_their_maxima() {
    let fee = |kind| UnsignedTx::decode(&whole(kind)).unwrap().worst_case_fee();
    for kind in [TxKind::Legacy, TxKind::AccessList, TxKind::DynamicFee, TxKind::SetCode] {
        assert_eq!(fee(kind), Some(Amount::from(21_000 * 20)));
    }
    assert_eq!(fee(TxKind::Blob), Some(Amount::from(21_000 * 20 + 131_072 * 3)));
}

#[test]
fn the_largest_fee_that_is_read_overflows_nothing() {
    let mut fields = fields(TxKind::Blob);
    let most = (u128::MAX, u64::MAX);
    fields[place(TxKind::Blob, Field::MaxFeePerGas)] = int(most.0);
    fields[place(TxKind::Blob, Field::GasLimit)] = int(most.1.into());
    fields[9] = int(most.0);
    fields[10] = List(vec![hash(1); BLOB_HASHES_MAX]);
    let tx = UnsignedTx::decode(&encode(&[3], &fields)).unwrap();
    let fee = Amount::from(most.0);
    let gas = Amount::from(u128::from(most.1)).checked_mul(fee).unwrap();
    let blobs = Amount::from(64 * 131_072).checked_mul(fee).unwrap();
    assert_eq!(tx.worst_case_fee(), gas.checked_add(blobs));
    assert!(tx.worst_case_fee().is_some());
}

#[test]
fn bytes_that_are_no_transaction_are_refused_by_name() {
    let typed = whole(TxKind::DynamicFee);
    let wrapped = [&[0xb8, u8::try_from(typed.len()).unwrap()][..], &typed].concat();
    let hex_text = format!("0x{}", hex::encode(&typed)).into_bytes();
    for (bytes, expected) in [
        (&[][..], Malformed::Empty),
        (&hex_text, Malformed::HexText),
        (&wrapped, Malformed::Wrapped),
        (&[0x00], Malformed::UnknownType(0)),
        // The magic of an EIP-7702 authorization: signing this would hand over the account.
        (&[0x05, 0xc0], Malformed::UnknownType(5)),
        (&[0x19, 0x01], Malformed::UnknownType(0x19)),
        (&[0x7e, 0xc0], Malformed::UnknownType(0x7e)),
        (&[0x02], Malformed::Truncated),
        (&[0x02, 0x80], Malformed::NotAList),
        (&[0x02, 0x02, 0xc0], Malformed::TrailingBytes { bytes: 1 }),
    ] {
        assert_eq!(UnsignedTx::decode(bytes), Err(expected));
    }
}

#[test]
fn a_transaction_of_any_other_length_than_its_own_is_refused() {
    for kind in KINDS {
        let bytes = whole(kind);
        for end in 1..bytes.len() {
            assert!(UnsignedTx::decode(&bytes[..end]).is_err(), "{kind} cut to {end}");
        }
        let longer = [&bytes[..], &[0x80]].concat();
        assert_eq!(UnsignedTx::decode(&longer), Err(Malformed::TrailingBytes { bytes: 1 }));
    }
}

#[test]
fn the_largest_transaction_is_read_and_one_byte_more_is_not() {
    let with_data = |length: usize| {
        let mut fields = fields(TxKind::DynamicFee);
        fields[7] = Bytes(vec![0xaa; length]);
        encode(&[2], &fields)
    };
    let overhead = with_data(100_000).len() - 100_000;
    let largest = with_data(TX_BYTES_MAX - overhead);
    assert_eq!(largest.len(), TX_BYTES_MAX);
    assert!(UnsignedTx::decode(&largest).is_ok());
    let bytes = TX_BYTES_MAX + 1;
    assert_eq!(
        UnsignedTx::decode(&with_data(bytes - overhead)),
        Err(Malformed::TooLarge { bytes })
    );
}

#[test]
fn a_second_encoding_of_the_same_transaction_is_refused() {
    let legacy = whole(TxKind::Legacy);
    // The list's length with a leading zero.
    let long = [&[0xf9, 0x00, legacy[0] - 0xc0][..], &legacy[1..]].concat();
    assert_eq!(UnsignedTx::decode(&long), Err(Malformed::NonCanonical));
    // The nonce 9 as a string of one byte.
    let string = [&[legacy[0] + 1, 0x81][..], &legacy[1..]].concat();
    assert_eq!(UnsignedTx::decode(&string), Err(Malformed::NonCanonical));
}

#[test]
fn a_number_with_a_leading_zero_is_refused_in_every_field() {
    for (name, zero) in [
        (Field::ChainId, vec![0, 1]),
        (Field::Nonce, vec![0]),
        (Field::GasLimit, vec![0, 9]),
        (Field::Value, vec![0, 0x80]),
    ] {
        in_every_kind(name, &Bytes(zero), Malformed::LeadingZero(name));
    }
    let zero = Bytes(vec![0]);
    for (kind, place, name) in [
        (TxKind::Legacy, 1, Field::GasPrice),
        (TxKind::AccessList, 2, Field::GasPrice),
        (TxKind::DynamicFee, 2, Field::MaxPriorityFeePerGas),
        (TxKind::DynamicFee, 3, Field::MaxFeePerGas),
        (TxKind::Blob, 9, Field::MaxFeePerBlobGas),
    ] {
        assert_eq!(refusal(kind, place, zero.clone()), Malformed::LeadingZero(name));
    }
}

#[test]
fn a_number_one_bit_too_wide_is_refused() {
    for (name, bytes_max) in
        [(Field::ChainId, 8), (Field::Nonce, 8), (Field::GasLimit, 8), (Field::Value, 32)]
    {
        let bytes = bytes_max + 1;
        let too_long = Malformed::FieldTooLong { field: name, bytes, bytes_max };
        in_every_kind(name, &Bytes([&[1][..], &vec![0; bytes_max]].concat()), too_long);
    }
    let bytes = Bytes([&[1][..], &[0; 16]].concat());
    let field = Field::MaxFeePerGas;
    let too_long = Malformed::FieldTooLong { field, bytes: 17, bytes_max: 16 };
    assert_eq!(refusal(TxKind::DynamicFee, 3, bytes), too_long);
}

#[test]
fn the_largest_numbers_are_read() {
    for kind in KINDS {
        let chain = with(kind, place(kind, Field::ChainId), int(CHAIN_ID_MAX.into()));
        // It carries a tuple for chain 1.
        if kind == TxKind::SetCode {
            assert_eq!(chain, Err(Malformed::AuthorizationChain));
        } else {
            assert_eq!(chain.unwrap().chain(), ChainId(CHAIN_ID_MAX));
        }
        let nonce = with(kind, place(kind, Field::Nonce), int((u64::MAX - 1).into())).unwrap();
        assert_eq!(nonce.nonce(), u64::MAX - 1);
        let value = with(kind, place(kind, Field::Value), Bytes(vec![0xff; 32])).unwrap();
        assert_eq!(value.value(), Amount::MAX);
    }
}

#[test]
fn what_can_never_be_mined_is_refused() {
    in_every_kind(Field::ChainId, &nothing(), Malformed::ChainIdZero);
    let above = int(u128::from(CHAIN_ID_MAX) + 1);
    in_every_kind(Field::ChainId, &above, Malformed::ChainIdTooLarge);
    in_every_kind(Field::Nonce, &int(u64::MAX.into()), Malformed::NonceTooLarge);
    in_every_kind(Field::GasLimit, &nothing(), Malformed::GasLimitZero);
    for kind in [TxKind::DynamicFee, TxKind::Blob, TxKind::SetCode] {
        assert_eq!(refusal(kind, 2, int(21)), Malformed::PriorityFeeAboveMaxFee);
        assert!(with(kind, 2, int(20)).is_ok());
    }
}

#[test]
fn an_address_has_twenty_bytes_or_none() {
    for bytes in [1, 19, 21, 32] {
        let wrong = Malformed::FieldLength { field: Field::To, bytes, expected: 20 };
        in_every_kind(Field::To, &Bytes(vec![0x35; bytes]), wrong);
    }
}

#[test]
fn lists_and_bytes_are_not_taken_for_each_other() {
    for name in [Field::ChainId, Field::Nonce, Field::GasLimit, Field::To, Field::Data] {
        in_every_kind(name, &List(vec![]), Malformed::FieldShape(name));
    }
    for (kind, place, name) in [
        (TxKind::AccessList, 7, Field::AccessList),
        (TxKind::Blob, 10, Field::BlobHashes),
        (TxKind::SetCode, 9, Field::Authorizations),
    ] {
        assert_eq!(refusal(kind, place, nothing()), Malformed::FieldShape(name));
        let entry = List(vec![List(vec![])]);
        assert!(with(kind, place, entry).is_err());
    }
}

#[test]
fn a_field_too_many_or_too_few_is_refused() {
    for kind in KINDS {
        let mut longer = fields(kind);
        let expected = longer.len();
        longer.push(nothing());
        let refused = UnsignedTx::decode(&encode(prefix(kind), &longer));
        assert_eq!(refused, Err(Malformed::FieldCount { kind, expected, found: expected + 1 }));
        let shorter = &fields(kind)[1..];
        let refused = UnsignedTx::decode(&encode(prefix(kind), shorter));
        assert_eq!(refused, Err(Malformed::FieldCount { kind, expected, found: expected - 1 }));
    }
}

#[test]
fn a_signed_transaction_is_recognised_and_not_signed_again() {
    for kind in KINDS {
        let tx = UnsignedTx::decode(&whole(kind)).unwrap();
        let signed = tx.signed_bytes(&[0x11; 32], &[0x22; 32], true);
        assert_eq!(UnsignedTx::decode(&signed), Err(Malformed::AlreadySigned), "{kind}");
        assert_eq!(tx.signed_hash(&[0x11; 32], &[0x22; 32], true), keccak256(signed));
    }
}

#[test]
fn legacy_without_a_chain_id_is_refused_because_it_is_valid_on_every_chain() {
    let six = encode(&[], &fields(TxKind::Legacy)[..6]);
    assert_eq!(UnsignedTx::decode(&six), Err(Malformed::LegacyWithoutChainId));
}

#[test]
fn the_zeros_that_end_a_legacy_preimage_are_required() {
    for place in [7, 8] {
        assert_eq!(refusal(TxKind::Legacy, place, int(1)), Malformed::AlreadySigned);
        assert_eq!(refusal(TxKind::Legacy, place, Bytes(vec![0])), Malformed::AlreadySigned);
    }
}

#[test]
fn a_creation_has_code_and_not_too_much_and_no_blobs_and_sets_no_code() {
    let create = |kind: TxKind, code: Vec<u8>| {
        let mut fields = fields(kind);
        fields[place(kind, Field::To)] = nothing();
        fields[place(kind, Field::Data)] = Bytes(code);
        UnsignedTx::decode(&encode(prefix(kind), &fields))
    };
    let bytes = INIT_CODE_BYTES_MAX + 1;
    for kind in [TxKind::Legacy, TxKind::AccessList, TxKind::DynamicFee] {
        assert_eq!(create(kind, vec![]), Err(Malformed::CreateWithoutCode));
        let largest = create(kind, vec![0x60; INIT_CODE_BYTES_MAX]).unwrap();
        assert_eq!(largest.destination(), Destination::Create);
        assert_eq!(create(kind, vec![0x60; bytes]), Err(Malformed::InitCodeTooLarge { bytes }));
    }
    assert_eq!(create(TxKind::Blob, vec![0x60]), Err(Malformed::BlobCreate));
    assert_eq!(create(TxKind::SetCode, vec![0x60]), Err(Malformed::SetCodeCreate));
    // A call may carry more than a creation.
    assert!(with(TxKind::Legacy, 5, Bytes(vec![0x60; bytes])).is_ok());
}

#[test]
fn an_access_list_is_bounded_over_all_its_entries() {
    let list = |entries: usize, keys: usize| {
        let keys = List(vec![Bytes(vec![7; 32]); keys]);
        with(TxKind::AccessList, 7, List(vec![List(vec![address(), keys]); entries]))
    };
    assert!(list(ACCESS_LIST_ITEMS_MAX, 0).is_ok());
    assert!(
        list(2, ACCESS_LIST_ITEMS_MAX / 2 - 1)
            .is_err_and(|e| matches!(e, Malformed::TooLarge { .. }))
    );
    assert!(list(1_024, 2).is_ok());
    assert_eq!(list(ACCESS_LIST_ITEMS_MAX + 1, 0), Err(Malformed::AccessListTooLong));
    assert_eq!(list(2_049, 1), Err(Malformed::AccessListTooLong));
}

#[test]
fn access_list_entries_have_an_address_and_keys_of_their_exact_length() {
    let entry = |parts: Vec<Raw>| refusal(TxKind::AccessList, 7, List(vec![List(parts)]));
    assert_eq!(entry(vec![address()]), Malformed::EntryParts(Field::AccessList));
    let three = vec![address(), List(vec![]), nothing()];
    assert_eq!(entry(three), Malformed::EntryParts(Field::AccessList));
    let short = vec![Bytes(vec![1; 19]), List(vec![])];
    let (field, expected) = (Field::AccessListAddress, 20);
    assert_eq!(entry(short), Malformed::FieldLength { field, bytes: 19, expected });
    let key = vec![address(), List(vec![Bytes(vec![1; 31])])];
    let (field, expected) = (Field::AccessListKey, 32);
    assert_eq!(entry(key), Malformed::FieldLength { field, bytes: 31, expected });
    assert_eq!(entry(vec![address(), nothing()]), Malformed::FieldShape(Field::AccessListKey));
}

#[test]
fn blobs_are_one_or_more_hashes_of_the_known_version() {
    let hashes = |hashes: Vec<Raw>| with(TxKind::Blob, 10, List(hashes));
    assert_eq!(hashes(vec![]), Err(Malformed::BlobWithoutHashes));
    assert_eq!(hashes(vec![hash(1), hash(0)]), Err(Malformed::BlobHashVersion(0)));
    assert_eq!(hashes(vec![hash(2)]), Err(Malformed::BlobHashVersion(2)));
    assert!(hashes(vec![hash(1); BLOB_HASHES_MAX]).is_ok());
    assert_eq!(hashes(vec![hash(1); BLOB_HASHES_MAX + 1]), Err(Malformed::BlobHashesTooMany));
    let short = Malformed::FieldLength { field: Field::BlobHashes, bytes: 31, expected: 32 };
    assert_eq!(hashes(vec![Bytes(vec![1; 31])]), Err(short));
}

#[test]
fn a_blob_transaction_with_its_blobs_is_recognised() {
    let network = [List(fields(TxKind::Blob)), List(vec![]), List(vec![]), List(vec![])];
    assert_eq!(UnsignedTx::decode(&encode(&[3], &network)), Err(Malformed::BlobSidecar));
    let versioned = [vec![network[0].clone(), int(1)], network[1..].to_vec()].concat();
    assert_eq!(UnsignedTx::decode(&encode(&[3], &versioned)), Err(Malformed::BlobSidecar));
}

/// A valid tuple of which one part has been replaced.
fn with_part(place: usize, part: Raw) -> Result<UnsignedTx, Malformed> {
    let List(mut parts) = tuple() else { panic!("a list") };
    parts[place] = part;
    with(TxKind::SetCode, 9, List(vec![tuple(), List(parts)]))
}

#[test]
fn set_code_has_one_or_more_authorizations() {
    let list = |tuples: Vec<Raw>| with(TxKind::SetCode, 9, List(tuples));
    assert_eq!(list(vec![]), Err(Malformed::SetCodeWithoutAuthorizations));
    assert!(list(vec![tuple(); AUTHORIZATIONS_MAX]).is_ok());
    let too_many = vec![tuple(); AUTHORIZATIONS_MAX + 1];
    assert_eq!(list(too_many), Err(Malformed::AuthorizationsTooMany));
    let List(parts) = tuple() else { panic!("a list") };
    let five = List(parts[..5].to_vec());
    assert_eq!(list(vec![five]), Err(Malformed::EntryParts(Field::Authorizations)));
}

#[test]
fn an_authorization_names_this_chain_or_every_chain() {
    assert_eq!(with_part(0, nothing()).unwrap().authorizations()[1].chain(), ChainId(0));
    assert_eq!(with_part(0, int(2)), Err(Malformed::AuthorizationChain));
    // 2^64 + 1 is not taken for 1.
    assert_eq!(with_part(0, int((1 << 64) + 1)), Err(Malformed::AuthorizationChain));
}

#[test]
fn an_authorization_that_would_be_skipped_is_refused() {
    assert_eq!(with_part(2, int(u64::MAX.into())), Err(Malformed::AuthorizationNonce));
    let order = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let half = hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");
    let plus = |mut bytes: [u8; 32], step: i8| {
        bytes[31] = bytes[31].checked_add_signed(step).unwrap();
        Bytes(bytes.to_vec())
    };
    for (place, bad) in [
        (3, int(2)),
        (3, int(27)),
        (4, nothing()),
        (4, plus(order, 0)),
        (5, nothing()),
        (5, plus(half, 1)),
    ] {
        assert_eq!(with_part(place, bad), Err(Malformed::AuthorizationSignature));
    }
    for (place, good) in [(3, nothing()), (4, plus(order, -1)), (5, plus(half, 0))] {
        assert!(with_part(place, good).is_ok());
    }
}

#[test]
fn nothing_that_is_printed_shows_calldata_or_signatures() {
    for kind in KINDS {
        let text = format!("{:?}", UnsignedTx::decode(&whole(kind)).unwrap());
        assert!(!text.contains("218") && !text.contains("da7a") && text.contains("2 bytes"));
        assert!(!text.contains("r:") && !text.contains("77"), "{text}");
    }
}

#[test]
fn codes_are_upper_snake_and_short_enough_for_error_info() {
    for code in [Malformed::Empty.code(), Malformed::SetCodeWithoutAuthorizations.code()] {
        assert!(code.len() <= 63 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
    }
}
