//! Tests of the binary from the user's view: exit codes, output streams, and bad input of every kind.

#![expect(clippy::unwrap_used, reason = "helpers of tests end with the test that is wrong")]

mod access;
mod check;
mod explain;
mod import;
mod keygen;
mod keys;
mod mcp;
mod operations;
mod records;
mod render;
mod revoke;
mod schema;
mod sign;
mod token;
mod verbs;
mod verify;
mod version;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The result of running the binary.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the standard output of a run that must have succeeded.
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    /// Returns the standard error of a run that must have ended with this exit code.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs `callgate` with arguments separated by spaces, at the root of the workspace.
fn callgate(arguments: &str) -> Ran {
    run(&arguments.split_whitespace().collect::<Vec<_>>(), "")
}

fn run(arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CALLGATE_TEST_EMPTY", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may exit before all of it is written.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Creates a file for one test.
fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn quickstart() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/policy.yaml")).unwrap()
}

/// Returns the first line of the quickstart policy that contains a text.
fn line_of(text: &str) -> usize {
    quickstart().lines().position(|line| line.contains(text)).unwrap() + 1
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The argument with the key set that the issuer of the quickstart policy publishes.
const PUBLISHED: &str = "--keys=corp=@examples/quickstart/keys/jwks.json";

/// Returns a token that the quickstart policy accepts now.
fn coding_token() -> String {
    let arguments = "token --key @examples/quickstart/keys/es256.jwk.json --issuer https://idp.example.com --subject coding-agent \
                     --client coding-agent --audience https://api.example.com --claim org=acme";
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    arguments.extend(["--scope", "code:read code:write pulls:write"]);
    run(&arguments, "").fine().trim().to_owned()
}
