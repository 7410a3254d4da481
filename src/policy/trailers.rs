//! Selects the request trailers that do not reach the upstream.
//!
//! Trailers are never verified, because they arrive after the decision. An upstream that merges them into the headers (RFC 9110,
//! section 6.5.1, forbids it for most) would treat them as headers that Callgate has verified.

use crate::allowlist::Binding;
use crate::policy::{Endpoint, Signatures};
use crate::request::head::{OVERRIDE_HEADERS, WITHOUT_LOOKALIKES};
use crate::request::headers::{folded_name, name_begins_like};
use crate::text::sort;

/// Headers that frame, route or authenticate a request and have no [lookalikes](WITHOUT_LOOKALIKES).
const FRAMING: [&str; 8] = ["authorization", "connection", "dpop", "expect", "host", "te", "trailer", "upgrade"];

/// The names in [`WITHOUT_LOOKALIKES`] that are allowed in trailers if no agent signs requests: a digest of the sent content (RFC
/// 9530, section 2).
const SIGNED: [&str; 4] = ["content-digest", "signature", "signature-agent", "signature-input"];

/// The names of trailers that are removed.
#[derive(Debug)]
pub(crate) struct RemovedTrailers {
    /// Names in their comparable form, sorted and without duplicates.
    names: Vec<Box<[u8]>>,
}

impl RemovedTrailers {
    /// Collects the trailers that look like headers which frame, route or authenticate the request or override its method or
    /// path. It adds those that the policy names for such a purpose, those that any endpoint binds and, if agents sign requests, those
    /// that a signature covers.
    pub(crate) fn new<'n>(
        named: impl Iterator<Item = &'n str>,
        endpoints: &'n [Endpoint],
        signatures: &'n Signatures,
        agents_sign: bool,
        api_key_header: Option<&'n str>,
    ) -> Self {
        let unsigned = WITHOUT_LOOKALIKES.into_iter().filter(|name| !SIGNED.contains(name));
        let bound = endpoints.iter().flat_map(|endpoint| &endpoint.bindings).filter_map(Binding::header);
        let signed = SIGNED.into_iter().chain(signatures.covered_headers()).filter(|_| agents_sign);
        let all = FRAMING
            .into_iter()
            .chain(unsigned)
            .chain(OVERRIDE_HEADERS)
            .chain(named)
            .chain(bound)
            .chain(signed)
            .chain(api_key_header);
        Self::of(all)
    }

    pub(crate) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut names: Vec<Box<[u8]>> = names.map(|name| folded_name(name.as_bytes()).collect()).collect();
        sort::sort(&mut names);
        names.dedup();
        Self { names }
    }

    /// Reports whether a trailer of this name is removed: in any spelling of a listed name, and always with the prefix of
    /// Callgate's own headers.
    pub(crate) fn contains(&self, name: &[u8], prefix: &str) -> bool {
        name_begins_like(name, prefix)
            || self.names.binary_search_by(|own| own.iter().copied().cmp(folded_name(name))).is_ok()
    }
}

#[cfg(test)]
#[path = "trailers_tests.rs"]
mod tests;
