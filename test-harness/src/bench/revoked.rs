//! The row with a list of revoked credentials: the list, its server, and the policy that fetches it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use callgate_kit::mint::{Algorithm, SigningKey};
use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::{Value, json};

use super::policies;
use crate::client;
use crate::quickstart::{Issuer, now, set};

/// The row in which the gate has fetched a list.
pub(super) const REVOCATION: &str = "revocation";
/// The gateway's cluster for the server with the list.
pub(super) const CLUSTER: &str = "revocations";
/// The number of entries. No measured token has one.
const ENTRIES: usize = 100_000;
/// Much longer than fetching the list takes.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Starts a server with the list. Returns it, and the quickstart's policy that fetches the list once: reading it again would be part of a
/// measurement.
pub(super) fn publish() -> Result<(KeyServer, Value)> {
    let server = KeyServer::start_as("https://revocations.example.com")?;
    let key = SigningKey::generate(Algorithm::Es256).context("no key")?.with_kid("revocations");
    let mut header = key.header();
    set(&mut header, "typ", "callgate-revocations+jws");
    let entries: Vec<_> = (0..ENTRIES).map(|number| json!({ "token_sha256": format!("{number:064x}") })).collect();
    let issued = now()?;
    let list = key.sign(&header, &json!({ "iat": issued, "exp": issued + 3_600, "entries": entries }));
    server.set_for(JWKS, Behavior::Exactly(list))?;
    let mut policy = policies::quickstart()?;
    let remote = json!({ "url": server.jwks_uri(), "cluster": CLUSTER, "refresh": "1h", "timeout": "30s" });
    set(
        &mut policy,
        "revocations",
        json!({ "remote": remote, "signed_by": key.public_jwk(), "on_stale": "keep", "stale_after": "2h" }),
    );
    Ok((server, policy))
}

/// Sends requests until the list has arrived.
pub(super) fn await_list(listener: SocketAddr) -> Result<()> {
    let issuer = Issuer::new()?;
    let call = policies::call(&policies::token(&issuer, &issuer.es256, 0));
    let start = Instant::now();
    loop {
        let status = client::call(listener, &call)?.status;
        if status == 200 {
            return Ok(());
        }
        ensure!(start.elapsed() < DEADLINE, "the gate has not fetched the list: the response to a request is {status}");
        thread::sleep(POLL);
    }
}
