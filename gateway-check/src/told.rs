//! Checks what a gateway discloses about requests and responses: access logs, taps, statuses and metrics.

use super::Check;
use super::finding::Code;
use super::gate::{Adapter, Gate};
use super::view::View;

/// Headers whose values must not appear in a log, in lower case.
const SECRET: [&str; 6] = ["authorization", "cookie", "dpop", "proxy-authorization", "signature", "x-api-key"];

/// The key under which the gate stores its record for access logs.
const RECORD: &str = "wasm.callgate";

impl<'a> Check<'a> {
    /// Returns the headers that only the policies of the gates name as places of credentials, in lower case.
    pub(super) fn credential_headers(&self) -> Vec<String> {
        let facts = self.gates.iter().filter_map(|gate| gate.facts.as_ref());
        facts.flat_map(|facts| facts.credential_headers.iter().cloned()).collect()
    }

    /// Checks the access logs of a connection manager with a gate, and those of its listener.
    pub(super) fn logs(&mut self, manager: &View<'a>, listener: &View<'a>) {
        let own = manager.each("access_log");
        let named = self.credential_headers();
        let secrets: Vec<&str> = SECRET.into_iter().chain(named.iter().map(String::as_str)).collect();
        for log in own.iter().chain(&listener.each("access_log")) {
            self.logged_credentials(log, &secrets);
        }
        if let Some(first) = own.first().filter(|_| !own.iter().any(|log| mentions(log, RECORD))) {
            let message = format!(
                "no access log of this listener contains the record that explains a decision; write \
                 `%FILTER_STATE({RECORD}:PLAIN)%` into its format"
            );
            self.add(Code::RecordNotLogged, first, message);
        }
    }

    /// Finds credentials in any log format: operators write header names in any case and can add an alternative after `?`, and gRPC
    /// access logs have lists of names.
    fn logged_credentials(&mut self, log: &View<'a>, secrets: &[&str]) {
        match log.value {
            serde_json::Value::String(text) => {
                if let Some(name) = logged_header(text, secrets) {
                    let message =
                        format!("the log contains the value of `{name}`, which anyone who reads it can use; remove it");
                    self.add(Code::CredentialLogged, log, message);
                }
            }
            serde_json::Value::Array(_) => {
                let lists =
                    log.place.as_str().ends_with("headers_to_log") || log.place.as_str().ends_with("HeadersToLog");
                for item in log.items() {
                    match item.value.as_str().filter(|_| lists) {
                        Some(name) if secrets.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
                            let message = format!(
                                "the log contains the value of `{name}`, which anyone who reads it can use; remove it"
                            );
                            self.add(Code::CredentialLogged, &item, message);
                        }
                        _ => self.logged_credentials(&item, secrets),
                    }
                }
            }
            serde_json::Value::Object(_) => {
                log.fields().iter().for_each(|(_, field)| self.logged_credentials(field, secrets));
            }
            _ => {}
        }
    }

    /// Reports a tap, which records whole requests.
    pub(super) fn tapped(&mut self, place: &View<'a>) {
        let message = "a tap records whole requests, including credentials; remove it when it is no longer needed";
        self.add(Code::CredentialLogged, place, message);
    }

    /// Checks the statuses of responses that do not come from the upstream, and settings under which two servers can interpret the
    /// framing of a request differently.
    pub(super) fn answers(&mut self, manager: &View<'a>) {
        for mapper in manager.each("local_reply_config.mappers") {
            self.status(&mapper);
        }
        if let Some(lenient) =
            manager.path("http_protocol_options").and_then(|options| options.says("allow_chunked_length"))
        {
            let message = "a request with both `Content-Length` and `Transfer-Encoding` is accepted, and another server may read \
                           another body in it; remove this";
            self.add(Code::FramingLenient, &lenient, message);
        }
    }

    /// Reports a denial that looks like a success to clients.
    pub(super) fn status(&mut self, part: &View<'a>) {
        if part.number("status_code").is_some_and(|status| (200..300).contains(&status))
            && let Some(status) = part.get("status_code")
        {
            let message = "a denial gets a status that indicates success, so clients mistake it for the upstream's response; \
                           remove this";
            self.add(Code::StatusRewritten, &status, message);
        }
    }

    /// Checks that tags extract outcome and reason from the metrics of decisions; otherwise both stay part of the metric's name.
    pub(super) fn tags(&mut self, bootstrap: &View<'a>) {
        let is_read = bootstrap.get("stats_sinks").or_else(|| bootstrap.get("admin"));
        let tags = bootstrap.each("stats_config.stats_tags");
        let ours = tags.iter().any(|tag| tag.text("regex").is_some_and(|regex| regex.contains("callgate")));
        // The metrics of a dynamic module have labels without tags.
        let is_tagged =
            |gate: &Gate<'_>| gate.adapter == Adapter::Wasm && std::ptr::eq(gate.view.document, bootstrap.document);
        let has_gate = self.gates.iter().any(is_tagged);
        if let Some(place) = is_read.filter(|_| has_gate && !ours) {
            let message = "without `stats_tags`, each outcome and reason is a metric with another name, which dashboards do not \
                           find; write those of `envoy/envoy.yaml` into `stats_config`";
            self.add(Code::TagsMissing, &place, message);
        }
    }
}

fn mentions(log: &View<'_>, text: &str) -> bool {
    log.value.to_string().contains(text)
}

/// Returns the first header with a credential that an operator in the format writes.
fn logged_header<'s>(format: &str, secrets: &[&'s str]) -> Option<&'s str> {
    const OPERATORS: [&str; 4] = ["%req(", "%request_header(", "%cel(", "%dynamic_metadata("];
    let lower = format.to_ascii_lowercase();
    // The arguments of an operator end at its last parenthesis before the next `%`.
    let arguments =
        OPERATORS.iter().flat_map(|operator| lower.split(operator).skip(1)).filter_map(|rest| rest.split('%').next());
    // A name consists of letters, digits and hyphens; any other byte ends it.
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').map(str::to_owned).collect()
    };
    let named: Vec<String> = arguments.flat_map(words).collect();
    secrets.iter().copied().find(|secret| named.iter().any(|name| name == secret))
}

#[cfg(test)]
mod tests {
    use super::{SECRET, logged_header};

    #[test]
    fn finds_credentials_in_every_access_log_operator() {
        for (format, expected) in [
            ("%REQ(AUTHORIZATION)%", Some("authorization")),
            ("a %REQ(X-Request-Id)% b %REQ(X-None?Authorization):20%", Some("authorization")),
            ("%REQUEST_HEADER(Cookie)%", Some("cookie")),
            ("%CEL(request.headers['dpop'])%", Some("dpop")),
            ("%REQ(X-AUTHORIZATION-KIND)% authorization %START_TIME%", None),
            ("%RESP(AUTHORIZATION)%", None),
        ] {
            assert_eq!(logged_header(format, &SECRET), expected, "{format}");
        }
    }
}
