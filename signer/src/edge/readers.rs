//! Reads the journal to people, a page at a time, and follows it for as long as somebody listens.
//!
//! A reader that waits holds no thread: only a page being read from disk does. Readers are bounded
//! for each person and for all, so that nobody reads the process to a standstill.

use portcullis_policy::id::Sequence;
use portcullis_proto::v1::{JournalHead, JournalLine, ReadJournalRequest, ReadJournalResponse};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::places::{Full, Place, Places};
use super::status;
use crate::journal::{Head, ReadError, Reader, Records, Stored};

/// Opens readings of one journal.
#[derive(Clone)]
pub struct Readers {
    reader: Reader,
    places: Places,
}

/// Pages of records on their way to one reader.
pub type Pages = ReceiverStream<Result<ReadJournalResponse, Status>>;

/// Nobody else may begin to read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooManyReaders {
    /// One person reads as often as one may.
    #[error("you read the journal {READERS_PER_PERSON_MAX} times already: end one of them")]
    OfPerson,
    /// All people together do.
    #[error("the journal is read {READERS_MAX} times already: try again when somebody has ended")]
    OfAll,
}

impl Readers {
    /// Over this journal.
    pub fn new(reader: Reader) -> Self {
        Self { reader, places: Places::new(READERS_PER_PERSON_MAX, READERS_MAX) }
    }

    /// Begins to read for a person. The stream ends by itself, or in follow mode when it is
    /// dropped.
    pub(super) fn open(
        &self,
        person: &str,
        head: watch::Receiver<Head>,
        request: ReadJournalRequest,
        may_read: impl Fn() -> Result<(), Status> + Send + Sync + 'static,
    ) -> Result<Pages, TooManyReaders> {
        let place = self.places.share(person).try_take().map_err(|full| match full {
            Full::Name => TooManyReaders::OfPerson,
            Full::All => TooManyReaders::OfAll,
        })?;
        let from = Sequence(request.from_sequence.max(1));
        let left = if request.limit == 0 { u64::MAX } else { request.limit };
        let reading = Reading {
            records: self.reader.records_from(from),
            from,
            left,
            follow: request.follow,
            may_read: Box::new(may_read),
            _place: place,
        };
        let (pages, stream) = mpsc::channel(PAGES_AHEAD_MAX);
        tokio::spawn(async move {
            tokio::select! {
                () = reading.send_all(head, &pages) => {}
                () = pages.closed() => {}
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

/// How far one reader has come.
struct Reading {
    records: Records,
    from: Sequence,
    /// Records still wanted.
    left: u64,
    /// Whether to wait for more at the end.
    follow: bool,
    /// Asked again before each page: whoever reads may be removed meanwhile.
    may_read: Box<dyn Fn() -> Result<(), Status> + Send + Sync>,
    /// Travels with the reading, also onto a blocking thread that outlives its listener.
    _place: Place,
}

impl Reading {
    async fn send_all(mut self, mut head: watch::Receiver<Head>, pages: &Sender) {
        loop {
            let now = *head.borrow_and_update();
            while self.left > 0 && self.from <= now.sequence {
                if let Err(gone) = (self.may_read)() {
                    return drop(pages.send(Err(gone)).await);
                }
                let read = tokio::task::spawn_blocking(move || {
                    let page = self.page(now);
                    (self, page)
                });
                // Only a bug or the end of the runtime ends such a thread early.
                let Ok((reading, page)) = read.await else { return };
                self = reading;
                let page = page.map_err(|error| {
                    tracing::error!(%error, "journal cannot be read");
                    status::journal_unreadable(&error)
                });
                let failed = page.is_err();
                if pages.send(page).await.is_err() || failed {
                    return;
                }
            }
            if self.left == 0 {
                return;
            }
            // An empty answer tells the head to whoever asks for nothing more.
            let sent = pages.send(Ok(page_of(Vec::new(), now))).await;
            if sent.is_err() || !self.follow || head.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reads about [`PAGE_BYTES`] of what is durable up to `head`. Blocks on the disk.
    fn page(&mut self, head: Head) -> Result<ReadJournalResponse, ReadError> {
        let (mut lines, mut bytes) = (Vec::new(), 0usize);
        while self.left > 0 && self.from <= head.sequence && bytes < PAGE_BYTES {
            let Some(stored) = self.records.next().transpose()? else { break };
            let Stored { sequence, attachments, record, .. } = stored;
            let attachments = attachments.into_iter().map(|content| (Sequence(0), content));
            for (place, content) in attachments.chain([(sequence, record)]) {
                bytes = bytes.saturating_add(content.len());
                lines.push(JournalLine { sequence: place.0, content: content.to_vec() });
            }
            self.from = sequence.next();
            self.left = self.left.saturating_sub(1);
        }
        Ok(page_of(lines, head))
    }
}

type Sender = mpsc::Sender<Result<ReadJournalResponse, Status>>;

fn page_of(lines: Vec<JournalLine>, head: Head) -> ReadJournalResponse {
    let head = JournalHead { size: head.sequence.0, root: head.root.to_vec() };
    ReadJournalResponse { lines, head: Some(head) }
}

/// Readings of one person at once: a console, an export, a witness of one's own.
pub(super) const READERS_PER_PERSON_MAX: usize = 8;

/// Readings of all people at once, and so blocking threads that read pages.
const READERS_MAX: usize = 64;

/// Records are sent in messages of about this size.
const PAGE_BYTES: usize = 64 * 1024;

/// Pages read before the reader has taken the one before.
const PAGES_AHEAD_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_policy::id::Epoch;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::journal::{Batch, Memory, Storage};

    struct Vault {
        storage: Memory,
        head: watch::Sender<Head>,
        readers: Readers,
    }

    impl Vault {
        fn new() -> Self {
            let storage = Memory::default();
            let readers = Readers::new(storage.reader());
            Self { storage, head: watch::Sender::new(Head::empty()), readers }
        }

        fn append(&mut self, record: &[u8]) {
            let mut batch = Batch::ordinary();
            batch.push_record(record).unwrap();
            let _durable = self.storage.append_if_owner(Epoch(1), &batch).unwrap();
            self.head.send_replace(self.storage.head());
        }

        fn read(&self, person: &str, from: u64, follow: bool) -> Result<Pages, TooManyReaders> {
            let request = ReadJournalRequest { from_sequence: from, limit: 0, follow };
            self.readers.open(person, self.head.subscribe(), request, || Ok(()))
        }
    }

    async fn eventually(what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), wait).await.is_ok(), "{what}");
    }

    /// One blocking thread: whoever keeps it keeps it from everybody.
    fn with_one_blocking_thread(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn followers_of_an_idle_vault_hold_no_thread_and_leave_nothing_behind() {
        with_one_blocking_thread(async {
            let mut vault = Vault::new();
            vault.append(b"{}");
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let before = tasks();
            let mut following = Vec::new();
            for number in 0..READERS_MAX {
                let mut pages = vault.read(&format!("person-{}", number / 8), 1, true).unwrap();
                assert_eq!(pages.next().await.unwrap().unwrap().lines.len(), 1);
                assert!(pages.next().await.unwrap().unwrap().lines.is_empty());
                following.push(pages);
            }
            // All wait for a record that nobody writes; the one thread is free all the same.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert_eq!(vault.read("anna", 1, true).err(), Some(TooManyReaders::OfAll));
            drop(following);
            eventually("no follower's task is left", || tasks() == before).await;
            assert!(vault.read("anna", 1, true).is_ok());
        });
    }

    #[tokio::test]
    async fn one_person_reads_only_so_often_and_takes_nobody_elses_place() {
        let vault = Vault::new();
        let open = || vault.read("anna", 1, true);
        let mut mine = Vec::new();
        for _ in 0..READERS_PER_PERSON_MAX {
            mine.push(open().unwrap());
        }
        assert_eq!(open().err(), Some(TooManyReaders::OfPerson));
        assert!(vault.read("olga", 1, true).is_ok());
        mine.pop();
        eventually("the place is free again", || open().is_ok()).await;
    }

    #[tokio::test]
    async fn a_follower_gets_every_record_once_and_in_order() {
        let mut vault = Vault::new();
        for _ in 0..3 {
            vault.append(&vec![b'x'; PAGE_BYTES / 2]);
        }
        let mut pages = vault.read("anna", 2, true).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let page = pages.next().await.unwrap().unwrap();
            seen.extend(page.lines.iter().map(|line| line.sequence));
            if page.lines.is_empty() {
                vault.append(b"{}");
            }
        }
        assert_eq!(seen, [2, 3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn a_follower_who_may_no_longer_read_gets_nothing_that_was_written_since() {
        let mut vault = Vault::new();
        vault.append(b"{}");
        let allowed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let may = std::sync::Arc::clone(&allowed);
        let may_read = move || {
            let still = may.load(std::sync::atomic::Ordering::SeqCst);
            if still { Ok(()) } else { Err(Status::unauthenticated("gone")) }
        };
        let request = ReadJournalRequest { from_sequence: 1, limit: 0, follow: true };
        let head = vault.head.subscribe();
        let mut pages = vault.readers.open("anna", head, request, may_read).unwrap();
        assert_eq!(pages.next().await.unwrap().unwrap().lines.len(), 1);
        assert!(pages.next().await.unwrap().unwrap().lines.is_empty());
        allowed.store(false, std::sync::atomic::Ordering::SeqCst);
        vault.append(b"{}");
        assert_eq!(pages.next().await.unwrap().unwrap_err().message(), "gone");
        assert!(pages.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_who_does_not_follow_gets_what_there_is_and_then_the_head() {
        let mut vault = Vault::new();
        vault.append(b"{}");
        let pages: Vec<_> = vault.read("anna", 0, false).unwrap().collect().await;
        let lines: Vec<_> = pages.iter().map(|page| page.as_ref().unwrap().lines.len()).collect();
        assert_eq!(lines, [1, 0]);
        let request = ReadJournalRequest { from_sequence: 1, limit: 1, follow: true };
        let limited =
            vault.readers.open("anna", vault.head.subscribe(), request, || Ok(())).unwrap();
        assert_eq!(limited.collect::<Vec<_>>().await.len(), 1);
    }
}
