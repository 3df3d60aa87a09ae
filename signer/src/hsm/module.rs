//! Loads the PKCS#11 module, once.
//!
//! A module's state is the process's, whatever handle one holds on it: it is initialised once and
//! never finalised, because SoftHSM may crash when that happens while a call is inside it.

use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::Mutex;

use super::error::HsmError;

/// The one loaded module, kept for the life of the process: dropping the last handle would unload
/// code that a stuck thread may still be in.
static LOADED: Mutex<Option<(PathBuf, Pkcs11)>> = Mutex::new(None);

/// The module at `path`, loaded and initialised for use by several threads.
///
/// # Errors
///
/// It cannot be loaded or initialised, or another module is loaded already.
pub(super) fn load(path: &Path) -> Result<Pkcs11, HsmError> {
    let mut loaded = LOADED.lock();
    match &*loaded {
        Some((at, module)) if at == path => return Ok(module.clone()),
        Some((at, _)) => {
            return Err(HsmError::SecondModule { path: path.to_owned(), loaded: at.clone() });
        }
        None => {}
    }
    let module =
        Pkcs11::new(path).map_err(|source| HsmError::Module { path: path.to_owned(), source })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(source) => return Err(HsmError::Initialise { path: path.to_owned(), source }),
    }
    *loaded = Some((path.to_owned(), module.clone()));
    Ok(module)
}
