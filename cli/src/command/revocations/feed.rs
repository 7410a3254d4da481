//! The file of a list of revoked credentials: `{ "entries": [...] }`, in the order in which the entries were added.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::document::{Place, Revoked};
use callgate::policy::parse_expiry;
use serde::Deserialize;
use serde_json::Value;

use crate::command::Failure;
use callgate_kit::diagnostic::{Diagnostic, Diagnostics, Position, Severity};
use callgate_kit::escape;
use callgate_kit::input::{bounded, unreadable};

/// The largest list that a gate accepts, in bytes.
pub(super) const MOST_BYTES: u64 = 16 << 20;
/// The longest reason of an entry, in bytes.
const MOST_REASON: usize = 128;

/// A list, and the file that has it.
pub(in crate::command) struct Feed {
    path: PathBuf,
    entries: Vec<Value>,
}

/// Keeps other runs of this program from changing a file, until it is dropped. The file itself is replaced with each change, so the lock is
/// on another one next to it, which stays.
pub(in crate::command) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other run changes the file.
    pub(in crate::command) fn of(path: &Path) -> Result<Self, Failure> {
        let trouble =
            |what: &str, error: &io::Error| Failure::Trouble(format!("{}: cannot be {what}: {error}", path.display()));
        let lock = next_to(path, ".lock");
        let file = File::options().create(true).truncate(false).write(true).open(lock);
        let file = file.map_err(|error| trouble("written", &error))?;
        file.lock().map_err(|error| trouble("locked", &error))?;
        Ok(Self { _file: file })
    }
}

/// The members of a list. Reading them by name rejects unknown and repeated ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    entries: Vec<Revoked>,
}

/// The entries of a list as JSON.
#[derive(Deserialize)]
struct Raw {
    entries: Vec<Value>,
}

impl Feed {
    /// Reads a list and checks its entries.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let file = File::open(path).map_err(|error| Failure::Trouble(format!("{shown} {}", unreadable(&error))))?;
        let bytes = bounded(file, MOST_BYTES).map_err(|why| Failure::Trouble(format!("{shown} {why}")))?;
        Self::parse(path, &bytes)
    }

    /// Reads a list, or starts an empty one if the file does not exist.
    pub(in crate::command) fn open_or_create(path: &Path) -> Result<Self, Failure> {
        match fs::exists(path) {
            Ok(false) => Ok(Self { path: path.to_owned(), entries: Vec::new() }),
            _ => Self::open(path),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let error = |position, place: String, message: String| {
            let file = path.display().to_string();
            let severity = Severity::Error;
            Failure::from(Diagnostics::Wrong(vec![Diagnostic { file, position, path: place, message, severity }]))
        };
        let unlike = |why: &serde_json::Error| {
            let text = why.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let position = Position { line: why.line(), column: why.column() };
            error(
                Some(position),
                String::new(),
                format!("not a list of revoked credentials: {text}; expected `{{ \"entries\": [...] }}`"),
            )
        };
        let members: Members = serde_json::from_slice(bytes).map_err(|why| unlike(&why))?;
        let raw: Raw = serde_json::from_slice(bytes).map_err(|why| unlike(&why))?;
        for (index, entry) in members.entries.iter().enumerate() {
            if let Err(why) = fault(entry) {
                return Err(error(None, Place::root().field("entries").index(index).as_str().to_owned(), why));
            }
        }
        Ok(Self { path: path.to_owned(), entries: raw.entries })
    }

    /// Adds an entry that the list does not have yet.
    pub(in crate::command) fn add(&mut self, entry: Value) -> Result<(), Failure> {
        if let Some(index) = self.entries.iter().position(|own| revokes_the_same(own, &entry)) {
            let shown = self.shown();
            return Err(Failure::Trouble(format!(
                "{shown}: entries[{index}] already revokes this; nothing was changed"
            )));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the list to its file: either all of it, or nothing.
    pub(in crate::command) fn save(&self) -> Result<(), Failure> {
        let mut text = "{\"entries\": [".to_owned();
        for (index, entry) in self.entries.iter().enumerate() {
            text.push_str(if index == 0 { "\n  " } else { ",\n  " });
            text.push_str(&entry.to_string());
        }
        text.push_str("\n]}\n");
        if text.len() as u64 > MOST_BYTES {
            return Err(Failure::Trouble(format!(
                "{}: exceeds {} MiB; nothing was changed",
                self.shown(),
                MOST_BYTES >> 20
            )));
        }
        replace(&self.path, text.as_bytes())
    }

    /// Returns the entries.
    pub(super) fn entries(&self) -> &[Value] {
        &self.entries
    }

    /// Returns the number of entries.
    pub(in crate::command) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the name of the file, safe for a terminal.
    pub(in crate::command) fn shown(&self) -> String {
        escape::text(&self.path.display().to_string()).to_string()
    }
}

/// Writes a file next to the old one and moves it into place, because readers must see the old content or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let new = next_to(path, ".new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        // The new file may not exist.
        let _ = fs::remove_file(&new);
        Failure::Trouble(format!("{}: cannot be written: {error}", path.display()))
    })
}

/// Returns the path of a file in the same folder, whose name has this suffix in addition.
fn next_to(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Returns whether two entries differ at most in their reasons.
fn revokes_the_same(one: &Value, other: &Value) -> bool {
    let without_reason = |entry: &Value| {
        let mut entry = entry.clone();
        if let Some(members) = entry.as_object_mut() {
            members.remove("reason");
        }
        entry
    };
    without_reason(one) == without_reason(other)
}

/// Checks an entry.
pub(in crate::command) fn check(entry: &Value) -> Result<(), String> {
    let entry = Revoked::deserialize(entry).map_err(|error| error.to_string())?;
    fault(&entry)
}

/// Returns what is wrong with an entry.
fn fault(entry: &Revoked) -> Result<(), String> {
    let of_issuer = [("jti", &entry.jti), ("subject", &entry.subject), ("client", &entry.client), ("kid", &entry.kid)];
    let alone = [
        ("token_sha256", &entry.token_sha256),
        ("agent", &entry.agent),
        ("actor", &entry.actor),
        ("thumbprint", &entry.thumbprint),
    ];
    let named: Vec<_> =
        of_issuer.iter().chain(&alone).filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
    match (named.as_slice(), &entry.issuer) {
        ([], None) => {
            return Err(
                "names nothing; expected one of `token_sha256`, `agent`, `actor`, `thumbprint` and `issuer`".to_owned()
            );
        }
        ([one, other, ..], _) => return Err(format!("names `{one}` and `{other}`; expected one of them")),
        ([one], None) if of_issuer.iter().any(|(name, _)| name == one) => {
            return Err(format!("`{one}` without `issuer`; expected the name of the issuer too"));
        }
        ([one], Some(_)) if alone.iter().any(|(name, _)| name == one) => {
            return Err(format!("`{one}` with `issuer`; expected one of them"));
        }
        _ => {}
    }
    let more = [("issuer", &entry.issuer), ("tenant", &entry.tenant)];
    let mut texts = of_issuer.iter().chain(&alone).chain(&more);
    if let Some((name, _)) = texts.find(|(_, text)| text.as_deref() == Some("")) {
        return Err(format!("{name}: is empty"));
    }
    if entry.tenant.is_some() && entry.issuer.is_none() {
        return Err("`tenant` without `issuer`; expected the name of the issuer too".to_owned());
    }
    if entry.tenant.is_some() && (entry.jti.is_some() || entry.kid.is_some()) {
        return Err("`tenant` with `jti` or `kid`, which apply to all tenants; expected one of them".to_owned());
    }
    let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if entry.token_sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
        return Err("token_sha256: expected 64 hexadecimal digits".to_owned());
    }
    let is_base64url = |text: &String| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    if entry.thumbprint.as_ref().is_some_and(|thumbprint| !is_hash(thumbprint) && !is_base64url(thumbprint)) {
        return Err(
            "thumbprint: expected SHA-256 in 43 characters of base64url, or in 64 hexadecimal digits".to_owned()
        );
    }
    for (name, date) in [("issued_before", &entry.issued_before), ("until", &entry.until)] {
        // The gate reads nothing else, and would not use the list.
        if date.as_deref().is_some_and(|date| parse_expiry(date).is_none()) {
            return Err(format!(
                "{name}: expected a time such as `2027-06-30T12:00:00Z`, or a day such as `2027-06-30`"
            ));
        }
    }
    let is_reason = |reason: &String| {
        !reason.trim().is_empty()
            && reason.len() <= MOST_REASON
            && reason.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    if entry.reason.as_ref().is_some_and(|reason| !is_reason(reason)) {
        return Err(format!("reason: expected 1 to {MOST_REASON} printable ASCII characters"));
    }
    Ok(())
}
