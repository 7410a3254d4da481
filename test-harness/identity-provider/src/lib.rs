//! Identity providers for the tests of keys that the gate fetches over HTTP: a key server that misbehaves when a test tells it to, and real
//! providers by other authors.
//!
//! | Provider | For tests of |
//! |---|---|
//! | [`key_server::KeyServer`] | what the gate does about slow, wrong, missing and rotated keys |
//! | [`authorization_server::AuthorizationServer`] | tokens and metadata of a real provider, in process (crate `oauth-as`) |
//! | [`exchange::ExchangeServer`] | tokens that agents exchanged for others (`act`), in process (crate `oauth-as`) |
//! | [`glewlwyd::Glewlwyd`] | tokens, custom claims and rotation of a real provider in C, from a Debian package |
//!
//! All of them serve plain HTTP on a loopback port under an `https` issuer, like a provider behind a gateway that terminates TLS: the
//! issuer is what the policy names, and the address is what the gateway's cluster names. [`gate::Gate`] is the engine without a gateway, to
//! check that their tokens are accepted before an Envoy is involved. `envoy` is a real Envoy, for checks that are not tests of the harness.
//!
//! Nothing here verifies a token except the engine. Code that decides belongs there.
#![cfg(not(target_arch = "wasm32"))]

pub mod authorization_server;
pub mod client;
mod envoy;
pub mod exchange;
pub mod gate;
pub mod glewlwyd;
pub mod key_server;
mod listener;
mod time;
