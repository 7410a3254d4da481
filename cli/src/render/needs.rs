//! What a gateway needs besides the filter, as comments after its configuration: the record in the access log, labels of metrics, other
//! hosts, and the servers from which the filter fetches documents.
//!
//! Envoy's lines are those of [`shipped`](super::shipped), and Kong's are those of its form `kong.conf`. Text in this module describes
//! where they belong.

use serde_json::{Value, json};

use super::{Form, Setting, fetched, kong, kubernetes, shipped, tls, yaml};
use callgate_kit::policy::Loaded;

/// Comments. Explanations start with `##` and configuration with `# `. After a user removes `# ` from each line, the configuration is
/// effective and the explanations are still comments.
#[derive(Debug, Default)]
struct Comments(String);

impl Comments {
    fn new(explanation: &str) -> Self {
        let mut comments = Self::default();
        comments.explain(explanation);
        comments
    }

    fn explain(&mut self, explanation: &str) {
        for line in explanation.lines() {
            self.0 += "##";
            if !line.is_empty() {
                self.0 += " ";
                self.0 += line;
            }
            self.0 += "\n";
        }
    }

    /// Adds configuration under an explanation.
    fn add(&mut self, explanation: &str, configuration: &str) {
        self.0 += "##\n";
        self.explain(explanation);
        for line in configuration.lines() {
            self.0 += match line {
                "" => "#",
                // A comment in the configuration becomes an explanation.
                _ if line.starts_with('#') => "#",
                _ => "# ",
            };
            self.0 += line;
            self.0 += "\n";
        }
    }
}

/// Returns the comments for a form, after an empty line; nothing for a form that contains everything.
pub(super) fn comments(loaded: &Loaded, form: Form, setting: &Setting) -> Result<String, String> {
    let comments = match form {
        Form::Filter | Form::Ecds => envoy(loaded)?,
        Form::WasmPlugin | Form::TrafficExtension | Form::EnvoyFilter => istio(loaded, form, setting)?,
        Form::ExtensionPolicy => envoy_gateway(loaded, setting)?,
        Form::HigressPlugin => higress(loaded, setting)?,
        Form::KongYml => kong_conf(loaded),
        Form::KongConf | Form::KongMeta => return Ok(String::new()),
    };
    Ok(format!("\n{}", comments.0))
}

fn envoy(loaded: &Loaded) -> Result<Comments, String> {
    let is_module = super::is_module(loaded);
    let gateway = if is_module { super::MODULE } else { "envoy" };
    let mut comments = Comments::new(&format!(
        "What Envoy also needs. `callgate render POLICY --for {gateway} --full` prints a complete configuration with it. Otherwise remove `# `\n\
         at the start of these lines, and move each part to the place that its comment names."
    ));
    if !is_module {
        comments.add(
            "At the top of the bootstrap: labels for the filter's counters, `callgate_decisions{outcome=\"deny\",reason=\"token_expired\"}`.\n\
             Without this, outcome and reason are parts of the name.",
            &shipped::WASM.stats_config()?,
        );
    }
    comments.add(
        "In the `HttpConnectionManager`, next to `http_filters`: the decision record in the access log.",
        &shipped::of(loaded).access_log()?,
    );
    comments.add(
        "In each virtual host that does not use Callgate. List its domains one by one: `*` would also match every spelling of the API's\n\
         name that Envoy reads as another host.",
        &shipped::of(loaded).disabled()?,
    );
    let clusters = fetched::clusters(loaded);
    if !clusters.is_empty() {
        comments.add(
            "In `static_resources`, or as clusters that Envoy discovers: the servers from which the filter fetches the keys of issuers.\n\
             Whoever answers in place of one chooses the keys that the gate trusts: `trusted_ca` names the authorities of the system,\n\
             here as in images based on Debian, and the certificate must be for this host.",
            &yaml(&json!({ "clusters": clusters }))?,
        );
    }
    if let Some(socket) = tls::transport_socket(loaded) {
        comments.add(
            "In each filter chain in front of the filter: TLS with the authorities of your agents, because the policy identifies clients by\n\
             their certificates. With `require_client_certificate: false`, clients without a certificate reach the filter too, except with\n\
             the validator for several trust domains. Without the validation context, Envoy would ask for no certificate and let every\n\
             client in.",
            &yaml(&json!({ "transport_socket": socket }))?,
        );
    }
    if let Some(filter) = tls::passing_filter(loaded) {
        comments.add(
            "In each filter chain, in front of the `HttpConnectionManager`: it passes the certificate of the client to the module, to which\n\
             Envoy itself gives only the digest. Without it, the module cannot read any certificate.",
            &yaml(&json!({ "filters": [filter] }))?,
        );
    }
    Ok(comments)
}

fn istio(loaded: &Loaded, form: Form, setting: &Setting) -> Result<Comments, String> {
    let mut comments = Comments::new(
        "What Istio also needs. It is not part of a resource, so remove `# ` at the start of these lines and move each part to the place\n\
         that its comment names.",
    );
    let mut mesh = mesh()?;
    // The patches of an `EnvoyFilter` include this.
    if let Some(mesh) = mesh.as_object_mut().filter(|_| form != Form::EnvoyFilter) {
        mesh.insert("pathNormalization".to_owned(), json!({ "normalization": "NONE" }));
    }
    comments.add(
        "In the configuration of the mesh: the decision record in the access log, and paths as clients sent them.",
        &yaml(&json!({ "meshConfig": mesh }))?,
    );
    comments.add(
        "In the bootstrap of the proxy: labels for the filter's counters. Without this, outcome and reason are parts of the name, such as\n\
         `callgate_decisions_deny_token_expired`. Istio 1.21 and newer ignore an `EnvoyFilter` for `BOOTSTRAP`, so this requires a custom\n\
         bootstrap.",
        &shipped::WASM.stats_config()?,
    );
    // The patches of an `EnvoyFilter` include the clusters.
    if form != Form::EnvoyFilter {
        let resources = kubernetes::fetched_hosts(loaded, setting);
        add_resources(
            &mut comments,
            &format!(
                "Further resources: the servers from which the filter fetches the keys of issuers, for the gate's proxies only. Whoever\n\
                 answers in place of one chooses the keys that the gate trusts, so its certificate must be for this host, from an\n\
                 authority of the system. If `PILOT_FILTER_GATEWAY_CLUSTER_CONFIG` is on, a `VirtualService` of the gateway must name\n\
                 the host too.{}",
                fetched::renamed(loaded, "")
            ),
            &resources,
        )?;
    }
    if let Some(validation) = kubernetes::validation(loaded, setting) {
        let mut explanation =
            "A further resource: it validates the certificates by which the policy identifies clients.".to_owned();
        if setting.sidecar {
            explanation += "\nThe mesh issues and validates these certificates.";
        } else {
            explanation += "\nThe secret `api` also needs the authorities of your agents, as `ca.crt`.";
        }
        if let Some(shared) = tls::shared(loaded, "Istio").filter(|_| !setting.sidecar) {
            explanation += &format!("\nThis is not enough: {shared}.");
        }
        add_resources(&mut comments, &explanation, &[validation])?;
    }
    comments.explain(
        "\nCallgate cannot be disabled for a single host of a proxy. Use other labels for each workload, or write one policy for all hosts.",
    );
    Ok(comments)
}

/// Adds resources under one explanation, or nothing if there are none.
fn add_resources(comments: &mut Comments, explanation: &str, resources: &[Value]) -> Result<(), String> {
    let documents: Vec<String> = resources.iter().map(yaml).collect::<Result<_, _>>()?;
    if !documents.is_empty() {
        comments.add(explanation, &documents.iter().map(|document| format!("---\n{document}")).collect::<String>());
    }
    Ok(())
}

/// Returns the fields of the mesh configuration for the access log. The text format would write `-` for a request without a record, so
/// the encoding is JSON, in which the record is a string.
fn mesh() -> Result<Value, String> {
    Ok(json!({
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "accessLogFormat": shipped::WASM.members()?.to_string(),
    }))
}

fn envoy_gateway(loaded: &Loaded, setting: &Setting) -> Result<Comments, String> {
    let is_module = super::is_module(loaded);
    let gateway = if is_module { "envoy-module --as extension-policy" } else { "envoy-gateway" };
    let mut comments = Comments::new(&format!(
        "What Envoy Gateway also needs: further resources, which `callgate render POLICY --for {gateway} --full` prints. Or remove\n\
         `# ` at the start of these lines."
    ));
    let mut proxy =
        "The decision record in the access log. `infrastructure.parametersRef` of the `Gateway` must name this resource.".to_owned();
    if is_module {
        proxy += "\nIt registers the module, and mounts the file: here from an image, which requires Kubernetes 1.33. Any other volume with the\n\
                  file works too. Never register a module with `type: Remote`: if a download fails, every request passes without Callgate.\n\
                  Without `doNotClose: true`, an update can unload the module, and its limits and accepted signatures with it.";
    }
    if !fetched::hosts(loaded).is_empty() {
        proxy += "\nIts bootstrap has the servers from which the filter fetches the keys of issuers. Whoever answers in place of one chooses\n\
                  the keys that the gate trusts: `trusted_ca` names the authorities of the system. A `Backend` with a `BackendTLSPolicy`\n\
                  is no alternative: it becomes a cluster only through a route, with a generated name. A changed bootstrap restarts the\n\
                  proxies.";
    }
    let mut clients = "Paths as clients sent them.".to_owned();
    if tls::is_used(loaded) {
        clients += "\nIts `tls` validates the certificates of clients, because the policy identifies clients by them: `clients-ca` has the\n\
                    authorities of your agents, as `ca.crt`. Only listeners with `protocol: HTTPS` can ask for certificates.";
    }
    if let Some(shared) = tls::shared(loaded, "Envoy Gateway") {
        clients += &format!("\nThis is not enough: {shared}.");
    }
    let resources = [
        (&*proxy, kubernetes::envoy_proxy(loaded, setting, &shipped::of(loaded).members()?)),
        (&*clients, kubernetes::client_traffic_policy(loaded, setting)),
    ];
    for (explanation, resource) in resources {
        add_resources(&mut comments, explanation, &[resource])?;
    }
    if !is_module {
        comments.explain(
            "\nLabels for the filter's counters: `stats_config`, as `callgate render POLICY --for envoy` prints it, in `bootstrap` of the\n\
             `EnvoyProxy`. Without it, outcome and reason are parts of the name, such as `callgate_decisions_deny_token_expired`.",
        );
    }
    comments.explain(
        "\nFor hosts without Callgate, use another `Gateway`, or one policy for each `HTTPRoute` that uses Callgate.",
    );
    Ok(comments)
}

fn higress(loaded: &Loaded, setting: &Setting) -> Result<Comments, String> {
    let mut comments = Comments::new(
        "What Higress also needs. It is not part of this resource, so remove `# ` at the start of these lines and move them to the place\n\
         that the comment names.",
    );
    comments
        .add("In `mesh` of the `ConfigMap` `higress-config`: the decision record in the access log.", &yaml(&mesh()?)?);
    let bridge: Vec<Value> = kubernetes::mcp_bridge(loaded, setting).into_iter().collect();
    add_resources(
        &mut comments,
        &format!(
            "A further resource: the servers from which the filter fetches the keys of issuers. Higress reads only this `McpBridge`, so add\n\
             the registries to yours if it exists. Whoever answers in place of such a server chooses the keys that the gate trusts.\n\
             Make sure that the proxy verifies its certificate and the name in it: `callgate check --gateway FILE` reads the proxy's\n\
             `/config_dump`.{}",
            fetched::renamed(loaded, ".dns")
        ),
        &bridge,
    )?;
    comments.explain(
        "\nLabels for the filter's counters: `stats_config`, as `callgate render POLICY --for envoy` prints it, in the bootstrap of the\n\
         proxy. Without it, outcome and reason are parts of the name, such as `callgate_decisions_deny_token_expired`.\n\
         \n\
         Do not use `matchRules` for other hosts: write one policy for all hosts and endpoints.",
    );
    Ok(comments)
}

fn kong_conf(loaded: &Loaded) -> Comments {
    let mut comments = Comments::new(
        "What Kong also needs: a schema next to callgate.wasm, which `callgate render POLICY --for kong --as meta.json` prints, and these\n\
         lines in kong.conf, which `--as kong.conf` prints. The decision record is in `kong.ctx.shared.callgate`: a logging plugin can write\n\
         it. Other services do not use Callgate unless they have a filter chain with it.",
    );
    comments.add("For kong.conf:", &kong::settings(loaded));
    comments
}
