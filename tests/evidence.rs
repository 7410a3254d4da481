//! Tests that an allowed request has passed every check: the engine does not compile if one is removed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each check of a listed endpoint and of a preflight request, as `src/evaluate` calls it, and the name that the compiler reports as
/// missing without it.
const CHECKS: [(&str, &str, &str); 22] = [
    ("mod.rs", "let escapes = self.preflight()?;", "escapes"),
    ("mod.rs", "let revocation = self.revocation()?;", "revocation"),
    ("mod.rs", "let identity = self.identity()?;", "identity"),
    ("mod.rs", "let active = self.active(endpoint)?;", "active"),
    ("mod.rs", "let expected = self.content_form(endpoint)?;", "expected"),
    ("mod.rs", "let progress = self.body(endpoint)?;", "progress"),
    ("mod.rs", "let (content, operation) = self.content(endpoint, expected, bytes)?;", "content"),
    ("content.rs", "let operation = self.operation(endpoint, expected, json)?;", "operation"),
    ("mod.rs", "let limits = self.limits(endpoint)?;", "limits"),
    ("mod.rs", "let last = self.last_checks(endpoint)?;", "last"),
    ("mod.rs", "replay: self.reserve(tickets)?,", "replay"),
    ("form.rs", "escapes: self.escapes(endpoint, found)?,", "escapes"),
    ("form.rs", "upgrade: self.upgrade(endpoint)?,", "upgrade"),
    ("form.rs", "media_type: self.media_type(endpoint)?,", "media_type"),
    ("authorize.rs", "credential: self.accepted_credential(endpoint)?,", "credential"),
    ("authorize.rs", "delegation: self.delegation(endpoint)?,", "delegation"),
    ("authorize.rs", "active: self.active(endpoint)?,", "active"),
    ("authorize.rs", "bound_token: self.bound_token(endpoint)?,", "bound_token"),
    ("authorize.rs", "signature: self.signature(endpoint)?,", "signature"),
    ("authorize.rs", "reach: self.reach(endpoint)?,", "reach"),
    ("authorize.rs", "scopes: self.scopes(endpoint)?,", "scopes"),
    ("authorize.rs", "bindings: self.bindings(endpoint, found)?,", "bindings"),
];

/// The evidence of all checks.
const EVIDENCE: [&str; 20] = [
    "NotRevoked",
    "EndpointActive",
    "IdentityFits",
    "PreflightAllowed",
    "MetadataRequested",
    "EscapesAllowed",
    "UpgradeAllowed",
    "MediaTypeAllowed",
    "CredentialAccepted",
    "DelegationAccepted",
    "TokenIsBound",
    "SignatureSuffices",
    "WithinReach",
    "ScopesGranted",
    "BindingsHold",
    "BodySettled",
    "ContentAllowed",
    "OperationAllowed",
    "NotReplayed",
    "WithinLimits",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Counts the occurrences of `text` in each file of the folder and its subfolders.
fn occurrences(folder: &Path, text: &str, found: &mut Vec<(PathBuf, usize)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            occurrences(&path, text, found);
        } else {
            let count = fs::read_to_string(&path).map_or(0, |source| source.matches(text).count());
            found.extend((count > 0).then_some((path, count)));
        }
    }
}

#[test]
fn each_check_asserts_its_own_evidence() {
    for name in EVIDENCE {
        let mut found = Vec::new();
        occurrences(&root().join("src"), &format!("{name}::assertion"), &mut found);
        let [(file, _)] = &found[..] else {
            panic!("`{name}` is asserted in {found:?}; expected one file, that of its check")
        };
        assert!(file.starts_with(root().join("src/evaluate")), "{}", file.display());
    }
}

#[test]
fn each_check_is_called_as_stated() {
    for (file, call, _) in CHECKS {
        let source = fs::read_to_string(root().join("src/evaluate").join(file)).unwrap();
        assert!(source.contains(call), "src/evaluate/{file} has no `{call}`; state here how the check is called");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

/// Returns whether the engine in a folder compiles, and the compiler's output.
fn compiles(folder: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--lib", "--target-dir"])
        .arg(root().join("target/evidence"))
        .current_dir(folder)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Removes the checks from a copy of the engine. That takes a minute, so only continuous integration runs this test.
#[test]
#[ignore = "compiles the engine six times; run by .ci/run"]
fn an_evaluation_without_one_of_its_checks_does_not_compile() {
    let folder = root().join("target/evidence/callgate");
    let _ = fs::remove_dir_all(&folder);
    copy(&root().join("src"), &folder.join("src"));
    copy(&root().join("document"), &folder.join("document"));
    for file in ["Cargo.lock", "build.rs"] {
        fs::copy(root().join(file), folder.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    // Of the workspace, the engine needs only the package that reads documents.
    let lines = manifest.lines().filter(|line| {
        let is_needed = line.starts_with("callgate-document");
        is_needed || !["members", "default-members", "callgate"].iter().any(|other| line.starts_with(other))
    });
    fs::write(folder.join("Cargo.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let (intact, errors) = compiles(&folder);
    assert!(intact, "{errors}");
    // The compiler reports every missing value before it checks for missing members, and names at most three of those in each place.
    let (values, members): (Vec<_>, Vec<_>) = CHECKS.into_iter().partition(|(_, call, _)| call.starts_with("let"));
    let quarter = |first: usize| members.iter().skip(first).step_by(4).copied().collect::<Vec<_>>();
    for checks in [values, quarter(0), quarter(1), quarter(2), quarter(3)] {
        copy(&root().join("src"), &folder.join("src"));
        for (file, call, _) in &checks {
            let path = folder.join("src/evaluate").join(file);
            let source = fs::read_to_string(&path).unwrap();
            fs::write(&path, source.replacen(call, "", 1)).unwrap();
        }
        let (_, errors) = compiles(&folder);
        for (_, call, missing) in checks {
            let named = |line: &str| line.starts_with("error[E") && line.contains(&format!("`{missing}`"));
            assert!(errors.lines().any(named), "without `{call}`: {errors}");
        }
    }
}
