//! Reads a whole journal and believes nothing it says: the check at every start.
//!
//! Every sector's checksum, every sequence number, the epochs' order and the tree's root after
//! every batch are computed again, and every byte outside of a batch must be zero.
//!
//! # What is cut, and what stops the start
//!
//! Only the last batch can have been interrupted, because a batch is begun when the one before is
//! durable. An interrupted write leaves each sector either as it was written or still zero (see
//! [`super::frame`]). So the rest of the last segment, after the last whole batch, is cut if
//!
//! * every sector of it is, at its place in the batch that would come next, sound or zero;
//! * at least one sector of that batch is missing;
//! * no sector stands behind the end that the batch's header claims, if the header is there.
//!
//! One sector may also be broken off in the middle, if everything before it in the batch is sound
//! and everything after it is zero: some file systems cut a write at any byte. That is said of
//! sectors that were zero before. What is written over something else is taken to arrive by whole
//! sectors, and only a cut is (see `settle` in [`super::segments`]).
//!
//! Anything else is damage, and stops the start: a sector that is neither sound nor zero, in the
//! last batch too; a whole batch behind an incomplete one; an incomplete batch with a segment
//! after it; bytes after the end. A batch that is complete but was never acknowledged stays: it
//! was durable, and nobody was told otherwise.
//!
//! # From a base
//!
//! A journal can also be verified from a record on: then what lies before it is taken from a
//! [`Base`], and only read by the way. Who opens it so has to know that the base is true, or that
//! somebody will read the rest.
//!
//! What this cannot tell apart: a durable last batch of which someone set whole sectors to zero
//! looks interrupted. A checkpoint over that batch tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::{Frontier, leaf_hash};

use super::base::Base;
use super::durable::{Folder, first_nonzero};
use super::fault::{Fault, OpenError, unopened};
use super::frame::{First, SECTOR_BYTES, Sector, wide};
use super::segments::{SEGMENT, segment_name};
use super::spares::SPARE;
use super::walk::{Frame, Walk, WalkError};

/// A journal that verifies, apart from an interrupted end.
pub(super) struct Verified {
    pub(super) frontier: Frontier,
    pub(super) epoch: Epoch,
    /// Each segment's first record.
    pub(super) segments: Vec<Sequence>,
    pub(super) spares: Vec<String>,
    pub(super) segment_bytes: u64,
    /// Where the last batch in the last segment begins, and with which record, if there is one.
    pub(super) last_batch: Option<(u64, Sequence)>,
    /// Where the last whole batch in the last segment ends.
    pub(super) end: u64,
    /// What an interrupted write left behind it.
    pub(super) incomplete: Incomplete,
}

/// The rest of an interrupted write, in bytes from the end of the last whole batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Incomplete {
    /// To the end of its last sector that is not zero.
    pub(super) bytes: u64,
    /// To the end of its last sound sector.
    pub(super) sound: u64,
}

/// Verifies all files of a journal's folder, changing nothing but unfinished free segments; or
/// those from a base on.
pub(super) fn verify(folder: &Arc<Folder>, base: Option<&Base>) -> Result<Verified, OpenError> {
    let (segments, spares) = list(folder)?;
    let mut check = Check::new(folder, &segments, base)?;
    let next = Sequence(check.frontier.size()).next();
    let before = segments.partition_point(|first| *first <= next).saturating_sub(1);
    for (place, first) in segments.iter().enumerate().skip(before) {
        let last = place.saturating_add(1) == segments.len();
        check.segment(*first, last)?;
    }
    for spare in &spares {
        check.spare(spare)?;
    }
    Ok(Verified {
        frontier: check.frontier,
        epoch: check.epoch,
        segments,
        spares,
        segment_bytes: check.segment_bytes,
        last_batch: check.last_batch,
        end: check.end,
        incomplete: check.incomplete,
    })
}

/// The segments by their first record, and the free ones by their name.
fn list(folder: &Folder) -> Result<(Vec<Sequence>, Vec<String>), OpenError> {
    let io = |source| OpenError::Io { path: folder.path().to_owned(), source };
    let names = folder.names().map_err(io)?;
    let spares: Vec<_> = names.iter().filter(|name| name.ends_with(SPARE)).cloned().collect();
    if let Some(strange) = spares.iter().find(|name| number(name, SPARE).is_none()) {
        return Err(OpenError::StrangeFile { path: folder.file(strange) });
    }
    Ok((segments_of(names, folder.path())?, spares))
}

/// The segments among the names in a journal's folder, by their first record and in order.
pub(super) fn segments_of(names: Vec<String>, folder: &Path) -> Result<Vec<Sequence>, OpenError> {
    let mut segments = Vec::new();
    for name in names.into_iter().filter(|name| name.ends_with(SEGMENT)) {
        let first = number(&name, SEGMENT).map(Sequence);
        let first = first.filter(|first| segment_name(*first) == name);
        segments.push(first.ok_or_else(|| OpenError::StrangeFile { path: folder.join(&name) })?);
    }
    segments.sort_unstable();
    if segments.is_empty() {
        return Err(OpenError::Missing { folder: folder.to_owned() });
    }
    Ok(segments)
}

fn number(name: &str, ending: &str) -> Option<u64> {
    name.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()
}

/// The state of a journal so far.
struct Check<'a> {
    folder: &'a Folder,
    segment_bytes: u64,
    frontier: Frontier,
    epoch: Epoch,
    /// Whether the next segment to be read may begin before the record that comes next.
    based: bool,
    last_batch: Option<(u64, Sequence)>,
    end: u64,
    incomplete: Incomplete,
}

impl<'a> Check<'a> {
    fn new(
        folder: &'a Folder,
        segments: &[Sequence],
        base: Option<&Base>,
    ) -> Result<Self, OpenError> {
        let name = segment_name(*segments.first().unwrap_or(&Sequence(1)));
        let bytes = folder.open(&name).and_then(|file| file.bytes());
        Ok(Self {
            folder,
            segment_bytes: bytes
                .map_err(|source| OpenError::Io { path: folder.file(&name), source })?,
            frontier: base.map_or_else(Frontier::default, |base| base.tree.clone()),
            epoch: base.map_or(Epoch(0), |base| base.epoch),
            based: base.is_some(),
            last_batch: None,
            end: 0,
            incomplete: Incomplete::default(),
        })
    }

    fn segment(&mut self, first: Sequence, last: bool) -> Result<(), OpenError> {
        let expected = Sequence(self.frontier.size()).next();
        let path = self.folder.file(&segment_name(first));
        if first != expected && !(self.based && first < expected) {
            let expected = self.folder.file(&segment_name(expected));
            return Err(OpenError::MissingSegment { expected, found: path });
        }
        let io = |source| OpenError::Io { path: path.clone(), source };
        // All but the last may be where nobody can write.
        let file = self.folder.open_to_read(&segment_name(first));
        let file = file.map_err(|source| unopened(&**self.folder.disk(), path.clone(), source))?;
        self.length(file.bytes().map_err(io)?, &path)?;
        let mut walk = Walk::new(file, first);
        self.walk(&mut walk, last).map_err(|error| match error {
            WalkError::Io(source) => OpenError::Io { path, source },
            WalkError::Fault { position, fault } => OpenError::Damaged { path, position, fault },
        })
    }

    fn walk(&mut self, walk: &mut Walk, last: bool) -> Result<(), WalkError> {
        self.last_batch = None;
        if std::mem::take(&mut self.based) {
            walk.skip_to(Sequence(self.frontier.size()).next(), self.segment_bytes)?;
        }
        loop {
            match walk.read(self.segment_bytes) {
                Ok(Some(frame)) => self.frame(&frame)?,
                Ok(None) | Err(WalkError::Fault { fault: Fault::Incomplete, .. }) => break,
                Err(error) => return Err(error),
            }
        }
        self.end = walk.offset();
        let (expected, found) = (Sequence(self.frontier.size()).next(), walk.next_sequence());
        if expected != found {
            let fault = Fault::Order { expected, found };
            return Err(WalkError::Fault { position: self.end, fault });
        }
        self.incomplete = interrupted(walk, self.segment_bytes)?;
        if self.incomplete.bytes > 0 && !last {
            return Err(WalkError::Fault { position: self.end, fault: Fault::Incomplete });
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), WalkError> {
        let fault = |fault| WalkError::Fault { position: frame.start, fault };
        let (newest, found) = (self.epoch, frame.header.epoch);
        if found < newest {
            return Err(fault(Fault::Epoch { newest, found }));
        }
        let known = self.frontier.size();
        for stored in frame.records.iter().filter(|stored| stored.sequence.0 > known) {
            self.frontier.push(leaf_hash(&stored.record));
        }
        let (stated, found) = (frame.header.root, self.frontier.root());
        if stated != found {
            return Err(fault(Fault::Root { stated, found }));
        }
        self.epoch = frame.header.epoch;
        self.last_batch = Some((frame.start, frame.header.first));
        Ok(())
    }

    fn spare(&self, name: &str) -> Result<(), OpenError> {
        let path = self.folder.file(name);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let file = self.folder.open(name).map_err(io)?;
        self.length(file.bytes().map_err(io)?, &path)?;
        match first_nonzero(&*file).map_err(io)? {
            None => Ok(()),
            Some(position) => Err(OpenError::Damaged { path, position, fault: Fault::Garbage }),
        }
    }

    fn length(&self, found: u64, path: &Path) -> Result<(), OpenError> {
        let expected = self.segment_bytes;
        if expected == found {
            return Ok(());
        }
        let fault = Fault::Length { expected, found };
        Err(OpenError::Damaged { path: PathBuf::from(path), position: found, fault })
    }
}

/// What an interrupted write left behind the last whole frame. The module comment has the rule.
fn interrupted(walk: &mut Walk, limit: u64) -> Result<Incomplete, WalkError> {
    let (start, first) = (walk.offset(), walk.next_sequence());
    let mut claimed_end = limit;
    let mut left = Incomplete::default();
    // Whether a sector broken off may stand here: all before it sound, and none broken off yet.
    let mut may_break_off = true;
    let mut broken_off = false;
    for index in 0.. {
        let position = start.saturating_add(u64::from(index).saturating_mul(wide(SECTOR_BYTES)));
        if position >= limit {
            break;
        }
        let fault = |fault| Err(WalkError::Fault { position, fault });
        let through = position.saturating_add(wide(SECTOR_BYTES)).saturating_sub(start);
        let sector = walk.sector(position, limit)?;
        match Sector::judge(sector, first, index) {
            Sector::Blank => {
                may_break_off = false;
                continue;
            }
            Sector::Sound(_) if broken_off || position >= claimed_end => {
                return fault(Fault::Garbage);
            }
            Sector::Sound(_) => left.sound = through,
            Sector::BrokenOff(_) if !may_break_off || position >= claimed_end => {
                return fault(Fault::Garbage);
            }
            Sector::BrokenOff(_) => (may_break_off, broken_off) = (false, true),
            Sector::Foreign => return fault(Fault::Checksum),
        }
        if index == 0 {
            match First::judge(sector, first) {
                First::Sound(header, _) => claimed_end = start.saturating_add(header.frame_bytes()),
                First::Faulty(found) => return fault(found),
                First::Blank | First::BrokenOff => {}
            }
        }
        left.bytes = through;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use alloy_primitives::B256;

    use super::super::frame::{Header, encode};
    use super::*;

    /// The sectors of a frame that begins with record 1 and has so many bytes of entries.
    fn sectors(body_bytes: u32) -> Vec<u8> {
        let (epoch, first, root) = (Epoch(1), Sequence(1), B256::ZERO);
        let header = Header { epoch, first, records: 1, body_bytes, root };
        let mut out = Vec::new();
        encode(&header, &vec![1; usize::try_from(body_bytes).unwrap()], &mut out);
        out
    }

    #[test]
    fn a_sound_sector_behind_the_end_that_its_header_claims_is_no_interrupted_write() {
        let left = |other: &[u8]| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(8192).unwrap();
            // A frame of three sectors, the second lost, and whatever stands behind it.
            let frame = sectors(1200);
            file.write_all_at(&frame[..SECTOR_BYTES], 0).unwrap();
            file.write_all_at(&frame[2 * SECTOR_BYTES..], 1024).unwrap();
            file.write_all_at(other, 1536).unwrap();
            interrupted(&mut Walk::new(Box::new(file), Sequence(1)), 8192)
        };
        assert!(matches!(left(&[]), Ok(Incomplete { bytes: 1536, sound: 1536 })));
        let longer = sectors(3000);
        assert!(matches!(
            left(&longer[3 * SECTOR_BYTES..4 * SECTOR_BYTES]),
            Err(WalkError::Fault { position: 1536, fault: Fault::Garbage })
        ));
    }
}
