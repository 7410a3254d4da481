//! Starts the shipped configuration files unchanged, as users copy them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use callgate_kit::capabilities::CAPABILITIES;
use callgate_kit::document;
use callgate_kit::mint::SigningKey;
use serde_json::json;
use tempfile::TempDir;
use test_harness::client::{self, Request, Response};
use test_harness::envoy::{Bootstrap, Envoy, Options, record_in};
use test_harness::paths;
use test_harness::upstream::Upstream;

use crate::envoy::fixture::{self, HOST, module, record, wasm_only};
use crate::envoy::operating::{Load, until};

/// The key that the shipped policy reads from the environment.
const TABLES_KEY: &str = "a-key-of-the-tables-that-no-dump-may-ever-show";

/// Why the module does not run a test.
pub(crate) const FILES: &str = "the shipped files of this test configure the filter";

#[test]
fn envoy_yaml_allows_exactly_the_needed_capabilities() {
    if !wasm_only(FILES) {
        return;
    }
    let mut shipped = Bootstrap::new(module(), "{}", ([127, 0, 0, 1], 1).into()).unwrap();
    let allowed = shipped.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"].clone();
    let allowed: BTreeSet<_> = allowed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(allowed, CAPABILITIES.iter().copied().collect());
}

/// The policies contain the issuer's key. Its private half is in RFC 7515, appendix A.3.
pub(crate) fn token(agent: &str, scope: &str) -> String {
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "replace-me",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    });
    let mut claims = fixture::claims(scope);
    (claims["sub"], claims["client_id"]) = (json!(agent), json!(agent));
    SigningKey::from_jwk(&key).unwrap().sign(&json!({ "alg": "ES256", "kid": "replace-me", "typ": "at+jwt" }), &claims)
}

pub(crate) fn report() -> Request {
    Request::get("/v1/reports").host(HOST)
}

fn with_key(concurrency: u32) -> Options {
    let environment = vec![("CALLGATE_TABLES_KEY".to_owned(), TABLES_KEY.to_owned())];
    Options { concurrency, environment, ..Options::default() }
}

/// Copies of files of `envoy/` in a separate folder, with changes only to machine-specific values: ports, so parallel runs do not conflict,
/// and paths.
pub(crate) struct Copied {
    pub(crate) folder: TempDir,
    pub(crate) upstream: Upstream,
}

impl Copied {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), upstream: Upstream::start().unwrap() }
    }

    /// Copies a file with these replacements. Each text must occur in it exactly once.
    pub(crate) fn file(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = fs::read_to_string(paths::root().join("envoy").join(name)).unwrap();
        let upstream = format!("port_value: {}", self.upstream.address().port());
        let usual = [
            ("port_value: 9901", "port_value: 0"),
            ("address: 0.0.0.0, port_value: 10000", "address: 127.0.0.1, port_value: 0"),
            ("port_value: 8080", &upstream),
            ("/etc/envoy/callgate.wasm", module().to_str().unwrap()),
        ];
        for (from, to) in
            usual.into_iter().filter(|(from, _)| text.contains(from)).chain(changes.iter().copied()).collect::<Vec<_>>()
        {
            assert_eq!(text.matches(from).count(), 1, "{name}: `{from}` is not there once");
            text = text.replace(from, to);
        }
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// Starts Envoy with one of the files, and with the key of the shared tables in its environment.
    pub(crate) fn start(self, file: &Path, concurrency: u32) -> (Envoy, Upstream) {
        (Envoy::start_file(file, self.folder, &with_key(concurrency)).unwrap(), self.upstream)
    }
}

/// Checks that a request with a valid token reaches the API as the agent's request, that one without a token is denied, and that the access
/// log has a record of both.
pub(crate) fn decides(envoy: &Envoy, upstream: &Upstream, call: impl Fn(&Request) -> Response) {
    let allowed = call(&report().bearer(&token("reporter", "reports:read")).header("X-Mark", "allowed"));
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    let seen = upstream.saw("x-mark", "allowed").unwrap();
    assert_eq!((seen.header("x-callgate-agent"), seen.header("authorization")), (Some("reporter"), None));

    let refused = call(&report().header("X-Mark", "refused"));
    assert_eq!((refused.status, refused.code().as_deref()), (401, Some("credentials_missing")));
    assert_eq!(upstream.saw("x-mark", "refused"), None);
    for (status, reason) in [(200, "allowed"), (401, "credentials_missing")] {
        let line = envoy.await_access_log(|line| line["status"] == status && record_in(line).is_some()).unwrap();
        assert_eq!(record(&line)["reason"], reason, "{line}");
    }
}

#[test]
fn envoy_yaml_starts_and_enforces_the_policy() {
    if !wasm_only(FILES) {
        return;
    }
    let copied = Copied::new();
    let file = copied.file("envoy.yaml", &[]);
    let (envoy, upstream) = copied.start(&file, 1);
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    let call = |path, host| client::call(address, &Request::get(path).host(host)).unwrap();
    assert_eq!(call("/v1/status", HOST).status, 200);
    assert_eq!(call("/healthz", HOST).status, 200);
    assert_eq!(call("/", "www.example.com").text(), "the website\n");
}

#[test]
fn lds_listener_starts_enforces_and_can_be_replaced() {
    if !wasm_only(FILES) {
        return;
    }
    let copied = Copied::new();
    let folder = copied.folder.path().to_str().unwrap().to_owned();
    let file = copied.file(
        "lds.yaml",
        &[
            ("path: /etc/envoy/lds-listeners.yaml", &format!("path: {folder}/lds-listeners.yaml")),
            ("path: /etc/envoy }", &format!("path: {folder} }}")),
        ],
    );
    let listeners = copied.file("lds-listeners.yaml", &[]);
    let (envoy, upstream) = copied.start(&file, 1);
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());

    replace(&listeners, "reports:read", "reports:write");
    await_count(&envoy, "listener_manager.lds.update_success", 2);
    let asked = report().bearer(&token("reporter", "reports:read"));
    assert_eq!(client::call(address, &asked).unwrap().code().as_deref(), Some("insufficient_scope"));
    replace(&listeners, "prefix: \"/\"", "prefx: \"/\"");
    await_count(&envoy, "listener_manager.lds.update_rejected", 1);
    assert_eq!(client::call(address, &asked).unwrap().code().as_deref(), Some("insufficient_scope"));
}

/// Starts the shipped configuration in which Envoy discovers the gate. Also returns the gate's file.
fn over_ecds(concurrency: u32) -> (Envoy, Upstream, PathBuf) {
    let copied = Copied::new();
    let folder = copied.folder.path().to_str().unwrap().to_owned();
    let file = copied.file(
        "ecds.yaml",
        &[
            ("path: /etc/envoy/ecds-callgate.yaml", &format!("path: {folder}/ecds-callgate.yaml")),
            ("path: /etc/envoy }", &format!("path: {folder} }}")),
        ],
    );
    // Raises the limit, because the test sends more requests than one agent usually does.
    let gate = copied.file("ecds-callgate.yaml", &[("600/1m", "600000/1m"), ("\"burst\": 100", "\"burst\": 100000")]);
    let (envoy, upstream) = copied.start(&file, concurrency);
    (envoy, upstream, gate)
}

const TAKEN: &str = "extension_config_discovery.http_filter.callgate.update_success";

#[test]
fn an_ecds_policy_update_under_load_loses_no_request() {
    if !wasm_only(FILES) {
        return;
    }
    let (envoy, upstream, gate) = over_ecds(2);
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    let request = report().bearer(&token("reporter", "reports:read"));
    let before = upstream.count();
    let answered = Load::of(address, request.clone(), |load| {
        for round in 1..=5 {
            replace(&gate, "writes the weekly report", &format!("round {round}: writes the weekly report"));
            await_count(&envoy, TAKEN, 1 + round);
            load.goes_on();
        }
    });
    assert_eq!(upstream.count() - before, answered);
    // Envoy replaces a discovered filter without draining existing connections.
    assert_eq!(envoy.stat("listener_manager.listener_modified").unwrap(), 0);
    assert_eq!(envoy.stat("listener_manager.total_listeners_draining").unwrap(), 0);

    // The last configuration is in force, and one that does not compile is rejected.
    replace(&gate, "reports:read", "reports:write");
    await_count(&envoy, TAKEN, 7);
    until("the policy is in force", || client::call(address, &request).unwrap().status == 403);
    replace(&gate, "\"mode\": \"enforce\"", "\"mode\": \"open\"");
    await_count(&envoy, "extension_config_discovery.http_filter.callgate.update_rejected", 1);
    assert_eq!(client::call(address, &request).unwrap().status, 403);
}

/// The patches of the `EnvoyFilter` as Istio would apply them, with the module from a file, as Istio's agent configures it.
#[test]
fn istio_envoy_filter_starts_and_enforces_the_policy() {
    if !wasm_only(FILES) {
        return;
    }
    let read = document::read(paths::root().join("envoy/istio/envoy-filter.yaml")).unwrap();
    let value = |patch: usize| read.value()["spec"]["configPatches"][patch]["patch"]["value"].clone();
    let mut filter = value(0);
    filter["typed_config"]["config"]["vm_config"]["code"] = json!({ "local": { "filename": module() } });
    let upstream = Upstream::start().unwrap();
    let bootstrap = Bootstrap::new(module(), "{}", upstream.address()).unwrap();
    let mut bootstrap = bootstrap.with_filters(vec![filter]).unwrap();
    bootstrap.manager().unwrap().as_object_mut().unwrap().extend(value(2)["typed_config"].as_object().unwrap().clone());
    let envoy = Envoy::start(&bootstrap, &with_key(1)).unwrap();
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
}

/// Returns Envoy's configuration and process information from the admin interface.
fn dump(envoy: &Envoy) -> String {
    let pages =
        ["/config_dump?include_eds", "/server_info", "/listeners?format=json", "/clusters", "/stats", "/runtime"];
    pages.map(|page| envoy.admin(page).unwrap()).concat()
}

#[test]
fn config_dump_does_not_show_secrets_from_the_environment() {
    if !wasm_only(FILES) {
        return;
    }
    let (envoy, upstream, _) = over_ecds(1);
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    let shown = dump(&envoy);
    assert!(shown.contains("CALLGATE_TABLES_KEY"), "the dump has the filter");
    assert!(!shown.contains(TABLES_KEY));
    assert!(!envoy.log().contains(TABLES_KEY));

    // A key in the configuration itself would be visible, so the check is effective.
    let copied = Copied::new();
    let inline = format!("key_values: {{ CALLGATE_TABLES_KEY: {TABLES_KEY} }}");
    let file = copied.file("envoy.yaml", &[("host_env_keys: []", &inline)]);
    let (envoy, _upstream) = copied.start(&file, 1);
    assert!(dump(&envoy).contains(TABLES_KEY));
}

/// Writes a file again with another text in it, and moves it into place, which is the event that Envoy watches for.
pub(crate) fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "there is no `{from}` in {}", file.display());
    let new = file.with_extension("new");
    fs::write(&new, text.replace(from, to)).unwrap();
    fs::rename(new, file).unwrap();
}

#[track_caller]
pub(crate) fn await_count(envoy: &Envoy, name: &str, at_least: u64) {
    until(name, || envoy.stat(name).unwrap() >= at_least);
}

#[test]
fn front_proxy_routes_each_credential_to_one_gate() {
    let gates = [Upstream::start().unwrap(), Upstream::start().unwrap()];
    let mut text = fs::read_to_string(paths::root().join("envoy/front.yaml")).unwrap();
    for (shipped, changed) in [
        ("port_value: 9902".to_owned(), "port_value: 0".to_owned()),
        ("address: 0.0.0.0, port_value: 10001".to_owned(), "address: 127.0.0.1, port_value: 0".to_owned()),
        ("port_value: 10000".to_owned(), format!("port_value: {}", gates[0].address().port())),
        ("port_value: 10010".to_owned(), format!("port_value: {}", gates[1].address().port())),
    ] {
        assert_eq!(text.matches(&shipped).count(), 1, "{shipped}");
        text = text.replace(&shipped, &changed);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.yaml");
    fs::write(&file, text).unwrap();
    let envoy = Envoy::start_file(&file, folder, &Options::default()).unwrap();
    let address = envoy.listener("front").unwrap();
    // Until the health checks of the gates succeed.
    let start = std::time::Instant::now();
    while client::call(address, &Request::get("/healthz").host("api.example.com")).unwrap().status != 200 {
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut met = [0, 0];
    for credential in 0..16 {
        for call in 0..4 {
            let mark = format!("{credential}-{call}");
            let request =
                Request::get("/").host("api.example.com").bearer(&format!("t{credential}")).header("x-mark", &mark);
            assert_eq!(client::call(address, &request).unwrap().status, 200);
        }
        let of = |gate: &Upstream| {
            (0..4).filter(|call| gate.saw("x-mark", &format!("{credential}-{call}")).is_some()).count()
        };
        let seen = [of(&gates[0]), of(&gates[1])];
        assert!(seen == [4, 0] || seen == [0, 4], "{credential}: {seen:?}");
        met[usize::from(seen[1] == 4)] += 1;
    }
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}
