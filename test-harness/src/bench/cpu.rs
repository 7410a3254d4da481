//! CPU time of threads from the kernel's scheduler, with a resolution of nanoseconds. `/proc/PID/stat` counts ticks of 10 ms.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Returns the CPU time of all threads of a process so far.
pub(super) fn of_process(process: u32) -> Result<Duration> {
    of_threads(process, |_| true)
}

/// Returns the CPU time so far of the threads of a process whose names match.
pub(super) fn of_threads(process: u32, wanted: impl Fn(&str) -> bool) -> Result<Duration> {
    let folder = format!("/proc/{process}/task");
    let mut used = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let thread = thread.with_context(|| format!("cannot read {folder}"))?.path();
        // The sum omits a thread that ends in the meantime. The threads that matter here live as long as their process.
        let Some(name) = read(&thread.join("comm"))? else { continue };
        if wanted(name.trim_end())
            && let Some(times) = read(&thread.join("schedstat"))?
        {
            let time = times.split_whitespace().next().and_then(|time| time.parse::<u64>().ok());
            used += time.with_context(|| format!("{} has no CPU time", thread.display()))?;
        }
    }
    Ok(Duration::from_nanos(used))
}

fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        // The thread ended between two reads. The file of a thread that has just ended can be opened but not read.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// `ESRCH`.
const NO_SUCH_PROCESS: i32 = 3;

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn counts_cpu_time_per_thread() {
        let spent = |name: &'static str, work: bool| {
            let thread = thread::Builder::new().name(name.to_owned());
            let run = move || {
                let before = of_threads(std::process::id(), |thread| thread == name).unwrap();
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(50) {
                    if work {
                        (0..10_000).for_each(|n| _ = black_box(n))
                    } else {
                        thread::sleep(Duration::from_millis(10))
                    }
                }
                // The kernel updates the counter of a running thread when the thread leaves its core.
                thread::sleep(Duration::from_millis(1));
                of_threads(std::process::id(), |thread| thread == name).unwrap().saturating_sub(before)
            };
            thread.spawn(run).unwrap().join().unwrap()
        };
        let (working, waiting) = (spent("working", true), spent("waiting", false));
        assert!(working > waiting * 2, "{working:?} {waiting:?}");
        assert!(of_process(std::process::id()).unwrap() > Duration::ZERO);
    }
}
