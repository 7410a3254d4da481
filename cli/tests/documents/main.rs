//! Checks what documents state about `callgate`: the program must accept each command, and each policy must compile.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../../test-harness/tests/documents/reader.rs"]
mod reader;

use callgate_cli::command;
use callgate_kit::policy::not_needed;
use callgate_kit::{document, policy};
use clap::error::ErrorKind;

use reader::{Document, faults};

/// Returns what is wrong with a command line; `None` if it is valid, or if it does not run `callgate`.
fn fault(words: &[String]) -> Option<String> {
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

/// A policy in a document is complete: a part of one does not begin with its version.
#[test]
fn every_policy_in_a_document_compiles() {
    let mut checked = 0;
    for document in Document::all() {
        let path = document.path.to_str().unwrap();
        let (_, fences) = document.parts();
        let begins = |text: &str| text.lines().find(|line| !line.starts_with('#')) == Some("callgate: v1");
        for fence in fences.iter().filter(|fence| begins(&fence.text)) {
            let read = document::parse(path, fence.text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}"));
            let loaded = policy::compile(read, &not_needed).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert!(path != "README.md" || loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            checked += 1;
        }
    }
    assert!(checked > 0, "no document has a policy");
}

#[test]
fn detects_commands_that_do_not_parse() {
    let text = "`callgate check --no x`\n\n```sh\ncallgate explain x --path /a \\\n  --nowhere # y\n```\n";
    let document = Document { path: "README.md".into(), text: text.to_owned() };
    let commands = document.commands();
    assert_eq!(commands.len(), 2);
    assert!(commands.iter().all(|words| fault(words).is_some()), "{commands:?}");
}
