//! Checks that `unregistered: allow` is not combined with issuers whose tokens must belong to registered agents.

use crate::document;
use crate::document::{Audience, Findings, Place, Tenants, Unregistered};

pub(super) fn check(document: &document::Document, findings: &mut Findings) {
    if document.unregistered != Unregistered::Allow {
        return;
    }
    for (name, issuer) in &document.issuers {
        let place = Place::root().field("issuers").field(name);
        if issuer.audience == Some(Audience::Absent) {
            findings.error(
                place.field("audience"),
                "with `unregistered: allow`, any client of this issuer could send requests, whatever API its token is for; register the \
                 agents, and remove `unregistered`",
            );
        }
        if issuer.tenants == Some(Tenants::Any) {
            findings.error(
                place.field("tenants"),
                "with `unregistered: allow`, any client of any tenant could send requests; list the tenants, or register the agents and \
                 remove `unregistered`",
            );
        }
    }
}
