//! Points in time that only move forward. Ages and waits are measured with them, because the time of day can be set.

use std::time::Duration;

/// A point in time of the host's monotonic clock, in milliseconds. All workers of one host share this clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(u64);

impl Monotonic {
    /// Creates a point in time from milliseconds since the clock's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the clock's start.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time after `span`, at most the maximum.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// Returns the time since an earlier point, or zero if that point is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_wrapping() {
        let late = Monotonic::from_millis(u64::MAX);
        assert_eq!(late.plus(Duration::MAX), late);
        assert_eq!(Monotonic::default().since(late), Duration::ZERO);
        assert_eq!(late.since(Monotonic::from_millis(u64::MAX - 5)), Duration::from_millis(5));
    }
}
