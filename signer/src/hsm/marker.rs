//! The marker: a data object in the token (`CKO_DATA`, PKCS#11 v2.40 section 4.5) that says how far a
//! vault's journal had come, so that a data folder from before is found out.
//!
//! Made anew each time, and the ones before removed afterwards: at every moment there is one.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::id::{Sequence, VaultId};

use super::error::HsmError;
use super::session::insist_on_login;

/// The last record that the token has heard of. `None`: it has heard of none of this vault's.
///
/// # Errors
///
/// The token cannot be read.
pub(super) fn read(session: &Session, vault: &VaultId) -> Result<Option<Sequence>, HsmError> {
    insist_on_login(session)?;
    let mut last = None;
    for marker in find(session, vault)? {
        let attributes =
            session.get_attributes(marker, &[AttributeType::Value]).map_err(HsmError::Read)?;
        for attribute in attributes {
            let Attribute::Value(value) = attribute else { continue };
            let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            last = last.max(number.map(Sequence));
        }
    }
    insist_on_login(session)?;
    Ok(last)
}

/// Says how far the journal has come.
///
/// # Errors
///
/// The token would not, or could not be asked: the marker from before may be there still.
pub(super) fn write(session: &Session, vault: &VaultId, last: Sequence) -> Result<(), HsmError> {
    insist_on_login(session)?;
    let before = find(session, vault)?;
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label(vault)),
        Attribute::Value(last.0.to_string().into_bytes()),
    ];
    session.create_object(&template).map_err(HsmError::Marker)?;
    for marker in before {
        session.destroy_object(marker).map_err(HsmError::Marker)?;
    }
    Ok(())
}

fn find(session: &Session, vault: &VaultId) -> Result<Vec<ObjectHandle>, HsmError> {
    let template = [Attribute::Class(ObjectClass::DATA), Attribute::Label(label(vault))];
    session.find_objects(&template).map_err(HsmError::Read)
}

/// Several vaults may have their keys on one token.
fn label(vault: &VaultId) -> Vec<u8> {
    format!("portcullis marker {}", hex::encode(vault.0)).into_bytes()
}
