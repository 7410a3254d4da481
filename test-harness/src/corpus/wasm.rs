//! The corpus in the filter under a wasm host: the module that ships, on a clock that can be set.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use callgate_cli::corpus::{Call, Case, End, Policy, Seen, Suite, differences, run};
use callgate_cli::diagnostic::Diagnostics;

use super::described;
use crate::wasmhost::{Module, Outcome, Request, Verdict, Vm};

/// Runs every case of the suites and describes those that came out otherwise.
///
/// # Errors
/// When the module or a policy cannot be used at all.
pub fn run(module: &Path, suites: &[Suite]) -> Result<Vec<String>> {
    let module = Module::load(module)?;
    let mut found = Vec::new();
    for suite in suites {
        let versions = versions(suite)?;
        for (index, case) in suite.cases.iter().enumerate() {
            let policy = suite.policies.get(case.policy).context("a case names a policy that is not there")?;
            let version = versions.get(case.policy).context("a case names a policy that is not there")?;
            let mut vm = start(&module, suite, policy)?;
            let earlier = case.before.iter().chain([&index]).filter_map(|index| suite.cases.get(*index));
            let differences: Vec<_> = earlier.flat_map(|case| decide(&mut vm, suite, case, policy, version)).collect();
            if !differences.is_empty() {
                found.push(described(suite, case, &differences));
            }
        }
    }
    Ok(found)
}

/// The versions of a suite's policies, as the native engine has them.
pub(super) fn versions(suite: &Suite) -> Result<Vec<String>> {
    let wrong = |wrong: Diagnostics| anyhow!("{wrong}");
    Ok(run::compile(suite).map_err(wrong)?.iter().map(|policy| policy.version.to_string()).collect())
}

fn start(module: &Module, suite: &Suite, policy: &Policy) -> Result<Vm> {
    let environment: Vec<_> = suite.environment.clone().into_iter().collect();
    Vm::start(module, policy.document.to_string().as_bytes(), &environment).map_err(|failed| anyhow!("{failed:?}"))
}

fn decide(vm: &mut Vm, suite: &Suite, case: &Case, policy: &Policy, version: &str) -> Vec<String> {
    let call = case.call(suite.now);
    let now = case.at.from(suite.now);
    let request = Request {
        headers: call.all_lines(),
        end_of_stream: call.end_of_stream,
        body: (!call.end_of_stream).then(|| call.body.clone()),
        body_at: Some(call.slow.from(now).as_nanos()),
        source: Some(source(&call)),
        now: now.as_nanos(),
        ..Request::default()
    };
    match seen(vm.request(&request)) {
        Ok(seen) => differences(case, policy, version, &call, &seen),
        Err(instead) => vec![instead],
    }
}

/// Address and port, as a gateway gives them.
fn source(call: &Call) -> String {
    match call.source.as_deref() {
        Some(source) if source.contains(':') => format!("[{source}]:40000"),
        source => format!("{}:40000", source.unwrap_or("192.0.2.1")),
    }
}

fn seen(outcome: Outcome) -> Result<Seen, String> {
    let record = outcome.record.ok_or("there is no record of the decision")?;
    let end = match outcome.verdict {
        Verdict::Continue { headers } => End::Forwarded { lines: headers },
        Verdict::Reply(reply) => {
            let mut headers: Vec<_> = reply
                .headers
                .into_iter()
                .map(|(name, value)| (String::from_utf8_lossy(&name).to_ascii_lowercase(), value))
                .collect();
            let details = Some(reply.details);
            match reply.grpc_status {
                None => {
                    let status = u16::try_from(reply.status).unwrap_or_default();
                    End::Answered { status, headers, body: reply.body, details }
                }
                Some(status) => {
                    // As a gateway tells a gRPC client.
                    headers.push(("grpc-status".to_owned(), status.to_string().into_bytes()));
                    headers.push(("grpc-message".to_owned(), reply.body));
                    End::Answered { status: 200, headers, body: Vec::new(), details }
                }
            }
        }
        Verdict::Hang => return Err("the call is held for ever".to_owned()),
        Verdict::Trap(trap) => return Err(format!("the module trapped: {trap}")),
    };
    Ok(Seen { record, end })
}
