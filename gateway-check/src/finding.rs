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

            /// The problem, and why it matters.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

codes! {
    NoGate "no_gate" Error
        "No file has the gate in it, so that nothing that it protects can be told from what it does not."
    ChainWithoutGate "chain_without_gate" Error
        "A chain of filters takes calls to an upstream without the gate: a filter chain, the filters of an `upgrade_configs` entry, a Kubernetes Gateway that no plugin selects."
    RouteWithoutGate "route_without_gate" Error
        "A virtual host, route, weighted cluster, Kong service or plugin rule switches the gate off, or has none."
    TcpBesideGate "tcp_beside_gate" Error
        "Bytes are passed on without being read as HTTP, so that no call in them meets the gate."
    OtherUpstream "other_upstream" Warning
        "Calls go past the gate to an upstream that nothing else here reaches through it, under a name that no policy here answers for. That is a way around if the upstream is the same under another name."
    GateConditional "gate_conditional" Error
        "The gate stands inside of a matcher or another filter, or acts on a part of the traffic only: calls that do not match pass without it."
    GateOptional "gate_optional" Error
        "`is_optional` lets the gateway leave the gate out where it cannot load it."
    GateHidden "gate_hidden" Error
        "The filter that could be the gate is delivered from elsewhere and was not among the files."
    Hidden "hidden" Warning
        "A part of the configuration comes from elsewhere (RDS, scoped routes, VHDS, LDS, ECDS) and was not among the files: what it does cannot be seen."
    NotUnderstood "not_understood" Error
        "A file, or a part of it that could open a way around, is in a form that this check does not know."
    NotChecked "not_checked" Warning
        "A kind of resource that can change what the gateway does and that this check does not read."
    FailOpen "fail_open" Error
        "A gate that traps, or that cannot be loaded, lets every call through."
    FailurePolicyUnset "failure_policy_unset" Warning
        "What happens after a trap is left to the gateway's default, which versions and consoles disagree about."
    ObserveMode "observe_mode" Warning
        "The policy only observes: it refuses nothing."
    PolicyWrong "policy_wrong" Error
        "The policy in the configuration does not compile, or cannot be read."
    PolicyOfAnother "policy_of_another" Error
        "The policy was made for another gateway, whose host calls behave otherwise, or is another one than the policy that the command names."
    ConfigurationNotText "configuration_not_text" Error
        "The policy is not delivered as a string, and reaches the filter as protobuf."
    BodyNeverComes "body_never_comes" Error
        "The policy holds calls until their body was checked, and this gateway never delivers the body of a call that is held."
    BufferTooSmall "buffer_too_small" Warning
        "The listener buffers less than the policy's `max_body`: larger bodies are answered with 413 by the gateway."
    CapabilityMissing "capability_missing" Error
        "A callback or host call that the filter needs is not allowed. Without its callbacks the gateway never asks the gate."
    CapabilitiesUnrestricted "capabilities_unrestricted" Warning
        "Nothing restricts what the module may call."
    VmIdBlank "vm_id_blank" Warning
        "Without a `vm_id` of its own the gate shares the map in which it counts with every other filter that has none."
    StateShared "state_shared" Warning
        "Two gates with one `vm_id` have different policies of one name, which count in the same places."
    SecretInline "secret_inline" Error
        "A secret stands in the configuration, which gateways print on their admin interface."
    SecretNotPassed "secret_not_passed" Error
        "The policy takes a secret from a variable that the gateway does not pass to the filter."
    ModuleNotPinned "module_not_pinned" Warning
        "The module is fetched from elsewhere without a digest: whoever can write there replaces the gate."
    FilterAfterGate "filter_after_gate" Error
        "A filter behind the gate can change method, path, host or body, so that the upstream gets another call than the one that was decided."
    UnknownFilterAfterGate "unknown_filter_after_gate" Warning
        "A filter behind the gate that this check does not know: it may change what was decided."
    AnsweredBeforeGate "answered_before_gate" Error
        "Something before the gate gives out what an upstream said, or calls one, without asking the gate."
    ClientPicksUpstream "client_picks_upstream" Error
        "A header of the client decides where the call goes, or which host it names, after the gate decided."
    PathRewritten "path_rewritten" Warning
        "The path is rewritten after the gate decided: the upstream gets another one than the policy allowed."
    HostRewritten "host_rewritten" Warning
        "The host is rewritten after the gate decided."
    IdentityHeaderChanged "identity_header_changed" Error
        "Headers that carry the gate's identity, or the credential, are written or removed after the gate."
    Mirrored "mirrored" Warning
        "Calls that change something are copied to another upstream."
    Repeated "repeated" Warning
        "The gateway sends calls again that may change something: one call that was allowed, and perhaps may happen once, happens twice."
    AddressNotTrusted "address_not_trusted" Error
        "The source address is what the client writes into a header: records, limits and bindings by source are worth nothing."
    AddressTrust "address_trust" Warning
        "The source address is taken from a header. That is right only behind proxies of your own that write it."
    PathNormalized "path_normalized" Warning
        "The gateway rewrites paths before the gate: it judges, and records, another path than the client sent, and signatures over it fail."
    HostStripped "host_stripped" Warning
        "The gateway changes the host before the gate: a signature over what the client sent fails."
    UnderscoresDropped "underscores_dropped" Warning
        "The gateway drops headers with underscores before the gate, so that what was sent is not what is judged."
    AdminExposed "admin_exposed" Error
        "Whoever reaches the admin interface can read the policy, change the runtime and end the process."
    CredentialChanged "credential_changed" Error
        "A filter before the gate removes or writes the credential, so that the gate judges another one than the client sent, or none."
    RequestsBeforeGate "requests_before_gate" Warning
        "A filter before the gate sends requests to a service for clients that nobody has verified yet."
    UpstreamByHost "upstream_by_host" Warning
        "The host of the request names the upstream (dynamic forward proxy): what can be reached is what the policy's `hosts` say."
    HostNotInPolicy "host_not_in_policy" Warning
        "Requests for a host reach the gate, and no policy names that host, so that all of them are denied."
    StatusRewritten "status_rewritten" Error
        "A denial is answered with a status that says success."
    FramingLenient "framing_lenient" Error
        "The gateway accepts requests whose end two servers may find in different places."
    CredentialLogged "credential_logged" Error
        "An access log or a tap holds credentials."
    RecordNotLogged "record_not_logged" Warning
        "A listener with the gate has access logs, and none of them has the gate's record."
    TagsMissing "tags_missing" Warning
        "The gate's metrics are read without the tags that separate outcome and reason from the name."
    AcceptedNothing "accepted_nothing" Warning
        "A comment accepts a finding that is not there."
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
