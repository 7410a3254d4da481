//! Compiles the rules of the replay table. Checks that each agent's partition holds all messages that the limits allow.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::agents::Agents;
use super::endpoint::{Access, Endpoint};
use super::signatures::Signatures;
use crate::document;
use crate::document::{Findings, Place};
use crate::identity::dpop;
use crate::identity::signature::{ProfileName, SigningKeys};
use crate::quota::{Limit, LimitKey};
use crate::replay::{AgentPartition, Rules};
use crate::text::sort;

/// The size of the table in entries: from one slot to 16 MiB.
pub(super) const TABLE: RangeInclusive<u32> = AgentPartition::SLOT..=1_048_576;

/// Returns the rules of the table if this many agents share it. All unregistered callers count as one.
pub(super) fn rules(tables: &document::Tables, sharers: usize, window: Duration, clock_ahead: Duration) -> Rules {
    Rules { share: AgentPartition::of(tables.replay, sharers), window, clock_ahead }
}

/// The parts of a policy that allow a message only once.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) rules: Rules,
    /// The agents that have a partition, by position.
    agents: Vec<u32>,
    /// Whether all unregistered clients together have a partition.
    unregistered: bool,
}

impl Replay {
    pub(super) fn compile(
        document: &document::Document,
        endpoints: &[Endpoint],
        signatures: &Signatures,
        keys: &SigningKeys,
        dpop: Option<&dpop::Rules>,
        limits: &[Limit],
        findings: &mut Findings,
    ) -> Option<Self> {
        let signed = |endpoint: &&Endpoint| endpoint.signature.asked.is_some() && endpoint.signature.once;
        let proven = |endpoint: &&Endpoint| dpop.is_some() && endpoint.access == Access::Known;
        let seconds = Duration::from_secs;
        let profiles = endpoints.iter().filter(signed).map(|endpoint| signatures.profile(endpoint.signature.profile));
        let times = profiles.map(|profile| (seconds(profile.max_age), seconds(profile.clock_ahead)));
        let proofs = dpop.filter(|_| endpoints.iter().any(|endpoint| proven(&endpoint)));
        let times = times.chain(proofs.map(|rules| (rules.max_age, rules.clock_ahead)));
        // An agent that signs requests may prove possession of a token's key with a signature instead of a proof.
        let own = proofs.filter(|_| !keys.signers().is_empty()).map(|_| signatures.profile(ProfileName::Own));
        let own = own.map(|profile| (seconds(profile.max_age), seconds(profile.clock_ahead)));
        let times: Vec<_> = times.chain(own).collect();
        let window = times.iter().map(|(window, _)| *window).max()?;
        let clock_ahead = times.iter().map(|(_, ahead)| *ahead).max()?;
        // An agent that is identified by a token may prove possession of the token's key.
        let tokens = proofs.map(|_| positions_with_tokens(document)).into_iter().flatten();
        let mut agents: Vec<u32> = keys.signers().iter().copied().chain(tokens).collect();
        sort::sort(&mut agents);
        agents.dedup();
        let unregistered = proofs.is_some() && document.unregistered == document::Unregistered::Allow;
        let rules = rules(&document.tables, agents.len() + usize::from(unregistered), window, clock_ahead);
        let claiming = |claims: &dyn Fn(&Endpoint) -> u32| -> Vec<Claiming<'_>> {
            let claiming = endpoints.iter().map(|endpoint| Claiming {
                place: Place::root().field("endpoints").index(endpoint.position as usize),
                limits: &endpoint.limits,
                cost: endpoint.cost,
                claims: claims(endpoint),
            });
            claiming.filter(|claiming| claiming.claims > 0).collect()
        };
        let of_agents = claiming(&|endpoint| u32::from(signed(&endpoint)) + u32::from(proven(&endpoint)));
        check_share(rules, PartitionOwner::Agent, &of_agents, limits, findings);
        let of_others = claiming(&|endpoint| u32::from(proven(&endpoint)));
        if unregistered {
            check_share(rules, PartitionOwner::Unregistered, &of_others, limits, findings);
        }
        if proofs.is_some() && has_classes(document) {
            check_share(rules, PartitionOwner::Class, &of_others, limits, findings);
        }
        Some(Self { rules, agents, unregistered })
    }

    /// Returns the number of slots in all partitions.
    pub(crate) fn slots(&self, agents: &Agents) -> u64 {
        let sharers = u64::try_from(self.sharers(agents).count()).unwrap_or(u64::MAX);
        sharers.saturating_mul(self.rules.share.slots().get().into())
    }

    /// Returns the owners of partitions: agents by name, and `None` for all unregistered clients together.
    pub(crate) fn sharers<'p>(&'p self, agents: &'p Agents) -> impl Iterator<Item = Option<&'p str>> {
        let named = self.agents.iter().filter_map(|position| Some(Some(&*agents.get(*position)?.name)));
        named.chain(self.unregistered.then_some(None))
    }
}

fn positions_with_tokens(document: &document::Document) -> impl Iterator<Item = u32> {
    (0..).zip(document.agents.values()).filter(|(_, agent)| agent.identity.is_some()).map(|(position, _)| position)
}

/// Returns whether an entry of the inventory describes many clients, which share its partition.
fn has_classes(document: &document::Document) -> bool {
    document.agents.values().filter_map(|agent| agent.identity.as_ref()).any(|identity| identity.each.is_some())
}

/// An endpoint whose requests use entries of the replay table.
#[derive(Debug, Clone)]
pub(super) struct Claiming<'e> {
    /// The endpoint's place in the policy.
    pub(super) place: Place,
    /// The endpoint's limits, by their positions.
    pub(super) limits: &'e [u32],
    /// The cost of a request.
    pub(super) cost: u32,
    /// The number of entries that a request uses.
    pub(super) claims: u32,
}

/// The owner of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartitionOwner {
    /// One agent.
    Agent,
    /// All clients that one entry of the inventory describes.
    Class,
    /// All unregistered callers together.
    Unregistered,
}

/// Rejects a policy if the requests that its limits allow exceed a partition, or if no limit applies to them.
pub(super) fn check_share(
    rules: Rules,
    sharer: PartitionOwner,
    endpoints: &[Claiming<'_>],
    limits: &[Limit],
    findings: &mut Findings,
) {
    // An entry may be stored before the time in its message if the client's clock is ahead.
    let lifetime = rules.window.saturating_add(rules.clock_ahead);
    let whose = match sharer {
        PartitionOwner::Agent => "an agent",
        PartitionOwner::Class => "all clients of an agent with `each: client` together",
        PartitionOwner::Unregistered => "all unregistered clients together",
    };
    let limited = Limited::new(sharer, endpoints, limits, lifetime);
    let Some(needed) = limited.needed() else {
        for endpoint in limited.unlimited() {
            findings.error(
                endpoint.place.field("limits"),
                format!(
                    "each request here is stored for {} s for replay protection, and nothing limits the requests of {whose}; \
                     charge a limit that is not per `source`{}",
                    lifetime.as_secs(),
                    if sharer == PartitionOwner::Agent { "" } else { " or `agent`" }
                ),
            );
        }
        return;
    };
    if needed > rules.share.safe_capacity() {
        findings.error(
            Place::root().field("tables").field("replay"),
            format!(
                "limits allow {whose} up to {needed} requests that are stored for {} s each, but a partition of the table is \
                 safe only up to {}; write a larger table, lower rates, or a shorter `max_age`",
                lifetime.as_secs(),
                rules.share.safe_capacity()
            ),
        );
    }
}

/// The bounds that limits set on the entries of one partition owner. The number of live entries is at most the sum over any set
/// of limits that together cover every endpoint. Any set that is found therefore gives a valid bound.
struct Limited<'l> {
    endpoints: &'l [Claiming<'l>],
    /// The entries that each endpoint needs under its strictest limit of its own. `None` if it has no such limit.
    apart: Vec<Option<u64>>,
    /// The entries needed under limits that several endpoints share, with the positions of those endpoints.
    together: Vec<(u64, Vec<usize>)>,
}

impl<'l> Limited<'l> {
    fn new(sharer: PartitionOwner, endpoints: &'l [Claiming<'l>], limits: &[Limit], lifetime: Duration) -> Self {
        let mut limited = Self { endpoints, apart: vec![None; endpoints.len()], together: Vec::new() };
        let nanos = u64::try_from(lifetime.as_nanos()).unwrap_or(u64::MAX);
        for (position, limit) in (0u32..).zip(limits).filter(|(_, limit)| bounds(limit.per, sharer)) {
            let needed = |endpoint: &Claiming<'_>| {
                // A limit allows fewer requests if each has a higher cost.
                let calls = limit.most_within(nanos) / u64::from(endpoint.cost.max(1));
                calls.saturating_mul(endpoint.claims.into())
            };
            let charged = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.limits.contains(&position));
            if limit.per.has(LimitKey::ENDPOINT) {
                for (index, endpoint) in charged {
                    if let Some(best) = limited.apart.get_mut(index) {
                        *best = Some(best.map_or_else(|| needed(endpoint), |best| best.min(needed(endpoint))));
                    }
                }
            } else {
                let most = charged.clone().map(|(_, endpoint)| needed(endpoint)).max();
                limited.together.extend(most.map(|most| (most, charged.map(|(index, _)| index).collect())));
            }
        }
        limited
    }

    /// Returns the maximum number of live entries, or `None` if there is no bound.
    fn needed(&self) -> Option<u64> {
        let mut narrow: Vec<_> = self.together.iter().collect();
        let mut wide = narrow.clone();
        sort::sort_by_key(&mut narrow, |(needed, _)| *needed);
        sort::sort_by_key(&mut wide, |(_, endpoints)| Reverse(endpoints.len()));
        [narrow, wide].into_iter().filter_map(|order| self.sum(&order)).min()
    }

    /// Adds the needs of the shared limits in this order, if they reduce the sum, and the endpoints' own limits for the rest.
    fn sum(&self, order: &[&(u64, Vec<usize>)]) -> Option<u64> {
        let mut open: Vec<Option<Option<u64>>> = self.apart.iter().copied().map(Some).collect();
        let mut sum = 0u64;
        for (needed, endpoints) in order {
            let rest = endpoints.iter().filter_map(|index| open.get(*index).copied().flatten());
            // An endpoint without a limit of its own has an unlimited need.
            let instead = rest.fold(0u64, |sum, own| sum.saturating_add(own.unwrap_or(u64::MAX)));
            if *needed < instead {
                sum = sum.saturating_add(*needed);
                for index in endpoints {
                    if let Some(open) = open.get_mut(*index) {
                        *open = None;
                    }
                }
            }
        }
        open.into_iter().flatten().try_fold(sum, |sum, own| Some(sum.saturating_add(own?)))
    }

    /// Returns the endpoints whose requests no limit bounds.
    fn unlimited(&self) -> impl Iterator<Item = &Claiming<'l>> {
        let bounded = |index: usize| self.together.iter().any(|(_, endpoints)| endpoints.contains(&index));
        let open = self.endpoints.iter().zip(&self.apart).enumerate();
        open.filter(move |(index, (_, own))| own.is_none() && !bounded(*index)).map(|(_, (endpoint, _))| endpoint)
    }
}

/// Reports whether a limit bounds the owner's requests, even from any number of addresses or unregistered callers.
fn bounds(per: LimitKey, sharer: PartitionOwner) -> bool {
    // The number of operations is not bounded by the endpoint, and clients may choose their claims.
    !per.has(LimitKey::SOURCE.with(LimitKey::TOOL).with(LimitKey::CLAIM))
        && match sharer {
            PartitionOwner::Agent => true,
            // The clients of an entry have the same issuer and tenant.
            PartitionOwner::Class => !per.has(LimitKey::AGENT),
            PartitionOwner::Unregistered => !per.has(LimitKey::AGENT.with(LimitKey::ISSUER)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Gcra;

    const AGENT: LimitKey = LimitKey::AGENT;
    const ENDPOINT: LimitKey = AGENT.with(LimitKey::ENDPOINT);
    const SOURCE: LimitKey = AGENT.with(LimitKey::SOURCE);
    const ALL: LimitKey = LimitKey::ENDPOINT;

    /// Returns a limit of this many requests per second with a burst of ten.
    fn limit(per: LimitKey, calls: u32) -> Limit {
        let gcra = Gcra::new(calls, 1_000_000_000, 10).unwrap();
        Limit { name: "l".into(), per, gcra, name_hash: None, told: None, varied: None }
    }

    fn endpoint(index: usize, limits: &[u32]) -> Claiming<'_> {
        Claiming { place: Place::root().field("endpoints").index(index), limits, cost: 1, claims: 1 }
    }

    fn needed(sharer: PartitionOwner, endpoints: &[Claiming<'_>], limits: &[Limit]) -> Option<u64> {
        Limited::new(sharer, endpoints, limits, Duration::from_secs(60)).needed()
    }

    #[test]
    fn a_limit_allows_its_burst_plus_its_rate_in_the_window() {
        let limits = [limit(AGENT, 5), limit(SOURCE, 1), limit(ENDPOINT, 2), limit(ALL, 3)];
        let of = |sharer, limited: &[u32]| needed(sharer, &[endpoint(0, limited)], &limits);
        for (limited, agent, unregistered) in [
            (&[0][..], Some(310), None),
            (&[1], None, None),
            (&[0, 1, 2], Some(130), None),
            (&[3], Some(190), Some(190)),
            (&[0, 1, 2, 3], Some(130), Some(190)),
            (&[], None, None),
        ] {
            assert_eq!(
                (of(PartitionOwner::Agent, limited), of(PartitionOwner::Unregistered, limited)),
                (agent, unregistered),
                "{limited:?}"
            );
        }
        let dear = Claiming { cost: 10, claims: 2, ..endpoint(0, &[0]) };
        assert_eq!(needed(PartitionOwner::Agent, &[dear], &limits), Some(62));
    }

    #[test]
    fn counts_a_limit_shared_by_several_endpoints_once() {
        let limits = [limit(AGENT, 5), limit(ENDPOINT, 2), limit(AGENT, 1), limit(AGENT, 1), limit(AGENT, 3)];
        for (of_endpoints, expected) in [
            (&[&[0][..], &[0], &[0]][..], 310),
            // Ten times 130 exceeds the shared limit of all endpoints, and twice 130 does not.
            (&[&[0, 1][..]; 10], 310),
            (&[&[0, 1][..]; 2], 260),
            // The best choice is one limit for each endpoint in the first row, and one limit for all in the second.
            (&[&[0, 2][..], &[0, 3]], 140),
            (&[&[0, 4][..], &[0, 4], &[0]], 310),
            (&[], 0),
        ] {
            let endpoints: Vec<_> = of_endpoints.iter().enumerate().map(|(n, limits)| endpoint(n, limits)).collect();
            assert_eq!(needed(PartitionOwner::Agent, &endpoints, &limits), Some(expected), "{of_endpoints:?}");
        }
    }

    #[test]
    fn divides_the_replay_table_evenly() {
        let tables = document::Tables { replay: 640, ..document::Tables::default() };
        let (window, clock_ahead) = (Duration::from_secs(60), Duration::from_secs(5));
        assert_eq!(
            rules(&tables, 5, window, clock_ahead),
            Rules { share: AgentPartition::of(128, 1), window, clock_ahead }
        );
    }

    #[test]
    fn rejects_limits_that_exceed_an_agents_partition() {
        let limits = [limit(AGENT, 5), limit(SOURCE, 1)];
        let findings = |entries, of_endpoints: &[&[u32]]| {
            let (window, clock_ahead) = (Duration::from_secs(55), Duration::from_secs(5));
            let rules = Rules { share: AgentPartition::of(entries, 1), window, clock_ahead };
            let endpoints: Vec<_> = of_endpoints.iter().enumerate().map(|(n, limits)| endpoint(n, limits)).collect();
            let mut findings = Findings::default();
            check_share(rules, PartitionOwner::Agent, &endpoints, &limits, &mut findings);
            findings.errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(findings(640, &[&[0]]), [""; 0]);
        assert_eq!(
            findings(576, &[&[0]]),
            [
                "tables.replay: limits allow an agent up to 310 requests that are stored for 60 s each, but a partition of the \
              table is safe only up to 288; write a larger table, lower rates, or a shorter `max_age`"
            ]
        );
        assert_eq!(
            findings(640, &[&[0], &[], &[1]]),
            [1, 2].map(|index| format!(
                "endpoints[{index}].limits: each request here is stored for 60 s for replay protection, and nothing limits the \
              requests of an agent; charge a limit that is not per `source`"
            ))
        );
    }
}
