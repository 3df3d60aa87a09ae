//! One durable commit with nothing around it: what the journal pays at least for each batch.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::figures::percentile;

/// The median of writing 1 KiB in place and `fdatasync`, in microseconds, on a preallocated file
/// that is made in `folder` and removed again.
pub fn commit_p50(folder: &Path, time: Duration) -> io::Result<f64> {
    let path = folder.join("commit.probe");
    let measured = measure(&path, time);
    std::fs::remove_file(&path)?;
    measured
}

fn measure(path: &Path, time: Duration) -> io::Result<f64> {
    let file = zeros(path)?;
    let block = [0xa5; BLOCK_BYTES];
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time || latencies.is_empty() {
        let at = u64::try_from(latencies.len() * BLOCK_BYTES).unwrap_or(0) % FILE_BYTES;
        let begun = Instant::now();
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(percentile(&mut latencies, 50))
}

/// Written and not only reserved, as the journal's segments are.
fn zeros(path: &Path) -> io::Result<File> {
    let mut file = File::options().write(true).create(true).truncate(true).open(path)?;
    let chunk = vec![0; 1024 * 1024];
    while file.seek(SeekFrom::Current(0))? < FILE_BYTES {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok(file)
}

const BLOCK_BYTES: usize = 1024;
const FILE_BYTES: u64 = 16 * 1024 * 1024;
