//! Adapts a policy of the corpus to another gateway, as an operator would: adds what the compiler requires there, removes what it rejects
//! there, and lists the features that were lost.
//!
//! No hand-written list states which features a gateway lacks. The compiler's own errors are the source, so this cannot become stale.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use callgate::Secrets;
use callgate::document::Finding;
use callgate_kit::corpus::{Policy, Suite};
use callgate_kit::policy::variables;
use serde_json::{Value, json};

use super::feature::Feature;
use crate::wasmhost::HostQuirks;

/// The variable that holds the key of the shared tables, for gateways that need one.
const KEY: (&str, &str) = ("CORPUS_TABLES_KEY", "an open secret of thirty-two bytes or more");

/// More rounds than any policy needs. Removing an item invalidates references to it, and the next round removes those.
const MOST_ROUNDS: usize = 200;

/// The policies of a suite adapted to another gateway, and the features that each one lost.
pub(super) struct Adapted {
    pub(super) suite: Suite,
    /// For each policy, in order.
    pub(super) lost: Vec<Lost>,
}

/// The features that a policy lost when it was adapted to a gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    pub(super) features: BTreeSet<Feature>,
    /// Nothing that could decide a request is left. The policy is unchanged.
    pub(super) everything: bool,
}

/// Adapts a suite to another gateway.
///
/// # Errors
/// When the gateway's compiler rejects a policy for something that [`Feature`] has no name for.
pub(super) fn suite(suite: &Suite, quirks: &HostQuirks) -> Result<Adapted> {
    let mut adapted = suite.clone();
    if quirks.gateway == "envoy" {
        return Ok(Adapted { lost: vec![Lost::default(); suite.policies.len()], suite: adapted });
    }
    adapted.environment.insert(KEY.0.to_owned(), KEY.1.to_owned());
    let environment = adapted.environment.clone();
    let mut lost = Vec::new();
    for policy in &mut adapted.policies {
        lost.push(
            one(policy, quirks, &variables(&environment))
                .with_context(|| format!("{} on {}", suite.file, quirks.name))?,
        );
    }
    Ok(Adapted { suite: adapted, lost })
}

fn one(policy: &mut Policy, quirks: &HostQuirks, environment: &dyn Secrets) -> Result<Lost> {
    let mut adapted = policy.document.clone();
    let document = &mut adapted;
    put(document, "gateway", json!(quirks.gateway));
    if quirks.records_in_the_log() {
        // Such a gateway keeps records only in its log, so the policy logs all of them.
        put(document, "audit.log.allow", json!(true));
        put(document, "audit.log.deny", json!(true));
    }
    let mut lost = Lost::default();
    for _ in 0..MOST_ROUNDS {
        let Err(findings) = callgate::Policy::from_value(document.clone(), environment) else {
            policy.document = adapted;
            return Ok(lost);
        };
        for finding in &findings.errors {
            let place = finding.place.as_str();
            let absent = get(document, place).is_none();
            match place {
                "tables.key" => put(document, place, json!({ "env": KEY.0 })),
                "body_check" if absent => {
                    lost.features.insert(Feature::HeldHeads);
                    put(document, place, json!("after_headers"));
                }
                "endpoints" => {
                    lost.everything = true;
                    return Ok(lost);
                }
                // Nobody is left who could be identified.
                "issuers" if lost.features.contains(&Feature::Certificates) => {
                    lost.everything = true;
                    return Ok(lost);
                }
                // Agents name endpoints and limits that were left out.
                _ if place.starts_with("agents.")
                    && finding.message.starts_with("unknown ")
                    && !lost.features.is_empty() =>
                {
                    ensure!(leave_out(document, place), "{}", unknown(finding));
                    break;
                }
                // Without these keys, no token can be verified.
                _ if ["remote", "discover"].iter().any(|source| place.ends_with(&format!(".keys.{source}"))) => {
                    lost.features.insert(Feature::FetchedKeys);
                    lost.everything = true;
                    return Ok(lost);
                }
                // Without `tls`, neither agents nor endpoints with certificates can be kept.
                "tls" => {
                    lost.features.insert(Feature::Certificates);
                    lost.everything = true;
                    return Ok(lost);
                }
                _ if place.ends_with(".cluster") => {
                    lost.features.insert(Feature::AwaitedKeys);
                    ensure!(name_address(document, place), "{}", unknown(finding));
                }
                _ => {
                    let feature = Feature::of(place, absent);
                    // What accepted certificates, and agents that only certificates identified.
                    let by_certificate = lost.features.contains(&Feature::Certificates)
                        && (place.ends_with(".authenticate") || (feature.is_none() && place.starts_with("agents.")));
                    let feature = if by_certificate { Some(Feature::Certificates) } else { feature };
                    lost.features.insert(feature.with_context(|| unknown(finding))?);
                    match place.rsplit('.').next() {
                        Some("body") if absent => put(document, place, json!("stream")),
                        Some("replay") if absent => put(document, place, json!(false)),
                        _ => {
                            ensure!(leave_out(document, place), "{}", unknown(finding));
                            // The removal may have moved other places.
                            break;
                        }
                    }
                }
            }
        }
    }
    bail!("the policy does not compile, even without unsupported features")
}

fn unknown(finding: &Finding) -> String {
    format!("unknown unsupported feature: {finding}")
}

/// Names a server by its address instead of by a cluster.
fn name_address(document: &mut Value, cluster: &str) -> bool {
    let Some(place) = cluster.strip_suffix(".cluster") else { return false };
    let Some(address) = address(document, &steps(place)) else { return false };
    put(document, &format!("{place}.address"), json!(address));
    remove(document, &steps(cluster))
}

/// Returns the address of the server that is described at this place.
fn address(document: &mut Value, server: &[String]) -> Option<String> {
    let mut text = |object: &[String], member: &str| Some(at(document, object)?.get(member)?.as_str()?.to_owned());
    let url = match server {
        [.., hosts, host] if hosts == "key_hosts" => format!("https://{host}"),
        // The metadata of an issuer is on the issuer's host.
        [issuer @ .., _, discover] if discover == "discover" => text(issuer, "issuer")?,
        remote => text(remote, "url")?,
    };
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    let port = if scheme == "http" { 80 } else { 443 };
    Some(if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") })
}

/// Splits a place into steps: `endpoints[3].scopes` becomes `endpoints`, `3` and `scopes`.
fn steps(place: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = place;
    while !rest.is_empty() {
        let quoted = rest.strip_prefix("[\"").and_then(|inside| inside.split_once("\"]"));
        let indexed = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
        let (step, after) = match (quoted, indexed) {
            (Some(pair), _) | (None, Some(pair)) => pair,
            (None, None) => {
                let name = rest.strip_prefix('.').unwrap_or(rest);
                name.split_at(name.find(['.', '[']).unwrap_or(name.len()))
            }
        };
        steps.push(step.to_owned());
        rest = after;
    }
    steps
}

fn at<'d>(document: &'d mut Value, steps: &[String]) -> Option<&'d mut Value> {
    steps.iter().try_fold(document, |value, step| match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn get<'d>(document: &'d mut Value, place: &str) -> Option<&'d mut Value> {
    at(document, &steps(place))
}

/// Puts a value at a place and creates the objects on the path to it.
fn put(document: &mut Value, place: &str, value: Value) {
    let slot = steps(place).into_iter().try_fold(document, |value, step| {
        if let Value::Array(items) = value {
            return items.get_mut(step.parse::<usize>().ok()?);
        }
        if !value.is_object() {
            *value = json!({});
        }
        value.as_object_mut().map(|members| members.entry(step).or_insert(Value::Null))
    });
    if let Some(slot) = slot {
        *slot = value;
    }
}

/// Removes the value at a place. Removes the whole endpoint if it is invalid without a missing field or with an added one, or if it would
/// allow every operation: the gateway cannot support such an endpoint.
fn leave_out(document: &mut Value, place: &str) -> bool {
    let steps = steps(place);
    match steps.as_slice() {
        [list, index, .., last] if list == "endpoints" && matches!(last.as_str(), "replay" | "rpc") => {
            remove(document, &[list.clone(), index.clone()])
        }
        [list, index, ..] if list == "endpoints" => {
            remove(document, &steps) || remove(document, &[list.clone(), index.clone()])
        }
        steps => remove(document, steps),
    }
}

fn remove(document: &mut Value, steps: &[String]) -> bool {
    let Some((last, before)) = steps.split_last() else { return false };
    match at(document, before) {
        Some(Value::Object(members)) => members.remove(last).is_some(),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use callgate_kit::corpus::run;

    use super::*;
    use crate::corpus::suites;
    use crate::wasmhost::HostProfile;

    #[test]
    fn parses_document_paths_into_steps() {
        assert_eq!(
            steps("endpoints[3].bind[\"path.owner\"].any[0]"),
            ["endpoints", "3", "bind", "path.owner", "any", "0"]
        );
        assert_eq!(steps("tables.key"), ["tables", "key"]);
    }

    #[test]
    fn fetched_keys_come_from_clusters_addresses_or_not_at_all() {
        let suite =
            suites().unwrap().into_iter().find(|suite| suite.file.ends_with("fetched-keys.cases.yaml")).unwrap();
        for profile in HostProfile::ALL {
            let adapted = super::suite(&suite, profile.quirks()).unwrap();
            let remote = &adapted.suite.policies[0].document["issuers"]["corp"]["keys"]["remote"];
            let located = (remote["cluster"].as_str(), remote["address"].as_str());
            let lost = &adapted.lost[0];
            let (features, location) = match profile {
                HostProfile::Kong => (BTreeSet::from([Feature::AwaitedKeys]), (None, Some("idp.example.com:443"))),
                HostProfile::Apisix => (BTreeSet::from([Feature::FetchedKeys]), (Some("idp"), None)),
                _ => (BTreeSet::new(), (Some("idp"), None)),
            };
            assert_eq!((&lost.features, located), (&features, location), "{profile:?}");
            assert_eq!(lost.everything, profile == HostProfile::Apisix);
        }
    }

    #[test]
    fn metadata_and_key_hosts_have_addresses_on_kong() {
        let suite = suites().unwrap().into_iter().find(|suite| suite.file.ends_with("/google/cases.yaml")).unwrap();
        let adapted = super::suite(&suite, HostProfile::Kong.quirks()).unwrap();
        assert_eq!(
            adapted.suite.policies[0].document["issuers"]["google"]["keys"],
            json!({ "discover": {
                "document": "openid",
                "address": "accounts.google.com:443",
                "key_hosts": { "www.googleapis.com": { "address": "www.googleapis.com:443" } },
            } })
        );
        let failed = run::run(&adapted.suite).unwrap().into_iter().filter(|result| !result.differences.is_empty());
        assert_eq!(failed.count(), 0);
    }

    /// On Kong, a request cannot wait. A token that a newer set could verify is answered with 503 at first, and so are the tokens that no set
    /// will verify.
    #[test]
    fn only_awaited_keys_are_lost_on_kong() {
        let suite =
            suites().unwrap().into_iter().find(|suite| suite.file.ends_with("fetched-keys.cases.yaml")).unwrap();
        let adapted = super::suite(&suite, HostProfile::Kong.quirks()).unwrap().suite;
        let failed = run::run(&adapted).unwrap().into_iter().filter(|result| !result.differences.is_empty());
        let failed: BTreeSet<_> = failed
            .map(|result| {
                let case = adapted.cases[result.case].name.as_str();
                let instead = result.differences.iter().any(|difference| difference.contains("keys_unavailable"));
                assert!(instead, "{case}: {:?}", result.differences);
                case
            })
            .collect();
        let awaiting = [
            "unknown-kid",
            "key-of-another-url",
            "short-rsa-named",
            "key-of-another-issuer",
            "no-kid-stranger",
            "hundred-keys-unknown-kid",
            "after-rotation",
            "new-key",
            "new-key-unpublished",
        ];
        assert_eq!(failed, BTreeSet::from(awaiting));
    }

    /// Without its operations, an endpoint would allow every message.
    #[test]
    fn endpoints_with_operations_are_left_out_where_bodies_are_not_held() {
        for file in ["json-rpc", "mcp-limits", "mcp-names", "mcp-signed"] {
            let name = format!("/{file}.cases.yaml");
            let suite = suites().unwrap().into_iter().find(|suite| suite.file.ends_with(&name)).unwrap();
            for profile in HostProfile::ALL {
                let lost = &super::suite(&suite, profile.quirks()).unwrap().lost[0];
                let is_left_out = (lost.everything, lost.features.contains(&Feature::Operations));
                let is_held = profile == HostProfile::Envoy;
                assert_eq!(is_left_out, (!is_held, !is_held), "{file} {profile:?}");
            }
        }
    }

    #[test]
    fn leave_out_removes_a_value_and_put_inserts_one() {
        let mut document = json!({ "a": [{ "b": 1 }, { "c": 2 }] });
        let mut left_out = |place: &str| leave_out(&mut document, place);
        assert!(left_out("a[0].b") && !left_out("a[0].b") && left_out("a[0]"));
        put(&mut document, "d.e", json!(1));
        assert_eq!(document, json!({ "a": [{ "c": 2 }], "d": { "e": 1 } }));
    }
}
