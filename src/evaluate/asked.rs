//! When requests that cannot wait first asked for newer keys.

use std::time::Duration;

use crate::identity::crypto::{first, sha256};
use crate::text::monotonic::Monotonic;

/// The maximum number of tokens that are remembered.
const MOST: usize = 64;
/// How long a token is remembered. A client that repeats its request after `Retry-After` does so earlier: after failed fetches, it waits up to
/// five minutes.
const KEPT: Duration = Duration::from_mins(6);

/// The tokens of recent requests that needed newer keys and could not wait, each with the time of its first request. A client repeats
/// such a request with the same token, and a fetch that started after the first one answers it.
///
/// The whole token counts instead of its `kid`: otherwise, anyone could send tokens with the `kid` that an issuer will use next, and the
/// first token with the new key would be rejected.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<([u8; 16], Monotonic)>);

impl Asked {
    /// Returns when the first of the recent requests with this token arrived. If too many other tokens are remembered, that is `now`. No
    /// fetch started later, so the client is asked to repeat the request.
    pub(super) fn first(&mut self, token: &[u8], now: Monotonic) -> Monotonic {
        self.0.retain(|(_, arrived)| now.since(*arrived) < KEPT);
        let hash = first(sha256(token));
        if let Some((_, arrived)) = self.0.iter().find(|(known, _)| *known == hash) {
            return *arrived;
        }
        if self.0.len() < MOST {
            self.0.push((hash, now));
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn the_first_request_with_a_token_counts_for_six_minutes() {
        let mut asked = Asked::default();
        assert_eq!(asked.first(b"a", at(0)), at(0));
        assert_eq!(asked.first(b"b", at(1)), at(1));
        assert_eq!(asked.first(b"a", at(359)), at(0));
        assert_eq!(asked.first(b"a", at(360)), at(360));
        assert_eq!(asked.first(b"a", at(370)), at(360));
    }

    #[test]
    fn a_flood_of_tokens_is_not_remembered() {
        let mut asked = Asked::default();
        assert_eq!(asked.first(b"honest", at(0)), at(0));
        for number in 0..10_000_u32 {
            assert_eq!(asked.first(&number.to_le_bytes(), at(1)), at(1));
        }
        assert_eq!(asked.0.len(), MOST);
        assert_eq!(asked.first(b"honest", at(2)), at(0));
        assert_eq!(asked.first(b"late", at(2)), at(2));
        assert_eq!(asked.first(b"late", at(3)), at(3), "it can still not be rejected");
        assert_eq!(asked.first(b"late", at(361)), at(361), "the flood is forgotten");
        assert_eq!(asked.first(b"late", at(362)), at(361));
    }
}
