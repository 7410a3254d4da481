//! Compiles the bounds on held requests: how long they are held, and how many bytes of them.

use std::time::Duration;

use super::gateway::Features;
use crate::document;
use crate::document::scalar::Lifetime;
use crate::document::{Findings, Place};
use crate::quota::held::Shares;

const USUAL_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_TIMEOUT: Duration = Duration::from_secs(300);
/// The default total timeout, as a multiple of the default hold timeout.
const USUAL_TIMES: u32 = 6;
const MOST_TOTAL: Duration = Duration::from_secs(900);
const MIB: u64 = 1024 * 1024;
const USUAL_WORKER: u64 = 64 * MIB;
const MOST_WORKER: u64 = 1024 * MIB;
/// The room for a request's headers in addition to its body. Gateways accept headers of 60 KiB by default.
const HEADERS: u64 = 64 * 1024;

/// Bounds on requests that are held until their bodies are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldBodies {
    /// The maximum time without a new byte.
    pub(crate) hold_timeout: Duration,
    /// The maximum time in total.
    pub(crate) total_timeout: Duration,
    pub(crate) shares: Shares,
}

impl HeldBodies {
    /// `max_json` is the maximum size of a JSON body that decides, and `max_answer` that of an answer whose lists are filtered, in bytes, if
    /// there are such bodies and answers.
    pub(super) fn compile(
        document: &document::Document,
        max_body: u64,
        max_json: Option<u64>,
        max_answer: Option<u64>,
        findings: &mut Findings,
    ) -> Self {
        let raw = &document.held_bodies;
        let place = Place::root().field("held_bodies");
        let hold_timeout = raw.hold_timeout.map_or(USUAL_TIMEOUT, Lifetime::duration);
        if hold_timeout.is_zero() || hold_timeout > MOST_TIMEOUT {
            findings.error(place.field("hold_timeout"), "invalid duration; expected `1s` to `5m`");
        }
        let usual_total = hold_timeout.saturating_mul(USUAL_TIMES).min(MOST_TOTAL);
        let total_timeout = raw.total_timeout.map_or(usual_total, Lifetime::duration);
        if total_timeout < hold_timeout || total_timeout > MOST_TOTAL {
            let message = format!("invalid duration; expected `{}s` (`hold_timeout`) to `15m`", hold_timeout.as_secs());
            findings.error(place.field("total_timeout"), message);
        }
        if !Features::of(document.gateway).timers {
            for (field, written) in
                [("hold_timeout", raw.hold_timeout.is_some()), ("total_timeout", raw.total_timeout.is_some())]
            {
                if written {
                    findings.warn(
                        place.field(field),
                        format!(
                            "`{}` has no timers, so this has no effect; remove this, and bound the time for a body in the \
                             gateway, such as by nginx's `client_body_timeout`",
                            Features::of(document.gateway).name
                        ),
                    );
                }
            }
        }
        Self { hold_timeout, total_timeout, shares: shares(raw, max_body, max_json, max_answer, &place, findings) }
    }
}

fn shares(
    raw: &document::HeldBodies,
    max_body: u64,
    max_json: Option<u64>,
    max_answer: Option<u64>,
    place: &Place,
    findings: &mut Findings,
) -> Shares {
    // The gateway and the filter both keep a JSON body.
    let twice = max_json.unwrap_or_default().saturating_mul(2);
    let one = max_body.max(twice).saturating_add(HEADERS);
    let answer = max_answer.unwrap_or_default();
    let (body, field_of_body) = if twice > max_body {
        ("a body of `max_json`, which counts twice,", "max_json")
    } else {
        ("a body of `max_body`", "max_body")
    };
    let given = |size: Option<document::Size>, usual: u64| size.map_or(usual, document::Size::bytes);
    let worker = given(raw.worker_bytes, USUAL_WORKER.max(one.saturating_mul(4)));
    let agent = given(raw.agent_bytes, one.max(answer).max(worker / 8));
    let source = given(raw.source_bytes, (worker / 2).max(agent.saturating_mul(2)).min(worker));
    if !(MIB..=MOST_WORKER).contains(&worker) {
        findings.error(place.field("worker_bytes"), "invalid size; expected `1MiB` to `1024MiB`");
    }
    let kib = |bytes: u64| format!("{}KiB", bytes.div_ceil(1024));
    for (field, bytes) in [("agent_bytes", agent), ("source_bytes", source), ("worker_bytes", worker)] {
        if bytes < one {
            findings.error(
                place.field(field),
                format!(
                    "`{}` cannot hold a request with {body} and 64 KiB of headers; expected at least `{}`, or a smaller \
                     `{field_of_body}`",
                    kib(bytes),
                    kib(one)
                ),
            );
        } else if bytes < answer {
            findings.error(
                place.field(field),
                format!(
                    "`{}` cannot hold an answer of `max_answer`; expected at least `{}`, or a smaller `max_answer`",
                    kib(bytes),
                    kib(answer)
                ),
            );
        }
    }
    for (field, bytes, of, whole) in
        [("agent_bytes", agent, "source_bytes", source), ("source_bytes", source, "worker_bytes", worker)]
    {
        if bytes > whole {
            let message = format!("`{}` exceeds `{of}`, which is `{}`; expected at most that", kib(bytes), kib(whole));
            findings.error(place.field(field), message);
        }
    }
    // An agent that uses its whole share must leave room for other agents at its address and in its worker.
    if agent <= source && source <= worker && agent >= one && source.saturating_sub(agent) < one {
        findings.warn(
            place.field(if raw.source_bytes.is_some() { "source_bytes" } else { "agent_bytes" }),
            format!(
                "one slow agent can use up the memory of its source address, and other agents at that address get 503; expected \
                 at least `{}` more in `source_bytes` than in `agent_bytes`",
                kib(one)
            ),
        );
    }
    Shares { worker, agent, source }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Policy;
    use crate::testing;

    fn compile(gateway: &str, max_body: Option<&str>, held: Value) -> Result<(HeldBodies, Vec<String>), Vec<String>> {
        let mut document = testing::document(json!({
            "gateway": gateway,
            "agents": { "a": testing::signer() },
            "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
            "held_bodies": held,
            "endpoints": [{ "id": "e", "methods": ["POST"], "path": "/", "effect": "write", "scopes": "none",
                            "authenticate": "signature", "limits": ["calls"] }]
        }));
        if gateway == "kong" {
            document["body_check"] = json!("after_headers");
            document["tables"] = json!({ "key": { "env": "T" } });
        }
        if let Some(size) = max_body {
            document["max_body"] = json!(size);
        }
        let text = |findings: Vec<crate::document::Finding>| {
            findings.iter().map(ToString::to_string).filter(|line| line.starts_with("held_bodies")).collect::<Vec<_>>()
        };
        match Policy::from_value(document, &testing::own_name) {
            Ok(compiled) => Ok((compiled.policy.held_bodies, text(compiled.findings.warnings))),
            Err(findings) => Err(text(findings.errors)),
        }
    }

    #[test]
    fn defaults_leave_room_for_other_agents_at_any_max_body() {
        for (max_body, worker, agent, source) in [
            (None, 64 * MIB, 8 * MIB, 32 * MIB),
            (Some("1KiB"), 64 * MIB, 8 * MIB, 32 * MIB),
            (Some("16MiB"), 64 * MIB + 4 * HEADERS, 16 * MIB + HEADERS, 32 * MIB + 2 * HEADERS),
            (Some("64MiB"), 256 * MIB + 4 * HEADERS, 64 * MIB + HEADERS, 128 * MIB + 2 * HEADERS),
        ] {
            let (held, warnings) = compile("envoy", max_body, json!({})).unwrap();
            assert_eq!(held.shares, Shares { worker, agent, source }, "{max_body:?}");
            assert_eq!((held.hold_timeout.as_secs(), held.total_timeout.as_secs()), (10, 60));
            assert_eq!(warnings, [""; 0], "{max_body:?}");
        }
    }

    #[test]
    fn rejects_bounds_that_are_too_small_or_contradictory() {
        for (held, expected) in [
            (json!({ "hold_timeout": "0s" }), "held_bodies.hold_timeout: invalid duration; expected `1s` to `5m`"),
            (json!({ "hold_timeout": "6m" }), "held_bodies.hold_timeout: invalid duration"),
            (
                json!({ "hold_timeout": "20s", "total_timeout": "19s" }),
                "held_bodies.total_timeout: invalid duration; expected `20s`",
            ),
            (json!({ "total_timeout": "16m" }), "held_bodies.total_timeout: invalid duration"),
            (json!({ "worker_bytes": "512KiB" }), "held_bodies.worker_bytes: invalid size"),
            (json!({ "worker_bytes": "2048MiB" }), "held_bodies.worker_bytes: invalid size"),
            (json!({ "worker_bytes": "1MiB" }), "held_bodies.worker_bytes: `1024KiB` cannot hold a request"),
            (json!({ "agent_bytes": "1MiB" }), "held_bodies.agent_bytes: `1024KiB` cannot hold a request"),
            (json!({ "source_bytes": "1MiB" }), "held_bodies.source_bytes: `1024KiB` cannot hold a request"),
            (json!({ "agent_bytes": "33MiB", "source_bytes": "32MiB" }), "held_bodies.agent_bytes: `33792KiB` exceeds"),
            (json!({ "source_bytes": "65MiB" }), "held_bodies.source_bytes: `66560KiB` exceeds `worker_bytes`"),
        ] {
            let errors = compile("envoy", None, held.clone()).unwrap_err();
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{held}: {errors:#?}");
        }
    }

    #[test]
    fn warns_about_bytes_that_one_agent_can_exhaust_for_others() {
        for held in [json!({ "agent_bytes": "64MiB" }), json!({ "agent_bytes": "8MiB", "source_bytes": "8MiB" })] {
            let (_, warnings) = compile("envoy", None, held.clone()).unwrap();
            assert!(warnings.iter().any(|line| line.contains("one slow agent can use up")), "{held}: {warnings:?}");
        }
        assert_eq!(compile("envoy", None, json!({ "agent_bytes": "30MiB" })).unwrap().1, [""; 0]);
    }

    #[test]
    fn warns_about_timeouts_on_a_gateway_without_timers() {
        let (_, warnings) = compile("kong", None, json!({ "hold_timeout": "5s" })).unwrap();
        assert!(warnings[0].starts_with("held_bodies.hold_timeout: `kong` has no timers"), "{warnings:?}");
        assert_eq!(compile("envoy", None, json!({ "hold_timeout": "5s" })).unwrap().1, [""; 0]);
    }
}
