#![doc = include_str!("../README.md")]

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

pub use circuit::{
    BUILD_TRIES_MAX, Cause, Circuit, CircuitConfig, CircuitEvent, CommandError, DESTROY_TRIES_MAX, Dropped, EVENTS_MAX,
    HopFigures, Received, SealError,
};
pub use handshake::Features;
pub use keys::{BindingKey, Interval, Network, OnionKey, OnionKeys, OnionSecret, RelaySpec};
pub use layer::{LAYER_CELLS_MAX, Position};
pub use reason::Reason;
pub use relay::{
    CELLS_PER_NEIGHBOUR_MAX, CIRCUITS_MAX, CircuitKey, Counters, Dialled, HANDSHAKES_PER_SECOND_MAX, Handled,
    LEAVING_MAX, Neighbour, ORDERS_MAX, Order, Relay, RelayConfig, RelayEvent, RelaySealError, Unreachable,
};

#[doc(hidden)]
pub mod fuzz;
