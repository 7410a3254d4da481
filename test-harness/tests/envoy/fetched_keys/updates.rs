//! Policy updates while keys are fetched. An update over ECDS ends the previous configuration with its fetches, unless one of its streams is
//! open; one of the listener leaves it alive until its connections have drained.

use std::thread;
use std::time::{Duration, Instant};

use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::{Value, json};
use test_harness::client::{self, Connection, Request, Response};
use test_harness::envoy::Bootstrap;

use super::{
    Server, add_servers, assert_allowed_or_told_to_wait, await_policy, await_status, behind_a_proxy, claims, fetching,
    remote_within, start, while_fifty_wait, with, workers,
};
use crate::envoy::ecds::OverEcds;
use crate::envoy::fixture::{Gate, HOST};
use crate::envoy::limits::another_build;
use crate::envoy::operating::until;

const HELP: &str = "https://help.example.com";

fn start_over_ecds(servers: &[Server<'_>]) -> OverEcds {
    let prepare = |bootstrap: &mut Bootstrap| {
        behind_a_proxy(bootstrap);
        add_servers(bootstrap, servers);
    };
    OverEcds::start_with(&fetching(servers), prepare, |_| (), &workers())
}

/// Updates the policy several times in the time that the provider needs for an answer, with this many clients, and checks that the keys
/// arrive after few fetches.
#[track_caller]
fn assert_keys_arrive(gate: &Gate, (idp, policy): (&KeyServer, Value), clients: usize, update: impl Fn(&Value)) {
    const UPDATING: Duration = Duration::from_secs(6);
    let api = gate.envoy.api().unwrap();
    let start = Instant::now();
    let (mut policy, mut updates) = (policy, 0);
    let answers: Vec<Response> = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while start.elapsed() < UPDATING {
                        answers.push(client::call(api, &with(idp)).unwrap());
                        // Each request has its own connection, and there are only so many ports.
                        thread::sleep(Duration::from_millis(5));
                    }
                    answers
                })
            })
            .collect();
        while start.elapsed() < UPDATING {
            updates += 1;
            policy["help"] = json!(format!("https://help-{updates}.example.com"));
            update(&policy);
            thread::sleep(Duration::from_millis(300));
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    answers.iter().for_each(assert_allowed_or_told_to_wait);
    await_policy(gate, policy["help"].as_str().unwrap());
    for _ in 0..16 {
        // Each connection may reach another worker.
        await_status(gate, &with(idp), 200);
    }
    // A fetch that failed or was lost is repeated after three seconds or more. One may have begun before the first update.
    let (fetches, most) = (idp.requests(JWKS), start.elapsed().as_secs() / 3 + 3);
    println!("{updates} updates, {} answers, {fetches} fetches of at most {most}", answers.len());
    assert!(fetches <= most, "{fetches} fetches in {:?}", start.elapsed());
}

/// Returns a provider that is slower than the updates.
fn slow() -> KeyServer {
    let idp = KeyServer::start().unwrap();
    idp.set(Behavior::SlowHead(Duration::from_millis(1_500))).unwrap();
    idp
}

#[test]
fn keys_arrive_after_updates_that_ended_each_fetch() {
    let idp = slow();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "3s"))];
    let ecds = start_over_ecds(&servers);
    assert_keys_arrive(&ecds.gate, (&idp, fetching(&servers)), 0, |policy| ecds.write(policy, |_| ()));
}

#[test]
fn requests_are_answered_while_updates_end_their_configuration() {
    let idp = slow();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "3s"))];
    let ecds = start_over_ecds(&servers);
    assert_keys_arrive(&ecds.gate, (&idp, fetching(&servers)), 4, |policy| ecds.write(policy, |_| ()));
}

#[test]
fn requests_are_answered_while_the_listener_is_updated() {
    let idp = slow();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "3s"))];
    let gate = start(&servers);
    let update = |policy: &Value| gate.envoy.update(&gate.bootstrap.with_policy(&policy.to_string()).unwrap()).unwrap();
    assert_keys_arrive(&gate, (&idp, fetching(&servers)), 4, update);
}

#[test]
fn a_fetch_that_an_update_ended_is_repeated() {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "5s"))];
    let mut ecds = start_over_ecds(&servers);
    // On a busy machine, the fetch may time out before the update ends it.
    let is_lost = (0..3).any(|attempt| {
        // Another URL is another document, which is fetched at once.
        let url = format!("{}?{attempt}", idp.jwks_uri());
        let mut policy = fetching(&servers);
        policy["issuers"]["idp"]["keys"]["remote"]["url"] = json!(url);
        idp.set(Behavior::SlowHead(Duration::from_mins(1))).unwrap();
        let before = idp.requests(JWKS);
        ecds.replace(&policy, |_| ());
        until("the fetch starts", || idp.requests(JWKS) > before);
        policy["help"] = json!(HELP);
        ecds.replace(&policy, |_| ());
        await_policy(&ecds.gate, HELP);
        idp.set(Behavior::Correct).unwrap();
        println!("fetched again after {:?}", await_status(&ecds.gate, &with(&idp), 200));
        !ecds.gate.envoy.log().contains(&format!("cannot fetch {url}"))
    });
    assert!(is_lost, "no update ended a fetch");
}

#[test]
fn a_stream_of_the_previous_policy_stays_open_and_causes_no_other_fetch() {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "5s"))];
    let ecds = start_over_ecds(&servers);
    let gate = &ecds.gate;
    await_status(gate, &with(&idp), 200);
    let events = Request::get("/stream/events")
        .host(HOST)
        .bearer(&idp.mint(&claims()))
        .header("Accept", "text/event-stream")
        .header("X-Silence", "10");
    let mut streams: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
            connection.send(&events.to_bytes()).unwrap();
            assert_eq!(connection.read_head().unwrap().status, 200);
            connection
        })
        .collect();
    let mut policy = fetching(&servers);
    policy["help"] = json!(HELP);
    ecds.write(&policy, |_| ());
    await_policy(gate, HELP);
    for _ in 0..32 {
        assert_eq!(gate.call(&with(&idp)).status, 200);
    }
    assert_eq!(idp.requests(JWKS), 1, "the keys were fetched under the previous policy");
    // Both configurations see that a new key is wanted. One of them fetches.
    idp.rotate().unwrap();
    assert_eq!(gate.call(&with(&idp)).status, 200);
    // Longer than the period of their timers.
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(idp.requests(JWKS), 2);
    for stream in &mut streams {
        stream.read_until(b"data: awake\n\n").unwrap();
    }
}

#[test]
fn requests_that_wait_are_answered_although_the_module_is_replaced() {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "30s"))];
    let ecds = start_over_ecds(&servers);
    let folder = tempfile::tempdir().unwrap();
    let next = another_build(folder.path());
    let mut policy = fetching(&servers);
    // The stream of a waiting request keeps its configuration alive, so the fetch of its worker ends. If the main thread fetches, which is
    // rare, the update ends that fetch.
    let is_answered = (0..3).any(|attempt| {
        let help = format!("https://help-{attempt}.example.com");
        policy["help"] = json!(help);
        let answers = while_fifty_wait(&ecds.gate, &idp, || {
            // Each update replaces the module: by another build, and by the first one again.
            ecds.write(&policy, |bootstrap| {
                if attempt % 2 == 0 {
                    bootstrap.set_module(&next).unwrap();
                }
            });
            await_policy(&ecds.gate, &help);
            idp.set(Behavior::Correct).unwrap();
        });
        assert_eq!(answers.len(), 50);
        let mut allowed = 0;
        for (mark, answer) in &answers {
            let response = answer.as_ref().unwrap();
            assert_allowed_or_told_to_wait(response);
            let seen = ecds.gate.upstream.saw("x-mark", mark);
            assert_eq!(seen.is_some(), response.status == 200, "{response:?}");
            allowed += usize::from(response.status == 200);
        }
        println!("{allowed} of the requests that waited were allowed");
        // A client that was told to wait succeeds, on every worker.
        until("every worker has the new key", || (0..32).all(|_| ecds.gate.call(&with(&idp)).status == 200));
        for _ in 0..50 {
            assert_eq!(ecds.gate.call(&with(&idp)).status, 200);
        }
        allowed > 0
    });
    assert!(is_answered, "no request that waited was allowed");
}
