//! What can go wrong, said so that a program can act on it.

use crate::flow::FlowState;
use shaped_node::{DocumentRefused, SeekRefused, ServiceFailure, ServiceNodeError, TunnelsFull};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tunnel_plan::Refusal;
use wire::flow::ResetReason;

/// The manager could not begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// The text of the guards' file cannot be used.
    #[error("the guards' file cannot be used: {0}; without it, new guards are drawn")]
    Guards(#[from] tunnel_plan::GuardsFileError),
    /// There are no tunnels with so many legs.
    #[error(transparent)]
    Legs(#[from] tunnel_plan::PrimariesError),
    /// The numbers of the configuration are out of range.
    #[error("{name} must be {lowest} to {highest}")]
    Range {
        /// Which one.
        name: &'static str,
        /// Its least value.
        lowest: usize,
        /// Its greatest one.
        highest: usize,
    },
    /// The tunnels that are kept are for streams to servers.
    #[error("the tunnels that are kept ready lead to exits; directory tunnels are built when they are asked for")]
    Target,
    /// The service cannot be as it is asked to be.
    #[error(transparent)]
    Service(#[from] ServiceNodeError),
    /// A service without a port is reached by nobody.
    #[error("a service has 1 to {most} ports, each once", most = crate::PORTS_MAX)]
    Ports,
    /// The system gives no socket or no random bytes.
    #[error("the system refuses what a manager needs: {0}")]
    System(#[from] io::Error),
}

/// A document was not taken. The one before stays in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// It is not one that may take the place of the present one.
    #[error(transparent)]
    Refused(#[from] DocumentRefused),
    /// The manager has stopped.
    #[error("the tunnel manager has stopped")]
    Stopped,
}

/// There is no tunnel for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TunnelError {
    /// The network has no such paths; the refusal says what is missing and what would help.
    #[error("{0}")]
    NoPath(Refusal),
    /// None was ready before the deadline.
    #[error("no tunnel was ready within {0:?}")]
    Deadline(Duration),
    /// The pool keeps tunnels of other rules: what is asked for can only be launched.
    #[error("no tunnels of these rules are kept ready; launch one")]
    NotKept,
    /// More legs than the manager has guards for.
    #[error("{asked} legs are more than the {kept} that this manager has guards for")]
    Legs {
        /// Legs that were asked for.
        asked: u8,
        /// Legs of the tunnels that it keeps.
        kept: u8,
    },
    /// A [`crate::ClientTunnel`] was asked for by rules that lead elsewhere.
    #[error("these rules lead to no exit; ask for a directory tunnel (`get_dir`)")]
    Target,
    /// There are as many tunnels as there may be.
    #[error(transparent)]
    Full(#[from] TunnelsFull),
    /// Too many requests wait already.
    #[error("too many requests for tunnels wait already")]
    Busy,
    /// The manager has stopped.
    #[error("the tunnel manager has stopped")]
    Stopped,
}

/// There is no tunnel to a service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OnionError {
    /// It is not even sought.
    #[error(transparent)]
    NotSought(#[from] SeekRefused),
    /// It was sought, and not found or not reached: there is no record of it, it does not know this client, nobody answers.
    #[error(transparent)]
    NotReached(ServiceFailure),
    /// It was not reached before the deadline.
    #[error("the service was not reached within {0:?}")]
    Deadline(Duration),
    /// Its tunnel was lost as soon as it was there, or somebody retired it.
    #[error("the tunnel to the service was over before it was up; try again")]
    Lost,
    /// There is no tunnel at all.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

impl From<ServiceFailure> for OnionError {
    fn from(failure: ServiceFailure) -> Self {
        match failure {
            ServiceFailure::NoPath(refusal) => Self::Tunnel(TunnelError::NoPath(refusal)),
            failure => Self::NotReached(failure),
        }
    }
}

/// A tunnel takes no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// It is retired or over. Another one is to be got.
    #[error("the tunnel takes no streams any more: {0}")]
    Tunnel(#[from] Closed),
    /// As many streams are open as the manager has room for.
    #[error("all {0} streams of this manager are open")]
    TooManyStreams(u16),
    /// The exit or the destination did not take it.
    #[error("{0}")]
    Refused(ResetReason),
}

/// Why a tunnel is over or takes no new streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Closed {
    /// It was retired: by its user, because it was idle for long, or because of its age.
    #[error("it was retired")]
    Retired,
    /// Its session or all of its legs were lost.
    #[error("it was lost")]
    Lost,
    /// The manager has stopped.
    #[error("its manager has stopped")]
    Stopped,
}

/// Why a stream failed. It is inside the [`io::Error`] of a read or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// It was reset on its way or by its other end.
    #[error("{0}")]
    Reset(ResetReason),
    /// It was reset here, by a [`crate::FlowControl`].
    #[error("the stream was reset by its own side")]
    ResetHere,
}

impl StreamError {
    pub(crate) fn of(state: &FlowState) -> Self {
        state.reset.map_or(Self::ResetHere, Self::Reset)
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset(ResetReason::TimedOut) => io::ErrorKind::TimedOut,
            StreamError::Reset(ResetReason::TunnelLost) => io::ErrorKind::ConnectionAborted,
            StreamError::Reset(_) | StreamError::ResetHere => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, error)
    }
}
