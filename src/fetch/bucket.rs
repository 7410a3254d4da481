//! How many fetches requests may cause.

use std::time::Duration;

use crate::text::monotonic::Monotonic;

/// The number of fetches that requests may cause in a row.
const BURST: u32 = 4;
/// How long it takes until requests may cause one more.
const PERIOD: Duration = Duration::from_secs(30);

/// A bucket of fetches, as its theoretical arrival time (GCRA): the time at which the bucket is full again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket(pub(super) Monotonic);

impl Bucket {
    /// Takes one fetch out of the bucket.
    ///
    /// # Errors
    /// The time until there is one, if the bucket is empty.
    pub(super) fn take(&mut self, now: Monotonic) -> Result<(), Duration> {
        let next = self.0.max(now).plus(PERIOD);
        let room = PERIOD * BURST;
        match next.since(now).checked_sub(room) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.0 = next;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_allows_four_fetches_and_then_one_every_thirty_seconds() {
        let mut bucket = Bucket::default();
        let mut taken = Vec::new();
        for second in 0..=120 {
            let now = Monotonic::from_millis(1_000_000 + second * 1_000);
            while bucket.take(now).is_ok() {
                taken.push(second);
            }
        }
        assert_eq!(taken, [0, 0, 0, 0, 30, 60, 90, 120]);
    }

    #[test]
    fn an_empty_bucket_reports_the_wait() {
        let mut bucket = Bucket::default();
        let now = Monotonic::from_millis(5_000_000);
        for _ in 0..BURST {
            bucket.take(now).unwrap();
        }
        assert_eq!(bucket.take(now), Err(PERIOD));
        assert_eq!(bucket.take(now.plus(Duration::from_secs(20))), Err(Duration::from_secs(10)));
        assert_eq!(bucket.take(now.plus(PERIOD)), Ok(()));
    }
}
