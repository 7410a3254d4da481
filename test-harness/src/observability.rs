//! Checks the Prometheus queries of dashboards and alert rules against the metrics that a gateway exposes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use callgate::Reason;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

/// A query and its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The panel's title or the alert's name.
    pub of: String,
    /// The PromQL expression, without Grafana variables.
    pub expression: String,
}

/// Returns the queries of a file of alert rules.
///
/// # Errors
/// When it has another structure.
pub fn of_rules(rules: &Value) -> Result<Vec<Question>> {
    let groups = rules.get("groups").and_then(Value::as_array).context("the rule file has no groups")?;
    let mut questions = Vec::new();
    for rule in groups.iter().flat_map(|group| group.get("rules").and_then(Value::as_array)).flatten() {
        let text = |name| rule.get(name).and_then(Value::as_str);
        let of = text("alert").with_context(|| format!("a rule has no `alert`: {rule}"))?;
        let expression = text("expr").with_context(|| format!("{of} has no `expr`"))?;
        questions.push(Question { of: of.to_owned(), expression: expression.to_owned() });
    }
    Ok(questions)
}

/// Returns the queries of a dashboard's panels.
///
/// # Errors
/// When it has another structure.
pub fn of_dashboard(dashboard: &Value) -> Result<Vec<Question>> {
    let panels = dashboard.get("panels").and_then(Value::as_array).context("the dashboard has no panels")?;
    let mut questions = Vec::new();
    for panel in panels {
        let of = panel.get("title").and_then(Value::as_str).context("a panel has no title")?;
        let targets = panel.get("targets").and_then(Value::as_array).with_context(|| format!("{of} has no targets"))?;
        for target in targets {
            let expression =
                target.get("expr").and_then(Value::as_str).with_context(|| format!("{of} has no `expr`"))?;
            // The dashboard uses only this Grafana variable.
            let expression = expression.replace("$__rate_interval", "1m");
            questions.push(Question { of: of.to_owned(), expression });
        }
    }
    Ok(questions)
}

/// Returns the metrics in a gateway's response to Prometheus, each with the names of its labels.
#[must_use]
pub fn exposed(scraped: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in scraped.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.split_once('{') else { continue };
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        metrics.entry(name.to_owned()).or_default().extend(labels);
    }
    metrics
}

impl Question {
    /// Returns the names of the metrics in the expression.
    ///
    /// # Errors
    /// When it is not PromQL.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.parts()?.selectors.into_iter().map(|selector| selector.name.unwrap_or_default()).collect())
    }

    fn parts(&self) -> Result<Parts> {
        let expression = parser::parse(&self.expression).map_err(|error| anyhow!("{}: {error}", self.of))?;
        let mut parts = Parts::default();
        // The visitor never stops early.
        let _ = walk_expr(&mut parts, &expression);
        Ok(parts)
    }

    /// Returns the parts of the expression that no gateway with these metrics could answer. The list is empty if there are none.
    ///
    /// # Errors
    /// When it is not PromQL.
    pub fn faults(&self, exposed: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>> {
        let Parts { selectors, groups } = self.parts()?;
        let mut faults = Vec::new();
        if selectors.is_empty() {
            faults.push("uses no metric".to_owned());
        }
        let mut known = BTreeSet::new();
        for selector in &selectors {
            let name = selector.name.as_deref().unwrap_or_default();
            let Some(labels) = exposed.get(name) else {
                faults.push(format!("uses `{name}`, which the gateway does not expose"));
                continue;
            };
            known.extend(labels);
            let matchers = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
            faults.extend(matchers.filter_map(|matcher| fault(name, matcher, labels)));
        }
        let unknown = groups.iter().filter(|label| !known.contains(label));
        faults.extend(unknown.map(|label| format!("groups by `{label}`, which no metric in it has")));
        Ok(faults.into_iter().map(|fault| format!("`{}` {fault}", self.of)).collect())
    }
}

fn fault(metric: &str, matcher: &Matcher, labels: &BTreeSet<String>) -> Option<String> {
    let Matcher { name, value, op } = matcher;
    if !labels.contains(name) {
        return Some(format!("uses the label `{name}`, which `{metric}` does not have"));
    }
    let values = match op {
        MatchOp::Equal | MatchOp::NotEqual => vec![value.as_str()],
        // The queries use no regular expressions other than alternatives.
        MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
    };
    let known = |value: &str| match name.as_str() {
        "outcome" => ["allow", "deny", "observe"].contains(&value),
        "reason" => Reason::ALL.iter().any(|reason| reason.code() == value),
        _ => false,
    };
    let unknown: Vec<_> = values.into_iter().filter(|value| !known(value)).collect();
    (!unknown.is_empty()).then(|| format!("uses unknown values of the label `{name}`: `{}`", unknown.join("`, `")))
}

/// The metrics in an expression, and the labels by which it sums.
#[derive(Default)]
struct Parts {
    selectors: Vec<VectorSelector>,
    groups: Vec<String>,
}

impl ExprVisitor for Parts {
    type Error = ();

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, ()> {
        match expression {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.selectors.push(selector.vs.clone()),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = &aggregate.modifier {
                    self.groups.extend(labels.labels.iter().cloned());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCRAPED: &str =
        "# TYPE callgate_decisions counter\ncallgate_decisions{outcome=\"deny\",reason=\"host_error\"} 1\n";

    fn faults(expression: &str) -> Vec<String> {
        let question = Question { of: "A".to_owned(), expression: expression.to_owned() };
        question.faults(&exposed(SCRAPED)).unwrap()
    }

    #[test]
    fn finds_metrics_and_labels_that_do_not_exist() {
        assert_eq!(faults(r#"sum(rate(callgate_decisions{outcome="deny"}[5m]))"#), [""; 0]);
        assert_eq!(faults(r#"callgate_decisions{reason=~"host_error|rate_limited"}"#), [""; 0]);
        let faulty = [
            ("sum(callgate_decision)", "uses `callgate_decision`, which the gateway does not expose"),
            (r#"callgate_decisions{agent="a"}"#, "uses the label `agent`, which `callgate_decisions` does not have"),
            (
                r#"1 + increase(callgate_decisions{outcome=~"deny|denied"}[1m] offset 1m)"#,
                "uses unknown values of the label `outcome`: `denied`",
            ),
            ("sum by (outcom) (callgate_decisions)", "groups by `outcom`, which no metric in it has"),
            ("vector(1)", "uses no metric"),
            (r#"{outcome="deny"}"#, "uses ``, which the gateway does not expose"),
        ];
        for (expression, fault) in faulty {
            assert_eq!(faults(expression), [format!("`A` {fault}")]);
        }
        let broken = Question { of: "A".to_owned(), expression: "sum(".to_owned() };
        assert!(broken.faults(&exposed(SCRAPED)).unwrap_err().to_string().starts_with("A: "));
    }

    #[test]
    fn rejects_a_panel_or_rule_without_an_expression() {
        assert!(of_dashboard(&json!({ "panels": [{ "title": "A", "targets": [{ "exp": "1" }] }] })).is_err());
        assert!(of_dashboard(&json!({ "panels": [{ "title": "A" }] })).is_err());
        assert!(of_rules(&json!({ "groups": [{ "rules": [{ "alert": "A", "expression": "1" }] }] })).is_err());
        let rate = json!({ "panels": [{ "title": "A", "targets": [{ "expr": "rate(a[$__rate_interval])" }] }] });
        assert_eq!(of_dashboard(&rate).unwrap()[0].expression, "rate(a[1m])");
    }
}
