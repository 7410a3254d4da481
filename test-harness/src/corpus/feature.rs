//! The features that a gateway may lack, with their names in the portability table.

use std::fmt;

/// A feature that a gateway may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// The rejection of targets that name a host. The gateway's server passes only their path to the filter.
    AbsoluteTargets,
    /// Requests that wait while keys are fetched.
    AwaitedKeys,
    /// Bodies that are checked.
    Bodies,
    /// Client certificates, as credentials and as what tokens are bound to.
    Certificates,
    /// Signed bodies without a declared length.
    Chunked,
    /// Bindings of parts of JSON bodies.
    Content,
    /// Headers whose names the gateway's server drops.
    DroppedNames,
    /// Keys of issuers that the gate fetches.
    FetchedKeys,
    /// gRPC statuses in responses to gRPC clients.
    Grpc,
    /// The canonical host in the forwarded request.
    Hosts,
    /// No part of a request is forwarded before its body is checked.
    HeldHeads,
    /// Limits that count requests over all workers.
    Limits,
    /// The operations of MCP and JSON-RPC, which messages name in their bodies.
    Operations,
    /// Proofs of possession, each accepted once.
    Proofs,
    /// Records that are completed when the request has ended.
    Outcomes,
    /// Records of malformed requests, which the gateway's server answers itself.
    OwnAnswers,
    /// Lists of revoked credentials that the gate fetches.
    RevocationLists,
    /// Signatures, each accepted once.
    Signatures,
    /// Bodies that are forwarded as they arrive.
    Streams,
    /// Knowing whether a body follows when the headers do not declare one.
    Unannounced,
}

impl Feature {
    /// Returns the feature that is lost when the field at this place is removed or, if `absent`, when the field has to be added.
    pub(super) fn of(place: &str, absent: bool) -> Option<Self> {
        // A JSON pointer may contain dots.
        if place.contains(".bind[\"body.") {
            return Some(Self::Content);
        }
        let first = place.split(['.', '[']).next()?;
        let last = place.rsplit('.').next()?.split('[').next()?;
        match (first, last) {
            ("limits" | "auth_failure_limit", _) | (_, "limits" | "cost" | "lifecycle_limits") => Some(Self::Limits),
            ("endpoints", "rpc") => Some(Self::Operations),
            ("tls", _) | ("agents", "certificate" | "spiffe") => Some(Self::Certificates),
            ("dpop", _) | (_, "token") => Some(Self::Proofs),
            ("revocations", _) => Some(Self::RevocationLists),
            ("audit", "outcome") => Some(Self::Outcomes),
            ("signatures" | "web_bot_auth" | "body_check" | "max_body" | "held_bodies", _)
            | (_, "signature" | "authenticate" | "replay" | "signing_keys") => Some(Self::Signatures),
            ("endpoints", "max_json") => Some(Self::Content),
            ("endpoints", "body") if absent => Some(Self::Bodies),
            ("endpoints", "body") => Some(Self::Streams),
            _ => None,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AbsoluteTargets => "the rejection of targets that name a host",
            Self::AwaitedKeys => "requests that wait for keys",
            Self::Bodies => "signed bodies",
            Self::Certificates => "client certificates",
            Self::Chunked => "signed bodies in chunks",
            Self::Content => "JSON bodies that decide",
            Self::DroppedNames => "headers whose names nginx drops",
            Self::FetchedKeys => "keys that are fetched",
            Self::Grpc => "gRPC statuses",
            Self::Hosts => "the canonical host for the upstream",
            Self::HeldHeads => "headers that wait for the body",
            Self::Limits => "limits",
            Self::Operations => "operations of MCP and JSON-RPC",
            Self::Proofs => "proofs of possession",
            Self::OwnAnswers => "records of malformed requests, which nginx answers",
            Self::Outcomes => "outcomes in records",
            Self::RevocationLists => "lists of revoked credentials",
            Self::Signatures => "request signatures",
            Self::Streams => "streamed bodies",
            Self::Unannounced => "bodies without an announced length",
        })
    }
}
