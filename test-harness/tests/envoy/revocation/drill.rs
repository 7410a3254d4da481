//! The drill of `docs/guides/a-token-leaked.md`, with a real Envoy: the commands are those of the guide.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread, vec};

use callgate_kit::mint::SigningKey;
use serde_json::Value;
use tempfile::TempDir;
use test_harness::{build, paths};

use super::{EFFECTIVE, Feed, assert_everywhere, await_everywhere, revoking, start, token, with};
use crate::envoy::fixture::Gate;
use crate::envoy::operating::until;

const GUIDE: &str = "docs/guides/a-token-leaked.md";

/// The commands of the guide, a folder with its files, and the gate's access log.
struct Drill {
    folder: TempDir,
    fences: vec::IntoIter<Vec<String>>,
}

/// The exit code and the output of a command.
type Ran = (i32, String);

impl Drill {
    fn new() -> Self {
        let guide = fs::read_to_string(paths::root().join(GUIDE)).unwrap();
        let fences = guide.split("\n```sh\n").skip(1).map(|rest| {
            let fence = rest.split("\n```").next().unwrap();
            fence.lines().map(str::to_owned).collect()
        });
        Self { folder: tempfile::tempdir().unwrap(), fences: fences.collect::<Vec<_>>().into_iter() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the commands of the next fence.
    fn next(&mut self, program: &Path) -> Vec<Ran> {
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let commands = self.fences.next().unwrap();
        let run = |command: &String| {
            let output = Command::new("bash")
                .args(["-c", command])
                .current_dir(self.folder.path())
                .env("PATH", &path)
                .output()
                .unwrap();
            let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code().unwrap(), printed)
        };
        commands.iter().map(run).collect()
    }

    /// Writes the gate's access log, when it has at least this many lines.
    #[track_caller]
    fn log(&self, gate: &Gate, at_least: usize) {
        let lines = || gate.envoy.access_log();
        until("the access log is written", || lines().len() >= at_least);
        let text: String = lines().iter().map(|line: &Value| format!("{line}\n")).collect();
        fs::write(self.file("access.log"), text).unwrap();
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_leaked_token_is_found_stopped_and_proven_to_be_stopped() {
    let program = build::command_line().unwrap();
    let mut drill = Drill::new();
    let ran = drill.next(&program);
    let [(0, created)] = ran.as_slice() else { panic!("no key: {ran:?}") };
    assert!(created.contains("revocations.jwk"), "{created}");
    let key = fs::read_to_string(drill.file("revocations.jwk")).unwrap();
    let key = SigningKey::from_jwk(&serde_json::from_str(&key).unwrap()).unwrap();
    let feed = Feed { key, ..Feed::start() };
    feed.publish(&serde_json::json!([]));
    let gate = start(&revoking(&feed), &feed);

    // The token is used by its agent, and by somebody else.
    let leaked = token("leaked");
    fs::write(drill.file("leaked.jwt"), &leaked).unwrap();
    await_everywhere(&gate, &with(&leaked), 200, None);
    let used = gate.upstream.count();
    drill.log(&gate, usize::try_from(used).unwrap());
    let ran = drill.next(&program);
    let [(0, uses)] = ran.as_slice() else { panic!("no uses: {ran:?}") };
    assert!(uses.lines().filter(|line| line.contains("allow") && line.contains("/items/1")).count() >= 32, "{uses}");

    let ran = drill.next(&program);
    let [(0, revoked), (0, signed)] = ran.as_slice() else { panic!("not revoked: {ran:?}") };
    assert!(revoked.contains("1 entry") && signed.contains("valid until"), "{revoked}{signed}");
    let list = fs::read_to_string(drill.file("revocations.jws")).unwrap();
    feed.serve(list);
    let took = await_everywhere(&gate, &with(&leaked), 401, Some("token_revoked"));
    assert!(took <= EFFECTIVE, "{took:?}");
    let ran = drill.next(&program);
    let [(0, shown)] = ran.as_slice() else { panic!("the list does not verify: {ran:?}") };
    assert!(shown.contains("leaked in a ticket"), "{shown}");

    // The last request that was allowed may have been in this second.
    thread::sleep(Duration::from_millis(1_100));
    let ran = drill.next(&program);
    let [(0, _)] = ran.as_slice() else { panic!("no time: {ran:?}") };
    assert_everywhere(&gate, &with(&leaked), 401);
    assert_everywhere(&gate, &with(&token("another")), 200);
    let before = gate.envoy.access_log().len();
    drill.log(&gate, before);
    let ran = drill.next(&program);
    let [(allowed, printed), (0, denied)] = ran.as_slice() else { panic!("not proven: {ran:?}") };
    assert_eq!(*allowed, 3, "{printed}");
    assert!(denied.lines().filter(|line| line.contains("deny token_revoked")).count() >= 16, "{denied}");
    assert!(drill.fences.next().is_none(), "a command of the guide was not run");
}
