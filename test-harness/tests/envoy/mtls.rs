//! `envoy/mtls.yaml`: which clients reach the gate, and what the API learns about the certificate.

use std::fs;
use std::net::SocketAddr;

use test_harness::certificates::{Authority, Identity, Name, connect};
use test_harness::client::{Connection, Request, Response};

use crate::envoy::fixture::wasm_only;
use crate::envoy::shipped::{Copied, FILES, decides};

/// Sends a request over TLS 1.3. A client whose certificate is rejected learns this from its first read.
fn call(
    address: SocketAddr,
    servers: &Authority,
    identity: Option<&Identity>,
    request: &Request,
) -> anyhow::Result<Response> {
    Connection::over(connect(address, servers, identity, "http/1.1")?).call(request)
}

fn program(authority: &Authority, uri: &str) -> Identity {
    authority.issue(&[Name::Uri(uri)]).unwrap()
}

#[test]
fn mtls_requires_a_certificate_and_overwrites_a_forged_xfcc() {
    if !wasm_only(FILES) {
        return;
    }
    let [servers, clients, strangers] = ["servers", "clients", "strangers"].map(|name| Authority::new(name).unwrap());
    let copied = Copied::new();
    let folder = copied.folder.path().to_str().unwrap().to_owned();
    let server = servers.issue(&[Name::Dns("api.example.com")]).unwrap();
    for (name, text) in
        [("server.crt", server.pem()), ("server.key", server.key_pem()), ("clients-ca.crt", clients.pem())]
    {
        fs::write(copied.folder.path().join(name), text).unwrap();
    }
    let file = copied.file(
        "mtls.yaml",
        &[
            ("address: 0.0.0.0, port_value: 10443", "address: 127.0.0.1, port_value: 0"),
            ("/etc/envoy/tls/server.crt", &format!("{folder}/server.crt")),
            ("/etc/envoy/tls/server.key", &format!("{folder}/server.key")),
            ("/etc/envoy/tls/clients-ca.crt", &format!("{folder}/clients-ca.crt")),
        ],
    );
    let (envoy, upstream) = copied.start(&file, 1);
    let address = envoy.api().unwrap();
    let reporter = program(&clients, "spiffe://example.com/reporter");
    decides(&envoy, &upstream, |request| call(address, &servers, Some(&reporter), request).unwrap());

    let forged = "URI=spiffe://example.com/admin";
    let status = |mark| Request::get("/v1/status").host("api.example.com").header("X-Mark", mark);
    let request = status("forged").header("X-Forwarded-Client-Cert", forged);
    assert_eq!(call(address, &servers, Some(&reporter), &request).unwrap().status, 200);
    let seen = upstream.saw("x-mark", "forged").unwrap();
    let told: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-forwarded-client-cert").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("URI=spiffe://example.com/reporter") && !told[0].1.contains("admin"), "{told:?}");
    let line = envoy.await_access_log(|line| line["status"] == 200).unwrap();
    assert_eq!(line["client_certificate"], "spiffe://example.com/reporter");

    // No other client reaches the HTTP layer.
    let same = "spiffe://example.com/reporter";
    let others = [
        ("no certificate", None),
        ("one of another authority", Some(program(&strangers, same))),
        ("one that the servers' authority signed", Some(program(&servers, same))),
        ("one of another trust domain", Some(program(&clients, "spiffe://other.example/reporter"))),
        ("one that names no program", Some(clients.issue(&[Name::Dns("example.com")]).unwrap())),
        ("one that expired", Some(clients.issue_expired(&[Name::Uri(same)]).unwrap())),
    ];
    for (who, identity) in others {
        let answer = call(address, &servers, identity.as_ref(), &status("stranger"));
        assert!(answer.is_err(), "{who}: {answer:?}");
    }
    assert_eq!(upstream.saw("x-mark", "stranger"), None);
}
