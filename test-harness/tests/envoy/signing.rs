//! The example `examples/signing` in a real Envoy: its clients sign with a library that shares no code with the gate, and with the command
//! line.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{fs, thread};

use callgate_kit::document;
use serde_json::json;
use test_harness::envoy::{Bootstrap, Options};
use test_harness::python::Package;
use test_harness::{build, paths};

use crate::envoy::fixture::Gate;

const HOST: &str = "artifacts.example.com";
/// The library that `client.py` uses.
pub(crate) const LIBRARY: Package<'_> = Package {
    folder: "http-message-signatures",
    name: "http-message-signatures",
    version: "3.0.0",
    file: "http_message_signatures/__init__.py",
};

fn example(file: &str) -> PathBuf {
    paths::root().join("examples/signing").join(file)
}

/// Starts a gate with the example's policy.
fn gate() -> Gate {
    let mut policy = document::read(example("policy.yaml")).unwrap().value().clone();
    // The tests must still work after the registrations of the example have expired.
    for agent in ["build-agent", "report-agent"] {
        policy["agents"][agent]["expires"] = json!("9999-12-31");
    }
    let routed = |bootstrap: &mut Bootstrap| {
        bootstrap.virtual_hosts().unwrap()[0]["domains"] = json!([HOST]);
    };
    Gate::start_with(&policy, routed, &Options::default())
}

/// Runs a client until the gate has run long enough to detect replays.
fn run(gate: &Gate, mut client: impl FnMut(&str) -> Output) -> (String, bool) {
    let address = format!("http://{}", gate.envoy.api().unwrap());
    let start = Instant::now();
    loop {
        let Output { status, stdout, stderr } = client(&address);
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        if !said.contains("replay_table_young") || start.elapsed() > Duration::from_secs(20) {
            return (said, status.success());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Returns the `PATH` with the folder of `callgate` in front.
fn path_with_callgate() -> String {
    let program = build::command_line().unwrap();
    format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_python_client_signs_as_accept_signature_requires() {
    let gate = gate();
    let python = LIBRARY.install().unwrap().python;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("release.bin");
    fs::write(&file, b"\x00\xff release").unwrap();
    let client = |key: &'static str| {
        let (python, file) = (python.clone(), file.clone());
        move |address: &str| {
            let arguments = [example("client.py").into_os_string(), "1.4.0".into(), file.clone().into()];
            let environment = [("GATEWAY", address.into()), ("KEY", example(key).into_os_string())];
            Command::new(&python).args(arguments).envs(environment).output().unwrap()
        }
    };
    // The library's default signature lacks the nonce and the tag that the policy requires, and the content type.
    let (said, success) = run(&gate, client("keys/build-agent.jwk.json"));
    assert!(success, "{said}");
    assert_eq!(said, "403 signature_missing\n200 published\n");
    let seen = gate.upstream.seen();
    assert_eq!(seen.last().unwrap().header("x-callgate-agent"), Some("build-agent"));
}

#[test]
fn a_shell_client_signs_with_the_command_line() {
    let gate = gate();
    let folder = tempfile::tempdir().unwrap();
    let path = path_with_callgate();
    let report = folder.path().join("report.txt");
    fs::write(&report, "all is well\n").unwrap();
    let client = |key: &'static str| {
        let (path, report) = (path.clone(), report.clone());
        move |address: &str| {
            let environment =
                [("GATEWAY", address.into()), ("KEY", example(key).into_os_string()), ("PATH", path.clone().into())];
            Command::new(example("client.sh")).arg(&report).envs(environment).output().unwrap()
        }
    };
    let (said, success) = run(&gate, client("keys/report-agent.jwk.json"));
    assert!(success, "{said}");
    let seen = gate.upstream.seen();
    assert_eq!(seen.last().unwrap().header("x-callgate-agent"), Some("report-agent"));
    // The key identifies another agent, regardless of the uploaded data.
    let (said, _) = run(&gate, client("keys/build-agent.jwk.json"));
    assert_eq!(gate.upstream.seen().last().unwrap().header("x-callgate-agent"), Some("build-agent"), "{said}");
}
