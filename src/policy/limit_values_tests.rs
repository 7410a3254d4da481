//! Messages about what differs between the callers of a limit, and the numbers that follow from it. Each row breaks a valid policy in one
//! place.

use serde_json::{Value, json};

use crate::policy::Policy;
use crate::policy::tests::{compile, with};
use crate::quota::{Gcra, LimitReport, LimitStatus, LimitStatuses, NumbersIndex};
use crate::text::time::Timestamp;

/// A policy with every kind of variation: `org` counts by claim, `calls` has tiers and numbers of the agent `a`, and `slow` has a tier by
/// claim.
fn varied(changes: &[(&str, Value)]) -> Value {
    let limits = json!({
        "org": { "per": ["token.org", "agent.tenant"], "rate": "60/1m", "burst": 10 },
        "calls": {
            "per": "agent", "rate": "60/1m", "burst": 10,
            "tiers": { "t1": { "rate": "600/1m", "burst": 100 } }, "tier": "agent.tenant"
        },
        "slow": {
            "per": ["issuer", "endpoint"], "rate": "1/1s", "burst": 5,
            "tiers": { "gold": { "rate": "2/1s", "burst": 8 } }, "tier": "token./org/plan"
        }
    });
    let mut all = vec![
        ("/limits", limits),
        ("/endpoints/1/limits", json!(["org", "calls", "slow"])),
        ("/agents/b", json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": "b" } })),
        ("/agents/b/limits", json!({ "calls": { "rate": "1/1m", "burst": 2 } })),
    ];
    all.extend(changes.iter().cloned());
    with(&all)
}

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    let findings = compile(varied(changes)).map_or_else(|findings| findings.errors, |_| Vec::new());
    findings.iter().map(ToString::to_string).collect()
}

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    let findings = compile(varied(changes)).unwrap_or_else(|findings| panic!("{findings:?}")).findings;
    findings.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn rejects_invalid_variations() {
    assert_eq!(errors(&[]), [""; 0]);
    for (pointer, value, expected) in [
        ("/limits/org/per", json!(["token.", "agent.tenant"]), "limits.org.per[0]: invalid claim name"),
        ("/limits/org/per", json!(["token./a~2"]), "limits.org.per[0]: invalid JSON pointer"),
        (
            "/limits/org/per",
            json!("agent.tenants"),
            "limits.org.per[0]: no agent has the attribute `tenants`; did you mean `tenant`?",
        ),
        ("/limits/org/per", json!(["token.org", "token.org"]), "limits.org.per[1]: this is listed twice"),
        (
            "/limits/org/per",
            json!(["token.a", "token.b", "agent.tenant"]),
            "limits.org.per: too many values of the caller; expected at most 2",
        ),
        ("/limits/calls/tier", Value::Null, "limits.calls.tiers: nothing selects a tier; write `tier`"),
        ("/limits/calls/tiers", Value::Null, "limits.calls.tier: there are no tiers to select; write `tiers`"),
        (
            "/limits/calls/tier",
            json!("plan"),
            "limits.calls.tier: `plan` is not a value of the caller; expected `agent.ATTRIBUTE`",
        ),
        ("/limits/calls/tier", json!("agent.plan"), "limits.calls.tier: no agent has the attribute `plan`"),
        ("/limits/calls/tiers/t1", json!({ "rate": "1/1s", "burst": 0 }), "limits.calls.tiers.t1.burst: a burst of 0"),
        (
            "/limits/calls/tiers/t1",
            json!({ "rate": "1/366d", "burst": 9 }),
            "limits.calls.tiers.t1.rate: rate or burst",
        ),
        (
            "/limits/calls/tiers",
            json!({ "a b": { "rate": "1/1s", "burst": 1 } }),
            "limits.calls.tiers[\"a b\"]: `a b` is not a valid name for a tier",
        ),
        (
            "/agents/b/limits",
            json!({ "call": { "rate": "1/1s", "burst": 1 } }),
            "agents.b.limits.call: unknown limit `call`; did you mean `calls`?",
        ),
        (
            "/agents/b/limits",
            json!({ "slow": { "rate": "1/1s", "burst": 1 } }),
            "agents.b.limits.slow: `slow` does not count by agent",
        ),
        (
            "/agents/b/limits",
            json!({ "calls": { "rate": "1/1s", "burst": 0 } }),
            "agents.b.limits.calls.burst: a burst of 0",
        ),
        ("/endpoints/1/cost", json!(6), "endpoints[1].cost: the burst of `slow` is 5, so"),
        ("/endpoints/0/limits", json!(["org"]), "endpoints[0].limits[0]: `org` counts by client"),
    ] {
        let errors = errors(&[(pointer, value)]);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{pointer}: {expected}\n{errors:#?}");
    }
    let many: Value = (0..65).map(|n| (format!("t{n}"), json!({ "rate": "1/1s", "burst": 1 }))).collect();
    assert!(errors(&[("/limits/calls/tiers", many)])[0].starts_with("limits.calls.tiers: too many tiers"));
}

#[test]
fn costs_must_be_within_the_burst_of_every_tier() {
    let limits = |tier: u32| json!({ "rate": "1/1s", "burst": tier });
    let cost = ("/endpoints/1/cost", json!(5));
    let expected = "endpoints[1].cost: the burst of `slow` is 4 for the tier `gold`";
    let found = errors(&[("/limits/slow/tiers/gold", limits(4)), cost.clone()]);
    assert!(found.iter().any(|error| error.starts_with(expected)), "{found:#?}");
    assert_eq!(errors(&[("/limits/slow/tiers/gold", limits(5)), cost.clone()]), [""; 0]);
    // An agent may not have to use what costs more than it has.
    let of_agent = "endpoints[1].cost: the burst of `calls` is 2 for the agent `b`";
    assert!(warnings(&[cost]).iter().any(|warning| warning.starts_with(of_agent)));
    assert!(!warnings(&[("/endpoints/1/cost", json!(2))]).iter().any(|warning| warning.starts_with(of_agent)));
}

#[test]
fn a_limit_by_claim_needs_a_limit_that_clients_cannot_avoid() {
    let expected = "endpoints[1].limits: `org` counts by a claim, and clients choose claims";
    let with_limits = |names: &[&str], changes: &[(&str, Value)]| {
        let mut all = vec![("/endpoints/1/limits", json!(names))];
        all.extend(changes.iter().cloned());
        errors(&all).iter().any(|error| error.starts_with(expected))
    };
    assert!(with_limits(&["org"], &[]));
    for bounded in [["org", "calls"], ["org", "slow"]] {
        assert!(!with_limits(&bounded, &[]), "{bounded:?}");
    }
    let per = |per: Value| vec![("/limits/slow/per", per)];
    for avoidable in [json!("source"), json!(["issuer", "source"]), json!(["issuer", "token.sub"])] {
        assert!(with_limits(&["org", "slow"], &per(avoidable.clone())), "{avoidable}");
    }
    for bounds in [json!("endpoint"), json!(["issuer"]), json!("agent.tenant")] {
        assert!(!with_limits(&["org", "slow"], &per(bounds.clone())), "{bounds}");
    }
    // Clients that the policy does not name are as many as somebody registers.
    let open = [("/unregistered", json!("allow"))];
    assert!(with_limits(&["org", "calls"], &open) && !with_limits(&["org", "slow"], &open));
    let workloads = [
        ("/tls", json!({ "client_certificates": "validated", "trust_domains": ["example.org"] })),
        ("/agents/c", json!({ "owner": "o", "identity": { "spiffe": "spiffe://example.org/jobs/*" } })),
    ];
    assert!(with_limits(&["org", "calls"], &workloads) && !with_limits(&["org", "slow"], &workloads));
    // A limit of the effect counts as well.
    let of_effect = [("/requirements/read", json!({ "limits": ["calls"] }))];
    assert!(!with_limits(&["org"], &of_effect));
    // An attribute is not chosen by clients.
    let attribute = ("/limits/org/per", json!("agent.tenant"));
    assert!(!with_limits(&["org"], &[attribute]));
}

#[test]
fn warns_about_tiers_that_a_client_may_choose_and_that_do_not_exist() {
    let found = warnings(&[]);
    let expected = "limits.slow.tier: whoever chooses the value of this claim chooses the numbers";
    assert!(found.iter().any(|warning| warning.starts_with(expected)), "{found:#?}");
    assert!(
        !found.iter().any(|warning| warning.starts_with("limits.calls") || warning.starts_with("agents.a.attributes"))
    );
    for (value, hint) in
        [(json!("t2"), "did you mean `t1`?"), (json!(1), "expected the name"), (json!(["t1"]), "expected")]
    {
        let found = warnings(&[("/agents/a/attributes/tenant", value.clone())]);
        let warning = found.iter().find(|warning| warning.starts_with("agents.a.attributes.tenant: "));
        let warning = warning.unwrap_or_else(|| panic!("{value} {found:#?}"));
        assert!(warning.contains("not a tier of the limit `calls`") && warning.contains(hint), "{warning}");
    }
}

#[test]
fn the_headers_show_the_numbers_that_apply() {
    let policy: Policy = compile(varied(&[])).unwrap().policy;
    let position = policy.limits.list.iter().position(|limit| &*limit.name == "calls").unwrap();
    let limit = &policy.limits.list[position];
    let status = LimitStatus { remaining: 1, more_in: 0 };
    let told = |numbers: NumbersIndex| {
        let report = LimitReport { position: u32::try_from(position).unwrap(), numbers, status };
        policy.rate_limit_headers(&LimitStatuses(vec![report]), [None, None]).next().unwrap().1
    };
    assert_eq!(told(NumbersIndex::OWN), "\"calls\";q=10;w=10");
    assert_eq!(told(NumbersIndex::of(0).unwrap()), "\"calls\";q=100;w=10");
    assert_eq!(told(NumbersIndex::of(1).unwrap()), "\"calls\";q=2;w=120");
    let whose: Vec<_> = limit.varied.as_ref().unwrap().numbers.iter().map(|numbers| &*numbers.whose).collect();
    assert_eq!(whose, ["tier t1", "agent b"]);
    // The bound for replay protection is that of the agent with the largest numbers, with every tier.
    assert_eq!(limit.most_within(0), 110);
}

#[test]
fn after_a_step_of_the_clock_nobody_waits_for_the_numbers_of_another_agent() {
    let policy: Policy = compile(varied(&[])).unwrap().policy;
    let now = Timestamp::from_secs(1_000_000);
    let longest = |name: &str, numbers: NumbersIndex| {
        let limit = policy.limits.list.iter().find(|limit| &*limit.name == name).unwrap();
        let gcra: &Gcra = limit.gcra_of(numbers);
        (gcra.exhausted(now) - now.as_nanos()) / 1_000_000_000
    };
    let of = |position: usize| NumbersIndex::of(position).unwrap();
    // The burst of agent `b` refills in 120 s, and those of the others in 10 s.
    assert_eq!([NumbersIndex::OWN, of(0), of(1)].map(|numbers| longest("calls", numbers)), [10, 10, 120]);
    // A client can change its tier, which must not erase what it was charged.
    assert_eq!([NumbersIndex::OWN, of(0)].map(|numbers| longest("slow", numbers)), [5, 5]);
}

#[test]
fn a_limit_without_variations_has_none() {
    let policy = compile(with(&[
        ("/limits", json!({ "calls": { "per": "agent", "rate": "1/1s", "burst": 1 } })),
        ("/endpoints/1/limits", json!(["calls"])),
    ]));
    assert!(policy.unwrap().policy.limits.list[0].varied.is_none());
}
