//! One durable commit with nothing around it: what the journal pays at least for each batch.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::figures::percentile;

/// A preallocated file on the disk in question. Made once and early: a disk that was just given
/// megabytes to write may answer the next small write late.
#[derive(Debug)]
pub struct CommitProbe {
    file: File,
    next_block: u32,
}

impl CommitProbe {
    /// Makes the file in `folder`, where it goes with the folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join("commit.probe");
        let mut file = File::options().write(true).create_new(true).open(path)?;
        // Written and not only reserved, as the journal's segments are.
        for _ in 0..FILE_BLOCKS {
            file.write_all(&[0; BLOCK_BYTES])?;
        }
        file.sync_all()?;
        Ok(Self { file, next_block: 0 })
    }

    /// The median of writing 1 KiB in place and `fdatasync`, in microseconds.
    pub fn p50(&mut self, time: Duration) -> io::Result<f64> {
        let mut latencies = Vec::new();
        let start = Instant::now();
        while start.elapsed() < time || latencies.is_empty() {
            let begun = Instant::now();
            let offset = u64::from(self.next_block) << BLOCK_BITS;
            self.file.write_all_at(&[0xa5; BLOCK_BYTES], offset)?;
            self.file.sync_data()?;
            latencies.push(begun.elapsed().as_secs_f64() * 1e6);
            self.next_block = (self.next_block + 1) % FILE_BLOCKS;
        }
        Ok(percentile(&mut latencies, 50))
    }
}

/// A kibibyte: about a record.
const BLOCK_BITS: u32 = 10;
const BLOCK_BYTES: usize = 1 << BLOCK_BITS;
const FILE_BLOCKS: u32 = 4096;
