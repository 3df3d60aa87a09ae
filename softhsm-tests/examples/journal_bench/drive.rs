//! Records under way: whoever gets one recorded sends the next, and one thread commits all that
//! waits, as the signer's writer does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Who sends, and how many records each has under way: 64 together.
const SENDERS: usize = 4;
const UNDER_WAY: usize = 16;
/// Records in one commit at most, as in the signer's writer.
const BATCH_MAX: usize = 256;

/// What one stretch of load has done.
pub(crate) struct Stretch {
    pub(crate) records: usize,
    pub(crate) commits: usize,
    pub(crate) seconds: f64,
}

impl Stretch {
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    pub(crate) fn in_a_commit(&self) -> f64 {
        self.records as f64 / self.commits as f64
    }
}

/// Commits batches for so long. `commit` gets how many records wait, and returns when they last.
pub(crate) fn for_a_while(time: Duration, mut commit: impl FnMut(usize)) -> Stretch {
    let (queue, waiting) = channel();
    std::thread::scope(|scope| {
        let answers: Vec<Sender<usize>> = (0..SENDERS)
            .map(|sender| {
                let (answer, answered) = channel();
                let queue = queue.clone();
                scope.spawn(move || send(sender, &queue, &answered));
                answer
            })
            .collect();
        drop(queue);
        let begun = Instant::now();
        let mut stretch = Stretch { records: 0, commits: 0, seconds: 0.0 };
        while begun.elapsed() < time {
            let mut batch = vec![waiting.recv().unwrap()];
            batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
            commit(batch.len());
            stretch.records += batch.len();
            stretch.commits += 1;
            for (sender, answer) in answers.iter().enumerate() {
                let recorded = batch.iter().filter(|from| **from == sender).count();
                if recorded > 0 {
                    answer.send(recorded).unwrap();
                }
            }
        }
        stretch.seconds = begun.elapsed().as_secs_f64();
        drop(answers);
        stretch
    })
}

fn send(sender: usize, queue: &Sender<usize>, answered: &Receiver<usize>) {
    let mut more = UNDER_WAY;
    loop {
        for _ in 0..more {
            if queue.send(sender).is_err() {
                return;
            }
        }
        let Ok(recorded) = answered.recv() else { return };
        more = recorded;
    }
}
