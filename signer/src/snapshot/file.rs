//! A snapshot as a file, and the folder that holds them.
//!
//! ```text
//! file = "PCSS" · format of the file (4) · bytes of the signature (4) · signature · body
//! body = code (32) · epoch (8)
//!      · full tiles (8) · root of each (32) · open leaves (8) · each of them (32) · state
//! ```
//!
//! Numbers are big-endian. The signature is the token's, over the body's hash among others
//! ([`Folded`](super::Folded)); the code is what wrote it ([`writer`]). A file is written
//! whole under another name, made durable, and only then takes its own: the number of the last
//! record folded.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::request::sha256;
use portcullis_policy::state::code;
use portcullis_policy::tree::Tiles;

use crate::journal::Base;

/// What a file says.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The tree over all records up to its own.
    pub tiles: Tiles,
    /// The last record's epoch.
    pub epoch: Epoch,
    /// The state, as policy writes it.
    pub image: Vec<u8>,
    /// SHA-256 over the body.
    pub hash: B256,
    /// What the token signed of it.
    pub signature: Vec<u8>,
}

impl Snapshot {
    /// The last record that was folded.
    pub fn upto(&self) -> Sequence {
        Sequence(self.tiles.size())
    }

    /// From where the journal is verified then.
    pub fn base(&self) -> Base {
        Base { tree: self.tiles.frontier(), epoch: self.epoch }
    }

    /// What is signed and recorded the hash of.
    pub fn body(tiles: &Tiles, epoch: Epoch, image: &[u8]) -> Vec<u8> {
        let (full, open) = tiles.parts();
        let mut out = Vec::with_capacity(image.len());
        out.extend_from_slice(writer().as_slice());
        out.extend_from_slice(&epoch.0.to_be_bytes());
        for hashes in [full, open] {
            let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
            out.extend_from_slice(&count.to_be_bytes());
            hashes.iter().for_each(|hash| out.extend_from_slice(hash.as_slice()));
        }
        out.extend_from_slice(image);
        out
    }

    /// The file's bytes.
    pub fn encode(signature: &[u8], body: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(signature.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&MAGIC, &FORMAT.to_be_bytes(), &bytes, signature, body].concat()
    }

    /// Reads a file's bytes; neither the state in it nor the signature is looked at. `None`: it was
    /// written by other code, is cut, or no snapshot at all.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let (magic, format): ([u8; 4], [u8; 4]) = (take(&mut rest)?, take(&mut rest)?);
        if magic != MAGIC || u32::from_be_bytes(format) != FORMAT {
            return None;
        }
        let signature = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        let (signature, body) = rest.split_at_checked(signature)?;
        let (mut rest, hash) = (body, sha256(body));
        let wrote: [u8; 32] = take(&mut rest)?;
        if wrote != writer().0 {
            return None;
        }
        let epoch = Epoch(u64::from_be_bytes(take(&mut rest)?));
        let (full, open) = (hashes(&mut rest)?, hashes(&mut rest)?);
        let tiles = Tiles::of_parts(full, open)?;
        let signature = signature.to_vec();
        Some(Self { tiles, epoch, image: rest.to_vec(), hash, signature })
    }
}

/// What wrote a snapshot: the code of the state in it, and the form of what is around that.
pub(super) fn writer() -> B256 {
    sha256(&[code().as_slice(), &FORMAT.to_be_bytes()].concat())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn hashes(rest: &mut &[u8]) -> Option<Vec<B256>> {
    let count = usize::try_from(u64::from_be_bytes(take(rest)?)).ok()?;
    let (all, after) = rest.split_at_checked(count.checked_mul(B256::len_bytes())?)?;
    *rest = after;
    Some(all.chunks_exact(B256::len_bytes()).map(B256::from_slice).collect())
}

/// The folder with them.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Beside the journal in `data`.
    pub fn of(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// What is there, the newest first. A folder that is not there holds nothing.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn list(&self) -> io::Result<Vec<Sequence>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let upto = name.to_str().and_then(|name| name.parse().ok()).map(Sequence);
            all.extend(upto.filter(|upto| name == *file_name(*upto)));
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        Ok(all)
    }

    /// One of them; `None` as [`Snapshot::decode`], or if its name is not its own.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(&self, upto: Sequence) -> io::Result<Option<Snapshot>> {
        let bytes = fs::read(self.0.join(file_name(upto)))?;
        Ok(Snapshot::decode(&bytes).filter(|snapshot| snapshot.upto() == upto))
    }

    /// Writes one, and returns when it lasts.
    ///
    /// # Errors
    ///
    /// The disk is full or broken. Nothing has its name then.
    #[expect(clippy::disallowed_methods, reason = "file and folder are synced here")]
    pub fn write(&self, upto: Sequence, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let unfinished = self.0.join(UNFINISHED);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&unfinished)?;
        // In pieces, so that a commit of the journal never waits for all of it.
        for piece in bytes.chunks(PIECE_BYTES) {
            file.write_all(piece)?;
            file.sync_data()?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, self.0.join(file_name(upto)))?;
        File::open(&self.0)?.sync_all()
    }

    /// Removes all but these.
    ///
    /// # Errors
    ///
    /// The disk would not. Some may be gone.
    pub fn keep(&self, these: &[Sequence]) -> io::Result<()> {
        for upto in self.list()?.into_iter().filter(|upto| !these.contains(upto)) {
            self.remove(upto)?;
        }
        Ok(())
    }

    /// Removes one that no record names.
    ///
    /// # Errors
    ///
    /// The disk would not.
    pub fn remove(&self, upto: Sequence) -> io::Result<()> {
        fs::remove_file(self.0.join(file_name(upto)))
    }
}

/// Names sort as their numbers do, as those of segments.
fn file_name(upto: Sequence) -> String {
    format!("{:020}", upto.0)
}

const FOLDER: &str = "snapshots";
const UNFINISHED: &str = "unfinished";
const MAGIC: [u8; 4] = *b"PCSS";
/// Of the file around the state.
const FORMAT: u32 = 2;
const PIECE_BYTES: usize = 1 << 20;
