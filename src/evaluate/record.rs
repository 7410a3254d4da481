//! Records the results of checks: for the decision, and for an explanation.

use super::{CheckDetails, Denied, Evaluation};
use crate::decision::trace::{Check, Traced};
use crate::decision::{Denial, Rule};
use crate::reason::Reason;

impl<'a> Evaluation<'a, '_> {
    /// Records the result of a check. Returns its evidence, or `None` for a denial that is only observed. An enforced denial
    /// ends the evaluation.
    pub(super) fn record_check<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        describe: impl FnOnce(&T) -> CheckDetails,
    ) -> Result<Option<T>, Denied> {
        let details = match (&result, &self.context.trace) {
            (Ok(proof), Some(_)) => describe(proof),
            _ => CheckDetails::new(),
        };
        self.record_check_with_details(check, rule, result, details)
    }

    /// Records the result of a check whose details are known.
    pub(super) fn record_check_with_details<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        details: CheckDetails,
    ) -> Result<Option<T>, Denied> {
        match result {
            Ok(proof) => {
                if let Some(trace) = &mut self.context.trace {
                    trace.push(Traced { check, denied: None, rule: rule.to_string(), facts: details });
                }
                Ok(Some(proof))
            }
            Err(reason) => self.deny(check, rule, reason, !self.observing, details).map(|()| None),
        }
    }

    /// Records a denial. An enforced denial ends the evaluation.
    pub(super) fn deny(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        reason: Reason,
        enforced: bool,
        facts: CheckDetails,
    ) -> Result<(), Denied> {
        if let Some(trace) = &mut self.context.trace {
            trace.push(Traced { check, denied: Some(reason), rule: rule.to_string(), facts });
        }
        self.facts.denials.push(Denial { reason, rule, enforced });
        if !enforced {
            return Ok(());
        }
        self.continue_explaining()
    }

    /// Lets an explanation continue after a denial. The decision is based on the facts as they are now.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn continue_explaining(&mut self) -> Result<(), Denied> {
        if self.context.trace.is_none() {
            return Err(Denied);
        }
        let facts = &*self.facts;
        self.denied_at.get_or_insert_with(|| Box::new(facts.clone()));
        Ok(())
    }

    /// Ends the evaluation. Gateways never request an explanation, and the filter is built without the code for it.
    #[cfg(target_arch = "wasm32")]
    pub(super) fn continue_explaining(&mut self) -> Result<(), Denied> {
        Err(Denied)
    }
}
