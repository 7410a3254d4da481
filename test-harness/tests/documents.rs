//! Documents go stale without a sound. This hears it: each path, link and command that they name has to be there, and the
//! policy that the README explains has to compile.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use callgate_cli::policy::NotNeeded;
use callgate_cli::{command, document, policy};
use clap::error::ErrorKind;
use test_harness::paths;

/// Subcommands of cargo itself that documents name, and `deny` and `fuzz`, which they say how to install.
const CARGO: [&str; 10] = ["build", "clippy", "deny", "fmt", "fuzz", "install", "run", "test", "tree", "update"];

/// A span that ends so is a file's name even where it has no slash.
const EXTENSIONS: [&str; 3] = [".md", ".rs", ".toml"];

struct Document {
    /// Seen from the root.
    path: PathBuf,
    text: String,
}

struct Fence {
    language: String,
    text: String,
}

impl Document {
    /// Everything that is written for readers.
    fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        for folder in ["", "docs", "fuzz", "test-harness"] {
            paths.extend(files(folder).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")));
        }
        let mut folders = ["envoy", "examples", "kong"].map(PathBuf::from).to_vec();
        while let Some(folder) = folders.pop() {
            let entries = entries(&folder);
            folders.extend(entries.iter().filter(|path| paths::root().join(path).is_dir()).cloned());
            paths.extend(entries.into_iter().filter(|path| path.ends_with("README.md")));
        }
        paths.sort();
        let read = |path: PathBuf| Self { text: fs::read_to_string(paths::root().join(&path)).unwrap(), path };
        paths.into_iter().map(read).collect()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap()
    }

    /// The text outside of fences, and the fences.
    fn parts(&self) -> (String, Vec<Fence>) {
        let (mut prose, mut fences) = (String::new(), Vec::new());
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            match line.trim_start().strip_prefix("```") {
                None => prose = prose + line + "\n",
                Some(language) => {
                    let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
                    let text = inside.collect::<Vec<_>>().join("\n");
                    fences.push(Fence { language: language.to_owned(), text });
                }
            }
        }
        (prose, fences)
    }

    /// What stands between backticks, on one line or over several.
    fn spans(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let spans = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Where links lead.
    fn links(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }

    /// The commands in its fences and spans, each with its arguments.
    fn commands(&self) -> Vec<Vec<String>> {
        let (_, fences) = self.parts();
        let shell = fences.into_iter().filter(|fence| fence.language == "sh").map(|fence| fence.text);
        let lines = shell.map(|text| text.replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
        let lines = lines.lines().map(|line| line.split(" #").next().unwrap().to_owned());
        lines.chain(self.spans()).map(|line| words(&line)).filter(|words| is_ours(words)).collect()
    }

    /// The anchors that its headings give (as GitHub makes them).
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

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(paths::root().join(&folder)) else { return Vec::new() };
    entries.map(|entry| folder.as_ref().join(entry.unwrap().file_name())).collect()
}

fn files(folder: &str) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| paths::root().join(path).is_file()).collect()
}

/// A command line cut into words, up to where its output goes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.trim().trim_start_matches("$ ").chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('|' | '>' | ';' | '&', None) => break,
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_ours(words: &[String]) -> bool {
    matches!(words.first().map(String::as_str), Some("cargo" | "callgate"))
}

/// What is wrong with a command line; none where it could be run.
fn fault(words: &[String]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["callgate"] | ["cargo"] => None,
        ["callgate", rest @ ..] | ["cargo", "run", "-p", "callgate-cli", "--", rest @ ..] => fault_of_cli(rest),
        ["cargo", "harness", rest @ ..] => fault_of_harness(rest),
        ["cargo", "demo", rest @ ..] => fault_of_harness(&[&["demo"], rest].concat()),
        ["cargo", toolchain, rest @ ..] if toolchain.starts_with('+') => {
            fault(&[&["cargo"], rest].concat().into_iter().map(str::to_owned).collect::<Vec<_>>())
        }
        ["cargo", subcommand, ..] if CARGO.contains(subcommand) => None,
        _ => Some("there is no such subcommand".to_owned()),
    }
}

/// Asks for help behind the arguments, which are read before it is given.
fn fault_of_harness(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_test-harness")).args(arguments).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn fault_of_cli(arguments: &[&str]) -> Option<String> {
    let arguments = [&["callgate"], arguments, &["--help"]].concat();
    let error = command::definition().try_get_matches_from(arguments).unwrap_err();
    (error.kind() != ErrorKind::DisplayHelp).then(|| error.to_string())
}

/// What is wrong with each document, where something is.
fn faults<T: std::fmt::Debug>(of: impl Fn(&Document) -> Vec<T>) -> Vec<(PathBuf, Vec<T>)> {
    let documents = Document::all();
    assert!(documents.len() > 5, "the documents were not found");
    let faults = documents.iter().map(|document| (document.path.clone(), of(document)));
    faults.filter(|(_, faults)| !faults.is_empty()).collect()
}

#[test]
fn every_path_that_is_named_exists() {
    let faults = faults(|document| [document.missing_paths(), document.broken_links()].concat());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_command_that_is_named_can_be_run() {
    let faults = faults(|document| {
        let commands = document.commands();
        commands.iter().filter_map(|words| Some((words.join(" "), fault(words)?))).collect()
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The source text of a folder and those below.
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

/// The names of these spans that no test in the sources has.
fn missing_tests(named: &[String]) -> Vec<&String> {
    let sources: String = ["src", "tests", "cli", "test-harness"].map(|folder| sources(Path::new(folder))).concat();
    named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect()
}

fn document(path: &str) -> Document {
    Document::all().into_iter().find(|document| document.path == Path::new(path)).unwrap()
}

#[test]
fn every_test_that_holds_an_invariant_exists() {
    let is_test = |span: &String| {
        span.matches('_').count() > 1 && span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let named: Vec<_> = document("ARCHITECTURE.md").spans().into_iter().filter(is_test).collect();
    assert!(named.len() > 3, "{named:?}");
    let missing = missing_tests(&named);
    assert!(missing.is_empty(), "{missing:?}");
}

/// A procedure that nobody has tried is a hope.
#[test]
fn every_procedure_is_shown_by_a_test_that_exists() {
    let operating = document("docs/operating.md");
    let (prose, _) = operating.parts();
    let mut sections = prose.split("\n## ");
    assert!(sections.next().unwrap().starts_with("# "));
    for section in sections {
        let (title, text) = section.split_once('\n').unwrap();
        let shown: Vec<_> = text.split("\n\n").filter(|paragraph| paragraph.trim().starts_with("Shown by ")).collect();
        let shown = Document { path: operating.path.clone(), text: shown.join("\n\n") };
        let named = shown.spans();
        assert!(!named.is_empty(), "`{title}` names no test");
        let missing = missing_tests(&named);
        assert!(missing.is_empty(), "`{title}` names {missing:?}, which are no tests");
    }
}

#[test]
fn the_policy_in_the_readme_compiles() {
    let (_, fences) = document("README.md").parts();
    let policies: Vec<_> = fences.iter().filter(|fence| fence.text.starts_with("callgate: v1")).collect();
    assert_eq!(policies.len(), 1, "the README explains one policy");
    for fence in policies {
        let read = document::parse("README.md", fence.text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}"));
        let loaded = policy::compile(read, &NotNeeded).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
}

#[test]
fn what_is_not_there_is_noticed() {
    let text = "# A b\n`src/no.rs` and `no.md`, [x](no.md), [y](#no) and [z](#a-b); `cargo demos`, `callgate check --no x`\n\n\
                ```sh\ncallgate explain x --path /a \\\n  --nowhere # y\ncargo harness biuld\n```\n";
    let document = Document { path: "README.md".into(), text: text.to_owned() };
    assert_eq!(document.missing_paths(), ["src/no.rs", "no.md"]);
    assert_eq!(document.broken_links(), ["no.md", "#no"]);
    let commands = document.commands();
    assert_eq!(commands.len(), 4);
    assert!(commands.iter().all(|words| fault(words).is_some()), "{commands:?}");
}

/// An advisory that `deny.toml` ignores, and the crate with which its reason begins.
fn ignored_advisories(rules: &str) -> Vec<(String, String)> {
    let ignored = rules.lines().filter_map(|line| {
        let (id, rest) = line.split_once("id = \"")?.1.split_once('"')?;
        let (name, _) = rest.split_once("reason = \"")?.1.split_once(": ")?;
        Some((id.to_owned(), name.to_owned()))
    });
    ignored.collect()
}

#[test]
fn each_ignored_advisory_is_explained_and_concerns_a_crate_that_is_used() {
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
