//! Checks the servers from which a gate fetches documents, such as the keys of issuers: whoever answers in place of such a server
//! chooses the keys that the gate trusts.

use std::net::IpAddr;

use super::Check;
use super::finding::Code;
use super::gate::Gate;
use super::view::View;
use callgate::policy::FetchedHost;

/// The transport sockets that start with TLS.
const TLS: [&str; 2] = [".tls.v3.UpstreamTlsContext", ".quic.v3.QuicUpstreamTransport"];
/// The transport sockets that start without TLS.
const STARTS_PLAIN: &str = "StartTlsConfig";

impl<'a> Check<'a> {
    /// Checks the servers that the policies of all gates name.
    pub(super) fn fetched(&mut self) {
        for gate in self.gates.clone() {
            let Some(facts) = &gate.facts else { continue };
            for host in &facts.fetched {
                if facts.gateway == "kong" {
                    self.fetched_address(&gate, host);
                } else {
                    self.fetched_upstream(&gate, host);
                }
            }
        }
    }

    /// Checks the address that a policy for Kong names.
    fn fetched_address(&mut self, gate: &Gate<'a>, host: &FetchedHost) {
        let (name, port) = host.upstream.rsplit_once(':').unwrap_or((&host.upstream, ""));
        if !is_same_host(name, &host.host) || port.parse() != Ok(host.port) {
            let message = elsewhere(host, &host.upstream);
            self.add(Code::FetchElsewhere, &gate.view, message);
        }
    }

    /// Checks the cluster that a policy names.
    fn fetched_upstream(&mut self, gate: &Gate<'a>, host: &FetchedHost) {
        let named = |cluster: &&View<'a>| cluster.text("name") == Some(&*host.upstream);
        let clusters: Vec<View<'a>> = self.world.clusters.iter().filter(named).cloned().collect();
        for cluster in &clusters {
            self.fetched_cluster(cluster, host);
        }
        if !clusters.is_empty() || self.fetched_service(host) {
            return;
        }
        let bootstraps = &self.world.bootstraps;
        let is_complete =
            !bootstraps.is_empty() && bootstraps.iter().all(|all| all.path("dynamic_resources.cds_config").is_none());
        let name = &host.upstream;
        if is_complete {
            let message = format!(
                "the policy fetches from the cluster `{name}`, which does not exist; write the cluster that `callgate render` prints"
            );
            self.add(Code::FetchClusterMissing, &gate.view, message);
        } else {
            let message = format!(
                "the policy fetches from the cluster `{name}`, which is not among the files; give the file with it too"
            );
            self.add(Code::Hidden, &gate.view, message);
        }
    }

    fn fetched_cluster(&mut self, cluster: &View<'a>, host: &FetchedHost) {
        for endpoint in cluster.each("load_assignment.endpoints").iter().flat_map(|group| group.each("lb_endpoints")) {
            let address = endpoint.path("endpoint.address.socket_address").unwrap_or(endpoint);
            let (name, port) = (address.text("address").unwrap_or_default(), address.number("port_value"));
            if !is_same_host(name, &host.host) || port != Some(u64::from(host.port)) {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let message = elsewhere(host, &format!("{name}{port}"));
                self.add(Code::FetchElsewhere, &address, message);
            }
        }
        if !host.tls {
            return;
        }
        let Some(usual) = cluster.get("transport_socket") else {
            return self.without_tls(cluster, "write a `transport_socket` with an `UpstreamTlsContext`");
        };
        let options = Options::of(cluster);
        let matches = cluster.each("transport_socket_matches");
        // Without a socket, a match means no TLS.
        for socket in std::iter::once(usual)
            .chain(matches.iter().map(|one| one.get("transport_socket").unwrap_or_else(|| one.clone())))
        {
            let contexts = socket.find(&TLS);
            if contexts.is_empty() || !socket.find(&[STARTS_PLAIN]).is_empty() {
                self.without_tls(&socket, "write an `UpstreamTlsContext`");
            }
            for context in contexts {
                let context = context.get("upstream_tls_context").unwrap_or(context);
                self.fetched_tls(&context, &options, host);
            }
        }
    }

    /// Reports a connection without TLS.
    pub(super) fn without_tls(&mut self, view: &View<'a>, instead: &str) {
        let message = format!("the URL is `https`, but this connection has no TLS; {instead}");
        self.add(Code::FetchWithoutTls, view, message);
    }

    fn fetched_tls(&mut self, context: &View<'a>, options: &Options, host: &FetchedHost) {
        let validation = self.validation(context);
        for part in &validation.visible {
            let untrusted = part.is("trust_chain_verification", "ACCEPT_UNTRUSTED", 1);
            if let Some(accepts) = part.get("trust_chain_verification").filter(|_| untrusted) {
                let message = "certificates of unknown authorities are accepted; remove this";
                self.add(Code::FetchUnverified, &accepts, message);
            }
            if let Some(expired) = part.says("allow_expired_certificate") {
                self.add(Code::FetchUnverified, &expired, "expired certificates are accepted; remove this");
            }
        }
        if let Some(custom) = validation.visible.iter().find_map(|part| part.get("custom_validator_config")) {
            let message =
                "this validator is not checked; make sure that it accepts only certificates for the host of the URL";
            return self.add(Code::NotChecked, &custom, message);
        }
        let place = validation.visible.first().unwrap_or(context).clone();
        if let Some(hidden) = &validation.hidden {
            let message = "the authorities that this cluster trusts come from a source that is not among the files; make sure that \
                           they are those of the host in the URL";
            self.add(Code::Hidden, hidden, message);
        } else if !validation.visible.iter().any(has_authority) {
            let message =
                "the certificate of the server is not verified; write a `validation_context` with `trusted_ca`";
            return self.add(Code::FetchUnverified, &place, message);
        }
        // A secret that is not among the files may contain the names.
        if !validation.visible.is_empty() && !options.checks_names && !context.affirms("auto_sni_san_validation") {
            self.fetched_names(&validation.visible, &place, host);
        }
        self.fetched_sni(context, options, host);
    }

    /// Checks the names of the certificates that are accepted.
    fn fetched_names(&mut self, parts: &[View<'a>], place: &View<'a>, host: &FetchedHost) {
        let typed = parts.iter().flat_map(|part| part.each("match_typed_subject_alt_names"));
        let mut matchers: Vec<(View<'a>, bool)> = typed
            .map(|name| {
                let kind = if is_address(&host.host) { ("IP_ADDRESS", 4) } else { ("DNS", 2) };
                let fits = name.is("san_type", kind.0, kind.1);
                (name.get("matcher").unwrap_or(name), fits)
            })
            .collect();
        if matchers.is_empty() {
            // Envoy reads the older field only without the newer one.
            let older = parts.iter().flat_map(|part| part.each("match_subject_alt_names"));
            matchers = older.map(|matcher| (matcher, true)).collect();
        }
        let is_host = |(matcher, fits): &(View<'a>, bool)| {
            *fits && matcher.text("exact").is_some_and(|name| is_same_host(name, &host.host))
        };
        let name = &host.host;
        if !matchers.iter().any(is_host) {
            let message = format!(
                "the certificate may be for another host than that of the URL; write `match_typed_subject_alt_names` with `exact: \
                 {name}`"
            );
            self.add(Code::FetchNameUnverified, place, message);
        } else if let Some((wide, _)) = matchers.iter().find(|(matcher, _)| matcher.text("exact").is_none()) {
            let message = format!("this accepts certificates of other hosts too; write only `exact: {name}`");
            self.add(Code::FetchNameUnverified, wide, message);
        }
    }

    fn fetched_sni(&mut self, context: &View<'a>, options: &Options, host: &FetchedHost) {
        let name = &host.host;
        match context.get("sni") {
            Some(sni) if !sni.value.as_str().is_some_and(|sni| is_same_host(sni, name)) => {
                let message = format!("the server is asked for the certificate of another host; write `sni: {name}`");
                self.add(Code::FetchNameUnverified, &sni, message);
            }
            // An IP address is never sent as a name (RFC 6066, section 3).
            None if !is_address(name) && !options.sends_names && !context.affirms("auto_host_sni") => {
                let message = format!("the server is not told which host's certificate to send; write `sni: {name}`");
                self.add(Code::FetchNameUnverified, context, message);
            }
            _ => {}
        }
    }

    /// Returns what a TLS context requires of certificates.
    pub(super) fn validation(&self, context: &View<'a>) -> Validation<'a> {
        let mut validation = Validation { visible: Vec::new(), hidden: None };
        let Some(common) = context.get("common_tls_context") else { return validation };
        validation.visible.extend(common.get("validation_context"));
        validation.visible.extend(common.path("combined_validation_context.default_validation_context"));
        let secrets = [
            "validation_context_sds_secret_config",
            "combined_validation_context.validation_context_sds_secret_config",
        ];
        for secret in secrets.into_iter().filter_map(|path| common.path(path)) {
            match self.secret(&secret) {
                Some(known) => validation.visible.push(known),
                None => validation.hidden = Some(secret),
            }
        }
        validation
    }

    /// Returns the validation context of a static secret.
    fn secret(&self, reference: &View<'a>) -> Option<View<'a>> {
        let name = reference.text("name")?;
        if reference.get("sds_config").is_some() {
            return None;
        }
        let secrets = self.world.bootstraps.iter().flat_map(|bootstrap| bootstrap.each("static_resources.secrets"));
        secrets.filter(|secret| secret.text("name") == Some(name)).find_map(|secret| secret.get("validation_context"))
    }
}

/// What a TLS context requires of certificates.
pub(super) struct Validation<'a> {
    /// The parts that are among the files.
    pub(super) visible: Vec<View<'a>>,
    /// The reference to a part that is not.
    pub(super) hidden: Option<View<'a>>,
}

/// The settings of a cluster that take the name of the server from the request.
struct Options {
    sends_names: bool,
    checks_names: bool,
}

impl Options {
    fn of(cluster: &View<'_>) -> Self {
        let mut options: Vec<View<'_>> = cluster.find(&[".http.v3.HttpProtocolOptions"]);
        options.retain(|options| options.get("upstream_http_protocol_options").is_some());
        let affirms = |field: &str| {
            options.iter().any(|options| options.affirms(&format!("upstream_http_protocol_options.{field}")))
        };
        Self { sends_names: affirms("auto_sni"), checks_names: affirms("auto_san_validation") }
    }
}

/// Returns whether a validation context states whose certificates are accepted.
pub(super) fn has_authority(part: &View<'_>) -> bool {
    let pinned = ["verify_certificate_spki", "verify_certificate_hash"];
    part.get("trusted_ca").is_some() || pinned.iter().any(|field| !part.each(field).is_empty())
}

/// Returns the message about a server that is not at the host of its URL.
pub(super) fn elsewhere(host: &FetchedHost, address: &str) -> String {
    let FetchedHost { tls, host, port, .. } = host;
    let scheme = if *tls { "https" } else { "http" };
    format!("requests for `{scheme}://{host}:{port}` go to `{address}`; write that host, unless this is your own proxy")
}

/// Returns whether both are the same host, which may be an IP address.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    let address = |host: &str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.')),
        _ => false,
    }
}

pub(super) fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_names_or_addresses() {
        for (one, other) in [("idp.example.com", "IDP.example.com."), ("[::1]", "0:0::1"), ("10.0.0.1", "10.0.0.1")] {
            assert!(is_same_host(one, other), "{one}, {other}");
        }
        for (one, other) in [("idp.example.com", "example.com"), ("::1", "::2"), ("10.0.0.1", "a.example"), ("", "a")] {
            assert!(!is_same_host(one, other), "{one}, {other}");
        }
    }
}
