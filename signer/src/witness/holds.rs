//! Holds: a file for each, in a folder that the running witness looks into every time. It takes no
//! signer, no network and no quorum to make one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
        let what = match scope {
            Scope::All => "every journal",
            Scope::One(origin) => origin,
        };
        file.write_all(format!("{reason}\n{what}\n").as_bytes())?;
        file.sync_all()?;
        self.sync()
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

/// The reason: the first line.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The folder's name.
pub(super) const HOLDS: &str = "holds";

/// A reason and an origin.
const FILE_BYTES_MAX: u64 = 4 * 1_024;
