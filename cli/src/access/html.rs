//! The report as a page that prints well: one file, without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use callgate_kit::escape;

use super::table::{of_operation, takes, title};
use super::{Caller, Report, TokenFacts};

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#111}\
h1{font-size:20px}h2{font-size:16px;margin:1.6em 0 .4em}\
table{border-collapse:collapse;width:100%}\
th,td{border:1px solid #999;padding:.3em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#eee}code{font-size:13px}td.operation{padding-left:1.5em}\
@media print{body{margin:0;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}\
th{background:none}@page{margin:15mm}}";

/// Returns the report as an HTML page.
pub(crate) fn page(report: &Report) -> String {
    let name = html(&report.policy.name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Access: {name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>Who can reach what: {name}</h1>\n<p>Policy <code>{}</code>, version \
         <code>{}</code></p>\n",
        html(&report.policy.file),
        html(&report.policy.version)
    );
    if let Some(token) = &report.token {
        about(&mut out, token);
    }
    for caller in &report.callers {
        section(&mut out, caller);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn about(out: &mut String, token: &TokenFacts) {
    if let Some(rejected) = &token.rejected {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<p><strong>The token is rejected:</strong> {}: {}</p>",
            rejected.reason,
            html(rejected.title)
        );
    }
    out.push_str("<table>\n");
    let rows = [
        ("Issuer", &token.issuer),
        ("Client", &token.client),
        ("Subject", &token.subject),
        ("Expires", &token.expires),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(out, "<tr><th>{name}</th><td>{}</td></tr>", html(value));
        }
    }
    for note in &token.notes {
        let _ = writeln!(out, "<tr><th>Note</th><td>{}</td></tr>", html(note));
    }
    out.push_str("</table>\n");
}

fn section(out: &mut String, caller: &Caller) {
    let _ = writeln!(out, "<h2>{}</h2>", html(&title(caller)));
    if caller.reaches.is_empty() {
        out.push_str("<p>Reaches nothing.</p>\n");
    } else {
        out.push_str(
            "<table>\n<thead><tr><th>Endpoint</th><th>Request</th><th>What it takes</th></tr></thead>\n<tbody>\n",
        );
        for reached in &caller.reaches {
            let request = format!("{} {}{}", reached.methods.join(" "), reached.hosts.join(" "), reached.path);
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
                html(&reached.endpoint),
                html(&request),
                lines(&takes(reached))
            );
            for operation in &reached.operations {
                let _ = writeln!(
                    out,
                    "<tr><td class=\"operation\">{}</td><td><code>{}</code></td><td>{}</td></tr>",
                    operation.kind,
                    html(&operation.name),
                    lines(&of_operation(operation))
                );
            }
        }
        out.push_str("</tbody>\n</table>\n");
    }
    if caller.cannot_reach.is_empty() {
        return;
    }
    out.push_str("<table>\n<thead><tr><th>Cannot reach</th><th>Operation</th><th>Why</th></tr></thead>\n<tbody>\n");
    for excluded in &caller.cannot_reach {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            html(&excluded.endpoint),
            html(excluded.operation.as_deref().unwrap_or_default()),
            html(&excluded.why)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

fn lines(parts: &[String]) -> String {
    parts.iter().map(|part| html(part)).collect::<Vec<_>>().join("<br>")
}

/// Escapes text for an element or an attribute.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in escape::text(text).to_string().chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_escaped() {
        assert_eq!(html("<script>&\"'\u{202e}</script>"), "&lt;script&gt;&amp;&quot;&#39;\\u{202e}&lt;/script&gt;");
    }
}
