#![doc = include_str!("../README.md")]

mod any_tunnel;
mod bell;
mod client_dir_tunnel;
mod client_onion_tunnel;
mod client_tunnel;
mod clock_skew;
mod commands;
mod driver;
mod engine;
mod error;
mod flow;
mod manager;
mod own_service;
mod parameters;
mod queues;
mod request;
mod socket;
mod start;
mod stream;
mod tunnels;

pub use any_tunnel::{AnyTunnel, LegFigures, LegId, TunnelFigures};
pub use client_dir_tunnel::ClientDirTunnel;
pub use client_onion_tunnel::ClientOnionTunnel;
pub use client_tunnel::ClientTunnel;
pub use clock_skew::ClockSkew;
pub use error::{Closed, ConnectError, DocumentError, OnionError, StartError, StreamError, TunnelError};
pub use manager::{BuildError, READY_MAX, STREAM_BUFFER_BYTES, STREAMS_MAX, TunnelBuilder, TunnelMgr, TunnelMgrConfig};
pub use own_service::{
    BACKLOG_MAX, OnionService, OnionServiceConfig, OnionServiceFigures, PORTS_MAX, SERVICE_TUNNELS_MAX,
};
pub use parameters::{
    DEADLINE, DirParameters, Isolation, IsolationToken, ONION_DEADLINE, OnionParameters, Purpose, TunnelParameters,
};
pub use request::Summary;
pub use stream::{FlowControl, TunnelStream};

pub use identity::{AccessKey, AccessSecret, NodeId, ServiceSecret};
pub use network_document::NetworkDocument;
pub use onion_service::{AddressError, ClientError, ServiceAddress};
pub use shaped_node::{
    DocumentRefused, SOUGHT_MAX, SOUGHT_OF_CLIENT_MAX, SeekRefused, ServiceFailure, ServiceNodeError,
};
pub use tunnel_plan::{PathRules, Refusal, Relaxation, RulesError};
pub use wire::flow::{Destination, ResetReason};
