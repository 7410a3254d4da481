//! The engine of Callgate: it takes a request and the time, and returns a decision.
//!
//! It has no clock, no network, no globals and writes no log. What it needs from its host comes in as a value or through a
//! small trait, so that the same code decides in a gateway, in a test and on the command line. A decision is made in
//! [`evaluate()`], whose body is the order of the checks.
//!
//! ```
//! use callgate::crypto::SoftwareVerifier;
//! use callgate::token::{SecretLookup, Secrets, TokenCache};
//! use callgate::{Call, Context, Decision, DecisionId, Headers, Policy, Reason, Recent, Step, Timestamp, evaluate};
//!
//! struct NoSecrets;
//! impl Secrets for NoSecrets {
//!     fn resolve(&self, _: &str) -> SecretLookup {
//!         SecretLookup::Missing
//!     }
//! }
//!
//! let policy = br#"{
//!     "callgate": "v1", "name": "docs", "mode": "enforce", "gateway": "envoy",
//!     "resource": "https://api.example.com", "hosts": ["api.example.com"],
//!     "issuers": {}, "agents": {},
//!     "endpoints": [{ "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public" }],
//!     "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": true } }
//! }"#;
//! let policy = Policy::from_json(policy, &NoSecrets).expect("the policy compiles").policy;
//! let mut cache = TokenCache::default();
//! let mut decide = |path: &str| {
//!     let headers: Headers = [(":method", "GET"), (":path", path), (":authority", "api.example.com")].into_iter().collect();
//!     let now = Timestamp::from_secs(1_800_000_000);
//!     let call = Call { headers: &headers, end_of_stream: true, source: None, now, id: DecisionId(1) };
//!     let (verifier, recent) = (&SoftwareVerifier, &Recent::default());
//!     let context = Context { verifier, cache: &mut cache, recent, shared: None, held: None, trace: None };
//!     match evaluate(&policy, call, context) {
//!         Step::Decided(Decision::Allow(_)) => None,
//!         Step::Decided(Decision::Deny(deny)) => Some(deny.reason()),
//!         Step::Hold(_) | Step::Late(_) => unreachable!("this policy asks for no signatures"),
//!     }
//! };
//! assert_eq!(decide("/health"), None);
//! assert_eq!(decide("/admin"), Some(Reason::CredentialsMissing));
//! ```

mod answer;
mod authorize;
mod call;
#[cfg(any(feature = "conformance", not(target_arch = "wasm32")))]
#[doc(hidden)]
pub mod conformance;
mod credential;
pub mod crypto;
mod decision;
pub mod digest;
mod dpop;
pub mod endpoint;
mod evaluate;
#[cfg(target_arch = "wasm32")]
mod filter;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod head;
pub mod headers;
mod held;
mod limit;
pub mod metrics;
pub mod policy;
mod reason;
mod record;
mod replay;
pub mod request;
mod shared;
pub mod signature;
pub mod state;
pub mod time;
pub mod token;
mod trace;
mod trailers;
mod upstream;
mod words;

pub use answer::{Answer, DPOP_NONCE, grpc_status};
pub use call::{Call, DecisionId, Source};
pub use decision::{Allow, Caller, Decision, Denial, Deny, Facts, Grant, Rule, Step};
pub use evaluate::{Context, Hold, Late, Wait, evaluate};
pub use head::OVERRIDE_HEADERS;
pub use headers::Headers;
pub use held::HeldBytes;
pub use limit::{Clock, RATE_LIMIT_HEADERS, Recent, Shared, Standings, Use};
pub use policy::Policy;
pub use reason::{Challenge, Reason, Row};
pub use record::{Ended, Ending, Outcome, Record};
pub use replay::Table as ReplayTable;
pub use shared::{OpenedState, PolicyState};
pub use time::Timestamp;
pub use trace::{Check, Trace, Traced};
pub use upstream::Change;
