//! What keys that the gate fetches cost, compared with keys in the policy: instructions of a decision and of a tick, memory, and CPU time
//! of idle workers.
//!
//! The wasm host counts instructions and memory, so other load on the machine does not affect them. The idle workers are those of a real
//! Envoy.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::token::{MAX_FETCHED_BYTES, MAX_FETCHED_KEYS};
use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde::Serialize;
use serde_json::{Value, json};

use super::callee::Callee;
use super::instructions::{NOW, WARM_UP, decide_in};
use super::report::{Bound, table};
use super::{Size, cpu, policies, rows};
use crate::client;
use crate::envoy::{Envoy, Options};
use crate::quickstart::{Issuer, set as set_member};
use crate::wasmhost::{Level, Module, Vm};

/// At least as long as keys are used before they are fetched again.
const REFRESH: Duration = Duration::from_mins(5);
/// The number of tokens whose decisions are counted.
const TOKENS: usize = 64;
/// The number of idle workers.
const WORKERS: u32 = 8;

/// The figures that are the same on every machine.
#[derive(Clone, Debug, Serialize)]
pub struct FetchedKeys {
    /// The instructions of a decision about a request with a cached token, with the keys in the policy.
    pub decision_inline: u64,
    /// The same with fetched keys.
    pub decision_fetched: u64,
    /// The instructions of a tick when nothing has to be fetched. Every worker ticks once per second.
    pub tick: u64,
    /// How much memory a VM needs for as many and as large keys as are accepted, and for replacing them by others, in bytes.
    pub memory_bytes_most_keys: usize,
    /// How much memory a VM needs for the accepted document that takes the most memory to parse, in bytes.
    pub memory_bytes_most_members: usize,
}

impl FetchedKeys {
    /// Counts for the quickstart's policy.
    ///
    /// # Errors
    /// When the filter does not use a key set, or its decision is not the expected one.
    pub fn count(module: &Module) -> Result<Self> {
        let issuer = Issuer::at(NOW)?;
        let tokens: Vec<_> = (0..TOKENS).map(|serial| policies::token(&issuer, &issuer.es256, serial)).collect();
        let token = tokens.first().context("there is no token")?;
        let inline = policies::quickstart()?;
        let (mut policy, key_set) = policies::with_fetched_keys(&inline)?;
        let decision_inline = decision(&mut start(module, &inline)?, &tokens)?;

        let mut vm = start(module, &policy)?;
        fetch(&mut vm, &key_set.to_string())?;
        let decision_fetched = decision(&mut vm, &tokens)?;
        for _ in 0..WARM_UP {
            tick(&mut vm)?;
        }

        let own = key_set.get("keys").and_then(Value::as_array).context("the key set has no keys")?;
        let [first, second] = ['a', 'b'].map(|set| filled(&with_rsa_keys(own, set), &certificate()));
        let members = filled(own, &nested_objects());
        policies::accept_rs256(&mut policy)?;
        let growth = |key_sets: [&str; 2]| growth(module, &policy, key_sets, token);
        Ok(Self {
            decision_inline,
            decision_fetched,
            tick: tick(&mut vm)?,
            memory_bytes_most_keys: growth([&first, &second])?,
            memory_bytes_most_members: growth([&members, &members])?,
        })
    }

    /// Returns the figures with a requirement.
    pub fn bounds(&self) -> [Bound; 4] {
        let decision = self.decision_fetched as f64;
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        [
            ("fetched_vs_inline_instructions", decision / self.decision_inline as f64, 1.01),
            // Then eight workers cost less than four decisions per second, and a thousandth of a core is forty decisions.
            ("tick_vs_decision_instructions", self.tick as f64 / decision, 0.5),
            ("memory_mib_most_keys", mib(self.memory_bytes_most_keys), 4.0),
            ("memory_mib_most_members", mib(self.memory_bytes_most_members), 32.0),
        ]
        .map(|(name, value, most)| Bound { name, value, most: Some(most) })
    }
}

impl fmt::Display for FetchedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
        let mut figures = table(["fetched keys", "instructions or memory"]);
        for (what, figure) in [
            ("a decision, keys in the policy", self.decision_inline.to_string()),
            ("a decision, fetched keys", self.decision_fetched.to_string()),
            ("a tick, once per second and worker", self.tick.to_string()),
            ("the most and largest keys that are accepted", kib(self.memory_bytes_most_keys)),
            ("the document that takes the most memory to parse", kib(self.memory_bytes_most_members)),
        ] {
            figures.add_row([what.to_owned(), figure]);
        }
        figures.fmt(f)
    }
}

/// Starts a VM in a gateway with the cluster from which keys are fetched.
fn start(module: &Module, policy: &Value) -> Result<Vm> {
    let mut vm = super::start(module, policy)?;
    vm.add_cluster(policies::KEY_CLUSTER);
    Ok(vm)
}

/// Returns the median of the instructions of a decision over several tokens. What a VM did before, such as fetching, leaves free blocks of
/// memory, which change the instructions of the first decisions by more than a hundredth in either direction.
fn decision(vm: &mut Vm, tokens: &[String]) -> Result<u64> {
    let decisions = tokens.iter().map(|token| Ok(decide_in(vm, token)?.fuel));
    let mut counts = decisions.collect::<Result<Vec<u64>>>()?;
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().context("there is no token")
}

/// Fires the timer. Returns the instructions of the tick.
fn tick(vm: &mut Vm) -> Result<u64> {
    let has_timer = vm.tick(vm.first_root()).map_err(Error::msg)?;
    ensure!(has_timer, "the filter has no timer");
    Ok(vm.fuel())
}

/// Lets time pass until keys have to be fetched, and responds with this key set.
fn fetch(vm: &mut Vm, key_set: &str) -> Result<()> {
    vm.pass(REFRESH);
    tick(vm)?;
    let call = vm.http_calls().pop().context("the filter does not fetch keys")?;
    vm.answer_call(call.id, 200, &[], key_set.as_bytes()).map_err(Error::msg)?;
    let warning = vm.logs().iter().find(|log| log.level >= Level::Warn);
    ensure!(warning.is_none(), "a key set is not used: {warning:?}");
    Ok(())
}

/// Returns how many bytes the memory of a VM grows by that fetches these key sets one after the other.
fn growth(module: &Module, policy: &Value, key_sets: [&str; 2], token: &str) -> Result<usize> {
    let mut vm = start(module, policy)?;
    let before = vm.memory_bytes();
    for key_set in key_sets {
        fetch(&mut vm, key_set)?;
    }
    let grown = vm.memory_bytes().saturating_sub(before);
    // Shows that the keys are used.
    decide_in(&mut vm, token)?;
    Ok(grown)
}

/// Returns as many keys as are accepted: these, and before them RSA keys with long names. Sets with different names share no RSA key.
fn with_rsa_keys(own: &[Value], set: char) -> Vec<Value> {
    let rsa = |number: usize| {
        let name = format!("{set}{number:03}");
        let mut key = rsa_key(&name);
        set_member(&mut key, "alg", "RS256");
        set_member(&mut key, "kid", format!("{name:-<256}"));
        key
    };
    (own.len()..MAX_FETCHED_KEYS).map(rsa).chain(own.iter().cloned()).collect()
}

/// Returns an RSA key of 4096 bits, the most that are accepted. Nobody has the private key. Keys with different names of four bytes differ.
pub(super) fn rsa_key(name: &str) -> Value {
    let modulus = [&[0xff; 8][..], name.as_bytes(), &[0xff; 500]].concat();
    json!({ "kty": "RSA", "kid": name, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })
}

/// Returns a key set with these keys and a list that repeats an item until the document has the maximum size.
fn filled(keys: &[Value], item: &str) -> String {
    let begin = format!("{{\"keys\":{},\"list\":[{item}", Value::from(keys));
    let room = MAX_FETCHED_BYTES.saturating_sub(begin.len() + "]}".len());
    let item = format!(",{item}");
    format!("{begin}{}]}}", item.repeat(room / item.len()))
}

/// Returns text as long as a certificate, which providers publish next to keys.
fn certificate() -> String {
    format!("\"{}\"", "x".repeat(1_000))
}

/// Returns nested objects with one member each. An object takes five bytes of the document, and some hundred bytes of memory.
fn nested_objects() -> String {
    // Sixteen levels are accepted. The document and its list are two of them.
    const DEPTH: usize = 14;
    format!("{}0{}", "{\"\":".repeat(DEPTH), "}".repeat(DEPTH))
}

/// Starts a server that publishes a key set.
pub(super) fn publish(key_set: &Value) -> Result<KeyServer> {
    let server = KeyServer::start()?;
    server.set_for(JWKS, Behavior::Exactly(key_set.to_string()))?;
    Ok(server)
}

/// Sends one request, which waits until the keys have arrived. Only a few requests of one source may wait at the same time.
pub(super) fn await_keys(listener: SocketAddr) -> Result<()> {
    let issuer = Issuer::new()?;
    let call = policies::call(&policies::token(&issuer, &issuer.es256, 0));
    let status = client::call(listener, &call)?.status;
    ensure!(status == 200, "the gate has not fetched the keys: the response to a request is {status}");
    Ok(())
}

/// Returns the CPU time that idle workers need to keep fetched keys current, in percent of a core: that of an Envoy with fetched keys,
/// minus that of an Envoy with the keys in the policy in the same time.
pub(super) fn ticks_percent(filter: &Path, size: &Size) -> Result<f64> {
    let callee = Callee::start()?;
    let mut base = rows::base(filter, &callee)?;
    let inline = policies::quickstart()?;
    let (fetching, key_set) = policies::with_fetched_keys(&inline)?;
    let key_server = publish(&key_set)?;
    base.add_server(policies::KEY_CLUSTER, key_server.address())?;
    let options = Options { concurrency: WORKERS, ..Options::default() };
    let start = |policy: &Value| -> Result<Envoy> {
        let envoy = Envoy::start(&base.with_policy(&policy.to_string())?, &options)?;
        await_keys(envoy.api()?)?;
        Ok(envoy)
    };
    let (inline, fetching) = (start(&inline)?, start(&fetching)?);
    // The other workers read the keys, and V8 compiles what runs more than once.
    thread::sleep(size.idle / 4);
    let used = || -> Result<f64> {
        let [inline, fetching] = [cpu::of_process(inline.process())?, cpu::of_process(fetching.process())?];
        Ok(fetching.as_secs_f64() - inline.as_secs_f64())
    };
    let (begin, before) = (Instant::now(), used()?);
    thread::sleep(size.idle);
    let more = used()? - before;
    Ok(more / begin.elapsed().as_secs_f64() * 100.0)
}
