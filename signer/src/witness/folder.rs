//! The witness's folders: made for their owner alone, and not started from while others could
//! write there. Whoever can write there can have it forget, or let go of a hold.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use super::WitnessError;

/// The folder that something lies in: of a plain name it is the one that we are in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder, and those above it that are missing. When this returns, they last.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let above = parent(path);
    if !path.is_dir() {
        if !above.is_dir() {
            make(above)?;
        }
        DirBuilder::new().mode(0o700).create(path)?;
    }
    // Also if it is there: whoever made it may have been stopped before this.
    File::open(above)?.sync_all()
}

/// Whether a folder is ours, and nobody else's to write in.
pub(super) fn check(path: &Path) -> Result<(), WitnessError> {
    let found = fs::metadata(path)
        .map_err(|source| WitnessError::Folder { path: path.to_owned(), source })?;
    judge(path, found.uid(), rustix::process::geteuid().as_raw(), found.mode() & 0o777)
}

fn judge(path: &Path, owner: u32, own: u32, mode: u32) -> Result<(), WitnessError> {
    let path = || path.to_owned();
    if owner != own {
        return Err(WitnessError::NotOurs { path: path(), owner, own });
    }
    if mode & 0o022 != 0 {
        return Err(WitnessError::Open { path: path(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_or_that_others_write_in_is_refused_with_what_to_do() {
        let judge = |owner, mode| {
            let judged = judge(Path::new("/w"), owner, 7, mode);
            judged.map_err(|fault| fault.to_string())
        };
        assert_eq!((judge(7, 0o700), judge(7, 0o755)), (Ok(()), Ok(())));
        for mode in [0o720, 0o702, 0o777] {
            assert!(judge(7, mode).unwrap_err().contains("chmod go-w \"/w\""));
        }
        let other = judge(8, 0o700).unwrap_err();
        assert!(other.contains("user 8") && other.contains("user 7"), "{other}");
    }

    #[test]
    fn what_is_missing_above_a_folder_is_made_too_and_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b").join("c");
        make(&path).unwrap();
        make(&path).unwrap();
        for path in path.ancestors().take(3) {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700, "{path:?}");
            check(path).unwrap();
        }
        assert_eq!(parent(Path::new("state")), Path::new("."));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make(&folder.path().join("file")).is_err(), "a file is no folder");
    }
}
