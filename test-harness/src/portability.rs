//! The table of features by gateway in `docs/reference/portability.md`, generated from the results of the corpus on each emulated gateway.
//!
//! No cell is written by hand. Properties that the corpus cannot show, such as the form of a response to a gRPC client, come from the wasm
//! host's table. [`CHECKED`] states how each gateway was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::build::{self, Flavor};
use crate::corpus::wasm::{self, CaseResult, Row};
use crate::corpus::{Feature, suites};
use crate::envoy::MODULE_RELEASES;
use crate::paths;
use crate::wasmhost::{Body, HostProfile, HostQuirks, Module, Refused, Removal};

/// The markers around the table.
const MARKS: [&str; 2] =
    ["<!-- portability: made by `cargo harness portability --write` -->\n", "<!-- portability: end -->\n"];

/// The features of the gate, the files of cases that show them, and the host feature that each one requires. Each file belongs to one line.
const DOES: [(&str, &[&str], Option<Feature>); 18] = [
    (
        "Ambiguous requests are rejected",
        &[
            "path",
            "path-values",
            "query",
            "host",
            "reading",
            "header-names",
            "overrides",
            "bound-query",
            "merged-bodies",
            "preflight",
            "upgrade",
        ],
        None,
    ),
    (
        "Access tokens and agents",
        &[
            "tokens",
            "token-rules",
            "credential",
            "credential-places",
            "callers",
            "audiences",
            "tenants",
            "scope-forms",
            "identities",
            "jwt-svid",
        ],
        None,
    ),
    ("Agents that act for users", &["delegation"], None),
    ("API keys, and several kinds of credentials", &["api-keys", "either"], None),
    ("Client certificates", &["certificates"], Some(Feature::Certificates)),
    ("Keys that the gate fetches", &["fetched-keys"], Some(Feature::FetchedKeys)),
    ("Revoked credentials", &["revocation"], None),
    ("Lists of revoked credentials that the gate fetches", &["revocation-lists"], Some(Feature::RevocationLists)),
    (
        "Allowlist, scopes and bindings",
        &["endpoints", "reach", "scopes", "bindings", "binding-operators", "public"],
        None,
    ),
    ("Answers, records and identity headers", &["answers", "audit", "upstream", "upstream-claims", "metadata"], None),
    ("Observe mode", &["observe", "observe-endpoint"], None),
    ("Limits over all workers", &["limits", "identity-limits", "claim-limits"], Some(Feature::Limits)),
    ("Proofs of possession (DPoP)", &["dpop", "challenges"], Some(Feature::Proofs)),
    (
        "Request signatures",
        &["signatures", "signature-alone", "signature-answers", "signature-times", "signed-places", "web-bot-auth"],
        None,
    ),
    ("Replay protection over all workers", &["replay"], Some(Feature::Signatures)),
    ("Signed bodies", &["signature-bodies", "held-bodies"], Some(Feature::Bodies)),
    ("JSON bodies that decide", &["json-bodies", "json-values", "signed-json"], Some(Feature::Content)),
    (
        "Operations of MCP and JSON-RPC",
        &[
            "json-rpc",
            "delegation-mcp",
            "mcp-bindings",
            "mcp-bodies",
            "mcp-headers",
            "mcp-limits",
            "mcp-messages",
            "mcp-methods",
            "mcp-methods-2026",
            "mcp-names",
            "mcp-reach",
            "mcp-resources",
            "mcp-rights",
            "mcp-sessions",
            "mcp-signed",
        ],
        Some(Feature::Operations),
    ),
];

/// The table line of the examples, whose files all have the same name.
const EXAMPLES: &str = "Policies in `examples/`";

/// How each gateway was checked: the filter in it, and the configurations for it. `emulated` is the corpus under the wasm host. A
/// definition is a CustomResourceDefinition of the gateway's project; resources are validated against it, if it is available, with unknown
/// fields rejected.
pub const CHECKED: [(HostProfile, &str, &str); 6] = [
    (HostProfile::Envoy, "run in 1.36.4 and 1.40.0", "run"),
    (HostProfile::Istio, "emulated, not run", "against its definitions, without CEL, and published types"),
    (HostProfile::EnvoyGateway, "emulated, not run", "against its definition, without CEL"),
    (HostProfile::Higress, "emulated, not run", "against its definition"),
    (
        HostProfile::Kong,
        "emulated; as of 2026-11-28 run in the engine of Kong 3.9.1 (nginx 1.25.3, ngx_wasm_module 9136e463, wasmtime 25)",
        "the policy's schema; `kong.conf` and `kong.yml` by our reading alone",
    ),
    (HostProfile::Apisix, "emulated, not run", "there are none"),
];

/// Runs the corpus on these gateways, or on all of them if the list is empty.
///
/// # Errors
/// When the filter does not build, or the corpus is invalid.
pub fn rows(profiles: &[HostProfile]) -> Result<Vec<Row>> {
    let module = Module::load(&build::filter(Flavor::Release)?)?;
    wasm::run(&module, &suites()?, if profiles.is_empty() { &HostProfile::ALL } else { profiles })
}

/// Describes the cases that fail, by gateway.
#[must_use]
pub fn wrong(rows: &[Row]) -> Vec<String> {
    let of = |row: &Row| match &row.result {
        CaseResult::Differs(differences) => Some(format!("{}: {differences}", row.profile.quirks().name)),
        CaseResult::Holds | CaseResult::Late | CaseResult::Without(_) => None,
    };
    rows.iter().filter_map(of).collect()
}

/// Counts the cases that cannot pass on each gateway, by the missing features.
#[must_use]
pub fn lacking(rows: &[Row]) -> BTreeMap<(HostProfile, BTreeSet<Feature>), usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let lost = match &row.result {
            CaseResult::Without(lost) => lost.clone(),
            CaseResult::Late => BTreeSet::from([Feature::HeldHeads]),
            CaseResult::Holds | CaseResult::Differs(_) => continue,
        };
        *counts.entry((row.profile, lost)).or_default() += 1;
    }
    counts
}

/// Renders the table, and the notes that do not fit into a cell.
///
/// # Errors
/// When a file of cases belongs to no line of the table.
pub fn table(rows: &[Row]) -> Result<String> {
    let mut text = String::from("| |");
    for profile in HostProfile::ALL {
        write!(text, " {} |", profile.quirks().name)?;
    }
    writeln!(text, "\n|---|{}", "---|".repeat(HostProfile::ALL.len()))?;
    for (does, counts) in counted(rows)? {
        write!(text, "| {does} |")?;
        for profile in HostProfile::ALL {
            write!(text, " {} |", counts.get(&profile).map_or_else(String::new, Count::cell))?;
        }
        text.push('\n');
    }
    for (does, cell) in OF_THE_HOST {
        write!(text, "| {does} |")?;
        for profile in HostProfile::ALL {
            write!(text, " {} |", cell(profile.quirks()))?;
        }
        text.push('\n');
    }
    write!(text, "| The filter is |")?;
    CHECKED.iter().try_for_each(|(_, filter, _)| write!(text, " {filter} |"))?;
    write!(text, "\n| Its configurations are checked |")?;
    CHECKED.iter().try_for_each(|(.., configurations)| write!(text, " {configurations} |"))?;
    text.push_str("\n\n");
    for (profile, lacks) in lacks(rows) {
        writeln!(text, "- {}: {lacks}", profile.quirks().name)?;
    }
    write!(text, "\n{}", dynamic_module())?;
    Ok(text)
}

/// Describes how the dynamic module differs from the filter in Envoy. It has no column: every case of the corpus has the same result with it.
fn dynamic_module() -> String {
    let versions = MODULE_RELEASES.join(", ");
    format!(
        "The [dynamic module](../guides/wasm-or-module.md) (`gateway: envoy-module`) has the column of Envoy, with these exceptions:\n\n\
         - It runs in Envoy {versions}. It does not load in 1.37 and older.\n\
         - Client certificates need [a network filter that passes them](../guides/client-certificates.md#configure-envoy-with-the-dynamic-module). \
         Envoy Gateway has no resource for that filter, so the module gets no certificates there.\n\
         - A panic in its code costs one request (500), and the process continues. There is no VM that is recreated.\n"
    )
}

/// Describes the missing features of each gateway that lacks any.
fn lacks(rows: &[Row]) -> Vec<(HostProfile, String)> {
    let mut all: BTreeMap<HostProfile, BTreeMap<Feature, usize>> = BTreeMap::new();
    for ((profile, lost), count) in lacking(rows) {
        for feature in lost {
            *all.entry(profile).or_default().entry(feature).or_default() += count;
        }
    }
    let words = |lost: BTreeMap<Feature, usize>| {
        let each = lost.iter().map(|(feature, count)| format!("{feature} ({count} cases)"));
        format!("without {}.", each.collect::<Vec<_>>().join(", "))
    };
    all.into_iter().map(|(profile, lost)| (profile, words(lost))).collect()
}

/// Computes the cell in a gateway's column.
type Cell = fn(&HostQuirks) -> &'static str;

/// The lines that the corpus cannot show, from the wasm host's table.
const OF_THE_HOST: [(&str, Cell); 8] = [
    ("gRPC clients receive a gRPC status", |quirks| if quirks.grpc_answers { "yes" } else { "an HTTP status" }),
    ("Removed request headers", |quirks| match quirks.removal {
        Removal::Removes => "do not arrive",
        Removal::Hides => "arrive empty",
    }),
    ("Request headers accepted", |quirks| {
        // The list also contains three pseudo-headers apart from the host, and the line of the host.
        if quirks.listed.is_some() { "95" } else { "as many as the gateway does" }
    }),
    ("Forged trailers are removed", |quirks| if quirks.trailers { "yes" } else { "no trailers are forwarded" }),
    ("Forwarded before the body is checked", |quirks| match quirks.body {
        Body::WithTheHead | Body::Whole => "nothing",
        Body::AfterTheHead => "the headers",
        Body::Never => "everything; bodies are not checked",
    }),
    // The corpus has requests only. A policy with operations compiles where headers wait for the body: for `envoy` and `envoy-module`.
    ("Answers are changed: filtered lists, compared pins", |quirks| match quirks.body {
        Body::WithTheHead => "yes, by the filter and the dynamic module",
        Body::AfterTheHead | Body::Never | Body::Whole => "no",
    }),
    ("The record is written to", |quirks| quirks.record_goes_to()),
    ("A policy that does not compile", |quirks| match quirks.refused {
        Refused::KeepsTheLast => "is rejected",
        Refused::LeavesTheApiOpen | Refused::AnswersWithErrors => "denies every request",
    }),
];

/// The number of cases with each result in one cell.
#[derive(Default)]
struct Count {
    hold: usize,
    late: usize,
    without: usize,
    /// Whether the missing feature is the subject of the line.
    all_missing: bool,
}

impl Count {
    fn cell(&self) -> String {
        let of = self.hold + self.late + self.without;
        match self {
            Self { without: 0, late: 0, .. } => "yes".to_owned(),
            Self { without: 0, .. } => "yes, late".to_owned(),
            Self { hold: 0, late: 0, .. } | Self { all_missing: true, .. } => "no".to_owned(),
            Self { late: 0, .. } => format!("{} of {of}", of - self.without),
            Self { .. } => format!("{} of {of}, late", of - self.without),
        }
    }
}

/// Returns the lines of the table with their counts, in order.
fn counted(rows: &[Row]) -> Result<Vec<(&'static str, BTreeMap<HostProfile, Count>)>> {
    let mut lines: Vec<_> =
        DOES.iter().map(|(does, ..)| *does).chain([EXAMPLES]).map(|does| (does, BTreeMap::new())).collect();
    for row in rows {
        let does = line_of(&row.file)?;
        let counts = lines.iter_mut().find(|(own, _)| *own == does).map(|(_, counts)| counts);
        let count: &mut Count = counts.context("unknown row of the portability table")?.entry(row.profile).or_default();
        match &row.result {
            CaseResult::Holds => count.hold += 1,
            CaseResult::Late => count.late += 1,
            CaseResult::Without(lost) => {
                let about = DOES.iter().find(|(own, ..)| *own == does).and_then(|(.., about)| *about);
                count.all_missing |= about.is_some_and(|about| lost.contains(&about));
                count.without += 1;
            }
            CaseResult::Differs(_) => count.without += 1,
        }
    }
    Ok(lines)
}

/// Returns the line that a file of cases belongs to.
fn line_of(file: &str) -> Result<&'static str> {
    if Path::new(file).strip_prefix(paths::root()).is_ok_and(|inside| inside.starts_with("examples")) {
        return Ok(EXAMPLES);
    }
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".cases.yaml").unwrap_or(name);
    let line = DOES.iter().find(|(_, files, _)| files.contains(&name));
    line.map(|(does, ..)| *does)
        .with_context(|| format!("{file} belongs to no row of the portability table; add it to a row"))
}

/// Where the table is.
const DOCUMENT: &str = "docs/reference/portability.md";

/// Checks that the document matches the rows; with `write`, updates it first.
///
/// # Errors
/// When the document cannot be read, has no markers, or is stale and `write` is not set.
pub fn compare(rows: &[Row], write: bool) -> Result<()> {
    let path = paths::root().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let table = table(rows)?;
    let marks = document.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?)));
    let (before, (standing, after)) =
        marks.with_context(|| format!("{DOCUMENT} has no place for the portability table"))?;
    if standing == table {
        return Ok(());
    }
    ensure!(write, "the table of {DOCUMENT} is stale; run `cargo harness portability --write`\n{table}");
    fs::write(&path, [before, MARKS[0], &table, MARKS[1], after].concat())
        .with_context(|| format!("cannot write {DOCUMENT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_describes_the_dynamic_module() {
        let text = table(&[]).unwrap();
        for named in ["`gateway: envoy-module`", "1.38.3, 1.39.3, 1.40.0", "certificates", "Envoy Gateway", "panic"] {
            assert!(text.contains(named), "{named}: {text}");
        }
    }

    #[test]
    fn every_gateway_states_how_it_was_checked() {
        assert_eq!(CHECKED.map(|(profile, ..)| profile), HostProfile::ALL);
    }

    #[test]
    fn every_case_file_belongs_to_one_row() {
        for suite in suites().unwrap() {
            line_of(&suite.file).unwrap();
        }
        let mut files: Vec<_> = DOES.iter().flat_map(|(_, files, _)| *files).collect();
        let all = files.len();
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), all);
    }
}
