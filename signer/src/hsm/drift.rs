//! What a wallet key's object must look like, and how one differs (invariant 1).

use std::fmt;

use cryptoki::object::{Attribute, AttributeType, KeyType};

/// One way in which a private key is not what we make. Closed. "Or the token does not say" belongs
/// to each: what is not known to be safe is not.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Drift {
    /// The object cannot be read in full.
    Unreadable,
    /// Not an EC key, or not on secp256k1.
    NotSecp256k1,
    /// `CKA_ID` is not 16 bytes.
    ForeignId,
    /// Another private key has the same `CKA_ID`.
    Duplicate,
    /// `CKA_TOKEN` is false: it is gone with the session.
    NotOnToken,
    /// `CKA_PRIVATE` is false: usable without login.
    NotPrivate,
    /// `CKA_SENSITIVE` is false: its value can be read.
    NotSensitive,
    /// `CKA_ALWAYS_SENSITIVE` is false: its value could be read once.
    NotAlwaysSensitive,
    /// `CKA_EXTRACTABLE` is true: it can be wrapped out.
    Extractable,
    /// `CKA_NEVER_EXTRACTABLE` is false: it could be wrapped out once.
    OnceExtractable,
    /// `CKA_LOCAL` is false: it was not generated in the token.
    NotLocal,
    /// `CKA_COPYABLE` is true, or unknown and a copy was not refused: a copy would survive the
    /// original's destruction and its fence.
    Copyable,
    /// `CKA_DERIVE` is true.
    MayDerive,
    /// `CKA_DECRYPT` is true.
    MayDecrypt,
    /// `CKA_UNWRAP` is true.
    MayUnwrap,
    /// `CKA_SIGN_RECOVER` is true.
    MaySignRecover,
    /// `CKA_MODIFIABLE` is false: it could not be fenced.
    NotModifiable,
    /// `CKA_SIGN` is false. Expected of a frozen key; drift in any other.
    Fenced,
}

impl fmt::Display for Drift {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unreadable => "cannot be read in full",
            Self::NotSecp256k1 => "is no secp256k1 key",
            Self::ForeignId => "has an id that is not ours",
            Self::Duplicate => "shares its id with another key",
            Self::NotOnToken => "is a session object",
            Self::NotPrivate => "is not private",
            Self::NotSensitive => "is not sensitive",
            Self::NotAlwaysSensitive => "was not always sensitive",
            Self::Extractable => "is extractable",
            Self::OnceExtractable => "was once extractable",
            Self::NotLocal => "was not generated in the token",
            Self::Copyable => "is copyable",
            Self::MayDerive => "may derive",
            Self::MayDecrypt => "may decrypt",
            Self::MayUnwrap => "may unwrap",
            Self::MaySignRecover => "may sign with recovery",
            Self::NotModifiable => "is not modifiable, so cannot be fenced",
            Self::Fenced => "is fenced",
        })
    }
}

/// DER of the object identifier 1.3.132.0.10.
pub(super) const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// All that [`of`] and its caller want to read of a private key.
pub(super) const READ: [AttributeType; 18] = [
    AttributeType::Id,
    AttributeType::Label,
    AttributeType::KeyType,
    AttributeType::EcParams,
    AttributeType::Token,
    AttributeType::Private,
    AttributeType::Sensitive,
    AttributeType::AlwaysSensitive,
    AttributeType::Extractable,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Copyable,
    AttributeType::Derive,
    AttributeType::Decrypt,
    AttributeType::Unwrap,
    AttributeType::SignRecover,
    AttributeType::Modifiable,
    AttributeType::Sign,
];

/// Everything that differs in these attributes of a private key. An attribute that is not there
/// differs too, except that PKCS#11 gives `CKA_MODIFIABLE` the default true, and that
/// `copy_is_refused` is asked where `CKA_COPYABLE` is unknown.
pub(super) fn of(attributes: &[Attribute], copy_is_refused: impl FnOnce() -> bool) -> Vec<Drift> {
    let is = |wanted: Attribute| attributes.contains(&wanted);
    let copyable_unknown = !is(Attribute::Copyable(true)) && !is(Attribute::Copyable(false));
    let no_copies = is(Attribute::Copyable(false)) || (copyable_unknown && copy_is_refused());
    let curve = is(Attribute::KeyType(KeyType::EC)) && is(Attribute::EcParams(SECP256K1.to_vec()));
    let good = [
        (curve, Drift::NotSecp256k1),
        (is(Attribute::Token(true)), Drift::NotOnToken),
        (is(Attribute::Private(true)), Drift::NotPrivate),
        (is(Attribute::Sensitive(true)), Drift::NotSensitive),
        (is(Attribute::AlwaysSensitive(true)), Drift::NotAlwaysSensitive),
        (is(Attribute::Extractable(false)), Drift::Extractable),
        (is(Attribute::NeverExtractable(true)), Drift::OnceExtractable),
        (is(Attribute::Local(true)), Drift::NotLocal),
        (no_copies, Drift::Copyable),
        (is(Attribute::Derive(false)), Drift::MayDerive),
        (is(Attribute::Decrypt(false)), Drift::MayDecrypt),
        (is(Attribute::Unwrap(false)), Drift::MayUnwrap),
        (is(Attribute::SignRecover(false)), Drift::MaySignRecover),
        (!is(Attribute::Modifiable(false)), Drift::NotModifiable),
        (is(Attribute::Sign(true)), Drift::Fenced),
    ];
    good.into_iter().filter(|(good, _)| !good).map(|(_, drift)| drift).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, reason = "test")]

    use super::*;

    fn as_we_make_it() -> Vec<Attribute> {
        vec![
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(SECP256K1.to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Copyable(false),
            Attribute::Derive(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::SignRecover(false),
            Attribute::Modifiable(true),
            Attribute::Sign(true),
        ]
    }

    fn opposite(attribute: &Attribute) -> Attribute {
        match attribute {
            Attribute::KeyType(_) => Attribute::KeyType(KeyType::RSA),
            // P-256.
            Attribute::EcParams(_) => {
                Attribute::EcParams(vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])
            }
            Attribute::Token(value) => Attribute::Token(!value),
            Attribute::Private(value) => Attribute::Private(!value),
            Attribute::Sensitive(value) => Attribute::Sensitive(!value),
            Attribute::AlwaysSensitive(value) => Attribute::AlwaysSensitive(!value),
            Attribute::Extractable(value) => Attribute::Extractable(!value),
            Attribute::NeverExtractable(value) => Attribute::NeverExtractable(!value),
            Attribute::Local(value) => Attribute::Local(!value),
            Attribute::Copyable(value) => Attribute::Copyable(!value),
            Attribute::Derive(value) => Attribute::Derive(!value),
            Attribute::Decrypt(value) => Attribute::Decrypt(!value),
            Attribute::Unwrap(value) => Attribute::Unwrap(!value),
            Attribute::SignRecover(value) => Attribute::SignRecover(!value),
            Attribute::Modifiable(value) => Attribute::Modifiable(!value),
            Attribute::Sign(value) => Attribute::Sign(!value),
            other => panic!("{other:?} is not part of what we make"),
        }
    }

    #[test]
    fn a_key_as_we_make_it_has_no_drift() {
        assert_eq!(of(&as_we_make_it(), || false), []);
    }

    #[test]
    fn each_attribute_that_differs_is_one_drift() {
        let mut seen = Vec::new();
        for place in 0..as_we_make_it().len() {
            let mut attributes = as_we_make_it();
            attributes[place] = opposite(&attributes[place]);
            let [drift] = of(&attributes, || true)[..] else { panic!("{attributes:?}") };
            seen.push(drift);
        }
        seen.sort();
        seen.dedup();
        // Key type and curve share one.
        assert_eq!(seen.len(), as_we_make_it().len() - 1);
    }

    #[test]
    fn an_attribute_the_token_does_not_know_is_drift_unless_the_standard_gives_a_safe_default() {
        for place in 0..as_we_make_it().len() {
            let mut attributes = as_we_make_it();
            let removed = attributes.remove(place);
            let drift = of(&attributes, || false);
            let safe = matches!(removed, Attribute::Modifiable(_));
            assert_eq!(drift.is_empty(), safe, "{removed:?}");
        }
    }

    #[test]
    fn a_refused_copy_stands_in_for_an_unknown_copyable_and_for_nothing_else() {
        let unknown: Vec<_> = as_we_make_it()
            .into_iter()
            .filter(|attribute| !matches!(attribute, Attribute::Copyable(_)))
            .collect();
        assert_eq!(of(&unknown, || true), []);
        assert_eq!(of(&unknown, || false), [Drift::Copyable]);
        let copyable = [unknown, vec![Attribute::Copyable(true)]].concat();
        assert_eq!(of(&copyable, || panic!("asked although the token says")), [Drift::Copyable]);
    }
}
