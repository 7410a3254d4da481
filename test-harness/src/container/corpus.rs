//! Runs the end-to-end corpus against a gateway in another container.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{API, WITNESS, resolve};
use crate::corpus::{self, Wire, envoy};
use crate::envoy::lines_in;
use crate::upstream::{RecordingUpstream, Seen};

/// The gateway's access log, on a volume that both containers mount.
const ACCESS_LOG: &str = "/var/log/envoy/access.log";

/// The services `envoy` and `upstream`.
struct There {
    listeners: BTreeMap<String, SocketAddr>,
    recording: RecordingUpstream,
}

impl envoy::Site for There {
    fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.listeners.get(name).copied().with_context(|| format!("there is no listener `{name}`"))
    }

    fn saw(&self, name: &str, value: &str) -> Result<Option<Seen>> {
        self.recording.saw(name, value)
    }

    fn access_log(&self) -> Vec<Value> {
        let log = fs::read(ACCESS_LOG).unwrap_or_default();
        lines_in(&String::from_utf8_lossy(&log))
    }
}

pub(super) fn run() -> Result<()> {
    ensure!(Path::new(ACCESS_LOG).is_file(), "{ACCESS_LOG} is missing; mount the gateway's access log");
    let suites = envoy::told_apart(&envoy::without_documents(corpus::suites()?));
    let gateway = resolve(("envoy", API))?;
    let at = |((name, _), port): ((String, String), u16)| (name, SocketAddr::new(gateway.ip(), port));
    let listeners = envoy::listeners(&suites).into_iter().zip(API..).map(at).collect();
    let site = There { listeners, recording: RecordingUpstream::at(resolve(WITNESS)?) };
    let count = suites.iter().flat_map(|suite| &suite.cases).filter(|case| case.skip_envoy.is_none()).count();
    println!("{count} cases of {} files ...", suites.len());
    for (why, skipped) in envoy::skipped(&suites) {
        println!("{skipped} cases are skipped: {why}");
    }
    let envoy::Report { wrong, .. } = envoy::judge(&site, &suites, Wire::Http1)?;
    ensure!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} cases, all pass.");
    Ok(())
}
