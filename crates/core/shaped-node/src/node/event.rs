//! What a node tells its shell.

use crate::queues::QueueFault;
use link::{HopCause, LinkId};
use shaping::RateClass;
use std::time::Duration;

/// What the shell may want to log, store or show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// A link is up; round trip of its handshake.
    LinkUp(LinkId, Duration),
    /// Nothing was heard on a link for a while; it goes on.
    LinkQuiet(LinkId),
    /// A quiet link is heard again.
    LinkBack(LinkId),
    /// A link is given up.
    LinkDown(LinkId),
    /// A link is on another pair of ports: its hop index, and why if this end knows.
    Hopped(LinkId, u64, Option<HopCause>),
    /// A session is up.
    SessionUp(LinkId),
    /// A session is over.
    SessionLost(LinkId, session::CloseReason),
    /// The other node was restarted: its sessions are gone.
    PeerRestarted(LinkId),
    /// An ephemeral key was accepted and must be remembered across restarts; the day it is valid for.
    EphemeralAccepted([u8; 32], u32),
    /// Loss changed the link's class, or its end did.
    ClassChanged(LinkId, RateClass),
    /// The rule of the mode chose another class.
    RateFollowed(LinkId, RateClass),
    /// The same over circuits, for all guards' links together.
    UplinkFollowed(RateClass),
    /// The other node speaks another version, or its parameters make no sense.
    PeerIncompatible(LinkId),
    /// Several handshakes had no answer. Said once until the link comes up.
    Unanswered(LinkId),
    /// Two processes use one key and replace each other's link.
    SameKeyElsewhere(LinkId),
    /// The unshaped process broke the queue protocol; all flows were reset.
    QueuesFailed(QueueFault),
    /// The guards have changed: the text of their file, to be stored for the next start.
    GuardsChanged(String),
    /// None of the guards in use is heard; the next one of the few is asked whether it is.
    GuardsSilent,
    /// There is no path for a leg. Said once for each reason.
    NoPath(tunnel_plan::Refusal),
    /// A leg of the tunnel is in use; its number.
    LegUp(u8),
    /// A leg of the tunnel is out of use; another one is built.
    LegDown(u8, conflux::LegEnd),
    /// The session over circuits is up.
    TunnelUp,
    /// The session over circuits is over.
    TunnelLost(session::CloseReason),
    /// The tunnel over circuits is over; another one is built.
    TunnelEnded(conflux::TunnelEnd),
    /// A tunnel is missing and not made: there are [`crate::TUNNELS_MAX`]. Said once until one could be made again.
    TunnelsFull,
    /// A service that a flow asked for was not reached.
    ServiceFailed(crate::ServiceFailure),
}
