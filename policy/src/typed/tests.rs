//! The vectors of EIP-712, and everything that is refused beside them.

use alloy_primitives::b256;

use super::*;

/// The example of EIP-712, "Test Cases": `Example.js`.
const MAIL: &str = r#"{
  "types": {
    "EIP712Domain": [
      {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
      {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}
    ],
    "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
    "Mail": [
      {"name": "from", "type": "Person"}, {"name": "to", "type": "Person"},
      {"name": "contents", "type": "string"}
    ]
  },
  "primaryType": "Mail",
  "domain": {
    "name": "Ether Mail", "version": "1", "chainId": 1,
    "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"
  },
  "message": {
    "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
    "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
    "contents": "Hello, Bob!"
  }
}"#;

fn refused(from: &str, to: &str) -> String {
    let changed = MAIL.replacen(from, to, 1);
    assert_ne!(changed, MAIL, "{from} is not there");
    TypedData::decode(&changed).unwrap_err().to_string()
}

#[test]
fn the_example_of_eip_712_has_the_digest_it_gives() {
    let data = TypedData::decode(MAIL).unwrap();
    assert_eq!(
        data.primary().text(),
        "Mail(Person from,Person to,string contents)Person(string name,address wallet)"
    );
    let expected = b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
    assert_eq!(data.digest(), Digest::from(expected));
    assert_eq!(data.domain().chain, Some(ChainId(1)));
    assert_eq!(data.field("contents"), Some(&Value::String("Hello, Bob!".into())));
}

#[test]
fn the_type_of_the_domain_may_be_left_out_and_changes_nothing() {
    let start = MAIL.find("\"EIP712Domain\"").unwrap();
    let end = MAIL.find("\"Person\": [").unwrap();
    let without = format!("{}{}", &MAIL[..start], &MAIL[end..]);
    let (one, other) = (TypedData::decode(MAIL).unwrap(), TypedData::decode(&without).unwrap());
    assert_eq!(one.digest(), other.digest());
}

#[test]
fn whatever_a_reader_could_pass_over_is_refused() {
    for (from, to, expected) in [
        (r#""contents": "Hello"#, r#""extra": 1, "contents": "Hello"#, "message.extra: is in no"),
        (r#""contents": "Hello, Bob!""#, r#""contents2": "x""#, "message.contents2: is in no"),
        (r#""primaryType": "Mail","#, "", "primaryType: is missing"),
        (r#""primaryType""#, r#""signWith": 1, "primaryType""#, "signWith: is in no type"),
        (r#""primaryType": "Mail""#, r#""primaryType": "Person""#, r#""Mail" is not part"#),
        (r#""primaryType": "Mail""#, r#""primaryType": "Male""#, r#""Male" is no type"#),
        (r#""chainId": 1"#, r#""chainId": 1, "chainId": 1"#, "a key twice"),
        (r#""chainId": 1"#, r#""chainId": 1.0"#, "with a fraction"),
        (r#""chainId": 1"#, r#""chainId": 1e0"#, "with a fraction"),
        (r#""chainId": 1"#, r#""chainId": 0"#, "domain.chainId: must be from 1"),
        (r#""chainId": 1"#, r#""chainId": "01""#, "must be a whole number"),
        (r#""chainId": 1"#, r#""chainId": -1"#, "does not fit"),
        (r#""chainId": 1,"#, "", "types.EIP712Domain: must list exactly"),
        (r#""chainId": 1"#, r#""chainId": 1, "salt": "0x00""#, "types.EIP712Domain"),
        (r#""chainId": 1"#, r#""chainId": null"#, "null"),
        ("0xCD2a", "0xcD2a", "message.from.wallet: must be an address"),
        ("0xCD2a", "CD2a", "must be an address"),
        (r#""name": "Bob""#, r#""name": 7"#, "message.to.name: must be a string"),
        (r#"{"name": "to", "type": "Person"}"#, r#"{"name": "to", "type": "Human"}"#, "Human"),
        (r#"{"name": "to", "type": "Person"}"#, r#"{"name": "to", "type": "Mail"}"#, "itself"),
        (r#"{"name": "to", "type": "Person"}"#, r#"{"name": "from", "type": "Person"}"#, "twice"),
        (r#""contents", "type": "string""#, r#""contents", "type": "uint""#, "uint"),
        (r#""Mail": ["#, r#""bytes5": [], "Mail": ["#, "not part"),
    ] {
        let said = refused(from, to);
        assert!(said.contains(expected), "{from} -> {to}: {said}");
    }
    assert!(matches!(TypedData::decode(""), Err(TypedFault::Json(_))));
    assert!(matches!(TypedData::decode(&"[".repeat(1_000)), Err(TypedFault::Json(_))));
    let large = format!("{MAIL}{}", " ".repeat(TYPED_BYTES_MAX));
    assert_eq!(TypedData::decode(&large), Err(TypedFault::TooLarge));
}

#[test]
fn structs_that_multiply_are_refused_before_they_do() {
    let mut types = String::new();
    for level in 0..7 {
        let field = |at| format!(r#"{{"name":"f{at}","type":"T{}"}}"#, level + 1);
        let fields: Vec<String> = (0..40).map(field).collect();
        types.push_str(&format!(r#""T{level}":[{}],"#, fields.join(",")));
    }
    let text = format!(
        r#"{{"types":{{{types}"T7":[]}},"primaryType":"T0",
            "domain":{{"name":"x"}},"message":{{}}}}"#
    );
    assert_eq!(TypedData::decode(&text), Err(TypedFault::Type(BadType::TooMany)));
}

#[test]
fn numbers_may_be_written_in_digits_or_strings_and_must_fit() {
    let with = |kind: &str, number: &str| {
        let text = format!(
            r#"{{"types":{{"T":[{{"name":"n","type":"{kind}"}}]}},"primaryType":"T",
                "domain":{{"name":"x"}},"message":{{"n":{number}}}}}"#
        );
        TypedData::decode(&text).map(|data| data.fields()[0].to_string())
    };
    for (kind, number, shown) in [
        ("uint8", "255", "255"),
        ("uint8", "\"255\"", "255"),
        ("uint8", "\"0xff\"", "255"),
        ("int8", "-128", "-128"),
        ("int8", "\"-128\"", "-128"),
        ("int8", "127", "127"),
        ("int256", "\"-1\"", "-1"),
    ] {
        assert_eq!(with(kind, number).unwrap(), shown, "{kind} {number}");
    }
    for (kind, number) in [
        ("uint8", "256"),
        ("uint8", "-1"),
        ("int8", "128"),
        ("int8", "-129"),
        ("int8", "\"-0\""),
        ("uint8", "\"+1\""),
        ("uint8", "\" 1\""),
        ("uint8", "\"0x\""),
        ("uint8", "\"0x+1\""),
        ("uint8", "true"),
        ("bool", "1"),
        ("bytes4", "\"0x010203\""),
        ("uint256[2]", "[1]"),
        ("uint256[]", "{}"),
    ] {
        assert!(with(kind, number).is_err(), "{kind} {number}");
    }
}

#[test]
fn a_type_string_has_one_form() {
    let witness = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,\
                   uint256 nonce,uint256 deadline,Witness witness)\
                   TokenPermissions(address token,uint256 amount)Witness(address user)";
    assert_eq!(StructType::parse(witness).unwrap().text(), witness);
    let permit =
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
    let hash = b256!("6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9");
    assert_eq!(StructType::parse(permit).unwrap().hash(), hash);
    for bad in [
        "",
        "Permit",
        "Permit(",
        "Permit(address)",
        "Permit(address owner, address spender)",
        "Permit(uint value)",
        "Permit(Other o)",
        "A(B b)C(uint8 x)B(uint8 x)",
        "A(B b)B(uint8 x)B(uint8 x)",
        "A(C c,B b)C(uint8 x)B(uint8 x)",
        "A(A a)",
        "address(uint8 x)",
        "A(uint8 x,uint8 x)",
        "A(uint8[0] x)",
        "A(uint8[01] x)",
        "A(uint8 x) ",
    ] {
        assert!(StructType::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn more_values_than_typed_data_can_have_are_refused_while_they_are_read() {
    let many = format!("[{}0]", "{\"\":0},".repeat(17_000));
    assert!(many.len() < TYPED_BYTES_MAX);
    let fault = TypedData::decode(&many).unwrap_err();
    assert!(fault.to_string().contains("more values than are read"), "{fault}");
    // As many as a message may hold are no such fault.
    let list = vec!["1"; 8_000].join(",");
    let text = format!(
        "{{\"types\":{{\"A\":[{{\"name\":\"x\",\"type\":\"uint8[]\"}}]}},\"primaryType\":\"A\",\
         \"domain\":{{\"chainId\":1}},\"message\":{{\"x\":[{list}]}}}}"
    );
    assert!(TypedData::decode(&text).is_ok());
}

#[test]
fn a_field_too_many_is_told_before_one_that_is_missing() {
    let told = |fields: &str| {
        let text = format!(
            "{{\"types\":{{\"A\":[{{\"name\":\"x\",\"type\":\"uint8\"}},\
             {{\"name\":\"y\",\"type\":\"uint8\"}}]}},\"primaryType\":\"A\",\
             \"domain\":{{\"chainId\":1}},\"message\":{{{fields}}}}}"
        );
        TypedData::decode(&text).err().map(|fault| fault.to_string())
    };
    assert_eq!(told("\"x\":1,\"y\":2"), None);
    for (fields, at) in [
        ("\"x\":1,\"y\":2,\"z\":3", "message.z: is in no type: leave it out"),
        ("\"x\":1,\"z\":3", "message.z: is in no type: leave it out"),
        ("\"x\":1", "message.y: is missing"),
    ] {
        assert_eq!(told(fields).as_deref(), Some(at), "{fields}");
    }
}
