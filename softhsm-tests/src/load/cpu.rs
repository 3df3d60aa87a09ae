//! Where the processor time goes: nanoseconds on a core, by thread name, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Time on a core of every thread of a process, at one moment.
#[derive(Clone, Debug, Default)]
pub struct CpuTimes(BTreeMap<u64, (String, u64)>);

/// Microseconds spent, by thread name.
pub type Spent = BTreeMap<String, f64>;

impl CpuTimes {
    /// Of the process with this id.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut times = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            let Ok(thread) = entry.file_name().to_string_lossy().parse() else { continue };
            // A thread that ends while we look is not worth an error.
            if let Ok(one) = read(&entry.path()) {
                times.insert(thread, one);
            }
        }
        Ok(Self(times))
    }

    /// What was spent since an earlier look. A thread that ended in between is left out.
    pub fn since(&self, earlier: &Self) -> Spent {
        let mut spent = Spent::new();
        for (thread, (name, now)) in &self.0 {
            let before = earlier.0.get(thread).map_or(0, |(_, before)| *before);
            let nanoseconds = now.saturating_sub(before);
            let microseconds = std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6;
            *spent.entry(name.clone()).or_default() += microseconds;
        }
        spent
    }
}

fn read(task: &Path) -> io::Result<(String, u64)> {
    let name = fs::read_to_string(task.join("comm"))?.trim_end().to_owned();
    let statistics = fs::read_to_string(task.join("schedstat"))?;
    let on_core = statistics.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok((name, on_core.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_under_the_name_of_the_thread_that_did_it() {
        let worked = std::thread::Builder::new().name("digger".into()).spawn(|| {
            let before = CpuTimes::of(std::process::id()).expect("own threads");
            let mut sum = 0_u64;
            // The kernel counts at every tick: dig until it has noticed.
            loop {
                for number in 0..1_000_000_u64 {
                    sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
                }
                let after = CpuTimes::of(std::process::id()).expect("own threads");
                let spent = after.since(&before);
                if spent.get("digger").is_some_and(|spent| *spent > 0.0) {
                    return spent;
                }
            }
        });
        let spent = worked.expect("thread").join().expect("dug");
        assert!(spent["digger"] > 0.0);
    }
}
