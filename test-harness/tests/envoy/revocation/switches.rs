//! Kill switches: an update of the policy over ECDS suspends an agent, an issuer or an endpoint, or revokes a token. It applies to streams of
//! the previous policy too, which keep their VM's previous configuration alive.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_harness::client::Request;

use super::streams::{end_of_events, open_events};
use super::{await_everywhere, rechecking, token, with, workers};
use crate::envoy::ecds::OverEcds;
use crate::envoy::fixture::{HOST, mark, record};

/// How long streams of the previous policy stay open at most after the update is in force.
const ENDED: Duration = Duration::from_secs(5);
/// Streams that are open during an update. Each connection may reach another worker.
const STREAMS: usize = 8;

/// A switch: how it changes the policy, and the status, code and reason of requests that it stops.
struct Switch {
    name: &'static str,
    change: fn(&mut Value),
    status: u16,
    code: &'static str,
    reason: &'static str,
}

const SWITCHES: [Switch; 4] = [
    Switch {
        name: "an agent is suspended",
        change: |policy| policy["agents"]["robot"]["suspended"] = json!(true),
        status: 403,
        code: "agent_refused",
        reason: "agent_suspended",
    },
    Switch {
        name: "an issuer is suspended",
        change: |policy| policy["issuers"]["corp"]["suspended"] = json!(true),
        status: 401,
        code: "token_revoked",
        reason: "token_revoked",
    },
    Switch {
        name: "an endpoint is suspended",
        change: |policy| policy["endpoints"][2]["suspended"] = json!(true),
        status: 403,
        code: "endpoint_suspended",
        reason: "endpoint_suspended",
    },
    Switch {
        name: "a token is revoked",
        change: |policy| policy["revoked"] = json!([{ "issuer": "corp", "jti": "switched" }]),
        status: 401,
        code: "token_revoked",
        reason: "token_revoked",
    },
];

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn each_switch_stops_requests_and_open_streams_of_the_previous_policy() {
    let policy = rechecking();
    let mut ecds = OverEcds::start(&policy, |_| (), &workers());
    let address = ecds.gate.envoy.api().unwrap();
    let token = token("switched");
    let events = |every: &str| {
        Request::get("/stream/events")
            .host(HOST)
            .bearer(&token)
            .header("Accept", "text/event-stream")
            .header("X-Silence", every)
    };
    for Switch { name, change, status, code, reason } in SWITCHES {
        await_everywhere(&ecds.gate, &with(&token), 200, None);
        let marks: Vec<_> = (0..STREAMS).map(|_| mark()).collect();
        let mut streams: Vec<_> = marks.iter().map(|mark| open_events(address, &token, mark)).collect();
        let mut switched = policy.clone();
        change(&mut switched);
        ecds.replace(&switched, |_| ());
        let replaced = Instant::now();
        await_everywhere(&ecds.gate, &events("0"), status, Some(code));
        let in_force = replaced.elapsed();
        let ended: Vec<_> = thread::scope(|scope| {
            let ends: Vec<_> = streams.iter_mut().map(|stream| scope.spawn(move || end_of_events(stream))).collect();
            ends.into_iter().map(|end| end.join().unwrap().saturating_duration_since(replaced)).collect()
        });
        let last = ended.iter().max().unwrap();
        println!("{name}: in force after {in_force:?}, the last of {STREAMS} streams ended after {last:?}");
        assert!(*last <= ENDED, "{name}: {ended:?}");
        for mark in &marks {
            let line = ecds.gate.envoy.await_access_log(|line| line["mark"] == *mark).unwrap();
            assert_eq!(record(&line)["outcome"]["ended"], reason, "{name}: {line}");
        }
        // What was switched off can be switched on again.
        ecds.replace(&policy, |_| ());
    }
    await_everywhere(&ecds.gate, &with(&token), 200, None);
}
