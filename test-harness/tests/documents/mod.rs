//! Detects documents that became wrong when the code changed: each path, link, test and harness command that a document names must exist.
//! `cli/tests/documents/` checks the commands of `callgate`, because only that package can run it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod reader;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_harness::paths;

use reader::{Document, entries, faults};

/// Cargo's own subcommands that documents use, and `deny` and `fuzz`, whose installation the documents explain.
const CARGO: [&str; 10] = ["build", "clippy", "deny", "fmt", "fuzz", "install", "run", "test", "tree", "update"];

/// A span with one of these endings is a file name even if it has no slash.
const EXTENSIONS: [&str; 3] = [".md", ".rs", ".toml"];

impl Document {
    fn folder(&self) -> &Path {
        self.path.parent().unwrap()
    }

    /// Returns the targets of the links.
    fn links(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }

    /// Returns the anchors of the headings, as GitHub generates them.
    fn anchors(&self) -> BTreeSet<String> {
        let (prose, _) = self.parts();
        let headings =
            prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        let slug = |heading: &str| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
        };
        headings.map(slug).collect()
    }

    fn missing_paths(&self) -> Vec<String> {
        let here = [Path::new(""), self.folder()];
        let known: BTreeSet<_> =
            here.iter().flat_map(entries).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        let names_a_path = |span: &&String| {
            let plain = span.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b));
            let (first, rest) = span.split_once('/').map_or((span.as_str(), None), |(first, rest)| (first, Some(rest)));
            let inside = rest.is_some() && known.contains(first) && first != "target";
            plain
                && (inside
                    || rest.is_none() && EXTENSIONS.iter().any(|ext| span.len() > ext.len() && span.ends_with(ext)))
        };
        let is_there = |span: &String| here.iter().any(|folder| paths::root().join(folder).join(span).exists());
        let spans = self.spans();
        spans.iter().filter(names_a_path).filter(|span| !is_there(span)).cloned().collect()
    }

    fn broken_links(&self) -> Vec<String> {
        let is_broken = |link: &String| {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = match file {
                "" => Some(self.text.clone()),
                file => fs::read_to_string(paths::root().join(self.folder()).join(file)).ok(),
            };
            let leads_to = |text| Self { path: PathBuf::new(), text };
            match (target, anchor) {
                (Some(text), Some(anchor)) => !leads_to(text).anchors().contains(anchor),
                (Some(_), None) => false,
                (None, _) => !paths::root().join(self.folder()).join(file).is_dir(),
            }
        };
        self.links().into_iter().filter(|link| !link.contains("://")).filter(is_broken).collect()
    }
}

/// Returns the problem with a command line, or `None` if it could be run.
fn fault(words: &[String]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["callgate", ..] | ["cargo"] => None,
        ["cargo", "harness", rest @ ..] => fault_of_harness(rest),
        ["cargo", "demo"] | ["cargo", "demo", "--mcp" | "--serve"] => None,
        ["cargo", toolchain, rest @ ..] if toolchain.starts_with('+') => {
            fault(&[&["cargo"], rest].concat().into_iter().map(str::to_owned).collect::<Vec<_>>())
        }
        ["cargo", subcommand, ..] if CARGO.contains(subcommand) || is_alias(subcommand) => None,
        _ => Some("there is no such subcommand".to_owned()),
    }
}

/// Returns whether the workspace defines this cargo alias.
fn is_alias(subcommand: &str) -> bool {
    let configuration = fs::read_to_string(paths::root().join(".cargo/config.toml")).unwrap();
    configuration.lines().any(|line| line.starts_with(&format!("{subcommand} = ")))
}

/// Appends `--help` to the arguments, because they are parsed before the help is printed.
fn fault_of_harness(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_test-harness")).args(arguments).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn document(path: &str) -> Document {
    Document::all().into_iter().find(|document| document.path == Path::new(path)).unwrap()
}

/// Constructions that readers stumbled over, and that must not come back.
const AVOIDED: [&str; 9] =
    [" anew", " beside ", " stands", "comes out", "goes on", "is taken", "made out to", "says so", "whichever"];

#[test]
fn documents_avoid_constructions_that_readers_stumble_over() {
    let mut found = Vec::new();
    for document in Document::all() {
        let path = document.path.to_str().unwrap();
        let (prose, _) = document.parts();
        let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ");
        found.extend(
            AVOIDED.iter().filter(|avoided| prose.contains(*avoided)).map(|avoided| format!("{path}: `{avoided}`")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn documented_paths_and_links_exist() {
    let faults = faults(|document| [document.missing_paths(), document.broken_links()].concat());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn documented_commands_parse_successfully() {
    let faults = faults(|document| {
        let commands = document.commands();
        commands.iter().filter_map(|words| Some((words.join(" "), fault(words)?))).collect()
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Returns the source text of a folder and its subfolders.
fn sources(folder: &Path) -> String {
    entries(folder).iter().fold(String::new(), |text, path| {
        let whole = paths::root().join(path);
        match path.extension() {
            _ if whole.is_dir() => text + &sources(path),
            Some(rust) if rust == "rs" => text + &fs::read_to_string(whole).unwrap(),
            _ => text,
        }
    })
}

/// Returns those of these spans that are not the name of a test in the sources.
fn missing_tests(named: &[String]) -> Vec<&String> {
    let sources: String = ["src", "document", "tests", "kit", "gateway-check", "cli", "test-harness"]
        .map(|folder| sources(Path::new(folder)))
        .concat();
    named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect()
}

#[test]
fn tests_named_in_the_architecture_exist() {
    let is_test = |span: &String| {
        span.matches('_').count() > 1 && span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let named: Vec<_> = document("ARCHITECTURE.md").spans().into_iter().filter(is_test).collect();
    assert!(named.len() > 3, "{named:?}");
    let missing = missing_tests(&named);
    assert!(missing.is_empty(), "{missing:?}");
}

/// A documented procedure is reliable only if a test performs it.
#[test]
fn every_operating_procedure_names_an_existing_test() {
    let operating = document("docs/guides/operate.md");
    let (prose, _) = operating.parts();
    let mut sections = prose.split("\n## ");
    assert!(sections.next().unwrap().starts_with("# "));
    for section in sections {
        let (title, text) = section.split_once('\n').unwrap();
        // The names are in comments, because readers do not need them.
        let comments = text.split("<!-- shown by: ").skip(1);
        let named: Vec<_> = comments.map(|rest| rest.split_once(" -->").unwrap().0.to_owned()).collect();
        assert!(!named.is_empty(), "`{title}` names no test");
        let missing = missing_tests(&named);
        assert!(missing.is_empty(), "`{title}` names {missing:?}, which are no tests");
    }
}

#[test]
fn detects_missing_paths_links_and_commands() {
    let text = "# A b\n`src/no.rs` and `no.md`, [x](no.md), [y](#no) and [z](#a-b); `cargo demos`\n\n\
                ```sh\ncargo harness demo \\\n  --nowhere # y\ncargo harness biuld\n```\n";
    let document = Document { path: "README.md".into(), text: text.to_owned() };
    assert_eq!(document.missing_paths(), ["src/no.rs", "no.md"]);
    assert_eq!(document.broken_links(), ["no.md", "#no"]);
    let commands = document.commands();
    assert_eq!(commands.len(), 3);
    assert!(commands.iter().all(|words| fault(words).is_some()), "{commands:?}");
}

/// Returns the advisories that `deny.toml` ignores, each with the crate that begins its reason.
fn ignored_advisories(rules: &str) -> Vec<(String, String)> {
    let ignored = rules.lines().filter_map(|line| {
        let (id, rest) = line.split_once("id = \"")?.1.split_once('"')?;
        let (name, _) = rest.split_once("reason = \"")?.1.split_once(": ")?;
        Some((id.to_owned(), name.to_owned()))
    });
    ignored.collect()
}

#[test]
fn every_ignored_advisory_is_explained_and_still_relevant() {
    let read = |name: &str| fs::read_to_string(paths::root().join(name)).unwrap();
    let (rules, lock, security) = (read("deny.toml"), read("Cargo.lock"), read("SECURITY.md"));
    let (_, section) = security.split_once("\n## Known advisories\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let ignored = ignored_advisories(&rules);
    assert_eq!(
        ignored.len(),
        rules.matches("RUSTSEC-").count(),
        "each has an id, and a reason that begins with its crate"
    );
    for (id, name) in &ignored {
        assert!(section.contains(&format!("- **{id}** (`{name}`")), "SECURITY.md does not explain {id} ({name})");
        assert!(lock.contains(&format!("name = \"{name}\"\n")), "{id}: nothing uses {name} any more");
    }
    let explained: BTreeSet<&str> = section.split("**").filter(|part| part.starts_with("RUSTSEC-")).collect();
    let ignored: BTreeSet<&str> = ignored.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(explained, ignored);
}
