//! Decision cases: what a policy decides about requests, written as data.
//!
//! The same files run here against the engine, in a wasm host and in a real gateway. This module therefore makes no decisions: it
//! reads files, mints the tokens and signatures that a case describes, and compares what an engine did with what the case expects.

mod bytes;
mod call;
mod certificate;
mod derive;
mod documents;
mod fixtures;
mod format;
mod judge;
mod lists;
mod load;
mod merge;
mod moment;
mod published;
mod reader;
mod report;
mod request;
mod rpc_error;
pub mod run;
mod signature;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;

use callgate::text::time::Timestamp;
use serde_json::Value;

pub use call::Call;
pub use certificate::Presented;
pub use documents::{Documents, Published};
pub use format::Decision;
pub use judge::{End, Seen, differences};
pub use load::{find, load};
pub use moment::Offset;
pub use report::{Differing, Report, test};

use crate::diagnostic::Position;
use signature::Signing;
use token::Recipe;

/// A file of cases, ready to run.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The file as the user named it.
    pub file: String,
    /// The policy, followed by its variants.
    pub policies: Vec<Policy>,
    /// Environment variables from which the policies take secrets.
    pub environment: BTreeMap<String, String>,
    /// The time at which every case begins, if the engine's clock can be set.
    pub now: Timestamp,
    /// The cases, in the order of the file.
    pub cases: Vec<Case>,
}

/// A policy of a suite.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The variant's name; `None` for the file's own policy.
    pub name: Option<String>,
    /// The document.
    pub document: Value,
    /// The file of the policy, or of the policy that this one varies; `None` if the policy is part of the file of cases.
    pub origin: Option<PathBuf>,
}

/// A decision case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name, unique in the suite.
    pub name: String,
    /// What the case shows.
    pub intent: String,
    /// The position in the file.
    pub position: Position,
    /// The policy that decides the request, as an index into the suite's policies.
    pub policy: usize,
    /// The time of the request relative to `now`.
    pub at: Offset,
    /// Cases whose requests come first, as indexes into the suite's cases.
    pub before: Vec<usize>,
    /// The documents that the gate finds when it fetches.
    pub documents: Documents,
    /// Why the case cannot run in a real Envoy.
    pub skip_envoy: Option<String>,
    /// The case from which this one differs in one thing.
    pub from: Option<usize>,
    request: request::Request,
    token: Option<Recipe>,
    proof: Option<Recipe>,
    /// The header line with the API key.
    api_key: Option<(Vec<u8>, Vec<u8>)>,
    certificate: Option<Presented>,
    signing: Signing,
    expect: format::Expect,
}

impl Case {
    /// Returns the request, with its token, proof and signatures made for this `now`. The proof of a case is always the same.
    #[must_use]
    pub fn call(&self, now: Timestamp) -> Call {
        let Self { request, token, proof, api_key, certificate, signing, name, .. } = self;
        let call = Call::new(request, token.as_ref(), proof.as_ref(), api_key.as_ref(), signing, name, now);
        Call { certificate: certificate.clone(), ..call }
    }

    /// Returns whether the case needs a clock that can be moved.
    #[must_use]
    pub fn moves_the_clock(&self) -> bool {
        self.at.moves_the_clock() || self.request.body.is_slow()
    }

    /// Returns the decision that the case expects.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.expect.decision
    }

    /// Sets the status that belongs to the reason to the one that `status_of` returns, if the case denies a request. The status of the
    /// response is derived from it, unless the case states it.
    pub fn expect_status(&mut self, status_of: impl FnOnce(&str) -> Option<u16>) {
        if self.expect.decision == Decision::Deny {
            self.expect.status_of_reason = self.expect.reason.as_deref().and_then(status_of);
        }
    }

    /// Returns whether the case expects a response for a gRPC client.
    #[must_use]
    pub fn is_answered_as_grpc(&self) -> bool {
        self.expect.headers.contains_key("grpc-status")
    }

    /// Returns the codes of the reasons that the case expects to deny the request, or to be observed as reasons to deny it.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let denied = self.expect.reason.iter().filter(|_| self.expect.decision == Decision::Deny);
        denied.chain(&self.expect.would_deny).map(String::as_str)
    }
}
