//! Checks files in the project's own formats with its own readers, Prometheus rules with the parser of their expressions, and a kind
//! without published types with a transcription of its reference.

use std::fs;
use std::path::Path;

use callgate::identity::crypto::PublicJwk;
use callgate_kit::mint::SigningKey;
use callgate_kit::policy::not_needed;
use callgate_kit::{corpus, document, records};
use serde::Deserialize;
use serde_json::{Map, Value};
use test_harness::observability;

use super::{Checked, compiles, crds, value};
use crate::envoy::mcp::pin;

pub(super) fn policy(file: &Path, text: &str) -> Checked {
    let read = document::parse(file.to_str().unwrap(), text.as_bytes()).map_err(|wrong| wrong.to_string())?;
    callgate_kit::policy::compile(read, &not_needed).map(drop).map_err(|wrong| wrong.to_string())
}

/// Cases refer to files next to them, so they are loaded in a copy of their folder.
pub(super) fn cases(file: &Path, text: &str) -> Checked {
    let copy = tempfile::tempdir().unwrap();
    copied(file.parent().unwrap(), copy.path());
    let file = copy.path().join(file.file_name().unwrap());
    fs::write(&file, text).unwrap();
    corpus::load(file).map(drop).map_err(|wrong| wrong.to_string())
}

fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(super) fn key(_: &Path, text: &str) -> Checked {
    let jwk = serde_json::from_str(text).map_err(|error| error.to_string())?;
    SigningKey::from_jwk(&jwk).map(drop).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// Checks that every key of a published set can verify signatures.
pub(super) fn key_set(_: &Path, text: &str) -> Checked {
    let set: KeySet = serde_json::from_str(text).map_err(|error| error.to_string())?;
    set.keys.iter().try_for_each(|jwk| PublicJwk::read(jwk).map(drop).map_err(|error| error.to_string()))
}

/// Checks that the policy next to an answer to `tools/list` pins definitions in it.
pub(super) fn tools(file: &Path, text: &str) -> Checked {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed: Vec<_> = answer["result"]["tools"].as_array().into_iter().flatten().map(pin).collect();
    let policy = document::read(file.with_file_name("policy.yaml")).map_err(|wrong| wrong.to_string())?;
    let tools = policy.value()["endpoints"][0]["rpc"]["tools"].as_array().ok_or("the policy has no tools")?;
    let pins: Vec<_> = tools.iter().filter_map(|tool| tool["pin"].as_array()).flatten().collect();
    match pins.iter().find(|pin| pin.as_str().is_none_or(|pin| !listed.iter().any(|one| one == pin))) {
        None if pins.is_empty() => Err("the policy pins nothing".to_owned()),
        None => Ok(()),
        Some(pin) => Err(format!("no definition has the pin {pin}")),
    }
}

pub(super) fn record(_: &Path, text: &str) -> Checked {
    let record = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let faults = records::faults(&record);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
    labels: Value,
    annotations: Value,
}

pub(super) fn alerts(file: &Path, text: &str) -> Checked {
    let rules: Rules = serde_json::from_value(value(file, text)?).map_err(|error| error.to_string())?;
    rules
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .try_for_each(|rule| promql_parser::parser::parse(&rule.expr).map(drop))
}

/// Checks only the syntax. Another test runs a gateway and checks that it exposes the metrics.
pub(super) fn dashboard(file: &Path, text: &str) -> Checked {
    let panels = observability::of_dashboard(&value(file, text)?).map_err(|error| error.to_string())?;
    panels.iter().try_for_each(|panel| panel.names().map(drop)).map_err(|error| error.to_string())
}

/// An `EnvoyExtensionPolicy` as its reference defines it, limited to the fields that the project uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct ExtensionPolicy {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Spec {
    target_refs: Vec<TargetRef>,
    wasm: Vec<Wasm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct TargetRef {
    group: String,
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Wasm {
    name: String,
    #[serde(rename = "rootID")]
    root_id: String,
    code: Code,
    config: Value,
    fail_open: bool,
    env: Env,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Code {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Image {
    url: String,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Env {
    host_keys: Vec<String>,
}

pub(super) fn extension_policy(file: &Path, text: &str) -> Checked {
    let resource = value(file, text)?;
    crds::check(&resource)?;
    let read: ExtensionPolicy = serde_json::from_value(resource).map_err(|error| error.to_string())?;
    if (read.api_version.as_str(), read.kind.as_str()) != ("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy") {
        return Err("this is no EnvoyExtensionPolicy".to_owned());
    }
    for wasm in &read.spec.wasm {
        if wasm.fail_open || wasm.code.kind != "Image" {
            return Err("it fails open, or has no image".to_owned());
        }
        compiles(&wasm.config)?;
    }
    Ok(())
}

/// A resource, with the form of its `spec`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Resource<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

/// An `EnvoyExtensionPolicy` with dynamic modules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct ModulePolicy {
    target_refs: Vec<TargetRef>,
    dynamic_module: Vec<DynamicModule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct DynamicModule {
    name: String,
    filter_name: String,
    config: ModuleConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct ModuleConfig {
    environment: Vec<String>,
    policy: Value,
}

/// An `EnvoyProxy` as its reference defines it, limited to the fields that the project uses for the dynamic module.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Proxy {
    dynamic_modules: Vec<Registered>,
    provider: Provider,
    telemetry: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Registered {
    name: String,
    do_not_close: bool,
    source: Source,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    local: Local,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Local {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Provider {
    #[serde(rename = "type")]
    kind: String,
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kubernetes {
    envoy_deployment: Deployment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    container: Container,
    pod: Pod,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Container {
    env: Vec<Value>,
    volume_mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Mount {
    name: String,
    mount_path: String,
    read_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pod {
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Volume {
    name: String,
    image: VolumeImage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct VolumeImage {
    reference: String,
}

/// A `ClientTrafficPolicy`, limited to the fields that the project uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct ClientTraffic {
    target_refs: Vec<TargetRef>,
    path: Paths,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Paths {
    disable_merge_slashes: bool,
    escaped_slashes_action: String,
}

fn read<S: serde::de::DeserializeOwned>(resource: Value) -> Result<S, String> {
    let read: Resource<S> = serde_json::from_value(resource).map_err(|error| error.to_string())?;
    Ok(read.spec)
}

/// Checks the resources with which Envoy Gateway runs the dynamic module: an `EnvoyExtensionPolicy` against its definition, and the others
/// against a transcription of their reference.
pub(super) fn module_resources(file: &Path, text: &str) -> Checked {
    let documents = document::parse_configuration(file.to_str().unwrap(), text.as_bytes());
    let documents = documents.map_err(|wrong| wrong.to_string())?;
    let resources: Vec<Value> = documents.iter().map(|document| document.value().clone()).collect();
    let [policy, proxy, paths] = resources.as_slice() else { return Err("there are not three resources".to_owned()) };
    for (resource, kind) in [(policy, "EnvoyExtensionPolicy"), (proxy, "EnvoyProxy"), (paths, "ClientTrafficPolicy")] {
        if resource["apiVersion"] != "gateway.envoyproxy.io/v1alpha1" || resource["kind"] != kind {
            return Err(format!("this is no {kind}"));
        }
    }
    crds::check(policy)?;
    let policy: ModulePolicy = read(policy.clone())?;
    let proxy: Proxy = read(proxy.clone())?;
    read::<ClientTraffic>(paths.clone())?;
    for used in &policy.dynamic_module {
        let registered = proxy.dynamic_modules.iter().find(|module| module.name == used.name);
        let registered = registered.ok_or("the module is not registered")?;
        if !registered.do_not_close || registered.source.kind != "Local" {
            return Err("the module can be unloaded, or is remote".to_owned());
        }
        let deployment = &proxy.provider.kubernetes.envoy_deployment;
        let path = Path::new(&registered.source.local.path);
        let mount = deployment.container.volume_mounts.iter().find(|mount| path.starts_with(&mount.mount_path));
        let mount = mount.ok_or("the module is in no volume")?;
        if !deployment.pod.volumes.iter().any(|volume| volume.name == mount.name) {
            return Err("a volume does not exist".to_owned());
        }
        compiles(&used.config.policy)?;
    }
    Ok(())
}
