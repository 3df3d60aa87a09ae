//! A storage in memory, for tests of what stands above: it forgets everything, so no verb that
//! serves requests may ever make one.
//!
//! Clones share their records, like two processes that reach for one database.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::Frontier;
use tokio::sync::watch;

use super::batch::{Batch, ENTRY_BYTES_MAX, Urgency};
use super::frame::Header;
use super::reader::{Reader, Stored, Tip};
use super::{Durable, Head, Space, Step, Storage, StorageError};

/// A storage that lasts as long as its last clone.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    records: Arc<RwLock<Vec<Stored>>>,
    tip: watch::Sender<Tip>,
}

struct Shared {
    frontier: Frontier,
    space: Space,
    disk: Disk,
}

/// What the disk that is not there would do.
enum Disk {
    Works,
    FailsNext,
    Failed,
}

impl Default for Memory {
    fn default() -> Self {
        let head = Head::empty();
        let shared =
            Shared { frontier: Frontier::default(), space: Space::Ample, disk: Disk::Works };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            records: Arc::default(),
            tip: watch::Sender::new(Tip { head, segments: Arc::from([]), end: 0 }),
        }
    }
}

impl Memory {
    /// Lets a test run out of space: low or exhausted, it takes emergencies only.
    pub fn set_space(&self, space: Space) {
        self.shared.lock().space = space;
    }

    /// Lets the next append fail as a broken disk would, and all after it as poisoned.
    pub fn break_disk(&self) {
        self.shared.lock().disk = Disk::FailsNext;
    }
}

impl Storage for Memory {
    fn append_if_owner(&mut self, epoch: Epoch, batch: &Batch) -> Result<Durable, StorageError> {
        let mut shared = self.shared.lock();
        if let Disk::Failed = shared.disk {
            return Err(StorageError::Poisoned);
        }
        let body = batch.body()?;
        let newest = self.tip.borrow().head.epoch;
        if epoch < newest {
            return Err(StorageError::NotOwner { ours: epoch, newest });
        }
        match (shared.space, batch.urgency()) {
            (Space::Ample, Urgency::Ordinary) | (_, Urgency::Emergency) => {}
            (Space::Low | Space::Exhausted, Urgency::Ordinary) => {
                return Err(StorageError::NoSpace);
            }
        }
        if let Disk::FailsNext = shared.disk {
            shared.disk = Disk::Failed;
            let source = io::Error::other("a test broke the disk");
            return Err(StorageError::Io { step: Step::Sync, source });
        }

        let too_large =
            |_| StorageError::TooLarge { bytes: u64::MAX, bytes_max: u64::from(u32::MAX) };
        let records = u32::try_from(batch.leaves().len()).map_err(too_large)?;
        let body_bytes = u32::try_from(body.len()).map_err(too_large)?;
        let mut frontier = shared.frontier.clone();
        batch.leaves().iter().for_each(|leaf| frontier.push(*leaf));
        let (first, root) = (Sequence(shared.frontier.size()).next(), frontier.root());
        let header = Header { epoch, first, records, body_bytes, root };
        let stored = header.records(Bytes::copy_from_slice(body)).ok_or(StorageError::Empty)?;

        let head = Head { sequence: Sequence(frontier.size()), root, epoch };
        shared.frontier = frontier;
        self.records.write().extend(stored);
        self.tip.send_modify(|tip| tip.head = head);
        Ok(Durable { first, head })
    }

    fn head(&self) -> Head {
        self.tip.borrow().head
    }

    fn space(&self) -> Space {
        self.shared.lock().space
    }

    fn entry_bytes_max(&self) -> usize {
        ENTRY_BYTES_MAX
    }

    fn reader(&self) -> Reader {
        Reader::of_memory(Arc::clone(&self.records), self.tip.subscribe())
    }
}
