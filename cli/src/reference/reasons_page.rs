//! The page of reasons: a table of all, and a section for each. The `type` of an answer is the URL of its section.

use std::fmt::Write;

use callgate::{AGENT_REFUSED, Reason};

use super::generated;
use crate::reasons::{About, with_code};

/// Returns the page.
pub(super) fn page() -> String {
    let mut page = generated("Reasons");
    page.push_str(
        "The reasons for which a request is denied, in the order of the checks. The code is in records, metrics, test cases, the access log \
         (as `callgate_<code>`), and the `code` member of the response (`application/problem+json`), unless the table shows another code \
         for the client. The `type` of the response is the URL of a section of this page. `callgate reason CODE` prints the same.\n\n\
         A challenge lists every scheme that the policy accepts. The scheme that the request used is first and has the error.\n\n\
         | Code | Status | Meaning | Code for the client | Challenge |\n|---|---|---|---|---|\n",
    );
    let all: Vec<About> = Reason::ALL.iter().copied().filter_map(About::new).collect();
    for about in &all {
        let told = if about.disclosed == about.code { String::new() } else { format!("`{}`", about.disclosed) };
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "| [`{0}`](#{0}) | {1} | {2} | {told} | {3} |",
            about.code,
            about.status,
            about.title,
            about.challenge.unwrap_or_default()
        );
    }
    for about in &all {
        let _ = writeln!(page, "\n## {}\n\n{}: {}.\n\n{}\n", about.code, about.status, about.title, about.meaning);
        page.push_str("Usual causes:\n\n");
        for cause in about.causes {
            let _ = writeln!(page, "- {cause}");
        }
        let _ = writeln!(page, "\n**Client:** {}\n\n**Operator:** {}", about.client, about.operator);
    }
    let merged: Vec<String> =
        with_code(AGENT_REFUSED).iter().map(|reason| format!("[{0}](#{0})", reason.code())).collect();
    let _ = writeln!(
        page,
        "\n## {AGENT_REFUSED}\n\n403. Responses have this code for {}. A client therefore cannot tell which agents the policy has. The record \
         has the exact reason.\n\n**Client:** {}",
        merged.join(", "),
        Reason::AgentUnknown.disclosed().detail
    );
    page
}
