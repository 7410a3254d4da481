//! Tests the service over a real connection.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::SecretLookup;
use callgate_example_embed::{Gate, POLICY, serve};

const KEY: &[u8] = b"a secret of thirty-two bytes, or";
const BODY: &str = "{\"amount\": 5}";

fn payer_key(_: &str) -> SecretLookup {
    SecretLookup::Found(KEY.to_vec())
}

fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener, Gate::new(POLICY, &payer_key).unwrap()).unwrap());
    address
}

fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Returns a payment request, signed by RFC 9421.
fn payment(nonce: &str, body: &str) -> String {
    let digest = format!("sha-256=:{}:", STANDARD.encode(hmac_sha256::Hash::hash(BODY.as_bytes())));
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let input = format!(
        "(\"@method\" \"@authority\" \"@path\" \"content-digest\");created={created};keyid=\"payer-1\";nonce=\"{nonce}\""
    );
    let base = format!(
        "\"@method\": POST\n\"@authority\": api.example.com\n\"@path\": /payments\n\"content-digest\": {digest}\n\
         \"@signature-params\": {input}"
    );
    let signature = STANDARD.encode(hmac_sha256::HMAC::mac(base.as_bytes(), KEY));
    format!(
        "POST /payments HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\ncontent-digest: {digest}\r\n\
         signature-input: sig={input}\r\nsignature: sig=:{signature}:\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn handles_allowed_requests_and_answers_denied_ones() {
    let address = start();
    let get = |target: &str, more: &str| {
        send(address, &format!("GET {target} HTTP/1.1\r\nhost: api.example.com\r\n{more}connection: close\r\n\r\n"))
    };
    let allowed = get("/health", "x-callgate-agent: admin\r\n");
    assert!(allowed.starts_with("HTTP/1.1 200") && allowed.contains("x-callgate-endpoint: health"), "{allowed}");
    assert!(!allowed.contains("admin"), "nothing that poses as the gate's own header is forwarded: {allowed}");
    let denied = get("/admin", "");
    assert!(denied.starts_with("HTTP/1.1 403") && denied.contains("signature_missing"), "{denied}");
    for (target, code) in
        [("/health/../admin", "path_dot_segment"), ("http://other.example/health", "path_not_origin_form")]
    {
        let denied = get(target, "");
        assert!(denied.starts_with("HTTP/1.1 400") && denied.contains(code), "{target}: {denied}");
    }
}

#[test]
fn checks_a_signed_body_first_and_rejects_its_replay() {
    let address = start();
    // A new gate does not know which requests an earlier instance accepted. It rejects every request that could be one of them, so the
    // test waits until its own requests cannot be.
    thread::sleep(std::time::Duration::from_secs(8));
    let denied = send(address, &payment("a", "{\"amount\": 9}"));
    assert!(denied.starts_with("HTTP/1.1 403") && denied.contains("content_digest_mismatch"), "{denied}");
    let signed = payment("b", BODY);
    let allowed = send(address, &signed);
    assert!(allowed.starts_with("HTTP/1.1 200") && allowed.contains("x-callgate-agent: payer"), "{allowed}");
    let replayed = send(address, &signed);
    assert!(replayed.starts_with("HTTP/1.1 403") && replayed.contains("signature_replayed"), "{replayed}");
}

#[test]
fn rejects_an_invalid_policy_with_its_mistakes() {
    let mistakes = Gate::new(b"{\"callgate\": \"v1\"}", &payer_key).err().unwrap().to_string();
    assert!(mistakes.contains("missing field"), "{mistakes}");
}
