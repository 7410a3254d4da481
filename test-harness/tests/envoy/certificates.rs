//! Client certificates in a real Envoy: agents that are identified by them, tokens that are bound to them, and what a listener accepts that
//! does not validate them, or validates those of several trust domains with the same authorities.

use std::sync::{LazyLock, mpsc};
use std::thread;

use callgate_gateway_check::check;
use serde_json::{Value, json};
use test_harness::certificates::{Authority, Identity, Name, connect, listener_tls, trusting, trusting_domains};
use test_harness::client::{self, Connection, Request};
use test_harness::envoy::{Adapter, Bootstrap, Envoy, Options};
use test_harness::http2::call_over;
use test_harness::upstream::Upstream;

use crate::envoy::fixture::{
    Asked, Gate, HOST, KEY, adapter, claims, header, log_as_well, mark, module, policy, token,
};

const ROBOT: &str = "spiffe://example.org/agents/robot";
const REPORTER: &str = "spiffe://partner.example/agents/reporter";
const PROXY: &str = "spiffe://example.org/edge/proxy";

/// Validates certificates, all with the authority of `example.org`. Clients may have none.
const VALIDATED: &str = "validated";
/// Validates those of each trust domain with its authority. Envoy's validator for that requires one.
const DOMAINS: &str = "domains";
/// Validates all of them with the authorities of both trust domains.
const SHARED: &str = "shared";
/// Asks for certificates and accepts any.
const UNTRUSTED: &str = "untrusted";
/// Requires certificates, and has no authorities to validate them. Envoy then asks for none.
const UNCHECKED: &str = "unchecked";
/// Validates certificates, and passes a fixed value to the module instead of them.
const NOT_PASSED: &str = "not-passed";
/// Validates certificates, and passes them to the module by an HTTP filter.
const PER_REQUEST: &str = "per-request";
/// The same, and another filter lets clients choose what is passed.
const REPLACED: &str = "replaced";
/// Has no TLS.
const PLAIN: &str = "plain";

/// One gate behind listeners that differ in their TLS.
struct Listeners {
    gate: Gate,
    servers: Authority,
    /// The authority of `example.org`.
    workloads: Authority,
    /// The authority of `partner.example`.
    partner: Authority,
    /// The configuration of each listener alone.
    alone: Vec<(&'static str, Bootstrap)>,
}

/// Returns the test policy with agents that are identified by certificates.
fn certificate_policy() -> Value {
    let mut policy = policy();
    policy["tls"] = json!({
        "client_certificates": "validated",
        "trust_domains": ["example.org", "partner.example"],
        "proxies": [PROXY],
    });
    let agent = |identity: Value| json!({ "owner": "o@example.com", "identity": identity, "scopes": ["items:read"] });
    policy["agents"]["robot"] = agent(json!({ "issuer": "corp", "client_id": "robot", "spiffe": ROBOT }));
    policy["agents"]["reporter"] = agent(json!({ "spiffe": REPORTER }));
    policy["agents"]["crawler"] = agent(json!({ "certificate": { "dns": "crawler.example.org" } }));
    let endpoints = policy["endpoints"].as_array_mut().unwrap();
    let items = endpoints.iter_mut().find(|endpoint| endpoint["id"] == "items.get").unwrap();
    items["authenticate"] = json!(["token", "certificate"]);
    endpoints.push(json!({
        "id": "reports", "methods": ["GET"], "path": "/reports", "effect": "read", "scopes": "none", "token": "bound",
    }));
    policy
}

/// Returns a filter that sets what the module reads as the certificate of a client.
fn passing(kind: &str, event: &str, value: &str) -> Value {
    json!({
        "name": format!("passing-{}", mark()),
        "typed_config": {
            "@type": format!("type.googleapis.com/envoy.extensions.filters.{kind}.set_filter_state.v3.Config"),
            event: [{
                "object_key": "callgate.peer_certificate",
                "factory_key": "envoy.string",
                "format_string": { "text_format_source": { "inline_string": value } },
            }],
        },
    })
}

/// Returns the listeners that pass certificates to the module in another way than the harness does.
fn passing_otherwise(validated: &Bootstrap) -> [(&'static str, Bootstrap); 3] {
    let per_request = |values: &[&str]| {
        let mut bootstrap = validated.clone();
        let filters = bootstrap.manager().unwrap()["http_filters"].as_array_mut().unwrap();
        let gate = filters.iter().position(|filter| filter["name"] == "callgate").unwrap();
        filters.splice(gate..gate, values.iter().map(|value| passing("http", "on_request_headers", value)));
        bootstrap
    };
    let mut not_passed = validated.clone();
    let filters = not_passed.at("/static_resources/listeners/0/filter_chains/0/filters").unwrap();
    filters.as_array_mut().unwrap().insert(0, passing("network", "on_downstream_tls_handshake", "none"));
    let certificate = "%DOWNSTREAM_PEER_CERT%";
    [
        (NOT_PASSED, not_passed),
        (PER_REQUEST, per_request(&[certificate])),
        (REPLACED, per_request(&[certificate, "%REQ(X-CLIENT-CERT)%"])),
    ]
}

impl Listeners {
    fn start() -> Self {
        let [servers, workloads, partner] =
            ["servers", "workloads", "partner"].map(|name| Authority::new(name).unwrap());
        let server = servers.issue(&[Name::Dns(HOST)]).unwrap();
        let upstream = Upstream::start().unwrap();
        let mut base = Bootstrap::new(module(), &certificate_policy().to_string(), upstream.address()).unwrap();
        log_as_well(&mut base, r#""mark":"%REQ(X-MARK)%""#);
        let mut accepting = trusting(&[&workloads]);
        accepting["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
        let over_tls = |validation: Option<Value>, required| {
            let mut bootstrap = base.clone();
            let chain = bootstrap.at("/static_resources/listeners/0/filter_chains/0").unwrap();
            chain["transport_socket"] = listener_tls(&server, validation, required);
            bootstrap
        };
        let mut alone = vec![
            (VALIDATED, over_tls(Some(trusting(&[&workloads])), false)),
            (
                DOMAINS,
                over_tls(Some(trusting_domains(&[("example.org", &workloads), ("partner.example", &partner)])), false),
            ),
            (SHARED, over_tls(Some(trusting(&[&workloads, &partner])), false)),
            (UNTRUSTED, over_tls(Some(accepting), false)),
            (UNCHECKED, over_tls(None, true)),
            (PLAIN, base.clone()),
        ];
        // Envoy itself gives the certificate to the Wasm filter.
        if adapter() == Adapter::Module {
            let validated = alone[0].1.clone();
            alone.extend(passing_otherwise(&validated));
        }
        let bootstrap = Bootstrap::joined(alone.clone()).unwrap();
        let envoy = Envoy::start(&bootstrap, &Options::default()).unwrap();
        Self { gate: Gate { envoy, upstream, bootstrap }, servers, workloads, partner, alone }
    }

    /// Returns the gate that all tests share.
    fn shared() -> &'static Self {
        static STARTED: LazyLock<Listeners> = LazyLock::new(|| {
            let (sender, started) = mpsc::channel();
            // Envoy ends with the thread that started it, and a test's thread ends with the test.
            thread::spawn(move || {
                sender.send(Listeners::start()).unwrap();
                loop {
                    thread::park();
                }
            });
            started.recv().unwrap()
        });
        &STARTED
    }

    fn try_ask(&self, listener: &str, identity: Option<&Identity>, request: Request) -> anyhow::Result<Asked> {
        let mark = mark();
        let stream = connect(self.gate.envoy.listener(listener)?, &self.servers, identity, "http/1.1")?;
        let response = Connection::over(stream).call(&request.header("X-Mark", &mark))?;
        Ok(self.gate.asked(&mark, response))
    }

    /// Sends a request on a new connection with this certificate, and collects all of its effects.
    #[track_caller]
    fn ask(&self, listener: &str, identity: Option<&Identity>, request: Request) -> Asked {
        self.try_ask(listener, identity, request).unwrap()
    }

    /// Sends a request without TLS.
    #[track_caller]
    fn ask_plain(&self, request: Request) -> Asked {
        let mark = mark();
        let address = self.gate.envoy.listener(PLAIN).unwrap();
        let response = client::call(address, &request.header("X-Mark", &mark)).unwrap();
        self.gate.asked(&mark, response)
    }

    /// Sends a request over HTTP/2.
    #[track_caller]
    fn ask_http2(&self, listener: &str, identity: Option<&Identity>, lines: &[(&str, &str)]) -> Asked {
        let mark = mark();
        let pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/items/1"), (":authority", HOST)];
        let lines = pseudo.iter().chain(lines).chain(&[("x-mark", &*mark)]).copied().collect::<Vec<_>>();
        let lines: Vec<_> =
            lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        let address = self.gate.envoy.listener(listener).unwrap();
        let stream = connect(address, &self.servers, identity, "h2").unwrap();
        let response = call_over(stream, &lines, None).unwrap().unwrap();
        self.gate.asked(&mark, response)
    }

    /// Asserts that the handshake fails with this certificate, or without one.
    #[track_caller]
    fn assert_refused(&self, listener: &str, identity: Option<&Identity>) {
        let asked = self.try_ask(listener, identity, item());
        assert!(asked.is_err(), "{asked:?}");
    }
}

fn workload(authority: &Authority, id: &str) -> Identity {
    authority.issue(&[Name::Uri(id)]).unwrap()
}

/// Returns a request for an endpoint that accepts tokens and certificates.
fn item() -> Request {
    Request::get("/items/1").host(HOST)
}

/// Returns a request for an endpoint that accepts bound tokens.
fn report(token: &str) -> Request {
    Request::get("/reports").host(HOST).bearer(token)
}

/// Returns a token of the robot that is bound to a certificate.
fn bound_to(identity: &Identity) -> String {
    let mut claims = claims("items:read");
    claims["cnf"] = json!({ "x5t#S256": identity.thumbprint() });
    KEY.sign(&header(), &claims)
}

/// Returns what a record shows of a certificate's digest.
fn short(identity: &Identity) -> String {
    identity.sha256().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn certificates_identify_agents() {
    let listeners = Listeners::shared();
    let robot = workload(&listeners.workloads, ROBOT);
    for listener in [VALIDATED, DOMAINS] {
        let asked = listeners.ask(listener, Some(&robot), item());
        assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"), "{listener}");
        let record = asked.record();
        assert_eq!(record["certificate"], json!({ "spiffe": ROBOT, "sha256": short(&robot) }), "{listener}");
        assert_eq!(record["authenticated_by"], "certificate", "{listener}");
    }
    let reporter = workload(&listeners.partner, REPORTER);
    let asked = listeners.ask(DOMAINS, Some(&reporter), item());
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("reporter"));

    let crawler = listeners.workloads.issue(&[Name::Dns("crawler.example.org")]).unwrap();
    let asked = listeners.ask(VALIDATED, Some(&crawler), item());
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("crawler"));
    assert_eq!(asked.record()["certificate"]["dns"], "crawler.example.org");
}

#[test]
fn http_2_requests_are_identified_by_the_same_certificate() {
    let listeners = Listeners::shared();
    let robot = workload(&listeners.workloads, ROBOT);
    let asked = listeners.ask_http2(DOMAINS, Some(&robot), &[]);
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    let unknown = workload(&listeners.workloads, "spiffe://example.org/agents/other");
    listeners.ask_http2(DOMAINS, Some(&unknown), &[]).assert_denied(403, "agent_unknown");
    listeners.ask_http2(VALIDATED, None, &[]).assert_denied(401, "credentials_missing");
    let forged = format!("URI={ROBOT}");
    listeners
        .ask_http2(VALIDATED, None, &[("x-forwarded-client-cert", &forged)])
        .assert_denied(401, "credentials_missing");
}

#[test]
fn certificates_without_exactly_one_accepted_name_identify_nobody() {
    let listeners = Listeners::shared();
    let issue = |names: &[Name<'_>]| listeners.workloads.issue(names).unwrap();
    let other = "spiffe://other.example/agents/robot";
    for (what, names) in [
        ("another trust domain", vec![Name::Uri(other)]),
        ("two SPIFFE IDs", vec![Name::Uri(ROBOT), Name::Uri("spiffe://example.org/agents/other")]),
        ("two SPIFFE IDs, the other first", vec![Name::Uri("spiffe://example.org/agents/other"), Name::Uri(ROBOT)]),
        ("a SPIFFE ID and another URI", vec![Name::Uri(ROBOT), Name::Uri("urn:example:robot")]),
        ("another scheme first", vec![Name::Uri("urn:example:robot"), Name::Uri(ROBOT)]),
        ("no name", vec![]),
        ("a SPIFFE ID with a query", vec![Name::Uri("spiffe://example.org/agents/robot?x")]),
        ("a SPIFFE ID in upper case", vec![Name::Uri("SPIFFE://example.org/agents/robot")]),
        ("a SPIFFE ID without a path", vec![Name::Uri("spiffe://example.org")]),
    ] {
        let asked = listeners.ask(VALIDATED, Some(&issue(&names)), item());
        assert_eq!(asked.record()["reason"], "certificate_name", "{what}");
        asked.assert_denied(401, "certificate_name");
    }
    // Envoy's validator reads the first one only.
    let both = issue(&[Name::Uri(ROBOT), Name::Uri(REPORTER)]);
    listeners.ask(DOMAINS, Some(&both), item()).assert_denied(401, "certificate_name");

    for unknown in [
        &[Name::Uri("spiffe://example.org/agents/robot2")][..],
        &[Name::Uri("spiffe://example.org/agents/robot/sub")],
        &[Name::Dns("other.example.org")],
    ] {
        listeners.ask(VALIDATED, Some(&issue(unknown)), item()).assert_denied(403, "agent_unknown");
    }
}

#[test]
fn a_proxy_is_no_agent() {
    let listeners = Listeners::shared();
    let proxy = workload(&listeners.workloads, PROXY);
    listeners.ask(VALIDATED, Some(&proxy), item()).assert_denied(401, "credentials_missing");
    // Its clients have tokens.
    let asked = listeners.ask(VALIDATED, Some(&proxy), item().bearer(&token("items:read")));
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    // A token that is bound to it would be bound to none of its clients.
    listeners.ask(VALIDATED, Some(&proxy), report(&bound_to(&proxy))).assert_denied(401, "certificate_binding");
}

#[test]
fn tls_refuses_certificates_that_do_not_validate() {
    let listeners = Listeners::shared();
    let strangers = Authority::new("strangers").unwrap();
    let stranger = workload(&strangers, ROBOT);
    let expired = listeners.workloads.issue_expired(&[Name::Uri(ROBOT)]).unwrap();
    for listener in [VALIDATED, DOMAINS, SHARED] {
        listeners.assert_refused(listener, Some(&stranger));
        listeners.assert_refused(listener, Some(&expired));
    }
    // With separate authorities, that of one trust domain cannot issue certificates of another one.
    listeners.assert_refused(DOMAINS, Some(&workload(&listeners.partner, ROBOT)));
    listeners.assert_refused(DOMAINS, Some(&workload(&listeners.workloads, "spiffe://other.example/agents/robot")));
    listeners.assert_refused(DOMAINS, Some(&listeners.workloads.issue(&[]).unwrap()));
    listeners.assert_refused(DOMAINS, None);
}

/// What happens behind a listener that the configuration check reports.
#[test]
fn listeners_that_do_not_validate_let_anyone_in_and_are_found() {
    let listeners = Listeners::shared();
    let strangers = Authority::new("strangers too").unwrap();
    let forged = workload(&strangers, ROBOT);
    let expired = listeners.workloads.issue_expired(&[Name::Uri(ROBOT)]).unwrap();
    listeners.ask(UNTRUSTED, Some(&forged), item()).assert_allowed();
    // Callgate reads one date, because certificates expire while connections are open.
    listeners.ask(UNTRUSTED, Some(&expired), item()).assert_denied(401, "certificate_name");
    for identity in [&forged, &expired] {
        let asked = listeners.ask(UNCHECKED, Some(identity), item());
        assert_eq!(asked.record().get("certificate"), None, "{asked:?}");
        asked.assert_denied(401, "credentials_missing");
    }
    listeners.ask(UNCHECKED, None, item()).assert_denied(401, "credentials_missing");
    // One authority issues a name of the other's trust domain.
    let crossed = workload(&listeners.partner, ROBOT);
    let asked = listeners.ask(SHARED, Some(&crossed), item());
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    // Without TLS, nothing but a token identifies a client.
    listeners.ask_plain(item()).assert_denied(401, "credentials_missing");

    let folder = tempfile::tempdir().unwrap();
    for (name, bootstrap) in &listeners.alone {
        let file = folder.path().join(format!("{name}.json"));
        bootstrap.write(&file).unwrap();
        let found = check(&[file], None).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        let about = [
            "certificate_not_passed",
            "certificate_replaced",
            "certificates_unseen",
            "certificates_unvalidated",
            "trust_domains_shared",
            "trust_domains_differ",
        ];
        let mut codes: Vec<_> =
            found.iter().map(|finding| finding.code.name()).filter(|code| about.contains(code)).collect();
        codes.sort_unstable();
        let expected: &[&str] = match *name {
            DOMAINS => &[],
            VALIDATED | SHARED | PER_REQUEST => &["trust_domains_shared"],
            UNTRUSTED => &["certificates_unvalidated", "trust_domains_shared"],
            UNCHECKED => &["certificates_unvalidated"],
            NOT_PASSED => &["certificate_not_passed", "trust_domains_shared"],
            REPLACED => &["certificate_replaced", "trust_domains_shared"],
            _ => &["certificates_unseen"],
        };
        assert_eq!(codes, expected, "{name}");
    }
}

/// Envoy's digest decides what the module accepts as the certificate of a client.
#[test]
fn a_certificate_that_is_not_passed_to_the_module_or_replaced_identifies_nobody() {
    if adapter() != Adapter::Module {
        return;
    }
    let listeners = Listeners::shared();
    let robot = workload(&listeners.workloads, ROBOT);
    let with_token = || item().bearer(&token("items:read"));
    for request in [item(), with_token()] {
        listeners.ask(NOT_PASSED, Some(&robot), request).assert_denied(401, "certificate_name");
    }
    let bound = report(&bound_to(&robot));
    listeners.ask(NOT_PASSED, Some(&robot), bound).assert_denied(401, "certificate_binding");
    listeners.ask(NOT_PASSED, None, with_token()).assert_allowed();
    listeners.ask(NOT_PASSED, None, item()).assert_denied(401, "credentials_missing");

    let asked = listeners.ask(PER_REQUEST, Some(&robot), item());
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    let other = workload(&listeners.workloads, "spiffe://example.org/agents/other");
    let claiming = |identity: &Identity| {
        let pem = identity.pem().replace('\r', "");
        let encoded = pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B");
        item().header("X-Client-Cert", &encoded)
    };
    listeners.ask(REPLACED, Some(&other), claiming(&robot)).assert_denied(401, "certificate_name");
    listeners.ask(REPLACED, None, claiming(&robot)).assert_denied(401, "credentials_missing");
    let asked = listeners.ask(REPLACED, Some(&robot), claiming(&robot));
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
}

#[test]
fn bound_tokens_need_the_connection_with_their_certificate() {
    let listeners = Listeners::shared();
    let robot = workload(&listeners.workloads, ROBOT);
    let token_of_robot = bound_to(&robot);
    let asked = listeners.ask(VALIDATED, Some(&robot), report(&token_of_robot));
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    assert_eq!(asked.record()["certificate"]["sha256"], short(&robot));
    // The token is a bearer token apart from that, so it is accepted where bearer tokens are.
    listeners.ask(VALIDATED, Some(&robot), item().bearer(&token_of_robot)).assert_allowed();
    let authorization = format!("Bearer {token_of_robot}");
    listeners.ask_http2(VALIDATED, Some(&robot), &[("authorization", &authorization)]).assert_allowed();

    let other = listeners.workloads.issue(&[Name::Uri(ROBOT)]).unwrap();
    let unknown = workload(&listeners.workloads, "spiffe://example.org/agents/other");
    for (what, identity) in
        [("another certificate of the agent", Some(&other)), ("another client's", Some(&unknown)), ("none", None)]
    {
        for request in [report(&token_of_robot), item().bearer(&token_of_robot)] {
            let asked = listeners.ask(VALIDATED, identity, request);
            assert_eq!(asked.record()["reason"], "certificate_binding", "{what}");
            asked.assert_denied(401, "certificate_binding");
        }
    }
    listeners.ask_plain(report(&token_of_robot)).assert_denied(401, "certificate_binding");
    // The endpoint accepts no other tokens.
    listeners.ask(VALIDATED, Some(&robot), report(&token("items:read"))).assert_denied(403, "proof_required");
}

#[test]
fn a_certificate_next_to_a_token_belongs_to_the_same_agent() {
    let listeners = Listeners::shared();
    let robot = workload(&listeners.workloads, ROBOT);
    let with_token = || item().bearer(&token("items:read"));
    let asked = listeners.ask(DOMAINS, Some(&robot), with_token());
    asked.assert_allowed();
    assert_eq!(asked.record()["authenticated_by"], "token");
    let reporter = workload(&listeners.partner, REPORTER);
    listeners.ask(DOMAINS, Some(&reporter), with_token()).assert_denied(403, "certificate_agent");
}

/// A workload gets a new certificate every hour or so. What is bound to the old one ends with its connections.
#[test]
fn a_client_renews_its_certificate() {
    let listeners = Listeners::shared();
    let (first, second) = (workload(&listeners.workloads, ROBOT), workload(&listeners.workloads, ROBOT));
    assert_ne!(first.sha256(), second.sha256());
    let (old, new) = (bound_to(&first), bound_to(&second));
    for (identity, own, other) in [(&first, &old, &new), (&second, &new, &old)] {
        listeners.ask(VALIDATED, Some(identity), item()).assert_allowed();
        listeners.ask(VALIDATED, Some(identity), report(own)).assert_allowed();
        listeners.ask(VALIDATED, Some(identity), report(other)).assert_denied(401, "certificate_binding");
    }
    // An open connection keeps the certificate of its handshake.
    let address = listeners.gate.envoy.listener(VALIDATED).unwrap();
    let mut open = Connection::over(connect(address, &listeners.servers, Some(&first), "http/1.1").unwrap());
    for _ in 0..2 {
        assert_eq!(open.call(&report(&old)).unwrap().status, 200);
        assert_eq!(open.call(&report(&new)).unwrap().code().as_deref(), Some("certificate_binding"));
    }
}
