//! Runs the policy service that the gate is compared with. It is a separate program because the harness is built without optimization.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::policies;

/// A running service. It stops when it is dropped.
pub(super) struct PolicyService {
    name: &'static str,
    process: Child,
    address: SocketAddr,
}

impl PolicyService {
    /// Starts the service for tokens that are signed with this key. It verifies each token in each request, or only tokens that are not in
    /// its cache.
    pub(super) fn start(program: &Path, name: &'static str, jwk: &Value, caches_tokens: bool) -> Result<Self> {
        let process = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let process = process.context("cannot start the policy service")?;
        // From here on, an error drops the service and stops it.
        let mut service = Self { name, process, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        service.address = service.configure(jwk, caches_tokens)?;
        Ok(service)
    }

    fn configure(&mut self, jwk: &Value, caches_tokens: bool) -> Result<SocketAddr> {
        let policy = policies::quickstart()?;
        let configuration = json!({ "jwk": jwk, "agents": policy.get("agents"), "caches_tokens": caches_tokens });
        let mut stdin = self.process.stdin.take().context("the policy service has no standard input")?;
        write!(stdin, "{configuration}").context("cannot configure the policy service")?;
        drop(stdin);
        let mut line = String::new();
        let stdout = self.process.stdout.take().context("the policy service has no standard output")?;
        BufReader::new(stdout).read_line(&mut line).context("the policy service did not start")?;
        line.trim_end().parse().context("the policy service did not start")
    }

    /// Returns the name of its row, listener and cluster.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn process(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for PolicyService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use callgate::document::HEADER_PREFIX;

    use super::super::native;
    use super::super::rows::{POLICY_SERVICE_CACHED, POLICY_SERVICES};
    use super::*;
    use crate::build::{self, Flavor};
    use crate::client::{self, Request};
    use crate::envoy::{Bootstrap, Envoy, Options};
    use crate::quickstart::{HOST, Issuer, set};
    use crate::upstream::Upstream;

    /// Otherwise the comparison would be with a service that does less than claimed.
    #[test]
    #[ignore = "builds the policy service, for minutes: `.ci/run` runs it"]
    fn policy_service_allows_the_same_requests_as_the_gate() {
        for service in POLICY_SERVICES {
            allows_the_same_requests_as_the_gate(service);
        }
    }

    fn allows_the_same_requests_as_the_gate(name: &'static str) {
        // Before the issuer dates its tokens: a build can take minutes.
        let program = build::policy_service(Flavor::Testing).unwrap();
        let filter = build::filter(Flavor::Release).unwrap();
        let issuer = Issuer::new().unwrap();
        let caches_tokens = name == POLICY_SERVICE_CACHED;
        let service = PolicyService::start(&program, name, &issuer.es256.public_jwk(), caches_tokens).unwrap();
        let upstream = Upstream::start().unwrap();
        let base = Bootstrap::new(&filter, &policies::quickstart().unwrap().to_string(), upstream.address()).unwrap();
        let asked = base.with_filters(vec![native::ext_authz_grpc(name)]).unwrap();
        let mut bootstrap = Bootstrap::joined(vec![("callgate", base), ("service", asked)]).unwrap();
        bootstrap.add_cluster(native::policy_service(name, service.address())).unwrap();
        let envoy = Envoy::start(&bootstrap, &Options::default()).unwrap();
        let both = |request: &Request| {
            ["callgate", "service"].map(|name| client::call(envoy.listener(name).unwrap(), request).unwrap())
        };
        let post = |target: &str, token: &str| {
            let request = Request::post(target).host(HOST).bearer(token).header("X-Callgate-Agent", "review-agent");
            request.header("Content-Length", "0")
        };
        let (pulls, scopes) = ("/repos/acme/gateway/pulls", "code:read code:write pulls:write");

        let answers = both(&post(pulls, &issuer.token("coding-agent", scopes)));
        assert_eq!(answers.map(|answer| answer.status), [200; 2]);
        // The decision ids differ, and the gate adds the policy's version to its name.
        let is_compared = |name: &str| {
            name == "authorization"
                || name.starts_with(HEADER_PREFIX) && !["x-callgate-decision", "x-callgate-policy"].contains(&name)
        };
        let told = upstream.seen().into_iter().map(|seen| {
            let mut compared: Vec<_> = seen.headers.into_iter().filter(|(name, _)| is_compared(name)).collect();
            compared.sort();
            compared
        });
        let [by_gate, by_service] = <[_; 2]>::try_from(told.collect::<Vec<_>>()).unwrap();
        assert_eq!(by_gate, by_service);
        assert_eq!(by_gate.len(), 6, "{by_gate:?}");

        let changed = |change: &dyn Fn(&mut Value)| issuer.with("coding-agent", scopes, |_, claims| change(claims));
        let token = issuer.token("coding-agent", scopes);
        let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, "A".repeat(86));
        for (what, status, target, token) in [
            ("a forged token", 401, pulls, forged),
            ("an expired token", 401, pulls, changed(&|claims| set(claims, "exp", issuer.now - 300))),
            ("another audience", 401, pulls, changed(&|claims| set(claims, "aud", "https://other.example.com"))),
            ("another issuer", 401, pulls, changed(&|claims| set(claims, "iss", "https://other.example.com"))),
            ("a token dated in the future", 401, pulls, changed(&|claims| set(claims, "iat", issuer.now + 300))),
            ("a long lifetime", 401, pulls, changed(&|claims| set(claims, "exp", issuer.now + 3600))),
            ("another organization", 403, "/repos/globex/gateway/pulls", token.clone()),
            ("another repository", 403, "/repos/acme/other/pulls", token.clone()),
            ("another endpoint", 403, "/repos/acme/gateway/issues", token.clone()),
            ("a token of another organization", 403, pulls, changed(&|claims| set(claims, "org", "globex"))),
            ("a missing scope", 403, pulls, issuer.token("coding-agent", "code:write")),
            ("a suspended agent", 403, pulls, issuer.token("migration-agent", scopes)),
            ("an unknown agent", 403, pulls, issuer.token("nobody", scopes)),
        ] {
            let [gate, service] = both(&post(target, &token)).map(|answer| answer.status);
            assert_eq!(service, status, "{name}: {what}");
            assert!(gate >= 400, "{what}: {gate}");
        }
        assert_eq!(upstream.count(), 2);
    }
}
