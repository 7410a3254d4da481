//! Checks how a dynamic module gets the certificate of a client. Envoy gives it only the digest, so a filter sets the certificate as filter
//! state: a network filter once for each connection, or an HTTP filter in front of the module for each request. The gate rejects a
//! certificate with another digest.

use super::Check;
use super::filters::Chain;
use super::finding::Code;
use super::gate::{Adapter, Gate};
use super::view::View;

/// The end of the type of the filter that sets filter state for a request, also in a route.
const FILTER: &str = ".filters.http.set_filter_state.v3.Config";
/// The end of the type of the network filter that sets filter state for a connection.
const NETWORK_FILTER: &str = ".filters.network.set_filter_state.v3.Config";

/// The key under which the module reads the certificate.
const KEY: &str = "callgate.peer_certificate";
/// The factory of text values.
const FACTORY: &str = "envoy.string";
/// What the value must be.
const FORMAT: &str = "%DOWNSTREAM_PEER_CERT%";

/// The filter that `callgate render` prints.
const INSTEAD: &str =
    "write the filter `set_filter_state` in the filter chain, as `callgate render --for envoy-module --full` prints it";

impl<'a> Check<'a> {
    /// Checks that a module whose policy uses certificates gets them, and gets them unchanged.
    pub(super) fn certificate_passed(&mut self, chain: &Chain<'a>) {
        let Some(gate) = chain.gates.iter().map(|placed| &placed.gate).find(|gate| reads_certificates(gate)) else {
            return;
        };
        let gate = gate.view.clone();
        let (mut is_passed, mut is_behind, mut behind) = (self.certificate_of_connection, false, None);
        for filter in chain.filters.items() {
            for config in self.configs(&filter) {
                let (type_name, content) = config.open();
                is_behind |= std::ptr::eq(content.value, gate.value);
                if !type_name.ends_with(FILTER) {
                    continue;
                }
                for entry in set_by(&content) {
                    if is_behind {
                        behind = behind.or(Some(entry));
                    } else if let Some(disabled) = filter.says("disabled") {
                        self.not_passed(&disabled, "this filter is disabled; remove `disabled`");
                        is_passed = true;
                    } else {
                        self.passing(&entry);
                        is_passed = true;
                    }
                }
            }
        }
        match behind {
            _ if is_passed => {}
            Some(entry) => self.not_passed(&entry, "this filter runs after the gate; put it in front of the gate"),
            None if chain.hidden => {
                let message = format!(
                    "the filter that passes certificates to the gate may be among those from ECDS, which are not among the files; \
                     give those files too, or {INSTEAD}"
                );
                self.add(Code::Hidden, &gate, message);
            }
            None => self.not_passed(&gate, &format!("no filter sets `{KEY}`; {INSTEAD}")),
        }
    }

    /// Checks the value that is set for the gate.
    fn passing(&mut self, entry: &View<'a>) {
        let format = entry.text("format_string.text_format_source.inline_string");
        let format = format.or_else(|| entry.text("format_string.text_format"));
        let factory = entry.text("factory_key");
        match format {
            // Every other operator has a value that clients choose or influence.
            Some(format) if format.replace(FORMAT, "").contains('%') => {
                let message = format!("clients influence this value of `{KEY}`; write `inline_string: \"{FORMAT}\"`");
                self.add(Code::CertificateReplaced, entry, message);
            }
            Some(FORMAT) if factory == Some(FACTORY) => {}
            Some(FORMAT) => {
                self.not_passed(entry, &format!("the gate reads only text; write `factory_key: {FACTORY}`"))
            }
            _ => {
                let message = format!("this value is not the certificate; write `inline_string: \"{FORMAT}\"`");
                self.not_passed(entry, &message);
            }
        }
    }

    /// Reports that the module in Envoy Gateway's extension policy has no such filter.
    pub(super) fn certificate_of_extension(&mut self, gate: &Gate<'a>) {
        if reads_certificates(gate) {
            let why = "Envoy Gateway has no resource for the filter that passes them to a module; use the Wasm filter, or add that \
                       filter with an `EnvoyPatchPolicy` and accept this in a comment";
            self.not_passed(&gate.view, why);
        }
    }

    fn not_passed(&mut self, view: &View<'a>, why: &str) {
        let message = format!("the gate cannot read certificates here: {why}");
        self.add(Code::CertificateNotPassed, view, message);
    }

    /// Reads whether a filter chain sets the certificate for its connections.
    pub(super) fn read_connection(&mut self, chain: &View<'a>) {
        let filters = chain.find(&[NETWORK_FILTER]);
        self.certificate_of_connection =
            filters.iter().flat_map(View::fields).any(|(_, list)| !entries(&list).is_empty());
    }

    /// Checks what a filter chain sets for its connections. `before` is the number of gates that were found before it.
    pub(super) fn passing_of_connection(&mut self, chain: &View<'a>, before: usize) {
        if !self.gates.iter().skip(before).any(reads_certificates) {
            return;
        }
        for filter in chain.find(&[NETWORK_FILTER]) {
            let handshake = filter.get("on_downstream_tls_handshake");
            for (_, list) in filter.fields() {
                let is_in_time = handshake.as_ref().is_some_and(|known| std::ptr::eq(known.value, list.value));
                for entry in entries(&list) {
                    self.passing(&entry);
                    if !is_in_time {
                        let why = "the certificate is not known yet; write the value in `on_downstream_tls_handshake`";
                        self.not_passed(&entry, why);
                    }
                }
            }
        }
    }

    /// Checks the settings of a route or of another part of the routes, which Envoy applies after those of the filter.
    pub(super) fn certificate_of_route(&mut self, part: &View<'a>, chain: &Chain<'a>) {
        if !chain.gates.iter().any(|placed| reads_certificates(&placed.gate)) {
            return;
        }
        let filters = part.get("typed_per_filter_config").map(|filters| filters.fields()).unwrap_or_default();
        for (name, config) in filters {
            for entry in config.find(&[FILTER]).iter().flat_map(set_by) {
                self.passing(&entry);
            }
            if config.says("disabled").is_some() && self.sets_certificate(chain, name) {
                self.not_passed(&config, "this filter is disabled for these requests; remove this");
            }
        }
    }

    /// Returns whether the filter with this name sets the certificate.
    fn sets_certificate(&self, chain: &Chain<'a>, name: &str) -> bool {
        let named = chain.filters.items().into_iter().filter(|filter| filter.text("name") == Some(name));
        named.flat_map(|filter| self.configs(&filter)).any(|config| {
            let (type_name, content) = config.open();
            type_name.ends_with(FILTER) && !set_by(&content).is_empty()
        })
    }
}

fn reads_certificates(gate: &Gate<'_>) -> bool {
    gate.adapter == Adapter::Module && gate.facts.as_ref().is_some_and(|facts| facts.certificates.is_some())
}

/// Returns the values that a filter sets for a request under the key of the certificate.
fn set_by<'a>(filter: &View<'a>) -> Vec<View<'a>> {
    filter.get("on_request_headers").map(|list| entries(&list)).unwrap_or_default()
}

/// Returns the values in a list that have the key of the certificate.
fn entries<'a>(list: &View<'a>) -> Vec<View<'a>> {
    let is_certificate = |entry: &View<'a>| entry.text("object_key") == Some(KEY);
    list.items().into_iter().filter(is_certificate).collect()
}
