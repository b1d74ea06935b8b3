#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as session;
#[cfg(test)]
#[path = "../tests/support/pair.rs"]
mod support;

mod config;
mod connection;
mod control;
mod control_law;
mod datagram;
mod event;
mod flow;
mod frames;
mod memory;
mod stats;
mod tap;
mod tls;
mod transport;

pub use config::{
    ConfigError, ExpectedPeer, PACKET_MAX, PACKET_MIN, Paths, STREAM_WINDOW_MAX, STREAM_WINDOW_MIN, SessionConfig,
    stream_window_for,
};
pub use connection::{PacketBatch, Session};
pub use control::{ControlDecoder, ControlMessage, MESSAGE_MAX};
pub use control_law::CongestionControl;
pub use datagram::{EARLY_MAX, PART_TIMEOUT, PARTS_MAX};
pub use event::{
    CloseReason, DatagramError, EndReason, GRANTS_WAITING_MAX, OpenError, ReadOutcome, SessionEvent, StreamState,
    Violation, WriteError,
};
pub use flow::FlowId;
pub use memory::{Burden, PIECE_OVERHEAD, SessionMemory};
pub use stats::SessionStats;

#[doc(hidden)]
pub mod fuzz;
