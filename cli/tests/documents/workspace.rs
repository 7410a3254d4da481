//! Runs the steps of a document in a copy of the folders that documents use, with `callgate` on the path.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use callgate_kit::document;
use serde_json::Value;

use crate::steps::{Action, Notes, Step};

/// Everything that commands of documents read, apart from what they make themselves.
const FOLDERS: [&str; 4] = ["docs", "envoy", "examples", "kong"];

/// Stands in for `cargo` where documents install the command line, or run it from its sources.
const CARGO: &str = r#"case "$*" in
"install --path cli" | "harness build") ;;
"run -p callgate-cli -- "*) shift 4; callgate "$@" ;;
*) echo "cargo $*: not available to the commands of documents" >&2; exit 1 ;;
esac"#;

/// A folder for the commands of one document.
pub(crate) struct Workspace {
    folder: PathBuf,
    /// What the last script printed.
    output: String,
}

impl Workspace {
    pub(crate) fn new(document: &Path) -> Self {
        let name = document.to_str().unwrap().replace('/', "-");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documents").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let sources = FOLDERS.map(|name| root.join(name));
        assert!(Command::new("cp").arg("-r").args(sources).arg(&folder).status().unwrap().success());
        let workspace = Self { folder, output: String::new() };
        workspace.add_program("cargo", CARGO);
        // The script ends with 0, because a command that fails as documented does not end a fence.
        let (program, exits) = (env!("CARGO_BIN_EXE_callgate"), workspace.folder.join("exits"));
        workspace.add_program(
            "callgate",
            &format!("code=0; '{program}' \"$@\" || code=$?; echo $code >> '{}'", exits.display()),
        );
        workspace
    }

    fn add_program(&self, name: &str, script: &str) {
        let path = self.folder.join("bin").join(name);
        fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Performs a step of the document.
    ///
    /// # Errors
    /// Fails if the document is wrong.
    pub(crate) fn perform(&mut self, step: &Step) -> Result<(), String> {
        let note = |name: &str| step.notes.get(name).map(String::as_str);
        match &step.action {
            Action::Run(_) if note("not run").is_some() => {
                self.output.clear();
                Ok(())
            }
            Action::Run(script) => self.run(script, note("in").unwrap_or_default(), note("exits")),
            Action::Check(text) => self.check(text, &step.notes),
            Action::Compare(expected) => compare(&self.output, expected, note("output").is_some()),
        }
    }

    /// Runs a script, in which each `callgate` must have its exit code, and every other command must succeed.
    fn run(&mut self, script: &str, folder: &str, exits: Option<&str>) -> Result<(), String> {
        fs::write(self.folder.join("exits"), "").unwrap();
        let output = File::create(self.folder.join("output")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let status = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.join(folder))
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .status()
            .unwrap();
        self.output = self.read("output");
        let ended = self.read("exits");
        let ended: Vec<&str> = ended.split_whitespace().collect();
        let expected = exits.map_or_else(|| vec!["0"; ended.len()], |exits| exits.split_whitespace().collect());
        if status.success() && ended == expected {
            return Ok(());
        }
        Err(format!("{status}, callgate ended with {ended:?}:\n{script}\n--- printed\n{}", self.output))
    }

    /// Checks a policy, decision cases or another configuration.
    fn check(&mut self, text: &str, notes: &Notes) -> Result<(), String> {
        let value = parse("this", text)?;
        let (file, value) = match (notes.get("file"), notes.get("part of")) {
            _ if notes.contains_key("not run") => return Ok(()),
            (_, Some(place)) => self.merge(place, value)?,
            (file, None) => {
                let file = file.map_or("complete.yaml", String::as_str);
                let path = self.folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{text}\n")).unwrap();
                (file.to_owned(), value)
            }
        };
        if value.get("callgate").is_some() {
            self.run(&format!("callgate check '{file}'"), "", None)?;
            let is_part = notes.contains_key("part of");
            let warns = self.output.contains("warning: ") && !is_part;
            return if warns { Err(format!("a complete policy has no warnings:\n{}", self.output)) } else { Ok(()) };
        }
        match (value.get("cases"), notes.contains_key("file"), notes.contains_key("part of")) {
            (Some(_), ..) => self.run(&format!("callgate test '{file}'"), "", None),
            // For the commands that follow.
            (None, true, _) => Ok(()),
            (None, _, true) => self.run(&format!("callgate check --gateway '{file}'"), "", None),
            (None, false, false) => {
                Err("not a complete policy; write `<!-- part of: FILE -->` or `<!-- file: FILE -->` before it"
                    .to_owned())
            }
        }
    }

    /// Writes the file with the part in it, and returns its name and content.
    fn merge(&self, place: &str, part: Value) -> Result<(String, Value), String> {
        let (file, pointer) = place.split_once(" at ").unwrap_or((place, ""));
        let mut whole = parse(file, &self.read(file))?;
        let target = whole.pointer_mut(pointer).ok_or_else(|| format!("{file} has no `{pointer}`"))?;
        merge(target, part);
        let merged = format!("{file}.with-part.json");
        fs::write(self.folder.join(&merged), whole.to_string()).unwrap();
        Ok((merged, whole))
    }

    fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join(file)).unwrap()).into_owned()
    }
}

/// Returns the value of the text, which is null if it has nothing but comments.
fn parse(file: &str, text: &str) -> Result<Value, String> {
    if text.lines().all(|line| line.starts_with('#')) {
        return Ok(Value::Null);
    }
    let documents = document::parse_configuration(file, text.as_bytes()).map_err(|wrong| wrong.to_string())?;
    Ok(documents.first().map_or(Value::Null, |document| document.value().clone()))
}

/// Merges mappings. A list whose items have ids gains these items, or has them replaced; anything else is replaced.
fn merge(whole: &mut Value, part: Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                merge(whole.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(whole), Value::Array(part)) if part.iter().all(|item| item.get("id").is_some()) => {
            whole.retain(|item| part.iter().all(|new| new.get("id") != item.get("id")));
            whole.extend(part);
        }
        (whole, part) => *whole = part,
    }
}

/// Compares an output with what the document shows of it, without regard to white space, because documents wrap long lines.
fn compare(output: &str, expected: &str, is_whole: bool) -> Result<(), String> {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected: Vec<&str> = if is_whole { vec![expected] } else { expected.lines().collect() };
    let pieces: Vec<String> = expected.iter().flat_map(|text| text.split('…')).map(plain).collect();
    let printed = plain(output);
    let mut rest = printed.as_str();
    for (index, piece) in pieces.iter().enumerate() {
        match rest.split_once(piece.as_str()) {
            Some((before, after)) if !is_whole || index > 0 || before.is_empty() => rest = after,
            _ => return Err(format!("the output has no `{piece}` in this place:\n{output}")),
        }
    }
    let continues = is_whole && !rest.is_empty() && pieces.last().is_some_and(|last| !last.is_empty());
    if continues { Err(format!("the output continues with `{rest}`:\n{output}")) } else { Ok(()) }
}
