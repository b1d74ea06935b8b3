//! What handles ask of the driver.

use crate::engine::Engine;
use crate::error::{ConnectError, OnionError, TunnelError};
use crate::parameters::{OnionParameters, TunnelParameters};
use crate::stream::TunnelStream;
use onion_service::ServiceAddress;
use shaped_node::{DocumentRefused, NextDocument, TunnelId, TunnelStatus};
use std::time::Instant;
use tokio::sync::oneshot;
use tunnel_plan::Refusal;
use wire::flow::Destination;

/// The answer to a request for a tunnel. `None`: none is ready, and it was not to be waited for.
pub(crate) type Got = Result<Option<Engine>, TunnelError>;

/// The answer to a request for a tunnel to a service.
pub(crate) type Reached = Result<Engine, OnionError>;

/// Where a stream leads.
pub(crate) enum To {
    /// Through an exit, to a server.
    Server(Destination),
    /// To the directory of the tunnel's last hop.
    Directory,
    /// To a port of the service at the tunnel's end.
    Service(u16),
}

/// One thing to be done. None of them waits for room on the network.
pub(crate) enum Command {
    /// A tunnel of the pool, or the one that the isolation group has; waited for until then.
    Get { parameters: TunnelParameters, until: Option<Instant>, answer: oneshot::Sender<Got> },
    /// A tunnel that is built now.
    Launch { parameters: TunnelParameters, until: Instant, answer: oneshot::Sender<Got> },
    /// A tunnel to a service.
    Onion {
        address: ServiceAddress,
        parameters: Box<OnionParameters>,
        until: Instant,
        answer: oneshot::Sender<Reached>,
    },
    /// No new streams for this tunnel.
    Retire { tunnel: TunnelId },
    /// A stream. One whose asker has gone is dropped on its way, and so given up.
    Connect { tunnel: TunnelId, to: To, answer: oneshot::Sender<Result<TunnelStream, ConnectError>> },
    /// What is known of a tunnel.
    Describe { tunnel: TunnelId, answer: oneshot::Sender<Option<TunnelStatus>> },
    /// Another document of the network.
    Document { next: Box<NextDocument>, answer: oneshot::Sender<Result<(), DocumentRefused>> },
    /// What is known of all.
    Summary { answer: oneshot::Sender<Summary> },
    /// Everything ends.
    Stop { answer: oneshot::Sender<()> },
}

/// What a manager keeps, in counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Tunnels that wait for somebody to ask for them, with a session that is up.
    pub ready: usize,
    /// Tunnels that somebody has, beside those to services.
    pub in_use: usize,
    /// Tunnels to services.
    pub services: usize,
    /// Services that are being sought.
    pub seeking: usize,
    /// Tunnels that only finish their streams.
    pub retired: usize,
    /// Tunnels that are being built, or built again.
    pub building: usize,
    /// Streams that are not over on both sides.
    pub streams: usize,
    /// Why a path is missing, if one is.
    pub refusal: Option<Refusal>,
}
