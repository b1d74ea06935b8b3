//! Both ends over real sockets: what arrives, what hops, what is survived.

#[path = "relay/bytes.rs"]
mod bytes;
#[path = "relay/faults.rs"]
mod faults;
#[path = "relay/flows.rs"]
mod flows;
#[path = "relay/harness.rs"]
mod harness;
#[path = "relay/keyed.rs"]
mod keyed;
#[path = "relay/keyless.rs"]
mod keyless;
#[path = "relay/namespace.rs"]
mod namespace;
#[path = "relay/ports.rs"]
mod ports;
#[path = "relay/prefix.rs"]
mod prefix;
#[path = "relay/status.rs"]
mod status;
