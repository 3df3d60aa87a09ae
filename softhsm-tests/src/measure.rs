//! Times of small things: medians over rounds. Asserts nothing.

use std::time::Instant;

/// Nanoseconds of one call: median of the rounds, least and most.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "nanoseconds of a benchmark need no more than 52 bits"
)]
pub fn sample(rounds: usize, each: usize, mut call: impl FnMut()) -> (f64, f64, f64) {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            (0..each).for_each(|_| call());
            begun.elapsed().as_nanos() as f64 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[rounds / 2], times[0], times[rounds - 1])
}
