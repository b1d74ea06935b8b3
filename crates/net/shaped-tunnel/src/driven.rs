//! What the loops drive: a shaped node or a service node. Both are fed and drained alike ([`DrivenNode`]); what they say and are told
//! beside that is here.

use crate::order::{Ask, Direction, Order, PublishAsk};
use crate::status::ServiceFigures;
use flow_queue::QueueSide;
use link::Now;
use shaped_node::{
    DrivenNode, ExitEvent, NodeEvent, NodeStatus, PublicationOrder, ServiceNode, ServiceNodeEvent, ShapedNode,
};
use tracing::{debug, info, warn};

/// What a node wants its process to do, beside sending.
#[derive(Debug)]
pub(crate) enum Note {
    /// An ephemeral key was accepted on this day: it is to be remembered across restarts.
    Remember([u8; 32], u32),
    /// Text for the next start.
    Keep(String),
    /// A sentence for the supervisor.
    Fault(String),
    /// Something that only the supervisor can do.
    Ask(Ask),
    /// It has been logged.
    Nothing,
}

/// See the module.
pub(crate) trait Driven: DrivenNode<QueueSide> {
    /// Carries out an order that is about no document.
    fn obey(&mut self, now: Now, order: Order);
    /// The next thing that has happened. Neither peers nor sizes reach the log.
    fn poll_note(&mut self, now: Now) -> Option<Note>;
    /// The figures, and those that only a service node has.
    fn figures(&self) -> (NodeStatus, Option<ServiceFigures>);
}

impl Driven for ShapedNode<QueueSide> {
    fn obey(&mut self, _: Now, order: Order) {
        match order.grant_in() {
            Some((Direction::Own, grant)) => self.grant_own(grant),
            Some((Direction::Other, grant)) if !self.grant_other(grant) => {
                debug!("no session takes leave for the other node; it stays spent");
            }
            Some((Direction::Other, _)) | None => {}
        }
    }

    fn poll_note(&mut self, _: Now) -> Option<Note> {
        Some(note(self.poll_event()?))
    }

    fn figures(&self) -> (NodeStatus, Option<ServiceFigures>) {
        (self.status(), None)
    }
}

impl Driven for ServiceNode<QueueSide> {
    fn obey(&mut self, now: Now, order: Order) {
        match order {
            Order::DirectoryTime { ms } => self.handle_directory_time(now, ms),
            Order::Published { service, day, revision, taken } => {
                self.handle_published(now, service, onion_service::Day(day), revision, taken);
            }
            Order::Grant { .. } | Order::Document { .. } => {}
        }
    }

    fn poll_note(&mut self, now: Now) -> Option<Note> {
        match self.poll_event() {
            Some(ServiceNodeEvent::Node(event)) => return Some(note(event)),
            Some(ServiceNodeEvent::Tunnels(event)) => return Some(note_of_tunnels(event)),
            None => {}
        }
        let PublicationOrder { service, publication } = self.poll_publication(now)?;
        let (day, record) = (publication.day.0, publication.record);
        let (key, revision, expires_ms) = (record.key, record.revision, record.expires_ms);
        Some(Note::Ask(Ask::Publish(PublishAsk { service, day, key, revision, expires_ms, content: record.content })))
    }

    fn figures(&self) -> (NodeStatus, Option<ServiceFigures>) {
        let status = self.status();
        let (joined, meetings) = (status.joined, status.meetings);
        (status.node, Some(ServiceFigures { tunnels: status.tunnels, joined, meetings, services: status.services }))
    }
}

fn note_of_tunnels(event: ExitEvent) -> Note {
    match event {
        ExitEvent::SessionUp(tunnel) => debug!(tunnel, "session up"),
        ExitEvent::TunnelOver(tunnel, why) => debug!(tunnel, ?why, "tunnel over"),
        ExitEvent::QueuesFailed(fault) => {
            return Note::Fault(format!(
                "the unshaped process broke the queue protocol ({fault}); its flows were reset"
            ));
        }
    }
    Note::Nothing
}

fn note(event: NodeEvent) -> Note {
    match event {
        NodeEvent::EphemeralAccepted(ephemeral, day) => return Note::Remember(ephemeral, day),
        NodeEvent::LinkUp(link, rtt) => info!(?link, ?rtt, "link up"),
        NodeEvent::LinkQuiet(link) => info!(?link, "nothing heard on the link"),
        NodeEvent::LinkBack(link) => info!(?link, "the link is heard again"),
        NodeEvent::LinkDown(link) => info!(?link, "link down"),
        NodeEvent::Hopped(link, index, cause) => {
            debug!(?link, index, ?cause, "the link is on another pair of ports");
        }
        NodeEvent::SessionUp(link) => info!(?link, "session up"),
        NodeEvent::SessionLost(link, reason) => info!(?link, %reason, "session lost"),
        NodeEvent::PeerRestarted(link) => info!(?link, "the other node was restarted"),
        NodeEvent::ClassChanged(link, class) => warn!(?link, %class, "loss changed the link's rate class"),
        NodeEvent::RateFollowed(link, class) => debug!(?link, %class, "the rate follows the releases"),
        NodeEvent::Unanswered(link) => warn!(
            ?link,
            "several handshakes had no answer: check the peer string, the address, this machine's clock, a firewall for UDP, and that the path carries the packet size"
        ),
        NodeEvent::SameKeyElsewhere(link) => {
            warn!(?link, "two processes use this node's keys and take the link from each other; stop one of them");
        }
        NodeEvent::PeerIncompatible(link) => {
            warn!(?link, "the other node speaks another version; install the same release on both");
        }
        NodeEvent::QueuesFailed(fault) => {
            return Note::Fault(format!(
                "the unshaped process broke the queue protocol ({fault}); its flows were reset"
            ));
        }
        event => return note_over_circuits(event),
    }
    Note::Nothing
}

/// The same for what only a node over circuits says. No relay is named.
fn note_over_circuits(event: NodeEvent) -> Note {
    match event {
        NodeEvent::GuardsChanged(text) => return Note::Keep(text),
        NodeEvent::GuardsSilent => {
            info!("no guard is heard; the next one is asked, in case it is not this machine's network that is away")
        }
        NodeEvent::NoPath(refusal) => warn!("there is no path: {refusal}"),
        NodeEvent::LegUp(leg) => info!(leg, "a leg is in use"),
        NodeEvent::LegDown(leg, why) => info!(leg, %why, "a leg is out of use"),
        NodeEvent::UplinkFollowed(class) => debug!(%class, "the rate follows the releases"),
        NodeEvent::TunnelUp => info!("session up"),
        NodeEvent::TunnelLost(reason) => info!(%reason, "session lost"),
        // Which one is nobody's to read in a log.
        NodeEvent::ServiceFailed(failure) => info!("a service was not reached: {failure}"),
        NodeEvent::TunnelsFull => {
            warn!("there are as many tunnels as there may be; clients wait until one has ended");
        }
        NodeEvent::TunnelEnded(why) => info!(%why, "the tunnel is over; another one is built"),
        _ => {}
    }
    Note::Nothing
}
