//! The gate in a real Envoy that fetches a provider's keys.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use callgate_testbed::build::Flavor;
use callgate_testbed::client::{self, Request};
use callgate_testbed::envoy::{Adapter, Bootstrap, Envoy, Options};
use callgate_testbed::upstream::Upstream;
use serde_json::Value;

use crate::gate::HOST;

/// Much longer than a fetch takes.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// A running Envoy with the gate, and the API behind it.
pub(crate) struct EnvoyGate {
    envoy: Envoy,
    _upstream: Upstream,
}

impl EnvoyGate {
    /// The provider's cluster, which has no TLS.
    pub(crate) const CLUSTER: &str = "idp";

    /// Starts Envoy with two workers and this policy.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not accept the policy.
    pub(crate) fn start(policy: &Value, provider: SocketAddr) -> Result<Self> {
        let module = Adapter::chosen()?.build(Flavor::Release)?;
        let upstream = Upstream::start()?;
        let mut bootstrap = Bootstrap::new(&module, &policy.to_string(), upstream.address())?;
        bootstrap.add_server(Self::CLUSTER, provider)?;
        let envoy = Envoy::start(&bootstrap, &Options { concurrency: 2, ..Options::default() })?;
        Ok(Self { envoy, _upstream: upstream })
    }

    /// Sends a `GET` request with a bearer token, and repeats it while there are no keys. Returns `allow` or the reason of the denial.
    ///
    /// # Errors
    /// When there is no response, or none of the filter.
    pub(crate) fn bearer(&self, path: &str, token: &str) -> Result<String> {
        let request = Request::get(path).host(HOST).bearer(token);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let response = client::call(self.envoy.api()?, &request)?;
            if response.status == 200 {
                return Ok("allow".to_owned());
            }
            let code = response.code().with_context(|| format!("Envoy answers {} itself", response.status))?;
            if code != "keys_unavailable" || Instant::now() > deadline {
                return Ok(code);
            }
            thread::sleep(POLL);
        }
    }
}
