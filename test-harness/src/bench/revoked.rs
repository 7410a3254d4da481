//! What a list of 100,000 revoked credentials costs: for a decision, when it is fetched, and in the memory of a VM.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use callgate_kit::mint::{Algorithm, SigningKey};
use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::{Value, json};

use super::callee::Callee;
use super::instructions::{NOW, decide_in};
use super::policies::AGENT;
use super::{Size, cpu, policies, rows};
use crate::client;
use crate::envoy::{Envoy, Options};
use crate::quickstart::{Issuer, now, set};
use crate::wasmhost::{Level, Module};

/// The row in which the gate has fetched a list.
pub(super) const REVOCATION: &str = "revocation";
/// The gateway's cluster for the server with the list.
pub(super) const CLUSTER: &str = "revocations";
/// The number of entries. No measured token has one that revokes it.
const ENTRIES: usize = 100_000;
/// Before every measured token was issued.
const PAST: &str = "2020-01-01T00:00:00Z";
/// Much longer than fetching the list takes.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// The time between two fetches, and for each of them, if the list changes.
const REFRESH: &str = "3s";

/// A list, its signing key, and its server.
struct List {
    server: KeyServer,
    key: SigningKey,
    entries: Vec<Value>,
}

impl List {
    fn start() -> Result<Self> {
        let server = KeyServer::start_as("https://revocations.example.com")?;
        let key = SigningKey::generate(Algorithm::Es256).context("no key")?.with_kid("revocations");
        Ok(Self { server, key, entries: entries() })
    }

    /// Returns the signed list.
    fn signed(&self, issued: u64) -> String {
        let mut header = self.key.header();
        set(&mut header, "typ", "callgate-revocations+jws");
        self.key.sign(&header, &json!({ "iat": issued, "exp": issued + 3_600, "entries": self.entries }))
    }

    /// Returns the quickstart's policy with this list.
    fn policy(&self, refresh: &str, timeout: &str) -> Result<Value> {
        let mut policy = policies::quickstart()?;
        let remote =
            json!({ "url": self.server.jwks_uri(), "cluster": CLUSTER, "refresh": refresh, "timeout": timeout });
        set(
            &mut policy,
            "revocations",
            json!({ "remote": remote, "signed_by": self.key.public_jwk(), "on_stale": "keep", "stale_after": "2h" }),
        );
        Ok(policy)
    }
}

/// Returns entries of every kind. Those for the measured agent and its issuer do not revoke the measured tokens: they are older.
fn entries() -> Vec<Value> {
    let mut entries = vec![
        json!({ "agent": AGENT, "issued_before": PAST }),
        json!({ "actor": AGENT, "issued_before": PAST }),
        json!({ "issuer": "corp", "issued_before": PAST }),
    ];
    let others = (entries.len()..ENTRIES).map(|number| {
        let name = format!("revoked-{number}");
        // Lists keep the first bytes of a hash, which are evenly distributed.
        let hash = format!("{:016x}{number:048x}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match number % 6 {
            0 => json!({ "token_sha256": hash }),
            1 => json!({ "thumbprint": hash }),
            2 => json!({ "issuer": "corp", "jti": name }),
            3 => json!({ "issuer": "corp", "subject": name }),
            4 => json!({ "issuer": "corp", "client": name }),
            _ => json!({ "issuer": "corp", "kid": name }),
        }
    });
    entries.extend(others);
    entries
}

/// Starts a server with the list. Returns it, and the quickstart's policy that fetches the list once: reading it again would be part of a
/// measurement.
pub(super) fn publish() -> Result<(KeyServer, Value)> {
    let list = List::start()?;
    list.server.set_for(JWKS, Behavior::Exactly(list.signed(now()?)))?;
    let policy = list.policy("1h", "30s")?;
    Ok((list.server, policy))
}

/// Sends requests until the list has arrived.
pub(super) fn await_list(listener: SocketAddr) -> Result<()> {
    await_status(listener, 0, 200, POLL)
}

/// Sends requests with a token until the response has this status.
fn await_status(listener: SocketAddr, serial: usize, wanted: u16, poll: Duration) -> Result<()> {
    let issuer = Issuer::new()?;
    let call = policies::call(&policies::token(&issuer, &issuer.es256, serial));
    let start = Instant::now();
    loop {
        let status = client::call(listener, &call)?.status;
        if status == wanted {
            return Ok(());
        }
        ensure!(
            start.elapsed() < DEADLINE,
            "the gate has not fetched the list: the response to a request is {status} instead of {wanted}"
        );
        thread::sleep(poll);
    }
}

/// Measures some changes of the list under a running Envoy with one worker. Returns the worker's CPU time for each, in milliseconds, from
/// the publication to the first request that the new list denies. The worker serves no other requests while it reads a list.
pub(super) fn fetches_ms(filter: &Path, size: &Size) -> Result<Vec<f64>> {
    let callee = Callee::start()?;
    let mut list = List::start()?;
    list.server.set_for(JWKS, Behavior::Tagged(list.signed(now()?)))?;
    let mut base = rows::base(filter, &callee)?;
    base.add_server(CLUSTER, list.server.address())?;
    let policy = list.policy(REFRESH, REFRESH)?.to_string();
    let envoy = Envoy::start(&base.with_policy(&policy)?, &Options::default())?;
    await_list(envoy.api()?)?;
    let worker = || cpu::of_threads(envoy.process(), |thread| thread.starts_with("wrk:"));
    (1..=size.updates)
        .map(|update| {
            // Without this entry, the token is good.
            await_status(envoy.api()?, update, 200, POLL)?;
            list.entries.push(json!({ "issuer": "corp", "jti": format!("{update:08}") }));
            let signed = list.signed(now()?);
            let before = worker()?;
            list.server.set_for(JWKS, Behavior::Tagged(signed))?;
            await_status(envoy.api()?, update, 401, POLL)?;
            thread::sleep(super::SETTLE);
            Ok(worker()?.saturating_sub(before).as_secs_f64() * 1e3)
        })
        .collect()
}

/// Returns the linear memory of a VM that has fetched the list, and then a list with the same entries and one more.
pub(super) fn memory(module: &Module) -> Result<usize> {
    let mut list = List::start()?;
    let mut vm = super::start(module, &list.policy("10s", "5s")?)?;
    vm.add_cluster(CLUSTER);
    vm.set_clock(NOW * 1_000_000_000);
    let issuer = Issuer::at(NOW)?;
    for _ in 0..2 {
        vm.pass(Duration::from_secs(10));
        let has_timer = vm.tick(vm.first_root()).map_err(Error::msg)?;
        ensure!(has_timer, "the filter has no timer");
        let call = vm.http_calls().pop().context("the filter does not fetch the list")?;
        vm.answer_call(call.id, 200, &[], list.signed(NOW).as_bytes()).map_err(Error::msg)?;
        let warning = vm.logs().iter().find(|log| log.level >= Level::Warn);
        ensure!(warning.is_none(), "the list is not used: {warning:?}");
        // Before it has a list, the filter denies every request.
        decide_in(&mut vm, &policies::token(&issuer, &issuer.es256, 0))?;
        list.entries.push(json!({ "issuer": "corp", "jti": "one-more" }));
    }
    Ok(vm.memory_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_entries_of_every_kind() {
        let entries = entries();
        assert_eq!(entries.len(), ENTRIES);
        let of = |kind: &str| entries.iter().filter(|entry| entry.get(kind).is_some()).count();
        for kind in ["token_sha256", "thumbprint", "jti", "subject", "client", "kid"] {
            assert!(of(kind) > ENTRIES / 7, "{kind}: {}", of(kind));
        }
        assert_eq!((of("agent"), of("actor")), (1, 1));
        let of_issuer = entries.iter().filter(|entry| {
            entry.as_object().unwrap().keys().all(|member| matches!(member.as_str(), "issuer" | "issued_before"))
        });
        assert_eq!(of_issuer.count(), 1, "an entry for all tokens of an issuer");
    }
}
