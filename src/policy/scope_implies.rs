//! Checks that the policy can use the scopes in `scope_implies`.

use crate::document;
use crate::document::names::did_you_mean;
use crate::document::{Findings, Place};
use crate::identity::token::ImpliedScopes;
use crate::text::sort;

pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> ImpliedScopes {
    let implied = ImpliedScopes::compile(&document.scope_implies, findings);
    if document.scope_implies.is_empty() {
        return implied;
    }
    let of_effects = document.requirements.values().filter_map(|requirement| requirement.scopes.as_ref());
    let of_endpoints = document.endpoints.iter().filter_map(|endpoint| endpoint.scopes.as_ref());
    let rpcs = document.endpoints.iter().filter_map(|endpoint| endpoint.rpc.as_deref());
    let of_operations = rpcs.flat_map(|rpc| rpc.operations()).filter_map(|operation| operation.scopes);
    let asked = of_effects.chain(of_endpoints).chain(of_operations);
    let required = sort::set(asked.flat_map(|asked| asked.all.iter().chain(&asked.any)).map(String::as_str));
    for (scope, included) in &document.scope_implies {
        let place = Place::root().field("scope_implies").field(scope);
        for (index, included) in included.iter().enumerate() {
            // A scope that is not required itself may include one that is. Any issuer may grant the including scope.
            let is_used = required.contains(included.as_str()) || document.scope_implies.contains_key(included);
            if !is_used {
                findings.error(
                    place.index(index),
                    format!(
                        "nothing in the policy requires the scope `{}`; {}",
                        included.escape_debug(),
                        did_you_mean(included, required.iter().copied(), "remove it, or require it in an endpoint")
                    ),
                );
            }
        }
    }
    implied
}
