//! The gateway of `examples/payments` with Prometheus: sends requests, and then sends Prometheus every query of the dashboard and the
//! alerts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate_kit::document;
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use super::{API, resolve};
use crate::client::{self, Request};
use crate::observability::{Question, of_dashboard, of_rules};
use crate::paths;
use crate::quickstart::set;

/// The API's name in the policy.
pub(super) const HOST: &str = "finance.example.com";

const PROMETHEUS: (&str, u16) = ("prometheus", 9090);
/// Long enough here, because Prometheus scrapes the gateway every second.
const PATIENCE: Duration = Duration::from_secs(40);

/// Returns the example's policy, with agents whose registration does not expire.
pub(super) fn policy() -> Result<Value> {
    let policy = document::read(paths::root().join("examples/payments/policy.yaml"));
    let mut policy = policy.context("the policy of examples/payments cannot be read")?.value().clone();
    for agent in ["procurement-agent", "reconciliation-agent"] {
        let agent = policy.pointer_mut(&format!("/agents/{agent}")).context("the policy lacks an agent of the test")?;
        set(agent, "expires", "9999-12-31");
    }
    Ok(policy)
}

pub(super) fn run() -> Result<()> {
    let example = |file: &str| {
        let file = paths::root().join("examples/payments").join(file);
        document::read(&file)
            .map(|read| read.value().clone())
            .with_context(|| format!("cannot read {}", file.display()))
    };
    let questions = [of_dashboard(&example("dashboard.json")?)?, of_rules(&example("alerts.yaml")?)?].concat();
    let prometheus = Prometheus(resolve(PROMETHEUS)?);
    calls(resolve(("payments", API))?)?;
    prometheus.await_scrape()?;
    let known = prometheus.names()?;
    for question in &questions {
        prometheus.ask(question)?;
        for name in question.names()? {
            ensure!(known.contains(&name), "{}: Prometheus has no `{name}`", question.of);
        }
    }
    let alerts = prometheus.alerts()?;
    println!("Prometheus evaluates {} expressions and {alerts} alerts.", questions.len());
    Ok(())
}

/// Sends every kind of request in the example, to produce data for the queries.
fn calls(gateway: SocketAddr) -> Result<()> {
    let paying = token("procurement-agent", "invoices:read payments:start")?;
    let reading = token("reconciliation-agent", "payments:read")?;
    let request = |method: &str, path: &str, token: &str| Request::new(method, path).host(HOST).bearer(token);
    for invoice in 4711..4719 {
        let payment = format!("/tenants/acme/invoices/{invoice}/payments");
        for (call, expected) in [
            (request("GET", &format!("/tenants/acme/invoices/{invoice}"), &paying), &[200][..]),
            // Five requests are allowed in a row, and then the limit denies them.
            (request("POST", &payment, &paying).body(""), &[200, 429]),
            (request("POST", &payment, &reading).body(""), &[403]),
            (request("GET", "/tenants/globex/invoices/1", &paying), &[403]),
            (request("GET", "/", "no-token"), &[401, 429]),
        ] {
            let answer = client::call(gateway, &call)?;
            ensure!(
                expected.contains(&answer.status),
                "unexpected response to a request: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
    Ok(())
}

fn token(agent: &str, scopes: &str) -> Result<String> {
    let file = paths::root().join("examples/payments/keys/es256.jwk.json");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let key = SigningKey::from_jwk(&serde_json::from_str(&text)?)
        .with_context(|| format!("{} cannot sign", file.display()))?;
    let mut header = key.header();
    set(&mut header, "typ", "at+jwt");
    let now = crate::quickstart::now()?;
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://finance.example.com", "sub": agent, "client_id": agent,
        "tenant": "acme", "scope": scopes, "iat": now, "exp": now + 240, "jti": agent,
    });
    Ok(key.sign(&header, &claims))
}

struct Prometheus(SocketAddr);

impl Prometheus {
    fn get(&self, path: &str) -> Result<Value> {
        let answer = client::call(self.0, &Request::get(path).host("prometheus"))?;
        let error = || answer.json().get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(answer.status == 200, "unexpected response of Prometheus: {} {}", answer.status, error());
        answer.json().get("data").cloned().context("the response of Prometheus has no data")
    }

    fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.get(&format!("/api/v1/query?query={}", escaped(expression)))?;
        // A scalar has one value and no list of series.
        Ok(data.get("result").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Waits until Prometheus has counted the requests that were sent.
    fn await_scrape(&self) -> Result<()> {
        let start = Instant::now();
        while self.query(r#"callgate_decisions{outcome="deny",reason="rate_limited"} > 0"#)?.is_empty() {
            ensure!(start.elapsed() < PATIENCE, "Prometheus does not have the gateway's counters");
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn ask(&self, question: &Question) -> Result<()> {
        self.query(&question.expression)
            .map(drop)
            .with_context(|| format!("{}: Prometheus cannot evaluate the expression", question.of))
    }

    fn names(&self) -> Result<BTreeSet<String>> {
        let names = self.get("/api/v1/label/__name__/values")?;
        let names = names.as_array().context("Prometheus lists no names")?;
        Ok(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// Returns the number of evaluated alert rules. Fails if an evaluation failed.
    fn alerts(&self) -> Result<usize> {
        let start = Instant::now();
        loop {
            let groups = self.get("/api/v1/rules?type=alert")?;
            let groups = groups.get("groups").and_then(Value::as_array).context("Prometheus lists no rules")?;
            let rules: Vec<_> =
                groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten().cloned().collect();
            let health = |wanted: &str| {
                rules.iter().filter(|rule| rule.get("health").and_then(Value::as_str) == Some(wanted)).count()
            };
            if let Some(broken) = rules.iter().find(|rule| rule.get("health").is_some_and(|health| health == "err")) {
                return Err(anyhow!("an alert cannot be evaluated: {broken}"));
            }
            if health("ok") == rules.len() && !rules.is_empty() {
                return Ok(rules.len());
            }
            ensure!(start.elapsed() < PATIENCE, "of {} alerts, {} were evaluated", rules.len(), health("ok"));
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Percent-encodes a query component, including all bytes that could have a special meaning.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}
