//! The engine of Callgate: it takes a request and the time, and returns a decision.
//!
//! It has no clock, network access or globals, and writes no log. The host provides everything it needs as a value or through a small
//! trait, so the same code makes decisions in a gateway, in a test and on the command line. An [`Engine`] is an active policy in one
//! worker.
//!
//! ```
//! use callgate::{Decision, DecisionId, Engine, Headers, Outcome, Policy, Reason, Request, SecretLookup, Services, Timestamp};
//!
//! let policy = br#"{
//!     "callgate": "v1", "name": "docs", "mode": "enforce", "gateway": "envoy",
//!     "resource": "https://api.example.com", "hosts": ["api.example.com"],
//!     "issuers": {}, "agents": {},
//!     "endpoints": [{ "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public" }],
//!     "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": true } }
//! }"#;
//! let policy = Policy::from_json(policy, &|_: &str| SecretLookup::Missing).expect("the policy compiles").policy;
//! let now = Timestamp::from_secs(1_800_000_000);
//! let engine = Engine::new(policy, Services::in_memory(now, [0; 16]));
//! let decide = |path: &str| {
//!     let headers: Headers = [(":method", "GET"), (":path", path), (":authority", "api.example.com")].into_iter().collect();
//!     let request = Request { headers: &headers, end_of_stream: true, source: None, certificate: None, now, id: DecisionId(1) };
//!     match engine.decide(request).expect("nothing is shared that could fail") {
//!         Outcome::Decided(Decision::Allow(_) | Decision::Serve(_)) => None,
//!         Outcome::Decided(Decision::Deny(deny)) => Some(deny.reason()),
//!         Outcome::Pending(_) => unreachable!("this policy asks for no signatures"),
//!     }
//! };
//! assert_eq!(decide("/health"), None);
//! assert_eq!(decide("/admin"), Some(Reason::CredentialsMissing));
//! ```

#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod conformance;
#[cfg(all(any(test, feature = "testing"), not(target_arch = "wasm32")))]
#[doc(hidden)]
pub mod fuzzing;

// The top-level modules, from the adapters down to plain text. Each imports only from modules below it, which the test
// `rooms_import_downward` checks: host, evaluate, decision, response, policy, quota, replay, allowlist, identity, fetch, request, state, document,
// reason, text.
pub mod allowlist;
pub mod decision;
mod evaluate;
mod fetch;
#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
pub mod host;
pub mod identity;
pub mod policy;
mod quota;
mod reason;
mod replay;
pub mod request;
#[cfg_attr(
    not(any(test, target_arch = "wasm32", feature = "testing", feature = "adapter")),
    expect(dead_code, reason = "only adapters and fuzz targets filter answers")
)]
mod response;
pub mod state;
#[cfg(test)]
mod testing;
pub mod text;

pub use callgate_document as document;
pub use decision::answer::{Answer, DPOP_NONCE, grpc_status};
pub use decision::record::{Completion, Ended, Ending, Record};
pub use decision::trace::{Check, Trace, Traced};
pub use decision::upstream::Change;
pub use decision::{Allow, Caller, Decision, Denial, Deny, Facts, Ground, Rule, Serve};
pub use evaluate::shared::OtherSizes;
pub use evaluate::{
    Awaits, CallId, CallResult, DocumentCall, DocumentEvent, DocumentWork, Engine, Need, Outcome, Pending, Recheck,
    Services, Undecided,
};
pub use identity::token::{SecretLookup, Secrets};
pub use policy::Policy;
pub use quota::held::HeldBytes;
pub use quota::{LimitStatuses, RATE_LIMIT_HEADERS, WaitingRequests};
pub use reason::{AGENT_REFUSED, Challenge, Reason, Row};
pub use request::certificate::ClientCertificate;
pub use request::head::OVERRIDE_HEADERS;
pub use request::headers::Headers;
pub use request::incoming::{DecisionId, Request, Source};
pub use response::pin::{Pin, PinError};
pub use state::{Clock, StoreStats};
pub use text::time::Timestamp;
