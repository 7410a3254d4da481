//! The cost of a decision when four workers make decisions at the same time: the plain listener, the native chain, and the gate in Wasm and
//! as a module, with 64 connections of one agent.

use anyhow::Result;
use serde_json::json;

use super::callee::Callee;
use super::compared::{self, Row};
use super::load::Clients;
use super::report::Measured;
use super::{Built, Size, native, policies, rows};
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::quickstart::Issuer;

const WORKERS: u32 = 4;
const CONNECTIONS: usize = 64;
const BARE: &str = "bare_4_workers";

const ROWS: [Row<()>; 4] = [
    Row { name: BARE, what: "", listener: "bare", calls: (), over: "" },
    row("native_4_workers", "native chain with its token cache, four workers and 64 connections", "native"),
    row("warm_4_workers", "Wasm, token seen before, four workers and 64 connections", "callgate"),
    row("module_4_workers", "module, token seen before, four workers and 64 connections", "module"),
];

const fn row(name: &'static str, what: &'static str, listener: &'static str) -> Row<()> {
    Row { name, what, listener, calls: (), over: BARE }
}

/// Measures the rows in one Envoy, in addition to its plain listener.
pub(super) fn measure(built: &Built, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let issuer = Issuer::new()?;
    let jwks = json!({ "keys": [issuer.es256.public_jwk()] });
    let policy = policies::quickstart()?;
    let base = rows::base(&built.filter, &callee)?;
    let bootstrap = Bootstrap::joined(vec![
        ("bare", base.with_filters(Vec::new())?),
        ("native", base.with_filters(native::chain(&policy, &jwks, true)?)?),
        ("callgate", rows::gate(&base, "callgate", &policy)?),
        ("module", rows::gate(&rows::base(&built.module, &callee)?, "module", &policy)?),
    ])?;
    let envoy = Envoy::start(&bootstrap, &Options { concurrency: WORKERS, ..Options::default() })?;
    let call = policies::call(&policies::token(&issuer, &issuer.es256, 0)).to_bytes();
    let calls = vec![call; size.calls.next_multiple_of(CONNECTIONS)];
    compared::measure(
        "four workers, round",
        &envoy,
        size,
        &ROWS,
        |row| Clients::connect(envoy.listener(row.listener)?, CONNECTIONS),
        |_| Ok(calls.clone()),
    )
}
