//! The token's user PIN: read from a file at each login, kept nowhere unless the token refused it.
//!
//! Never from the command line or the environment: both are visible to other processes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::types::AuthPin;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The token's user PIN. Read once for one login, wiped on drop.
#[derive(ZeroizeOnDrop)]
pub struct Pin(String);

/// Where the PIN is read from, each time a login needs it.
#[derive(Clone, Debug)]
pub enum PinSource {
    /// A file that nobody but its owner may read.
    File(PathBuf),
    /// A credential of this name that systemd passed to the service (`LoadCredential=`).
    Credential(String),
    /// Somebody typed it, for a rescue.
    Typed(Arc<Pin>),
}

/// Longest PIN we read, in bytes. SoftHSM takes 255, hardware fewer.
pub const PIN_BYTES_MAX: usize = 255;

/// The PIN could not be read, or not from a place that keeps it secret.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The service was started without credentials.
    #[error("no credentials folder: the service has no LoadCredential=")]
    NoCredentials,
    /// A credential's name is one path component.
    #[error("{name:?} is not the name of a credential")]
    CredentialName {
        /// As configured.
        name: String,
    },
    /// Not there, or not readable.
    #[error("PIN file {path} could not be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder or a device.
    #[error("PIN file {path} is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else may read it.
    #[error("PIN file {path} has mode {mode:03o}; others may read it (chmod 600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty, longer than [`PIN_BYTES_MAX`] or not UTF-8.
    #[error("PIN file {path} does not hold one line of 1 to {PIN_BYTES_MAX} bytes of UTF-8")]
    NotAPin {
        /// The file.
        path: PathBuf,
    },
    /// More than one line, or characters that nobody types: sent, it would be refused, and a token
    /// locks itself after a few of those.
    #[error(
        "PIN file {path} holds a second line or a control character: write the PIN alone into \
         it, followed by one newline or none"
    )]
    ControlCharacter {
        /// The file.
        path: PathBuf,
    },
}

impl PinSource {
    /// Reads the PIN, without the one newline (LF or CR LF) that may be at its end.
    ///
    /// # Errors
    ///
    /// [`PinError`]; none of them contains any of the file's bytes.
    pub fn read(&self) -> Result<Pin, PinError> {
        let path = match self {
            Self::Typed(pin) => return Ok(Pin(pin.0.clone())),
            Self::File(path) => path.clone(),
            Self::Credential(name) => credential(name)?,
        };
        let text = self.text(&path)?;
        let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
        if line.is_empty() || line.len() > PIN_BYTES_MAX {
            return Err(PinError::NotAPin { path });
        }
        if line.chars().any(char::is_control) {
            return Err(PinError::ControlCharacter { path });
        }
        Ok(Pin(line.to_owned()))
    }

    fn text(&self, path: &PathBuf) -> Result<Zeroizing<String>, PinError> {
        let unreadable = |source| PinError::Unreadable { path: path.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        // Asked of the open file, so that it cannot be another one than the one we read.
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(PinError::NotAFile { path: path.clone() });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & self.forbidden_mode() != 0 {
            return Err(PinError::Exposed { path: path.clone(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| PinError::NotAPin { path: path.clone() })?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// systemd gives the service's user access by an ACL, whose mask shows as the group's bits; the
    /// folder itself is closed to everybody else. A file of the operator's has no such excuse.
    fn forbidden_mode(&self) -> u32 {
        match self {
            Self::File(_) | Self::Typed(_) => 0o077,
            Self::Credential(_) => 0o007,
        }
    }
}

/// One byte more than a PIN with CR and LF: enough to see that a file is too long. Reading into a
/// buffer of this capacity never moves it, so no copy stays behind unwiped.
const FILE_BYTES_MAX: usize = PIN_BYTES_MAX + 3;

fn credential(name: &str) -> Result<PathBuf, PinError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(PinError::CredentialName { name: name.to_owned() });
    }
    Ok(credentials_folder()?.join(name))
}

#[expect(clippy::disallowed_methods, reason = "systemd's name of a folder; no setting, no secret")]
fn credentials_folder() -> Result<PathBuf, PinError> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).ok_or(PinError::NoCredentials)
}

impl Pin {
    /// What somebody typed. `None` if it is empty, longer than [`PIN_BYTES_MAX`], or holds what
    /// nobody types.
    pub fn typed(text: &str) -> Option<Self> {
        let plain =
            (1..=PIN_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        plain.then(|| Self(text.to_owned()))
    }

    /// Whether it is the same: a refused one is not sent again.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// As `C_Login` wants it; wiped on drop too.
    pub(crate) fn for_login(&self) -> AuthPin {
        AuthPin::from(self.0.as_str())
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pin(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PinSource) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, PinSource::File(path))
    }

    #[test]
    fn a_pin_is_the_line_without_its_newline() {
        for content in ["1234", "1234\n", "1234\r\n"] {
            let (_folder, source) = file(content.as_bytes(), 0o400);
            assert_eq!(source.read().unwrap().0, "1234");
        }
        let (_folder, longest) = file(format!("{}\r\n", "x".repeat(255)).as_bytes(), 0o600);
        assert_eq!(longest.read().unwrap().0.len(), PIN_BYTES_MAX);
    }

    #[test]
    fn a_pin_that_is_empty_too_long_or_no_text_is_refused() {
        let too_long = "x".repeat(256);
        for content in
            [&b""[..], b"\n", b"\r\n", too_long.as_bytes(), &[0xff, 0xfe], &[b'x'; 9_999]]
        {
            let (_folder, source) = file(content, 0o600);
            assert!(matches!(source.read(), Err(PinError::NotAPin { .. })));
        }
    }

    #[test]
    fn a_second_line_or_a_control_character_is_refused_and_none_of_it_is_shown() {
        for content in [
            "1234\n5678\n",
            "1234\n\n",
            "1234\r\n\r\n",
            "1234\n\r\n",
            "1234\r",
            "12\u{0}34",
            "1234\t",
            "\u{1b}[A1234\n",
            "12\u{85}34",
        ] {
            let (_folder, source) = file(content.as_bytes(), 0o600);
            let refused = source.read().expect_err(content);
            assert!(matches!(refused, PinError::ControlCharacter { .. }), "{content:?}");
            let shown = format!("{refused} {refused:?}").replace(source_path(&source), "");
            assert!(shown.contains("write the PIN alone into it"), "{shown}");
            assert!(!shown.contains("12") && !shown.contains("34"), "{shown}");
        }
    }

    fn source_path(source: &PinSource) -> &str {
        let PinSource::File(path) = source else { panic!("no file: {source:?}") };
        path.to_str().unwrap()
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o644, 0o601] {
            let (_folder, source) = file(b"1234", mode);
            let refused = source.read();
            assert!(matches!(refused, Err(PinError::Exposed { mode: seen, .. }) if seen == mode));
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = PinSource::File(folder.path().join("pin")).read();
        assert!(matches!(missing, Err(PinError::Unreadable { .. })));
        let is_folder = PinSource::File(folder.path().to_owned()).read();
        assert!(matches!(is_folder, Err(PinError::NotAFile { .. })));
    }

    #[test]
    fn a_credential_is_named_by_one_plain_word() {
        for name in ["", "..", "../pin", "/etc/shadow", ".pin", "a b"] {
            let refused = PinSource::Credential(name.to_owned()).read();
            assert!(matches!(refused, Err(PinError::CredentialName { .. })), "{name}");
        }
    }

    #[test]
    fn a_pin_prints_nothing_of_itself() {
        let (_folder, source) = file(b"1234", 0o600);
        assert_eq!(format!("{:?}", source.read().unwrap()), "Pin(..)");
        let (_folder, bad) = file(b"secret\xff", 0o600);
        assert!(!format!("{:?}", bad.read()).contains("secret"));
    }
}
