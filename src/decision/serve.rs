//! Requests that Callgate answers itself because they ask for something that the policy publishes: the metadata of the resource.
//!
//! The answer contains no data from the request and is the same for everyone.

use crate::decision::answer::Answer;
use crate::decision::evidence::MetadataRequested;
use crate::decision::{Facts, Ground};
use crate::policy::Metadata;

/// How long clients may cache the metadata, and browsers the answer to a preflight request, in seconds.
const METADATA_MAX_AGE: u32 = 300;

/// A request that Callgate answers itself, because it asks for something that the policy publishes.
#[derive(Debug)]
pub struct Serve<'a> {
    pub(crate) facts: Box<Facts<'a>>,
    pub(crate) published: Published<'a>,
}

/// What such a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published<'a> {
    metadata: &'a Metadata,
    /// Whether the request is a CORS preflight request, which asks whether a browser may read the metadata.
    preflight: bool,
}

impl<'a> Published<'a> {
    /// Returns what is published, for a request that asks for it.
    pub(crate) fn by(_: MetadataRequested, metadata: &'a Metadata, preflight: bool) -> Self {
        Self { metadata, preflight }
    }

    /// Returns the URL at which clients read it.
    pub(crate) fn url(&self) -> &'a str {
        &self.metadata.url
    }
}

impl<'a> Serve<'a> {
    /// Returns the ground on which Callgate answers the request.
    #[must_use]
    pub fn ground(&self) -> Ground {
        Ground::Metadata
    }

    /// Returns the facts about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Returns the answer to this request. The body is that of a `GET`; a gateway sends none to a `HEAD`.
    #[must_use]
    pub fn answer(&self) -> Answer {
        // Browsers may read the metadata from any origin, because it is the same for everyone.
        let mut headers = vec![("access-control-allow-origin", "*".to_owned())];
        let (status, body) = if self.published.preflight {
            headers.extend([
                ("access-control-allow-methods", "GET, HEAD".to_owned()),
                ("access-control-allow-headers", "*".to_owned()),
                ("access-control-max-age", METADATA_MAX_AGE.to_string()),
            ]);
            (204, String::new())
        } else {
            headers.extend([
                ("cache-control", format!("public, max-age={METADATA_MAX_AGE}")),
                ("content-type", "application/json".to_owned()),
            ]);
            (200, self.published.metadata.document.to_string())
        };
        Answer { status, headers, body, grpc_status: None, details: format!("callgate_{}", self.ground().code()) }
    }
}
