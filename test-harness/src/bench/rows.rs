//! The measured rows: one Envoy with a listener for each row. The listeners differ only in their filters.

use std::cell::LazyCell;
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context as _, Result};
use callgate_kit::mint::{Algorithm, SigningKey};
use identity_provider::key_server::KeyServer;
use serde_json::{Value, json};

use super::callee::Callee;
use super::policy_service::PolicyService;
use super::revoked::{self, REVOCATION};
use super::{Built, Size, fetched, native, policies};
use crate::build::{self, Flavor};
use crate::client::Request;
use crate::envoy::{Adapter, Bootstrap};
use crate::quickstart::{Issuer, set};

/// The plain listener, the base of all others.
pub(super) const BARE: &str = "bare";
/// A Wasm filter that does nothing.
pub(super) const NOOP: &str = "noop";
/// A Wasm filter that makes the host calls of a decision: the lower bound for any gate that makes them.
pub(super) const SAME_CALLS: &str = "same_calls";
/// The row in which the gate has fetched the issuer's keys.
pub(super) const FETCHED: &str = "warm_fetched";
/// The row in which an agent acts for somebody else.
const DELEGATION: &str = "delegation";
/// The row in which the service for `ext_authz` answers the checks.
pub(super) const EXT_AUTHZ: &str = "ext_authz";
/// The row in which a policy service decides. It verifies the token of each request.
pub(super) const POLICY_SERVICE: &str = "policy_service";
/// The row in which the same policy service caches verified tokens.
pub(super) const POLICY_SERVICE_CACHED: &str = "policy_service_cached";
/// The rows with a policy service.
pub(super) const POLICY_SERVICES: [&str; 2] = [POLICY_SERVICE, POLICY_SERVICE_CACHED];
/// The listener with the module.
const MODULE: &str = "module";
/// The row in which the module has fetched the issuer's keys.
pub(super) const MODULE_FETCHED: &str = "module_warm_fetched";
/// The number of endpoints and agents in the larger of the two generated policies.
pub(super) const LARGE: usize = 10_000;
/// The number of endpoints and agents in the smaller one.
pub(super) const SMALL: usize = 10;

/// One row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) listener: &'static str,
    calls: Calls,
}

enum Calls {
    /// A few requests, repeated.
    Known(Vec<Vec<u8>>),
    /// Requests that are each sent once.
    Fresh(std::vec::IntoIter<Vec<u8>>),
}

/// How the requests of a row are created. They are created in advance, because signing takes time.
enum Made<'k> {
    /// One token, signed with this key.
    Known(&'k SigningKey),
    /// One token with a chain of two actors, signed with this key.
    Delegated(&'k SigningKey),
    /// Many tokens. Rows with the same algorithm share them, because signing takes long, and each gate has a separate cache.
    Fresh(&'k dyn Deref<Target = Vec<Vec<u8>>>),
    /// Tokens of some agents of a generated policy.
    OfSize(usize),
}

impl Row {
    /// Returns the requests of one round.
    pub(super) fn calls(&mut self, size: &Size) -> Result<Vec<Vec<u8>>> {
        match &mut self.calls {
            Calls::Known(calls) => Ok(calls.iter().cycle().take(size.calls).cloned().collect()),
            Calls::Fresh(calls) => {
                let calls: Vec<_> = calls.take(size.fresh_calls).collect();
                (calls.len() == size.fresh_calls).then_some(calls).context("no more fresh tokens")
            }
        }
    }
}

/// The files of the gate and of the filters to compare it with.
pub(super) struct Modules<'m> {
    pub(super) built: &'m Built,
    pub(super) noop: &'m Path,
    pub(super) same_calls: &'m Path,
}

/// Everything that is measured in one Envoy.
pub(super) struct Rows {
    pub(super) bootstrap: Bootstrap,
    pub(super) rows: Vec<Row>,
    /// The policy services that are measured.
    pub(super) policy_services: Vec<PolicyService>,
    /// Publishes the keys that the gate fetches.
    pub(super) key_server: KeyServer,
    /// Publishes the list of revoked credentials, if that is measured.
    pub(super) list_server: Option<KeyServer>,
}

impl Rows {
    pub(super) fn new(
        modules: &Modules<'_>,
        callee: &Callee,
        size: &Size,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let issuer = Issuer::new()?;
        let rs256 = SigningKey::generate(Algorithm::Rs256).context("no RSA key")?.with_kid("corp-rs256");
        let eddsa = as_eddsa(&issuer.ed25519)?;
        let jwks = json!({ "keys": [issuer.es256.public_jwk(), rs256.public_jwk(), eddsa.public_jwk()] });
        let mut listeners = listeners(modules, callee, &policies::with_rs256(&rs256)?, &jwks)?;
        let wasm = base(&modules.built.filter, callee)?;
        let (fetching, key_set) = policies::with_fetched_keys(&policies::quickstart()?)?;
        let key_server = fetched::publish(&key_set)?;
        listeners.push((FETCHED, gate(&wasm, FETCHED, &fetching)?));
        listeners.push((MODULE_FETCHED, gate(&base(&modules.built.module, callee)?, MODULE_FETCHED, &fetching)?));
        let delegating = policies::with_delegation(&policies::quickstart()?)?;
        listeners.push((DELEGATION, gate(&wasm, DELEGATION, &delegating)?));
        let (list_server, revoking) = wanted(REVOCATION).then(revoked::publish).transpose()?.unzip();
        if let Some(revoking) = &revoking {
            listeners.push((REVOCATION, gate(&wasm, REVOCATION, revoking)?));
        }
        let jwk = issuer.es256.public_jwk();
        let start = |name| {
            let program = build::policy_service(Flavor::Release)?;
            PolicyService::start(&program, name, &jwk, name == POLICY_SERVICE_CACHED)
        };
        let services = POLICY_SERVICES.into_iter().filter(|name| wanted(name)).map(start);
        let policy_services = services.collect::<Result<Vec<_>>>()?;
        for service in &policy_services {
            listeners.push((service.name(), wasm.with_filters(vec![native::ext_authz_grpc(service.name())])?));
        }
        let mut bootstrap = Bootstrap::joined(listeners)?;
        bootstrap.add_server(policies::KEY_CLUSTER, key_server.address())?;
        if let Some(server) = &list_server {
            bootstrap.add_server(revoked::CLUSTER, server.address())?;
        }
        for service in &policy_services {
            bootstrap.add_cluster(native::policy_service(service.name(), service.address()))?;
        }
        let rows = rows(&issuer, &rs256, &eddsa, size, wanted);
        Ok(Self { bootstrap, rows, policy_services, key_server, list_server })
    }
}

fn rows(
    issuer: &Issuer,
    rs256: &SigningKey,
    eddsa: &SigningKey,
    size: &Size,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Row> {
    let call = |key: &SigningKey, serial| policies::call(&policies::token(issuer, key, serial)).to_bytes();
    // Only wanted rows mint tokens.
    let mint = |key: &SigningKey| (0..size.fresh_in_all()).map(|serial| call(key, serial)).collect::<Vec<_>>();
    let [es256, of_rs256, ed25519] =
        [&issuer.es256, rs256, &issuer.ed25519].map(|key| LazyCell::new(move || mint(key)));
    let make = |calls| match calls {
        Made::Known(key) => Calls::Known(vec![call(key, 0)]),
        Made::Delegated(key) => Calls::Known(vec![policies::call(&policies::delegated_token(issuer, key)).to_bytes()]),
        Made::Fresh(calls) => {
            let own: Vec<_> = calls.iter().cloned().collect();
            Calls::Fresh(own.into_iter())
        }
        Made::OfSize(agents) => {
            let calls = policies::calls_of_size(issuer, agents, size.connections);
            Calls::Known(calls.iter().map(Request::to_bytes).collect())
        }
    };
    let known = Made::Known;
    let row = |name, what, listener, calls| (name, what, listener, calls);
    let all = [
        row(BARE, "a listener without a gate", BARE, known(&issuer.es256)),
        row(NOOP, "a Wasm filter that does nothing", NOOP, known(&issuer.es256)),
        row(SAME_CALLS, "a Wasm filter with the host calls of `warm` alone", SAME_CALLS, known(&issuer.es256)),
        row("native_cached", "native chain with its token cache", "native_cached", known(&issuer.es256)),
        row("warm", "Wasm, token seen before", "callgate", known(&issuer.es256)),
        row("module_warm", "module, token seen before", MODULE, known(&issuer.es256)),
        row(FETCHED, "Wasm, token seen before, fetched keys", FETCHED, known(&issuer.es256)),
        row(MODULE_FETCHED, "module, token seen before, fetched keys", MODULE_FETCHED, known(&issuer.es256)),
        row(
            REVOCATION,
            "Wasm, token seen before, a list of 100,000 revoked credentials",
            REVOCATION,
            known(&issuer.es256),
        ),
        row(DELEGATION, "Wasm, token seen before, a chain of two actors", DELEGATION, Made::Delegated(&issuer.es256)),
        row(EXT_AUTHZ, "an ext_authz hop, with the service", EXT_AUTHZ, known(&issuer.es256)),
        row(
            POLICY_SERVICE,
            "a policy service behind ext_authz (tonic, Cedar), with the service",
            POLICY_SERVICE,
            known(&issuer.es256),
        ),
        row(
            POLICY_SERVICE_CACHED,
            "the same policy service with a cache of verified tokens",
            POLICY_SERVICE_CACHED,
            known(&issuer.es256),
        ),
        row("native_es256", "native chain, ES256", "native", known(&issuer.es256)),
        row("cold_es256", "Wasm, ES256 never seen", "callgate", Made::Fresh(&es256)),
        row("module_cold_es256", "module, ES256 never seen", MODULE, Made::Fresh(&es256)),
        row("native_rs256", "native chain, RS256", "native", known(rs256)),
        row("cold_rs256", "Wasm, RS256 never seen", "callgate_rs256", Made::Fresh(&of_rs256)),
        row("module_cold_rs256", "module, RS256 never seen", "module_rs256", Made::Fresh(&of_rs256)),
        row("native_ed25519", "native chain, Ed25519", "native", known(eddsa)),
        row("cold_ed25519", "Wasm, Ed25519 never seen", "callgate", Made::Fresh(&ed25519)),
        row("module_cold_ed25519", "module, Ed25519 never seen", MODULE, Made::Fresh(&ed25519)),
        row("scale_10", "Wasm, 10 endpoints and agents", "scale_10", Made::OfSize(SMALL)),
        row("scale_10000", "Wasm, 10,000 endpoints and agents", "scale_10000", Made::OfSize(LARGE)),
        row("module_scale_10", "module, 10 endpoints and agents", "module_scale_10", Made::OfSize(SMALL)),
        row("module_scale_10000", "module, 10,000 endpoints and agents", "module_scale_10000", Made::OfSize(LARGE)),
    ];
    let wanted = all.into_iter().filter(|(name, ..)| *name == BARE || wanted(name));
    wanted.map(|(name, what, listener, calls)| Row { name, what, listener, calls: make(calls) }).collect()
}

fn listeners(
    modules: &Modules<'_>,
    callee: &Callee,
    with_rs256: &Value,
    jwks: &Value,
) -> Result<Vec<(&'static str, Bootstrap)>> {
    let base = self::base(&modules.built.filter, callee)?;
    let module_base = self::base(&modules.built.module, callee)?;
    let native = |filters| base.with_filters(filters);
    let quickstart = policies::quickstart()?;
    let (small, large) = (policies::of_size(SMALL)?, policies::of_size(LARGE)?);
    let chain = |cached| native(native::chain(&quickstart, jwks, cached)?);
    let gate = |name: &'static str, policy: &Value| gate(&base, name, policy);
    let module =
        |name: &'static str, policy: &Value| -> Result<_> { Ok((name, self::gate(&module_base, name, policy)?)) };
    let other = |name: &'static str, module: &Path| -> Result<_> {
        let mut other = base.with_policy("")?;
        let config = other.gate()?;
        *config.pointer_mut("/vm_config/code/local/filename").context("the gate has no file")? = json!(module);
        *config.pointer_mut("/vm_config/vm_id").context("the gate has no VM")? = json!(name);
        Ok((name, other))
    };
    Ok(vec![
        (BARE, native(Vec::new())?),
        other(NOOP, modules.noop)?,
        other(SAME_CALLS, modules.same_calls)?,
        ("native", chain(false)?),
        ("native_cached", chain(true)?),
        (EXT_AUTHZ, native(vec![native::ext_authz("api")])?),
        ("callgate", gate("callgate", &quickstart)?),
        ("callgate_rs256", gate("callgate_rs256", with_rs256)?),
        ("scale_10", gate("scale_10", &small)?),
        ("scale_10000", gate("scale_10000", &large)?),
        module(MODULE, &quickstart)?,
        module("module_rs256", with_rs256)?,
        module("module_scale_10", &small)?,
        module("module_scale_10000", &large)?,
    ])
}

/// Returns the same key under the older name of its algorithm, the only one that Envoy knows (RFC 8037; RFC 9864 defines the other).
pub(super) fn as_eddsa(key: &SigningKey) -> Result<SigningKey> {
    let mut jwk = key.private_jwk();
    set(&mut jwk, "alg", "EdDSA");
    SigningKey::from_jwk(&jwk).context("the Ed25519 key has no older name")
}

/// Returns the shipped listener with this policy and, for the filter in Wasm, a separate VM. All listeners of the module share its state.
pub(super) fn gate(base: &Bootstrap, vm: &str, policy: &Value) -> Result<Bootstrap> {
    let mut bootstrap = base.with_policy(&policy.to_string())?;
    if bootstrap.adapter() == Adapter::Wasm {
        *bootstrap.gate()?.pointer_mut("/vm_config/vm_id").context("the gate has no VM")? = json!(vm);
    }
    Ok(bootstrap)
}

/// Holds requests before the gate until their bodies are complete. Otherwise the listener would respond before an unsigned body is
/// complete.
pub(super) fn buffered(mut gate: Bootstrap) -> Result<Bootstrap> {
    let filters = gate.manager()?.get_mut("http_filters").and_then(Value::as_array_mut);
    filters.context("there are no filters")?.insert(0, native::buffer());
    Ok(gate)
}

/// Returns the shipped listener with the filter or the module, changed to respond itself and to write its access log where that costs
/// least.
pub(super) fn base(gate: &Path, callee: &Callee) -> Result<Bootstrap> {
    let mut base = Bootstrap::new(gate, "", callee.address())?;
    let log = base.manager()?.pointer_mut("/access_log/0").context("there is no access log")?;
    let format = log.pointer("/typed_config/log_format").context("the access log has no format")?.clone();
    *log = json!({ "name": "envoy.access_loggers.file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/null",
        "log_format": format,
    } });
    let hosts = base.virtual_hosts()?;
    hosts.truncate(1);
    let routes = hosts.first_mut().and_then(|host| host.get_mut("routes")).context("there are no routes")?;
    *routes = json!([{
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "done\n" } },
    }]);
    Ok(base)
}
