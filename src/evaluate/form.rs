//! Checks the form of a request against its endpoint: escapes in the path, an upgrade, and the media type of the body.

use super::{CheckDetails, Denied, Evaluation};
use crate::allowlist::Found;
use crate::decision::evidence::{EscapesAllowed, FormEvidence, MediaTypeAllowed, UpgradeAllowed};
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule};
use crate::policy::{BodyCheck, Endpoint};
use crate::reason::Reason;
use crate::request::head::{is_form, is_json};
use crate::text::ascii::is_without;

impl<'a> Evaluation<'a, '_> {
    /// Checks that the endpoint allows the form of the request.
    pub(super) fn form(
        &mut self,
        endpoint: &'a Endpoint,
        found: Option<&Found<'a, 'a>>,
    ) -> Result<FormEvidence, Denied> {
        Ok(FormEvidence {
            escapes: self.escapes(endpoint, found)?,
            upgrade: self.upgrade(endpoint)?,
            media_type: self.media_type(endpoint)?,
        })
    }

    /// Checks that the endpoint allows the escapes in the path, and that they do not make a value ambiguous.
    fn escapes(
        &mut self,
        endpoint: &'a Endpoint,
        found: Option<&Found<'a, 'a>>,
    ) -> Result<Option<EscapesAllowed>, Denied> {
        let (Some(path), Some(found)) = (&self.facts.path, found) else { return Ok(None) };
        let restricted = path.restricted();
        if restricted.is_empty() {
            return Ok(Some(EscapesAllowed::assertion()));
        }
        let result = if restricted.is_subset(endpoint.escapes) {
            found.check_opened_values().map(|()| EscapesAllowed::assertion())
        } else {
            Err(Reason::PathEscapeNotAllowed)
        };
        let rule = Rule::Endpoint(endpoint.position, "allow_escapes");
        self.record_check(Check::Escapes, rule, result, |_| CheckDetails::new())
    }

    /// Accepts an upgrade if the endpoint allows it and the request has no body.
    fn upgrade(&mut self, endpoint: &'a Endpoint) -> Result<Option<UpgradeAllowed>, Denied> {
        let head = &self.facts.head;
        if head.upgrade.count == 0 {
            return Ok(Some(UpgradeAllowed::assertion()));
        }
        let websocket = head.upgrade.only().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        let result = if !(endpoint.websocket && websocket) {
            Err(Reason::UpgradeNotAllowed)
        } else if head.content_length.is_some() || head.has_transfer_encoding {
            Err(Reason::UpgradeWithBody)
        } else {
            Ok(UpgradeAllowed::assertion())
        };
        let rule = Rule::Endpoint(endpoint.position, "upgrade");
        self.record_check(Check::Upgrade, rule, result, |_| CheckDetails::new())
    }

    /// Rejects bodies in which frameworks read parameters or methods. The media type identifies them. Some frameworks treat a
    /// body without a media type as a form.
    fn media_type(&mut self, endpoint: &'a Endpoint) -> Result<Option<MediaTypeAllowed>, Denied> {
        if !endpoint.one_content_type {
            return Ok(Some(MediaTypeAllowed::assertion()));
        }
        let head = &self.facts.head;
        let types = head.content_type;
        let several = types.count > 1 || types.first.is_some_and(|value| !is_without::<b','>(value));
        let has_body = (!self.facts.request.end_of_stream || self.may_have_a_body_unseen()) && head.upgrade.count == 0;
        let named = types.first.filter(|value| !value.trim_ascii().is_empty());
        let untyped = named.is_none() && has_body && !self.has_no_body_yet(endpoint);
        // Many clients send a JSON media type without a body. That is harmless if it is known that no body follows.
        let may_be_json = has_body || !self.facts.policy.features.tells_end;
        let result = match endpoint.rejected_bodies {
            _ if several => Err(Reason::ContentTypeAmbiguous),
            Some(rejected) if rejected.forms && (untyped || named.is_some_and(is_form)) => Err(Reason::FormBody),
            Some(rejected) if rejected.json && (untyped || may_be_json && named.is_some_and(is_json)) => {
                Err(Reason::JsonBody)
            }
            _ => Ok(MediaTypeAllowed::assertion()),
        };
        let rule = Rule::asked_by(endpoint, endpoint.rejected_bodies.map(|rejected| rejected.origin), "form_bodies");
        self.record_check(Check::Forms, rule, result, |_| CheckDetails::new())
    }

    /// Returns whether a body may follow that neither the headers nor the gateway show. Over HTTP/2, a body may arrive without
    /// an announcement. If the filter does not see bodies, requests with methods that write are treated as having one.
    fn may_have_a_body_unseen(&self) -> bool {
        let Facts { policy, head, method, .. } = &self.facts;
        policy.features.body == BodyCheck::Unseen
            && head.content_length.is_none()
            && method.is_some_and(|method| !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    }
}
