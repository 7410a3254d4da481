//! The service, over a real connection.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use callgate_example_embed::{Gate, POLICY, serve};

fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener, Gate::new(POLICY).unwrap()).unwrap());
    address
}

fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn handles_what_the_gate_allows_and_answers_what_it_denies() {
    let address = start();
    let get = |path: &str, more: &str| {
        send(address, &format!("GET {path} HTTP/1.1\r\nhost: api.example.com\r\n{more}connection: close\r\n\r\n"))
    };
    let allowed = get("/health", "x-callgate-agent: admin\r\n");
    assert!(allowed.starts_with("HTTP/1.1 200") && allowed.contains("x-callgate-endpoint: health"), "{allowed}");
    assert!(!allowed.contains("admin"), "nothing that poses as the gate's own header is forwarded: {allowed}");
    let denied = get("/admin", "");
    assert!(denied.starts_with("HTTP/1.1 401") && denied.contains("credentials_missing"), "{denied}");
    assert!(get("/health/../admin", "").starts_with("HTTP/1.1 400"));
}

#[test]
fn a_policy_with_mistakes_is_rejected_with_each_of_them() {
    let mistakes = Gate::new(b"{\"callgate\": \"v1\"}").err().unwrap().to_string();
    assert!(mistakes.contains("missing field"), "{mistakes}");
}
