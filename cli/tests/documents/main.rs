//! Verifies what documents state about `callgate`: their commands are run, and their policies and configurations are checked.
//! `steps.rs` lists the comments with which a document states how a fence is verified.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../../test-harness/tests/documents/reader.rs"]
mod reader;
mod steps;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::Command;

use callgate_cli::command;
use clap::error::ErrorKind;

use reader::{Document, faults};
use steps::{Action, Step};
use workspace::Workspace;

/// Returns what is wrong with a command line; `None` if it is valid, or if it does not run `callgate`.
fn fault(words: &[String]) -> Option<String> {
    // The output of another command, such as a time, is a value that `callgate` reads.
    let known = |word: &String| if word.starts_with("$(") { "1".to_owned() } else { word.clone() };
    let words: Vec<String> = words.iter().map(known).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["callgate"] => None,
        ["callgate", rest @ ..] | ["cargo", "run", "-p", "callgate-cli", "--", rest @ ..] => {
            let arguments = [&["callgate"], rest, &["--help"]].concat();
            let error = command::definition().try_get_matches_from(arguments).unwrap_err();
            (!matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)).then(|| error.to_string())
        }
        _ => None,
    }
}

#[test]
fn documented_callgate_commands_parse() {
    let faults = faults(|document| {
        let commands = document.commands();
        commands.iter().filter_map(|words| Some((words.join(" "), fault(words)?))).collect()
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Returns the problems of the fences of a document, each with its line.
fn wrong_fences(document: &Document) -> Vec<String> {
    let steps = match steps::steps(document) {
        Ok(steps) if steps.is_empty() => return Vec::new(),
        Ok(steps) => steps,
        Err(wrong) => return vec![wrong],
    };
    let mut workspace = Workspace::new(&document.path);
    let mut wrong = Vec::new();
    for step in &steps {
        if needs_jq(step) && !has_jq() {
            eprintln!("{}:{}: not run from here on, because `jq` is not installed", document.path.display(), step.line);
            break;
        }
        wrong.extend(workspace.perform(step).err().map(|problem| format!("{}: {problem}", step.line)));
    }
    wrong
}

fn needs_jq(step: &Step) -> bool {
    matches!(&step.action, Action::Run(script) if script.contains("jq ")) && !step.notes.contains_key("not run")
}

fn has_jq() -> bool {
    Command::new("jq").arg("--version").output().is_ok()
}

#[test]
fn every_fence_in_a_document_is_verified() {
    let faults = faults(wrong_fences);
    let lines = |(path, wrong): &(PathBuf, Vec<String>)| {
        wrong.iter().map(|wrong| format!("{}:{wrong}\n", path.display())).collect::<String>()
    };
    assert!(faults.is_empty(), "{}", faults.iter().map(lines).collect::<String>());
}

#[test]
fn detects_fences_that_are_wrong_or_not_verified() {
    let wrong = [
        ("a command that fails", "```sh\ncallgate check none.yaml\n```"),
        ("another program that fails", "```sh\ntest -e none\n```"),
        ("another exit code", "<!-- exits: 2 -->\n```sh\ncallgate check examples/quickstart/policy.yaml\n```"),
        ("a configuration without a comment", "```yaml\nhosts: [a.example]\n```"),
        ("an incomplete policy", "```yaml\ncallgate: v1\n```"),
        (
            "a part with an unknown field",
            "<!-- part of: examples/quickstart/policy.yaml -->\n```yaml\nhost: a.example\n```",
        ),
        ("a part that is not YAML", "<!-- not run: a sketch -->\n```yaml\na: [\n```"),
        ("no reason", "<!-- not run -->\n```sh\ncallgate check\n```"),
        ("another output", "```sh\necho a b c\n```\n<!-- output -->\n```text\na … d\n```"),
        ("more output", "```sh\necho a b c\n```\n<!-- output -->\n```text\na b\n```"),
        ("lines in another order", "```sh\nprintf 'a\\nb\\n'\n```\n<!-- part of the output -->\n```text\nb\na\n```"),
        ("an unknown comment", "<!-- ouput -->\n```text\na\n```"),
        ("a comment that is not before a fence", "<!-- in: docs -->\n\nText.\n"),
        ("an unknown language", "```bash\ncallgate check\n```"),
    ];
    for (what, text) in wrong {
        let document = Document { path: Path::new("wrong").join(what), text: text.to_owned() };
        assert_eq!(wrong_fences(&document).len(), 1, "{what}: {:?}", wrong_fences(&document));
    }
}

#[test]
fn accepts_fences_that_are_right() {
    let text = "<!-- file: a/policy.yaml -->\n```yaml\n{}\n```\n<!-- run: echo 'a b' > a/file -->\n<!-- in: a -->\n```sh\ncat file\n```\n\
                <!-- output -->\n```text\na …\n```\nText.\n\n<!-- exits: 0 1 -->\n```sh\ncallgate --version\ncallgate check none\n```\n";
    let document = Document { path: "right.md".into(), text: text.to_owned() };
    assert_eq!(wrong_fences(&document), Vec::<String>::new());
}

#[test]
fn detects_commands_that_do_not_parse() {
    let text = "`callgate check --no x`\n\n```sh\ncallgate explain x --path /a \\\n  --nowhere # y\n```\n";
    let document = Document { path: "README.md".into(), text: text.to_owned() };
    let commands = document.commands();
    assert_eq!(commands.len(), 2);
    assert!(commands.iter().all(|words| fault(words).is_some()), "{commands:?}");
}
