//! Collects findings and applies the comments that accept them.
//!
//! `# callgate: accept CODE: REASON`, alone on a line, accepts a finding on the next line that is not a comment.

use std::collections::BTreeMap;

use super::finding::{Code, Finding};
use super::view::View;
use callgate_kit::diagnostic::{Diagnostic, Position, Severity};
use callgate_kit::document::Document;

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, code: Code, view: &View<'_>, message: String) {
        self.findings.push(Finding {
            code,
            diagnostic: Diagnostic {
                file: view.document.file().to_owned(),
                position: Some(view.document.position(&view.place)),
                path: view.place.as_str().to_owned(),
                message,
                severity: code.severity(),
            },
            accepted: None,
        });
    }

    /// Adds a finding at a position that has no part of the document.
    pub(super) fn add_at(&mut self, code: Code, document: &Document, position: Position, message: String) {
        self.findings.push(finding(code, document.file(), Some(position), message));
    }

    /// Adds a finding about a file as a whole.
    pub(super) fn add_whole(&mut self, code: Code, file: &str, message: String) {
        self.findings.push(finding(code, file, None, message));
    }

    pub(super) fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    /// Returns all findings, in the order of the files and their lines.
    pub(super) fn finish(mut self, files: &[(String, Comments)]) -> Vec<Finding> {
        let order = |finding: &Finding| {
            let file = files.iter().position(|(file, _)| *file == finding.diagnostic.file);
            (file, finding.diagnostic.position, finding.code)
        };
        // Chains that share a part report its findings several times; only one is kept.
        self.findings.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.diagnostic.path.cmp(&b.diagnostic.path)));
        self.findings.dedup_by(|a, b| order(a) == order(b) && a.diagnostic.message == b.diagnostic.message);
        for (file, comments) in files {
            for (line, accepted) in &comments.0 {
                let mut used = false;
                for finding in &mut self.findings {
                    let here = finding.diagnostic.position.is_some_and(|at| at.line == accepted.covers);
                    if here && finding.diagnostic.file == *file && finding.code.name() == accepted.code {
                        finding.accepted = Some(accepted.reason.clone());
                        used = true;
                    }
                }
                if !used {
                    let message = match accepted.code.as_str() {
                        "" => "this comment accepts nothing; write `# callgate: accept CODE: REASON`".to_owned(),
                        code => format!("no finding `{code}` on line {}; remove this comment", accepted.covers),
                    };
                    let at = Position { line: *line, column: 1 };
                    self.findings.push(finding(Code::AcceptedNothing, file, Some(at), message));
                }
            }
        }
        self.findings.sort_by_key(|a| order(a));
        self.findings
    }
}

fn finding(code: Code, file: &str, position: Option<Position>, message: String) -> Finding {
    let severity: Severity = code.severity();
    let diagnostic = Diagnostic { file: file.to_owned(), position, path: String::new(), message, severity };
    Finding { code, diagnostic, accepted: None }
}

/// The comments of a file that accept findings, by line.
#[derive(Debug)]
pub(super) struct Comments(BTreeMap<usize, Accepted>);

#[derive(Debug)]
struct Accepted {
    code: String,
    reason: String,
    /// The line whose finding the comment accepts.
    covers: usize,
}

impl Comments {
    pub(super) fn of(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let accepted = lines.iter().enumerate().filter_map(|(index, line)| {
            let said = line.strip_prefix('#')?.trim().strip_prefix("callgate: accept ")?;
            let (code, reason) = said.split_once(':').unwrap_or((said, ""));
            let comments = lines.iter().skip(index).take_while(|line| line.starts_with('#')).count();
            // A comment without a reason accepts nothing and is reported.
            let code = if reason.trim().is_empty() { "" } else { code.trim() };
            let accepted =
                Accepted { code: code.to_owned(), reason: reason.trim().to_owned(), covers: index + comments + 1 };
            Some((index + 1, accepted))
        });
        Self(accepted.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_comment_covers_the_next_code_line() {
        let comments =
            Comments::of("a:\n  # callgate: accept hidden: it is static\n  # more\n  b: 1\n# callgate: accept x\n");
        let told: Vec<(usize, &str, &str, usize)> =
            comments.0.iter().map(|(line, a)| (*line, &*a.code, &*a.reason, a.covers)).collect();
        assert_eq!(told, [(2, "hidden", "it is static", 4), (5, "", "", 6)]);
    }
}
