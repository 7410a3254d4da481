//! The policy reference, in the order in which a reader needs it.
//!
//! The texts about fields are the schema's. This module decides the position of each definition, and shows parts of one example policy.

use std::fmt::Write;

use callgate::allowlist::Kind;
use serde_json::{Map, Value};

use super::{about, details, generated, section};

/// A policy that compiles and has every field of the document. Each chapter shows its part.
const EXAMPLE: &str = include_str!("example.yaml");

/// A chapter of the page.
struct Chapter {
    title: &'static str,
    about: &'static str,
    /// The fields of the document that the example shows.
    fields: &'static [&'static str],
    /// The definitions, in the order of the page.
    definitions: &'static [&'static str],
}

/// The chapters, beginning with the document itself.
const CHAPTERS: [Chapter; 19] = [
    Chapter {
        title: "The document",
        about: "The fields at the top level of a policy. Each of the following chapters describes one or more of them.",
        fields: &[
            "callgate",
            "name",
            "mode",
            "gateway",
            "resource",
            "resources",
            "hosts",
            "external_url",
            "help",
            "clock_skew",
            "preflight",
            "overrides",
            "override_headers",
            "reject_query",
            "format_suffixes",
            "unregistered",
        ],
        definitions: &[
            "FormatVersion",
            "Mode",
            "Gateway",
            "Resource",
            "Preflight",
            "Overrides",
            "FormatSuffixes",
            "Unregistered",
        ],
    },
    Chapter {
        title: "Metadata for clients",
        about: "What OAuth and MCP clients can read before they have a token: where to get one, and with which scopes. \
                [Let clients discover the API](../guides/let-clients-discover.md) shows how they use it.",
        fields: &["metadata"],
        definitions: &["Metadata"],
    },
    Chapter {
        title: "Issuers",
        about: "Who issues access tokens, where clients send them, and how Callgate verifies them.",
        fields: &["issuers", "credentials_from"],
        definitions: &[
            "Issuer",
            "Tenants",
            "Profile",
            "AlgorithmName",
            "Keys",
            "JwkSet",
            "RemoteKeys",
            "DiscoveredKeys",
            "MetadataDocument",
            "KeyHost",
            "Secret",
            "SecretEncoding",
            "Audience",
            "IgnorableHeader",
            "TokenShape",
            "DistinguishedBy",
            "ScopeClaim",
            "ScopeForm",
            "CredentialPlace",
        ],
    },
    Chapter {
        title: "Agents",
        about: "Who may send requests. A token, a signing key, an API key, a client certificate or several of these identify an agent.",
        fields: &["agents", "groups"],
        definitions: &["Agent", "Identity", "Each", "CertificateName", "AtMost", "SigningKey", "HttpAlgorithm"],
    },
    Chapter {
        title: "API keys",
        about: "Where clients send API keys, and the keys of an agent, for clients that support neither tokens nor signatures. An endpoint \
                or a requirement states whether it accepts them (`authenticate`).",
        fields: &["api_keys"],
        definitions: &["ApiKeys", "ApiKey"],
    },
    Chapter {
        title: "Client certificates",
        about: "What the gateway's listener does with the certificates of clients, such as those of SPIFFE workloads. An endpoint or a \
                requirement states whether a certificate identifies the caller (`authenticate`), and tokens can be bound to certificates \
                (RFC 8705).",
        fields: &["tls"],
        definitions: &["Tls", "ClientCertificates"],
    },
    Chapter {
        title: "Requirements",
        about: "What all endpoints with one effect require. An endpoint adds its own requirements.",
        fields: &["scope_implies", "requirements"],
        definitions: &[
            "Requirement",
            "Effect",
            "Scopes",
            "TokenRequirement",
            "SignatureRequirement",
            "Authentication",
            "Authenticate",
            "FormBodies",
        ],
    },
    Chapter {
        title: "Endpoints",
        about: "The allowlist of endpoints. A request that matches no endpoint is denied.",
        fields: &["endpoints"],
        definitions: &[
            "Endpoint",
            "BindingOperator",
            "BindingLiteral",
            "Access",
            "Credentials",
            "Escape",
            "Upgrade",
            "Body",
        ],
    },
    Chapter {
        title: "JSON-RPC and MCP",
        about: "The operations of an endpoint whose requests are JSON-RPC messages (`rpc`). They are a second allowlist inside the endpoint: \
                a message is allowed if its endpoint and its operation are.\n\n\
                <!-- not run: a part of a policy for the gateway `envoy` -->\n```yaml\n\
                - id: mcp\n  \
                  methods: [POST]\n  \
                  path: /mcp\n  \
                  effect: read\n  \
                  scopes: none\n  \
                  rpc:\n    \
                    protocol: mcp\n    \
                    revisions: [2026-07-28]\n    \
                    tools:\n      \
                      - name: create_payment\n        \
                        effect: write\n        \
                        scopes: [payments:write]\n        \
                        bind: { argument./owner: token.org, argument./amount: { at_most: 1000 } }\n    \
                    resources:\n      \
                      - { uri: \"file:///reports/{team}/{file...}\", effect: read, scopes: [reports:read], bind: { uri.team: token.team } }\n\
                ```",
        fields: &[],
        definitions: &[
            "Rpc",
            "RpcProtocol",
            "McpRevision",
            "RpcTool",
            "RpcResource",
            "RpcOperation",
            "RpcList",
            "RpcDenials",
            "ClientResponses",
        ],
    },
    Chapter {
        title: "Limits",
        about: "How often agents may send requests, and how often credentials from one source may fail.",
        fields: &["limits", "auth_failure_limit"],
        definitions: &["Limit", "LimitKey", "Dimension", "LimitNumbers", "AuthFailureLimit", "SourceRate"],
    },
    Chapter {
        title: "Request signatures",
        about: "How signatures of requests are verified. An endpoint or a requirement states whether a request must be signed \
                (`signature`), and whether a signature replaces the token (`authenticate`).",
        fields: &["signatures", "web_bot_auth"],
        definitions: &["Signatures", "SignatureNonce", "FieldType", "WebBotAuth", "SignatureAgentForm"],
    },
    Chapter {
        title: "Key-bound tokens",
        about: "How tokens that are bound to a key are accepted. An endpoint or a requirement states whether a token must be bound \
                (`token: bound`).",
        fields: &["dpop"],
        definitions: &["Dpop", "ProofNonce"],
    },
    Chapter {
        title: "Agents that act for others",
        about: "How tokens with a chain of actors (`act`, RFC 8693) are accepted. An endpoint or a requirement states whether such a token is \
                accepted or required (`delegation`). [Let agents act for users](../guides/delegate.md) explains it.",
        fields: &["delegation"],
        definitions: &["Delegation", "PriorActors", "ActorIdentity", "DelegationRequirement"],
    },
    Chapter {
        title: "Revocation",
        about: "The credentials that are rejected although they are valid: entries of the policy, and a list that the gate fetches. \
                `suspended` of agents, issuers and endpoints rejects everything of one of them, and an endpoint states whether open streams are \
                checked again (`streams`). [A token leaked](../guides/a-token-leaked.md) shows what to do in an emergency.",
        fields: &["revoked", "revocations"],
        definitions: &["Revoked", "Revocations", "RemoteRevocations", "OnStale", "Streams"],
    },
    Chapter {
        title: "Bodies",
        about: "How the bodies of signed requests are held until they are verified.",
        fields: &["max_body", "held_bodies", "body_check"],
        definitions: &["HeldBodies", "BodyCheck"],
    },
    Chapter {
        title: "Table sizes",
        about: "How much the filter remembers.",
        fields: &["tables"],
        definitions: &["Tables"],
    },
    Chapter {
        title: "Forwarding",
        about: "What the upstream receives, and what it does with it.",
        fields: &["upstream"],
        definitions: &["Upstream", "AuthorizationHeader", "MergedBody"],
    },
    Chapter {
        title: "Records and headers",
        about: "What the record of a decision contains, and the headers that identify the caller to the upstream.",
        fields: &["audit"],
        definitions: &["Audit", "AuditHeaders", "AuditLog", "AuditQuery", "AuditSubject"],
    },
    Chapter {
        title: "Scalars",
        about: "The forms of text values. `callgate check` checks more than the form: names that must be defined elsewhere in the \
                policy, ranges of durations and sizes, and values that contradict each other.",
        fields: &[],
        definitions: &[
            "Duration",
            "Size",
            "Rate",
            "Date",
            "KeyPrefix",
            "Sha256",
            "Name",
            "Scope",
            "Host",
            "Method",
            "PathTemplate",
            "BindingKey",
            "BindingValue",
            "OperationBindingKey",
            "JsonPointer",
            "ResourceUri",
            "McpParameter",
            "ClaimName",
            "HeaderName",
            "PlainHeaderName",
            "HeaderPrefix",
            "ProtocolPrefix",
            "ParameterName",
            "Component",
            "PrintableText",
            "ApiUrl",
            "BasePath",
            "PageUrl",
            "IssuerUrl",
            "ExternalUrl",
            "WebOrigin",
            "FetchedUrl",
            "Address",
            "Tenant",
            "TrustDomain",
            "SpiffeId",
            "SpiffePattern",
            "Network",
            "VariableName",
        ],
    },
];

const PATH_VALUES: &str = "Path values";
const OTHERS: &str = "Other definitions";

/// Returns the page for the schema of the policy document.
pub(super) fn page(schema: &Value) -> String {
    let none = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let mut page = generated("The policy document");
    introduction(&mut page, schema);
    let listed = CHAPTERS.iter().map(|chapter| (chapter.title, chapter.definitions.to_vec()));
    let others = (OTHERS, unlisted(definitions));
    let contents = listed.chain([(PATH_VALUES, Vec::new()), others.clone()]);
    for (title, names) in contents.filter(|(title, names)| *title != OTHERS || !names.is_empty()) {
        let links: Vec<String> = names.iter().map(|name| link(name)).collect();
        let colon = if links.is_empty() { "" } else { ": " };
        // Writing to a string does not fail.
        let _ = writeln!(page, "- {}{colon}{}", link(title), links.join(", "));
    }
    page.push('\n');
    for (number, chapter) in CHAPTERS.iter().enumerate() {
        let _ = writeln!(page, "## {}\n\n{}\n", chapter.title, chapter.about);
        if !chapter.fields.is_empty() {
            let _ = writeln!(
                page,
                "<!-- not run: a test compiles all examples of this page as one policy -->\n```yaml\n{}```\n",
                example(chapter.fields)
            );
        }
        if number == 0 {
            details(&mut page, schema, &example_fields());
        }
        all(&mut page, definitions, chapter.definitions);
    }
    path_values(&mut page);
    if !others.1.is_empty() {
        let _ = writeln!(page, "\n## {OTHERS}\n");
        all(&mut page, definitions, &others.1);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn introduction(page: &mut String, schema: &Value) {
    let id = schema.get("$id").and_then(Value::as_str).unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(
        page,
        "{} It is written in YAML 1.2 or JSON. Fields that are not listed here are errors. `callgate check` reports all mistakes at once, \
         with their positions. [Write a policy](../guides/write-a-policy.md) explains one task at a time.\n\n\
         [policy.schema.json](policy.schema.json) is the JSON Schema of the document, and `callgate schema policy` prints it. Editors with \
         the YAML language server complete fields, show these descriptions and mark mistakes if the policy begins with this line. It names \
         the schema by its URL, or by a path relative to the policy:\n\n\
         <!-- not run: a comment -->\n```yaml\n# yaml-language-server: $schema={id}\n```\n\n\
         The examples on this page are parts of one policy.\n",
        about(schema)
    );
}

/// Appends these definitions.
fn all(page: &mut String, definitions: &Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(definition) = definitions.get(*name) {
            section(page, 3, name, definition);
        }
    }
}

/// Returns the definitions that no chapter names.
fn unlisted(definitions: &Map<String, Value>) -> Vec<&str> {
    let is_listed = |name: &str| CHAPTERS.iter().any(|chapter| chapter.definitions.contains(&name));
    definitions.keys().map(String::as_str).filter(|name| !is_listed(name)).collect()
}

/// Returns a link to the heading with this text.
fn link(heading: &str) -> String {
    format!("[{heading}](#{})", heading.to_lowercase().replace(' ', "-"))
}

/// Returns the field of the document that a line of the example begins.
fn field(line: &str) -> Option<&str> {
    let (field, _) = line.split_once(':')?;
    field.starts_with(|first: char| first.is_ascii_lowercase()).then_some(field)
}

/// Returns the fields of the document, in the order of the example.
fn example_fields() -> Vec<&'static str> {
    EXAMPLE.lines().filter_map(field).collect()
}

/// Returns the part of the example with these fields.
fn example(fields: &[&str]) -> String {
    let mut part = String::new();
    let mut is_shown = false;
    for line in EXAMPLE.lines().filter(|line| !line.is_empty()) {
        is_shown = field(line).map_or(is_shown, |field| fields.contains(&field));
        if is_shown {
            part.push_str(line);
            part.push('\n');
        }
    }
    part
}

/// Appends the chapter on the values that the variables of path templates match.
fn path_values(page: &mut String) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "## {PATH_VALUES}\n");
    page.push_str(
        "A path template matches segment by segment. Fixed text is compared exactly, including case; only the hexadecimal digits of escapes \
         are compared without case. A path is forwarded as the client sent it.\n\n\
         | Variable | Values that it matches |\n|---|---|\n",
    );
    for (written, _, matches) in Kind::DESCRIBED {
        let _ = writeln!(page, "| `{written}` | {} |", matches.replace('|', "\\|"));
    }
    page.push_str(
        "\nNo variable except `{x...}` matches an empty segment. A segment may have fixed text around one variable, such as \
         `{model}:generate`.\n\n\
         - Unnecessary escapes (`%7E` for `~`) and raw `[ ] ^ |` are accepted in values of `{x:text}` and `{x...}` only. Anywhere else the request \
         is rejected with `path_escape_unreserved` or `path_character`, after authentication if the policy has such a variable.\n\
         - `%2F`, `%5C`, `%25` and `;` are accepted in values of `{x:text}` and `{x...}` where the endpoint has `allow_escapes`. The value is \
         then checked in every form that a server could decode: decoded once or twice, split at the resulting slashes, cut at semicolons. A \
         request is rejected with `path_value_ambiguous` if one of these forms contains an empty or dot segment, or is the path of another \
         endpoint of the policy, regardless of its methods. `callgate check` lists the affected endpoints.\n\
         - `.` and `..` are rejected everywhere, escaped or not (`path_dot_segment`), and so are segments that consist only of dots and spaces.\n\
         - Escapes decode to UTF-8 without control characters. Bindings compare the decoded value.\n\
         - No variable matches a value that a server could read as fixed text that the policy lists at the same position: in another case, \
         escaped, followed by dots or spaces, by an escaped semicolon, or by a format suffix (`settings.json` if `/users/settings` is \
         listed; see `format_suffixes`). No endpoint matches such a request.\n\n\
         `callgate explain` lists the endpoints that a request nearly matched, and the mismatch with each.\n",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use callgate_kit::policy::{not_needed, schema};
    use callgate_kit::{document, policy};

    use super::*;

    #[test]
    fn every_definition_is_in_exactly_one_chapter() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().unwrap();
        assert_eq!(unlisted(definitions), [""; 0], "add these to a chapter");
        let listed: Vec<&str> = CHAPTERS.iter().flat_map(|chapter| chapter.definitions).copied().collect();
        let distinct: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(listed.len(), distinct.len());
        assert_eq!(distinct, definitions.keys().map(String::as_str).collect());
    }

    #[test]
    fn a_definition_without_a_chapter_comes_last() {
        let mut schema = schema();
        schema["$defs"]["Later"] = serde_json::json!({ "description": "Added later.", "type": "string" });
        let page = page(&schema);
        assert!(page.ends_with("\n## Other definitions\n\n### Later\n\nAdded later.\n"), "{page}");
        assert!(page.contains("\n- [Other definitions](#other-definitions): [Later](#later)\n"));
    }

    #[test]
    fn headings_are_unique() {
        let page = page(&schema());
        let headings: Vec<String> = page
            .lines()
            .filter(|line| line.starts_with('#') && !line.starts_with("# yaml"))
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .collect();
        assert_eq!(headings.len(), headings.iter().collect::<BTreeSet<_>>().len(), "{headings:?}");
    }

    /// Every field of the document has its place in one example, and all examples together are a valid policy.
    #[test]
    fn the_examples_are_one_policy_with_every_field() {
        let schema = schema();
        let fields: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(example_fields().into_iter().collect::<BTreeSet<_>>(), fields);
        let shown: Vec<&str> = CHAPTERS.iter().flat_map(|chapter| chapter.fields).copied().collect();
        assert_eq!(shown.len(), fields.len());
        assert_eq!(shown.iter().copied().collect::<BTreeSet<_>>(), fields);
        let parts: String = CHAPTERS.iter().map(|chapter| example(chapter.fields)).collect();
        let document = document::parse("example.yaml", parts.as_bytes()).unwrap();
        let loaded = policy::compile(document, &not_needed).unwrap_or_else(|wrong| panic!("{wrong}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0]);
    }
}
