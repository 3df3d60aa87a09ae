//! What was called, as it happens: the ground truth that the signer's own records are held against.
//!
//! Must never hold an argument: a PIN is one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use cryptoki_sys::CK_RV;

/// An append-only file. One `write` a line, no buffer.
pub(crate) struct CallLog {
    file: File,
}

impl CallLog {
    /// Opens or makes the file.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(|file| Self { file })
    }

    /// The call has come.
    pub(crate) fn called(&self, function: &str) {
        self.line(function, "called");
    }

    /// The call is held by a `hang`.
    pub(crate) fn hanging(&self, function: &str) {
        self.line(function, "hanging");
    }

    /// The call goes back to the caller.
    pub(crate) fn returned(&self, function: &str, value: CK_RV) {
        self.line(function, &format!("returned {value:#x}"));
    }

    fn line(&self, function: &str, event: &str) {
        let line = format!("{} {function} {event}\n", std::process::id());
        // A log that cannot be written fails the test that reads it; nobody else is to be told.
        drop((&self.file).write_all(line.as_bytes()));
    }
}
