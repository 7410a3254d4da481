mod fetched;
mod tls;

use std::collections::BTreeSet;
use std::path::Path;

use callgate_kit::capabilities::CAPABILITIES;
use callgate_kit::document;
use serde_json::Value;

use crate::{callgate, file, json, line_of, quickstart};

/// Returns the filter's entry, parsed from the YAML.
fn rendered(path: &str) -> serde_json::Value {
    let text = callgate(&format!("render {path} --for envoy")).fine();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    document::parse("rendered", text.as_bytes()).unwrap().value()[0].clone()
}

#[test]
fn renders_the_policy_as_a_json_string_for_envoy() {
    let filter = rendered("examples/quickstart/policy.yaml");
    assert_eq!(filter["name"], "callgate");
    let config = &filter["typed_config"]["config"];
    assert_eq!(config["failure_policy"], "FAIL_RELOAD");
    assert_eq!(
        config["reload_config"]["backoff"],
        serde_json::json!({ "base_interval": "0.1s", "max_interval": "1s" })
    );
    let allowed = config["capability_restriction_config"]["allowed_capabilities"].as_object().unwrap();
    assert_eq!(allowed.keys().map(String::as_str).collect::<BTreeSet<_>>(), CAPABILITIES.iter().copied().collect());
    assert_eq!(config["configuration"]["@type"], "type.googleapis.com/google.protobuf.StringValue");
    let policy = document::parse("policy", quickstart().as_bytes()).unwrap();
    assert_eq!(json(config["configuration"]["value"].as_str().unwrap()), *policy.value());
}

#[test]
fn quoting_preserves_every_character() {
    let hostile = r#"it's \"quoted\" # not a comment: \u0085\u2028\u007f\ufeff %{x} \\ \t \u{1F600}"#
        .replace("\\u{1F600}", "\u{1F600}");
    let text = quickstart().replace("purpose: opens and updates pull requests", &format!("purpose: \"{hostile}\""));
    let path = file("quoting.yaml", &text);
    let value = rendered(&path)["typed_config"]["config"]["configuration"]["value"].clone();
    let written = document::parse("policy", text.as_bytes()).unwrap();
    assert_eq!(json(value.as_str().unwrap()), *written.value());
    assert!(
        json(value.as_str().unwrap())["agents"]["coding-agent"]["purpose"]
            .as_str()
            .unwrap()
            .starts_with("it's \"quoted\" #")
    );
}

/// The secrets of issuers, of signing agents and of the tables.
#[test]
fn passes_secret_environment_variables_to_the_gateway() {
    let policy = r#"
callgate: v1
name: gate
mode: enforce
gateway: envoy
resource: https://api.example.com
hosts: [api.example.com]
issuers:
  corp:
    issuer: https://idp.example.com
    profile: at+jwt
    algorithms: [HS256]
    max_lifetime: 15m
    keys: { secret: { env: CALLGATE_TEST_NOT_SET } }
agents:
  a:
    owner: o
    identity: { issuer: corp, client_id: a }
    signing_keys: [{ keyid: k, secret: { env: CALLGATE_TEST_SIGNING } }]
tables: { key: { env: CALLGATE_TEST_TABLES } }
endpoints: [{ id: a, methods: [GET], path: /a, effect: read, scopes: none }]
upstream: { authorization: remove }
audit: { log: { allow: false, deny: true } }
"#;
    let filter = rendered(&file("secret.yaml", policy));
    let vm = &filter["typed_config"]["config"]["vm_config"];
    let names = serde_json::json!(["CALLGATE_TEST_NOT_SET", "CALLGATE_TEST_SIGNING", "CALLGATE_TEST_TABLES"]);
    assert_eq!(vm["environment_variables"]["host_env_keys"], names);
    assert_eq!(vm["code"]["local"]["filename"], "/etc/envoy/callgate.wasm");
}

/// The files that `callgate render` generated, with the arguments of each.
const SHIPPED: [(&str, &str); 12] = [
    ("envoy/ecds-callgate.yaml", "--for envoy --as ecds"),
    ("envoy/module/ecds-callgate.yaml", "--for envoy-module --as ecds"),
    ("envoy/istio/wasm-plugin.yaml", "--for istio --sha256 DIGEST"),
    ("envoy/istio/wasm-plugin-sidecar.yaml", "--for istio --sidecar --sha256 DIGEST"),
    ("envoy/istio/traffic-extension.yaml", "--for istio --as traffic-extension --sha256 DIGEST"),
    ("envoy/istio/envoy-filter.yaml", "--for istio --as envoy-filter --sha256 DIGEST"),
    ("envoy/envoy-gateway/extension-policy.yaml", "--for envoy-gateway --sha256 DIGEST"),
    ("envoy/envoy-gateway/module.yaml", "--for envoy-module --as extension-policy --full --sha256 DIGEST"),
    ("envoy/higress/wasm-plugin.yaml", "--for higress --sha256 DIGEST"),
    ("kong/kong.yml", "--for kong"),
    ("kong/kong.conf", "--for kong --as kong.conf"),
    ("kong/callgate.meta.json", "--for kong --as meta.json"),
];

fn shipped(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Returns the configuration in an output, without the comments after it.
fn configuration(printed: &str) -> &str {
    printed.find("\n\n##").map_or(printed, |end| printed.split_at(end + 1).0)
}

/// Returns the comments after a configuration, with `# ` removed from each line.
fn uncommented(printed: &str) -> String {
    let comments = printed.strip_prefix(configuration(printed)).unwrap();
    let lines = comments.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).unwrap().to_owned() + "\n").collect()
}

fn parsed(text: &str) -> Value {
    document::parse("text", text.as_bytes()).unwrap().value().clone()
}

/// Returns all documents of a text.
fn all_parsed(text: &str) -> Vec<Value> {
    let documents = document::parse_configuration("text", text.as_bytes()).unwrap();
    documents.iter().map(|document| document.value().clone()).collect()
}

#[test]
fn shipped_files_match_the_rendered_output() {
    for (path, arguments) in SHIPPED {
        let arguments = arguments.replace("DIGEST", &"0".repeat(64));
        let command = format!("render envoy/policy.yaml {arguments}");
        let text = shipped(path);
        let printed = callgate(&command).fine();
        let remarks = text.strip_suffix(configuration(&printed));
        let remarks = remarks.unwrap_or_else(|| panic!("{path} is not what `callgate {command}` prints"));
        assert!(remarks.lines().all(|line| line.starts_with('#')), "{path}: {remarks}");
    }
}

/// Finds the gate anywhere in a file for Envoy.
fn gate(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(fields) if fields.contains_key("vm_config") => Some(value),
        Value::Object(fields) => fields.values().find_map(gate),
        Value::Array(items) => items.iter().find_map(gate),
        _ => None,
    }
}

#[test]
fn filter_in_the_envoy_files_matches_the_rendered_output() {
    for path in ["envoy/envoy.yaml", "envoy/lds-listeners.yaml", "envoy/mtls.yaml"] {
        let read = document::parse(path, shipped(path).as_bytes()).unwrap();
        let mut written = gate(read.value()).unwrap().clone();
        let policy = file(&path.replace('/', "-"), written["configuration"]["value"].as_str().unwrap());
        let mut rendered = rendered(&policy)["typed_config"]["config"].clone();
        for gate in [&mut written, &mut rendered] {
            let value = &mut gate["configuration"]["value"];
            *value = json(value.as_str().unwrap());
        }
        assert_eq!(written, rendered, "{path}");
    }
}

/// Finds the gate as a dynamic module anywhere in a file for Envoy.
fn module(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(fields) if fields.contains_key("dynamic_module_config") => Some(value),
        Value::Object(fields) => fields.values().find_map(module),
        Value::Array(items) => items.iter().find_map(module),
        _ => None,
    }
}

/// Returns the configuration that a dynamic module has as text.
fn module_configuration(value: &Value) -> Value {
    json(module(value).and_then(|module| module.pointer("/filter_config/value")?.as_str()).unwrap())
}

/// Returns the policy in the configuration of a dynamic module.
fn module_policy(value: &Value) -> Value {
    let configuration = module_configuration(value);
    configuration.get("policy").cloned().unwrap_or(configuration)
}

#[test]
fn the_dynamic_module_may_read_only_the_variables_that_the_policy_names() {
    let rendered = |policy: &str| parsed(&callgate(&format!("render {policy} --for envoy-module")).fine());
    let shared = rendered("envoy/policy.yaml");
    assert_eq!(module_configuration(&shared)["environment"], serde_json::json!(["CALLGATE_TABLES_KEY"]));
    assert_eq!(module_policy(&shared)["callgate"], "v1");
    let none = module_configuration(&rendered("examples/quickstart/policy.yaml"));
    assert_eq!((&none["callgate"], none.get("environment")), (&"v1".into(), None));
}

#[test]
fn dynamic_module_in_the_envoy_files_matches_the_rendered_output() {
    for path in ["envoy/module/envoy.yaml", "envoy/module/lds-listeners.yaml"] {
        let written = parsed(&shipped(path));
        let policy = file(&path.replace('/', "-"), module_policy(&written).to_string());
        let rendered = parsed(&callgate(&format!("render {policy} --for envoy-module")).fine());
        let [written, rendered] = [&written, &rendered].map(|value| {
            let mut gate = module(value).unwrap().clone();
            gate["filter_config"]["value"] = module_configuration(value);
            gate
        });
        assert_eq!(written, rendered, "{path}");
        assert_eq!(written["dynamic_module_config"]["do_not_close"], true, "{path}");
    }
}

/// Envoy does not load another file from the path of a library that is in use.
#[test]
fn the_name_of_the_library_has_the_version() {
    let policy = "envoy/policy.yaml";
    let library = |arguments: &str| {
        let printed = callgate(&format!("render {policy} --for envoy-module {arguments}")).fine();
        let gate = module(&parsed(&printed)).unwrap().clone();
        at(&gate, "/dynamic_module_config/module").clone()
    };
    let versioned = format!("/etc/envoy/libcallgate-{}.so", env!("CARGO_PKG_VERSION"));
    for arguments in ["", "--as ecds", "--full"] {
        assert_eq!(library(arguments), serde_json::json!({ "local": { "filename": versioned } }), "{arguments}");
    }
    let own = serde_json::json!({ "local": { "filename": "/opt/libcallgate.so" } });
    assert_eq!(library("--module /opt/libcallgate.so"), own);
}

#[test]
fn sets_the_policy_gateway_to_the_named_one() {
    for (arguments, place, gateway) in [
        ("envoy", "/0/typed_config/config/configuration/value", "envoy"),
        ("envoy-module", "/0/typed_config/filter_config/value", "envoy-module"),
        ("envoy-module --as ecds", "/resources/0/typed_config/filter_config/value", "envoy-module"),
        ("envoy-module --as extension-policy", "/spec/dynamicModule/0/config", "envoy-module"),
        ("istio", "/spec/pluginConfig", "istio"),
        ("istio --as traffic-extension", "/spec/wasm/pluginConfig", "istio"),
        // An `EnvoyFilter` can use every setting of Istio's Envoy.
        (
            "istio --as envoy-filter",
            "/spec/configPatches/0/patch/value/typed_config/config/configuration/value",
            "envoy",
        ),
        ("envoy-gateway", "/spec/wasm/0/config", "envoy-gateway"),
        ("higress", "/spec/defaultConfig", "higress"),
        ("kong", "/services/0/filter_chains/0/filters/0/config", "kong"),
    ] {
        let text = callgate(&format!("render envoy/policy.yaml --for {arguments}")).fine();
        let read = document::parse(arguments, text.as_bytes()).unwrap();
        let policy = read.value().pointer(place).unwrap();
        let policy = policy.as_str().map_or_else(|| policy.clone(), json);
        // The dynamic module gets the policy with the variables that it may read.
        let policy = policy.get("policy").cloned().unwrap_or(policy);
        assert_eq!(policy["gateway"], gateway, "{arguments}");
        // Apart from the gateway, it is the policy.
        let written = document::parse("policy", shipped("envoy/policy.yaml").as_bytes()).unwrap();
        let mut written = written.value().clone();
        written["gateway"] = gateway.into();
        assert_eq!(policy, written, "{arguments}");
    }
}

#[test]
fn reports_features_the_gateway_lacks_with_their_positions() {
    for verb in ["check", "render"] {
        let err = callgate(&format!("{verb} examples/signing/policy.yaml --for istio")).failed(2);
        assert!(err.contains("body_check") && err.contains("tables.key"), "{verb}: {err}");
    }
    let err = callgate("check examples/quickstart/policy.yaml --for portable").failed(2);
    let line = line_of("  calls: { per: agent");
    assert!(err.contains(&format!("quickstart/policy.yaml:{line}:")), "{err}");
    assert!(err.contains("limits.calls: workers share no state on `portable`"), "{err}");
    // Another gateway results in another version.
    let version = |arguments: &str| callgate(&format!("check envoy/policy.yaml {arguments}")).fine();
    let (own, kong) = (version(""), version("--for kong"));
    assert!(own.contains("gateway    envoy") && kong.contains("gateway    kong"), "{own}{kong}");
    // The size that `kong.conf` also contains; no other gateway needs it.
    let zone = "zone       1416k for `nginx_wasm_shm_kv_callgate`";
    assert!(kong.contains(zone) && !own.contains("zone"), "{own}{kong}");
    let digits = |text: &str| text.lines().find(|line| line.contains("version")).unwrap().to_owned();
    assert_ne!(digits(&own), digits(&kong));
    assert_eq!(digits(&own), digits(&version("--for envoy")));
}

#[test]
fn options_set_their_fields_in_the_resource() {
    let digest = "a".repeat(64);
    let text = callgate(&format!(
        "render envoy/policy.yaml --for istio --sidecar --namespace shop --label app=orders --label tier=api \
         --module oci://images.example.com/gate@sha256:1 --sha256 {digest}"
    ));
    let read = document::parse("rendered", text.fine().as_bytes()).unwrap();
    let resource = read.value();
    assert_eq!(resource["metadata"]["namespace"], "shop");
    let spec = &resource["spec"];
    assert_eq!(spec["selector"]["matchLabels"], serde_json::json!({ "app": "orders", "tier": "api" }));
    assert_eq!(spec["match"], serde_json::json!([{ "mode": "SERVER" }]));
    assert_eq!((&spec["url"], &spec["sha256"]), (&"oci://images.example.com/gate@sha256:1".into(), &digest.into()));
    let text =
        callgate("render envoy/policy.yaml --for envoy-gateway --target front --module oci://a.example/b:1").fine();
    let read = document::parse("rendered", text.as_bytes()).unwrap();
    assert_eq!(read.value()["spec"]["targetRefs"][0]["name"], "front");
    assert_eq!(read.value()["spec"]["wasm"][0]["code"]["image"]["url"], "a.example/b:1");
}

#[test]
fn reports_what_cannot_be_rendered() {
    let quickstart = quickstart();
    let policy = |name: &str, changes: &[(&str, &str)]| {
        let mut text = quickstart.clone() + "tables: { key: { env: CALLGATE_TABLES_KEY } }\n";
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        file(name, text)
    };
    let empty = [
        ("hosts: [api.example.com]", "hosts: [api.example.com]\nreject_query: []"),
        ("cluster: idp", "address: 'idp.example.com:443'"),
    ];
    let empty = policy("empty-list.yaml", &empty);
    let unseen = ("opens and", "opens\u{202e} and");
    for (command, said) in [
        (
            format!("render {empty} --for kong"),
            "`/reject_query`: Kong passes an empty list to a filter as an empty mapping",
        ),
        (
            format!("render {} --for istio", policy("unseen.yaml", &[unseen])),
            "the policy contains the invisible character `\\u{202e}`; remove it",
        ),
        (
            "render envoy/policy.yaml --for kong --as ecds".to_owned(),
            "--as: `kong` does not have this form; expected `kong.yml`, `kong.conf`, `meta.json`",
        ),
        (
            "render envoy/policy.yaml --for istio --sha256 12".to_owned(),
            "invalid SHA-256 digest; expected 64 hexadecimal digits",
        ),
        ("render envoy/policy.yaml --for istio --label app".to_owned(), "invalid label; expected `key=value`"),
    ] {
        let err = callgate(&command).failed(1);
        assert!(err.contains(said), "{command}: {err}");
    }
    // A JSON string can contain the character, as a visible escape.
    assert!(rendered(&policy("unseen-json.yaml", &[unseen])).to_string().contains("u202e"));
}

const LISTENER: &str = "/static_resources/listeners/0";
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const HOSTS: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts";

#[track_caller]
fn at<'v>(value: &'v Value, place: &str) -> &'v Value {
    value.pointer(place).unwrap()
}

/// Returns the policy of the gate as JSON instead of text, whose layout differs.
fn with_policy_as_json(mut bootstrap: Value) -> Value {
    let filters = bootstrap.pointer_mut(&format!("{MANAGER}/http_filters")).unwrap().as_array_mut().unwrap();
    let gate = filters.iter_mut().find(|filter| filter["name"] == "callgate").unwrap();
    let value = gate.pointer_mut("/typed_config/config/configuration/value").unwrap();
    *value = json(value.as_str().unwrap());
    bootstrap
}

#[test]
fn full_output_for_the_shipped_policy_is_the_shipped_envoy_yaml() {
    let written = parsed(&shipped("envoy/envoy.yaml"));
    let policy = gate(&written).unwrap()["configuration"]["value"].as_str().unwrap();
    let policy = file("full-shipped.yaml", policy);
    let printed = callgate(&format!("render {policy} --for envoy --full")).fine();
    assert_eq!(with_policy_as_json(parsed(&printed)), with_policy_as_json(written));
    // The comments are printed too, except the ones at the top and in the filter.
    for line in
        ["# Labels for the filter's counters: ", "# Each line is a JSON object.", "# Event streams and WebSockets."]
    {
        assert!(shipped("envoy/envoy.yaml").contains(line) && printed.contains(line), "{line}");
    }
}

#[test]
fn full_output_for_the_shipped_module_policy_is_the_shipped_module_configuration() {
    let text = shipped("envoy/module/envoy.yaml");
    let written = parsed(&text);
    let policy = file("full-module-shipped.yaml", module_policy(&written).to_string());
    let printed = callgate(&format!("render {policy} --for envoy-module --full")).fine();
    let with_policy_as_json = |mut bootstrap: Value| {
        let filters = bootstrap.pointer_mut(&format!("{MANAGER}/http_filters")).unwrap().as_array_mut().unwrap();
        let gate = filters.iter_mut().find(|filter| filter["name"] == "callgate").unwrap();
        let value = gate.pointer_mut("/typed_config/filter_config/value").unwrap();
        *value = json(value.as_str().unwrap());
        bootstrap
    };
    assert_eq!(with_policy_as_json(parsed(&printed)), with_policy_as_json(written));
    for line in ["# Each line is a JSON object.", "# Event streams and WebSockets."] {
        assert!(text.contains(line) && printed.contains(line), "{line}");
    }
    assert!(printed.starts_with("# Envoy 1.38 or newer with Callgate as a dynamic module"), "{printed}");
}

/// Apart from the gate and the tags that its metrics need, both files are the same.
#[test]
fn the_module_configuration_differs_from_the_other_one_only_in_the_gate() {
    let without_gate = |path: &str| {
        let mut bootstrap = parsed(&shipped(path));
        bootstrap.as_object_mut().unwrap().remove("stats_config");
        let filters = bootstrap.pointer_mut(&format!("{MANAGER}/http_filters")).unwrap().as_array_mut().unwrap();
        filters.retain(|filter| filter["name"] != "callgate");
        bootstrap
    };
    assert_eq!(without_gate("envoy/module/envoy.yaml"), without_gate("envoy/envoy.yaml"));
}

#[test]
fn full_output_for_the_module_has_no_findings() {
    for policy in ["envoy", "examples/quickstart", "examples/payments", "examples/signing"] {
        let policy = format!("{policy}/policy.yaml");
        let ran = callgate(&format!("render {policy} --for envoy-module --full"));
        assert_eq!(ran.code, 0, "{policy}: {}", ran.err);
        let path = file(&format!("full-module-{}", policy.replace('/', "-")), &ran.out);
        assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n", "{policy}");
    }
}

#[test]
fn full_output_for_envoy_has_no_findings() {
    let shipped = parsed(&shipped("envoy/envoy.yaml"));
    for policy in ["envoy", "examples/quickstart", "examples/payments", "examples/signing"] {
        let policy = format!("{policy}/policy.yaml");
        let ran = callgate(&format!("render {policy} --for envoy --full"));
        assert_eq!(ran.code, 0, "{policy}: {}", ran.err);
        let printed = ran.out;
        let path = file(&format!("full-{}", policy.replace('/', "-")), &printed);
        let checked = callgate(&format!("check --gateway {path}")).fine();
        assert_eq!(checked, "no way around the gate found\n", "{policy}");
        let bootstrap = parsed(&printed);
        for place in ["/stats_config", &format!("{MANAGER}/access_log"), &format!("{HOSTS}/1/typed_per_filter_config")]
        {
            assert_eq!(at(&bootstrap, place), at(&shipped, place), "{policy}: {place}");
        }
        let written = document::read(format!("{}/../{policy}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(at(&bootstrap, &format!("{HOSTS}/0/domains")), &written.value()["hosts"], "{policy}");
    }
}

#[test]
fn full_output_for_envoy_follows_the_policy() {
    let policy =
        shipped("envoy/policy.yaml").replace("hosts: [api.example.com]", "hosts: [www.example.com, 'b.example:8443']");
    let policy = file("full-hosts.yaml", policy);
    let printed = callgate(&format!("render {policy} --for envoy --full --module /opt/gate.wasm")).fine();
    let bootstrap = parsed(&printed);
    assert_eq!(gate(&bootstrap).unwrap()["vm_config"]["code"]["local"]["filename"], "/opt/gate.wasm");
    // A second virtual host of the same domain would keep Envoy from starting.
    let hosts = at(&bootstrap, HOSTS).as_array().unwrap();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0]["domains"], serde_json::json!(["www.example.com", "b.example:8443"]));
    assert_eq!(at(&bootstrap, LISTENER).get("per_connection_buffer_limit_bytes"), None);

    let signing = shipped("examples/signing/policy.yaml");
    assert!(signing.contains("\nmax_body: 1MiB"));
    let policy = file("full-body.yaml", signing.replace("\nmax_body: 1MiB", "\nmax_body: 4MiB"));
    let printed = callgate(&format!("render {policy} --for envoy --full")).fine();
    assert_eq!(at(&parsed(&printed), LISTENER)["per_connection_buffer_limit_bytes"], 4 << 20);
    let path = file("full-body-gateway.yaml", &printed);
    assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n");
}

#[test]
fn comments_for_envoy_are_the_lines_of_the_shipped_file() {
    let shipped = parsed(&shipped("envoy/envoy.yaml"));
    for form in ["filter", "ecds"] {
        let parts =
            parsed(&uncommented(&callgate(&format!("render envoy/policy.yaml --for envoy --as {form}")).fine()));
        assert_eq!(parts.as_object().unwrap().len(), 3, "{parts}");
        assert_eq!(parts["stats_config"], shipped["stats_config"]);
        assert_eq!(&parts["access_log"], at(&shipped, &format!("{MANAGER}/access_log")));
        let disabled = at(&shipped, &format!("{HOSTS}/1/typed_per_filter_config"));
        assert_eq!(&parts["typed_per_filter_config"], disabled);
        assert_eq!(disabled["callgate"]["disabled"], true);
    }
}

#[test]
fn comments_for_the_module_are_the_lines_of_the_shipped_file() {
    let shipped = parsed(&shipped("envoy/module/envoy.yaml"));
    for form in ["filter", "ecds"] {
        let printed = callgate(&format!("render envoy/policy.yaml --for envoy-module --as {form}")).fine();
        assert!(printed.contains("--for envoy-module --full"), "{printed}");
        let parts = parsed(&uncommented(&printed));
        // Its metrics have labels, so it needs no tags.
        assert_eq!(parts.as_object().unwrap().len(), 2, "{parts}");
        assert_eq!(&parts["access_log"], at(&shipped, &format!("{MANAGER}/access_log")));
        assert_eq!(&parts["typed_per_filter_config"], at(&shipped, &format!("{HOSTS}/1/typed_per_filter_config")));
    }
}

#[test]
fn comments_for_other_gateways_contain_what_they_need() {
    let printed = |arguments: &str| callgate(&format!("render envoy/policy.yaml --for {arguments}")).fine();
    let record = "%FILTER_STATE(wasm.callgate:PLAIN)%";
    for form in ["wasm-plugin", "traffic-extension", "envoy-filter"] {
        let parts = parsed(&uncommented(&printed(&format!("istio --as {form}"))));
        let mesh = &parts["meshConfig"];
        assert_eq!(json(mesh["accessLogFormat"].as_str().unwrap())["callgate"], record, "{form}");
        assert_eq!(mesh["accessLogEncoding"], "JSON", "{form}");
        // An `EnvoyFilter` sets this itself.
        let paths = mesh.pointer("/pathNormalization/normalization");
        assert_eq!(paths.and_then(Value::as_str), (form != "envoy-filter").then_some("NONE"), "{form}");
        assert_eq!(parts["stats_config"], parsed(&shipped("envoy/envoy.yaml"))["stats_config"], "{form}");
    }
    let parts = parsed(&uncommented(&printed("higress")));
    assert_eq!(json(parts["accessLogFormat"].as_str().unwrap())["callgate"], record);
    let settings = uncommented(&printed("kong"));
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(lines(&settings), lines(&shipped("kong/kong.conf")));
    // These forms have no comments after them.
    json(&printed("kong --as meta.json"));
    assert!(!printed("kong --as kong.conf").contains("##"));
}

#[test]
fn full_output_for_envoy_gateway_has_the_commented_resources() {
    let digest = "ab".repeat(32);
    let render =
        format!("render envoy/policy.yaml --for envoy-gateway --target front --namespace shop --sha256 {digest}");
    let full = callgate(&format!("{render} --full")).fine();
    let resources = all_parsed(&full);
    let kinds: Vec<_> = resources.iter().map(|resource| resource["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["EnvoyExtensionPolicy", "EnvoyProxy", "ClientTrafficPolicy"]);
    assert!(resources.iter().all(|resource| resource["metadata"]["namespace"] == "shop"));
    let format = at(&resources[1], "/spec/telemetry/accessLog/settings/0/format");
    assert_eq!(
        (&format["type"], &format["json"]["callgate"]),
        (&"JSON".into(), &"%FILTER_STATE(wasm.callgate:PLAIN)%".into())
    );
    assert_eq!(at(&resources[2], "/spec/targetRefs/0/name"), "front");
    assert_eq!(at(&resources[2], "/spec/path/escapedSlashesAction"), "KeepUnchanged");

    let commented = callgate(&render).fine();
    assert_eq!(all_parsed(&(configuration(&commented).to_owned() + &uncommented(&commented))), resources);
    let path = file("full-envoy-gateway.yaml", &full);
    assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n");
}

#[test]
fn full_output_for_the_module_in_envoy_gateway_registers_and_mounts_it() {
    let digest = "ab".repeat(32);
    let render = format!(
        "render envoy/policy.yaml --for envoy-module --as extension-policy --target front --namespace shop --sha256 {digest} \
         --module oci://images.example.com/module:1"
    );
    let full = callgate(&format!("{render} --full")).fine();
    let resources = all_parsed(&full);
    let kinds: Vec<_> = resources.iter().map(|resource| resource["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["EnvoyExtensionPolicy", "EnvoyProxy", "ClientTrafficPolicy"]);
    assert_eq!(resources[0]["spec"].get("wasm"), None);
    let (used, registered) = (at(&resources[0], "/spec/dynamicModule/0"), at(&resources[1], "/spec/dynamicModules/0"));
    assert_eq!((&used["name"], &registered["doNotClose"]), (&registered["name"], &true.into()));
    let deployment = at(&resources[1], "/spec/provider/kubernetes/envoyDeployment");
    let mount = at(deployment, "/container/volumeMounts/0");
    let path = at(registered, "/source/local/path").as_str().unwrap();
    assert!(path.starts_with(&format!("{}/", mount["mountPath"].as_str().unwrap())), "{path}");
    assert_eq!(mount["name"], at(deployment, "/pod/volumes/0")["name"]);
    let image = format!("images.example.com/module:1@sha256:{digest}");
    assert_eq!(at(deployment, "/pod/volumes/0/image/reference"), &Value::from(image));
    assert_eq!(at(deployment, "/container/env/0/name"), "CALLGATE_TABLES_KEY");

    let commented = callgate(&render).fine();
    assert_eq!(all_parsed(&(configuration(&commented).to_owned() + &uncommented(&commented))), resources);
    assert!(!commented.contains("stats_config"), "{commented}");
    let path = file("full-envoy-gateway-module.yaml", &full);
    assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n");
}

#[test]
fn rejects_full_for_forms_without_more_to_print() {
    for arguments in ["envoy --as ecds", "envoy-module --as ecds", "istio", "higress", "kong", "kong --as meta.json"] {
        let err = callgate(&format!("render envoy/policy.yaml --for {arguments} --full")).failed(1);
        assert!(err.contains("`--full` is for the forms `filter` and `extension-policy`"), "{arguments}: {err}");
    }
}
