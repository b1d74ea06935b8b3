#![doc = include_str!("../README.md")]

mod admission;
mod config;
mod door;
mod endpoint;
mod event;
mod filler;
mod handshake;
mod keyset;
mod noise;
mod path;
mod report;
mod route;
mod schedule;
mod state;
mod table;
mod window;

pub use config::{Accept, EndpointConfig, LINK_VERSION, MAX_LINKS, PARAMETERS_LEN, Parameters};
pub use endpoint::{Endpoint, SealError};
pub use event::{Counters, DialError, DownReason, DropReason, LinkEvent, LinkId, Now, Peer, Received};
pub use report::{LOSS_WINDOW, LinkFigures, LossFigures, REPORT_INTERVAL};
pub use route::{Route, Via};

#[doc(hidden)]
pub mod fuzz;
