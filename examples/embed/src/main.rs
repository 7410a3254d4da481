//! Runs the service with the embedded gate: `cargo run --package callgate-example-embed`.

use std::env;
use std::net::TcpListener;

use callgate::SecretLookup;
use callgate_example_embed::{Gate, POLICY, serve};

/// Reads secrets from the environment, as in a gateway.
fn environment(name: &str) -> SecretLookup {
    env::var(name).map_or(SecretLookup::Missing, |value| SecretLookup::Found(value.into_bytes()))
}

fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{} is served; /health is public for the host api.example.com", listener.local_addr()?);
    serve(listener, Gate::new(POLICY, &environment)?)
}
