//! Serves requests behind a gate of its own: `cargo run --package callgate-example-embed`.

use std::net::TcpListener;

use callgate_example_embed::{Gate, POLICY, serve};

fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}/health is public, everything else is denied", listener.local_addr()?);
    serve(listener, Gate::new(POLICY)?)
}
