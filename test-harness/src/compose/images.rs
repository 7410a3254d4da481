//! The base images of the composition, either present on this machine or pulled. On a machine that reaches no registry, `.ci/images` builds
//! stand-ins under the same names.

use anyhow::{Result, ensure};

use super::docker::Engine;
use crate::progress;

/// A base image of the composition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The environment variable that overrides it.
    pub(super) variable: &'static str,
    /// The public image.
    pub(super) public: &'static str,
}

pub(super) const BASE: Base = Base { variable: "BASE_IMAGE", public: "debian:bookworm-slim" };
pub(super) const BUILD: Base = Base { variable: "BUILD_IMAGE", public: "rust:1-bookworm" };
pub(super) const ENVOY: Base = Base { variable: "ENVOY_IMAGE", public: "envoyproxy/envoy:v1.40-latest" };
pub(super) const PROMETHEUS: Base = Base { variable: "PROMETHEUS_IMAGE", public: "prom/prometheus:v3.5.0" };
#[cfg(test)]
pub(super) const GRAFANA: Base = Base { variable: "GRAFANA_IMAGE", public: "grafana/grafana:12.2.0" };
pub(super) const KONG: Base = Base { variable: "KONG_IMAGE", public: "kong:3.9" };

/// The images that every service is built from.
const ALWAYS: [&Base; 3] = [&BASE, &BUILD, &ENVOY];

impl Base {
    /// Returns the image's name on this machine.
    pub(super) fn name(&self) -> String {
        std::env::var(self.variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| self.public.to_owned())
    }
}

/// Pulls the missing images, and returns those of `wanted` that are still missing. After the first failed pull it does not contact the
/// registry again.
///
/// # Errors
/// When an image is missing that every service is built from.
pub(super) fn provide(engine: &Engine, wanted: &[&Base]) -> Result<Vec<String>> {
    let mut answers = true;
    let mut missing = |bases: &[&Base]| -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for name in bases.iter().map(|base| base.name()) {
            if engine.has_image(&name)? {
                continue;
            }
            let pull = || engine.docker(["pull", "--quiet", &*name]);
            if answers && progress::during("pulling an image", pull).is_ok() {
                continue;
            }
            answers = false;
            missing.push(name);
        }
        Ok(missing)
    };
    let needed = missing(&ALWAYS)?;
    ensure!(
        needed.is_empty(),
        "missing images that cannot be pulled: {}; create substitutes with `.ci/images`, or set others as described in test-harness/README.md",
        needed.join(", ")
    );
    missing(wanted)
}
