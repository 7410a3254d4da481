//! The output of `cargo demo` is correct, and its Envoy exposes no secret.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use test_harness::demo::{Demo, McpDemo, PICTURE, picture, summary};
use test_harness::{build, paths};

use crate::envoy::fixture::wasm_only;

/// Why the module does not run a test.
const DEMO: &str = "`cargo demo` runs the filter";

#[test]
fn every_demo_request_has_the_documented_result() {
    if !wasm_only(DEMO) {
        return;
    }
    let demo = Demo::start().unwrap();
    let outcomes = demo.call_all().unwrap();
    for outcome in &outcomes {
        assert!(
            outcome.is_expected(),
            "{}: expected {:?}, got {:?}, {:?}",
            outcome.title,
            outcome.expected,
            outcome.got,
            outcome.upstream
        );
    }
    let shipped = fs::read_to_string(paths::root().join(PICTURE)).unwrap();
    assert!(shipped == picture(&summary(&outcomes)), "run `cargo harness picture --write`");
    invitation_keeps_its_promises(&demo);
    // After requests with tokens, neither the tokens nor private keys appear in Envoy's admin output.
    let dump = ["/config_dump?include_eds", "/server_info", "/stats", "/clusters"]
        .map(|page| demo.admin(page).unwrap())
        .concat();
    assert!(dump.contains("idp.example.com/jwks"), "the dump has the policy");
    for name in ["es256", "ed25519"] {
        let jwk = fs::read_to_string(paths::root().join(format!("examples/quickstart/keys/{name}.jwk.json"))).unwrap();
        let jwk: Value = serde_json::from_str(&jwk).unwrap();
        assert!(!dump.contains(jwk["d"].as_str().unwrap()));
    }
    assert!(!dump.contains("eyJ"), "a token begins so");
}

#[test]
fn every_request_of_the_mcp_demo_has_the_documented_result() {
    if !wasm_only(DEMO) {
        return;
    }
    let demo = McpDemo::start().unwrap();
    let exchanges = demo.call_all().unwrap();
    for outcome in exchanges.iter().map(|exchange| &exchange.outcome) {
        assert!(
            outcome.is_expected(),
            "{}: expected {:?}, got {:?}, {:?}",
            outcome.title,
            outcome.expected,
            outcome.got,
            outcome.upstream
        );
    }
    let summary = demo.summary(&exchanges);
    let seen = summary.lines().find_map(|line| line.strip_prefix("The agent sees   "));
    assert_eq!(seen, Some("list_payments, get_payment, create_payment, refund_payment"), "{summary}");
    for shown in [r#""code":"binding_mismatch""#, r#"scope="payments:read payments:refund""#] {
        assert!(summary.contains(shown), "{summary}");
    }
}

/// Runs everything that `cargo demo --serve` prints.
fn invitation_keeps_its_promises(demo: &Demo) {
    let invitation = demo.invitation().unwrap();
    let printed = invitation.to_string();
    for request in &invitation.requests {
        let output = shell(&invitation.variables(), &request.command);
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {}", request.command, String::from_utf8_lossy(&output.stderr));
        let status = answer.split(' ').nth(1).unwrap();
        assert_eq!(status, request.status.to_string(), "{}: {answer}", request.command);
        assert!(request.status == 200 || answer.contains(request.reason), "{answer}");
        assert!(printed.contains(&request.command) && printed.contains(request.why), "{printed}");
    }
    let shown: Vec<String> = invitation
        .commands
        .iter()
        .map(|(command, _)| {
            let output = shell(&invitation.variables(), command);
            let text = String::from_utf8(output.stdout).unwrap();
            // `explain` exits with 2 for a request that is denied.
            assert!(matches!(output.status.code(), Some(0 | 2)), "{command}: {text}{:?}", output.stderr);
            assert!(printed.contains(command), "{printed}");
            text
        })
        .collect();
    assert!(shown[0].contains("insufficient_scope") && shown[0].contains("credentials_missing"), "{}", shown[0]);
    assert!(shown[1].contains("binding_mismatch") && !shown[1].contains("insufficient_scope"), "{}", shown[1]);
    assert!(shown[2].contains("DENY") && shown[2].contains("binding_mismatch"), "{}", shown[2]);
    let metrics = shell("", &invitation.metrics());
    assert!(String::from_utf8(metrics.stdout).unwrap().contains("callgate_decisions"));
}

/// Runs a command as a user would, with `callgate` on the path.
fn shell(variables: &str, command: &str) -> Output {
    static CALLGATE: LazyLock<PathBuf> = LazyLock::new(|| build::command_line().unwrap());
    let path = std::env::var("PATH").unwrap();
    let folder = CALLGATE.parent().unwrap().to_str().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{variables}{command}")])
        .current_dir(paths::root())
        .env("PATH", format!("{folder}:{path}"))
        .output()
        .unwrap()
}
