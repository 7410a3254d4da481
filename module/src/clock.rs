//! The clocks. Tests of sequences of hooks stop those of their thread, and let time pass.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

/// The start of the monotonic clock.
pub(crate) static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the monotonic time.
pub(crate) fn instant() -> Instant {
    #[cfg(any(test, feature = "testing"))]
    if let Some(passed) = stopped::PASSED.get() {
        return *START + passed;
    }
    Instant::now()
}

/// Returns the time of the day.
pub(crate) fn system() -> SystemTime {
    #[cfg(any(test, feature = "testing"))]
    if let Some(passed) = stopped::PASSED.get() {
        return SystemTime::UNIX_EPOCH + stopped::AT + passed;
    }
    SystemTime::now()
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod stopped {
    //! Clocks that do not run, and numbers that are not random.

    use std::cell::Cell;
    use std::time::Duration;

    /// When stopped clocks begin, since 1970.
    pub(crate) const AT: Duration = Duration::from_secs(1_800_000_000);

    thread_local! {
        /// The time that has passed on this thread. `None` if its clocks run.
        pub(super) static PASSED: Cell<Option<Duration>> = const { Cell::new(None) };
        /// How often random numbers were needed since the clocks were stopped.
        static FILLED: Cell<u64> = const { Cell::new(0) };
    }

    /// Fills the bytes with numbers that are the same on every run, and differ from each other. Returns false if the clocks run.
    pub(crate) fn fill(bytes: &mut [u8]) -> bool {
        if PASSED.get().is_none() {
            return false;
        }
        for part in bytes.chunks_mut(8) {
            FILLED.set(FILLED.get() + 1);
            let number = FILLED.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            part.iter_mut().zip(number).for_each(|(byte, number)| *byte = number);
        }
        true
    }

    /// The clocks of this thread, stopped until this is dropped.
    pub(crate) struct Clocks(());

    impl Clocks {
        pub(crate) fn stop() -> Self {
            PASSED.set(Some(Duration::ZERO));
            FILLED.set(0);
            Self(())
        }

        /// Lets time pass.
        pub(crate) fn pass(&self, time: Duration) {
            PASSED.set(PASSED.get().map(|passed| passed + time));
        }
    }

    impl Drop for Clocks {
        fn drop(&mut self) {
            PASSED.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clocks_stop_and_run_again() {
        let clocks = stopped::Clocks::stop();
        let (instant_before, system_before) = (instant(), system());
        assert_eq!((instant(), system()), (instant_before, system_before));
        clocks.pass(Duration::from_secs(60));
        assert_eq!(instant() - instant_before, Duration::from_secs(60));
        assert_eq!(system().duration_since(system_before).unwrap(), Duration::from_secs(60));
        drop(clocks);
        assert_ne!(instant(), instant_before + Duration::from_secs(60));
    }
}
