//! Checks that the gate is active in a gateway of any kind. The requests fit the policy of the shipped configurations.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::resolve;
use crate::client::{self, Request, Response};
use crate::quickstart::HOST;

pub(super) fn run(gateway: &str) -> Result<()> {
    let (name, port) = gateway.split_once(':').context("invalid gateway; expected `name:port`")?;
    let port = port.parse().with_context(|| format!("invalid port `{port}`"))?;
    calls(resolve((name, port))?)?;
    println!(
        "{gateway} rejects unauthenticated requests, allows public endpoints, and forwards no unverified identity."
    );
    Ok(())
}

fn calls(gateway: SocketAddr) -> Result<()> {
    let call =
        |path: &str| client::call(gateway, &Request::get(path).host(HOST).header("x-callgate-agent", "reporter"));
    let said = |answer: &Response| format!("the gateway responded with {} {}", answer.status, answer.text().trim());

    let unknown = call("/v1/reports")?;
    let code = unknown.code();
    ensure!(
        (unknown.status, code.as_deref()) == (401, Some("credentials_missing")),
        "without a token, {}",
        said(&unknown)
    );
    let public = call("/v1/status")?;
    ensure!(public.status == 200, "at a public endpoint, {}", said(&public));
    let seen = public.json();
    let lines = seen.get("headers").and_then(Value::as_array).context("the response is not from the upstream")?;
    let mut names = lines.iter().filter_map(|line| line.get(0)?.as_str());
    ensure!(!names.any(|name| name == "x-callgate-agent"), "the upstream received an unverified identity");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, Flavor};
    use crate::envoy::{Bootstrap, Envoy, Options};
    use crate::upstream::Upstream;

    #[test]
    fn probe_passes_only_for_a_gateway_with_the_gate() {
        let upstream = Upstream::start().unwrap();
        let module = build::filter(Flavor::Release).unwrap();
        let bootstrap = Bootstrap::new(&module, &Bootstrap::shipped_policy().unwrap(), upstream.address()).unwrap();
        let envoy = Envoy::start(&bootstrap, &Options::default()).unwrap();
        calls(envoy.api().unwrap()).unwrap();
        let error = calls(upstream.address()).unwrap_err().to_string();
        assert!(error.starts_with("without a token, the gateway responded with 200"), "{error}");
    }
}
