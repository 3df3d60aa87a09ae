//! How a batch lies on disk: a frame of whole sectors, each with its own checksum.
//!
//! ```text
//! frame  = sector ...            starts at a multiple of 512 bytes
//! sector = content (507) · CRC-32C (4) · mark (1, never zero)
//! the sectors' content, joined = header (64) · entries · zeros
//! header = "PCJF" · format (4) · epoch (8) · first sequence (8) · number of records (4)
//!        · bytes of entries (4) · root after the batch (32)
//! entry  = kind (1) · length (4) · bytes
//! ```
//!
//! Numbers are big-endian. A sector's checksum also covers the frame's first sequence and the
//! sector's place in the frame, so a sound sector that belongs elsewhere is noticed.
//!
//! Why sectors: segments are zeros before they are written, and a disk takes a sector whole or not
//! at all, in any order. So after an interruption every sector of the last frame is either as it
//! was written or still zero, and that can be told of each one by itself. A sector that is neither
//! was written and has changed since: that is damage, and never a reason to cut. Since frames do
//! not share sectors, writing one never puts an earlier one at risk.

use alloy_primitives::B256;
use bytes::Bytes;
use portcullis_policy::id::{Epoch, Sequence};

use super::batch::{ENTRY_HEADER_BYTES, Kind};
use super::fault::Fault;
use super::reader::Stored;

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR_BYTES: usize = 512;
/// The number of the format described above.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 4] = *b"PCJF";
const CONTENT_BYTES: usize = 507;
const HEADER_BYTES: usize = 64;
/// A sector's last byte. Zero there says that the sector was not written to its end.
const MARK: u8 = 0xA5;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) epoch: Epoch,
    pub(super) first: Sequence,
    pub(super) records: u32,
    pub(super) body_bytes: u32,
    pub(super) root: B256,
}

/// What one sector holds, seen as part of a given frame.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Sector<'a> {
    /// As it was written: its content.
    Sound(&'a [u8]),
    /// Still zero.
    Blank,
    /// Its end is still zero, its beginning is not.
    BrokenOff(&'a [u8]),
    /// Neither written for this place nor zero.
    Foreign,
}

/// What a frame's first sector holds.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum First<'a> {
    /// A header, and the beginning of the entries.
    Sound(Header, &'a [u8]),
    Blank,
    BrokenOff,
    Faulty(Fault),
}

/// A frame's length on disk, in bytes, for so many bytes of entries.
pub(super) fn frame_bytes(body_bytes: usize) -> u64 {
    let sectors = body_bytes.saturating_add(HEADER_BYTES).div_ceil(CONTENT_BYTES);
    wide(sectors.saturating_mul(SECTOR_BYTES))
}

/// Writes the frame of a batch into `out`, in place of what was there.
pub(super) fn encode(header: &Header, body: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let beside_header = CONTENT_BYTES.saturating_sub(HEADER_BYTES);
    let (beginning, rest) = body.split_at_checked(beside_header).unwrap_or((body, &[]));
    push_sector(out, header.first, 0, &[&header.to_bytes(), beginning]);
    for (index, content) in (1..).zip(rest.chunks(CONTENT_BYTES)) {
        push_sector(out, header.first, index, &[content]);
    }
}

fn push_sector(out: &mut Vec<u8>, first: Sequence, index: u32, parts: &[&[u8]]) {
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    out.resize(start.saturating_add(CONTENT_BYTES), 0);
    let checksum = checksum(out.get(start..).unwrap_or_default(), first, index);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.push(MARK);
}

/// Whether these are sound sectors, from the first one on, of the frame that begins with `first`.
pub(super) fn is_sound(sectors: &[u8], first: Sequence) -> bool {
    let mut numbered = (0..).zip(sectors.chunks(SECTOR_BYTES));
    numbered.all(|(index, sector)| matches!(Sector::judge(sector, first, index), Sector::Sound(_)))
}

fn checksum(content: &[u8], first: Sequence, index: u32) -> u32 {
    let of_content = crc32c::crc32c(content);
    let with_first = crc32c::crc32c_append(of_content, &first.0.to_be_bytes());
    crc32c::crc32c_append(with_first, &index.to_be_bytes())
}

impl<'a> Sector<'a> {
    /// Judges a sector as number `index` of the frame that begins with record `first`.
    pub(super) fn judge(sector: &'a [u8], first: Sequence, index: u32) -> Self {
        let Some((content, [a, b, c, d, mark])) = sector.split_last_chunk() else {
            return Self::Foreign;
        };
        let stated = u32::from_be_bytes([*a, *b, *c, *d]);
        if *mark == MARK && stated == checksum(content, first, index) {
            Self::Sound(content)
        } else if is_blank(sector) {
            Self::Blank
        } else if *mark == 0 {
            Self::BrokenOff(content)
        } else {
            Self::Foreign
        }
    }
}

impl<'a> First<'a> {
    /// Judges a sector as the first of the frame that begins with record `expected`.
    pub(super) fn judge(sector: &'a [u8], expected: Sequence) -> Self {
        // A whole frame that belongs elsewhere is told from a damaged one by its own statement.
        let stated = Header::read(sector).map_or(expected, |(header, _)| header.first);
        match Sector::judge(sector, stated, 0) {
            Sector::Sound(content) => Self::of_content(content, expected),
            Sector::Blank => Self::Blank,
            Sector::BrokenOff(content) if content.first() == MAGIC.first() => Self::BrokenOff,
            Sector::BrokenOff(_) => Self::Faulty(Fault::Garbage),
            Sector::Foreign => Self::Faulty(match format_of(sector) {
                None => Fault::NotABatch,
                Some(FORMAT) => Fault::Checksum,
                Some(found) => Fault::Format { found },
            }),
        }
    }

    fn of_content(content: &'a [u8], expected: Sequence) -> Self {
        match (format_of(content), Header::read(content)) {
            (Some(FORMAT), Some((header, _))) if header.first != expected => {
                Self::Faulty(Fault::Order { expected, found: header.first })
            }
            (Some(FORMAT), Some((header, beginning))) => Self::Sound(header, beginning),
            (Some(found), _) => Self::Faulty(Fault::Format { found }),
            (None, _) => Self::Faulty(Fault::NotABatch),
        }
    }
}

/// The format number after the magic bytes; `None` without those.
fn format_of(bytes: &[u8]) -> Option<u32> {
    let mut rest = bytes;
    (take(&mut rest)? == MAGIC).then_some(())?;
    take(&mut rest).map(u32::from_be_bytes)
}

impl Header {
    /// The frame's length on disk, in bytes.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(narrow(u64::from(self.body_bytes)))
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.records.to_be_bytes());
        out.extend_from_slice(&self.body_bytes.to_be_bytes());
        out.extend_from_slice(self.root.as_slice());
        out
    }

    /// Reads the fields without checking them, and gives what follows.
    fn read(content: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = content;
        let _magic_and_format: [u8; 8] = take(&mut rest)?;
        let header = Self {
            epoch: Epoch(u64::from_be_bytes(take(&mut rest)?)),
            first: Sequence(u64::from_be_bytes(take(&mut rest)?)),
            records: u32::from_be_bytes(take(&mut rest)?),
            body_bytes: u32::from_be_bytes(take(&mut rest)?),
            root: B256::from(take::<32>(&mut rest)?),
        };
        Some((header, rest))
    }

    /// Takes a frame's joined content, without its header, apart into records. `None` if it is not
    /// exactly the stated number of records, each with its attachments, then zeros.
    pub(super) fn records(&self, mut content: Bytes) -> Option<Vec<Stored>> {
        let body_bytes = usize::try_from(self.body_bytes).ok()?;
        if content.len() < body_bytes || !is_blank(&content.split_off(body_bytes)) {
            return None;
        }
        let mut records = Vec::new();
        let mut attachments = Vec::new();
        let mut sequence = self.first;
        while !content.is_empty() {
            match take_entry(&mut content)? {
                (Kind::Attachment, bytes) => attachments.push(bytes),
                (Kind::Record, record) => {
                    let attachments = std::mem::take(&mut attachments);
                    records.push(Stored { sequence, epoch: self.epoch, attachments, record });
                    sequence = sequence.next();
                }
            }
        }
        let stated = usize::try_from(self.records).ok()?;
        (attachments.is_empty() && stated > 0 && records.len() == stated).then_some(records)
    }
}

fn take_entry(content: &mut Bytes) -> Option<(Kind, Bytes)> {
    let (head, _) = content.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
    let [kind, a, b, c, d] = *head;
    let kind = Kind::from_code(kind)?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let end = ENTRY_HEADER_BYTES.checked_add(length)?;
    if end > content.len() {
        return None;
    }
    Some((kind, content.split_to(end).slice(ENTRY_HEADER_BYTES..)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// Whether all bytes are zero.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A length in memory as a length on disk.
pub(super) fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A length on disk as a length in memory. Saturates, and no buffer is that long.
pub(super) fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_is_not_exactly_the_stated_records_is_refused() {
        let header = Header {
            epoch: Epoch(1),
            first: Sequence(1),
            records: 1,
            body_bytes: 7,
            root: B256::ZERO,
        };
        let good = [1, 0, 0, 0, 2, b'h', b'i', 0, 0];
        let records = |header: &Header, bytes: &[u8]| header.records(Bytes::copy_from_slice(bytes));
        assert_eq!(records(&header, &good).unwrap()[0].record, "hi");

        let changed = |at: usize, to: u8| {
            let mut bytes = good;
            bytes[at] = to;
            bytes
        };
        assert!(records(&header, &changed(0, 2)).is_none(), "an attachment without a record");
        assert!(records(&header, &changed(0, 3)).is_none(), "an unknown kind");
        assert!(records(&header, &changed(4, 1)).is_none(), "a byte too many");
        assert!(records(&header, &changed(4, 3)).is_none(), "a byte too few");
        assert!(records(&header, &changed(8, 1)).is_none(), "bytes behind the entries");
        assert!(records(&header, &good[..6]).is_none(), "less than stated");
        assert!(records(&Header { records: 2, ..header }, &good).is_none(), "a record missing");
        let empty = Header { records: 0, body_bytes: 0, ..header };
        assert!(records(&empty, &[]).is_none(), "a batch without records");
    }
}
