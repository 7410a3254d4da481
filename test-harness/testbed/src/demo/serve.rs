//! What `cargo demo --serve` prints: requests to try with the answer that each will get and why, and commands that explain them.

use std::fmt;

use anyhow::Result;

use crate::envoy::Envoy;
use crate::quickstart::{HOST, Issuer};

/// Requests to try, and commands that show what the gate decided.
pub struct Invitation {
    variables: [(&'static str, String); 2],
    /// The requests.
    pub requests: Vec<Try>,
    /// The commands, to run after the requests, each with what it shows.
    pub commands: Vec<(String, &'static str)>,
    log: String,
    metrics: String,
    admin: String,
}

/// A request to try.
pub struct Try {
    /// The `curl` command. It uses the variables.
    pub command: String,
    /// The status of the answer.
    pub status: u16,
    /// The reason in the record.
    pub reason: &'static str,
    /// Why the gate decides so.
    pub why: &'static str,
}

impl Invitation {
    pub(super) fn new(envoy: &Envoy, issuer: &Issuer) -> Result<Self> {
        let address = envoy.api()?;
        let curl = |options: &str, path: &str, token: &str| {
            let token =
                if token.is_empty() { String::new() } else { format!(r#"-H "Authorization: Bearer ${token}" "#) };
            format!(r#"curl -i {options}-H "Host: {HOST}" {token}http://{address}{path}"#)
        };
        let request = |command, status, reason, why| Try { command, status, reason, why };
        let log = envoy.folder().join("access.log");
        let (log, admin) = (log.display(), envoy.admin_at());
        Ok(Self {
            variables: [
                ("CODER", issuer.token("coding-agent", "code:read code:write pulls:write")),
                ("REVIEWER", issuer.token("review-agent", "code:read code:write reviews:write")),
            ],
            requests: vec![
                request(
                    curl("", "/repos/acme/gateway/pulls", "CODER"),
                    200,
                    "allowed",
                    "the token has the scope code:read and the claim `org: acme`, and the path is in acme",
                ),
                request(
                    curl("-X POST ", "/repos/acme/gateway/pulls", "REVIEWER"),
                    403,
                    "insufficient_scope",
                    "this endpoint needs the scope pulls:write, and the review agent's token does not have it",
                ),
                request(
                    curl("", "/repos/globex/gateway", "CODER"),
                    403,
                    "binding_mismatch",
                    "the endpoint is bound to the token's organization, and the path is in another one",
                ),
                request(
                    curl("", "/repos/acme/gateway", ""),
                    401,
                    "credentials_missing",
                    "without a token, every path that is not public gets this answer, whether it exists or not",
                ),
            ],
            commands: vec![
                (format!("callgate records {log} --decision deny"), "who was denied what, and why"),
                (
                    format!("callgate records {log} --reason binding_mismatch --list"),
                    "the records of one reason, one on each line",
                ),
                (
                    "callgate explain examples/quickstart/policy.yaml --path /repos/globex/gateway --token env:CODER \
                     --keys corp=@examples/quickstart/keys/jwks.json"
                        .to_owned(),
                    "each check of the third request",
                ),
            ],
            log: log.to_string(),
            metrics: format!("curl -s http://{admin}/stats/prometheus | grep ^callgate"),
            admin: format!("http://{admin}"),
        })
    }

    /// Returns the command that shows the metrics.
    pub fn metrics(&self) -> String {
        self.metrics.clone()
    }

    /// Returns the shell commands that set the variables. The tokens are valid for ten minutes.
    pub fn variables(&self) -> String {
        self.variables.iter().map(|(name, value)| format!("export {name}={value}\n")).collect()
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The gate is running. In another terminal, set two tokens, which are valid for 10 minutes:\n")?;
        writeln!(f, "{}", self.variables())?;
        writeln!(f, "Send requests:\n")?;
        for request in &self.requests {
            writeln!(f, "# {} {}: {}\n{}\n", request.status, request.reason, request.why, request.command)?;
        }
        writeln!(f, "See what was decided (`cargo install --path cli` installs `callgate`):\n")?;
        for (command, what) in &self.commands {
            writeln!(f, "# {what}\n{command}\n")?;
        }
        writeln!(f, "Access log     {}", self.log)?;
        writeln!(f, "Metrics        {}", self.metrics)?;
        writeln!(f, "Envoy's admin  {}", self.admin)?;
        write!(f, "\nPress Ctrl-C to stop. That also removes the log.")
    }
}
