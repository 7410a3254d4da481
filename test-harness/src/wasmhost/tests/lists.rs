//! The shipped filter fetches a list of revoked credentials, with the tag of the list in use as the condition.

use std::time::Duration;

use super::HostProfile::{Envoy, Istio, Kong};
use super::*;
use crate::wasmhost::SharedData;

/// The `refresh` of the list, which is the default.
const REFRESH: Duration = Duration::from_secs(10);
const ENVIRONMENT: (&str, &str) = ("tables", "a secret of thirty-two bytes, or more");

/// Returns a policy with a list at a URL.
fn fetching(profile: HostProfile) -> Value {
    let location = if profile == Kong { ("address", "r.example.com:443") } else { ("cluster", "r") };
    let remote = json!({ "url": "https://r.example.com/list", (location.0): location.1 });
    let mut policy = policy_with(json!({
        "revocations": { "remote": remote, "trusted": true, "on_stale": "deny", "stale_after": "1m" },
        "tables": { "key": { "env": "tables" } },
    }));
    policy["gateway"] = json!(profile.quirks().gateway);
    policy
}

fn start_sharing(profile: HostProfile, shared: &SharedData) -> Vm {
    let environment = [(ENVIRONMENT.0.to_owned(), ENVIRONMENT.1.to_owned())];
    let policy = fetching(profile).to_string();
    let mut vm = Vm::start_beside(&MODULE.under(profile), policy.as_bytes(), &environment, shared).unwrap();
    vm.add_cluster("r");
    vm.set_clock(NOW * 1_000_000_000);
    vm
}

fn list(entries: &Value) -> Vec<u8> {
    json!({ "iat": NOW, "exp": NOW + 600, "entries": entries }).to_string().into_bytes()
}

/// Lets the filter fetch the list. Returns the condition of the request.
fn fetch(vm: &mut Vm, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Option<String> {
    assert_eq!(vm.tick(vm.first_root()), Ok(true));
    let [call] = vm.http_calls().try_into().unwrap();
    vm.answer_call(call.id, status, headers, body).unwrap();
    call.header("if-none-match")
}

#[test]
fn an_unchanged_list_is_confirmed_for_every_worker() {
    for profile in [Envoy, Istio] {
        let shared = SharedData::of(profile.quirks().store);
        let mut vm = start_sharing(profile, &shared);
        let tag = [("ETag", "W/\"1\"")];
        assert_eq!(fetch(&mut vm, 200, &tag, &list(&json!([]))), None, "{profile:?}");
        // The list may be a minute old.
        for _ in 0..8 {
            vm.pass(REFRESH);
            assert_eq!(fetch(&mut vm, 304, &tag, b"").as_deref(), Some("W/\"1\""), "{profile:?}");
            upstream(&vm.request(&good()));
        }
        // Another worker confirms the list that the first one published.
        let mut other = start_sharing(profile, &shared);
        other.pass(REFRESH);
        assert_eq!(fetch(&mut other, 304, &[], b"").as_deref(), Some("W/\"1\""), "{profile:?}");
        upstream(&other.request(&good()));
        // It changes.
        vm.pass(REFRESH);
        let changed = list(&json!([{ "agent": "builder" }]));
        assert_eq!(fetch(&mut vm, 200, &[("etag", "\"2\"")], &changed).as_deref(), Some("W/\"1\""), "{profile:?}");
        assert_eq!(reason(&vm.request(&good())), "agent_suspended", "{profile:?}");
        vm.pass(REFRESH);
        assert_eq!(fetch(&mut vm, 304, &[], b"").as_deref(), Some("\"2\""), "{profile:?}");
    }
}

/// Kong's client waits for a body after most responses with status 304.
#[test]
fn kong_fetches_without_a_condition() {
    let mut vm = start_sharing(Kong, &SharedData::of(Kong.quirks().store));
    for _ in 0..3 {
        assert_eq!(fetch(&mut vm, 200, &[("etag", "\"1\"")], &list(&json!([]))), None);
        upstream(&vm.request(&good()));
        vm.pass(REFRESH);
    }
}

#[test]
fn a_server_that_confirms_what_nobody_has_denies() {
    for profile in [Envoy, Istio, Kong] {
        let mut vm = start_sharing(profile, &SharedData::of(profile.quirks().store));
        assert_eq!(fetch(&mut vm, 304, &[("etag", "\"1\"")], b""), None, "{profile:?}");
        assert_eq!(reason(&vm.request(&good())), "revocations_unavailable", "{profile:?}");
        vm.pass(REFRESH);
        assert_eq!(fetch(&mut vm, 200, &[], &list(&json!([]))), None, "{profile:?}");
        upstream(&vm.request(&good()));
    }
}
