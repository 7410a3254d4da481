//! `cargo demo --mcp`: the policy of `examples/mcp` between an agent and an MCP server. It needs no other language and no package: the agent
//! sends prepared requests, and the server answers them from the example's files.

mod requests;
mod server;

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{MARK, Outcome, Received, Steps, prepare, record, table};
use crate::client::{self, Response};
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::paths;
use requests::{HOST, requests};
use server::McpServer;

const NEXT: &str = "\
Try next:
  docs/guides/protect-an-mcp-server.md   puts the gate in front of your server
  cargo install --path cli               installs `callgate`, which checks, explains and tests policies
  callgate test examples/mcp             runs the tests of this policy";

/// The policy of `examples/mcp` in a real Envoy, with a server behind it.
pub struct McpDemo {
    envoy: Envoy,
    server: McpServer,
    /// The names of the tools that the server has.
    tools: Vec<String>,
}

/// A request, and what its client got.
pub struct Exchange {
    /// The result.
    pub outcome: Outcome,
    /// The answer.
    pub answer: Response,
}

impl McpDemo {
    /// Builds the filter, finds Envoy and starts everything.
    ///
    /// # Errors
    /// When something is missing. The message states what to install.
    pub fn start() -> Result<Self> {
        Self::start_with(&Steps::new())
    }

    pub(super) fn start_with(steps: &Steps) -> Result<Self> {
        let module = prepare(steps)?;
        let policy = callgate_kit::document::read(paths::root().join("examples/mcp/policy.yaml"))
            .context("the policy of examples/mcp cannot be read")?;
        let list = tools()?;
        let tools = names(&list);
        let server = McpServer::start(list)?;
        let mut bootstrap = Bootstrap::new(&module, &policy.value().to_string(), server.address())?;
        let host = bootstrap.virtual_hosts()?.first_mut().context("the configuration has no virtual host")?;
        crate::quickstart::set(host, "domains", vec![HOST]);
        steps.print("starting Envoy with the filter and the policy of examples/mcp");
        let envoy = Envoy::start(&bootstrap, &Options::default())?;
        Ok(Self { envoy, server, tools })
    }

    /// Sends all requests, one after the other.
    ///
    /// # Errors
    /// When a request cannot be sent.
    pub fn call_all(&self) -> Result<Vec<Exchange>> {
        let mut made = 0;
        let mut exchanges = Vec::new();
        for call in requests()? {
            for _ in 0..call.earlier {
                client::call(self.envoy.api()?, &call.request)?;
            }
            made += call.earlier + 1;
            let mark = (made - 1).to_string();
            let answer = client::call(self.envoy.api()?, &call.request.header(MARK, &mark))
                .with_context(|| format!("the request `{}` was not answered", call.title))?;
            let record = record(&self.envoy, made - 1)?;
            let reason = record.get("reason").and_then(Value::as_str).unwrap_or("none").to_owned();
            let outcome = Outcome {
                title: call.title,
                expected: (call.status, call.reason.to_owned()),
                got: (answer.status, reason),
                // Of denials, only those that clients act on have another status than 200.
                is_forwarded: call.reason == "allowed",
                upstream: self.server.saw(&mark).map(|method| Received { method, agent: None }),
            };
            exchanges.push(Exchange { outcome, answer });
        }
        Ok(exchanges)
    }

    /// Returns what the demo prints about these exchanges, without the times.
    pub fn summary(&self, exchanges: &[Exchange]) -> String {
        let expected = exchanges.iter().filter(|exchange| exchange.outcome.is_expected()).count();
        let with = |reason: &str| exchanges.iter().find(|exchange| exchange.outcome.got.1 == reason);
        let listed = exchanges.iter().map(|exchange| names(&exchange.answer.json())).find(|names| !names.is_empty());
        let denial = with("binding_mismatch").map(|exchange| exchange.answer.text()).unwrap_or_default();
        let challenge = with("insufficient_scope").and_then(|exchange| exchange.answer.header("www-authenticate"));
        format!(
            "The server has   {}\nThe agent sees   {}\n\n{}\n{expected} of {} requests were decided as expected.\n\n\
             A denial has the status 200 and an error, which SDKs show to the agent and its user:\n\n  {denial}\n\n\
             A missing scope has the status 403 and a challenge, with which clients get another token and try again:\n\n  \
             {}\n\n{NEXT}\n",
            self.tools.join(", "),
            listed.unwrap_or_default().join(", "),
            table::table(exchanges.iter().map(|exchange| &exchange.outcome), "the server received"),
            exchanges.len(),
            challenge.unwrap_or("none"),
        )
    }
}

/// Returns the answer of the example's server to `tools/list`.
fn tools() -> Result<Value> {
    let file = paths::root().join("examples/mcp/tools.json");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

/// Returns the names of the tools in an answer to `tools/list`.
fn names(answer: &Value) -> Vec<String> {
    let tools = answer.pointer("/result/tools").and_then(Value::as_array).into_iter().flatten();
    tools.filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_fits_100_columns() {
        let outcomes: Vec<_> = requests()
            .unwrap()
            .into_iter()
            .map(|call| Outcome {
                title: call.title,
                expected: (call.status, call.reason.to_owned()),
                got: (call.status, call.reason.to_owned()),
                is_forwarded: true,
                upstream: Some(Received { method: "tools/call refund_payment".to_owned(), agent: None }),
            })
            .collect();
        let table = table::table(outcomes.iter(), "the server received");
        let longest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{longest} columns\n{table}");
    }

    #[test]
    fn server_lists_the_tools_of_the_example_and_remembers_what_arrived() {
        let list = tools().unwrap();
        assert!(names(&list).contains(&"export_ledger".to_owned()), "{list}");
        let server = McpServer::start(list.clone()).unwrap();
        let send = |index: usize, mark: &str| {
            let request = requests().unwrap().swap_remove(index).request.header(MARK, mark);
            client::call(server.address(), &request).unwrap().json()
        };
        assert_eq!(send(1, "a"), list);
        assert_eq!(send(2, "b").pointer("/result/content/0/text").unwrap(), "done");
        assert_eq!(server.saw("a").as_deref(), Some("tools/list"));
        assert_eq!(server.saw("b").as_deref(), Some("tools/call list_payments"));
        assert_eq!(server.saw("c"), None);
    }
}
