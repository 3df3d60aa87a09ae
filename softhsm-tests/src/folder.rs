//! Folders as they are, put elsewhere: a token's, or a signer's data.

use std::fs;
use std::io;
use std::path::Path;

/// Copies a folder with all that is in it. What is there already is written over.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}
