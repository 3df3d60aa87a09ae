//! The marker: a data object in the token (`CKO_DATA`, PKCS#11 v2.40 section 4.5) that says how far
//! a vault's journal had come.
//!
//! Made anew each time, and the one before removed afterwards: at every moment there is one.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::id::VaultId;

use super::error::HsmError;
use super::fence::is_refusal;
use super::module::Inside;
use super::session::insist_on_login;

/// The texts of this vault's markers: more than one only after a crash.
///
/// # Errors
///
/// The token cannot be read. One that knows no such objects has none.
pub(super) fn read(session: &Session, vault: &VaultId) -> Result<Vec<Vec<u8>>, HsmError> {
    insist_on_login(session)?;
    let mut texts = Vec::new();
    for marker in unless_refused(find(session, vault))? {
        let read = session.get_attributes(marker, &[AttributeType::Value]);
        for attribute in read.map_err(HsmError::Read)? {
            if let Attribute::Value(text) = attribute {
                texts.push(text);
            }
        }
    }
    insist_on_login(session)?;
    Ok(texts)
}

/// Writes this text, and removes those before it.
///
/// # Errors
///
/// The token would not, could not be asked, or answered too late: the text from before is there
/// still.
pub(super) fn write(inside: &Inside<'_>, vault: &VaultId, text: &[u8]) -> Result<(), HsmError> {
    let session = inside.session;
    insist_on_login(session)?;
    let before = find(session, vault).map_err(HsmError::Marker)?;
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label(vault)),
        Attribute::Value(text.to_vec()),
    ];
    inside.still_wanted()?;
    let new = session.create_object(&template).map_err(HsmError::Marker)?;
    // A later text may be there by now, and this one must not outlive it.
    if let Err(too_late) = inside.still_wanted() {
        session.destroy_object(new).map_err(HsmError::Marker)?;
        return Err(too_late);
    }
    for marker in before {
        if let Err(refused) = session.destroy_object(marker) {
            // Else each try would leave one more, until the token is full.
            let _the_first_refusal_counts = session.destroy_object(new);
            return Err(HsmError::Marker(refused));
        }
    }
    Ok(())
}

/// Removes all of a vault's markers.
///
/// # Errors
///
/// The token would not, or could not be asked.
pub(super) fn remove(session: &Session, vault: &VaultId) -> Result<(), HsmError> {
    insist_on_login(session)?;
    for marker in find(session, vault).map_err(HsmError::Marker)? {
        session.destroy_object(marker).map_err(HsmError::Marker)?;
    }
    Ok(())
}

fn find(session: &Session, vault: &VaultId) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&[Attribute::Class(ObjectClass::DATA), Attribute::Label(label(vault))])
}

fn unless_refused(found: Result<Vec<ObjectHandle>, Error>) -> Result<Vec<ObjectHandle>, HsmError> {
    match found {
        Err(error) if is_refusal(&error) => Ok(Vec::new()),
        other => other.map_err(HsmError::Read),
    }
}

/// Several vaults may have their keys on one token, and some take no label above 32 bytes.
fn label(vault: &VaultId) -> Vec<u8> {
    let vault: String = hex::encode(vault.0).chars().take(16).collect();
    format!("portcullis-{vault}").into_bytes()
}
