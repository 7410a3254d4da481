//! Problems in a file and their positions, in one form for people and one for programs.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::escape;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but its author probably meant something else.
    Warning,
}

/// A position in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One problem in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user named it.
    pub file: String,
    /// The position in the file, unless the problem concerns the file as a whole.
    pub position: Option<Position>,
    /// The affected part of the document, such as `endpoints[3].scopes`; empty for the document as a whole.
    pub path: String,
    /// The problem and what to write instead: one sentence, lower case, without a final period.
    pub message: String,
    /// The severity.
    pub severity: Severity,
}

impl fmt::Display for Diagnostic {
    /// Writes `policy.yaml:12:5: endpoints[3].scopes: message`, safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", escape::text(&self.file))?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.severity == Severity::Warning {
            f.write_str(" warning:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", escape::text(&self.path))?;
        }
        write!(f, " {}", escape::text(&self.message))
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            file: &'a str,
            line: Option<usize>,
            column: Option<usize>,
            path: &'a str,
            message: &'a str,
            severity: Severity,
        }
        Flat {
            file: &self.file,
            line: self.position.map(|at| at.line),
            column: self.position.map(|at| at.column),
            path: &self.path,
            message: &self.message,
            severity: self.severity,
        }
        .serialize(serializer)
    }
}

/// Why a file was not loaded. Contains at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnostics {
    /// The file could not be read.
    Unreadable(Box<Diagnostic>),
    /// The file was read but has errors. Lists all of its problems in the order of the file.
    Wrong(Vec<Diagnostic>),
}

impl Diagnostics {
    /// Reports a file that could not be read, and why.
    pub(crate) fn unreadable(file: &str, message: String) -> Self {
        Self::Unreadable(Box::new(Diagnostic {
            file: file.to_owned(),
            position: None,
            path: String::new(),
            message,
            severity: Severity::Error,
        }))
    }

    /// Reports all problems of a file, sorted in the order of the file.
    pub(crate) fn wrong(mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.position);
        Self::Wrong(list)
    }

    /// Returns the diagnostics as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Diagnostic] {
        match self {
            Self::Unreadable(one) => std::slice::from_ref(one),
            Self::Wrong(list) => list,
        }
    }
}

impl fmt::Display for Diagnostics {
    /// Writes one line for each diagnostic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.as_slice().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            file: "policy.yaml".into(),
            position: Some(Position { line: 12, column: 5 }),
            path: "endpoints[3].scopes".into(),
            message: "the list is empty".into(),
            severity: Severity::Error,
        }
    }

    #[test]
    fn displays_file_position_path_and_message() {
        assert_eq!(diagnostic().to_string(), "policy.yaml:12:5: endpoints[3].scopes: the list is empty");
        let whole = Diagnostic { position: None, path: String::new(), ..diagnostic() };
        assert_eq!(whole.to_string(), "policy.yaml: the list is empty");
        let warning = Diagnostic { severity: Severity::Warning, ..diagnostic() };
        assert_eq!(warning.to_string(), "policy.yaml:12:5: warning: endpoints[3].scopes: the list is empty");
    }

    #[test]
    fn escapes_control_characters_when_displayed() {
        let hostile = Diagnostic {
            file: "a\u{1b}b".into(),
            path: "agents.\u{202e}x".into(),
            message: "`\u{9b}`".into(),
            ..diagnostic()
        };
        assert_eq!(hostile.to_string(), "a\\u{1b}b:12:5: agents.\\u{202e}x: `\\u{9b}`");
    }

    #[test]
    fn serializes_to_flat_json_members() {
        assert_eq!(
            serde_json::to_value(diagnostic()).unwrap(),
            serde_json::json!({
                "file": "policy.yaml", "line": 12, "column": 5, "path": "endpoints[3].scopes",
                "message": "the list is empty", "severity": "error",
            })
        );
    }

    #[test]
    fn sorts_errors_by_position() {
        let later = Diagnostic { position: Some(Position { line: 20, column: 1 }), ..diagnostic() };
        let whole = Diagnostic { position: None, ..diagnostic() };
        let sorted = Diagnostics::wrong(vec![later.clone(), diagnostic(), whole.clone()]);
        assert_eq!(sorted.as_slice(), [whole, diagnostic(), later]);
    }
}
