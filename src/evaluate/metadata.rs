//! Recognizes requests for the metadata of a resource (RFC 9728), which Callgate answers itself.

use super::{Denied, Evaluation};
use crate::decision::evidence::MetadataRequested;
use crate::decision::trace::Check;
use crate::decision::{Facts, Published, Rule};

impl<'a> Evaluation<'a, '_> {
    /// Returns what the policy publishes at the place of the request: for a `GET` or `HEAD` without a body, and for a CORS preflight
    /// request. No credential is needed or read. Every other request continues, and no endpoint has that place.
    ///
    /// A request that a check denied in observation continues as well, and is forwarded as it was received.
    pub(super) fn metadata(&mut self) -> Result<Option<Published<'a>>, Denied> {
        let Facts { policy, head, request, method: Some(method), host: Some(host), path: Some(path), denials, .. } =
            &*self.facts
        else {
            return Ok(None);
        };
        let Some(metadata) = policy.resources.metadata_at(host, path).filter(|_| denials.is_empty()) else {
            return Ok(None);
        };
        let preflight = self.has_form_of_preflight();
        let reads = matches!(method.as_str(), "GET" | "HEAD") && request.end_of_stream && head.upgrade.count == 0;
        if !reads && !preflight {
            return Ok(None);
        }
        let published = Published::by(MetadataRequested::assertion(), metadata, preflight);
        self.record_check(Check::Metadata, Rule::Policy("metadata"), Ok(published), |published| {
            vec![("url", published.url().to_owned())]
        })
    }
}
