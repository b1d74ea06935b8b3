#![doc = include_str!("../README.md")]

#[cfg(test)]
mod case_table;
mod circuit;
mod handshake;
mod keys;
mod layer;
mod message;
mod parts;
mod reason;
mod relay;
mod repeat;
mod schedule;
mod service;

pub use circuit::{
    BUILD_TRIES_MAX, Cause, Circuit, CircuitConfig, CircuitEvent, CircuitMessage, CommandError, DESTROY_TRIES_MAX,
    Dropped, EVENTS_MAX, HopFigures, MESSAGES_MAX, Received, SealError,
};
pub use handshake::Features;
pub use keys::{BindingKey, Interval, Network, OnionKey, OnionKeys, OnionSecret, RelaySpec};
pub use layer::{LAYER_CELLS_MAX, Position, Side};
pub use packet_crypto::keys::RawKeys;
pub use reason::Reason;
pub use relay::{
    CELLS_PER_NEIGHBOUR_MAX, CIRCUITS_MAX, CircuitKey, Counters, Dialled, HANDSHAKES_PER_SECOND_MAX, Handled,
    INTRODUCTION_POINTS_MAX, INTRODUCTIONS_BURST, INTRODUCTIONS_PER_POINT_MAX, INTRODUCTIONS_PER_SECOND, LEAVING_MAX,
    Neighbour, ORDERS_MAX, Order, PASSING_MAX, RENDEZVOUS_MAX, RENDEZVOUS_WAIT, Relay, RelayConfig, RelayEvent,
    RelaySealError, Unreachable,
};
pub use service::{Cookie, SEALED_MAX, ServiceKey};

#[doc(hidden)]
pub mod fuzz;
