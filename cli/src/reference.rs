//! The reference pages in `docs/reference/`, which are generated from the code to stay in sync with it.

mod command_line_page;
mod policy_chapters;
mod policy_page;
mod reasons_page;

use std::fmt::Write;

use callgate::Ground;
use callgate::decision::metrics::{self, Kind as MetricKind};
use serde_json::Value;

use callgate_gateway_check::Code;
use callgate_kit::diagnostic::Severity;
use callgate_kit::{policy, records};

/// The command that regenerates the pages.
pub const COMMAND: &str = "cargo run -p callgate-cli -- docs --write";

/// Returns the file name and the text of every page.
///
/// # Errors
/// Fails if a schema has no JSON form.
pub fn pages() -> serde_json::Result<[(&'static str, String); 8]> {
    let json = |schema: &Value| serde_json::to_string_pretty(schema).map(|json| json + "\n");
    let (policy, record) = (policy::schema(), records::schema());
    Ok([
        ("command-line.md", command_line_page::page()),
        ("gateway-findings.md", gateway_findings()),
        ("metrics.md", metrics()),
        ("policy.md", policy_page::page(&policy)),
        ("policy.schema.json", json(&policy)?),
        ("reasons.md", reasons_page::page()),
        ("record.md", record_page(&record)),
        ("record.schema.json", json(&record)?),
    ])
}

fn generated(title: &str) -> String {
    format!("# {title}\n\n<!-- Generated from the code. `{COMMAND}` regenerates it. -->\n\n")
}

fn gateway_findings() -> String {
    let mut page = generated("Findings in a gateway's configuration");
    page.push_str(
        "`callgate check --gateway FILE...` reads the configuration of a gateway as the gateway does, and reports every way around the \
         gate that it finds, with file, line and the configuration to write instead. It exits with 2 if a finding is an error. Give it all \
         files that belong together: a reference in one file is looked up in the others. A reference to something in none of the files is \
         reported as `hidden`.\n\n\
         It reads Envoy's bootstraps, listeners, discovery responses (LDS, RDS, ECDS and the like) and the output of the admin interface's \
         `/config_dump`; the resources of Istio, Envoy Gateway, Higress and the Gateway API; and declarative configuration of Kong. For \
         Istio and Envoy Gateway, the `/config_dump` of a proxy is more complete than the resources: it contains the result of all of \
         them.\n\n\
         To accept an intended finding, write a comment with the reason before the reported line:\n\n\
         <!-- not run: a comment -->\n```yaml\n# callgate: accept chain_without_gate: the gates are behind this Envoy\n```\n\n\
         The check cannot find traffic that does not use these files (another path to the upstream, or a pod that is reached without its \
         sidecar), data that is sent on a stream after the gate allowed it, and everything else in \
         [SECURITY.md](../../SECURITY.md#what-the-gate-cannot-see).\n\n\
         | Code | Severity | Meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let weight = match code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{}` | {weight} | {} |", code.name(), code.about());
    }
    page
}

fn record_page(schema: &Value) -> String {
    let mut introduction = String::from(
        "The filter writes one JSON object for each decision into the filter state `wasm.callgate`. The gateway's access log takes it from \
         there. The decisions that the policy selects in `audit.log` are also written to the gateway's own log. \
         [record.schema.json](record.schema.json) is the JSON Schema of this page, and `callgate schema record` prints it. It describes the \
         records of one version of the module. Later versions may add members, so readers must ignore unknown members.\n\n\
         `callgate explain --record @FILE` describes a record in words. `callgate records FILE...` summarizes many records.\n\n\
         A record contains no token, key, signature, secret or cookie. Text from a request is escaped as in a C string, and truncated \
         with `…` if it is too long.\n\nThe grounds on which a request is allowed, in `reason`: ",
    );
    let grounds = [
        "every check passed",
        "the endpoint is public",
        "a CORS preflight that the policy allows",
        "the metadata of the resource, which Callgate answers itself",
    ];
    let grounds = Ground::RECORDED.iter().zip(grounds).map(|(grant, about)| format!("`{}` ({about})", grant.code()));
    introduction.push_str(&grounds.collect::<Vec<_>>().join(", "));
    introduction.push_str(".\n\n");
    sections("The decision record", &introduction, "The record", schema)
}

fn metrics() -> String {
    let mut page = generated("Metrics");
    page.push_str(
        "The filter reports its metrics in the gateway's statistics; Envoy shows them on its admin interface under `/stats/prometheus`. No \
         metric contains an identity. The `stats_config` of the configuration in `envoy/` extracts the labels from the names. Without it, \
         the labels are part of the name, such as `callgate_decisions_deny_token_expired`. The dynamic module has labels without it, and its \
         names begin with `envoy_dynamicmodulescustom_`: [how to remove this](../../envoy/module/README.md#metrics).\n\n\
         | Name in Prometheus | Labels | Type | Meaning |\n|---|---|---|---|\n",
    );
    for metric in metrics::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{}` | {} | {kind} | {} |", metric.prometheus(), labels.join(", "), metric.about);
    }
    page.push_str(
        "\nGauges except `callgate_replay_entries` are sums to which each VM of the filter adds its own part. A VM that stops \
         because of a defect cannot subtract its part, and the VM that replaces it does not know it, so the sum stays too \
         high until the gateway restarts. You see this when no request arrives: `callgate_held_bytes` and \
         `callgate_keys_waiting` do not return to 0. Each such stop is a message with the words `stopped at` in the gateway's \
         log, and Envoy counts the VMs that it recreates, such as `wasm.callgate.vm_reload_success`. Until the restart, alert \
         on the change of a gauge, or on `callgate_decisions` with the reason `held_bytes_full` or `keys_unavailable`.\n",
    );
    page
}

/// Returns a page that describes the parts of a schema.
fn sections(title: &str, introduction: &str, whole: &str, schema: &Value) -> String {
    let mut page = generated(title);
    page.push_str(introduction);
    section(&mut page, 2, whole, schema);
    for (name, part) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
        section(&mut page, 2, name, part);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// Appends a section about one part of a schema.
fn section(page: &mut String, level: usize, name: &str, part: &Value) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{} {name}\n\n{}\n", "#".repeat(level), about(part));
    details(page, part, &[]);
}

/// Appends the values, examples and fields of a part. Fields that `order` names come in that order, before the others.
fn details(page: &mut String, part: &Value, order: &[&str]) {
    if let Some(values) = part.get("oneOf").and_then(Value::as_array) {
        for value in values {
            // Writing to a string does not fail.
            let _ = writeln!(page, "- {}: {}", form(value), about(value));
        }
        page.push('\n');
    }
    if let Some(examples) = part.get("examples").and_then(Value::as_array) {
        let examples: Vec<String> = examples.iter().filter_map(|text| Some(format!("`{}`", text.as_str()?))).collect();
        let _ = writeln!(page, "Examples: {}.\n", examples.join(", "));
    }
    let Some(fields) = part.get("properties").and_then(Value::as_object) else { return };
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(field, _)| order.iter().position(|name| name == field).unwrap_or(order.len()));
    let required: Vec<&str> =
        part.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    page.push_str("| Field | Form | |\n|---|---|---|\n");
    for wanted in [true, false] {
        for (field, rule) in fields.iter().filter(|(field, _)| required.contains(&field.as_str()) == wanted) {
            let mark = if wanted { " (required)" } else { "" };
            let _ = writeln!(page, "| `{field}`{mark} | {} | {} |", form(rule), about(rule).replace('|', "\\|"));
        }
    }
    page.push('\n');
}

fn about(rule: &Value) -> String {
    rule.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// Describes the values of a part in a few words.
fn form(rule: &Value) -> String {
    if let Some(reference) = rule.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = rule.get("const").and_then(Value::as_str) {
        return format!("`{value}`");
    }
    if let Some(forms) = rule.get("anyOf").and_then(Value::as_array) {
        let forms: Vec<String> = forms.iter().map(form).filter(|form| !form.is_empty()).collect();
        return forms.join(" or ");
    }
    let kinds = rule.get("type").map(|kind| match kind {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect::<Vec<_>>(),
    });
    let nested = |keyword| rule.get(keyword).filter(|rule| rule.is_object()).map(form).filter(|form| !form.is_empty());
    let forms: Vec<String> = kinds
        .unwrap_or_default()
        .into_iter()
        .filter_map(|kind| match kind {
            "array" => Some(nested("items").map_or("list".to_owned(), |item| format!("list of {item}"))),
            "object" => {
                let names = nested("propertyNames").unwrap_or_else(|| "names".to_owned());
                Some(nested("additionalProperties").map_or("mapping".to_owned(), |value| format!("{names} to {value}")))
            }
            "boolean" => Some("`true` or `false`".to_owned()),
            "string" => Some("text".to_owned()),
            "null" => None,
            other => Some(other.to_owned()),
        })
        .collect();
    if forms.is_empty() && rule.get("type").is_none() { "any value".to_owned() } else { forms.join(" or ") }
}
