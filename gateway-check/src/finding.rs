//! The findings in a gateway's configuration: the list of all codes, and a finding with its position.

use std::fmt;

use serde::{Serialize, Serializer};

use callgate_kit::diagnostic::{Diagnostic, Severity};

/// Declares [`Code`] and the text, severity and description of each code.
macro_rules! codes {
    ($($variant:ident $code:literal $severity:ident $about:literal)*) => {
        /// A kind of finding. Codes are stable: scripts and comments name them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $about] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as text.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The severity of a finding of this kind.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// The problem, and its effect.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

codes! {
    NoGate "no_gate" Error
        "No file contains the gate, so protected and unprotected routes cannot be distinguished."
    ChainWithoutGate "chain_without_gate" Error
        "A filter chain forwards requests to an upstream without the gate: a filter chain, the filters of an `upgrade_configs` entry, or a Kubernetes Gateway that no plugin selects."
    RouteWithoutGate "route_without_gate" Error
        "A virtual host, route, weighted cluster, Kong service or plugin rule disables the gate, or has none."
    TcpBesideGate "tcp_beside_gate" Error
        "Bytes are forwarded without being parsed as HTTP, so the gate checks no request in them."
    OtherUpstream "other_upstream" Warning
        "Requests reach an upstream without the gate, under a host that no policy in these files names. No other route reaches that upstream through the gate. This is a way around the gate if the upstream also serves the protected API."
    GateConditional "gate_conditional" Error
        "The gate is inside a matcher or another filter, or applies to a part of the traffic only: requests that do not match are forwarded without it."
    GateOptional "gate_optional" Error
        "With `is_optional`, the gateway continues without the gate if it cannot load it."
    GateHidden "gate_hidden" Error
        "The filter that could be the gate is delivered from another source, which is not among the files."
    Hidden "hidden" Warning
        "A part of the configuration comes from another source (RDS, scoped routes, VHDS, LDS, ECDS), which is not among the files, so it cannot be checked."
    NotUnderstood "not_understood" Error
        "A file, or a part of it that could open a way around the gate, has a form that this check does not know."
    NotChecked "not_checked" Warning
        "A kind of resource can change the gateway's behavior, and this check does not read it."
    FailOpen "fail_open" Error
        "If the gate traps or cannot be loaded, every request is forwarded."
    FailurePolicyUnset "failure_policy_unset" Warning
        "The behavior after a trap is left to the gateway's default, which differs between versions and consoles."
    ObserveMode "observe_mode" Warning
        "The policy is in observe mode: it denies no request."
    PolicyWrong "policy_wrong" Error
        "The policy in the configuration does not compile, or cannot be read."
    PolicyOfAnother "policy_of_another" Error
        "The policy was written for another gateway, whose host calls behave differently, or it differs from the policy given on the command line."
    ConfigurationNotText "configuration_not_text" Error
        "The policy is not delivered as a string: a Wasm filter receives it as protobuf, and a dynamic module receives a text that Envoy wrote."
    BodyNeverComes "body_never_comes" Error
        "The policy holds requests until their body is checked, and this gateway never delivers the body of a held request."
    BufferTooSmall "buffer_too_small" Warning
        "The listener buffers less than the policy's `max_body` or `max_json`, and the gateway rejects larger bodies with 413; or less than its `max_answer`, and the filter sets larger answers than the gateway should buffer."
    CapabilityMissing "capability_missing" Error
        "A callback or host function that the filter needs is not allowed. Without its callbacks, the gateway never calls the gate."
    CapabilitiesUnrestricted "capabilities_unrestricted" Warning
        "The host functions that the module may call are not restricted."
    VmIdBlank "vm_id_blank" Warning
        "Without its own `vm_id`, the gate shares the map that contains its counters with every other filter that has no `vm_id`."
    StateShared "state_shared" Warning
        "Two gates with the same `vm_id`, or in the same dynamic module, have different policies with the same name, so they share counters."
    BothAdapters "both_adapters" Error
        "Requests pass through the gate as a Wasm filter and as a dynamic module: each is decided and counted twice, and the second decision does not see the credential that the first one removed."
    ModuleUnloaded "module_unloaded" Error
        "Without `do_not_close`, Envoy closes the dynamic module with the last listener that uses it. Only the mark in the file, which the system's loader honors, then keeps it in memory; a module that is unloaded forgets limits and accepted signatures."
    SecretInline "secret_inline" Error
        "The configuration contains a secret, and gateways print their configuration on the admin interface."
    SecretNotPassed "secret_not_passed" Error
        "The policy reads a secret from a variable that the gateway does not pass to the filter."
    ModuleNotPinned "module_not_pinned" Warning
        "The module is downloaded without a digest: anyone who can write to that location can replace the gate."
    FilterAfterGate "filter_after_gate" Error
        "A filter after the gate can change method, path, host or body, so the upstream can receive another request than the one that the gate allowed."
    UnknownFilterAfterGate "unknown_filter_after_gate" Warning
        "This check does not know a filter after the gate, which may change the request."
    AnsweredBeforeGate "answered_before_gate" Error
        "A filter before the gate returns an upstream's response, or calls an upstream, without a decision of the gate."
    ClientPicksUpstream "client_picks_upstream" Error
        "A header from the client selects the upstream, or the host that the upstream receives, after the gate decided."
    PathRewritten "path_rewritten" Warning
        "The path is rewritten after the gate decided: the upstream receives another path than the policy allowed."
    HostRewritten "host_rewritten" Warning
        "The host is rewritten after the gate decided."
    IdentityHeaderChanged "identity_header_changed" Error
        "Headers that carry the gate's identity, or the credential, are set or removed after the gate."
    Mirrored "mirrored" Warning
        "Requests that change something are copied to another upstream."
    Repeated "repeated" Warning
        "The gateway retries requests that may change something: one allowed request, perhaps one that must happen only once, happens twice."
    AddressNotTrusted "address_not_trusted" Error
        "The source address is read from a header that clients can write: records, limits and bindings by source are not reliable."
    AddressTrust "address_trust" Warning
        "The source address is read from a header. That is correct only behind your own proxies that set it."
    PathNormalized "path_normalized" Warning
        "The gateway rewrites paths before the gate: the gate checks and records another path than the client sent, and signatures over it fail."
    HostStripped "host_stripped" Warning
        "The gateway changes the host before the gate: a signature over the host that the client sent fails."
    UnderscoresDropped "underscores_dropped" Warning
        "The gateway drops headers with underscores before the gate, so the gate does not check the request as sent."
    AdminExposed "admin_exposed" Error
        "Anyone who reaches the admin interface can read the policy, change the runtime and terminate the process."
    CredentialChanged "credential_changed" Error
        "A filter before the gate removes or sets the credential, so the gate checks another credential than the client sent, or none."
    RequestsBeforeGate "requests_before_gate" Warning
        "A filter before the gate sends requests to a service for clients that are not authenticated yet."
    UpstreamByHost "upstream_by_host" Warning
        "The host of the request selects the upstream (dynamic forward proxy): only the policy's `hosts` limit the reachable upstreams."
    HostNotInPolicy "host_not_in_policy" Warning
        "Requests for a host reach the gate, and no policy names that host, so all of them are denied."
    StatusRewritten "status_rewritten" Error
        "A denial is returned with a status that indicates success."
    FramingLenient "framing_lenient" Error
        "The gateway accepts requests whose end two servers can interpret differently."
    CredentialLogged "credential_logged" Error
        "An access log or a tap contains credentials."
    RecordNotLogged "record_not_logged" Warning
        "A listener with the gate has access logs, and none of them contains the gate's record."
    TagsMissing "tags_missing" Warning
        "The gate's metrics are read without the tags that separate outcome and reason from the name."
    FetchClusterMissing "fetch_cluster_missing" Error
        "The policy fetches keys from a cluster that does not exist, so every request of their issuer is denied."
    FetchWithoutTls "fetch_without_tls" Error
        "The policy fetches keys from an `https` URL, but the gateway connects without TLS: anyone on the way can replace the keys, and then sign tokens."
    FetchUnverified "fetch_unverified" Error
        "The gateway does not verify the certificate of a server from which the policy fetches keys: anyone on the way can replace the keys, and then sign tokens."
    FetchNameUnverified "fetch_name_unverified" Error
        "The gateway accepts the certificate of another host for a server from which the policy fetches keys, or does not send the host's name (SNI)."
    FetchElsewhere "fetch_elsewhere" Warning
        "The policy fetches keys from another server than that of the URL. This is correct only for your own proxy."
    CertificatesUnseen "certificates_unseen" Warning
        "The policy identifies clients by their certificates, and a listener in front of the gate asks for none, or accepts connections without TLS: certificates identify nobody there."
    CertificatesUnvalidated "certificates_unvalidated" Error
        "The policy identifies clients by their certificates, and a listener in front of the gate does not validate them: anyone can make a certificate with the name of an agent, or every client gets in without one."
    TrustDomainsShared "trust_domains_shared" Error
        "The policy accepts several SPIFFE trust domains, and a listener in front of the gate validates all certificates with the same authorities: the authority of one trust domain can issue certificates of another."
    TrustDomainsDiffer "trust_domains_differ" Warning
        "The validator of a listener has other SPIFFE trust domains than the policy, so clients are rejected by one of them."
    CertificateNotPassed "certificate_not_passed" Error
        "The policy identifies clients by their certificates, and no filter passes the certificate to the dynamic module, to which Envoy itself gives only the digest: the gate cannot read any certificate, and denies clients that have one where certificates are accepted."
    CertificateReplaced "certificate_replaced" Error
        "Clients can choose or influence what the dynamic module reads as their certificate. The gate rejects a certificate that does not have the digest which Envoy reports, so such requests are denied."
    AcceptedNothing "accepted_nothing" Warning
        "A comment accepts a finding that does not exist."
}

/// A finding and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// The position, and what to write instead.
    pub diagnostic: Diagnostic,
    /// The reason in a comment that accepts the finding.
    pub accepted: Option<String>,
}

impl Finding {
    /// Returns whether this is a bypass of the gate that no comment accepts.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.accepted.is_none() && self.diagnostic.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    /// Writes `envoy.yaml:12:5: admin.address: message [admin_exposed]`, safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.diagnostic, self.code.name())
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            code: &'static str,
            #[serde(flatten)]
            diagnostic: &'a Diagnostic,
            #[serde(skip_serializing_if = "Option::is_none")]
            accepted: Option<&'a str>,
        }
        Flat { code: self.code.name(), diagnostic: &self.diagnostic, accepted: self.accepted.as_deref() }
            .serialize(serializer)
    }
}
