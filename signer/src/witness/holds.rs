//! Holds: a file for each, in a folder that the running witness looks into every time. It takes no
//! signer, no network and no quorum to make one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use portcullis_policy::request::sha256;

use super::Refused;

/// The folder of the holds.
#[derive(Clone, Debug)]
pub struct Holds(PathBuf);

/// What is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope<'a> {
    /// Every journal.
    All,
    /// One, by its origin.
    One(&'a str),
}

impl Holds {
    /// In a witness's folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(HOLDS))
    }

    /// Lets nothing pass that is held. What cannot be looked at is.
    pub(super) fn check(&self, origin: &str) -> Result<(), Refused> {
        for scope in [Scope::All, Scope::One(origin)] {
            if let Some(reason) = self.reason(scope).map_err(Refused::Holds)? {
                return Err(Refused::Held { reason });
            }
        }
        Ok(())
    }

    /// Why something is held; `None`: it is not.
    ///
    /// # Errors
    ///
    /// It cannot be seen.
    pub fn reason(&self, scope: Scope<'_>) -> io::Result<Option<String>> {
        let path = self.path(scope);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(Some(read(&path).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Without the folder nobody could hold anything.
                fs::metadata(&self.0).map(|_| None)
            }
            Err(error) => Err(error),
        }
    }

    /// Holds something. When this returns, it lasts, and the next checkpoint is refused.
    ///
    /// # Errors
    ///
    /// The disk said no; it may be held all the same.
    pub fn hold(&self, scope: Scope<'_>, reason: &str) -> io::Result<()> {
        // That the file is there is what counts: from the moment it is made, it holds.
        let mut options = OpenOptions::new();
        let path = self.path(scope);
        let mut file = options.write(true).create(true).truncate(true).mode(0o640).open(path)?;
        file.write_all(format!("{reason}\n{}\n", scope.what()).as_bytes())?;
        file.sync_all()?;
        self.sync()
    }

    /// Holds a journal of which we have forgotten what we cosigned, so that the next start does not
    /// go on with it. What people hold stays as they said it.
    pub(super) fn hold_forgotten(&self, origin: &str) {
        let scope = Scope::One(origin);
        if matches!(self.reason(scope), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.hold(scope, FORGOTTEN) {
            tracing::error!(%origin, %error, "it could not be held");
        }
    }

    /// Lets go of it; whether it was held.
    ///
    /// # Errors
    ///
    /// The disk said no.
    pub fn release(&self, scope: Scope<'_>) -> io::Result<bool> {
        match fs::remove_file(self.path(scope)) {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, scope: Scope<'_>) -> PathBuf {
        match scope {
            Scope::All => self.0.join("all"),
            Scope::One(origin) => self.0.join(hex::encode(sha256(origin.as_bytes()))),
        }
    }
}

/// The holds that the log has told of.
#[derive(Debug, Default)]
pub(super) struct Noticed(Mutex<BTreeMap<String, String>>);

/// What became of a hold.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Change {
    Held { what: String, reason: String },
    Released { what: String },
}

impl Noticed {
    /// Looks what is held, and has the log say what is new and what is no more.
    pub(super) fn look<'a>(&self, holds: &Holds, origins: impl Iterator<Item = &'a String>) {
        match self.changes(holds, origins) {
            Ok(changes) => changes.iter().for_each(Change::tell),
            // Then nothing is cosigned either, and each refusal says so.
            Err(error) => tracing::debug!(%error, "holds cannot be read"),
        }
    }

    fn changes<'a>(
        &self,
        holds: &Holds,
        origins: impl Iterator<Item = &'a String>,
    ) -> io::Result<Vec<Change>> {
        // Under the lock, or two that look would tell it twice.
        let mut told = self.0.lock();
        let mut held = BTreeMap::new();
        let scopes = origins.map(|origin| Scope::One(origin));
        for scope in std::iter::once(Scope::All).chain(scopes) {
            if let Some(reason) = holds.reason(scope)? {
                held.insert(scope.what().to_owned(), reason);
            }
        }
        let new = held.iter().filter(|(what, reason)| told.get(*what) != Some(*reason));
        let new =
            new.map(|(what, reason)| Change::Held { what: what.clone(), reason: reason.clone() });
        let gone = told.keys().filter(|what| !held.contains_key(*what));
        let gone = gone.map(|what| Change::Released { what: what.clone() });
        let changes = new.chain(gone).collect();
        *told = held;
        Ok(changes)
    }
}

impl Change {
    fn tell(&self) {
        match self {
            Self::Held { what, reason } => tracing::warn!(%what, %reason, "held"),
            Self::Released { what } => tracing::warn!(%what, "released"),
        }
    }
}

impl<'a> Scope<'a> {
    fn what(self) -> &'a str {
        match self {
            Self::All => "every journal",
            Self::One(origin) => origin,
        }
    }
}

/// The reason: the first line.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The folder's name.
pub(super) const HOLDS: &str = "holds";

/// Why we hold a journal ourselves.
const FORGOTTEN: &str = "the witness was shown a cosignature of its own that it does not know: an \
                         older folder was put back, or another process has its key";

/// A reason and an origin.
const FILE_BYTES_MAX: u64 = 4 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_is_told_once_when_it_comes_and_once_when_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(HOLDS)).unwrap();
        let (holds, noticed) = (Holds::new(folder.path()), Noticed::default());
        let origins = ["a".to_owned(), "b".to_owned()];
        let changes = || noticed.changes(&holds, origins.iter()).unwrap();
        assert_eq!(changes(), []);
        holds.hold(Scope::One("b"), "money leaves").unwrap();
        let held =
            |what: &str, reason: &str| Change::Held { what: what.into(), reason: reason.into() };
        assert_eq!((changes(), changes()), (vec![held("b", "money leaves")], vec![]));
        holds.hold(Scope::All, "drill").unwrap();
        assert_eq!(changes(), [held("every journal", "drill")]);
        holds.release(Scope::One("b")).unwrap();
        assert_eq!(changes(), [Change::Released { what: "b".into() }]);
        holds.hold_forgotten("a");
        assert_eq!(changes(), [held("a", FORGOTTEN)]);
        holds.hold(Scope::One("b"), "people said so").unwrap();
        holds.hold_forgotten("b");
        assert_eq!(holds.reason(Scope::One("b")).unwrap().as_deref(), Some("people said so"));
    }
}
