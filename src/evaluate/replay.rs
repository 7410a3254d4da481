//! Checks for replays. The lookup precedes the limits, because a captured request that is sent again must not consume its
//! owner's quota. The reservation is the last check, because a denied request may be sent again.

use std::borrow::Cow;

use super::{Denied, Evaluation};
use crate::decision::evidence::NotReplayed;
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule};
use crate::identity::signature::ReplayId;
use crate::policy::Access;
use crate::reason::Reason;
use crate::replay::{Kind, Refused, ReplayReservation, ReplayTicket};

impl<'a, 'c> Evaluation<'a, 'c> {
    /// 7. Checks that no nonce or proof identifier of the request was used before.
    pub(super) fn check_replay(&mut self) -> Result<Option<Vec<ReplayTicket<'c>>>, Denied> {
        let claims = claims(self.facts);
        if claims.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let (shared, table) = (self.context.shared, self.context.replay);
        let look = |claim: &ReplayReservation<'_>| {
            let look = || table.ok_or(Refused::Store)?.look(shared.ok_or(Refused::Store)?, claim);
            look().map_err(|refused| (refused, claim.kind))
        };
        let tickets: Result<Vec<_>, _> = claims.iter().map(look).collect();
        self.record_replay_check(tickets)
    }

    /// 9. Reserves the nonce and the proof identifier. Refunds the limits if another request reserved them first.
    pub(super) fn reserve(&mut self, tickets: Option<Vec<ReplayTicket<'c>>>) -> Result<Option<NotReplayed>, Denied> {
        let Some(tickets) = tickets else { return Ok(None) };
        // An observed request that an earlier check denied reserves nothing, because in enforcement it would not reserve
        // anything either.
        if !self.facts.denials.is_empty() {
            return Ok(None);
        }
        if tickets.is_empty() {
            return Ok(Some(NotReplayed::assertion()));
        }
        let shared = self.context.shared;
        let claimed = tickets.into_iter().try_for_each(|ticket| {
            let kind = ticket.kind();
            let shared = shared.ok_or((Refused::Store, kind))?;
            self.facts.used = self.facts.used.and(ticket.reserve(shared).map_err(|refused| (refused, kind))?);
            Ok(())
        });
        if claimed.is_err()
            && let Some(mut batch) = self.charged.take()
        {
            batch.refund();
            self.note(&batch);
        }
        self.record_replay_check(claimed.map(|()| NotReplayed::assertion()))
    }

    fn record_replay_check<T>(&mut self, result: Result<T, (Refused, Kind)>) -> Result<Option<T>, Denied> {
        let (wait, result) = match result {
            Ok(done) => (None, Ok(done)),
            Err((refused, kind)) => (refused.wait(), Err(reason(refused, kind))),
        };
        self.facts.retry_after = wait.or(self.facts.retry_after);
        let rule = match result {
            Err(Reason::HostError) => Rule::Gate,
            Err(Reason::ReplayShareFull) => Rule::Policy("tables.replay"),
            Err(Reason::DpopReplayed | Reason::DpopTime) => Rule::Policy("dpop"),
            _ => self.facts.endpoint.map_or(Rule::Gate, |endpoint| Rule::Endpoint(endpoint.position, "replay")),
        };
        self.record_check(Check::Replay, rule, result, |_| Vec::new())
    }
}

/// Returns what the request must reserve. Public endpoints require neither signature nor proof, and ignore those that are sent.
/// A caller who is not authenticated reserves nothing.
fn claims<'f>(facts: &'f Facts<'_>) -> Vec<ReplayReservation<'f>> {
    let asking = facts.endpoint.filter(|endpoint| endpoint.access == Access::Known && facts.caller.is_some());
    let Some(endpoint) = asking else { return Vec::new() };
    let signature = facts.signature.as_ref().filter(|_| endpoint.signature.once).map(|signature| {
        let (kind, token) = match &signature.once {
            ReplayId::Nonce(nonce) => (Kind::Nonce, nonce.as_bytes()),
            ReplayId::Base(hash) => (Kind::Base, &hash[..]),
        };
        let agent = facts.policy.agents.get(signature.key.agent).map(|agent| &*agent.name);
        ReplayReservation {
            agent,
            caller: Cow::Borrowed(""),
            kind,
            token: Cow::Borrowed(token),
            made: signature.created,
        }
    });
    let proof = facts.proof.as_ref().map(|proof| {
        // All unregistered callers share one partition of the table, as do all clients of a class. They choose their own identifiers,
        // so the key distinguishes them.
        let is_one = facts.agent.is_some_and(|agent| !agent.is_class);
        let caller = if is_one { Cow::Borrowed("") } else { Cow::Owned(proof.key.to_string()) };
        ReplayReservation {
            agent: facts.agent.map(|agent| &*agent.name),
            caller,
            kind: Kind::Proof,
            token: Cow::Borrowed(&proof.jti[..]),
            made: proof.issued,
        }
    });
    signature.into_iter().chain(proof).collect()
}

fn reason(refused: Refused, kind: Kind) -> Reason {
    match (refused, kind) {
        (Refused::Replayed, Kind::Nonce | Kind::Base) => Reason::SignatureReplayed,
        (Refused::Replayed, Kind::Proof) => Reason::DpopReplayed,
        (Refused::Late, Kind::Nonce | Kind::Base) => Reason::SignatureExpired,
        (Refused::Late, Kind::Proof) => Reason::DpopTime,
        (Refused::ShareFull { .. }, _) => Reason::ReplayShareFull,
        (Refused::Young { .. }, _) => Reason::ReplayTableYoung,
        (Refused::Contended, _) => Reason::ReplayContended,
        (Refused::Store, _) => Reason::HostError,
    }
}
