//! Checks that no agent is hidden by another one.

use super::Agents;
use crate::document::{Findings, Place};

impl Agents {
    /// Rejects an agent that is identified by several values if another agent is identified by one of them alone. The first agent would
    /// never be the only match.
    pub(super) fn check_reachable(&self, place: &Place, findings: &mut Findings) {
        let tenants = self.by_issuer.values().flat_map(|issuer| issuer.by_tenant.values().chain([&issuer.own]));
        for index in tenants {
            for (client, by_client) in &index.by_client {
                for narrower in by_client.by_subject.values() {
                    let by = format!("every subject of client `{}`; add a subject", client.escape_debug());
                    self.check_wider(by_client.any_subject, *narrower, &by, place, findings);
                }
            }
            for narrower in index.by_claims.iter() {
                let by_client = narrower.client().and_then(|client| index.by_client.get(client));
                let with_subject = by_client.zip(narrower.subject()).and_then(|(found, own)| found.by_subject.get(own));
                let by_subject = narrower.subject().and_then(|subject| index.by_subject.get(subject));
                let any_subject = by_client.and_then(|found| found.any_subject);
                for wider in [any_subject, with_subject.copied(), by_subject.copied()] {
                    let by = "tokens without these claims too; add claims";
                    self.check_wider(wider, narrower.agent, by, place, findings);
                }
            }
        }
    }

    fn check_wider(&self, wider: Option<u32>, narrower: u32, accepts: &str, place: &Place, findings: &mut Findings) {
        let Some((wider, narrower)) = wider.and_then(|wider| self.get(wider)).zip(self.get(narrower)) else { return };
        findings.error(
            place.field(&narrower.name).field("identity"),
            format!(
                "a token that matches this also matches agent `{}`, which accepts {accepts} to that agent too",
                wider.name
            ),
        );
    }
}
