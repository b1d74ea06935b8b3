#![doc = include_str!("../README.md")]

mod bucket;
mod config;
mod counters;
mod event;
mod node;
mod queues;

pub use bucket::BURST;
pub use config::{ConfigError, Limits, RelayNodeConfig};
pub use counters::Counters;
pub use event::{Came, NodeEvent};
pub use node::{
    ADDRESS_TRY, DESTROYED_A_STEP_MAX, DIAL_TIME, DIALS_MAX, DRAIN_LINGER, EVENTS_MAX, NeighbourFigures, RelayNode,
    WAITING_PER_DIAL_MAX,
};
