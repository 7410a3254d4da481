//! Tests that each top-level module ("room") of the engine only imports from modules below it.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, from the adapters down to plain text.
const ROOMS: [&str; 15] = [
    "host",
    "evaluate",
    "decision",
    "response",
    "policy",
    "quota",
    "replay",
    "allowlist",
    "identity",
    "fetch",
    "request",
    "state",
    "document",
    "reason",
    "text",
];

/// The room that is a separate package.
const PACKAGE: &str = "document";

/// Folders and files outside the order. They use the engine in tests and may import everything.
const ABOVE: [&str; 4] = ["conformance.rs", "fuzzing", "lib.rs", "testing.rs"];

/// Returns the modules of the engine that a line imports: the first segment of each path that begins with `crate::`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Returns the lines of a file without its tests.
fn engine_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = (1..).zip(text.lines()).peekable();
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| next.starts_with("mod tests {"));
        (!tests).then_some((number, line))
    })
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests" || name.ends_with("_tests") || name == "testing" || name == "simulation"
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test_file(&path) {
            found.push(path);
        }
    }
}

/// Returns every import of a module that is above this one or not in the list.
fn upward(room: &str, path: &str, text: &str) -> Vec<String> {
    let own = ROOMS.iter().position(|other| *other == room).unwrap();
    let mut found = Vec::new();
    for (number, line) in engine_lines(text) {
        for import in imports(line) {
            match ROOMS.iter().position(|other| *other == import) {
                Some(other) if other >= own => {}
                // The filter for tests runs published test vectors.
                None if room == "host" && import == "conformance" => {}
                Some(_) => found.push(format!("{path}:{number}: `{room}` imports `{import}`, which is above it")),
                None => {
                    found.push(format!("{path}:{number}: `{import}` is no room; import from the room that it is in"))
                }
            }
        }
    }
    found
}

#[test]
fn rooms_import_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("src");
    assert!(root.join(PACKAGE).join("src/lib.rs").is_file());
    let mut found = Vec::new();
    for entry in fs::read_dir(&source).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !ABOVE.contains(&name.as_str()) && !ROOMS.contains(&name.as_str()) {
            found.push(format!("src/{name}: expected one of the rooms, {}", ROOMS.join(", ")));
        }
    }
    for room in ROOMS.into_iter().filter(|room| *room != PACKAGE) {
        let mut paths = Vec::new();
        files(&source.join(room), &mut paths);
        assert!(!paths.is_empty(), "the room `{room}` is empty");
        for path in paths {
            let shown = path.strip_prefix(&source).unwrap().display().to_string();
            found.extend(upward(room, &shown, &fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn reports_an_upward_import() {
    let wrong = "use crate::text::time::Timestamp;\nuse crate::policy::Policy;\nlet x: crate::Headers;\n#[cfg(test)]\nmod tests {\nuse crate::host;";
    assert_eq!(
        upward("request", "request/x.rs", wrong),
        [
            "request/x.rs:2: `request` imports `policy`, which is above it",
            "request/x.rs:3: `Headers` is no room; import from the room that it is in",
        ]
    );
    assert!(upward("policy", "policy/x.rs", wrong).len() == 1);
}
