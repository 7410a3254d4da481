//! Whether the gate stands in a gateway at all: three calls for the quickstart's policy.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result, ensure};

use crate::client::{self, Request, Response};
use crate::quickstart::{HOST, Issuer};

pub(super) fn run(gateway: &str) -> Result<()> {
    let mut addresses = gateway.to_socket_addrs().with_context(|| format!("there is no service `{gateway}`"))?;
    calls(addresses.next().with_context(|| format!("the service `{gateway}` has no address"))?)?;
    println!("{gateway} refuses who is unknown, lets pass who is known, and tells the upstream who it is.");
    Ok(())
}

fn calls(gateway: SocketAddr) -> Result<()> {
    let call = |request: Request| client::call(gateway, &request.host(HOST));
    let said = |answer: &Response| format!("the gateway answered {} {}", answer.status, answer.text().trim());

    let unknown = call(Request::get("/repos/acme/gateway").header("x-callgate-agent", "coding-agent"))?;
    let code = unknown.code();
    ensure!((unknown.status, code.as_deref()) == (401, Some("credentials_missing")), "without a token {}", said(&unknown));
    let public = call(Request::get("/health"))?;
    ensure!(public.status == 200, "where nobody has to be known {}", said(&public));

    let token = Issuer::new()?.token("coding-agent", "code:read");
    let known = call(Request::get("/repos/acme/gateway").bearer(&token).header("x-callgate-agent", "review-agent"))?;
    ensure!(known.status == 200, "with a token {}", said(&known));
    let seen = known.json();
    let headers = seen.get("headers").and_then(serde_json::Value::as_array).context("that was not the upstream")?;
    let values = |name: &str| -> Vec<_> {
        headers.iter().filter(|line| line.get(0).is_some_and(|own| own == name)).filter_map(|line| line.get(1)).collect()
    };
    ensure!(values("x-callgate-agent") == ["coding-agent"], "the upstream was not told who calls: {seen}");
    ensure!(values("authorization").is_empty(), "the upstream got the token");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, Flavor};
    use crate::envoy::{Bootstrap, Envoy, Options};
    use crate::quickstart;
    use crate::upstream::Upstream;

    #[test]
    fn a_gateway_passes_and_one_without_the_gate_does_not() {
        let upstream = Upstream::start().unwrap();
        let module = build::filter(Flavor::Release).unwrap();
        let policy = quickstart::policy().unwrap().to_string();
        let bootstrap = Bootstrap::new(&module, &policy, upstream.address()).unwrap();
        let envoy = Envoy::start(&bootstrap, &Options::default()).unwrap();
        calls(envoy.api().unwrap()).unwrap();
        let error = calls(upstream.address()).unwrap_err().to_string();
        assert!(error.starts_with("without a token the gateway answered 200"), "{error}");
    }
}
