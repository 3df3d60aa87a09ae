//! Names the sources: an image of the state is only believed by the code that wrote it, and a
//! number that somebody has to raise by hand is forgotten one day.

#![expect(clippy::disallowed_methods, reason = "names the sources: no part of the crate")]

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    // The keys in it are tlog's, and others write its bytes.
    let folders = ["src", "tlog/src"];
    let lock = Path::new("../Cargo.lock");
    let mut files = vec![lock.to_owned()];
    println!("cargo::rerun-if-changed={}", lock.display());
    for folder in folders {
        println!("cargo::rerun-if-changed={folder}");
        gather(Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut sum = Sha256::new();
    for path in files {
        let (name, text) = (path.to_string_lossy().into_owned(), std::fs::read(&path)?);
        for part in [name.as_bytes(), &text] {
            sum.update(part.len().to_string());
            sum.update(b"\n");
            sum.update(part);
        }
    }
    println!("cargo::rustc-env=POLICY_SOURCES_SHA256={}", hex::encode(sum.finalize()));
    Ok(())
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
