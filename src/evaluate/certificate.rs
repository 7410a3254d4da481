//! Authenticates the caller by the client's certificate, and checks that a certificate next to another credential is the caller's too.

use super::{CheckDetails, Denied, Evaluation};
use crate::decision::trace::Check;
use crate::decision::{Facts, Proven, Rule};
use crate::document::Authenticate;
use crate::identity::certificate::VerifiedCertificate;
use crate::identity::crypto::first;
use crate::policy::Endpoint;
use crate::reason::Reason;

impl<'a> Evaluation<'a, '_> {
    /// 4. Reads the certificate that the client presented, if the policy uses certificates.
    pub(super) fn read_certificate(&mut self) {
        let Facts { policy, request, .. } = *self.facts;
        let now = request.now.minus(policy.issuers.skew());
        let Some((rules, presented)) = policy.certificates.as_ref().zip(request.certificate) else { return };
        // A malformed certificate has no facts. That there is one stays known from the request.
        self.facts.certificate = rules.verify(presented, now);
        self.facts.certificate_sha256 = presented.sha256();
    }

    /// Returns whether a request without another credential may be authenticated by its certificate. This does not depend on the
    /// endpoint. The client of a proxy has no certificate.
    pub(super) fn may_be_known_by_certificate(&self) -> bool {
        let Facts { policy, request, certificate, .. } = &self.facts;
        policy.certificates.as_ref().is_some_and(|rules| rules.alone)
            && request.certificate.is_some()
            && !certificate.is_some_and(|certificate| certificate.is_of_proxy())
    }

    /// 4. Authenticates the caller by its certificate alone.
    pub(super) fn authenticate_by_certificate(&mut self) -> Result<(), Denied> {
        let presented = self.facts.certificate;
        let named = presented.filter(VerifiedCertificate::names_somebody).ok_or(Reason::CertificateName);
        let details = self.context.trace.is_some().then(|| match &presented {
            Some(certificate) => describe(certificate),
            None => {
                let why = "is malformed, has another digest than the gateway reports, or was passed in part only";
                vec![("certificate", why.to_owned())]
            }
        });
        let details = details.unwrap_or_default();
        let Some(certificate) =
            self.record_check_with_details(Check::Certificate, Rule::Policy("tls"), named, details)?
        else {
            return Ok(());
        };
        let policy = self.facts.policy;
        match policy.agents.find_certificate(&certificate) {
            Ok(agent) => self.register(agent, Proven::Certificate(certificate)),
            Err(reason) => {
                let unknown = Err::<(), _>(reason);
                self.record_check(Check::Agent, Rule::Policy("agents"), unknown, |()| CheckDetails::new()).map(drop)
            }
        }
    }

    /// 5. Checks that a certificate next to the credential that identified the caller belongs to the same agent.
    ///
    /// Returns the certificate if it does, and `None` if it identifies no agent or the endpoint ignores certificates.
    ///
    /// # Errors
    /// [`Reason::CertificateAgent`] for a certificate of another agent, or of another workload of its class, and
    /// [`Reason::CertificateName`] for one that cannot be read, has several URIs with a SPIFFE ID among them, or has expired: it could be
    /// that of another agent.
    pub(super) fn certificate_of_caller(&self, endpoint: &Endpoint) -> Result<Option<VerifiedCertificate<'a>>, Reason> {
        let Facts { policy, request, certificate, caller, .. } = &self.facts;
        let (Some(_), Some(_), Some(caller)) = (&policy.certificates, request.certificate, caller) else {
            return Ok(None);
        };
        // With delegation, the sender of the token must be its current actor on every endpoint.
        let is_delegated = caller.token().is_some_and(|token| token.chain().is_some());
        if !endpoint.accepts(Authenticate::Certificate) && !is_delegated {
            return Ok(None);
        }
        let certificate = certificate.filter(|own| !own.is_unclear()).ok_or(Reason::CertificateName)?;
        match policy.agents.find_certificate(&certificate) {
            Ok(agent) if caller.agent.is_some_and(|own| std::ptr::eq(own, agent)) => {
                // Each workload of a class is a separate agent.
                let is_same = !agent.is_class || caller.spiffe_id() == certificate.spiffe_id();
                if is_same { Ok(Some(certificate)) } else { Err(Reason::CertificateAgent) }
            }
            Ok(_) | Err(Reason::AgentAmbiguous) => Err(Reason::CertificateAgent),
            Err(_) => Ok(None),
        }
    }
}

/// Returns what a certificate contains, and why it identifies nobody.
fn describe(certificate: &VerifiedCertificate<'_>) -> CheckDetails {
    let (spiffe, uri, dns) = certificate.shown();
    let names = [("spiffe", spiffe), ("uri", uri), ("dns", dns)];
    let mut details: CheckDetails =
        names.into_iter().filter_map(|(kind, name)| Some((kind, name?.to_owned()))).collect();
    details.push(("sha256", short_hash(certificate)));
    details.extend(certificate.fault().map(|why| ("certificate", why.to_owned())));
    details
}

/// Returns the first 16 hexadecimal digits of SHA-256 of a certificate, as records show them.
pub(super) fn short_hash(certificate: &VerifiedCertificate<'_>) -> String {
    format!("{:016x}", u64::from_be_bytes(first(*certificate.sha256())))
}
