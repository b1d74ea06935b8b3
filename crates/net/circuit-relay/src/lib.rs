#![doc = include_str!("../README.md")]

mod counters;
mod exit;
mod handle;
mod join;
mod outbox;
mod relay;
mod replay;
mod sockets;

pub use counters::Snapshot;
pub use exit::{BootSlots, ExitBoot, ExitError, run_exit};
pub use handle::{Handle, NEIGHBOURS_SHOWN_MAX};
pub use join::{JoinPoint, NothingJoined};
pub use relay::{CircuitRelay, Door, RelaySettings, StartError};
pub use relay_node::NeighbourFigures;
