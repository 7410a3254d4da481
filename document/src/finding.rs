//! Errors and warnings about a policy. All of them are reported at once, each with its place in the document.

use std::fmt;

/// A place in the policy document, such as `endpoints[3].scopes`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place(String);

impl Place {
    /// Returns the place of the document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the place of a member of the object at this place.
    #[must_use]
    #[inline(never)]
    pub fn field(&self, name: &str) -> Self {
        // A name with other characters is quoted, which keeps places unambiguous.
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        match (plain, self.0.is_empty()) {
            (true, true) => Self(name.to_owned()),
            (true, false) => Self(format!("{}.{name}", self.0)),
            (false, _) => Self(format!("{}[{name:?}]", self.0)),
        }
    }

    /// Returns the place of an item of the list at this place, counted from 0.
    #[must_use]
    #[inline(never)]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Returns the place as text. The text is empty for the document itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the document" } else { &self.0 })
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The value that the finding is about.
    pub place: Place,
    /// The problem and its solution: one sentence, lower case, no final period.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All findings of a policy compilation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Findings that make the policy unusable.
    pub errors: Vec<Finding>,
    /// Findings about a valid policy that may not express the author's intent.
    pub warnings: Vec<Finding>,
}

impl fmt::Display for Findings {
    /// Writes the errors, one per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if number == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

impl Findings {
    /// Adds an error.
    // Errors and warnings are rare. Their code is not inlined, because every worker keeps the module in memory.
    #[cold]
    #[inline(never)]
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        add(&mut self.errors, place, message.into());
    }

    /// Adds a warning.
    #[cold]
    #[inline(never)]
    pub fn warn(&mut self, place: Place, message: impl Into<String>) {
        add(&mut self.warnings, place, message.into());
    }
}

#[cold]
#[inline(never)]
fn add(findings: &mut Vec<Finding>, place: Place, message: String) {
    findings.push(Finding { place, message });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_locations_like_the_document() {
        let root = Place::root();
        assert_eq!(root.field("endpoints").index(3).field("scopes").as_str(), "endpoints[3].scopes");
        assert_eq!(root.field("issuers").field("a b").field("keys").as_str(), "issuers[\"a b\"].keys");
        assert_eq!(root.field("agents").field("x\n\"").to_string(), "agents[\"x\\n\\\"\"]");
        assert_eq!(root.to_string(), "the document");
    }
}
