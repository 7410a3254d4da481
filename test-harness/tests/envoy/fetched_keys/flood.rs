//! Tokens with names of keys that nobody has, which strangers send to make the gate fetch.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use identity_provider::key_server::{JWKS, KeyServer};
use test_harness::client::{Connection, Request};
use test_harness::envoy::Bootstrap;

use super::{
    add_servers, assert_allowed_or_told_to_wait, assert_key_unknown, await_status, behind_a_proxy, fetching, remote,
    with, with_unknown_key, workers,
};
use crate::envoy::fixture::Gate;
use crate::envoy::operating::until;

/// The number of fetches that requests may cause in a row.
const BURST: u64 = 4;
/// The time after which they may cause one more.
const PERIOD: Duration = Duration::from_secs(30);
/// If a test fails, its strangers stop after this time.
const LONGEST: Duration = Duration::from_secs(90);

/// How long a client repeats its request while it is told to do so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    ForASecond,
    UntilAllowed,
}

/// Sends a request whose key is new until it is allowed. Any other response must tell the client to repeat it, and when. Returns how long
/// that took.
fn repeat(api: SocketAddr, request: &Request, repeats: Repeats) -> Duration {
    let start = Instant::now();
    let mut connection = Connection::open(api).unwrap();
    loop {
        let response = connection.call(request).unwrap();
        assert_allowed_or_told_to_wait(&response);
        let gives_up = repeats == Repeats::ForASecond && start.elapsed() > Duration::from_secs(1);
        if response.status == 200 || gives_up {
            return start.elapsed();
        }
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!(wait <= PERIOD.as_secs() + 1, "{wait}");
        assert!(start.elapsed() < PERIOD + Duration::from_secs(10), "the new key was not fetched: {response:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends at least this many tokens with different names of keys that nobody has. When they have used up the fetches, the issuer rotates its
/// key, and honest clients send tokens of the new key. Checks what the clients get, and the number of fetches.
fn assert_flood_is_bounded(least: usize, repeats: Repeats) {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote(&idp, "idp"))];
    let change = |bootstrap: &mut Bootstrap| {
        add_servers(bootstrap, &servers);
        behind_a_proxy(bootstrap);
    };
    let gate = Gate::start_with(&fetching(&servers), change, &workers());
    let api = gate.envoy.api().unwrap();
    let old = with(&idp);
    await_status(&gate, &old, 200);
    assert_eq!(idp.requests(JWKS), 1, "no request causes the first fetch");

    let (sent, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
    thread::scope(|scope| {
        for stranger in 1..=8 {
            let (idp, sent, is_over) = (&idp, &sent, &is_over);
            scope.spawn(move || {
                let mut connection = Connection::open(api).unwrap();
                let source = format!("192.0.2.{stranger}");
                loop {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    if number >= least {
                        if is_over.load(Ordering::Relaxed) || start.elapsed() > LONGEST {
                            break;
                        }
                        // The rest only keeps the flood going, and each denial is a line in two logs.
                        thread::sleep(Duration::from_millis(10));
                    }
                    let request = with_unknown_key(idp, number).header("X-Forwarded-For", &source);
                    assert_key_unknown(&connection.call(&request).unwrap());
                }
            });
        }
        until("the fetches are used up", || idp.requests(JWKS) > BURST);
        idp.rotate().unwrap();
        let clients: Vec<_> = (1..=8)
            .map(|client| {
                let request = with(&idp).header("X-Forwarded-For", format!("198.51.100.{client}"));
                scope.spawn(move || repeat(api, &request, repeats))
            })
            .collect();
        // Tokens of the earlier key are verified meanwhile.
        for _ in 0..100 {
            assert_eq!(gate.call(&old).status, 200);
        }
        let took: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        println!("clients with the new key: {took:?}");
        is_over.store(true, Ordering::Relaxed);
    });
    let fetches = idp.requests(JWKS) - 1;
    let most = BURST + start.elapsed().as_secs() / PERIOD.as_secs();
    println!("{} tokens in {:?}, {fetches} fetches", sent.into_inner(), start.elapsed());
    assert!((BURST..=most).contains(&fetches), "{fetches} fetches of at most {most}");
}

#[test]
fn random_key_names_cause_few_fetches_and_spare_honest_clients() {
    assert_flood_is_bounded(2_000, Repeats::ForASecond);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn during_ten_thousand_random_key_names_every_client_with_a_new_key_is_served() {
    assert_flood_is_bounded(10_000, Repeats::UntilAllowed);
}
