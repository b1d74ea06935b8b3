#![doc = include_str!("../README.md")]

mod bell;
mod client_dir_tunnel;
mod client_tunnel;
mod clock_skew;
mod driver;
mod engine;
mod error;
mod flow;
mod manager;
mod parameters;
mod queues;
mod request;
mod stream;
mod tunnels;

pub use client_dir_tunnel::ClientDirTunnel;
pub use client_tunnel::{ClientTunnel, LegFigures, LegId, TunnelFigures};
pub use clock_skew::ClockSkew;
pub use error::{Closed, ConnectError, DocumentError, StartError, StreamError, TunnelError};
pub use manager::{BuildError, READY_MAX, STREAM_BUFFER_BYTES, STREAMS_MAX, TunnelBuilder, TunnelMgr, TunnelMgrConfig};
pub use parameters::{DEADLINE, DirParameters, Isolation, IsolationToken, Purpose, TunnelParameters};
pub use request::Summary;
pub use stream::{FlowControl, TunnelStream};

pub use identity::NodeId;
pub use network_document::NetworkDocument;
pub use shaped_node::DocumentRefused;
pub use tunnel_plan::{PathRules, Refusal, Relaxation, RulesError};
pub use wire::flow::{Destination, ResetReason};
