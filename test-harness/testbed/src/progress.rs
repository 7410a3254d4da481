//! Reports the steps of long-running work on the standard error, each with its time.

use std::time::{Duration, Instant};

/// Runs a step of long-running work: prints what it is, and how long it took if that was noticeable.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    eprintln!("{what} ...");
    let result = work();
    let took = started.elapsed();
    if took >= Duration::from_secs(1) {
        eprintln!("{what}: {:.0} s", took.as_secs_f64());
    }
    result
}
