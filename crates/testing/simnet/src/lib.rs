#![doc = include_str!("../README.md")]

mod network;
mod path;
mod recording;
mod seed;

pub use network::{Network, NodeId, Packet, Step};
pub use path::{Bursts, Line, Loss, PACKET_OVERHEAD, Path, Verdict};
pub use recording::{Fate, Keep, Record, Recording};
pub use seed::{Seed, SeedGuard};
