//! Tests the findings in gateway configurations: there is one file per finding, and the configurations in this repository have no
//! findings.
//!
//! A line of the files in this folder that ends in `# finds CODE` must have that finding, and no other line may have a finding.
//! Each file has a corrected version, its neighbour, that must have no findings. `instead TEXT` is the text of the line in the
//! neighbour (`-`: the line is absent).
//! A comment `# finds CODE` alone on the first line applies to the file as a whole.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests end with the test that is wrong"
)]

mod together;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use callgate_gateway_check::{Code, Finding, check};
use callgate_kit::diagnostic::Severity;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway")
}

fn cases() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn found(files: &[PathBuf]) -> Vec<Finding> {
    check(files, None).unwrap_or_else(|wrong| panic!("{files:?}: {wrong}"))
}

/// Returns line and code of each finding; line 0 is the file as a whole.
fn places(findings: &[Finding]) -> BTreeSet<(usize, &'static str)> {
    findings.iter().map(|finding| (finding.diagnostic.position.map_or(0, |at| at.line), finding.code.name())).collect()
}

/// Returns the findings that the marks in a file expect, and the text of its neighbour.
fn marked(text: &str) -> (BTreeSet<(usize, &'static str)>, String) {
    let (mut expected, mut neighbour) = (BTreeSet::new(), String::new());
    for (index, line) in text.lines().enumerate() {
        let (before, codes, instead) = match (line.split_once("# finds "), line.split_once("# instead ")) {
            (Some((before, marks)), _) => match marks.split_once("; instead ") {
                Some((codes, instead)) => (before, codes, Some(instead)),
                None => (before, marks, None),
            },
            (None, Some((before, instead))) => (before, "", Some(instead)),
            (None, None) => (line, "", Some(line)),
        };
        let whole = index == 0 && before.is_empty();
        for code in codes.split(", ").filter(|code| !code.is_empty()) {
            let code = Code::ALL.iter().find(|known| known.name() == code);
            let code = code.unwrap_or_else(|| panic!("no such code: {line}"));
            expected.insert((if whole { 0 } else { index + 1 }, code.name()));
        }
        match instead {
            Some("-") | None => {}
            Some(instead) if std::ptr::eq(instead, line) => neighbour.push_str(line),
            Some(instead) => {
                neighbour.extend(line.chars().take_while(|c| *c == ' '));
                neighbour.push_str(instead);
            }
        }
        neighbour.push('\n');
    }
    (expected, neighbour)
}

/// Creates a file for one test.
fn written(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn shown(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("  {finding}\n")).collect()
}

#[test]
fn each_case_has_its_findings_and_its_fixed_neighbor_none() {
    let mut wrong = String::new();
    for file in cases() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (expected, neighbour) = marked(&fs::read_to_string(&file).unwrap());
        assert!(!expected.is_empty(), "{name} says nothing");
        let findings = found(std::slice::from_ref(&file));
        if places(&findings) != expected {
            wrong.push_str(&format!("{name}: expected {expected:?}, found\n{}", shown(&findings)));
        }
        if expected.iter().all(|(line, _)| *line > 0) {
            let path = written(&format!("neighbour-{name}"), &neighbour);
            let findings = found(std::slice::from_ref(&path));
            // A neighbour may have no gate.
            if findings.iter().any(|finding| finding.code != Code::NoGate) {
                wrong.push_str(&format!("the neighbour {}:\n{}", path.display(), shown(&findings)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_finding_code_has_a_case_file() {
    let shown: BTreeSet<&str> =
        cases().iter().flat_map(|file| marked(&fs::read_to_string(file).unwrap()).0).map(|(_, code)| code).collect();
    let missing: Vec<&str> = Code::ALL.iter().map(|code| code.name()).filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no file shows {missing:?}");
}

#[test]
fn messages_are_one_sentence_and_name_their_file() {
    for file in cases() {
        for finding in found(std::slice::from_ref(&file)) {
            let message = &finding.diagnostic.message;
            assert!(
                !message.ends_with('.')
                    && message.starts_with(|c: char| !c.is_uppercase()
                        || message.starts_with("Kong ")
                        || message.starts_with("Istio ")
                        || message.starts_with("Envoy ")),
                "{message}"
            );
            assert_eq!(finding.diagnostic.file, file.display().to_string());
        }
    }
}

/// Returns the configurations that this repository ships, grouped by folder.
fn shipped() -> Vec<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("envoy"), root.join("kong"), root.join("examples")];
    let mut groups = Vec::new();
    while let Some(folder) = folders.pop() {
        let mut group = Vec::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
            if path.is_dir() {
                folders.push(path);
            } else if is("yaml") || is("yml") || is("json") {
                let text = fs::read_to_string(&path).unwrap();
                let marks =
                    ["static_resources:", "dynamic_resources:", "resources:", "_format_version:", "apiVersion:"];
                if text.lines().any(|line| marks.iter().any(|mark| line.starts_with(mark))) {
                    group.push(path);
                }
            }
        }
        group.sort();
        groups.push(group);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[test]
fn shipped_configurations_cannot_be_bypassed() {
    let groups = shipped();
    assert!(groups.iter().flatten().any(|file| file.ends_with("envoy/envoy.yaml")), "{groups:?}");
    let mut wrong = String::new();
    for group in groups {
        let open: Vec<Finding> = found(&group).into_iter().filter(|finding| finding.accepted.is_none()).collect();
        wrong.push_str(&shown(&open));
        // A file may refer to parts that are in another file.
        let elsewhere = [Code::Hidden, Code::GateHidden, Code::NoGate];
        for file in group {
            let alone = found(&[file]).into_iter();
            let open: Vec<Finding> =
                alone.filter(|finding| finding.accepted.is_none() && !elsewhere.contains(&finding.code)).collect();
            wrong.push_str(&shown(&open));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn errors_fail_the_check_and_warnings_do_not() {
    for code in Code::ALL {
        let file = cases().into_iter().find(|file| {
            let (expected, _) = marked(&fs::read_to_string(file).unwrap());
            expected.len() == 1 && expected.iter().all(|(_, found)| *found == code.name())
        });
        let Some(file) = file else { continue };
        let fails = found(&[file]).iter().filter(|finding| finding.code == *code).any(Finding::fails);
        assert_eq!(fails, code.severity() == Severity::Error, "{}", code.name());
    }
}
