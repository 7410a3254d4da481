//! The filter in the configuration of Kubernetes gateways: a resource that contains the policy.

use serde_json::{Map, Value, json};

use super::{Setting, envoy, fetched, is_module, policy, tls};
use callgate_kit::policy::Loaded;

/// A placeholder registry that does not exist. Users replace it with their own.
const IMAGE: &str = concat!("registry.example.com/callgate:", env!("CARGO_PKG_VERSION"));
/// The same for an image with the file of the dynamic module.
const MODULE_IMAGE: &str = concat!("registry.example.com/callgate-module:", env!("CARGO_PKG_VERSION"));

/// Returns Istio's `WasmPlugin`.
pub(super) fn wasm_plugin(loaded: &Loaded, setting: &Setting) -> Value {
    let mut spec = placed(setting);
    spec.extend(module(setting));
    spec.extend(plugin(loaded));
    resource("extensions.istio.io/v1alpha1", "WasmPlugin", namespace(setting, "istio-ingress"), spec)
}

/// Returns the same as a `TrafficExtension`, which supersedes `WasmPlugin`.
pub(super) fn traffic_extension(loaded: &Loaded, setting: &Setting) -> Value {
    let mut spec = placed(setting);
    let mut wasm = module(setting);
    wasm.extend(plugin(loaded));
    wasm.insert("type".to_owned(), json!("HTTP"));
    spec.insert("wasm".to_owned(), Value::Object(wasm));
    resource("extensions.istio.io/v1alpha1", "TrafficExtension", namespace(setting, "istio-ingress"), spec)
}

/// Returns the parts of an Istio resource that select the workloads, the traffic and the position in the filter chain.
fn placed(setting: &Setting) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("selector".to_owned(), json!({ "matchLabels": labels(setting) }));
    spec.insert("phase".to_owned(), json!("AUTHN"));
    if setting.sidecar {
        // A sidecar also has listeners for outbound requests of its workload, which the gate does not handle.
        spec.insert("match".to_owned(), json!([{ "mode": "SERVER" }]));
    }
    spec
}

fn plugin(loaded: &Loaded) -> Map<String, Value> {
    let mut plugin = Map::new();
    plugin.insert("pluginName".to_owned(), json!("callgate"));
    plugin.insert("failStrategy".to_owned(), json!("FAIL_RELOAD"));
    plugin.insert("pluginConfig".to_owned(), json!(policy(loaded)));
    plugin.extend(environment(loaded));
    plugin
}

/// Returns the environment variables of the policy's secrets in the form in which Istio and Higress pass them to a VM; `None` if
/// there are none.
fn environment(loaded: &Loaded) -> Option<(String, Value)> {
    let names: Vec<_> = loaded.secrets.iter().map(|name| json!({ "name": name, "valueFrom": "HOST" })).collect();
    (!names.is_empty()).then(|| ("vmConfig".to_owned(), json!({ "env": names })))
}

/// Returns patches of the Envoy configuration that Istio generates: the plugin with every setting that Envoy has, its position in
/// the filter chain, unchanged paths, and the clusters from which the filter fetches documents.
pub(super) fn envoy_filter(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    let context = if setting.sidecar { "SIDECAR_INBOUND" } else { "GATEWAY" };
    // Istio's agent fetches the module and passes Envoy a file, so the cluster is never used.
    let code = json!({ "remote": {
        "http_uri": { "uri": oci(setting), "cluster": "_", "timeout": "30s" },
        // The agent treats this value as no digest.
        "sha256": setting.sha256.as_deref().unwrap_or("nil"),
    } });
    let manager = "envoy.filters.network.http_connection_manager";
    let mut patches = json!([
        {
            "applyTo": "EXTENSION_CONFIG",
            "match": { "context": context },
            "patch": {
                "operation": "ADD",
                "value": { "name": "callgate", "typed_config": envoy::typed(&envoy::plugin(loaded, &code)?) },
            },
        },
        {
            "applyTo": "HTTP_FILTER",
            "match": {
                "context": context,
                "listener": {
                    "filterChain": { "filter": { "name": manager, "subFilter": { "name": "envoy.filters.http.router" } } },
                },
            },
            "patch": {
                "operation": "INSERT_BEFORE",
                "value": {
                    "name": "callgate",
                    "config_discovery": {
                        // No requests are accepted until the module has arrived.
                        "config_source": { "ads": {}, "initial_fetch_timeout": "0s" },
                        "type_urls": [envoy::WASM],
                    },
                },
            },
        },
        {
            "applyTo": "NETWORK_FILTER",
            "match": { "context": context, "listener": { "filterChain": { "filter": { "name": manager } } } },
            "patch": {
                "operation": "MERGE",
                "value": {
                    "name": manager,
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "normalize_path": false,
                        "merge_slashes": false,
                        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
                    },
                },
            },
        },
    ]);
    if let Some(patches) = patches.as_array_mut() {
        patches.extend(fetched::clusters(loaded).into_iter().map(|cluster| {
            json!({
                "applyTo": "CLUSTER",
                "match": { "context": context },
                "patch": { "operation": "ADD", "value": cluster },
            })
        }));
    }
    let mut spec = Map::new();
    spec.insert("workloadSelector".to_owned(), json!({ "labels": labels(setting) }));
    spec.insert("configPatches".to_owned(), patches);
    Ok(resource("networking.istio.io/v1alpha3", "EnvoyFilter", namespace(setting, "istio-ingress"), spec))
}

/// Returns Envoy Gateway's resource for a whole `Gateway`.
pub(super) fn extension_policy(loaded: &Loaded, setting: &Setting) -> Value {
    let mut spec = Map::new();
    spec.insert("targetRefs".to_owned(), targets(setting));
    if is_module(loaded) {
        let config = envoy::module_configuration(loaded);
        let module = json!({ "name": "callgate", "filterName": "callgate", "config": config });
        spec.insert("dynamicModule".to_owned(), json!([module]));
    } else {
        spec.insert("wasm".to_owned(), json!([extension(loaded, setting)]));
    }
    resource("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy", namespace(setting, "default"), spec)
}

/// Returns an entry of `wasm` in Envoy Gateway's resource.
fn extension(loaded: &Loaded, setting: &Setting) -> Value {
    let image = setting.module.as_deref().unwrap_or(IMAGE);
    let mut code = Map::new();
    code.insert("type".to_owned(), json!("Image"));
    let mut source = Map::new();
    source.insert("url".to_owned(), json!(image.strip_prefix("oci://").unwrap_or(image)));
    source.extend(digest(setting));
    code.insert("image".to_owned(), json!(source));
    let mut wasm = json!({
        "name": "callgate",
        "rootID": "callgate",
        "code": code,
        "config": policy(loaded),
        // This is the default, stated explicitly: with `true`, every request would pass after a failure of the module.
        "failOpen": false,
    });
    if let Some(wasm) = wasm.as_object_mut().filter(|_| !loaded.secrets.is_empty()) {
        wasm.insert("env".to_owned(), json!({ "hostKeys": loaded.secrets }));
    }
    wasm
}

/// Returns Istio's resources for the servers from which the filter fetches documents.
pub(super) fn fetched_hosts(loaded: &Loaded, setting: &Setting) -> Vec<Value> {
    fetched::istio(loaded, namespace(setting, "istio-ingress"), &labels(setting))
}

/// Returns Higress's resource for the servers from which the filter fetches documents; `None` if there are none.
pub(super) fn mcp_bridge(loaded: &Loaded, setting: &Setting) -> Option<Value> {
    fetched::mcp_bridge(loaded, namespace(setting, "higress-system"))
}

/// Returns Envoy Gateway's resource for a `Gateway` that writes the record into the access log, and has the clusters from which the
/// filter fetches documents. For the dynamic module, it also registers the module. `members` is a line of the log.
pub(super) fn envoy_proxy(loaded: &Loaded, setting: &Setting, members: &Value) -> Value {
    let log = json!({ "settings": [{
        "format": { "type": "JSON", "json": members },
        "sinks": [{ "type": "File", "file": { "path": "/dev/stdout" } }],
    }] });
    let mut spec = Map::new();
    spec.insert("telemetry".to_owned(), json!({ "accessLog": log }));
    let clusters = fetched::clusters(loaded);
    if !clusters.is_empty() {
        // A filter can name only clusters whose names are known. Envoy Gateway generates the names of those that it makes of routes and
        // their backends.
        let add = |cluster| json!({ "op": "add", "path": "/static_resources/clusters/-", "value": cluster });
        let patches: Vec<Value> = clusters.into_iter().map(add).collect();
        spec.insert("bootstrap".to_owned(), json!({ "type": "JSONPatch", "jsonPatches": patches }));
    }
    if is_module(loaded) {
        spec.extend(registered_module(loaded, setting));
    }
    resource("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", namespace(setting, "default"), spec)
}

/// Returns the parts of an `EnvoyProxy` that register the dynamic module, mount its file, and set the environment variables of the
/// policy's secrets from a `Secret` with the same names.
fn registered_module(loaded: &Loaded, setting: &Setting) -> Map<String, Value> {
    const FOLDER: &str = "/etc/callgate";
    let image = setting.module.as_deref().unwrap_or(MODULE_IMAGE);
    let image = image.strip_prefix("oci://").unwrap_or(image);
    let digest = setting.sha256.as_ref().map(|digest| format!("@sha256:{digest}")).unwrap_or_default();
    let variable =
        |name: &String| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": "callgate", "key": name } } });
    let mut container = Map::new();
    container.insert("volumeMounts".to_owned(), json!([{ "name": "callgate", "mountPath": FOLDER, "readOnly": true }]));
    if !loaded.secrets.is_empty() {
        container.insert("env".to_owned(), loaded.secrets.iter().map(variable).collect());
    }
    let volume = json!({ "name": "callgate", "image": { "reference": format!("{image}{digest}") } });
    let mut parts = Map::new();
    parts.insert(
        "dynamicModules".to_owned(),
        json!([{
            "name": "callgate",
            // This is not the default. Without it, an update can unload the module, and its limits and accepted signatures with it.
            "doNotClose": true,
            "source": { "type": "Local", "local": { "path": format!("{FOLDER}/{}", envoy::LIBRARY) } },
        }]),
    );
    parts.insert(
        "provider".to_owned(),
        json!({
            "type": "Kubernetes",
            "kubernetes": { "envoyDeployment": { "container": container, "pod": { "volumes": [volume] } } },
        }),
    );
    parts
}

/// Returns Istio's resource that lets proxies validate the certificates of clients; `None` if the policy needs none.
pub(super) fn validation(loaded: &Loaded, setting: &Setting) -> Option<Value> {
    let (namespace, labels) = (namespace(setting, "istio-ingress"), labels(setting));
    tls::is_used(loaded).then(|| {
        if setting.sidecar {
            resource("security.istio.io/v1", "PeerAuthentication", namespace, tls::peer_authentication(&labels))
        } else {
            resource("networking.istio.io/v1", "Gateway", namespace, tls::istio_gateway(loaded, &labels))
        }
    })
}

/// Returns Envoy Gateway's resource for a `Gateway` that does not change paths, and validates the certificates that the policy needs.
pub(super) fn client_traffic_policy(loaded: &Loaded, setting: &Setting) -> Value {
    let mut spec = Map::new();
    spec.insert("targetRefs".to_owned(), targets(setting));
    spec.insert("path".to_owned(), json!({ "disableMergeSlashes": true, "escapedSlashesAction": "KeepUnchanged" }));
    spec.extend(tls::client_validation(loaded));
    resource("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy", namespace(setting, "default"), spec)
}

fn targets(setting: &Setting) -> Value {
    json!([{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": setting.target }])
}

/// Returns Higress's resource with the same name as Istio's.
pub(super) fn higress_plugin(loaded: &Loaded, setting: &Setting) -> Value {
    let mut spec = module(setting);
    spec.insert("phase".to_owned(), json!("AUTHN"));
    spec.insert("pluginName".to_owned(), json!("callgate"));
    // Higress's console writes FAIL_OPEN.
    spec.insert("failStrategy".to_owned(), json!("FAIL_CLOSE"));
    spec.insert("defaultConfig".to_owned(), json!(policy(loaded)));
    spec.insert("defaultConfigDisable".to_owned(), json!(false));
    spec.extend(environment(loaded));
    resource("extensions.higress.io/v1alpha1", "WasmPlugin", namespace(setting, "higress-system"), spec)
}

fn resource(version: &str, kind: &str, namespace: &str, spec: Map<String, Value>) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": { "name": "callgate", "namespace": namespace },
        "spec": spec,
    })
}

fn namespace<'s>(setting: &'s Setting, usual: &'s str) -> &'s str {
    let usual = if setting.sidecar { "default" } else { usual };
    setting.namespace.as_deref().unwrap_or(usual)
}

fn labels(setting: &Setting) -> Value {
    match (setting.labels.is_empty(), setting.sidecar) {
        (false, _) => json!(setting.labels),
        (true, false) => json!({ "istio": "ingressgateway" }),
        (true, true) => json!({ "app": "api" }),
    }
}

fn module(setting: &Setting) -> Map<String, Value> {
    let mut module = Map::new();
    module.insert("url".to_owned(), json!(oci(setting)));
    module.extend(digest(setting));
    module
}

fn oci(setting: &Setting) -> String {
    setting.module.clone().unwrap_or_else(|| format!("oci://{IMAGE}"))
}

fn digest(setting: &Setting) -> Option<(String, Value)> {
    setting.sha256.as_ref().map(|digest| ("sha256".to_owned(), json!(digest)))
}
