//! Sequences of hooks that an input chooses, with Envoy in memory, and what must hold after each of them.
//!
//! A fuzzer runs this under AddressSanitizer (`cargo harness fuzz-module`), and a test with fixed inputs. The order of hooks is one that
//! Envoy may choose, or worse. Clocks are stopped, and each input has its own shared map, so an input does the same in every run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "only tests and fuzzing use it")]

mod client;
mod input;
mod samples;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use callgate::state::MemoryStore;

use self::client::Client;
use self::input::Input;
use self::samples::SAMPLES;
use crate::clock::stopped::Clocks;
use crate::fake_envoy::{Gateway, IS_QUIET, RawLines};
use crate::{hooks, main_thread, store, worker};

/// The largest numbers of configurations and streams at the same time.
const GATEWAYS: usize = 3;
const CLIENTS: usize = 5;

/// How often something happened while inputs ran, which shows that they reach it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) configurations: u32,
    pub(crate) streams: u32,
    /// Requests that were forwarded: all of them, those that were woken first, and those whose bodies were checked.
    pub(crate) forwarded: u32,
    pub(crate) woken: u32,
    pub(crate) checked: u32,
    /// Responses of the module: all of them, and those that ended a stream inside a hook.
    pub(crate) answered: u32,
    pub(crate) ended_inside: u32,
    /// Lists without the tools that the agent must not see.
    pub(crate) filtered: u32,
    /// Times when bytes were held, and documents that were fetched.
    pub(crate) held: u32,
    pub(crate) fetched: u32,
}

/// Runs an input.
///
/// # Panics
/// If something is wrong, after a line that describes it.
pub fn fuzz(data: &[u8]) {
    run(data, &mut Reached::default());
}

/// Runs an input, and counts what it reaches.
pub(crate) fn run(data: &[u8], reached: &mut Reached) {
    IS_QUIET.set(true);
    store::OWN.set(Some(Rc::new(MemoryStore::default())));
    let caught = hooks::CAUGHT.get();
    let mut world = World { gateways: Vec::new(), clients: Vec::new(), clocks: Clocks::stop(), reached };
    let mut input = Input::new(data);
    while !input.is_empty() {
        world.step(&mut input);
        require(hooks::CAUGHT.get() == caught, "a hook panicked");
        for client in &mut world.clients {
            client.check(world.reached);
        }
    }
    world.end();
    require(hooks::CAUGHT.get() == caught, "a hook panicked");
    store::OWN.set(None);
    IS_QUIET.set(false);
}

/// Fails with a description. The panic hook of the module prints only places.
#[track_caller]
fn require(holds: bool, what: &str) {
    if !holds {
        eprintln!("fuzzing found a defect: {what}");
        panic!("{what}");
    }
}

/// All configurations and streams.
struct World<'r> {
    gateways: Vec<(Gateway, usize)>,
    clients: Vec<Client>,
    clocks: Clocks,
    reached: &'r mut Reached,
}

impl World<'_> {
    /// Carries out one event.
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            _ if self.gateways.is_empty() => self.configure(input),
            0 => self.configure(input),
            1 | 2 => self.open(input),
            3 => self.pass_time(input),
            4 => self.configuration_event(input),
            _ if self.clients.is_empty() => self.open(input),
            event => {
                let at = input.below(self.clients.len());
                self.clients[at].step(event, input);
            }
        }
        self.reached.held += u32::from(worker::held_bytes() > 0);
    }

    /// Loads a configuration.
    fn configure(&mut self, input: &mut Input<'_>) {
        if self.gateways.len() == GATEWAYS {
            // Streams of a configuration that has ended refer to Envoy's object, so it remains while there are streams.
            let Some(at) = self.gateways.iter().position(|(gateway, _)| gateway.is_over()) else { return };
            if self.clients.iter().all(|client| client.connection.is_over()) {
                self.clients.clear();
                drop(self.gateways.swap_remove(at));
            }
            return;
        }
        if input.rarely() {
            let text = String::from_utf8_lossy(input.bytes()).into_owned();
            require(Gateway::new(&text).is_none(), "255 bytes are a policy");
            return;
        }
        let policy = input.below(SAMPLES.configurations.len());
        let gateway = Gateway::new(&SAMPLES.configurations[policy]);
        require(gateway.is_some(), "a policy is rejected");
        self.gateways.extend(gateway.map(|gateway| (gateway, policy)));
        self.reached.configurations += 1;
    }

    /// Opens a stream. It replaces one that has ended.
    fn open(&mut self, input: &mut Input<'_>) {
        let (gateway, policy) = &self.gateways[input.below(self.gateways.len())];
        let ended = self.clients.iter().position(|client| client.connection.is_over());
        if gateway.is_over() || (ended.is_none() && self.clients.len() == CLIENTS) {
            return;
        }
        if let Some(at) = ended {
            drop(self.clients.swap_remove(at));
        }
        self.clients.push(Client::open(input, gateway, *policy));
        self.reached.streams += 1;
    }

    fn pass_time(&self, input: &mut Input<'_>) {
        let millis = input.one_of(&[1, 25, 100, 900, 1_000, 3_000, 60_000, 900_000]);
        self.clocks.pass(Duration::from_millis(millis));
    }

    /// Calls a hook of a configuration.
    fn configuration_event(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.gateways.len());
        let (gateway, _) = &mut self.gateways[at];
        if gateway.is_over() {
            return;
        }
        let lines = [(":status", "200"), ("content-type", "application/json")];
        let lines: RawLines = lines.map(|(name, value)| (name.into(), value.into())).into();
        let keys = SAMPLES.keys.as_bytes();
        let calls = |gateway: &Gateway| gateway.envoy.calls.lock().unwrap().len() as u64;
        match input.below(8) {
            0 | 1 => gateway.tick(),
            // What usually follows.
            2..=4 => {
                gateway.tick();
                gateway.end_call(calls(gateway), 0, &lines, &[keys]);
                self.reached.fetched += u32::from(calls(gateway) > 0);
            }
            5 | 6 => {
                let any = u64::from(input.byte()) << input.below(64);
                let call = if input.rarely() { any } else { calls(gateway) };
                let lines = if input.rarely() { Vec::new() } else { samples::vary(input, lines) };
                let body = if input.rarely() { input.bytes() } else { keys };
                let (first, last) = body.split_at(input.below(body.len()));
                let result = if input.rarely() { u32::from(input.byte()) } else { 0 };
                gateway.end_call(call, result, &lines, &[first, b"", last]);
            }
            // Envoy ends a configuration after its last stream, but not each version does.
            _ => gateway.destroy(),
        }
    }

    /// Ends all streams and configurations.
    fn end(&mut self) {
        for client in &mut self.clients {
            client.connection.end();
            client.check(self.reached);
        }
        require(worker::held_bytes() == 0, "bytes are held after the last stream");
        self.clients.clear();
        for (gateway, _) in &mut self.gateways {
            if !gateway.is_over() {
                gateway.destroy();
            }
            let (created, deleted) = gateway.envoy.events.schedulers();
            require(created == deleted, "a configuration leaves a scheduler");
            // Envoy's object no longer exists when this returns.
        }
        require((worker::count(), main_thread::count()) == (0, 0), "configurations that have ended are kept");
        self.gateways.clear();
    }
}
