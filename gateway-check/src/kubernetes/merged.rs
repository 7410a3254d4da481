//! Checks policies that Envoy Gateway merges: a policy for a route that has `mergeType`, with the policy for the route's gateway.

use super::envoy_gateway::{is_module_gate, is_wasm_gate, targets};
use super::{Check, GATEWAY_API};
use crate::finding::Code;
use crate::view::View;
use crate::world::Object;

impl<'a> Check<'a> {
    /// Reports two policies with the gate that are merged, if one has it as a Wasm filter and the other as a dynamic module.
    pub(super) fn merged_policies(&mut self, gates: &[&Object<'a>]) {
        for inner in gates.iter().filter(|policy| policy.view.path("spec.merge_type").is_some()) {
            for outer in gates {
                if !self.merges(inner, outer) {
                    continue;
                }
                let entry = match (forms(inner), forms(outer)) {
                    ((true, None), (false, Some(entry))) | ((false, Some(entry)), (true, None)) => entry,
                    // The check of a single policy reports one that has both.
                    _ => continue,
                };
                let message = "of two policies that are merged, one has the gate as a Wasm filter and this one as a dynamic module, \
                               so each request is decided and counted twice; remove one of them, or remove `mergeType`";
                self.add(Code::BothAdapters, &entry, message);
            }
        }
    }

    /// Returns whether the policy for a route is merged with another policy, which is for the route's gateway. A selector may select every
    /// resource of its kind, and a route that is not among the files may have any gateway.
    fn merges(&self, inner: &Object<'a>, outer: &Object<'a>) -> bool {
        let is_gateway = |target: &View<'_>| target.text("kind") == Some("Gateway");
        let is_route = |target: &View<'_>| target.text("kind").is_some_and(|kind| kind.ends_with("Route"));
        let selects_gateways = outer.view.each("spec.target_selectors").iter().any(is_gateway);
        let gateways: Vec<View<'a>> = targets(&outer.view).into_iter().filter(is_gateway).collect();
        if gateways.is_empty() && !selects_gateways {
            return false;
        }
        if inner.view.each("spec.target_selectors").iter().any(is_route) {
            return true;
        }
        targets(&inner.view).iter().filter(|target| is_route(target)).any(|target| {
            let mut known = false;
            for route in self.world.objects.iter().filter(|route| {
                route.group == GATEWAY_API
                    && Some(route.kind) == target.text("kind")
                    && Some(route.name) == target.text("name")
                    && may_equal(Some(route.namespace), Some(inner.namespace))
            }) {
                known = true;
                let is_parent = |parent: &View<'_>| {
                    let namespace = parent.text("namespace").unwrap_or(route.namespace);
                    selects_gateways
                        || may_equal(Some(namespace), Some(outer.namespace))
                            && gateways.iter().any(|gateway| {
                                parent.text("name") == gateway.text("name")
                                    && may_equal(parent.text("section_name"), gateway.text("section_name"))
                            })
                };
                if route.view.each("spec.parent_refs").iter().any(is_parent) {
                    return true;
                }
            }
            !known
        })
    }
}

/// Returns whether a policy has the gate as a Wasm filter, and its entry as a dynamic module.
fn forms<'a>(policy: &Object<'a>) -> (bool, Option<View<'a>>) {
    let wasm = policy.view.each("spec.wasm").iter().any(is_wasm_gate);
    (wasm, policy.view.each("spec.dynamic_module").into_iter().find(is_module_gate))
}

/// Returns whether two names can be equal. One that is absent can be any: the command that applies a file may set its namespace, and a policy
/// without a section is for all of them.
fn may_equal(one: Option<&str>, other: Option<&str>) -> bool {
    let [one, other] = [one, other].map(Option::unwrap_or_default);
    one.is_empty() || other.is_empty() || one == other
}
