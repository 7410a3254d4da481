//! What the responses of servers with key sets contain, and why a response is not used.

use std::fmt;

use super::document_work::Step;
use crate::fetch::{Source, Target, Url};
use crate::identity::token::{DocumentFault, FetchedSet, key_set_url};
use crate::policy::{DocumentKind, FetchedDocument};

/// Why a response is not used.
pub(super) enum FetchFault {
    Status(u16),
    Document(DocumentFault),
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(304) => f.write_str(
                "the response has status 304, but the request had no condition, or one with another entity tag; expected 200",
            ),
            Self::Status(status @ 300..400) => {
                write!(f, "the response has status {status}; redirects are not followed, so write the final URL")
            }
            Self::Status(status) => write!(f, "the response has status {status}; expected 200"),
            Self::Document(fault) => write!(f, "the document is not used: {fault}"),
        }
    }
}

/// What a response contains.
pub(super) enum Read {
    /// The key set.
    Set(FetchedSet),
    /// The metadata, which names the key set.
    Next(Target),
}

/// Reads a response.
pub(super) fn read(document: &FetchedDocument, step: Step, body: &[u8]) -> Result<Read, DocumentFault> {
    match (step, &document.kind) {
        (Step::Metadata, DocumentKind::Metadata { issuer, key_hosts }) => {
            let url = key_set_url(body, issuer)?;
            next(&document.source, key_hosts, &url).map(Read::Next).ok_or(DocumentFault::KeyHost(url))
        }
        _ => FetchedSet::parse(body).map(Read::Set),
    }
}

/// Returns the request for the key set that an issuer's metadata names. The issuer cannot choose another server than those that the
/// policy lists.
fn next(source: &Source, key_hosts: &[(Box<str>, Box<str>)], url: &str) -> Option<Target> {
    let url = Url::parse(url).filter(|url| url.scheme == source.target.scheme)?;
    let (_, upstream) = key_hosts.iter().find(|(host, _)| **host == *url.authority)?;
    Some(Target {
        upstream: upstream.clone(),
        scheme: url.scheme,
        authority: url.authority.into(),
        path: url.path.into(),
        authorization: None,
    })
}
