//! With `audit.outcome`, the record reports how a request ended, in every case.

use bytes::Bytes;
use callgate_kit::records;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Adapter, Options, record_in};

use crate::envoy::fixture::{Asked, Gate, HOST, adapter, good, policy, record, token};
use crate::envoy::grpc::Client;

/// Starts a gate whose records are completed at the end of the request, and that also logs them.
fn gate() -> Gate {
    let mut policy = policy();
    policy["audit"]["outcome"] = json!(true);
    policy["audit"]["log"] = json!({ "allow": true, "deny": true });
    let shorten = |bootstrap: &mut test_harness::envoy::Bootstrap| {
        let routes = bootstrap.virtual_hosts().unwrap()[0]["routes"].as_array_mut().unwrap();
        for route in routes {
            route["route"]["timeout"] = json!("1s");
            route["route"]["idle_timeout"] = json!("3600s");
        }
        // The streams have no timeout, so their clients end them.
        for unlimited in [0, 1] {
            bootstrap.virtual_hosts().unwrap()[0]["routes"][unlimited]["route"]["timeout"] = json!("0s");
        }
    };
    Gate::start_with(&policy, shorten, &Options::default())
}

#[track_caller]
fn assert_outcome(record: &Value, status: u16, ended: &str, details: &str) {
    let outcome = &record["outcome"];
    assert_eq!((&outcome["status"], &outcome["ended"]), (&json!(status), &json!(ended)), "{record}");
    // Envoy does not tell modules the details of a stream that its client left.
    let is_untold = adapter() == Adapter::Module && ended == "client_gone";
    let told = outcome["details"].as_str().unwrap_or_default();
    assert!(if is_untold { told.is_empty() } else { told.starts_with(details) }, "{record}");
    for member in ["bytes_received", "bytes_sent"] {
        assert!(outcome[member].as_u64().is_some_and(|bytes| bytes > 0), "{record}");
    }
    assert!(outcome["duration_ms"].is_u64(), "{record}");
}

#[test]
fn records_every_outcome_in_one_access_log_line() {
    let gate = gate();
    let failing = |how: &str| good().header("X-Failure", how);

    let asked = gate.ask(good());
    asked.assert_allowed();
    assert_outcome(&asked.record(), 200, "complete", "via_upstream");
    assert!(asked.record()["outcome"]["bytes_sent"].as_u64().unwrap() > asked.response.body.len() as u64);

    let denied = gate.ask(Request::get("/items/1").host(HOST));
    denied.assert_denied(401, "credentials_missing");
    assert_outcome(&denied.record(), 401, "complete", "callgate_credentials_missing");

    let silent = gate.ask(failing("silence"));
    assert_eq!(silent.response.status, 504);
    assert_outcome(&silent.record(), 504, "timeout", "response_timeout");

    let reset = gate.ask(failing("reset"));
    assert_eq!(reset.response.status, 503);
    assert_outcome(&reset.record(), 503, "upstream_failed", "upstream_reset_before_response_started");

    // The log line is written once, at the decision, and does not change.
    let log = gate.envoy.log();
    for Asked { line, .. } in [&asked, &denied, &silent, &reset] {
        let mut record = record(line);
        // The module measures the time itself, from its first hook to the last.
        let [told, logged] = [&record["outcome"], line].map(|part| part["duration_ms"].as_u64().unwrap());
        let tolerance = if adapter() == Adapter::Module { 5 } else { 0 };
        assert!(logged.abs_diff(told) <= tolerance, "{told} {logged}");
        let id = record["id"].as_str().unwrap().to_owned();
        let logged: Vec<_> = log.lines().filter(|line| line.contains(&id)).collect();
        let [logged] = logged.as_slice() else { panic!("{logged:?}") };
        let (_, logged) = logged.split_once("{\"decision\":").unwrap();
        let logged: Value = serde_json::from_str(&format!("{{\"decision\":{logged}")).unwrap();
        record.as_object_mut().unwrap().remove("outcome");
        assert_eq!(logged, record);
        assert_eq!(gate.envoy.access_log().iter().filter(|line| line.to_string().contains(&id)).count(), 1);
    }
    assert_eq!(gate.envoy.stat("wasm.callgate.vm_reload").unwrap(), 0);

    // The command line can read both logs unchanged.
    for (file, completed) in [("access.log", true), ("envoy.log", false)] {
        let file = records::open(gate.envoy.folder().join(file).to_str().unwrap()).unwrap();
        let mut lines = records::Lines::new(file, "callgate").unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            if let records::Line::Record(record) = line {
                assert_eq!(record.outcome.is_some(), completed);
                found.push(record.decision);
            }
        }
        assert_eq!(found, ["allow", "deny", "allow", "allow"]);
    }
}

#[test]
fn records_which_side_broke_off_a_response() {
    let gate = gate();
    let begin = |request: Request, mark: &str| {
        let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
        connection.send(&request.header("X-Mark", mark).to_bytes()).unwrap();
        assert_eq!(connection.read_head().unwrap().status, 200);
        connection
    };
    let line = |mark: &str| gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();

    let mut broken = begin(good().header("X-Failure", "break"), "upstream");
    broken.read_until(b"the beginning").unwrap();
    broken.read_until(b"the end").unwrap_err();
    assert_outcome(&record(&line("upstream")), 200, "upstream_failed", "upstream_reset_after_response_started");

    let events = Request::get("/stream/events").host(HOST).bearer(&token("none"));
    drop(begin(events.header("Accept", "text/event-stream").header("X-Silence", "60"), "client"));
    assert_outcome(&record(&line("client")), 200, "client_gone", "downstream_remote_disconnect");
}

#[test]
fn records_a_stream_abandoned_by_its_client() {
    let gate = gate();
    let address = gate.envoy.api().unwrap();
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async {
        let mut client = Client::connect(address).await;
        let messages = stream::iter([Bytes::from("hello")]).chain(stream::pending());
        let mut answers = client.streaming("/echo.Echo/Chat", Some(&token("chat")), messages).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap(), "hello");
    });
    // Dropping the client's runtime prevents an orderly end of the stream.
    drop(client);
    let line = gate.envoy.await_access_log(|line| record_in(line).is_some()).unwrap();
    assert_outcome(&record(&line), 200, "client_gone", "downstream_remote_disconnect");
}

#[test]
fn records_no_status_if_the_client_leaves_before_the_response() {
    let gate = gate();
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    let request = Request::get("/stream/events").host(HOST).bearer(&token("none")).header("X-Failure", "silence");
    connection.send(&request.header("X-Mark", "gone").to_bytes()).unwrap();
    while gate.upstream.saw("x-mark", "gone").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(connection);
    let line = gate.envoy.await_access_log(|line| line["mark"] == "gone").unwrap();
    let outcome = record(&line)["outcome"].clone();
    assert_eq!(outcome["ended"], "client_gone", "{line}");
    assert_eq!(outcome["status"].as_u64().unwrap_or(0), line["status"].as_u64().unwrap(), "{line}");
}
