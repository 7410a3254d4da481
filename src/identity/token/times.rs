//! The times in a token's claims: reads them, and checks them against the time of a request.
//!
//! The limit on a token's lifetime belongs to its issuer and is checked in `verify`. No code in this module reads a clock.

use std::time::Duration;

use serde_json::Value;

use crate::reason::Reason;
use crate::text::time::Timestamp;

/// The times of a token. They are read once and checked at each use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// `None` for a JWT-SVID without `iat`.
    pub(super) issued: Option<Timestamp>,
    not_before: Option<Timestamp>,
    pub(super) expires: Timestamp,
}

impl Times {
    /// Reads the times. `iat` is optional only for JWT-SVIDs.
    pub(super) fn read(claims: &Value, needs_iat: bool) -> Result<Self, Reason> {
        let time = |name: &str| claims.get(name).map(|value| numeric_date(value).ok_or(Reason::TokenTime)).transpose();
        let issued = time("iat")?;
        // Without `iat` the token's lifetime, which every issuer limits, is unknown.
        if needs_iat && issued.is_none() {
            return Err(Reason::TokenClaim);
        }
        let not_before = time("nbf")?;
        let expires = time("exp")?.ok_or(Reason::TokenClaim)?;
        // The token is never valid, but clock skew would create a time at which it is accepted.
        if issued.is_some_and(|issued| expires <= issued) || not_before.is_some_and(|not_before| not_before >= expires)
        {
            return Err(Reason::TokenTime);
        }
        Ok(Self { issued, not_before, expires })
    }

    pub(super) fn judge(self, now: Timestamp, skew: Duration) -> Result<(), Reason> {
        let latest = now.plus(skew);
        if self.issued.is_some_and(|issued| issued > latest) {
            return Err(Reason::TokenTime);
        }
        if now >= self.expires.plus(skew) {
            return Err(Reason::TokenExpired);
        }
        if self.not_before.is_some_and(|not_before| not_before > latest) {
            return Err(Reason::TokenNotYetValid);
        }
        Ok(())
    }

    /// Returns the lifetime, or the rest of it from now if it is not known when the token was issued.
    pub(super) fn lifetime(self, now: Timestamp) -> Duration {
        let from = self.issued.unwrap_or(now);
        Duration::from_nanos(self.expires.as_nanos().saturating_sub(from.as_nanos()))
    }

    /// Returns whether the token is valid for longer than this. A token without the time of its issue may expire as much later as its
    /// issuer's clock may be ahead.
    pub(super) fn exceed(self, longest: Duration, now: Timestamp, skew: Duration) -> bool {
        self.lifetime(if self.issued.is_some() { now } else { now.plus(skew) }) > longest
    }
}

/// Reads a `NumericDate` (RFC 7519, section 2): seconds, possibly with a fraction. Negative values, and values after the year 2554, which
/// [`Timestamp`] cannot represent, are rejected.
pub(crate) fn numeric_date(value: &Value) -> Option<Timestamp> {
    const NANOS: u64 = 1_000_000_000;
    if let Some(seconds) = value.as_u64() {
        return seconds.checked_mul(NANOS).map(Timestamp::from_nanos);
    }
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    // The fraction is converted separately to keep the whole seconds exact. Casts saturate.
    let (whole, fraction) = (seconds.trunc() as u64, (seconds.fract() * 1e9) as u64);
    whole.checked_mul(NANOS)?.checked_add(fraction).map(Timestamp::from_nanos)
}
