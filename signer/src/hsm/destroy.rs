//! The end of a key: its objects removed from the token (`C_DestroyObject`, PKCS#11 v2.40 section
//! 5.7), and looked for in a session that was opened afterwards.
//!
//! Nothing is removed whose public point is not the pinned one: that is somebody's to look at. What
//! absence proves is not for the token to say, see [`portcullis_policy::record::Grade`].

use std::sync::Arc;

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::id::KeyId;

use super::error::{HsmError, chain};
use super::keys::ec_point;
use super::quirks;
use super::session::insist_on_login;
use crate::signature::PublicPoint;

/// The key to remove, as the journal has it.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Its id.
    pub id: KeyId,
    /// Its name in books, which its objects were given when they were made.
    pub label: String,
    /// Its point. `None`: nobody knows it, and a public object that is there is not removed.
    pub point: Option<Arc<PublicPoint>>,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Removal {
    /// Nothing is left, looked for afterwards. So many objects were removed.
    Gone(u64),
    /// Something is left, or the token would not.
    Refused(String),
}

/// Removes every object with the key's id, the private ones first.
///
/// # Errors
///
/// The token could not be asked. Some of them may be gone.
pub(super) fn remove(session: &Session, doomed: &Doomed) -> Result<Removal, HsmError> {
    insist_on_login(session)?;
    let of_class = |class| {
        let template = [Attribute::Class(class), Attribute::Id(doomed.id.bytes().to_vec())];
        session.find_objects(&template).map_err(HsmError::Read)
    };
    let public = of_class(ObjectClass::PUBLIC_KEY)?;
    for object in &public {
        if !is_pinned(session, *object, doomed)? {
            return Ok(Removal::Refused(ANOTHER_POINT.into()));
        }
    }
    let private = of_class(ObjectClass::PRIVATE_KEY)?;
    if private.len() > 1 {
        return Ok(Removal::Refused(DOUBLED.into()));
    }
    let mut removed = 0_u64;
    for object in private.into_iter().chain(public) {
        match session.destroy_object(object) {
            Ok(()) => removed = removed.saturating_add(1),
            Err(source) => {
                let refused = super::fence::is_refusal(&source);
                let error = HsmError::Destroy { key: doomed.id, source };
                return if refused { Ok(Removal::Refused(chain(&error))) } else { Err(error) };
            }
        }
    }
    Ok(Removal::Gone(removed))
}

fn is_pinned(session: &Session, object: ObjectHandle, doomed: &Doomed) -> Result<bool, HsmError> {
    let point = ec_point(session, object).map_err(HsmError::Read)?;
    let point = point.and_then(|point| quirks::ec_point(&point).ok());
    Ok(point.is_some() && point.as_ref() == doomed.point.as_deref())
}

/// What a session still finds of a key: by id, by label, and by public point. `None`: nothing.
///
/// # Errors
///
/// The token cannot be read, or the login was lost meanwhile: then nothing that was not found is
/// known to be gone.
pub(super) fn left(session: &Session, doomed: &Doomed) -> Result<Option<String>, HsmError> {
    insist_on_login(session)?;
    let id = Attribute::Id(doomed.id.bytes().to_vec());
    let label = Attribute::Label(doomed.label.as_bytes().to_vec());
    let class = |class| Attribute::Class(class);
    let mut searches = vec![("id", vec![id])];
    for one in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        searches.push(("label", vec![class(one), label.clone()]));
    }
    for form in doomed.point.iter().flat_map(|point| quirks::ec_point_forms(point)) {
        let point = Attribute::EcPoint(form);
        searches.push(("public point", vec![class(ObjectClass::PUBLIC_KEY), point]));
    }
    let mut found = None;
    for (by, template) in searches {
        let objects = session.find_objects(&template).map_err(HsmError::Read)?;
        if !objects.is_empty() && found.is_none() {
            found = Some(format!("{} objects are still there by its {by}", objects.len()));
        }
    }
    insist_on_login(session)?;
    Ok(found)
}

const DOUBLED: &str = "two private objects have its id: somebody changed the token, and nobody \
                       knows which of them is ours; nothing was removed";

const ANOTHER_POINT: &str = "its public object has another point than it should: somebody changed \
                             the token; nothing was removed";
