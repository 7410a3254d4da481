//! The report as text for people, at most 100 columns wide.

use std::fmt::Write as _;

use callgate_kit::escape;

use super::{Binding, Caller, Kind, Operation, Reached, Report, Scopes, State, TokenFacts};

/// The widths of the columns: the endpoint, the request, and what it takes. A space is before each, and one before the row.
const WIDTHS: [usize; 3] = [24, 32, 40];

/// Returns the report as text.
pub(crate) fn text(report: &Report) -> String {
    let mut out =
        format!("policy {}, version {}\n", report.policy.name, report.policy.version.get(..12).unwrap_or_default());
    if let Some(token) = &report.token {
        out.push_str(&about(token));
    }
    for caller in &report.callers {
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n{}", wrap(&title(caller), 100).join("\n"));
        for reached in &caller.reaches {
            let request = format!("{} {}{}", reached.methods.join(" "), reached.hosts.join(" "), reached.path);
            row(&mut out, [&reached.endpoint, &request, &takes(reached).join("; ")]);
            for operation in &reached.operations {
                let named = format!("{} {}", operation.kind, operation.name);
                row(&mut out, ["", &named, &of_operation(operation).join("; ")]);
            }
        }
        if caller.reaches.is_empty() {
            out.push_str("  nothing\n");
        }
        if !caller.cannot_reach.is_empty() {
            out.push_str("  cannot reach:\n");
        }
        for excluded in &caller.cannot_reach {
            let what = excluded.operation.as_deref().unwrap_or_default();
            row(&mut out, [&excluded.endpoint, what, &excluded.why]);
        }
    }
    out
}

/// Describes a token.
fn about(token: &TokenFacts) -> String {
    let mut parts = Vec::new();
    if let Some(rejected) = &token.rejected {
        parts.push(format!("REJECTED {}: {}", rejected.reason, rejected.title));
    }
    for (name, value) in [("issuer", &token.issuer), ("client", &token.client), ("subject", &token.subject)] {
        parts.extend(value.as_ref().map(|value| format!("{name} {value}")));
    }
    parts.extend(token.expires.as_ref().map(|expires| format!("expires {expires}")));
    let mut out = wrapped("token  ", &parts.join(", "));
    for note in &token.notes {
        out.push_str(&wrapped("note   ", note));
    }
    out
}

fn wrapped(name: &str, value: &str) -> String {
    let lines = wrap(value, 92);
    let begin = |index: usize| if index == 0 { name } else { "       " };
    lines.iter().enumerate().map(|(index, line)| format!("{}{line}\n", begin(index))).collect()
}

/// Returns who a caller is.
pub(super) fn title(caller: &Caller) -> String {
    let agent = caller.agent.as_deref().unwrap_or("an unregistered client");
    let who = match caller.kind {
        Kind::Agent => agent.to_owned(),
        Kind::Anyone => "anyone, without a credential".to_owned(),
        Kind::Token => format!("this token, as {agent}"),
        Kind::Unregistered => "unregistered clients".to_owned(),
    };
    let owner = caller.owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
    let each = caller.each.map(|each| format!(", each {each} counts by itself")).unwrap_or_default();
    let state = match caller.state {
        State::Active => "",
        State::Expired => ": EXPIRED, every request is denied",
        State::Suspended => ": SUSPENDED, every request is denied",
    };
    escape::text(&format!("{who}{owner}{each}{state}")).to_string()
}

/// Returns what a request to an endpoint takes, in parts.
pub(super) fn takes(reached: &Reached) -> Vec<String> {
    let mut parts = vec![reached.effect.to_owned()];
    if reached.observed {
        parts.push("only observed: every request is forwarded".to_owned());
    }
    parts.extend(reached.agents.as_ref().map(|agents| format!("only for {}", agents.join(" or "))));
    if !reached.credentials.is_empty() {
        parts.push(reached.credentials.join(" or "));
    }
    if reached.bound_token {
        parts.push("a token that is bound to a key".to_owned());
    }
    parts.extend(reached.signature.map(|asked| format!("signature {asked}")));
    parts.extend(scopes(&reached.scopes));
    parts.extend(reached.bindings.iter().map(binding));
    parts.extend(reached.max_age.map(|most| format!("token issued at most {most} s ago")));
    parts.extend(reached.max_lifetime.map(|most| format!("token valid for at most {most} s")));
    if reached.delegation != "none" {
        parts.push(format!("delegation {}", reached.delegation));
    }
    parts.extend(reached.streams.map(|_| "open streams are checked again".to_owned()));
    parts.extend(reached.limits.iter().map(|limit| {
        let whose = limit.numbers_of.as_ref().map(|whose| format!(" ({whose})")).unwrap_or_default();
        format!("limit {}: {}, burst {}, per {}{whose}", limit.name, limit.rate, limit.burst, limit.per.join(" and "))
    }));
    parts
}

/// Returns what an operation takes in addition to its endpoint, in parts.
pub(super) fn of_operation(operation: &Operation) -> Vec<String> {
    let mut parts = vec![operation.effect.to_owned()];
    parts.extend(scopes(&operation.scopes));
    parts.extend(operation.bindings.iter().map(binding));
    parts
}

fn scopes(scopes: &Scopes) -> Vec<String> {
    let all = (!scopes.all.is_empty()).then(|| format!("scopes {}", scopes.all.join(" ")));
    all.into_iter().chain(scopes.any.iter().map(|any| format!("scope {}", any.join(" or ")))).collect()
}

fn binding(binding: &Binding) -> String {
    let Binding { part, operator, to, values } = binding;
    let is = match *operator {
        "prefix" => "is within",
        "at_most" => "is at most",
        _ => "=",
    };
    let shown = match values {
        None => to.clone(),
        Some(serde_json::Value::Array(items)) => {
            items.iter().map(super::request::text).collect::<Vec<_>>().join(" or ")
        }
        Some(one) => super::request::text(one),
    };
    format!("only where {part} {is} {shown}")
}

/// Adds a row. Each cell is wrapped within its column.
fn row(out: &mut String, cells: [&str; 3]) {
    let mut columns = cells.iter().zip(WIDTHS).map(|(cell, width)| wrap(cell, width).into_iter()).collect::<Vec<_>>();
    loop {
        let lines: Vec<Option<String>> = columns.iter_mut().map(Iterator::next).collect();
        if lines.iter().all(Option::is_none) {
            return;
        }
        let mut line = " ".to_owned();
        for (cell, width) in lines.into_iter().zip(WIDTHS) {
            // Writing to a string does not fail.
            let _ = write!(line, " {:width$}", cell.unwrap_or_default());
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Divides text into lines of at most `width` characters, at spaces where possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let escaped = escape::text(text).to_string();
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in escaped.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_divided_at_spaces_and_within_long_words() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdef g", 4), ["abcd", "ef g"]);
        assert_eq!(wrap("ab cdefghij", 4), ["ab", "cdef", "ghij"]);
        assert_eq!(wrap("", 4), [""; 0]);
        assert_eq!(wrap("grüße", 5), ["grüße"]);
        assert_eq!(wrap("a\u{1b}b", 20), ["a\\u{1b}b"]);
    }

    #[test]
    fn rows_fit_a_hundred_columns() {
        let long = "x".repeat(300);
        let mut out = String::new();
        row(&mut out, [&long, &long, &long]);
        row(&mut out, ["a", "b c", ""]);
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
        assert!(out.ends_with("\n  a                        b c\n"), "{out}");
    }
}
