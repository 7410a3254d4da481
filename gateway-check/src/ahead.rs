//! Checks the filters in front of the gate: what they do to the credential, and which requests they send for clients that are not
//! yet verified.

use super::Check;
use super::finding::Code;
use super::view::View;

/// Headers that carry a client's credentials, in lower case.
pub(super) const CREDENTIALS: [&str; 6] =
    ["authorization", "dpop", "signature", "signature-input", "content-digest", "signature-agent"];

impl<'a> Check<'a> {
    /// Checks a filter in front of the gate. `kind` is the part of its type that names it.
    pub(super) fn ahead(&mut self, filter: &View<'a>, kind: &str, content: &View<'a>) {
        match kind {
            "cache" | "cache_v2" => {
                let message =
                    "a cache before the gate can return one client's response to another; put it after the gate";
                self.add(Code::AnsweredBeforeGate, filter, message);
            }
            "jwt_authn" => self.verified_ahead(content),
            "credential_injector" | "gcp_authn" => {
                let message = format!(
                    "`{kind}` sets the gateway's own credential before the gate, so the gate accepts every client with it; put \
                     it after the gate"
                );
                self.add(Code::CredentialChanged, filter, message);
            }
            "oauth2" => {
                if let Some(forwards) = content.path("config").and_then(|config| config.says("forward_bearer_token")) {
                    let message = "the token of a cookie becomes the credential, and browsers send cookies for every page; \
                                   remove this, or put the filter after the gate";
                    self.add(Code::CredentialChanged, &forwards, message);
                }
            }
            "header_mutation" => self.mutated_ahead(content),
            "ext_authz" | "ext_proc" | "ratelimit" | "rate_limit_quota" | "aws_lambda" | "mcp_router" => {
                let message = format!(
                    "`{kind}` sends a request to a service for every unauthenticated request; limit requests by source first, or \
                     accept this in a comment"
                );
                self.add(Code::RequestsBeforeGate, filter, message);
            }
            "lua" => {
                let sources = content.fields();
                let calls = |view: &View<'_>| view.value.to_string().contains("httpCall");
                if let Some((_, source)) = sources.iter().find(|(_, source)| calls(source)) {
                    let message = "this script sends requests for unauthenticated clients; limit requests by source first, or \
                                   accept this in a comment";
                    self.add(Code::RequestsBeforeGate, source, message);
                }
            }
            _ => {}
        }
    }

    /// `jwt_authn` removes the token that it verified from the request, unless it is configured to forward it.
    fn verified_ahead(&mut self, content: &View<'a>) {
        let mut places = self.credential_headers();
        places.push("authorization".to_owned());
        let providers = content.get("providers").map(|providers| providers.fields()).unwrap_or_default();
        for (name, provider) in providers {
            let headers = provider.each("from_headers");
            let elsewhere =
                !headers.is_empty() || provider.get("from_params").is_some() || provider.get("from_cookies").is_some();
            let named = headers
                .iter()
                .filter_map(|header| header.text("name"))
                .any(|name| places.iter().any(|place| name.eq_ignore_ascii_case(place)));
            if (named || !elsewhere) && !provider.affirms("forward") {
                let message = format!(
                    "the provider `{name}` removes the token before the gate, so the gate finds no credential; write `forward: \
                     true`"
                );
                self.add(Code::CredentialChanged, &provider.get("forward").unwrap_or(provider), message);
            }
        }
    }

    fn mutated_ahead(&mut self, content: &View<'a>) {
        let named = self.credential_headers();
        for mutation in content.each("mutations.request_mutations") {
            let written = mutation.path("append.header.key").or_else(|| mutation.get("remove"));
            let name = written.as_ref().and_then(|header| header.value.as_str()).unwrap_or_default();
            let mut credentials = CREDENTIALS.into_iter().chain(named.iter().map(String::as_str));
            if credentials.any(|credential| name.eq_ignore_ascii_case(credential)) {
                let message = format!(
                    "`{name}` is changed before the gate, so the gate checks another credential than the client sent; remove this"
                );
                self.add(Code::CredentialChanged, &mutation, message);
            }
        }
    }
}
