//! A complete bootstrap of Envoy: `envoy/envoy.yaml`, or `envoy/module/envoy.yaml`, with the filter, the hosts, the buffer and the clusters
//! that the policy needs.

use serde_json::Value;

use super::shipped::{self, Cut};
use super::{Setting, envoy, fetched, tls};
use callgate_kit::policy::Loaded;

/// The comment at the top. The shipped file has its own.
const TOP: &str = "\
# Envoy 1.36 or newer with Callgate in front of one API, as `callgate render POLICY --for envoy --full` prints it.
#
#   envoy --config-path envoy.yaml
#
# Change these: the addresses, the path of callgate.wasm, and the examples: the origin that may send preflight requests, the routes of
# streams, and the virtual host without the filter.

";

/// The same with the dynamic module.
const MODULE_TOP: &str = "\
# Envoy 1.38 or newer with Callgate as a dynamic module in front of one API, as `callgate render POLICY --for envoy-module --full` prints it.
#
#   envoy --config-path envoy.yaml
#
# Change these: the addresses, the path of the module, and the examples: the origin that may send preflight requests, the routes of
# streams, and the virtual host without the filter.

";

/// The comment above the clusters from which the filter fetches documents.
const FETCHED: &str = "\
# The filter fetches the keys of issuers from here. Whoever answers in place of such a server chooses the keys that the gate trusts:
# `trusted_ca` names the authorities of the system, and the certificate must be for this host.
";

/// The comment above the TLS of the listener.
const TLS: &str = "\
# The policy identifies clients by their certificates. Provide these files, with the authorities of your agents. With
# `require_client_certificate: false`, clients without a certificate reach the filter too, except with the validator for several
# trust domains. Never remove the validation context: Envoy would ask for no certificate and let every client in.
";

/// The comment above the filter that passes the certificate of the client to the dynamic module.
const PASSING: &str = "\
# Passes the certificate of the client to the module, to which Envoy itself gives only the digest. The module accepts no certificate with
# another digest.
";

/// The bytes that a listener of Envoy buffers if its configuration does not state a number.
const USUAL_BUFFER: u64 = 1 << 20;

/// Lines of the shipped file that depend on the policy.
const ADDRESS: &str = "address: { socket_address: { address: 0.0.0.0, port_value: 10000 } }";
const DOMAINS: &str = r#"domains: ["api.example.com"]"#;
const FILTER: &str = "- name: callgate";
const CHAIN: &str = "- filters:";
const CLUSTERS: &str = "clusters:";
/// The cluster that the shipped file has.
const API: &str = "api";
const OTHER_HOST: &str = "- name: website";
const OTHER_DOMAIN: &str = "www.example.com";

/// Returns the bootstrap.
pub(super) fn bootstrap(loaded: &Loaded, setting: &Setting) -> Result<String, String> {
    let filter = super::yaml(&envoy::filter(loaded, setting)?)?;
    let text = Cut::new(shipped::of(loaded).configuration()?, FILTER)?.replaced(&filter);
    let hosts = loaded.document.value().get("hosts").cloned().unwrap_or_default();
    let text = Cut::new(&text, DOMAINS)?.replaced(&format!("domains: {hosts}"));
    let text = match loaded.policy.largest_held_body() {
        Some(bytes) if bytes > USUAL_BUFFER => Cut::new(&text, ADDRESS)?.replaced(&format!(
            "{ADDRESS}\n# Envoy buffers a body until the filter has checked it: `max_body` or `max_json` in the policy.\n\
             per_connection_buffer_limit_bytes: {bytes}"
        )),
        _ => text,
    };
    let text = match fetched::clusters(loaded) {
        fetched if fetched.is_empty() => text,
        fetched => {
            if fetched.iter().any(|cluster| cluster.get("name").is_some_and(|name| name == API)) {
                return Err(format!(
                    "the policy fetches from the cluster `{API}`, which is the API's in this configuration; give it another name"
                ));
            }
            let cut = Cut::new(&text, CLUSTERS)?;
            cut.replaced(&format!("{}{FETCHED}{}", cut.block(), super::yaml(&Value::Array(fetched))?))
        }
    };
    let text = match tls::transport_socket(loaded) {
        None => text,
        Some(socket) => {
            let cut = Cut::new(&text, CHAIN)?;
            let chain = cut.block();
            let filters = chain.strip_prefix('-').unwrap_or(&chain);
            let (list, filters) = filters.split_once('\n').unwrap_or((filters, ""));
            let tls = super::yaml(&serde_json::json!([{ "transport_socket": socket }]))?;
            cut.replaced(&format!("{TLS}{tls} {list}\n{}{filters}", passing(loaded)?))
        }
    };
    // Envoy does not start if two virtual hosts have the same domain.
    let is_own = |host: &Value| host.as_str() == Some(OTHER_DOMAIN);
    let text = if hosts.as_array().is_some_and(|hosts| hosts.iter().any(is_own)) {
        Cut::new(&text, OTHER_HOST)?.replaced("")
    } else {
        text
    };
    let top = if super::is_module(loaded) { MODULE_TOP } else { TOP };
    Ok(format!("{top}{text}"))
}

/// Returns the entry of a filter chain's `filters` that passes certificates to the module, if the policy needs it.
fn passing(loaded: &Loaded) -> Result<String, String> {
    let Some(filter) = tls::passing_filter(loaded) else { return Ok(String::new()) };
    let entry = super::yaml(&serde_json::json!([filter]))?;
    Ok(format!("{PASSING}{entry}").lines().map(|line| format!("  {line}\n")).collect())
}
