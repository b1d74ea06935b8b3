#![doc = include_str!("../README.md")]

mod beginning;
mod client;
mod counts;
mod grid;
mod member;
mod node;
mod orders;
mod service;
mod shared;
mod state_files;

pub use beginning::{BeginningError, begin, cluster_of};
pub use client::{AskError, ServiceClient};
pub use counts::{Counts, ServiceCounts};
pub use grid::{Grid, TICK_EVERY_MAX_MS, TICKS_AN_INTERVAL_MIN};
pub use node::{DirectoryNode, Settings, StartError, Stopped};
pub use orders::{ORDER_PATIENCE, WAITING_MAX};
pub use service::{
    ALL_COMMANDS_A_SECOND, ALL_RECORDS_A_SECOND, ALL_RECORDS_AT_ONCE_MAX, ANSWERS_KIB_MAX, COMMANDS_A_SECOND,
    CONNECTIONS_MAX, IDLE_MAX, RECORD_EVERY, RECORDS_AT_ONCE_MAX, SPONSORED_AT_ONCE_MAX, STRANGER_IDLE_MAX,
    STRANGER_REQUESTS_MAX, STRANGERS_ANSWERS_KIB_MAX, STRANGERS_MAX,
};
pub use shared::SharedDirectory;
pub use state_files::{StateFiles, StateFilesError};
