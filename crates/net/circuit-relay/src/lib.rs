#![doc = include_str!("../README.md")]

mod counters;
mod handle;
mod join;
mod outbox;
mod relay;
mod replay;
mod sockets;

pub use counters::Snapshot;
pub use handle::Handle;
pub use join::{JoinPoint, NothingJoined};
pub use relay::{CircuitRelay, RelaySettings, StartError};
