//! A filter of a few lines shows that the host emulates each gateway correctly. A second check shows that the engine makes the same
//! assumptions about each gateway.

use std::sync::LazyLock;

use callgate::policy::{BodyCheck, Fetching, Store as EngineStore};
use callgate_kit::policy::not_needed;

use super::HostProfile::{Apisix, Envoy, EnvoyGateway, Higress, Istio, Kong};
use super::*;
use crate::wasmhost::{Body, ForeignFunction, HttpCalls, Refused, Removal, SharedData, Store};

static PROBE: LazyLock<Module> =
    LazyLock::new(|| Module::compile(&wat::parse_str(include_str!("probe.wat")).unwrap()).unwrap());

fn probe(profile: HostProfile, mode: &str) -> Vm {
    Vm::start(&PROBE.under(profile), mode.as_bytes(), &[]).unwrap()
}

fn with_a_body() -> Request {
    Request {
        end_of_stream: false,
        body: Some(vec![b"one".to_vec(), b"two".to_vec()]),
        trailers: Some(pairs::from_text(&[("a", "b")])),
        ..request("POST", "/a%2Fb", &[("x-a", "1")])
    }
}

/// Returns what the filter saw and the result: `+` if the request was forwarded, `!` if it is held forever, preceded by `>` if its head was
/// already forwarded.
fn shown(profile: HostProfile, mode: &str, request: &Request) -> String {
    let outcome = probe(profile, mode).request(request);
    let parts: Vec<_> = outcome.logs.iter().map(|log| log.message.as_str()).collect();
    let gone = if outcome.gone.is_some() { ">" } else { "" };
    let end = match outcome.verdict {
        Verdict::Continue { .. } => "+",
        Verdict::Hang => "!",
        other => panic!("{other:?}"),
    };
    format!("{}{gone}{end}", parts.join(" "))
}

#[test]
fn each_gateway_delivers_a_request_in_its_own_parts() {
    for (profile, whole, empty) in [
        (Envoy, "open body body trailers+", "ended+"),
        (Istio, "open body body trailers+", "ended+"),
        (EnvoyGateway, "open body body trailers+", "ended+"),
        (Higress, "open body body trailers+", "ended+"),
        (Kong, "open body+", "open+"),
        (Apisix, "open+", "open+"),
    ] {
        assert_eq!(shown(profile, "-", &with_a_body()), whole, "{profile:?}");
        assert_eq!(shown(profile, "-", &request("GET", "/", &[])), empty, "{profile:?}");
    }
}

#[test]
fn only_envoy_delivers_the_body_while_headers_are_held() {
    for (profile, seen) in [
        (Envoy, "open body body trailers+"),
        (Istio, "open!"),
        (EnvoyGateway, "open!"),
        (Higress, "open!"),
        (Kong, "open!"),
        (Apisix, "open!"),
    ] {
        assert_eq!(shown(profile, "h", &with_a_body()), seen, "{profile:?}");
    }
}

#[test]
fn envoy_forwards_headers_before_a_held_body_and_kong_does_not() {
    let request = Request { trailers: None, ..with_a_body() };
    for (profile, seen) in
        [(Envoy, "open body body>!"), (Istio, "open body body>!"), (Kong, "open body!"), (Apisix, "open+")]
    {
        assert_eq!(shown(profile, "b", &request), seen, "{profile:?}");
    }
}

#[test]
fn only_envoy_based_gateways_keep_the_last_configuration() {
    for profile in HostProfile::ALL {
        let mut vm = probe(profile, "-");
        let root = vm.first_root();
        let failed = vm.configure(root, b"f", None).unwrap_err();
        let ends = matches!(profile, Kong | Apisix);
        assert_eq!(failed.trap.is_some(), ends, "{profile:?}");
        let alive = matches!(vm.request(&request("GET", "/", &[])).verdict, Verdict::Continue { .. });
        assert_eq!(alive, !ends, "{profile:?}");
    }
}

#[test]
fn a_key_without_a_zone_traps_on_kong() {
    let trapped = |shared: &SharedData| {
        let mut vm = Vm::start_beside(&PROBE.under(Kong), b"m", &[], shared).unwrap();
        matches!(vm.request(&request("GET", "/", &[])).verdict, Verdict::Trap(_))
    };
    assert!(trapped(&SharedData::of(Store::Zones)), "the only zone is the gate's own");
    assert!(trapped(&SharedData::zones(&[])));
    assert!(!trapped(&SharedData::zones(&[(b"*", 1 << 16)])));
    assert!(matches!(probe(Envoy, "m").request(&request("GET", "/", &[])).verdict, Verdict::Continue { .. }));
}

/// The engine's assumptions when it compiles a policy match the host's behavior.
#[test]
fn engine_features_match_the_host_quirks_of_each_gateway() {
    for profile in HostProfile::ALL {
        let quirks = profile.quirks();
        let mut policy = policy();
        policy["gateway"] = json!(quirks.gateway);
        let features = callgate::Policy::from_value(policy, &not_needed).unwrap().policy.features;
        let body = match features.body {
            BodyCheck::Held => quirks.body == Body::WithTheHead,
            BodyCheck::Late => matches!(quirks.body, Body::AfterTheHead | Body::Whole),
            BodyCheck::Unseen => quirks.body == Body::Never,
        };
        let store = match features.store {
            EngineStore::Unbounded => Store::Map,
            EngineStore::Zone => Store::Zones,
            EngineStore::None => Store::None,
        };
        let fetching = match features.fetching {
            Fetching::Held => quirks.http_calls == HttpCalls::Clusters && quirks.timers_end_requests(),
            Fetching::Denied => quirks.http_calls != HttpCalls::Clusters && quirks.timers_make_calls(),
            Fetching::None => !quirks.timers_make_calls(),
        };
        assert!(body && fetching, "{profile:?}: {features:?}");
        assert_eq!(quirks.store, store, "{profile:?}");
        assert_eq!(quirks.foreign == ForeignFunction::Verifies, features.verifies, "{profile:?}");
        assert_eq!(quirks.timers_end_requests(), features.timers, "{profile:?}");
        assert_eq!(quirks.refused == Refused::KeepsTheLast, features.refuses_configuration, "{profile:?}");
        assert_eq!(quirks.removal == Removal::Removes, features.removes_headers, "{profile:?}");
        assert_eq!(quirks.listed, features.listed_headers, "{profile:?}");
        assert_eq!(quirks.peer_certificates, features.peer_certificates, "{profile:?}");
        assert_eq!(quirks.listed.is_some(), features.overrun > 0, "{profile:?}");
        // Only on such a gateway is a filter that stops during configuration worse than one that stops later.
        assert_eq!(quirks.refused == Refused::LeavesTheApiOpen, !features.opens_store_early, "{profile:?}");
    }
}
