//! Points in time for the engine. This module has no clock: the time comes with the request.

use std::time::Duration;

/// A point in time, in nanoseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates a timestamp from nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Creates a timestamp from whole seconds since the epoch. Times after the maximum, in the year 2554, become the maximum.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns the nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Returns the time after `span`, at most the maximum.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the time before `span`, at least the epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_saturate_instead_of_wrapping() {
        assert_eq!(Timestamp::from_secs(u64::MAX).as_nanos(), u64::MAX);
        assert_eq!(Timestamp::from_secs(5).minus(Duration::from_secs(6)).as_nanos(), 0);
        assert_eq!(Timestamp::from_nanos(u64::MAX).plus(Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(Timestamp::from_secs(5).plus(Duration::from_secs(1)), Timestamp::from_secs(6));
    }
}
