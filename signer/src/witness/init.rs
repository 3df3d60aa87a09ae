//! Makes a witness, and makes it know journals. It never heals by forgetting: under a key that was
//! there before, a journal begins at nothing only if somebody says that nothing was cosigned of it,
//! and never a second time.

use std::path::Path;

use portcullis_policy::note::Witness;

use super::exhibits::EVIDENCE;
use super::key::Secret;
use super::known::place;
use super::origins::Origins;
use super::{WitnessConfig, WitnessError, folder};
use crate::journal::{Apart, ApartError};

/// What [`init`] made.
#[derive(Debug)]
pub struct Made {
    /// The witness, as signers and verifiers have to know it.
    pub witness: Witness,
    /// Journals that it knew nothing of before.
    pub journals: Vec<String>,
}

/// Makes the key, and what is kept of each journal, where there is no key yet.
///
/// # Errors
///
/// [`WitnessError`]; what is there is left as it is.
pub fn init(config: &WitnessConfig) -> Result<Made, WitnessError> {
    init_with(config, &[])
}

/// As [`init`]; and under a key that is there, makes it know those journals of which somebody says
/// that nothing was ever cosigned.
///
/// # Errors
///
/// [`WitnessError`]; what is there is left as it is, and of the journals none is made.
pub fn init_with(config: &WitnessConfig, new: &[String]) -> Result<Made, WitnessError> {
    let origins = config.origins();
    if let Some(origin) = new.iter().find(|origin| !origins.contains(&origin.as_str())) {
        return Err(WitnessError::NotConfigured { origin: origin.clone() });
    }
    let is_first = !is_there(&config.key())?;
    if is_first {
        begin(config)?;
    }
    let witness = Secret::read(&config.key())?.witness(&config.name)?;
    let mut listed = Origins::read(&config.folder)?;
    // All of them are looked at before one is made.
    let mut missing = Vec::new();
    for origin in &origins {
        let is_new = is_first || new.iter().any(|one| one == origin);
        match standing(config, &listed, origin) {
            Ok(()) => {}
            Err(WitnessError::State { source: ApartError::Missing { .. }, .. }) if is_new => {
                missing.push((*origin).to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    if !is_there(&config.holds())? {
        return Err(WitnessError::HoldsLost { path: config.holds() });
    }
    let kept = config.kept();
    folder::make(&kept).map_err(|source| WitnessError::Folder { path: kept, source })?;
    for origin in &missing {
        let state = |source| WitnessError::State { origin: origin.clone(), source };
        Apart::make(&place(config, origin)).map_err(state)?;
    }
    // After that: what is listed was there, and `serve` starts from nothing that is not listed.
    listed.add(&origins)?;
    Ok(Made { witness, journals: missing })
}

/// The key, and the folders that are made with it and never again: holds that were lost would be
/// released by an empty folder.
fn begin(config: &WitnessConfig) -> Result<(), WitnessError> {
    let path = config.key();
    let mut was_used = !Origins::read(&config.folder)?.is_empty();
    for origin in config.origins() {
        was_used |= is_there(&place(config, origin))?;
    }
    if was_used {
        return Err(WitnessError::KeyLost { path });
    }
    for path in [config.folder.clone(), config.kept(), config.holds()] {
        folder::make(&path).map_err(|source| WitnessError::Folder { path, source })?;
    }
    Ok(Secret::make(&path)?)
}

/// Whether what was cosigned of a journal is here.
fn standing(config: &WitnessConfig, listed: &Origins, origin: &str) -> Result<(), WitnessError> {
    let path = place(config, origin);
    let state = |source| WitnessError::State { origin: origin.to_owned(), source };
    if Apart::is_there(&path).map_err(state)? {
        return Ok(());
    }
    if listed.contains(origin) {
        return Err(WitnessError::Lost { origin: origin.to_owned(), path });
    }
    Err(state(ApartError::Missing { path }))
}

/// Whether a witness can start from what is here, and nobody else can write to it.
pub(super) fn check(config: &WitnessConfig) -> Result<(), WitnessError> {
    let listed = Origins::read(&config.folder)?;
    for origin in config.origins() {
        standing(config, &listed, origin)?;
        if !listed.contains(origin) {
            return Err(WitnessError::Unlisted { origin: origin.to_owned() });
        }
    }
    if !is_there(&config.holds())? {
        return Err(WitnessError::HoldsLost { path: config.holds() });
    }
    for path in [config.folder.clone(), config.kept(), config.holds()] {
        folder::check(&path)?;
    }
    let evidence = config.folder.join(EVIDENCE);
    if is_there(&evidence)? {
        folder::check(&evidence)?;
    }
    config.origins().into_iter().try_for_each(|origin| folder::check(&place(config, origin)))
}

fn is_there(path: &Path) -> Result<bool, WitnessError> {
    let fault = |source| WitnessError::Folder { path: path.to_owned(), source };
    path.try_exists().map_err(fault)
}
