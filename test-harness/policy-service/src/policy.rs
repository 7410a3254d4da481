//! Decides with Cedar whether an agent may open a pull request.

use anyhow::{Context as _, Result};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use serde_json::{Value, json};

use crate::token::Claims;

/// The endpoint in the quickstart's policy, and the action in Cedar.
pub(super) const ENDPOINT: &str = "pulls.create";

/// The policies and the agents, parsed once.
pub(super) struct Policy {
    authorizer: Authorizer,
    policies: PolicySet,
    agents: Entities,
    agent: EntityTypeName,
    repository: EntityTypeName,
    action: EntityUid,
}

impl Policy {
    /// Creates the Cedar policies with these `agents` of a Callgate policy.
    pub(super) fn new(agents: &Value) -> Result<Self> {
        let agents = agents.as_object().context("the agents are not an object")?;
        let entities = agents.iter().map(|(name, agent)| {
            json!({
                "uid": { "type": "Agent", "id": name },
                "attrs": {
                    "repositories": agent.pointer("/attributes/repositories").unwrap_or(&json!([])),
                    "suspended": agent.get("suspended").unwrap_or(&json!(false)),
                },
                "parents": [],
            })
        });
        Ok(Self {
            authorizer: Authorizer::new(),
            policies: include_str!("pulls.cedar").parse().context("invalid Cedar policies")?,
            agents: Entities::from_json_value(entities.collect(), None).context("invalid Cedar entities")?,
            agent: "Agent".parse().context("invalid entity type")?,
            repository: "Repository".parse().context("invalid entity type")?,
            action: format!("Action::\"{ENDPOINT}\"").parse().context("invalid action")?,
        })
    }

    /// Returns whether the owner of this token may send this request.
    pub(super) fn allows(&self, claims: &Claims, method: &str, path: &str) -> bool {
        pull_requests_of(method, path)
            .and_then(|(owner, repository)| self.decide(claims, owner, repository))
            .is_some_and(|decision| decision == Decision::Allow)
    }

    fn decide(&self, claims: &Claims, owner: &str, repository: &str) -> Option<Decision> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let context = Context::from_pairs([
            ("scopes".to_owned(), RestrictedExpression::new_set(claims.scope.split(' ').map(text))),
            ("organization".to_owned(), text(&claims.org)),
            ("owner".to_owned(), text(owner)),
            ("repository".to_owned(), text(repository)),
        ]);
        let entity =
            |kind: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id));
        let request = Request::new(
            entity(&self.agent, &claims.client_id),
            self.action.clone(),
            entity(&self.repository, &format!("{owner}/{repository}")),
            context.ok()?,
            None,
        );
        Some(self.authorizer.is_authorized(&request.ok()?, &self.policies, &self.agents).decision())
    }
}

/// Returns the owner and the repository in `POST /repos/{owner}/{repo}/pulls`.
fn pull_requests_of<'p>(method: &str, path: &'p str) -> Option<(&'p str, &'p str)> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (owner, repository) = path.strip_prefix("/repos/")?.strip_suffix("/pulls")?.split_once('/')?;
    let is_segment = |text: &str| !text.is_empty() && !text.contains('/');
    (method == "POST" && is_segment(owner) && is_segment(repository)).then_some((owner, repository))
}
