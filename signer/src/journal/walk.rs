//! Walks the frames of one segment in order, as far as a given limit.
//!
//! Never reads past the limit, not even ahead: behind it a writer may be at work.

use std::io;

use bytes::Bytes;
use portcullis_policy::id::Sequence;

use super::disk::Media;
use super::fault::Fault;
use super::frame::{First, Header, SECTOR_BYTES, Sector, narrow, wide};
use super::reader::Stored;

/// How much is read from the file at once, in bytes.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A place in one segment.
pub(super) struct Walk {
    file: Box<dyn Media>,
    chunk: Vec<u8>,
    chunk_start: u64,
    offset: u64,
    next: Sequence,
}

/// One batch, read back.
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) records: Vec<Stored>,
    pub(super) start: u64,
}

/// Why a frame could not be read.
pub(super) enum WalkError {
    Io(io::Error),
    Fault { position: u64, fault: Fault },
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Walk {
    /// At the start of the segment that begins with record `first`.
    pub(super) fn new(file: Box<dyn Media>, first: Sequence) -> Self {
        Self { file, chunk: Vec::new(), chunk_start: 0, offset: 0, next: first }
    }

    /// The segment's length.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    /// Where the next frame begins, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The record with which the next frame begins.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// The next frame; `None` at the limit, or where a frame's first sector is blank.
    pub(super) fn read(&mut self, limit: u64) -> Result<Option<Frame>, WalkError> {
        let start = self.offset;
        let Some((header, mut content)) = self.first(limit)? else { return Ok(None) };
        let end = start.saturating_add(header.frame_bytes());
        let mut position = start;
        for index in 1.. {
            position = position.saturating_add(wide(SECTOR_BYTES));
            if position >= end {
                break;
            }
            let sector = self.sector(position, limit)?;
            let fault = match Sector::judge(sector, header.first, index) {
                Sector::Sound(more) => {
                    content.extend_from_slice(more);
                    continue;
                }
                Sector::Blank | Sector::BrokenOff(_) => Fault::Incomplete,
                Sector::Foreign => Fault::Checksum,
            };
            return Err(WalkError::Fault { position, fault });
        }
        let records = header
            .records(Bytes::from(content))
            .ok_or(WalkError::Fault { position: start, fault: Fault::Entries })?;
        self.pass(&header);
        Ok(Some(Frame { header, records, start }))
    }

    /// Passes by the frames that end before `sequence`, reading only their first sectors.
    pub(super) fn skip_to(&mut self, sequence: Sequence, limit: u64) -> Result<(), WalkError> {
        while let Some((header, _)) = self.first(limit)? {
            if header.first.0.saturating_add(u64::from(header.records)) > sequence.0 {
                break;
            }
            self.pass(&header);
        }
        Ok(())
    }

    /// The whole sector at `position`, which is a multiple of its size and before the limit.
    pub(super) fn sector(&mut self, position: u64, limit: u64) -> Result<&[u8], WalkError> {
        let end = self.chunk_start.saturating_add(wide(self.chunk.len()));
        if position < self.chunk_start || position.saturating_add(wide(SECTOR_BYTES)) > end {
            self.fill(position, limit)?;
        }
        let skip = narrow(position.saturating_sub(self.chunk_start));
        let rest = self.chunk.get(skip..).unwrap_or_default();
        rest.get(..SECTOR_BYTES).ok_or(WalkError::Fault { position, fault: Fault::Overrun })
    }

    /// The next frame's header and the beginning of its content.
    fn first(&mut self, limit: u64) -> Result<Option<(Header, Vec<u8>)>, WalkError> {
        let (position, next) = (self.offset, self.next);
        if position >= limit {
            return Ok(None);
        }
        let fault = match First::judge(self.sector(position, limit)?, next) {
            First::Sound(header, content) => {
                if position.saturating_add(header.frame_bytes()) <= limit {
                    return Ok(Some((header, content.to_vec())));
                }
                Fault::Overrun
            }
            First::Blank => return Ok(None),
            First::BrokenOff => Fault::Incomplete,
            First::Faulty(fault) => fault,
        };
        Err(WalkError::Fault { position, fault })
    }

    fn pass(&mut self, header: &Header) {
        self.offset = self.offset.saturating_add(header.frame_bytes());
        self.next = Sequence(header.first.0.saturating_add(u64::from(header.records)));
    }

    fn fill(&mut self, position: u64, limit: u64) -> io::Result<()> {
        let bytes = limit.saturating_sub(position).min(CHUNK_BYTES);
        self.chunk_start = position;
        self.chunk.resize(narrow(bytes), 0);
        let mut filled = 0;
        while let Some(rest) = self.chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, position.saturating_add(wide(filled))) {
                Ok(0) => break,
                Ok(more) => filled = filled.saturating_add(more),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.chunk.clear();
                    return Err(error);
                }
            }
        }
        self.chunk.truncate(filled);
        Ok(())
    }
}
