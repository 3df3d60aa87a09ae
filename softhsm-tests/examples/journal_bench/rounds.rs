//! Journal, bare disk and SQLite in turns, so that a machine that slows down slows all of them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use portcullis::journal::{Batch, SEGMENT_BYTES_DEFAULT, Segments, Storage};
use portcullis_policy::id::Epoch;
use rusqlite::{Connection, ToSql};

use super::Spread;
use super::drive::{self, Stretch};

/// What to say, its name in the summary, and the figure.
pub(crate) type Row = (&'static str, &'static str, Spread);

pub(crate) fn measure(folder: &Path, lines: &[Vec<u8>], rounds: usize, time: Duration) -> Vec<Row> {
    let mut journal = Journal::new(&folder.join("rounds"));
    let mut disk = Bare::new(&folder.join("bare"));
    let mut log = Sqlite::new(&folder.join("log.sqlite"), Keeps::Records);
    let mut database = Sqlite::new(&folder.join("database.sqlite"), Keeps::RecordsAndState);
    let mut next = lines.iter().cycle();
    let (mut recorded, mut in_a_commit, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let (mut logged, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let stretch = drive::for_a_while(time, |records| {
            journal.commit(next.by_ref().take(records));
        });
        recorded.push(stretch.per_second());
        in_a_commit.push(stretch.in_a_commit());
        bare.push(disk.like(&stretch, lines[lines.len() - 1].len(), time));
        for (sqlite, rates) in [(&mut log, &mut logged), (&mut database, &mut kept)] {
            let stretch = drive::for_a_while(time, |records| {
                sqlite.commit(next.by_ref().take(records));
            });
            rates.push(stretch.per_second());
        }
    }
    let ratio = |to: &[f64]| Spread::of(recorded.iter().zip(to).map(|(a, b)| a / b).collect());
    vec![
        ("durable records /s, 64 under way", "records_per_s", Spread::of(recorded.clone())),
        ("records in a commit", "records_in_a_commit", Spread::of(in_a_commit)),
        ("bare write and fdatasync of such commits, records /s", "bare_per_s", {
            Spread::of(bare.clone())
        }),
        ("journal, of the bare disk in the same round", "bare_ratio", ratio(&bare)),
        ("SQLite as a log (WAL, FULL), records /s", "sqlite_log_per_s", {
            Spread::of(logged.clone())
        }),
        ("journal, times that in the same round", "sqlite_log_ratio", ratio(&logged)),
        ("SQLite with request ids and balances, records /s", "sqlite_per_s", {
            Spread::of(kept.clone())
        }),
        ("journal, times that in the same round", "sqlite_ratio", ratio(&kept)),
    ]
}

struct Journal {
    segments: Segments,
    batch: Batch,
}

impl Journal {
    fn new(folder: &Path) -> Self {
        let segments = Segments::create(folder, SEGMENT_BYTES_DEFAULT).unwrap();
        Self { segments, batch: Batch::ordinary() }
    }

    fn commit<'a>(&mut self, lines: impl Iterator<Item = &'a Vec<u8>>) {
        self.batch.clear();
        lines.for_each(|line| self.batch.push_record(line).unwrap());
        let _durable = self.segments.append_if_owner(Epoch(1), &self.batch).unwrap();
    }
}

/// A file of zeros that is written again and again, as a segment is once.
struct Bare {
    file: File,
    at: u64,
}

impl Bare {
    fn new(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        file.write_all_at(&vec![0; usize::try_from(SEGMENT_BYTES_DEFAULT).unwrap()], 0).unwrap();
        file.sync_all().unwrap();
        Self { file, at: 0 }
    }

    /// Records a second, if each commit were one write and one sync of its bytes and no more.
    fn like(&mut self, stretch: &Stretch, record_bytes: usize, time: Duration) -> f64 {
        let bytes = (stretch.in_a_commit() * record_bytes as f64) as usize;
        let commit = vec![0x5A; bytes.next_multiple_of(512)];
        let (begun, mut commits) = (Instant::now(), 0_u32);
        while begun.elapsed() < time {
            if self.at + commit.len() as u64 > SEGMENT_BYTES_DEFAULT {
                self.at = 0;
            }
            self.file.write_all_at(&commit, self.at).unwrap();
            self.file.sync_data().unwrap();
            self.at += commit.len() as u64;
            commits += 1;
        }
        f64::from(commits) * stretch.in_a_commit() / begun.elapsed().as_secs_f64()
    }
}

/// What a database holds.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Keeps {
    Records,
    /// Also what the signer folds from the journal into memory: which requests were answered, and
    /// what was spent.
    RecordsAndState,
}

struct Sqlite {
    connection: Connection,
    keeps: Keeps,
    records: i64,
}

impl Sqlite {
    fn new(path: &Path, keeps: Keeps) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        let tables = "CREATE TABLE records (sequence INTEGER PRIMARY KEY, line BLOB NOT NULL);
             CREATE TABLE requests (id BLOB PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE balances (account INTEGER PRIMARY KEY, spent INTEGER NOT NULL);";
        connection.execute_batch(tables).unwrap();
        Self { connection, keeps, records: 0 }
    }

    fn commit<'a>(&mut self, lines: impl Iterator<Item = &'a Vec<u8>>) {
        let transaction = self.connection.transaction().unwrap();
        let run = |text: &str, values: &[&dyn ToSql]| {
            transaction.prepare_cached(text).unwrap().execute(values).unwrap();
        };
        for line in lines {
            self.records += 1;
            let sequence = self.records;
            run("INSERT INTO records (sequence, line) VALUES (?1, ?2)", &[&sequence, line]);
            if self.keeps == Keeps::RecordsAndState {
                let id = keccak256(sequence.to_be_bytes());
                run("INSERT INTO requests VALUES (?1, ?2)", &[&id.as_slice(), &sequence]);
                let account = sequence % 64;
                run(
                    "INSERT INTO balances VALUES (?1, 1)
                     ON CONFLICT (account) DO UPDATE SET spent = spent + 1",
                    &[&account],
                );
            }
        }
        transaction.commit().unwrap();
    }
}
