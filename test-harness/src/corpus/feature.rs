//! What a gateway may lack, by the names that the portability table has for it.

use std::fmt;

/// What a gateway may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// The rejection of targets that name a host, of which the gateway's server hands on the path.
    AbsoluteTargets,
    /// Bodies that are checked.
    Bodies,
    /// Signed bodies that come without their length.
    Chunked,
    /// Headers whose names the gateway's server drops.
    DroppedNames,
    /// Answers to gRPC clients in their own way.
    Grpc,
    /// The host in its canonical form for the upstream.
    Hosts,
    /// That nothing at all of a call goes on before its body was checked.
    HeldHeads,
    /// Counting calls over all workers.
    Limits,
    /// Proofs of possession, each of which is good for one call.
    Proofs,
    /// Records that are completed when the call has ended.
    Outcomes,
    /// Records of malformed requests, which the gateway's server answers itself.
    OwnAnswers,
    /// Signatures that are good for one call.
    Signatures,
    /// Bodies that go on as they come.
    Streams,
    /// To know of a body, or that there is none, where the head says nothing of it.
    Unannounced,
}

impl Feature {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Grpc, Self::HeldHeads, Self::Limits, Self::Proofs, Self::Outcomes, Self::Signatures, Self::Streams];

    /// What is lost with what stands at this place of a policy, or, where it is absent, with what has to be written there.
    pub(super) fn of(place: &str, absent: bool) -> Option<Self> {
        let first = place.split(['.', '[']).next()?;
        let last = place.rsplit('.').next()?.split('[').next()?;
        match (first, last) {
            ("limits" | "failed_credentials", _) | (_, "limits" | "cost") => Some(Self::Limits),
            ("dpop", _) | (_, "token") => Some(Self::Proofs),
            ("audit", "outcome") => Some(Self::Outcomes),
            ("signatures" | "web_bot_auth" | "late_body_check" | "max_body" | "held_bodies", _)
            | (_, "signature" | "authenticate" | "replay" | "signing_keys") => Some(Self::Signatures),
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
            Self::Bodies => "signed bodies",
            Self::Chunked => "signed bodies in chunks",
            Self::DroppedNames => "headers whose names nginx drops",
            Self::Grpc => "gRPC statuses",
            Self::Hosts => "the canonical host for the upstream",
            Self::HeldHeads => "heads that wait for their bodies",
            Self::Limits => "limits",
            Self::Proofs => "proofs of possession",
            Self::OwnAnswers => "records of malformed requests, which nginx answers itself",
            Self::Outcomes => "outcomes in records",
            Self::Signatures => "signed calls",
            Self::Streams => "bodies that stream",
            Self::Unannounced => "bodies that no header announces",
        })
    }
}
