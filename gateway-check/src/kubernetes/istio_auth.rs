//! Checks Istio's own authentication and authorization, which run next to the gate: Istio converts `RequestAuthentication` and
//! `AuthorizationPolicy` to filters.

use super::Check;
use crate::finding::Code;
use crate::plugin::{ISTIO, Plugin};

/// The group of Istio's security resources.
const SECURITY: &str = "security.istio.io";

impl<'a> Check<'a> {
    pub(super) fn istio_auth(&mut self, plugins: &[Plugin<'a>]) {
        let gates: Vec<&Plugin<'a>> =
            plugins.iter().filter(|plugin| plugin.is_gate && plugin.object.group == ISTIO).collect();
        let first = gates.iter().any(|plugin| plugin.is_before_authentication());
        let last = gates.iter().any(|plugin| !plugin.is_before_authentication());
        for object in self.world.of_kind(SECURITY, "RequestAuthentication").cloned().collect::<Vec<_>>() {
            for rule in object.view.each("spec.jwt_rules") {
                for header in rule.each("output_claim_to_headers") {
                    if let Some(name) = header.get("header").filter(|_| first) {
                        self.header(name.value.as_str().unwrap_or_default(), &name);
                    }
                }
                if let Some(header) = rule.get("output_payload_to_header").filter(|_| first) {
                    self.header(header.value.as_str().unwrap_or_default(), &header);
                }
                let elsewhere = rule.get("from_params").is_some() || rule.get("from_cookies").is_some();
                let headers = rule.each("from_headers");
                let named = headers
                    .iter()
                    .any(|header| header.text("name").is_some_and(|name| name.eq_ignore_ascii_case("authorization")));
                let takes = named || headers.is_empty() && !elsewhere;
                if last && takes && !rule.affirms("forward_original_token") {
                    let message = "Istio removes the token before the gate, so the gate finds no credential; write \
                                   `forwardOriginalToken: true`, or give the gate `phase: AUTHN`";
                    self.add(Code::CredentialChanged, &rule, message);
                }
            }
        }
        for object in self.world.of_kind(SECURITY, "AuthorizationPolicy").cloned().collect::<Vec<_>>() {
            if let Some(action) =
                object.view.path("spec.action").filter(|_| first && object.view.is("spec.action", "CUSTOM", 3))
            {
                let message =
                    "the service of a `CUSTOM` policy can set headers after the gate; give the gate a later `phase`";
                self.add(Code::FilterAfterGate, &action, message);
            }
        }
    }
}
