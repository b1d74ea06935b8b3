//! Who waits for a tunnel to a service.

use super::{End, GroupKey, Held, Node, REQUESTS_MAX, Tunnels};
use crate::error::{OnionError, TunnelError};
use crate::parameters::{Isolation, OnionParameters};
use crate::request::Reached;
use link::Now;
use onion_service::ServiceAddress;
use shaped_node::{Group, SeekRefused, ServiceState, ServiceWish};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tunnel_plan::{HOPS_MAX, PathRules, Target};
use wire::flow::{Destination, FlowKind, Host, HostName, Syn};

/// Somebody waits for a service.
pub(super) struct Seeker {
    pub(super) group: Group,
    is_alone: bool,
    address: ServiceAddress,
    /// Of the tunnel that is made.
    number: u64,
    pub(super) until: Instant,
    patience: Duration,
    answer: oneshot::Sender<Reached>,
}

impl Seeker {
    pub(super) fn reply(self, reached: Reached) {
        // Who asked may have gone; a handle that nobody takes is dropped.
        let _ = self.answer.send(reached);
    }
}

impl Tunnels {
    pub(crate) fn seek(
        &mut self,
        now: Now,
        node: &mut Node,
        address: ServiceAddress,
        parameters: &OnionParameters,
        until: Instant,
        answer: oneshot::Sender<Reached>,
    ) {
        let (purpose, isolation) = (parameters.purpose, parameters.isolation);
        let end = End::Service(parameters.access.as_ref().map(|access| access.access_key()));
        let group = self.group(node, GroupKey { purpose, isolation, end });
        let number = match self.wish(now, node, address, parameters, group) {
            Ok(number) => number,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (is_alone, patience) = (isolation == Isolation::Alone, parameters.deadline);
        self.seekers.push(Seeker { group, is_alone, address, number, until, patience, answer });
    }

    /// The number of the tunnel that is there or is being made.
    fn wish(
        &mut self,
        now: Now,
        node: &mut Node,
        address: ServiceAddress,
        parameters: &OnionParameters,
        group: Group,
    ) -> Result<u64, OnionError> {
        if self.seekers.len() >= REQUESTS_MAX {
            return Err(TunnelError::Busy.into());
        }
        // There are such paths.
        let rules = PathRules::new(HOPS_MAX, 1).unwrap_or(self.rules);
        let rules = rules.relaxed(self.rules.relaxation()).to(Target::Directory);
        let directory = (self.fresh_group(), rules);
        let wish = ServiceWish { group, access: parameters.access.clone(), directory };
        match node.seek_service(now, address, wish.clone()) {
            // One that nobody holds makes room.
            Err(SeekRefused::ClientFull) if self.retire_unheld(node, group) => {
                Ok(node.seek_service(now, address, wish)?)
            }
            number => Ok(number?),
        }
    }

    /// Retires a service's tunnel of a group of which there is no handle. True if there was one.
    fn retire_unheld(&mut self, node: &mut Node, group: Group) -> bool {
        let is_unheld = |held: &Held| {
            held.service.is_some() && held.group == group && !held.is_retired && held.handle.strong_count() == 0
        };
        let Some(id) = self.held.iter().find(|(_, held)| is_unheld(held)).map(|(id, _)| *id) else { return false };
        self.retire(node, id);
        true
    }

    /// Answers those whose service was reached, or was not.
    pub(super) fn answer_seekers(&mut self, now: Instant, node: &mut Node) {
        let mut given_up = Vec::new();
        for seeker in std::mem::take(&mut self.seekers) {
            let state = node.service_state(seeker.number);
            match state {
                _ if seeker.answer.is_closed() => given_up.push(seeker.number),
                ServiceState::Up(id) => {
                    let engine = self.engine(id, seeker.group, seeker.is_alone, Some(seeker.address));
                    seeker.reply(engine.ok_or(TunnelError::Stopped.into()));
                }
                ServiceState::Over(Some(failure)) => seeker.reply(Err(failure.into())),
                ServiceState::Over(None) => seeker.reply(Err(OnionError::Lost)),
                ServiceState::Sought if seeker.until <= now => {
                    given_up.push(seeker.number);
                    let patience = seeker.patience;
                    seeker.reply(Err(OnionError::Deadline(patience)));
                }
                ServiceState::Sought => self.seekers.push(seeker),
            }
        }
        // A tunnel that nobody waits for any more is not made, and not kept if it is just there.
        given_up.retain(|number| self.seekers.iter().all(|seeker| seeker.number != *number));
        for number in given_up {
            let is_anybodys = match node.service_state(number) {
                ServiceState::Sought => false,
                // Whoever was answered in this turn may have to take it yet; what becomes of that is told.
                ServiceState::Up(id) => {
                    self.held.get(&id).is_some_and(|held| held.was_had() || held.handle.strong_count() > 0)
                }
                ServiceState::Over(_) => true,
            };
            if !is_anybodys {
                node.retire_tunnel(number);
            }
        }
    }
}

/// What a stream to a port of a service begins with.
pub(super) fn service_syn(client: u64, service: Option<ServiceAddress>, port: u16) -> Option<Syn> {
    let host = Host::Name(HostName::new(&service?.to_string()).ok()?);
    Some(Syn { kind: FlowKind::Stream, client, destination: Destination { host, port } })
}
