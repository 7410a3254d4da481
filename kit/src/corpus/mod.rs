//! Decision cases: what a policy decides about requests, written down as data.
//!
//! The same files run here against the engine, under a wasm host and through a real gateway, so nothing in here decides
//! anything: it reads files, mints what a case describes, and compares what an engine did with what the case expects.

mod bytes;
mod call;
mod derive;
mod fixtures;
mod format;
mod judge;
mod load;
mod merge;
mod moment;
mod reader;
mod report;
mod request;
pub mod run;
mod signature;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;

use callgate::text::time::Timestamp;
use serde_json::Value;

pub use call::Call;
pub use format::Decision;
pub use judge::{End, Seen, differences};
pub use load::{find, load};
pub use moment::Offset;
pub use report::{Differing, Report, test};

use crate::diagnostic::Position;
use signature::Signing;
use token::Recipe;

/// A file of cases, ready to be run.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The file as the user named it.
    pub file: String,
    /// The policy, and after it those that differ from it.
    pub policies: Vec<Policy>,
    /// Environment variables that the policies take secrets from.
    pub environment: BTreeMap<String, String>,
    /// The moment at which every case begins, where the engine's clock can be set.
    pub now: Timestamp,
    /// The cases, in the order of the file.
    pub cases: Vec<Case>,
}

/// A policy of a suite.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The variant's name; none for the file's own policy.
    pub name: Option<String>,
    /// The document.
    pub document: Value,
    /// The file that it, or what it differs from, stands in; none where it stands in the file of cases.
    pub origin: Option<PathBuf>,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Tells it apart from the others of its suite.
    pub name: String,
    /// What it shows.
    pub intent: String,
    /// Where it stands.
    pub position: Position,
    /// The policy that decides, by its position in the suite.
    pub policy: usize,
    /// When the request comes, seen from `now`.
    pub at: Offset,
    /// Cases of the suite whose requests come first, by their positions.
    pub before: Vec<usize>,
    /// Why it cannot be run in a real Envoy.
    pub skip_envoy: Option<String>,
    /// The case from which it differs in one thing.
    pub from: Option<usize>,
    request: request::Request,
    token: Option<Recipe>,
    proof: Option<Recipe>,
    signing: Signing,
    expect: format::Expect,
}

impl Case {
    /// The request, with token and proof minted and signatures made for this `now`. The same case gives the same proof.
    #[must_use]
    pub fn call(&self, now: Timestamp) -> Call {
        let Self { request, token, proof, signing, name, .. } = self;
        Call::new(request, token.as_ref(), proof.as_ref(), signing, name, now)
    }

    /// Whether it needs a clock that can be moved.
    #[must_use]
    pub fn moves_the_clock(&self) -> bool {
        self.at.moves_the_clock() || self.request.body.is_slow()
    }

    /// What the case expects to be decided.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.expect.decision
    }

    /// Expects the status that `status_of` gives for the reason, where the case denies a request and states no status itself.
    pub fn expect_status(&mut self, status_of: impl FnOnce(&str) -> Option<u16>) {
        if self.expect.decision == Decision::Deny && !self.is_answered_as_grpc() {
            let stated = self.expect.reason.as_deref().and_then(status_of);
            self.expect.status = self.expect.status.or(stated);
        }
    }

    /// Whether it expects an answer for a gRPC client.
    #[must_use]
    pub fn is_answered_as_grpc(&self) -> bool {
        self.expect.headers.contains_key("grpc-status")
    }

    /// The codes of the reasons that it expects to deny, or to have denied under observation.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let denied = self.expect.reason.iter().filter(|_| self.expect.decision == Decision::Deny);
        denied.chain(&self.expect.would_deny).map(String::as_str)
    }
}
