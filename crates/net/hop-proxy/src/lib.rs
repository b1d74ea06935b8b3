#![doc = include_str!("../README.md")]

mod backlog;
mod client;
#[cfg(test)]
mod clock_tests;
mod counters;
mod directory;
mod engine;
mod limits;
mod outlet;
mod poller;
mod resolver;
mod server;
mod settings;
mod share;
mod status;
mod table;
mod timers;
mod wake;

pub use backlog::{BACKLOG_BYTES_MAX, BACKLOG_TRAINS_MAX};
pub use client::Client;
pub use counters::{Counters, Direction};
pub use engine::StartError;
pub use server::Server;
pub use settings::{
    ClientSettings, Common, FLOWS, FLOWS_MAX, IDLE_TIMEOUT, IDLE_TIMEOUT_MAX, LIST_MAX, ServerSettings, Target,
    TargetError, Warning,
};
pub use status::{FlowStatus, STATUS_FLOWS_MAX, Status};
pub use wake::Handle;
