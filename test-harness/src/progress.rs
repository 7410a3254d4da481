//! Shows the progress of long-running work.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub use callgate_testbed::progress::during;

/// Runs work several times and shows how often it has run: a bar on a terminal, a line for each run in logs.
///
/// # Errors
/// The first error of the work.
pub fn times<E>(what: &'static str, times: usize, mut work: impl FnMut(usize) -> Result<(), E>) -> Result<(), E> {
    if !std::io::stderr().is_terminal() {
        return (0..times).try_for_each(|time| {
            eprintln!("{what} {} of {times} ...", time + 1);
            work(time)
        });
    }
    let bar = ProgressBar::new(times as u64).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} ({elapsed}, {eta} left)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = (0..times).try_for_each(|time| work(time).inspect(|()| bar.inc(1)));
    bar.finish_and_clear();
    result
}
