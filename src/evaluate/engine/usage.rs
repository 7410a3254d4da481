//! What a worker uses and holds under a policy, for the metrics.
//!
//! Nothing in this module changes the state of an engine.

#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
use std::time::Duration;

use super::Engine;
use crate::identity::token::CacheUsage;
use crate::quota::held::HeldBytes;

impl Engine {
    /// Returns usage statistics of the token cache. `None` while a request is being decided.
    #[must_use]
    pub fn token_usage(&self) -> Option<CacheUsage> {
        self.tokens.try_borrow().ok().map(|tokens| tokens.usage())
    }

    /// Returns the age of the oldest fetched document that this worker uses.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn document_age(&self) -> Duration {
        let documents = self.documents.as_ref().and_then(|documents| documents.try_borrow().ok());
        let now = self.services.clock.monotonic();
        documents.zip(now.ok()).map_or(Duration::ZERO, |(documents, now)| documents.oldest(now))
    }

    /// Returns the age of the list of revoked credentials that this worker uses.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn list_age(&self) -> Duration {
        let documents = self.documents.as_ref().and_then(|documents| documents.try_borrow().ok());
        let now = self.services.clock.monotonic();
        documents.zip(now.ok()).map_or(Duration::ZERO, |(documents, now)| documents.list_age(now))
    }

    /// Returns the number of requests of this worker that wait for documents.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn waiting_requests(&self) -> u32 {
        self.services.waiting.total()
    }

    /// Returns the number of bytes that this worker holds for requests and answers.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.services.held.as_ref().map_or(0, HeldBytes::total)
    }
}
