#![doc = include_str!("../README.md")]

mod admission;
mod config;
mod door;
mod endpoint;
mod event;
mod handshake;
mod hops;
mod keyset;
mod noise;
mod offer;
mod path;
mod report;
mod route;
mod schedule;
mod state;
mod table;

pub use config::{Accept, EndpointConfig, LINK_VERSION, MAX_LINKS, PARAMETERS_LEN, Parameters};
pub use endpoint::{Endpoint, SealError};
pub use event::{Counters, DialError, DownReason, DropReason, LinkEvent, LinkId, Now, Peer, Received};
pub use hops::{HopConfig, HopStatus, PAST_HOPS_MAX, PastHop, SocketOrder};
pub use offer::{HopOffer, OFFER_ADDRESSES_MAX, OFFER_RANGES_MAX, OfferError};
pub use port_hopping::causes::Cause as HopCause;
pub use port_hopping::initiator::SOCKETS_MAX;
pub use report::{LOSS_WINDOW, LinkFigures, LossFigures, REPORT_INTERVAL};
pub use route::{Route, Via};

#[doc(hidden)]
pub mod fuzz;
