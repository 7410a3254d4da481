//! Judges requests that reach an upstream without the gate: either they bypass it, or the upstream never belonged to a gate.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Check;
use super::finding::Code;
use super::view::View;

/// The destinations of a route's requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    pub(super) clusters: BTreeSet<String>,
    /// Whether a component outside of these files chooses the destination.
    pub(super) unknown: bool,
}

impl Targets {
    pub(super) fn cluster(name: &str) -> Self {
        Self { clusters: BTreeSet::from([name.to_owned()]), unknown: false }
    }

    pub(super) fn unknown() -> Self {
        Self { clusters: BTreeSet::new(), unknown: true }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && !self.unknown
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.clusters.extend(other.clusters.iter().cloned());
        self.unknown |= other.unknown;
    }
}

/// Requests that reach an upstream without a gate.
#[derive(Debug, Clone)]
pub(super) struct BypassRoute<'a> {
    /// The kind of finding if this is a bypass.
    pub(super) code: Code,
    pub(super) view: View<'a>,
    pub(super) targets: Targets,
    /// The names that clients use, as in the domains of virtual hosts; `*` for every name.
    pub(super) hosts: Vec<String>,
    /// The problem and what to do about it.
    pub(super) message: String,
}

impl<'a> Check<'a> {
    /// Distinguishes bypasses of the gate from unrelated traffic.
    pub(super) fn judge_ungated(&mut self, files: &[PathBuf]) {
        let names: BTreeSet<String> =
            self.gates.iter().filter_map(|gate| gate.facts.as_ref()).flat_map(|facts| facts.hosts.clone()).collect();
        let admin = self.admin_clusters();
        // A policy that cannot be read may apply to any name.
        let unread = self.gates.iter().any(|gate| gate.facts.is_none());
        let no_gate = self.gates.is_empty();
        if no_gate
            && self.bypasses.is_empty()
            && !self.report.has(Code::GateHidden)
            && let Some(file) = files.first()
        {
            let message =
                "no gate in these files; give all files of the gateway, or add the gate with `callgate render`";
            self.report.add_whole(Code::NoGate, &file.display().to_string(), message.to_owned());
        }
        for way in std::mem::take(&mut self.bypasses) {
            if way.targets.clusters.iter().any(|cluster| admin.contains(cluster)) {
                let message = "this route reaches the admin interface, which can terminate the process and change the runtime; \
                               remove it, or expose only `/stats` on a separate loopback listener";
                self.add(Code::AdminExposed, &way.view, message);
                continue;
            }
            let named = way.hosts.iter().any(|pattern| names.iter().any(|name| may_serve(pattern, name)));
            let shared = way.targets.clusters.iter().any(|cluster| self.gated.contains(cluster));
            if no_gate || unread || way.targets.unknown || named || shared {
                self.add(way.code, &way.view, way.message);
            } else {
                let clusters: Vec<&str> = way.targets.clusters.iter().map(String::as_str).collect();
                let message = format!(
                    "requests reach `{}` without the gate, which is correct only if no policy protects this upstream; otherwise \
                     add the gate",
                    clusters.join("`, `")
                );
                self.add(Code::OtherUpstream, &way.view, message);
            }
        }
    }

    /// Returns the clusters that lead to an admin interface of these files.
    fn admin_clusters(&self) -> BTreeSet<String> {
        let addresses = self.world.bootstraps.iter().filter_map(|bootstrap| bootstrap.path("admin.address"));
        let ports: BTreeSet<u64> =
            addresses.filter_map(|address| address.number("socket_address.port_value")).collect();
        let local = |endpoint: &View<'_>| {
            let address = endpoint.path("endpoint.address.socket_address");
            address.is_some_and(|address| {
                let port = address.number("port_value").is_some_and(|port| ports.contains(&port));
                port && address.text("address").is_some_and(is_loopback)
            })
        };
        let leads = |cluster: &&View<'_>| {
            let groups = cluster.each("load_assignment.endpoints");
            groups.iter().flat_map(|group| group.each("lb_endpoints")).any(|endpoint| local(&endpoint))
        };
        self.world.clusters.iter().filter(leads).filter_map(|cluster| cluster.text("name")).map(str::to_owned).collect()
    }
}

/// Returns whether an address can be reached only from this machine.
pub(super) fn is_loopback(address: &str) -> bool {
    address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns whether a virtual host with this domain may receive requests for this name.
pub(super) fn may_serve(domain: &str, name: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    let bare = |text: &str| match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*') => host.to_owned(),
        _ => text.to_owned(),
    };
    let (domain, name) = (bare(&domain), bare(name));
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (_, Some(prefix)) => name.starts_with(prefix),
        _ => domain == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_hosts_against_every_form_of_domain() {
        for domain in [
            "*",
            "api.example.com",
            "API.example.com",
            "*.example.com",
            "*example.com",
            "api.*",
            "api.example.com:80",
            "api.example.com.",
        ] {
            assert!(may_serve(domain, "api.example.com"), "{domain}");
        }
        for domain in ["www.example.com", "*.example.org", "www.*", "example.com"] {
            assert!(!may_serve(domain, "api.example.com"), "{domain}");
        }
        assert!(may_serve("api.example.com:8443", "api.example.com:443"));
    }

    #[test]
    fn recognizes_loopback_addresses() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(address), local, "{address}");
        }
    }
}
