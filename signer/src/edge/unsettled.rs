//! Says what a stop cannot call back, as a message and as JSON: signatures that may still take
//! effect.

use portcullis_policy::unsettled::{Form, Signature};
use portcullis_proto::v1::{SignedForm, UnsettledSignature};
use serde_json::{Value, json};

/// One of them, for the control plane.
pub(super) fn entry(signed: &Signature) -> UnsettledSignature {
    let form = match signed.form {
        Form::Transaction => SignedForm::Transaction,
        Form::Authorization => SignedForm::Authorization,
        Form::TypedData => SignedForm::TypedData,
        Form::Message => SignedForm::Message,
    };
    UnsettledSignature {
        key_id: signed.key.to_string(),
        label: signed.label.to_string(),
        address: signed.address.to_vec(),
        callers: signed.callers.iter().map(ToString::to_string).collect(),
        chain_id: signed.chain.0,
        nonce: signed.nonce,
        digest: signed.digest.to_vec(),
        form: form.into(),
        sequence: signed.sequence.0,
        signed_at_ms: signed.at.0,
        ends_at_ms: signed.ends.map(|ends| ends.0),
    }
}

/// The same for whoever used a stop order: fields as `portctl freeze --output json` has them.
/// Nonces are strings, because they pass 2^53.
pub(super) fn json(signed: &Signature) -> Value {
    let form = match signed.form {
        Form::Transaction => "transaction",
        Form::Authorization => "authorization",
        Form::TypedData => "typed_data",
        Form::Message => "message",
    };
    json!({
        "key_id": signed.key.to_string(),
        "label": signed.label.as_str(),
        "address": signed.address.to_checksum(None),
        "callers": signed.callers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "chain_id": signed.chain.0,
        "nonce": signed.nonce.map(|nonce| nonce.to_string()),
        "digest": signed.digest.to_string(),
        "form": form,
        "sequence": signed.sequence.0,
        "signed_at_ms": signed.at.0,
        "ends_at_ms": signed.ends.map(|ends| ends.0),
    })
}
